//! `/healthz` and `/readyz`, for whoever watches over the daemon.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::json::ErrorBody;
use super::{ApiError, Context};

/// How long the engine may take to answer before the daemon counts as not ready.
const ENGINE_WAIT: Duration = Duration::from_secs(1);

/// The daemon's health.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Health {
    /// `ok`
    status: &'static str,
}

const OK: Json<Health> = Json(Health { status: "ok" });

/// Says that the process lives and answers.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "is_alive",
    tag = "daemon",
    responses((status = 200, description = "it lives", body = Health))
)]
pub(super) async fn alive() -> Json<Health> {
    OK
}

/// Says whether the daemon can take tasks in: it has recovered, it isn't stopping, its store can write, and what
/// runs them is there.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "is_ready",
    tag = "daemon",
    responses(
        (status = 200, description = "it can", body = Health),
        (status = 503, description = "it can't: `starting`, `stopping`, `store_full`, `store_failed`, `not_connected`", body = ErrorBody),
    )
)]
pub(super) async fn ready(State(context): State<Arc<Context>>) -> Result<Json<Health>, ApiError> {
    if let Some(failure) = context.store_failure() {
        return Err(failure.into());
    }
    match tokio::time::timeout(ENGINE_WAIT, context.inspect(|_| ())).await {
        Ok(seen) => seen.and_then(|()| connected(&context)),
        Err(_) => match context.store_failure() {
            Some(failure) => Err(failure.into()),
            None => Err(ApiError::Starting),
        },
    }
}

fn connected(context: &Context) -> Result<Json<Health>, ApiError> {
    match context.trouble() {
        Some(why) => Err(ApiError::NotConnected { why }),
        None => Ok(OK),
    }
}
