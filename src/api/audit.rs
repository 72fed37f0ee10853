//! `GET /v1/audit` and `GET /v1/tasks/{id}/history`: who asked for what.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::json::{AuditJson, AuditsJson, ErrorBody};
use super::query::{Parameters, TaskPath};
use super::{ApiError, Context};
use crate::access::Caller;
use crate::engine::TaskId;
use crate::store::reader::AuditFilter;

/// How many entries an answer has unless said otherwise.
const LIMIT_DEFAULT: usize = 100;
/// How many entries an answer may have.
const LIMIT_MAX: usize = 1000;

/// Tells who submitted, cancelled, retried or changed what, and when, the newest first.
#[utoipa::path(
    get,
    path = "/v1/audit",
    operation_id = "list_audit",
    tag = "daemon",
    params(
        ("task" = Option<u64>, Query, description = "only of this task and the call that submitted it"),
        ("by" = Option<String>, Query, description = "only what was done with the token of this name"),
        ("before" = Option<u64>, Query, description = "only entries before this: the `next_before` of the answer before"),
        ("limit" = Option<u32>, Query, description = "at most so many, 1 to 1000; 100 where it isn't said"),
    ),
    responses(
        (status = 200, description = "entries, kept as long as the tasks that they tell of", body = AuditsJson),
        (status = 403, description = "`forbidden`", body = ErrorBody),
        (status = 404, description = "`unknown_task`", body = ErrorBody),
        (status = 422, description = "`invalid_field`", body = ErrorBody),
        (status = 503, description = "`store_failed`", body = ErrorBody),
    )
)]
pub(super) async fn list(
    State(context): State<Arc<Context>>,
    caller: Caller,
    mut parameters: Parameters,
) -> Result<Json<AuditsJson>, ApiError> {
    let filter = AuditFilter {
        task: parameters.natural("task")?.map(TaskId),
        by: parameters.one("by")?,
        before: parameters.natural("before")?,
        limit: parameters.number("limit")?.unwrap_or(LIMIT_DEFAULT),
    };
    parameters.end(&["task", "by", "before", "limit"])?;
    if filter.limit == 0 || filter.limit > LIMIT_MAX {
        let message = format!("must be 1 to {LIMIT_MAX}");
        return Err(ApiError::field("limit", message));
    }
    answer(&context, &caller, filter).await
}

/// Tells who submitted a task, cancelled or retried it, and when, the newest first.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}/history",
    operation_id = "show_history",
    tag = "tasks",
    params(("id" = u64, Path, description = "the task")),
    responses(
        (status = 200, description = "the last 1000 entries", body = AuditsJson),
        (status = 403, description = "`forbidden`", body = ErrorBody),
        (status = 404, description = "`unknown_task`", body = ErrorBody),
        (status = 422, description = "`invalid_field`: no id", body = ErrorBody),
        (status = 503, description = "`store_failed`", body = ErrorBody),
    )
)]
pub(super) async fn history(
    State(context): State<Arc<Context>>,
    caller: Caller,
    TaskPath(task): TaskPath,
) -> Result<Json<AuditsJson>, ApiError> {
    let filter = AuditFilter {
        task: Some(task),
        limit: LIMIT_MAX,
        ..AuditFilter::default()
    };
    answer(&context, &caller, filter).await
}

async fn answer(
    context: &Context,
    caller: &Caller,
    mut filter: AuditFilter,
) -> Result<Json<AuditsJson>, ApiError> {
    let limit = filter.limit;
    // One more than asked for shows whether there is more.
    filter.limit += 1;
    let mut records = context.audit(caller, filter).await?;
    let is_last = records.len() <= limit;
    records.truncate(limit);
    Ok(Json(AuditsJson {
        next_before: records.last().filter(|_| !is_last).map(|record| record.seq),
        entries: records.iter().map(AuditJson::from).collect(),
    }))
}
