//! Bad input, each with the status, the code and the words it gets.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use serde_json::json;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::env::{Daemon, within};

async fn posted(daemon: &Daemon, task: serde_json::Value) -> String {
    daemon.post("/v1/tasks", task.to_string()).await.error()
}

/// Paths with their queries, and what is said about them.
const WRONG_PATHS: &[(&str, &str)] = &[
    (
        "/v1/tasks/seven",
        "422 invalid_field: id: 'seven' is no task id; ids are positive integers",
    ),
    (
        "/v1/tasks/0",
        "422 invalid_field: id: '0' is no task id; ids are positive integers",
    ),
    (
        "/v1/tasks/-1",
        "422 invalid_field: id: '-1' is no task id; ids are positive integers",
    ),
    (
        "/v1/tasks/7",
        "404 unknown_task: unknown task 7; ended tasks are forgotten after server.retention",
    ),
    (
        "/v1/tasks/18446744073709551615",
        "404 unknown_task: unknown task 18446744073709551615; ended tasks are forgotten after server.retention",
    ),
    (
        "/v1/tasks/7/result",
        "404 unknown_task: unknown task 7; ended tasks are forgotten after server.retention",
    ),
    (
        "/v1/tasks/7/explain",
        "404 unknown_task: unknown task 7; ended tasks are forgotten after server.retention",
    ),
    (
        "/v1/tasks/7/logs/stdout",
        "404 unknown_task: unknown task 7; ended tasks are forgotten after server.retention",
    ),
    (
        "/v1/tasks?limit=0",
        "422 invalid_field: limit: must be 1 to 1000",
    ),
    (
        "/v1/tasks?limit=1001",
        "422 invalid_field: limit: must be 1 to 1000",
    ),
    (
        "/v1/tasks?limit=x",
        "422 invalid_field: limit: 'x' is not a number in its range",
    ),
    (
        "/v1/tasks?limit=1&limit=2",
        "422 invalid_field: limit: stands in the query twice",
    ),
    (
        "/v1/tasks?state=queued,done",
        "422 invalid_field: state: 'done' is no state; known: waiting, queued, launching, running, cancelling, succeeded, failed, cancelled",
    ),
    (
        "/v1/tasks?sort=id",
        "422 invalid_field: sort: is unknown; known: queue, state, search, order, after, limit",
    ),
    (
        "/v1/tasks/7/logs/stderr?wait_seconds=-1",
        "422 invalid_field: wait_seconds: must be a number of seconds, 0 or above",
    ),
    (
        "/v1/tasks/7/logs/stderr?wait_seconds=NaN",
        "422 invalid_field: wait_seconds: must be a number of seconds, 0 or above",
    ),
    (
        "/v1/events?state=queued",
        "422 invalid_field: state: is unknown; known: queue",
    ),
    (
        "/v1/tasks?order=random",
        "422 invalid_field: order: 'random' is no order; known: oldest, newest",
    ),
];

#[tokio::test]
async fn paths_and_methods_that_lead_nowhere() {
    let daemon = Daemon::start();
    let answer = daemon.get("/v1/task").await;
    assert_eq!(
        answer.error(),
        "404 not_found: there is nothing at /v1/task; /openapi.json lists all calls"
    );
    let answer = daemon
        .send(Request::delete("/v1/tasks/7").body(Body::empty()).unwrap())
        .await;
    assert_eq!(
        answer.error(),
        "405 method_not_allowed: /v1/tasks/7 takes no DELETE; /openapi.json lists all calls"
    );
    assert_eq!(answer.header("allow"), "GET,HEAD");
    for (path, expected) in WRONG_PATHS {
        assert_eq!(daemon.get(path).await.error(), *expected, "{path}");
    }
    for call in ["cancel", "retry"] {
        let answer = daemon.post(&format!("/v1/tasks/7/{call}"), "").await;
        assert_eq!(answer.error(), "404 unknown_task: unknown task 7");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn bodies_that_are_not_what_they_should_be() {
    let daemon = Daemon::start();
    let form = Request::post("/v1/tasks")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(r#"{"run": {"command": "true"}}"#));
    assert_eq!(
        daemon.send(form.unwrap()).await.error(),
        "415 unsupported_media_type: the body is announced as 'application/x-www-form-urlencoded'; \
         send JSON with the header 'content-type: application/json'"
    );
    let bare = Request::post("/v1/tasks").body(Body::from("{}")).unwrap();
    assert_eq!(
        daemon.send(bare).await.error(),
        "415 unsupported_media_type: the body has no content type; send JSON with the header 'content-type: application/json'"
    );
    let answer = daemon.post("/v1/tasks", &b"{\"name\": \"\xff\"}"[..]).await;
    assert_eq!(
        answer.error(),
        "400 invalid_utf8: the body is not valid UTF-8 at line 1, column 11"
    );
    assert_eq!(
        answer.json()["error"]["detail"],
        json!({"line": 1, "column": 11})
    );
    let answer = daemon.post("/v1/tasks", "{\"name\": ").await;
    assert_eq!(
        answer.error(),
        "400 invalid_json: the body is not valid JSON: EOF while parsing a value at line 1, column 9"
    );
    let too_large = "413 body_too_large: the body is longer than 1048576 bytes; send less at a time, or raise server.body_max";
    let large = " ".repeat((1 << 20) + 1);
    assert_eq!(
        daemon.post("/v1/tasks", large.clone()).await.error(),
        too_large
    );
    let pieces = futures::stream::iter(
        large
            .into_bytes()
            .chunks(1000)
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>(),
    );
    let pieces = futures::StreamExt::map(pieces, Ok::<_, std::io::Error>);
    let unannounced = Body::from_stream(pieces);
    assert_eq!(
        daemon.post("/v1/tasks", unannounced).await.error(),
        too_large
    );
    daemon.stop().await;
}

/// Through a real connection: whoever sends everything before looking for an answer still finds it.
#[tokio::test]
async fn a_body_over_the_limit_is_heard_out() {
    let daemon = Daemon::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = daemon.router.clone();
    let server = tokio::spawn(async { axum::serve(listener, router).await });
    let mut connection = TcpStream::connect(address).await.unwrap();
    let n_bytes = 30 << 20;
    let head = format!(
        "POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {n_bytes}\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    within(connection.write_all(&vec![b' '; n_bytes]))
        .await
        .unwrap();
    let mut answer = String::new();
    within(connection.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("body_too_large"), "{answer}");
    server.abort();
    daemon.stop().await;
}

#[tokio::test]
async fn tasks_that_the_engine_refuses() {
    let daemon = Daemon::start();
    let run = json!({"command": "true"});
    assert_eq!(
        posted(&daemon, json!({"queue": "mops", "run": run})).await,
        "422 unknown_queue: unknown queue 'mops'; known leaf queues: default, maps/render"
    );
    assert_eq!(
        posted(&daemon, json!({"queue": "maps", "run": run})).await,
        "422 not_a_leaf: queue 'maps' has queues below it and takes no tasks itself; submit to one of: maps/render"
    );
    let batch = json!({"tasks": [{"run": run}, {"demand": {"licences": 1}, "run": run}]});
    let answer = daemon.post("/v1/tasks", batch.to_string()).await;
    assert_eq!(
        answer.error(),
        "422 unknown_resource: tasks[1]: unknown resource 'licences'; known: cpus, db, mem"
    );
    assert_eq!(
        answer.json()["error"]["detail"],
        json!({"path": "tasks[1].demand.licences", "resource": "licences", "known": ["cpus", "db", "mem"]})
    );
    assert_eq!(
        daemon.get("/v1/tasks").await.json(),
        json!({"tasks": [], "next_after": null}),
        "all or nothing"
    );
    let refused = posted(&daemon, json!({"demand": {"db": 5}, "run": run})).await;
    assert!(
        refused.starts_with("422 never_fits: demands 5 db, but the cluster has 4"),
        "{refused}"
    );
    let refused = posted(
        &daemon,
        json!({"queue": "maps/render", "demand": {"db": 4}, "run": run}),
    )
    .await;
    assert!(
        refused.starts_with("422 never_fits: demands 4 db, but"),
        "{refused}"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn dependencies_keys_and_limits() {
    let daemon = Daemon::start();
    let run = json!({"command": "true"});
    assert_eq!(
        posted(&daemon, json!({"after": [99], "run": run})).await,
        "422 unknown_dependency: after: unknown task 99"
    );
    let refused = posted(
        &daemon,
        json!({"tasks": [{"key": "a", "after": ["b"], "run": run}, {"key": "b", "after": ["a"], "run": run}]}),
    )
    .await;
    assert!(
        refused.starts_with("422 dependency_cycle: after: these tasks wait for each other: "),
        "{refused}"
    );
    daemon.submit(&json!({"key": "k", "run": run})).await;
    assert_eq!(
        posted(&daemon, json!({"key": "k", "priority": 1, "run": run})).await,
        "409 key_reused: key 'k' already belongs to task 1, which is a different one; use another key"
    );
    let answer = daemon
        .post(
            "/v1/tasks",
            json!({"array": "0-99", "run": run}).to_string(),
        )
        .await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.header("retry-after"), "2");
    assert!(
        answer.error().starts_with("429 too_many_tasks: "),
        "{}",
        answer.error()
    );
    daemon.stop().await;
}

#[tokio::test]
async fn outside_use_of_what_is_not_there() {
    let daemon = Daemon::start();
    for (resource, body, expected) in [
        (
            "licences",
            r#"{"used": 1}"#,
            "404 unknown_resource: unknown resource 'licences'; known: cpus, db, mem",
        ),
        (
            "cpus",
            r#"{"used": 1}"#,
            "422 not_cluster_scope: resource 'cpus' is of host scope; outside use can be told of cluster resources only",
        ),
        (
            "db",
            r#"{"used": -1}"#,
            "422 invalid_field: used: '-1' is negative",
        ),
        (
            "db",
            r#"{"used": "1GiB"}"#,
            "422 invalid_field: used: '1GiB' is not a number such as 2 or 0.5",
        ),
        (
            "db",
            "{}",
            "422 invalid_field: the body: missing field `used`",
        ),
        (
            "db",
            "",
            "400 invalid_json: the body is not valid JSON: EOF while parsing a value at line 1, column 0",
        ),
    ] {
        let answer = daemon
            .post(&format!("/v1/resources/{resource}/outside"), body)
            .await;
        assert_eq!(answer.error(), expected);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn pops_that_make_no_sense() {
    let daemon = Daemon::start();
    for (path, body, expected) in [
        (
            "release",
            r#"{"max": 0}"#,
            "422 invalid_field: max: must be 1 to 1000",
        ),
        (
            "release",
            r#"{"max": 1001}"#,
            "422 invalid_field: max: must be 1 to 1000",
        ),
        (
            "release",
            r#"{"wait_seconds": -1}"#,
            "422 invalid_field: wait_seconds: must be a number of seconds, 0 or above",
        ),
        (
            "release",
            r#"{"ack": "7"}"#,
            "422 invalid_field: ack: '7' is no token of inbox 'release'; send back what its last pop gave",
        ),
        (
            "release",
            r#"{"wait": 1}"#,
            "422 invalid_field: wait: unknown field `wait`, expected one of `max`, `wait_seconds`, `ack`",
        ),
        (
            "a%2Fb",
            "",
            "422 invalid_field: name: an inbox's name has no '/'",
        ),
        (
            "a%0Ab",
            "",
            "422 invalid_field: name: the control character '\\n' may not stand here",
        ),
    ] {
        let answer = daemon.post(&format!("/v1/inboxes/{path}/pop"), body).await;
        assert_eq!(answer.error(), expected);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_daemon_that_stops_says_so() {
    let daemon = Daemon::start();
    assert_eq!(daemon.get("/readyz").await.status, StatusCode::OK);
    daemon.stop().await;
    let stopping = "503 stopping: the daemon is stopping; try again when it is back";
    assert_eq!(
        posted(&daemon, json!({"run": {"command": "true"}})).await,
        stopping
    );
    assert_eq!(daemon.get("/v1/queues").await.error(), stopping);
    assert_eq!(daemon.get("/readyz").await.error(), stopping);
    assert_eq!(daemon.get("/readyz").await.header("retry-after"), "2");
    assert_eq!(daemon.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(daemon.get("/metrics").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_daemon_that_starts_says_so() {
    let (daemon, _run) = Daemon::prepare();
    assert_eq!(
        daemon.get("/readyz").await.error(),
        "503 starting: the daemon is starting; try again in a moment"
    );
}

#[tokio::test]
async fn a_full_disk_is_told_and_outlasted() {
    let daemon = Daemon::start();
    daemon.is_full.store(true, Ordering::SeqCst);
    let task = json!({"key": "k", "run": {"command": "true"}});
    let answer = daemon.post("/v1/tasks", task.to_string()).await;
    assert_eq!(
        answer.error(),
        "503 store_full: this could not be made durable and is not acknowledged, though it may take effect when the \
         store works again; repeat it then, a submission under the same key: no space left for apportion.db; free some \
         and the daemon goes on by itself"
    );
    assert_eq!(answer.header("retry-after"), "2");
    let ready = daemon.get("/readyz").await;
    assert_eq!(
        ready.error(),
        "503 store_full: the store failed: no space left for apportion.db; free some and the daemon goes on by itself"
    );
    assert_eq!(daemon.get("/healthz").await.status, StatusCode::OK);
    daemon.is_full.store(false, Ordering::SeqCst);
    within(async {
        while daemon.get("/readyz").await.status != StatusCode::OK {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    let answer = daemon.post("/v1/tasks", task.to_string()).await;
    assert_eq!(answer.json()["tasks"][0]["id"], 1, "the same task, once");
    daemon.stop().await;
}

#[tokio::test]
async fn ids_beyond_63_bits_are_refused() {
    let daemon = Daemon::start();
    for (path, field) in [
        ("/v1/tasks?after=9223372036854775808", "after"),
        ("/v1/audit?before=9223372036854775808", "before"),
        ("/v1/audit?task=9223372036854775808", "task"),
    ] {
        let expected = format!(
            "422 invalid_field: {field}: '9223372036854775808' is not a number in its range"
        );
        assert_eq!(daemon.get(path).await.error(), expected);
    }
    daemon.stop().await;
}
