//! `POST /v1/tasks`: takes tasks in, all or none, and answers once they are durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use apportion_policies::Amount;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::body::{self, ReadBody};
use super::json::new_task::{TASKS_MAX, TaskError};
use super::json::{AcceptedJson, AcceptedTasksJson, ErrorBody, NewTaskJson, NewTasksJson};
use super::{ApiError, Context};
use crate::access::Caller;
use crate::engine::request::NewTask;
use crate::engine::{Reply, Request as EngineRequest};

/// Bodies above this are read on a thread of their own, so that they don't hold others up.
const LARGE_BYTES: usize = 64 * 1024;

/// Submits one task object, or `{"tasks": [...]}` with up to 10,000, all or nothing.
///
/// Answered only once durable: 201 where at least one was created, 200 where every key was known already.
#[utoipa::path(
    post,
    path = "/v1/tasks",
    operation_id = "submit_tasks",
    tag = "tasks",
    request_body(content = Submission, content_type = "application/json"),
    responses(
        (status = 201, description = "taken in", body = AcceptedTasksJson),
        (status = 200, description = "nothing new: all keys were known with the same tasks", body = AcceptedTasksJson),
        (status = 400, description = "not JSON (`invalid_json`, `invalid_utf8`)", body = ErrorBody),
        (status = 408, description = "`body_too_slow`", body = ErrorBody),
        (status = 409, description = "`key_reused`: the key belongs to another task", body = ErrorBody),
        (status = 413, description = "`body_too_large`", body = ErrorBody),
        (status = 415, description = "`unsupported_media_type`", body = ErrorBody),
        (status = 422, description = "`invalid_field`, `too_many_in_call`, `unknown_queue`, `not_a_leaf`, `unknown_resource`, `never_fits`, `no_demand`, `unknown_dependency`, `dependency_cycle`", body = ErrorBody),
        (status = 429, description = "`too_many_tasks`: at the limit of live tasks; `queue_full`: at that of tasks that wait in the queue", body = ErrorBody),
        (status = 503, description = "`store_full`, `store_failed`, `stopping`, `busy`", body = ErrorBody),
    )
)]
pub(super) async fn submit(
    State(context): State<Arc<Context>>,
    caller: Caller,
    request: Request,
) -> Result<(StatusCode, Json<AcceptedTasksJson>), ApiError> {
    let body = ReadBody::read(request, &context).await?;
    let config = context.config();
    let understood = if body.bytes.len() > LARGE_BYTES {
        let bytes = body.bytes.clone();
        let parsed =
            tokio::task::spawn_blocking(move || understand(&bytes, &config.defaults.demand)).await;
        parsed.unwrap_or(Err(ApiError::Internal))?
    } else {
        understand(&body.bytes, &config.defaults.demand)?
    };
    let single = understood.single;
    if understood.tasks.is_empty() {
        return Ok((
            StatusCode::OK,
            Json(AcceptedTasksJson { tasks: Vec::new() }),
        ));
    }
    let request = EngineRequest::Submit {
        tasks: understood.tasks,
    };
    let reply = context.request(&caller, request, single).await;
    drop(body.budget);
    match reply? {
        Reply::Submitted(accepted) => {
            let created = accepted.iter().any(|accepted| accepted.created);
            let status = if created {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            };
            let tasks = accepted.iter().map(AcceptedJson::from).collect();
            Ok((status, Json(AcceptedTasksJson { tasks })))
        }
        other @ (Reply::State(_) | Reply::Done) => Err(super::unexpected(&other)),
    }
}

/// The body of `POST /v1/tasks`.
#[derive(utoipa::ToSchema)]
#[serde(untagged)]
#[allow(
    dead_code,
    clippy::large_enum_variant,
    reason = "only the OpenAPI document sees this type"
)]
pub(super) enum Submission {
    /// One task object.
    One(NewTaskJson),
    /// Many.
    Many(NewTasksJson),
}

/// What a body asks for.
#[derive(Debug)]
pub(super) struct Understood {
    /// What to take in.
    pub(super) tasks: Vec<NewTask>,
    /// Whether the body was one task object.
    pub(super) single: bool,
}

/// Only tells one task object from many, and counts them before anything is kept of them.
#[derive(Deserialize)]
struct Probe {
    #[serde(default)]
    tasks: Option<Vec<IgnoredAny>>,
}

/// Reads a body.
///
/// # Errors
/// The first thing that is wrong with it.
pub(super) fn understand(
    bytes: &[u8],
    defaults: &BTreeMap<Arc<str>, Amount>,
) -> Result<Understood, ApiError> {
    if bytes.is_empty() {
        return Err(ApiError::field(
            "the body",
            "is empty; send a task object or {\"tasks\": [...]}",
        ));
    }
    let probe: Probe = body::parse(bytes)?;
    let Some(found) = probe.tasks.map(|tasks| tasks.len()) else {
        let task: NewTaskJson = body::parse(bytes)?;
        let task = task.resolve(defaults).map_err(|error| at(&error, ""))?;
        return Ok(Understood {
            tasks: vec![task],
            single: true,
        });
    };
    if found > TASKS_MAX {
        return Err(ApiError::TooManyInCall {
            found,
            max: TASKS_MAX,
        });
    }
    let many: NewTasksJson = body::parse(bytes)?;
    let tasks = (many.tasks.into_iter().enumerate())
        .map(|(place, task)| {
            task.resolve(defaults)
                .map_err(|error| at(&error, &format!("tasks[{place}].")))
        })
        .collect::<Result<_, _>>()?;
    Ok(Understood {
        tasks,
        single: false,
    })
}

fn at(error: &TaskError, prefix: &str) -> ApiError {
    let path = format!("{prefix}{}", error.field());
    let message = error.to_string();
    ApiError::field(path, message)
}
