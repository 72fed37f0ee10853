//! Limits at the door: beyond them callers hear why, and the rest goes on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::http::Answer;
use crate::support::wait;

/// A connection to a daemon on which nothing is waited for very long.
fn connect(daemon: &Daemon) -> TcpStream {
    let connection = TcpStream::connect(daemon.url.trim_start_matches("http://")).unwrap();
    let wait = Some(Duration::from_secs(60));
    connection.set_read_timeout(wait).unwrap();
    connection
}

/// Sends what may no longer be taken.
fn send(connection: &mut TcpStream, text: &str) {
    let _ = connection.write_all(text.as_bytes());
}

/// All that comes back until the connection ends.
fn receive(connection: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Asks on a connection of its own, and gives all that comes back.
fn ask(daemon: &Daemon) -> String {
    let mut connection = connect(daemon);
    send(
        &mut connection,
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    );
    receive(&mut connection)
}

/// Waits until there is room for another connection.
fn wait_for_room(daemon: &Daemon) {
    wait::for_true("room for others", || {
        ask(daemon).starts_with("HTTP/1.1 200")
    });
}

/// As many connections as the daemon takes.
const CONNECTIONS_MAX: usize = 16;

#[test]
fn beyond_the_most_connections_callers_hear_so_and_those_that_are_there_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), "connections_max = 16\n");
    let mut open: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| connect(&daemon)).collect();
    wait::for_true("a refusal", || {
        let answer = ask(&daemon);
        answer.starts_with("HTTP/1.1 503")
            && answer.contains("retry-after")
            && answer.contains("too_many_connections")
    });
    let first = &mut open[0];
    send(
        first,
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    );
    let answer = receive(first);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(open);
    wait_for_room(&daemon);
}

/// Fills the daemon with connections that do this, and waits until it has cut them off: there is room for others, though
/// none of them was closed here. Two places may be those of the client that made the daemon ready.
fn are_cut_off(daemon: &Daemon, misbehave: impl Fn(&mut TcpStream)) {
    let mut slow: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| connect(daemon)).collect();
    slow.iter_mut().for_each(misbehave);
    wait::for_true("room for others", || {
        let others = 0..CONNECTIONS_MAX - 2;
        let mut others: Vec<TcpStream> = others.map(|_| connect(daemon)).collect();
        others.iter_mut().all(|connection| {
            send(
                connection,
                "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
            );
            let mut status = [0; 12];
            connection.read_exact(&mut status).is_ok() && status.ends_with(b"200")
        })
    });
}

fn start(folder: &Path, config: &str) -> Daemon {
    Daemon::start(
        folder,
        &format!("connections_max = {CONNECTIONS_MAX}\n{config}\n"),
    )
}

#[test]
fn heads_that_are_never_finished_are_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path(), "head_timeout = \"1s\"");
    are_cut_off(&daemon, |connection| {
        send(connection, "GET /healthz HTTP/1.1\r\nhost: loc");
    });
}

#[test]
fn connections_on_which_nothing_is_asked_are_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path(), "head_timeout = \"1s\"");
    are_cut_off(&daemon, |_| {});
}

#[test]
fn bodies_that_trickle_are_refused_and_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), "body_timeout = \"300ms\"\n");
    let mut connection = connect(&daemon);
    send(
        &mut connection,
        "POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\nconnection: close\r\n\r\n{\"run\":",
    );
    // Each byte comes soon after the one before, yet the whole takes too long.
    let mut trickle = connection.try_clone().unwrap();
    let trickling = std::thread::spawn(move || {
        wait::within(Duration::from_secs(30), || trickle.write_all(b" ").err())
    });
    let answer = receive(&mut connection);
    assert!(
        answer.starts_with("HTTP/1.1 408") && answer.contains("body_too_slow"),
        "{answer}"
    );
    drop(connection);
    trickling.join().unwrap();
    assert!(ask(&daemon).starts_with("HTTP/1.1 200"));
}

#[test]
fn callers_that_take_nothing_of_their_answers_are_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(
        folder.path(),
        "head_timeout = \"1h\"\nwrite_timeout = \"1s\"",
    );
    let id = daemon
        .http
        .submit(&json!({"run": {"command": "head -c 1048576 /dev/zero"}}));
    daemon.http.wait_state(id, "succeeded");
    // More than the system keeps on the way, all asked for at once.
    let call = format!("GET /v1/tasks/{id}/logs/stdout HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let calls = call.repeat(30);
    are_cut_off(&daemon, |connection| send(connection, &calls));
}

#[track_caller]
fn refused(answer: &Answer, code: &str) -> Value {
    let message = answer.expect_error(429, code);
    assert!(answer.retry_after.is_some(), "{message}");
    answer.json()["error"]["detail"].clone()
}

#[test]
fn beyond_the_most_streams_and_waits_callers_hear_so_and_those_that_are_there_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), "streams_max = 2\nwaits_max = 3\n");
    let stream = "GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let body = r#"{"wait_seconds": 60}"#;
    let pop = format!(
        "POST /v1/inboxes/none/pop HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let open = |call: &str| {
        let mut connection = connect(&daemon);
        send(&mut connection, call);
        connection
    };
    let mut streams = vec![open(stream), open(stream)];
    for connection in &mut streams {
        connection.read_exact(&mut [0; 12]).unwrap();
    }
    let detail = refused(&daemon.http.get("/v1/events"), "too_many_streams");
    assert_eq!(detail["max"], 2);
    let ask = json!({"wait_seconds": 1});
    // One that asks while there is a place may take it from one that shall stay, so there is always another one.
    let mut pops: Vec<TcpStream> = Vec::new();
    wait::for_true("a refused pop", || {
        pops.push(open(&pop));
        daemon.http.post("/v1/inboxes/none/pop", &ask).status == 429
    });
    let detail = refused(
        &daemon.http.post("/v1/inboxes/none/pop", &ask),
        "too_many_waits",
    );
    assert_eq!(detail["max"], 3);
    // Whoever doesn't wait is answered, and what is there is given.
    let id = daemon
        .http
        .submit(&json!({"inbox": "some", "run": {"command": "true"}}));
    daemon.http.wait_state(id, "succeeded");
    let body = daemon.http.post("/v1/inboxes/some/pop", &ask).expect(200);
    assert_eq!(body["tasks"][0]["id"], id);
    // The streams that were there told of it.
    let mut told = String::new();
    while !told.contains("succeeded") {
        let mut some = [0; 1024];
        let n_bytes = streams[0].read(&mut some).unwrap();
        assert!(n_bytes > 0, "the stream ended: {told}");
        told.push_str(&String::from_utf8_lossy(&some[..n_bytes]));
    }
    drop((streams, pops));
    wait::for_true("room for a pop", || {
        daemon.http.post("/v1/inboxes/none/pop", &ask).status == 200
    });
    // A stream that is closed is noticed when something is sent on it.
    wait::for_true("room for a stream", || {
        let _ = daemon.http.submit(&json!({"run": {"command": "true"}}));
        let mut connection = open(stream);
        let mut status = [0; 12];
        connection.read_exact(&mut status).unwrap();
        status.ends_with(b"200")
    });
}

#[test]
fn beyond_the_most_queued_tasks_submissions_are_refused_and_other_queues_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[queues.maps]\nqueued_max = 5\n[queues.\"maps/a\"]\n[queues.\"maps/b\"]\nqueued_max = 2\n[queues.free]\n\
        [backend]\nkind = \"local\"\nresources = { cpus = 1 }\n";
    let daemon = Daemon::start(folder.path(), config);
    let task = |queue: &str| json!({"queue": queue, "run": {"command": "sleep 1000"}});
    let running = daemon.http.submit(&task("free"));
    daemon.http.wait_state(running, "running");
    let mut array = task("maps/a");
    array["array"] = "1-4".into();
    let first = daemon.http.submit(&array);
    // As a whole or not at all: four of five places are taken, two more are too many.
    let two = json!({"tasks": [task("maps/a"), task("maps/a")]});
    let detail = refused(&daemon.http.post("/v1/tasks", &two), "queue_full");
    assert_eq!(
        detail,
        json!({"queue": "maps/a", "n_queued": 4, "n_new": 2, "max": 5})
    );
    let last = daemon.http.submit(&task("maps/a"));
    refused(
        &daemon.http.post("/v1/tasks", &task("maps/a")),
        "queue_full",
    );
    // Its own limit goes before that of the queue above; other queues have none.
    for _ in 0..2 {
        let _ = daemon.http.submit(&task("maps/b"));
    }
    refused(
        &daemon.http.post("/v1/tasks", &task("maps/b")),
        "queue_full",
    );
    let _ = daemon.http.submit(&task("free"));
    // A place comes free; a retry by hand needs one as well.
    let post = |path: String| daemon.http.post(&path, &json!({}));
    let _ = post(format!("/v1/tasks/{first}/cancel")).expect(200);
    let _ = daemon.http.submit(&task("maps/a"));
    refused(&post(format!("/v1/tasks/{first}/retry")), "queue_full");
    let _ = post(format!("/v1/tasks/{last}/cancel")).expect(200);
    let _ = post(format!("/v1/tasks/{first}/retry")).expect(200);
}
