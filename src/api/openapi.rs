//! The OpenAPI document: every route, its bodies and its errors.

use axum::Json;
use utoipa::OpenApi;

use super::{
    agents, audit, events, executors, health, inboxes, logs, metrics, queues, resources, result,
    submit, tasks,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Apportion",
        description = "A fair-share, multi-queue batch scheduler. Every error is \
            `{\"error\": {\"code\", \"message\", \"detail\"}}`; codes are lasting, messages are for people. \
            Statuses 429 and 503 carry `Retry-After`.",
    ),
    paths(
        submit::submit,
        tasks::list,
        tasks::show,
        tasks::cancel,
        tasks::retry,
        tasks::explain,
        result::result,
        logs::stdout,
        logs::stderr,
        inboxes::pop,
        audit::history,
        audit::list,
        queues::list,
        agents::list,
        resources::list,
        resources::outside,
        events::stream,
        executors::program,
        executors::put_value,
        show,
        health::alive,
        health::ready,
        metrics::show,
    ),
    tags(
        (name = "tasks", description = "what is to be run, runs, or has run"),
        (name = "inboxes", description = "where finished tasks wait for whoever submitted them"),
        (name = "cluster", description = "queues, agents and resources as they are now"),
        (name = "daemon", description = "the daemon itself"),
    )
)]
struct Document;

/// The document.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Gives this document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "show_openapi",
    tag = "daemon",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
pub(super) async fn show() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
