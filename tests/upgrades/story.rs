//! What happens in a data directory before it becomes a fixture: tasks in every state that a daemon can be killed in.
//! It keeps to what the daemon of the given version knows.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http::Http;
use crate::support::wait;

/// The inbox whose deliveries are all acknowledged before the end, and the one of which none is.
pub(super) const ACKNOWLEDGED: &str = "acknowledged";
pub(super) const LEFT: &str = "left";

/// The task that others keep from running also afterwards: the licences that it wants are used outside.
pub(super) const HELD_UP: &str = "held-up";

/// The first version whose program runs Python and keeps large values as files, though version 2 had columns for them;
/// and the first with an audit trail.
pub(super) const PYTHON_SINCE: i64 = 3;
pub(super) const AUDIT_SINCE: i64 = 4;

/// What `run` of the task `large` returns, in length.
const LARGE_BYTES: usize = 70_000;

/// A configuration that every version reads; three tasks run at a time.
pub(super) fn config(retention: &str) -> String {
    format!(
        "retention = \"{retention}\"
[tasks]
retry_pause = \"1m\"
retry_pause_max = \"1m\"
[resources.licences]
scope = \"cluster\"
capacity = 4
[queues.\"maps/render\"]
weight = 3
[queues.search]
[backend]
kind = \"local\"
resources = {{ cpus = 3, mem = \"1GiB\" }}
"
    )
}

/// A task under this key.
pub(super) fn task(key: &str) -> Value {
    let command = |line: &str| json!({"key": key, "queue": "search", "inbox": LEFT, "run": {"command": line}});
    // What runs when the daemon is killed runs to its end in its next attempt.
    let at_second = "[ $APPORTION_ATTEMPT -ge 2 ]";
    let mut task = match key {
        "good" => command("echo good"),
        "delivered" => command("echo delivered"),
        "bad" => command("echo said before >&2; exit 3"),
        "retried" | "pausing" => command(&format!("{at_second} || exit 4; echo second time")),
        "running" => command(&format!("{at_second} || sleep 1000; echo ran again")),
        "stubborn" => command("trap '' TERM; sleep 1000; sleep 1000"),
        "array" => command(&format!(
            "case $APPORTION_ARRAY_INDEX in 2) ;; 4) {at_second} || sleep 1000;; esac; echo index $APPORTION_ARRAY_INDEX"
        )),
        "queued" => {
            json!({"key": key, "inbox": LEFT, "run": {"argv": ["printenv", "STAGE"]}, "name": "tile 7/3 <b>"})
        }
        "cancelled" | "waiting" | "orphan" | HELD_UP => command("echo $APPORTION_TASK_ID"),
        "large" => {
            json!({"key": key, "queue": "search", "inbox": LEFT, "run": {"python": pickle(&format!("'v' * {LARGE_BYTES}"))}})
        }
        other => panic!("there is no task {other}"),
    };
    match key {
        "delivered" => task["inbox"] = ACKNOWLEDGED.into(),
        "pausing" => task["retries"] = 1.into(),
        "stubborn" => task["kill_grace"] = "1h".into(),
        "running" => task["timeout"] = "2h".into(),
        "array" => task["array"] = "2-12:2".into(),
        "queued" => {
            task["queue"] = "maps/render".into();
            task["demand"] = json!({"cpus": 0.5, "mem": "64MiB", "licences": 0});
            task["env"] = json!({"STAGE": "prod ü"});
            task["priority"] = (-5).into();
            task["retries"] = 2.into();
        }
        HELD_UP => task["demand"] = json!({"cpus": 0.001, "licences": 1}),
        _ => {}
    }
    task
}

/// A pickle, in base64, of an object whose `run()` returns what an expression gives.
fn pickle(expression: &str) -> String {
    use base64::Engine as _;
    let made = format!("type('T', (), {{'run': lambda self: {expression}}})()");
    let text = format!("cbuiltins\neval\n(V{made}\ntR.");
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// The lowest id of what was submitted under a key.
fn submit(http: &Http, key: &str) -> u64 {
    http.submit(&task(key))
}

fn submit_after(http: &Http, key: &str, after: u64) -> u64 {
    let mut task = task(key);
    task["after"] = json!([after]);
    http.submit(&task)
}

/// Makes it happen; on return everything is as it will be when the daemon is killed.
pub(super) fn tell(http: &Http, version: i64) {
    let used = http.post("/v1/resources/licences/outside", &json!({"used": 4}));
    assert_eq!(used.status, 204, "{}", used.text());
    let good = submit(http, "good");
    http.wait_state(good, "succeeded");
    let delivered = submit(http, "delivered");
    http.wait_state(delivered, "succeeded");
    let pop = |ack: &Value| {
        let path = format!("/v1/inboxes/{ACKNOWLEDGED}/pop");
        http.post(&path, &json!({"ack": ack})).expect(200)
    };
    let token = pop(&Value::Null)["token"].clone();
    assert!(pop(&token)["tasks"].as_array().unwrap().is_empty());
    let bad = submit(http, "bad");
    http.wait_state(bad, "failed");
    let orphan = submit_after(http, "orphan", bad);
    http.wait_state(orphan, "cancelled");
    let retried = submit(http, "retried");
    http.wait_state(retried, "failed");
    let pausing = submit(http, "pausing");
    wait::for_true("a first failure", || {
        http.task(pausing)["attempts"][0]["ended_at"].is_string()
    });
    if version >= PYTHON_SINCE {
        let large = submit(http, "large");
        http.wait_state(large, "succeeded");
    }
    // From here on the machine fills up.
    let stubborn = submit(http, "stubborn");
    http.wait_state(stubborn, "running");
    let running = submit(http, "running");
    http.wait_state(running, "running");
    let array = submit(http, "array");
    http.wait_state(array, "succeeded");
    http.wait_state(array + 1, "running");
    let post = |id: u64, what: &str, state: &str| {
        let path = format!("/v1/tasks/{id}/{what}");
        let body = json!({"reason": "no longer wanted"});
        let body = if what == "cancel" { body } else { json!({}) };
        let _ = http.post(&path, &body).expect(200);
        http.wait_state(id, state);
    };
    let cancelled = submit(http, "cancelled");
    post(cancelled, "cancel", "cancelled");
    post(stubborn, "cancel", "cancelling");
    post(retried, "retry", "queued");
    submit(http, "queued");
    submit(http, HELD_UP);
    submit_after(http, "waiting", running);
    wait::until("all to stand still", Duration::from_secs(30), || {
        let page = http.get("/v1/tasks?state=launching&limit=1").expect(200);
        page["tasks"].as_array()?.is_empty().then_some(())
    });
}
