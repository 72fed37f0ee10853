//! What intruders try on the real daemon: two calls in one, secrets of its environment, links in the place of outputs.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::json;

use crate::support::daemon::Daemon;

/// Sends these bytes and gives all that comes back.
fn raw(daemon: &Daemon, text: &str) -> String {
    let address = daemon.url.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).unwrap();
    connection
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    connection.write_all(text.as_bytes()).unwrap();
    let _ = connection.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_call_hidden_in_another_is_not_heard() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), "");
    let task = r#"{"run":{"command":"true"}}"#;
    let hidden = format!(
        "POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{task}",
        task.len()
    );
    let chunked = format!("0\r\n\r\n{hidden}");
    let n_bytes = chunked.len();
    for (headers, body) in [
        (
            format!("content-length: 0\r\ncontent-length: {n_bytes}\r\n"),
            hidden.clone(),
        ),
        (format!("content-length: {n_bytes}, 0\r\n"), hidden.clone()),
        ("content-length: +0\r\n".to_owned(), hidden.clone()),
        ("content-length: 0x0\r\n".to_owned(), hidden.clone()),
        (
            format!("content-length: {n_bytes}\r\ntransfer-encoding: xchunked\r\n"),
            chunked.clone(),
        ),
        (
            format!("content-length: {n_bytes}\r\ntransfer-encoding: chunked, identity\r\n"),
            chunked.clone(),
        ),
        (
            format!("content-length: {n_bytes}\r\ntransfer-encoding : chunked\r\n"),
            chunked.clone(),
        ),
        (
            format!("content-length: {n_bytes}\r\nx: y\r\n transfer-encoding: chunked\r\n"),
            chunked.clone(),
        ),
        (
            format!("content-length: {n_bytes}\r\ntransfer-encoding: chunked\r\n"),
            chunked.clone(),
        ),
        (
            format!("transfer-encoding: chunked\r\ncontent-length: {n_bytes}\r\n"),
            chunked.clone(),
        ),
    ] {
        let call =
            format!("POST /v1/tasks/9/retry HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n{body}");
        let answer = raw(&daemon, &call);
        assert!(
            answer.matches("HTTP/1.1 ").count() <= 1,
            "{headers}{answer}"
        );
        assert!(!answer.contains("\"created\""), "{headers}{answer}");
    }
    let tasks = daemon.http.get("/v1/tasks").expect(200);
    assert_eq!(tasks["tasks"], json!([]));
    // A head without end, or of too many headers, is refused, and the daemon goes on.
    let long = format!(
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "y".repeat(1 << 20)
    );
    let many = format!(
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\n{}\r\n",
        "x: y\r\n".repeat(1000)
    );
    for head in [long, many] {
        assert!(raw(&daemon, &head).starts_with("HTTP/1.1 431"));
    }
    let _ = daemon.http.get("/healthz").expect(200);
}

#[test]
fn a_task_sees_nothing_of_the_daemons_environment() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::try_start_with(folder.path(), "", |command| {
        command.env("APPORTION_TOKEN", "leaked-token");
        command.env("DATABASE_PASSWORD", "leaked-password");
        command.env("LD_PRELOAD", "");
    })
    .unwrap();
    let look = "env; tr '\\0' '\\n' < /proc/self/environ; tr '\\0' '\\n' < /proc/$PPID/environ; ls -l /proc/self/fd";
    let task = daemon.http.submit(&json!({"run": {"command": look}}));
    daemon.http.wait_ended(task);
    let seen = daemon.http.get(&format!("/v1/tasks/{task}/result")).text();
    assert!(seen.contains("APPORTION_TASK_ID"), "{seen}");
    assert!(!seen.contains("leaked"), "{seen}");
    assert!(
        !seen.contains("apportion.db") && !seen.contains("socket:"),
        "{seen}"
    );
}

#[test]
fn what_a_task_puts_in_the_place_of_its_output_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "the secret of somebody else").unwrap();
    let daemon = Daemon::start(folder.path(), "");
    let link = format!("ln -sf {} ../$APPORTION_TASK_ID.1.stdout", secret.display());
    let pipe =
        "sleep 0.1; rm -f ../$APPORTION_TASK_ID.1.stdout; mkfifo ../$APPORTION_TASK_ID.1.stdout";
    for command in [&link, pipe] {
        let task = daemon.http.submit(&json!({"run": {"command": command}}));
        let ended = daemon.http.wait_ended(task);
        assert_eq!(ended["state"], "succeeded", "{ended}");
        for path in [
            format!("/v1/tasks/{task}/logs/stdout"),
            format!("/v1/tasks/{task}/result"),
        ] {
            let seen = daemon.http.get(&path).text();
            assert!(!seen.contains("secret of somebody"), "{command}: {seen}");
        }
    }
    assert_eq!(
        std::fs::read_to_string(&secret).unwrap(),
        "the secret of somebody else"
    );
}
