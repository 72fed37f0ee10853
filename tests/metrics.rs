//! The metrics page of the real daemon after real work, read by Prometheus' own checker.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::daemon::Daemon;
use crate::support::programs;

const NAMES: &[&str] = &[
    "apportion_queue_tasks{",
    "apportion_queue_used{",
    "apportion_queue_share{",
    "apportion_queue_dominant_share{",
    "apportion_task_wait_seconds_bucket{",
    "apportion_tasks_finished_total{",
    "apportion_decisions_total{",
    "apportion_decision_seconds_bucket{",
    "apportion_store_commit_seconds_bucket{",
];

fn page() -> String {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), "[queues.default]\n[queues.other]\n");
    let ended = daemon
        .http
        .submit(&json!({"queue": "default", "run": {"argv": ["true"]}}));
    daemon.http.wait_ended(ended);
    let running = daemon
        .http
        .submit(&json!({"queue": "other", "run": {"command": "sleep 100"}}));
    daemon.http.wait_state(running, "running");
    daemon.http.get("/metrics").text()
}

#[test]
fn the_page_has_what_was_promised_with_true_values() {
    let page = page();
    for name in NAMES {
        assert!(
            page.lines().any(|line| line.starts_with(name)),
            "{name} is missing in:\n{page}"
        );
    }
    let value = |wanted: &[&str]| {
        let line = page
            .lines()
            .find(|line| wanted.iter().all(|word| line.contains(word)));
        let line = line.unwrap_or_else(|| panic!("{wanted:?} is missing in:\n{page}"));
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    assert!((value(&["apportion_queue_tasks{", "other", "running"]) - 1.0).abs() < 1e-9);
    assert!((value(&["apportion_queue_used{", "other", "cpus"]) - 1.0).abs() < 1e-9);
    assert!(
        (value(&["apportion_tasks_finished_total{", "default", "succeeded"]) - 1.0).abs() < 1e-9
    );
    assert!((value(&["apportion_decisions_total{", "drf"]) - 2.0).abs() < 1e-9);
}

#[test]
fn the_page_satisfies_promtool() {
    let Some(promtool) = programs::find("promtool", "prometheus") else {
        return;
    };
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(page().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success() && said.is_empty(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}
