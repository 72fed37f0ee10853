//! Tasks from submission to result, as a caller sees them.

use axum::http::StatusCode;
use serde_json::{Value as Json, json};

use super::env::{Daemon, attempt, without_times};
use crate::engine::AttemptEnd;
use crate::engine::outcome::{Value, ValueFile};

fn task() -> serde_json::Value {
    json!({"queue": "maps/render", "demand": {"db": 2, "mem": "1GiB"}, "run": {"command": "true"}})
}

#[tokio::test]
async fn one_task_from_submission_to_result() {
    let daemon = Daemon::start();
    let answer = daemon.post("/v1/tasks", task().to_string()).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(
        answer.json(),
        json!({"tasks": [{"id": 1, "count": 1, "created": true}]})
    );
    let state = daemon.get("/v1/tasks/1").await.json()["state"].clone();
    assert_eq!(state, "queued");
    assert_eq!(
        daemon.get("/v1/tasks/1/result").await.error(),
        "409 not_ended: task 1 is queued, so it has no result yet"
    );
    assert_eq!(
        daemon.get("/v1/tasks/1/logs/stdout").await.error(),
        "404 no_output: task 1: it has had no attempt yet"
    );
    daemon.add_agent().await;
    assert!(daemon.is_launched(1, 1));
    daemon.started(1, 1).await;
    let running = without_times(daemon.get("/v1/tasks/1").await.json());
    assert_eq!(running["state"], "running");
    assert_eq!(running["attempts"][0]["agent"], "m1");
    daemon.ended(1, 1, 0, "a map").await;
    let shown = without_times(daemon.get("/v1/tasks/1").await.json());
    insta::assert_json_snapshot!("succeeded_task", shown);
    let result = daemon.get("/v1/tasks/1/result").await;
    assert_eq!(result.bytes, b"a map");
    assert_eq!(result.header("content-type"), "application/octet-stream");
    assert_eq!(result.header("apportion-outcome"), "succeeded");
    assert_eq!(result.header("apportion-value-truncated"), "false");
    assert_eq!(
        daemon.post("/v1/tasks/1/cancel", "").await.error(),
        "409 already_ended: task 1 has already ended: succeeded"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_key_makes_a_submission_idempotent() {
    let daemon = Daemon::start();
    let submit = json!({"tasks": [
        {"key": "a", "array": "0-9", "run": {"command": "true"}},
        {"key": "b", "after": ["a"], "run": {"command": "true"}},
    ]});
    let first = daemon.post("/v1/tasks", submit.to_string()).await;
    assert_eq!(first.status, StatusCode::CREATED);
    assert_eq!(
        first.json(),
        json!({"tasks": [{"id": 1, "count": 10, "created": true}, {"id": 11, "count": 1, "created": true}]})
    );
    let again = daemon.post("/v1/tasks", submit.to_string()).await;
    assert_eq!(again.status, StatusCode::OK, "nothing was created");
    assert_eq!(
        again.json(),
        json!({"tasks": [{"id": 1, "count": 10, "created": false}, {"id": 11, "count": 1, "created": false}]})
    );
    let waiting = daemon.get("/v1/tasks/11").await.json();
    assert_eq!(waiting["state"], "waiting");
    assert_eq!(waiting["after"], json!([{"task": 1, "count": 10}]));
    let member = daemon.get("/v1/tasks/4").await.json();
    assert_eq!(
        (&member["array"], &member["array_index"]),
        (&json!("0-9"), &json!(3))
    );
    let none = daemon.post("/v1/tasks", r#"{"tasks": []}"#).await;
    assert_eq!(
        (none.status, none.json()),
        (StatusCode::OK, json!({"tasks": []}))
    );
    daemon.stop().await;
}

#[tokio::test]
async fn pages_follow_one_another() {
    let daemon = Daemon::start();
    daemon
        .submit(&json!({"array": "0-6", "run": {"command": "true"}}))
        .await;
    daemon.submit(&task()).await;
    daemon.post("/v1/tasks/2/cancel", "").await;
    let ids = async |path: String| {
        let page = daemon.get(&path).await.json();
        let tasks = page["tasks"].as_array().unwrap().iter();
        let ids: Vec<u64> = tasks.map(|task| task["id"].as_u64().unwrap()).collect();
        (ids, page["next_after"].as_u64())
    };
    assert_eq!(
        ids("/v1/tasks?limit=3".into()).await,
        (vec![1, 2, 3], Some(3))
    );
    assert_eq!(
        ids("/v1/tasks?limit=3&after=3".into()).await,
        (vec![4, 5, 6], Some(6))
    );
    assert_eq!(
        ids("/v1/tasks?limit=2&after=6".into()).await,
        (vec![7, 8], None)
    );
    assert_eq!(
        ids("/v1/tasks?queue=maps".into()).await,
        (vec![8], None),
        "the queues below"
    );
    assert_eq!(
        ids("/v1/tasks?state=cancelled".into()).await,
        (vec![2], None)
    );
    assert_eq!(
        ids("/v1/tasks?state=cancelled,running&state=queued&limit=2&queue=default".into()).await,
        (vec![1, 2], Some(2))
    );
    daemon.stop().await;
}

#[tokio::test]
async fn cancel_then_retry() {
    let daemon = Daemon::start();
    daemon.submit(&task()).await;
    daemon.add_agent().await;
    daemon.started(1, 1).await;
    assert_eq!(
        daemon.post("/v1/tasks/1/retry", "").await.error(),
        "409 not_retryable: task 1 is running; only a failed or cancelled task can be retried"
    );
    let cancelled = daemon
        .post("/v1/tasks/1/cancel", r#"{"reason": "wrong map"}"#)
        .await;
    assert_eq!(
        (cancelled.status, cancelled.json()),
        (StatusCode::OK, json!({"id": 1, "state": "cancelling"}))
    );
    assert!(daemon.is_killed(1, 1));
    let again = daemon.post("/v1/tasks/1/cancel", "").await;
    assert_eq!(
        again.json(),
        json!({"id": 1, "state": "cancelling"}),
        "no error"
    );
    daemon.ended(1, 1, 143, "").await;
    let shown = daemon.get("/v1/tasks/1").await.json();
    assert_eq!(
        shown["outcome"]["cause"],
        json!({"code": "cancelled", "message": "cancelled: wrong map"})
    );
    let again = daemon.post("/v1/tasks/1/cancel", "").await;
    assert_eq!(again.json(), json!({"id": 1, "state": "cancelled"}));
    let retried = daemon.post("/v1/tasks/1/retry", "").await;
    assert_eq!(
        (retried.status, retried.json()),
        (StatusCode::OK, json!({"id": 1, "state": "queued"}))
    );
    let refused = daemon
        .post(
            "/v1/tasks/1/cancel",
            json!({"reason": "x".repeat(1025)}).to_string(),
        )
        .await;
    assert_eq!(
        refused.error(),
        "422 invalid_field: reason: may have at most 1024 bytes"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn queues_agents_and_resources() {
    let daemon = Daemon::start();
    daemon.submit(&task()).await;
    daemon
        .submit(&json!({"array": "0-4", "run": {"command": "true"}}))
        .await;
    daemon
        .submit(&json!({"demand": {"cpus": 100}, "run": {"command": "true"}}))
        .await;
    daemon.add_agent().await;
    let told = daemon
        .post("/v1/resources/db/outside", r#"{"used": 0.5}"#)
        .await;
    assert_eq!((told.status, told.bytes.len()), (StatusCode::NO_CONTENT, 0));
    insta::assert_json_snapshot!("queues", daemon.get("/v1/queues").await.json());
    insta::assert_json_snapshot!("agents", daemon.get("/v1/agents").await.json());
    insta::assert_json_snapshot!("resources", daemon.get("/v1/resources").await.json());
    daemon.stop().await;
}

#[tokio::test]
async fn why_a_task_waits() {
    let daemon = Daemon::start();
    daemon.submit(&task()).await;
    daemon.submit(&task()).await;
    daemon
        .submit(&json!({"demand": {"cpus": 100}, "run": {"command": "true"}}))
        .await;
    daemon
        .submit(&json!({"after": [1], "run": {"command": "true"}}))
        .await;
    daemon.add_agent().await;
    daemon.started(1, 1).await;
    for (task, name) in [
        (1, "running"),
        (2, "at_max"),
        (3, "never_fits"),
        (4, "after"),
    ] {
        let explained = daemon.get(&format!("/v1/tasks/{task}/explain")).await;
        assert_eq!(explained.status, StatusCode::OK, "{explained:?}");
        let mut shown = explained.json();
        for attempt in shown["attempts"].as_array_mut().unwrap() {
            assert!(attempt["waited_seconds"].is_number());
            attempt["waited_seconds"] = "a moment".into();
            attempt["launched_at"] = "then".into();
        }
        insta::assert_json_snapshot!(format!("explain_{name}"), shown);
    }
    daemon.ended(1, 1, 0, "").await;
    let ended = daemon.get("/v1/tasks/1/explain").await.json();
    assert_eq!(
        ended,
        json!({"id": 1, "state": "succeeded", "queue": "maps/render", "n_ahead": 0, "ahead": [], "reasons": [], "offers": null, "steps": [], "steps_for_agent": null, "attempts": []})
    );
    daemon.stop().await;
}

#[tokio::test]
async fn outputs_are_read_from_any_offset() {
    let daemon = Daemon::start();
    daemon
        .submit(&json!({"retries": 1, "run": {"command": "true"}}))
        .await;
    daemon.add_agent().await;
    daemon.logs.write(attempt(1, 1), "half a map");
    let answer = daemon.get("/v1/tasks/1/logs/stdout?offset=5").await;
    assert_eq!(answer.bytes, b"a map");
    assert_eq!(answer.header("apportion-log-total"), "10");
    assert_eq!(answer.header("apportion-log-ended"), "false");
    assert_eq!(answer.header("apportion-attempt"), "1");
    let beyond = daemon.get("/v1/tasks/1/logs/stdout?offset=99").await;
    assert_eq!((beyond.status, beyond.bytes.len()), (StatusCode::OK, 0));
    daemon.ended(1, 1, 1, "").await;
    let ended = daemon.get("/v1/tasks/1/logs/stdout?attempt=1").await;
    assert_eq!(ended.header("apportion-log-ended"), "true");
    assert_eq!(
        daemon
            .get("/v1/tasks/1/logs/stdout?attempt=3")
            .await
            .error(),
        "404 no_output: task 1: there is no such attempt"
    );
    assert_eq!(
        daemon.get("/v1/tasks/1/logs/stderr").await.error(),
        "404 no_output: task 1: nothing is kept of this attempt's output"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn what_happened_is_on_the_metrics_page() {
    let daemon = Daemon::start();
    daemon.submit(&task()).await;
    daemon.add_agent().await;
    daemon.started(1, 1).await;
    daemon.ended(1, 1, 0, "").await;
    daemon.get("/nowhere").await;
    let answer = daemon.get("/metrics").await;
    assert_eq!(
        answer.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let page = String::from_utf8(answer.bytes).unwrap();
    for line in [
        r#"apportion_tasks_finished_total{queue="maps/render",outcome="succeeded"} 1"#,
        r#"apportion_task_wait_seconds_count{queue="maps/render"} 1"#,
        r#"apportion_task_run_seconds_sum{queue="maps/render"} 1.5"#,
        r#"apportion_decisions_total{policy="drf"} 1"#,
        r#"apportion_events_total{kind="attempt_ended"} 1"#,
        r#"apportion_queue_weight{queue="maps"} 3"#,
        r#"apportion_resource_capacity{resource="db"} 4"#,
        r#"apportion_http_requests_total{method="POST",route="/v1/tasks",code="201"} 1"#,
        r#"apportion_http_requests_total{method="GET",route="unmatched",code="404"} 1"#,
        "apportion_store_commit_seconds_count 4",
        "apportion_unsatisfiable_tasks 0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_panic_is_answered() {
    let mut daemon = Daemon::start();
    let broken = axum::routing::get(|| async { panic!("a defect") as &'static str });
    daemon.router = axum::Router::new().route("/broken", broken).layer(
        tower_http::catch_panic::CatchPanicLayer::custom(crate::api::answer_panic),
    );
    assert_eq!(
        daemon.get("/broken").await.error(),
        "500 internal: the daemon failed at this call; its log says more"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_large_value_comes_from_its_file() {
    let daemon = Daemon::start();
    let task = json!({"inbox": "release", "run": {"python": "gAVOLg=="}});
    daemon.submit(&task).await;
    daemon.add_agent().await;
    let bytes: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
    let n_bytes = daemon.values.write(attempt(1, 1), &mut &bytes[..]).unwrap();
    let value = Value {
        file: Some(ValueFile {
            attempt: 1,
            n_bytes,
        }),
        ..Value::default()
    };
    let raised = AttemptEnd::Raised {
        message: "ValueError: no such tile".into(),
    };
    daemon.ended_with(1, 1, raised, value).await;
    let task = daemon.get("/v1/tasks/1").await.json();
    assert_eq!(task["outcome"]["value_bytes"], 200_000);
    assert_eq!(task["outcome"]["cause"]["code"], "raised");
    assert_eq!(
        task["outcome"]["cause"]["message"],
        "ValueError: no such tile"
    );
    assert_eq!(task["run"]["python"], "gAVOLg==");
    let popped = daemon.post("/v1/inboxes/release/pop", "").await.json();
    assert_eq!(popped["tasks"][0]["value"], Json::Null);
    assert_eq!(popped["tasks"][0]["value_attempt"], 1);
    assert_eq!(popped["tasks"][0]["run"], json!({"python": null}));
    let result = daemon.get("/v1/tasks/1/result").await;
    assert_eq!(result.header("content-length"), "200000");
    assert_eq!(result.header("content-type"), "application/octet-stream");
    assert_eq!(result.header("apportion-outcome"), "failed");
    assert_eq!(result.bytes, bytes);
    // The delivery still stands for the first attempt when the task is tried again.
    daemon.post("/v1/tasks/1/retry", "").await;
    let error = daemon.get("/v1/tasks/1/result").await.error();
    assert!(error.starts_with("409 not_ended"), "{error}");
    let result = daemon.get("/v1/tasks/1/result?attempt=1").await;
    assert_eq!(result.bytes, bytes);
    assert_eq!(
        daemon.get("/v1/tasks/1/result?attempt=2").await.error(),
        "404 no_output: task 1: this attempt left no value as a file, or it is not kept any more"
    );
    daemon.stop().await;
}
