//! With a half-life, what queues used before a crash still counts after it.

use std::fs;

use serde_json::json;

use crate::support::daemon::Daemon;
use crate::support::wait;

const CONFIG: &str = "\
[policy]
name = \"drf\"
half_life = \"1h\"
[resources.slots]
scope = \"cluster\"
capacity = 1
[queues.greedy]
[queues.modest]
";

/// One task that holds the only slot until a file is there.
fn submit(daemon: &Daemon, queue: &str, go: &std::path::Path) -> u64 {
    let line = format!("until [ -e {} ]; do sleep 0.02; done", go.display());
    daemon.http.submit(&json!({
        "queue": queue,
        "demand": {"cpus": 0.01, "slots": 1},
        "run": {"command": line},
    }))
}

fn use_outside(daemon: &Daemon, used: u64) {
    let report = json!({"used": used});
    let answer = daemon.http.post("/v1/resources/slots/outside", &report);
    let _ = answer.expect(204);
}

#[test]
fn past_use_counts_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let daemon = Daemon::start(folder.path(), CONFIG);
    let before = submit(&daemon, "greedy", &first);
    daemon.http.wait_state(before, "running");
    fs::write(&first, "").unwrap();
    daemon.http.wait_state(before, "succeeded");
    daemon.kill();

    let daemon = Daemon::start(folder.path(), CONFIG);
    // While others use the slot, a task waits in each queue; the one that had it before was the first to ask.
    use_outside(&daemon, 1);
    let greedy = submit(&daemon, "greedy", &second);
    let modest = submit(&daemon, "modest", &second);
    use_outside(&daemon, 0);
    daemon.http.wait_state(modest, "running");
    assert_eq!(daemon.http.task(greedy)["state"], "queued");
    fs::write(&second, "").unwrap();
    wait::for_true("both to end", || {
        let is_over = |task| daemon.http.task(task)["state"] == "succeeded";
        is_over(modest) && is_over(greedy)
    });
}
