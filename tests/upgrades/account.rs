//! The account after an upgrade: what had ended is as it was told, what had not ends now, each as it must.

use std::time::Duration;

use serde_json::{Value, json};

use super::story::{self, ACKNOWLEDGED, AUDIT_SINCE, HELD_UP, LEFT, PYTHON_SINCE};
use crate::support::http::Http;
use crate::support::wait;

fn id(task: &Value) -> u64 {
    task["id"].as_u64().unwrap()
}

/// The tasks under a key, in order of their ids.
fn of<'a>(told: &'a [Value], key: &str) -> Vec<&'a Value> {
    let found: Vec<_> = told.iter().filter(|task| task["key"] == key).collect();
    assert!(!found.is_empty(), "there is no task {key}");
    found
}

fn first(told: &[Value], key: &str) -> u64 {
    id(of(told, key)[0])
}

fn has_ended(task: &Value) -> bool {
    !task["outcome"].is_null()
}

/// Holds a data directory that was just opened against what the daemon before told of it.
pub(super) fn check(http: &Http, told: &[Value], version: i64) {
    check_known(http, told);
    check_ended(http, told);
    check_audit(http, told, version);
    check_keys(http, told);
    check_live(http, told);
    check_inboxes(http, told, version);
    let last = told.iter().map(id).max().unwrap();
    let next = http.submit(&json!({"queue": "search", "run": {"command": "true"}}));
    assert_eq!(next, last + 1, "ids go on where they stood");
    http.wait_state(next, "succeeded");
}

/// Exactly the tasks that were told of are there.
fn check_known(http: &Http, told: &[Value]) {
    let page = http.get("/v1/tasks?limit=1000").expect(200);
    let ids = |tasks: &[Value]| -> Vec<u64> { tasks.iter().map(id).collect() };
    assert_eq!(ids(page["tasks"].as_array().unwrap()), ids(told));
}

/// Whatever was told of the tasks that had ended is told of them now; more may be.
pub(super) fn check_ended(http: &Http, told: &[Value]) {
    let mut n_ended = 0;
    for before in told.iter().filter(|task| has_ended(task)) {
        let now = http.task(id(before));
        for (field, value) in before.as_object().unwrap() {
            assert_eq!(&now[field], value, "{field} of {before}");
        }
        n_ended += 1;
    }
    assert!(n_ended >= 6, "the fixture has too few tasks that ended");
    let result = |key: &str| http.get(&format!("/v1/tasks/{}/result", first(told, key)));
    assert_eq!(result("good").body, b"good\n");
    assert_eq!(result("array").body, b"index 2\n");
    if told.iter().any(|task| task["key"] == "large") {
        let body = result("large").body;
        assert!(body.len() > 70_000 && body.windows(4).any(|part| part == b"vvvv"));
    }
    let output = format!("/v1/tasks/{}/logs/stderr", first(told, "bad"));
    assert_eq!(http.get(&output).text(), "said before\n");
}

/// A key still stands for its task.
fn check_keys(http: &Http, told: &[Value]) {
    for key in ["good", "queued"] {
        let again = http.post("/v1/tasks", &story::task(key)).expect(200);
        assert_eq!(
            again["tasks"][0],
            json!({"id": first(told, key), "count": 1, "created": false})
        );
    }
    let mut other = story::task("good");
    other["run"] = json!({"command": "echo another"});
    let _ = http
        .post("/v1/tasks", &other)
        .expect_error(409, "key_reused");
}

/// What had not ended ends now: what ran is lost to the restart and runs again, the rest runs for the first time.
fn check_live(http: &Http, told: &[Value]) {
    let lost = "daemon_restarted";
    for (key, place, state, ends) in [
        ("running", 0, "succeeded", &[lost, "exited"][..]),
        ("array", 1, "succeeded", &[lost, "exited"]),
        ("array", 5, "succeeded", &["exited"]),
        ("stubborn", 0, "cancelled", &[lost]),
        ("retried", 0, "succeeded", &["exited", "exited"]),
        ("pausing", 0, "succeeded", &["exited", "exited"]),
        ("queued", 0, "succeeded", &["exited"]),
        ("waiting", 0, "succeeded", &["exited"]),
    ] {
        let before = of(told, key)[place];
        assert!(!has_ended(before), "{before}");
        let now = wait::until(key, Duration::from_secs(120), || {
            Some(http.task(id(before))).filter(has_ended)
        });
        assert_eq!(now["state"], state, "{now}");
        for field in [
            "key",
            "queue",
            "name",
            "inbox",
            "demand",
            "run",
            "env",
            "priority",
            "submitted_at",
        ] {
            assert_eq!(now[field], before[field], "{field} of {now}");
        }
        let attempts = now["attempts"].as_array().unwrap();
        let code = |attempt: &Value| attempt["end"]["code"].as_str().unwrap().to_owned();
        let found: Vec<String> = attempts.iter().map(code).collect();
        assert_eq!(found, ends, "{now}");
    }
    let said = http.get(&format!("/v1/tasks/{}/result", first(told, "queued")));
    assert_eq!(said.text(), "prod ü\n");
    // What others use is remembered too, so this one waits on.
    let held_up = http.task(first(told, HELD_UP));
    assert_eq!(held_up["state"], "queued", "{held_up}");
}

/// Everything that was not acknowledged is delivered, and nothing else.
fn check_inboxes(http: &Http, told: &[Value], version: i64) {
    let pop = |inbox: &str| {
        let body = http.post(&format!("/v1/inboxes/{inbox}/pop"), &json!({"max": 100}));
        let body = body.expect(200);
        let mut found: Vec<(u64, String)> = body["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|task| (id(task), task["state"].as_str().unwrap().to_owned()))
            .collect();
        found.sort();
        found
    };
    assert_eq!(pop(ACKNOWLEDGED), []);
    let mut expected: Vec<(u64, String)> = Vec::new();
    for (key, states) in [
        ("good", &["succeeded"][..]),
        ("bad", &["failed"]),
        ("orphan", &["cancelled"]),
        ("retried", &["failed", "succeeded"]),
        ("pausing", &["succeeded"]),
        ("large", &["succeeded"]),
        ("stubborn", &["cancelled"]),
        ("running", &["succeeded"]),
        ("array", &["succeeded"]),
        ("cancelled", &["cancelled"]),
        ("queued", &["succeeded"]),
        ("waiting", &["succeeded"]),
    ] {
        if key == "large" && version < PYTHON_SINCE {
            continue;
        }
        for task in of(told, key) {
            expected.extend(states.iter().map(|state| (id(task), (*state).to_owned())));
        }
    }
    expected.sort();
    assert_eq!(pop(LEFT), expected);
}

/// The audit trail, where there was one: who asked for what is still known.
fn check_audit(http: &Http, told: &[Value], version: i64) {
    let cancelled = first(told, "cancelled");
    let body = http
        .get(&format!("/v1/tasks/{cancelled}/history"))
        .expect(200);
    let actions: Vec<&str> = body["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["action"].as_str())
        .collect();
    if version < AUDIT_SINCE {
        assert_eq!(actions, [""; 0]);
    } else {
        assert_eq!(actions, ["cancelled", "submitted"]);
        assert_eq!(body["entries"][0]["detail"], "no longer wanted");
    }
}
