//! SIGHUP: queues, weights, limits and resources change without losing a task; an invalid file changes nothing.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, write_config};
use crate::support::wait;

const BEFORE: &str =
    "[resources.licences]\nscope = \"cluster\"\ncapacity = 1\n[queues.a]\nweight = 1\n[queues.b]\n";

fn queue(daemon: &Daemon, path: &str) -> Option<Value> {
    let queues = daemon.http.get("/v1/queues").expect(200);
    queues["queues"]
        .as_array()
        .unwrap()
        .iter()
        .find(|queue| queue["path"] == path)
        .cloned()
}

#[test]
fn a_reload_changes_weights_limits_and_queues_and_loses_no_task() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), BEFORE);
    let demand = json!({"cpus": 0.01, "licences": 2});
    let message = daemon
        .http
        .post(
            "/v1/tasks",
            &json!({"queue": "a", "demand": demand, "run": {"argv": ["true"]}}),
        )
        .expect_error(422, "never_fits");
    assert!(message.contains("licences"), "{message}");
    let go = folder.path().join("go");
    let line = format!("until [ -e {} ]; do sleep 0.02; done", go.display());
    let running = daemon
        .http
        .submit(&json!({"queue": "a", "run": {"command": line}}));
    daemon.http.wait_state(running, "running");
    let after = BEFORE
        .replace("weight = 1", "weight = 2.5\nmax = { cpus = 7 }")
        .replace("capacity = 1", "capacity = 5");
    let _ = write_config(folder.path(), &format!("{after}[queues.c]\n"));
    daemon.signal(Signal::SIGHUP);
    wait::for_true("the new queue", || queue(&daemon, "c").is_some());
    let a = queue(&daemon, "a").unwrap();
    assert_eq!(
        (&a["weight"], &a["max"]["cpus"]),
        (&2.5.into(), &7.into()),
        "{a}"
    );
    let fits = daemon
        .http
        .submit(&json!({"queue": "c", "demand": demand, "run": {"argv": ["true"]}}));
    daemon.http.wait_state(fits, "succeeded");
    assert_eq!(daemon.http.task(running)["state"], "running");
    std::fs::write(&go, "").unwrap();
    daemon.http.wait_state(running, "succeeded");
}

#[test]
fn an_invalid_file_changes_nothing_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), BEFORE);
    let _ = write_config(
        folder.path(),
        "[queues.a]\nweight = 0\n[queues.c]\nwieght = 1\n",
    );
    daemon.signal(Signal::SIGHUP);
    wait::for_true("the daemon to complain", || {
        daemon.log().contains("queues.a.weight")
    });
    let log = daemon.log();
    assert!(log.contains("wieght"), "all errors at once: {log}");
    assert!(queue(&daemon, "b").is_some() && queue(&daemon, "c").is_none());
}

#[test]
fn a_queue_with_tasks_is_not_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), BEFORE);
    let id = daemon
        .http
        .submit(&json!({"queue": "b", "demand": {"cpus": 4000}, "run": {"argv": ["true"]}}));
    let _ = write_config(folder.path(), "[queues.a]\n");
    daemon.signal(Signal::SIGHUP);
    wait::for_true("the daemon to complain", || {
        daemon.log().contains("still has 1 task")
    });
    assert_eq!(daemon.http.task(id)["state"], "queued");
    assert!(queue(&daemon, "b").is_some());
}
