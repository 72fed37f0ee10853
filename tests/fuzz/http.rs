//! Bodies and paths of calls, against a daemon that must go on as if nothing had been.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::json;

use super::mutation::garbled;
use crate::support::daemon::Daemon;

/// Nobody answers as a master: what is made up must not run anywhere.
const CONFIG: &str = r#"
[resources.licences]
scope = "cluster"
capacity = 10
[queues.default]
[backend]
kind = "mesos"
[backend.mesos]
masters = ["http://127.0.0.1:1"]
"#;

fn bodies() -> Vec<Vec<u8>> {
    let task = json!({
        "queue": "default", "name": "tile 7/3", "key": "tile-7-3", "inbox": "release",
        "demand": {"cpus": 2000, "mem": "4GiB"}, "run": {"command": "render --tile 7/3"},
        "env": {"STAGE": "prod"}, "priority": 0, "retries": 2, "timeout": "2h", "kill_grace": "10s",
        "after": [], "constraints": {"rack": "r1"},
    });
    let array =
        json!({"demand": {"cpus": 3000}, "array": "0-99:3", "run": {"argv": ["sh", "-c", "true"]}});
    let python =
        json!({"demand": {"cpus": 3000}, "run": {"python": "gASVAgAAAAAAAAAu"}, "after": [1, "k"]});
    let bodies = [
        task.clone(),
        array.clone(),
        json!({ "tasks": [task, array, python] }),
        json!({"max": 100, "wait_seconds": 0, "ack": "1"}),
        json!({"reason": "no longer needed"}),
        json!({"used": 12}),
    ];
    bodies
        .iter()
        .map(|body| body.to_string().into_bytes())
        .collect()
}

const PATHS: [&str; 7] = [
    "/v1/tasks",
    "/v1/tasks/1/cancel",
    "/v1/tasks/1/retry",
    "/v1/inboxes/release/pop",
    "/v1/resources/licences/outside",
    "/v1/attempts/1.1/value",
    "/v1/tasks/18446744073709551616/cancel",
];

/// No body makes the daemon answer that it failed, and all errors have a code and a message.
#[test]
fn whatever_is_posted_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), CONFIG);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(500));
    let calls = (prop::sample::select(&PATHS[..]), garbled(bodies()));
    let ran = runner.run(&calls, |(path, body)| {
        let answer = daemon.http.post_bytes(path, "application/json", body);
        prop_assert!(answer.status < 500, "{} {}", answer.status, answer.text());
        if answer.status >= 400 {
            let error = &answer.json()["error"];
            prop_assert!(
                error["code"].is_string() && error["message"].is_string(),
                "{error}"
            );
        }
        Ok(())
    });
    ran.unwrap();
    assert_eq!(daemon.http.get("/healthz").status, 200);
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}

/// The same of what stands in paths and queries.
#[test]
fn whatever_is_asked_for_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), "");
    let part = "[-a-z0-9.,%/?&=_:~+ ]{0,20}|%[0-9a-f]{2}|[0-9]{1,25}";
    let places = prop::sample::select(vec![
        "/v1/tasks/",
        "/v1/tasks?limit=",
        "/v1/tasks?state=",
        "/v1/tasks?after=",
        "/v1/tasks?queue=",
        "/v1/tasks/1/logs/stdout?offset=",
        "/v1/tasks/1/",
        "/v1/inboxes/",
        "/v1/executor/",
        "/",
    ]);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(300));
    let ran = runner.run(&(places, part), |(place, part)| {
        let Ok(answer) = daemon.http.try_get(&format!("{place}{part}")) else {
            // No URL at all: the client says so itself.
            return Ok(());
        };
        prop_assert!(answer.status < 500, "{} {}", answer.status, answer.text());
        Ok(())
    });
    ran.unwrap();
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}
