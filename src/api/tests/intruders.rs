//! Calls that are not what they seem: other hosts' names, other sites' pages, compressed bodies, paths that climb.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, Version};
use serde_json::json;

use super::access::token;
use super::env::{Answer, Daemon};
use crate::access::Right;

async fn send(daemon: &Daemon, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    daemon.send(request.body(Body::empty()).unwrap()).await
}

fn code(answer: &Answer) -> String {
    answer.error().split(':').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_name_that_somebody_made_lead_here_is_not_answered() {
    let daemon = Daemon::start();
    for host in [
        "evil.example",
        "evil.example:7070",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
    ] {
        for path in ["/v1/tasks", "/", "/metrics", "/none"] {
            let answer = send(&daemon, Method::GET, path, &[("host", host)]).await;
            assert_eq!(code(&answer), "421 wrong_host", "{host} {path}");
        }
    }
    for host in ["localhost", "127.0.0.1:7070", "[::1]:7070", "10.1.2.3"] {
        let answer = send(&daemon, Method::GET, "/v1/tasks", &[("host", host)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{host}");
    }
    let two = [("host", "localhost"), ("host", "evil.example")];
    let answer = send(&daemon, Method::GET, "/v1/tasks", &two).await;
    assert_eq!(code(&answer), "400 no_host");
    let other_line = send(
        &daemon,
        Method::GET,
        "http://evil.example/v1/tasks",
        &[("host", "localhost")],
    )
    .await;
    assert_eq!(code(&other_line), "400 no_host");
    // Without any only before HTTP/1.1.
    for (version, status) in [(Version::HTTP_10, 200), (Version::HTTP_11, 400)] {
        let request = Request::get("/v1/tasks")
            .version(version)
            .body(Body::empty());
        let router = daemon.router.clone();
        let answer = tower::ServiceExt::oneshot(router, request.unwrap())
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), status);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing_also_in_an_old_browser() {
    let daemon = Daemon::start();
    let task = daemon.submit(&json!({"run": {"command": "true"}})).await;
    let cancel = format!("/v1/tasks/{task}/cancel");
    for headers in [
        [("origin", "http://evil.example")],
        [("origin", "null")],
        [("origin", "http://localhost:8080")],
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
    ] {
        let answer = send(&daemon, Method::POST, &cancel, &headers).await;
        assert_eq!(code(&answer), "403 cross_site", "{headers:?}");
    }
    assert_eq!(
        daemon.get(&format!("/v1/tasks/{task}")).await.json()["state"],
        "queued"
    );
    let own = [
        ("host", "localhost:7070"),
        ("origin", "http://localhost:7070"),
    ];
    let answer = send(&daemon, Method::POST, &cancel, &own).await;
    assert_eq!(answer.status, StatusCode::OK);
    daemon.stop().await;
}

#[tokio::test]
async fn a_compressed_body_is_refused_before_it_is_read() {
    let daemon = Daemon::start();
    for encoding in ["gzip", "deflate", "br", "zstd", "identity, gzip"] {
        let headers = [
            ("content-encoding", encoding),
            ("content-type", "application/json"),
        ];
        let answer = send(&daemon, Method::POST, "/v1/tasks", &headers).await;
        assert_eq!(code(&answer), "415 unsupported_encoding", "{encoding}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn paths_and_names_that_climb_lead_nowhere() {
    let daemon = Daemon::start();
    let maps = token(&daemon, "maps", &["maps/*"], &Right::ALL[..3]);
    let authorization = format!("Bearer {maps}");
    let headers = [("authorization", authorization.as_str())];
    for path in [
        "/v1/tasks/1/../../metrics",
        "/v1//tasks",
        "/V1/tasks",
        "/v1/tasks/",
        "/v1/tasks/1%2f..%2f..%2fmetrics",
        "/web/..%2f..%2fetc%2fpasswd",
        "/web/%2e%2e/index.html",
        "/v1/executor/..%2f..%2ftokens.json",
    ] {
        let answer = send(&daemon, Method::GET, path, &headers).await;
        let refused = answer.status == StatusCode::NOT_FOUND
            || answer.status == StatusCode::UNPROCESSABLE_ENTITY;
        assert!(refused, "{path} {answer:?}");
    }
    for queue in [
        "maps/../default",
        "maps/render/../../default",
        "maps//render",
        "maps/render/",
        "/default",
        "default\u{0}",
        "DEFAULT",
        "maps/*",
        "*",
    ] {
        let task = json!({"queue": queue, "run": {"command": "true"}}).to_string();
        let request = Request::post("/v1/tasks")
            .header("authorization", &authorization)
            .header("content-type", "application/json");
        let answer = daemon.send(request.body(Body::from(task)).unwrap()).await;
        let refused = matches!(
            answer.status,
            StatusCode::FORBIDDEN | StatusCode::UNPROCESSABLE_ENTITY
        );
        assert!(refused, "{queue} {answer:?}");
    }
    daemon.stop().await;
}
