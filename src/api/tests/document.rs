//! The OpenAPI document against the router.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};

use super::env::Daemon;
use crate::api::routes;

const METHODS: [Method; 5] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

/// A path with something in each of its places.
pub(super) fn concrete(path: &str) -> String {
    path.replace("{id}", "1")
        .replace("{name}", "x")
        .replace("{hash}", "x")
        .replace("{attempt}", "1.1")
}

fn document() -> serde_json::Value {
    serde_json::to_value(crate::api::openapi_document()).unwrap()
}

/// `GET /v1/tasks` and so on, as the document has them.
pub(super) fn documented() -> BTreeSet<String> {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let calls = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().keys();
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    calls.collect()
}

#[tokio::test]
async fn every_route_is_in_the_document_and_the_other_way_round() {
    let daemon = Daemon::start();
    let mut served = BTreeSet::new();
    for (path, ..) in routes() {
        for method in METHODS {
            // What answers is of no interest here, only that something does; streams are not read.
            let concrete = concrete(path);
            let request = Request::builder()
                .method(&method)
                .uri(concrete)
                .body(Body::empty())
                .unwrap();
            let response = daemon.respond(request).await;
            if response.status() != StatusCode::METHOD_NOT_ALLOWED {
                served.insert(format!("{method} {path}"));
            }
        }
    }
    assert_eq!(served, documented());
    daemon.stop().await;
}

#[test]
fn the_document_is_served_as_it_is_written_down() {
    insta::assert_json_snapshot!("openapi", document());
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    let document = document();
    let text = document.to_string();
    let mut n_references = 0;
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
        n_references += 1;
    }
    assert!(n_references > 50, "{n_references}");
    let again: utoipa::openapi::OpenApi = serde_json::from_str(&text).unwrap();
    assert_eq!(
        again.paths.paths.len(),
        document["paths"].as_object().unwrap().len()
    );
}

#[test]
fn every_call_has_a_name_of_its_own_and_tells_its_errors() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, call) in item.as_object().unwrap() {
            assert!(
                call["summary"].is_string() || call["description"].is_string(),
                "{method} {path}"
            );
            assert!(
                ids.insert(call["operationId"].to_string()),
                "{method} {path}"
            );
            let statuses = call["responses"].as_object().unwrap();
            assert!(
                !path.starts_with("/v1/")
                    || statuses.keys().any(|status| status.starts_with(['4', '5'])),
                "{method} {path}"
            );
        }
    }
}
