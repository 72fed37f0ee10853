//! What others use of a cluster resource, asked of a command, a URL and a real PostgreSQL server.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, write_config};
use crate::support::postgres::Postgres;
use crate::support::wait;

/// A daemon with 10 connections, `outside` as given.
fn config(outside: &str) -> String {
    format!(
        "[resources.db]\nscope = \"cluster\"\ncapacity = 10\n[resources.db.outside]\nevery = \"100ms\"\n{outside}\n[queues.a]\n"
    )
}

fn used_outside(daemon: &Daemon) -> Value {
    let resources = daemon.http.get("/v1/resources").expect(200);
    let all = resources["resources"].as_array().unwrap();
    all.iter().find(|it| it["name"] == "db").unwrap()["outside"].clone()
}

#[track_caller]
fn wait_outside(daemon: &Daemon, used: f64) {
    wait::for_true("what others use", || {
        used_outside(daemon).as_f64() == Some(used)
    });
}

fn cat(file: &Path) -> String {
    format!("command = \"cat {}\"", file.display())
}

fn task() -> Value {
    json!({"queue": "a", "demand": {"cpus": 0.01, "db": 8}, "run": {"argv": ["true"]}})
}

#[test]
fn a_command_tells_and_no_more_is_granted_than_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let number = folder.path().join("number");
    fs::write(&number, "3\n").unwrap();
    let daemon = Daemon::start(folder.path(), &config(&cat(&number)));
    wait_outside(&daemon, 3.0);
    let id = daemon.http.submit(&task());
    let explained = daemon
        .http
        .get(&format!("/v1/tasks/{id}/explain"))
        .expect(200);
    assert_eq!(explained["reasons"][0]["code"], "lacks", "{explained}");
    fs::write(&number, "1.9999").unwrap();
    wait_outside(&daemon, 2.0);
    daemon.http.wait_state(id, "succeeded");
    let page = daemon.http.get("/metrics");
    let page = page.text();
    assert!(
        page.contains("apportion_resource_outside{resource=\"db\"} 2"),
        "{page}"
    );
    assert!(
        page.contains(
            "apportion_resource_outside_polls_total{resource=\"db\",result=\"answered\"}"
        )
    );
}

#[test]
fn a_failure_keeps_the_last_answer_until_it_is_stale_and_then_nothing_starts() {
    let folder = tempfile::tempdir().unwrap();
    let number = folder.path().join("number");
    fs::write(&number, "1").unwrap();
    let outside = format!("{}\nstale_after = \"2s\"", cat(&number));
    let daemon = Daemon::start(folder.path(), &config(&outside));
    wait_outside(&daemon, 1.0);
    fs::remove_file(&number).unwrap();
    wait::for_true("a warning", || daemon.log().contains("can't be found out"));
    assert!(daemon.log().contains("No such file"), "the reason is told");
    wait_outside(&daemon, 10.0);
    assert!(daemon.log().contains("not known any more"));
    let id = daemon.http.submit(&task());
    assert_eq!(daemon.http.task(id)["state"], "queued");
    fs::write(&number, "0").unwrap();
    daemon.http.wait_state(id, "succeeded");
    assert!(daemon.log().contains("known again"));
}

#[test]
fn what_the_daemon_finds_out_itself_counts_whatever_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let number = folder.path().join("number");
    fs::write(&number, "9").unwrap();
    let outside = format!("{}\nstale_after = \"1s\"", cat(&number));
    let daemon = Daemon::start(folder.path(), &config(&outside));
    wait_outside(&daemon, 9.0);
    let tell = |used: u64| {
        let told = daemon
            .http
            .post("/v1/resources/db/outside", &json!({"used": used}));
        assert_eq!(told.status, 204);
    };
    tell(0);
    wait_outside(&daemon, 9.0);
    fs::write(&number, "-1\nrubbish").unwrap();
    wait_outside(&daemon, 10.0);
    assert!(daemon.log().contains("'-1\\nrubbish'"), "on one line");
    tell(0);
    wait_outside(&daemon, 10.0);
}

#[test]
fn a_command_that_takes_too_long_is_ended_with_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let line = format!(
        "command = \"sleep 1000 & echo $! > {}; wait\"\ntimeout = \"200ms\"",
        pid.display()
    );
    let daemon = Daemon::start(folder.path(), &config(&line));
    wait::for_true("the time to be over", || {
        daemon.log().contains("takes longer than 200ms")
    });
    let id = fs::read_to_string(&pid).unwrap();
    let process = format!("/proc/{}/cmdline", id.trim());
    wait::for_true("what it started to be gone", || {
        fs::read_to_string(&process).map_or(true, |line| !line.contains("1000"))
    });
}

/// Answers every request with this body.
fn serve(body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/used", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
        }
    });
    url
}

#[test]
fn a_url_tells_and_a_reload_changes_what_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let url = serve("{\"data\": [{\"value\": [1.5, \"4\"]}]}");
    let outside = format!("url = \"{url}\"\npointer = \"/data/0/value/1\"");
    let daemon = Daemon::start(folder.path(), &config(&outside));
    wait_outside(&daemon, 4.0);
    let _ = write_config(folder.path(), &config("command = \"echo 7\""));
    daemon.signal(Signal::SIGHUP);
    wait_outside(&daemon, 7.0);
    let _ = write_config(folder.path(), &config(&format!("url = \"{url}\"")));
    daemon.signal(Signal::SIGHUP);
    wait::for_true("a complaint", || daemon.log().contains("is no amount"));
    assert_eq!(
        used_outside(&daemon).as_f64(),
        Some(7.0),
        "the last answer stays"
    );
}

/// The connections that others hold on a real server, as the documentation's query counts them.
#[test]
fn postgresql_says_how_many_connections_others_hold() {
    let Some(postgres) = Postgres::start(20) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let psql = postgres.psql();
    let connect = format!(
        "PGHOST={} {} -XAtq -U postgres -d postgres",
        postgres.socket(),
        psql.display()
    );
    let query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'visitor'";
    let line = format!("command = '''{connect} -c \"{query}\"'''");
    let daemon = Daemon::start(folder.path(), &config(&line));
    wait_outside(&daemon, 0.0);
    let mut visitors: Vec<std::process::Child> = (0..3)
        .map(|_| {
            std::process::Command::new("/bin/sh")
                .args(["-c", &format!("PGAPPNAME=visitor {connect}")])
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    wait_outside(&daemon, 3.0);
    let id = daemon.http.submit(&task());
    assert_eq!(daemon.http.task(id)["state"], "queued", "7 of 10 are left");
    for visitor in &mut visitors {
        // Its standard input ends, and it with it.
        drop(visitor.stdin.take());
        visitor.wait().unwrap();
    }
    daemon.http.wait_state(id, "succeeded");
}
