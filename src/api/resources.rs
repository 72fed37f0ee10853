//! `/v1/resources`: what there is to divide, and what others use of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;

use super::body::{self, ReadBody};
use super::json::{ErrorBody, OutsideRequest, ResourceJson, ResourcesJson};
use super::query::NamePath;
use super::{ApiError, Context};
use crate::access::Caller;
use crate::engine::{Refusal, Reply, Request as EngineRequest};

/// Lists all resources with what there is and what is used.
#[utoipa::path(
    get,
    path = "/v1/resources",
    operation_id = "list_resources",
    tag = "cluster",
    responses(
        (status = 200, description = "in order of their names", body = ResourcesJson),
        (status = 503, description = "`stopping`", body = ErrorBody),
    )
)]
pub(super) async fn list(
    State(context): State<Arc<Context>>,
) -> Result<Json<ResourcesJson>, ApiError> {
    let reports = context.inspect(|engine| engine.resources()).await?;
    Ok(Json(ResourcesJson {
        resources: reports.iter().map(ResourceJson::from).collect(),
    }))
}

/// Tells what others, outside this scheduler, use of a cluster resource now. It stays so until told anew.
#[utoipa::path(
    post,
    path = "/v1/resources/{name}/outside",
    operation_id = "report_outside",
    tag = "cluster",
    params(("name" = String, Path, description = "a resource of cluster scope")),
    request_body(content = OutsideRequest, content_type = "application/json"),
    responses(
        (status = 204, description = "noted, durably"),
        (status = 400, description = "not JSON (`invalid_json`, `invalid_utf8`)", body = ErrorBody),
        (status = 404, description = "`unknown_resource`", body = ErrorBody),
        (status = 413, description = "`body_too_large`", body = ErrorBody),
        (status = 415, description = "`unsupported_media_type`", body = ErrorBody),
        (status = 422, description = "`invalid_field`, `not_cluster_scope`", body = ErrorBody),
        (status = 503, description = "`store_full`, `store_failed`, `stopping`", body = ErrorBody),
    )
)]
pub(super) async fn outside(
    State(context): State<Arc<Context>>,
    caller: Caller,
    NamePath(name): NamePath,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let body = ReadBody::read(request, &context).await?;
    let told: OutsideRequest = body::parse(&body.bytes)?;
    let used = told
        .used
        .parse(&name)
        .map_err(|error| ApiError::field("used", error.to_string()))?;
    let request = EngineRequest::ReportOutside {
        resource: name.into(),
        used,
    };
    match context
        .request(&caller, request, true)
        .await
        .map_err(missing)?
    {
        Reply::Done => Ok(StatusCode::NO_CONTENT),
        other @ (Reply::Submitted(_) | Reply::State(_)) => Err(super::unexpected(&other)),
    }
}

/// An unknown resource in a path is a path that leads nowhere.
fn missing(error: ApiError) -> ApiError {
    if let ApiError::Refused {
        refusal: Refusal::UnknownResource {
            resource, known, ..
        },
        ..
    } = &error
    {
        return ApiError::UnknownResource {
            name: resource.to_string(),
            known: known.iter().map(ToString::to_string).collect(),
        };
    }
    error
}
