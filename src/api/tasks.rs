//! `/v1/tasks` and below, but for submissions, outputs and results: lists, single tasks, cancel, retry, explain.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::body::OptionalJson;
use super::json::{CancelRequest, ErrorBody, ExplanationJson, TaskJson, TaskStateJson, TasksJson};
use super::query::{Parameters, TaskPath};
use super::{ApiError, Context};
use crate::access::{Caller, Right};
use crate::engine::{Reply, Request, TaskId, TaskState};
use crate::store::reader::TaskFilter;

/// How many tasks a page has unless said otherwise.
const LIMIT_DEFAULT: usize = 100;
/// How many tasks a page may have.
const LIMIT_MAX: usize = 1000;
/// The most bytes of a reason for cancelling.
const REASON_BYTES_MAX: usize = 1024;

/// Lists tasks in order of ids, the oldest first or the newest.
#[utoipa::path(
    get,
    path = "/v1/tasks",
    operation_id = "list_tasks",
    tag = "tasks",
    params(
        ("queue" = Option<String>, Query, description = "only of this queue and the queues below it"),
        ("state" = Option<Vec<String>>, Query, description = "only in this state; may be repeated, or a list with commas"),
        ("search" = Option<String>, Query, description = "only with this in their name or key"),
        ("order" = Option<String>, Query, description = "`oldest` first, as where it isn't said, or `newest` first"),
        ("after" = Option<u64>, Query, description = "only tasks that come after this id in that order: the `next_after` of the page before"),
        ("limit" = Option<u32>, Query, description = "at most so many, 1 to 1000; 100 where it isn't said"),
    ),
    responses(
        (status = 200, description = "a page", body = TasksJson),
        (status = 422, description = "`invalid_field`", body = ErrorBody),
        (status = 503, description = "`store_failed`", body = ErrorBody),
    )
)]
pub(super) async fn list(
    State(context): State<Arc<Context>>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<TasksJson>, ApiError> {
    let mut filter = read_filter(parameters)?;
    let limit = filter.limit;
    // One more than asked for shows whether there is a next page.
    filter.limit += 1;
    let mut records = context.list(&caller, filter).await?;
    let is_last = records.len() <= limit;
    records.truncate(limit);
    let next_after = records
        .last()
        .filter(|_| !is_last)
        .map(|record| record.task.0);
    Ok(Json(TasksJson {
        tasks: records.iter().map(TaskJson::from_list).collect(),
        next_after,
    }))
}

fn read_filter(mut parameters: Parameters) -> Result<TaskFilter, ApiError> {
    let queue = parameters.one("queue")?;
    let states = (parameters.many("state").iter())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .filter(|state| !state.is_empty())
        .map(read_state)
        .collect::<Result<_, _>>()?;
    let search = parameters.one("search")?.filter(|text| !text.is_empty());
    let newest = match parameters.one("order")?.as_deref() {
        None | Some("oldest") => false,
        Some("newest") => true,
        Some(other) => {
            let known = format!("'{other}' is no order; known: oldest, newest");
            return Err(ApiError::field("order", known));
        }
    };
    let after = parameters.natural("after")?.map(TaskId);
    let limit = parameters.number("limit")?.unwrap_or(LIMIT_DEFAULT);
    if limit == 0 || limit > LIMIT_MAX {
        return Err(ApiError::field(
            "limit",
            format!("must be 1 to {LIMIT_MAX}"),
        ));
    }
    parameters.end(&["queue", "state", "search", "order", "after", "limit"])?;
    Ok(TaskFilter {
        queue,
        states,
        search,
        newest,
        after,
        limit,
        // Filled in by the context, which knows the caller.
        visible: None,
    })
}

fn read_state(word: &str) -> Result<TaskState, ApiError> {
    TaskState::ALL
        .into_iter()
        .find(|state| state.as_str() == word)
        .ok_or_else(|| {
            let known = TaskState::ALL.map(TaskState::as_str).join(", ");
            ApiError::field("state", format!("'{word}' is no state; known: {known}"))
        })
}

/// Shows one task with all its attempts.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}",
    operation_id = "show_task",
    tag = "tasks",
    params(("id" = u64, Path, description = "the task")),
    responses(
        (status = 200, description = "the task", body = TaskJson),
        (status = 403, description = "`forbidden`", body = ErrorBody),
        (status = 404, description = "`unknown_task`", body = ErrorBody),
        (status = 422, description = "`invalid_field`: no id", body = ErrorBody),
        (status = 503, description = "`store_failed`", body = ErrorBody),
    )
)]
pub(super) async fn show(
    State(context): State<Arc<Context>>,
    caller: Caller,
    TaskPath(task): TaskPath,
) -> Result<Json<TaskJson>, ApiError> {
    let record = context.find_task(&caller, task).await?;
    Ok(Json(TaskJson::from_record(&record)))
}

/// Cancels a task and answers at once; what runs gets SIGTERM, and SIGKILL after its grace.
///
/// Cancelling twice is no error.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}/cancel",
    operation_id = "cancel_task",
    tag = "tasks",
    params(("id" = u64, Path, description = "the task")),
    request_body(content = Option<CancelRequest>, content_type = "application/json"),
    responses(
        (status = 200, description = "its state now: `cancelling` or `cancelled`", body = TaskStateJson),
        (status = 400, description = "not JSON (`invalid_json`, `invalid_utf8`)", body = ErrorBody),
        (status = 403, description = "`forbidden`", body = ErrorBody),
        (status = 404, description = "`unknown_task`", body = ErrorBody),
        (status = 409, description = "`already_ended`", body = ErrorBody),
        (status = 413, description = "`body_too_large`", body = ErrorBody),
        (status = 415, description = "`unsupported_media_type`", body = ErrorBody),
        (status = 422, description = "`invalid_field`", body = ErrorBody),
        (status = 503, description = "`store_full`, `store_failed`, `stopping`", body = ErrorBody),
    )
)]
pub(super) async fn cancel(
    State(context): State<Arc<Context>>,
    caller: Caller,
    TaskPath(task): TaskPath,
    OptionalJson(body): OptionalJson<CancelRequest>,
) -> Result<Json<TaskStateJson>, ApiError> {
    let reason = body.reason.filter(|reason| !reason.is_empty());
    if reason
        .as_ref()
        .is_some_and(|reason| reason.len() > REASON_BYTES_MAX)
    {
        return Err(ApiError::field(
            "reason",
            format!("may have at most {REASON_BYTES_MAX} bytes"),
        ));
    }
    let request = Request::Cancel {
        task,
        reason: reason.map(Into::into),
    };
    answer_state(task, &context.request(&caller, request, true).await?)
}

/// Gives a failed, cancelled or cancelling task a new attempt, with all its retries.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}/retry",
    operation_id = "retry_task",
    tag = "tasks",
    params(("id" = u64, Path, description = "the task")),
    responses(
        (status = 200, description = "its state now", body = TaskStateJson),
        (status = 403, description = "`forbidden`", body = ErrorBody),
        (status = 404, description = "`unknown_task`", body = ErrorBody),
        (status = 409, description = "`not_retryable`: it neither failed nor was cancelled", body = ErrorBody),
        (status = 422, description = "`invalid_field`, or `unknown_queue` and the like where the configuration has changed since", body = ErrorBody),
        (status = 503, description = "`store_full`, `store_failed`, `stopping`", body = ErrorBody),
    )
)]
pub(super) async fn retry(
    State(context): State<Arc<Context>>,
    caller: Caller,
    TaskPath(task): TaskPath,
) -> Result<Json<TaskStateJson>, ApiError> {
    // The driver looks the stored record up, between two batches and so without a race.
    let request = Request::Retry { task, stored: None };
    answer_state(task, &context.request(&caller, request, true).await?)
}

fn answer_state(task: TaskId, reply: &Reply) -> Result<Json<TaskStateJson>, ApiError> {
    match reply {
        Reply::State(state) => Ok(Json(TaskStateJson {
            id: task.0,
            state: (*state).into(),
        })),
        Reply::Submitted(_) | Reply::Done => Err(super::unexpected(reply)),
    }
}

/// Says where a task stands and what it waits for.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}/explain",
    operation_id = "explain_task",
    tag = "tasks",
    params(("id" = u64, Path, description = "the task")),
    responses(
        (status = 200, description = "place in the queue, and what is lacking", body = ExplanationJson),
        (status = 403, description = "`forbidden`", body = ErrorBody),
        (status = 404, description = "`unknown_task`", body = ErrorBody),
        (status = 422, description = "`invalid_field`: no id", body = ErrorBody),
        (status = 503, description = "`store_failed`, `stopping`", body = ErrorBody),
    )
)]
pub(super) async fn explain(
    State(context): State<Arc<Context>>,
    caller: Caller,
    TaskPath(task): TaskPath,
) -> Result<Json<ExplanationJson>, ApiError> {
    let Some(explanation) = context.explain(&caller, task).await? else {
        let record = context.find_task(&caller, task).await?;
        return Ok(Json(ExplanationJson::from_ended(&record)));
    };
    let mut explanation = ExplanationJson::from_explanation(&explanation);
    explanation.hide_queues(|queue| !caller.may(Right::Read, queue));
    Ok(Json(explanation))
}
