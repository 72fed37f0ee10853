//! `GET /v1/queues`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::json::{ClaimJson, ErrorBody, QueueJson, QueuesJson};
use super::{ApiError, Context};
use crate::access::{Caller, Right};
use crate::engine::Engine;
use crate::engine::report::fairness_error;

/// Lists the queues that the caller may read, with what they use, their shares and their live tasks.
#[utoipa::path(
    get,
    path = "/v1/queues",
    operation_id = "list_queues",
    tag = "cluster",
    responses(
        (status = 200, description = "parents before children", body = QueuesJson),
        (status = 503, description = "`stopping`", body = ErrorBody),
    )
)]
pub(super) async fn list(
    State(context): State<Arc<Context>>,
    caller: Caller,
) -> Result<Json<QueuesJson>, ApiError> {
    let look = |engine: &Engine| (engine.queues(), engine.claims());
    let (reports, claims) = context.inspect(look).await?;
    Ok(Json(QueuesJson {
        queues: (reports.iter())
            .filter(|report| caller.may(Right::Read, &report.path))
            .map(QueueJson::from)
            .collect(),
        fairness_error: fairness_error(&reports).into(),
        claims: (claims.iter())
            .filter(|claim| caller.may(Right::Read, &claim.queue))
            .map(ClaimJson::from)
            .collect(),
    }))
}
