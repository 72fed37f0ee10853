//! `GET /metrics`, and the layer that counts calls.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Context;
use crate::clock::Stopwatch;
use crate::metrics::{Metrics, Snapshot};

/// How long the engine may take to answer; without it, what only it knows is left out.
const ENGINE_WAIT: Duration = Duration::from_secs(5);

/// Gives all metrics in Prometheus' text format.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "show_metrics",
    tag = "daemon",
    responses((status = 200, description = "text format 0.0.4", body = String, content_type = "text/plain"))
)]
pub(super) async fn show(State(context): State<Arc<Context>>) -> Response {
    let look = context.inspect(|engine| Snapshot {
        queues: engine.queues(),
        resources: engine.resources(),
    });
    let snapshot = tokio::time::timeout(ENGINE_WAIT, look).await;
    let snapshot = snapshot.ok().and_then(Result::ok);
    let page = context.state.metrics.render(snapshot.as_ref());
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        page,
    )
        .into_response()
}

/// Counts a call by method, route and status. Paths that lead nowhere are one route together, and methods
/// that HTTP doesn't define are one method, so that nobody can make series without end.
pub(super) async fn count(metrics: Arc<Metrics>, request: Request, next: Next) -> Response {
    let stopwatch = Stopwatch::start();
    let method = known_method(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    metrics.record_http(
        method,
        route,
        response.status().as_u16(),
        stopwatch.elapsed(),
    );
    response
}

fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
