//! The program for agents, and values that executors bring.

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode, header};
use serde_json::json;

use super::env::{Daemon, attempt};

async fn put(daemon: &Daemon, path: &str, token: Option<&str>, body: impl Into<Body>) -> String {
    let mut request = Request::put(path);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let answer = daemon.send(request.body(body.into()).unwrap()).await;
    if answer.status == StatusCode::NO_CONTENT {
        return "taken".to_owned();
    }
    answer.error().split(':').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_live_attempt_brings_its_value() {
    let daemon = Daemon::start();
    daemon.add_agent().await;
    let task = daemon.submit(&json!({"run": {"command": "x"}})).await;
    daemon.started(task, 1).await;
    let (path, token) = (
        "/v1/attempts/1.1/value",
        daemon.service.token(attempt(1, 1)),
    );
    let other = daemon.service.token(attempt(1, 2));
    for wrong in [None, Some(""), Some("x"), Some(other.as_str())] {
        assert_eq!(put(&daemon, path, wrong, "v").await, "403 wrong_token");
    }
    let value = vec![7; 300_000];
    let pieces = value
        .chunks(70_000)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)));
    let pieces: Vec<std::io::Result<Bytes>> = pieces.collect();
    let in_pieces = Body::from_stream(futures::stream::iter(pieces));
    assert_eq!(put(&daemon, path, Some(&token), in_pieces).await, "taken");
    assert_eq!(
        std::fs::read(daemon.values.path(attempt(1, 1))).unwrap(),
        value
    );
    // One that breaks off leaves the one before as it was.
    let broken = [
        Ok(Bytes::from_static(b"half")),
        Err(std::io::Error::other("cut")),
    ];
    let broken = Body::from_stream(futures::stream::iter(broken));
    assert_eq!(
        put(&daemon, path, Some(&token), broken).await,
        "400 body_broken"
    );
    assert_eq!(
        std::fs::read(daemon.values.path(attempt(1, 1))).unwrap(),
        value
    );
    assert_eq!(put(&daemon, path, Some(&token), "again").await, "taken");
    assert_eq!(
        std::fs::read(daemon.values.path(attempt(1, 1))).unwrap(),
        b"again"
    );
    daemon.ended(task, 1, 0, "").await;
    assert_eq!(
        put(&daemon, path, Some(&token), "late").await,
        "409 attempt_ended"
    );
    let never = daemon.service.token(attempt(9, 1));
    let unknown = put(&daemon, "/v1/attempts/9.1/value", Some(&never), "x").await;
    assert_eq!(unknown, "409 attempt_ended");
    let garbage = put(&daemon, "/v1/attempts/nine/value", Some(&never), "x").await;
    assert_eq!(garbage, "422 invalid_field");
    daemon.stop().await;
}

#[tokio::test]
async fn the_program_is_served_under_its_own_name_only() {
    let daemon = Daemon::start();
    let path = format!("/v1/executor/{}", daemon.service.program_name());
    let answer = daemon.get(&path).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.header("content-length"),
        answer.bytes.len().to_string()
    );
    let program = std::fs::metadata("/proc/self/exe").unwrap();
    assert_eq!(answer.bytes.len() as u64, program.len());
    let other = daemon.get("/v1/executor/0123").await;
    assert_eq!(other.error().split(':').next(), Some("404 not_found"));
    daemon.stop().await;
}
