//! `GET /v1/agents`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::json::{AgentJson, AgentsJson, ErrorBody};
use super::{ApiError, Context};

/// Lists the machines that offer resources now.
#[utoipa::path(
    get,
    path = "/v1/agents",
    operation_id = "list_agents",
    tag = "cluster",
    responses(
        (status = 200, description = "in order of their names", body = AgentsJson),
        (status = 503, description = "`stopping`", body = ErrorBody),
    )
)]
pub(super) async fn list(
    State(context): State<Arc<Context>>,
) -> Result<Json<AgentsJson>, ApiError> {
    let reports = context.inspect(|engine| engine.agents()).await?;
    Ok(Json(AgentsJson {
        agents: reports.iter().map(AgentJson::from).collect(),
    }))
}
