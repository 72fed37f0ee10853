//! Limits at the door: beyond them callers hear why, and the rest goes on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::daemon::Daemon;
use crate::support::wait;

/// Asks on a connection of its own, and gives all that comes back.
fn ask(address: &str) -> String {
    let Ok(mut connection) = TcpStream::connect(address) else {
        return String::new();
    };
    let wait = Some(Duration::from_secs(60));
    connection.set_read_timeout(wait).unwrap();
    let call = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let _ = connection.write_all(call.as_bytes());
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn beyond_the_most_connections_callers_hear_so_and_those_that_are_there_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), "connections_max = 16\n");
    let address = daemon.url.trim_start_matches("http://").to_owned();
    let mut open: Vec<TcpStream> = (0..16)
        .map(|_| TcpStream::connect(&address).unwrap())
        .collect();
    wait::for_true("a refusal", || {
        let answer = ask(&address);
        answer.starts_with("HTTP/1.1 503")
            && answer.contains("retry-after")
            && answer.contains("too_many_connections")
    });
    let first = &mut open[0];
    first
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    first.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(open);
    wait::for_true("room for others", || {
        ask(&address).starts_with("HTTP/1.1 200")
    });
}
