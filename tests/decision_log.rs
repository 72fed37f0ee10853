//! The decision log: switched on for a queue by its configuration and a reload.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::daemon::{Daemon, write_config};
use crate::support::wait;

const MACHINE: &str = "[backend]\nresources = { cpus = 1 }\n";

/// The lines of the log about decisions.
fn decided(daemon: &Daemon) -> Vec<String> {
    let log = daemon.log();
    let lines = log.lines().filter(|line| line.contains(" decided "));
    lines.map(str::to_owned).collect()
}

#[test]
fn decisions_of_a_queue_are_logged_once_that_is_switched_on() {
    let folder = tempfile::tempdir().unwrap();
    let off = format!("[queues.\"maps/render\"]\n[queues.search]\n{MACHINE}");
    let daemon = Daemon::start(folder.path(), &off);
    let run = |queue: &str, command: &str| {
        let task = json!({"queue": queue, "demand": {"cpus": 0.25}, "run": {"command": command}});
        daemon.http.submit(&task)
    };
    daemon.http.wait_ended(run("maps/render", "true"));
    let on = format!(
        "[queues.maps]\ndecision_log = true\n[queues.\"maps/render\"]\n[queues.search]\n{MACHINE}"
    );
    let _ = write_config(folder.path(), &on);
    daemon.signal(Signal::SIGHUP);
    wait::for_true("the configuration to be read again", || {
        daemon.log().contains("is in effect")
    });
    let all = json!({"queue": "search", "demand": {"cpus": 1}, "run": {"command": "sleep 1000"}});
    let blocker = daemon.http.submit(&all);
    daemon.http.wait_state(blocker, "running");
    let (first, _) = (run("maps/render", "true"), run("search", "true"));
    let cancel = format!("/v1/tasks/{blocker}/cancel");
    let _ = daemon.http.post(&cancel, &json!({})).expect(200);
    daemon.http.wait_ended(first);
    wait::for_true("the decision to be logged", || !decided(&daemon).is_empty());
    let lines = decided(&daemon);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for part in [
        &format!("task={first}"),
        "attempt=1",
        "queue=\"maps/render\"",
        "agent=\"local\"",
        "cpus=1",
        "drf: maps 0 (0.0000), search 0 (0.0000); drf: maps/render 0 (0.0000)",
    ] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
}
