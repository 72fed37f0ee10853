//! `GET /metrics`, and the layer that counts calls.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{ApiError, Context};
use crate::clock::{self, Stopwatch};
use crate::engine::Engine;
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
    let look = tokio::time::timeout(ENGINE_WAIT, snapshot(&context)).await;
    let snapshot = look.ok().and_then(Result::ok);
    let page = context.metrics().render(snapshot.as_ref());
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        page,
    )
        .into_response()
}

/// What is known now.
async fn snapshot(context: &Context) -> Result<Snapshot, ApiError> {
    // One more than are shown tells that there are more.
    let inboxes_max = context.metrics().limits().inboxes_max + 1;
    let now = clock::now();
    let inboxes = context.inboxes(inboxes_max).await;
    let store_failing = context.store_failure().is_some();
    let look = |engine: &Engine| (engine.queues(), engine.resources(), engine.claims().len());
    let (queues, resources, n_claims) = context.inspect(look).await?;
    let age = |(inbox, ended_at)| (inbox, now.since(ended_at));
    Ok(Snapshot {
        queues,
        resources,
        n_claims,
        // A store that can't be read is told by `store_failing` and by what it logs.
        inboxes: inboxes.unwrap_or_default().into_iter().map(age).collect(),
        store_failing,
    })
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
