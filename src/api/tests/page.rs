//! The web page's files, and what a browser is protected from.

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};

use super::env::Daemon;

async fn send(daemon: &Daemon, method: &str, path: &str, site: Option<&str>) -> Response<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(site) = site {
        request = request.header("sec-fetch-site", site);
    }
    let request = request.body(Body::empty()).unwrap();
    daemon.respond(request).await
}

#[tokio::test]
async fn the_page_comes_with_a_strict_content_policy() {
    let daemon = Daemon::start();
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/web/main.js", "text/javascript; charset=utf-8"),
        ("/web/style.css", "text/css; charset=utf-8"),
        ("/web/icon.svg", "image/svg+xml"),
    ] {
        let response = send(&daemon, "GET", path, Some("none")).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let headers = response.headers();
        assert_eq!(headers["content-type"], content_type);
        assert_eq!(headers["x-content-type-options"], "nosniff");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
        assert!(!policy.contains("unsafe"));
    }
    let missing = send(&daemon, "GET", "/web/../mod.rs", None).await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    daemon.stop().await;
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let daemon = Daemon::start();
    for (site, status) in [
        (Some("cross-site"), StatusCode::FORBIDDEN),
        (Some("same-site"), StatusCode::FORBIDDEN),
        (Some("same-origin"), StatusCode::NOT_FOUND),
        (Some("none"), StatusCode::NOT_FOUND),
        (None, StatusCode::NOT_FOUND),
    ] {
        let response = send(&daemon, "POST", "/v1/tasks/7/cancel", site).await;
        assert_eq!(response.status(), status, "{site:?}");
    }
    let looked = send(&daemon, "GET", "/v1/tasks", Some("cross-site")).await;
    assert_eq!(looked.status(), StatusCode::OK);
    assert_eq!(looked.headers()["x-content-type-options"], "nosniff");
    daemon.stop().await;
}
