//! `/v1/tasks/{id}/result`: the value of a task that has ended.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt as _;
use tower_http::services::ServeFile;

use super::json::ErrorBody;
use super::json::outcome::outcome_word;
use super::query::{Parameters, TaskPath};
use super::{ApiError, Context};
use crate::access::Caller;
use crate::engine::{AttemptId, TaskId};

/// Gives the value of an ended task: for a command, its standard output, at most 64 KiB; for Python, what
/// `run()` returned or raised, pickled, behind a line that says which versions made it.
///
/// A value above 64 KiB comes from a file, and ranges of it can be asked for.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}/result",
    operation_id = "read_result",
    tag = "tasks",
    params(
        ("id" = u64, Path, description = "the task"),
        ("attempt" = Option<u32>, Query, description = "the value that this attempt left as a file, also where the task was retried since; the `value_attempt` of an inbox"),
    ),
    responses(
        (status = 200, description = "the bytes of the value", body = Vec<u8>, content_type = "application/octet-stream",
            headers(
                ("Apportion-Outcome" = String, description = "`succeeded`, `failed` or `cancelled`; not with `attempt`"),
                ("Apportion-Value-Truncated" = bool, description = "whether the output was longer; `logs` has all of it"),
            )),
        (status = 206, description = "the part that the header `Range` asks for", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, description = "`unknown_task`; `no_output` where the attempt left no file", body = ErrorBody),
        (status = 409, description = "`not_ended`", body = ErrorBody),
        (status = 416, description = "no such part"),
        (status = 422, description = "`invalid_field`: no id", body = ErrorBody),
        (status = 503, description = "`store_failed`", body = ErrorBody),
    )
)]
pub(super) async fn result(
    State(context): State<Arc<Context>>,
    caller: Caller,
    TaskPath(task): TaskPath,
    mut parameters: Parameters,
    request: Request,
) -> Result<Response, ApiError> {
    let attempt = parameters.number("attempt")?;
    parameters.end(&["attempt"])?;
    let record = context.find_task(&caller, task).await?;
    if let Some(number) = attempt {
        return file(&context, task, number, request).await;
    }
    let Some(outcome) = record.outcome.filter(|_| record.state.is_ended()) else {
        return Err(ApiError::NotEnded {
            task,
            state: record.state,
        });
    };
    let value = &outcome.value;
    let mut response = match value.file {
        Some(kept) => file(&context, task, kept.attempt, request).await?,
        None => value.bytes.to_vec().into_response(),
    };
    let truncated = if value.truncated { "true" } else { "false" };
    for (name, value) in [
        (header::CONTENT_TYPE.as_str(), "application/octet-stream"),
        ("apportion-outcome", outcome_word(outcome.kind)),
        ("apportion-value-truncated", truncated),
    ] {
        let headers = response.headers_mut();
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// Streams a value that is kept as a file.
async fn file(
    context: &Context,
    task: TaskId,
    number: u32,
    request: Request,
) -> Result<Response, ApiError> {
    let path = context.values().path(AttemptId { task, number });
    // Whoever writes values can also put links in their place.
    let is_link = tokio::fs::symlink_metadata(&path)
        .await
        .is_ok_and(|found| !found.is_file());
    if is_link {
        tracing::error!(%task, number, "what stands in the place of a value is no file");
        return Err(ApiError::Internal);
    }
    let Ok(served) = ServeFile::new(path).oneshot(request).await;
    let mut response = served.map(axum::body::Body::new);
    if response.status() == StatusCode::NOT_FOUND {
        return Err(ApiError::NoOutput {
            task,
            message: "this attempt left no value as a file, or it is not kept any more".into(),
        });
    }
    // A file that can't be read is told as an empty answer.
    if response.status().is_server_error() {
        tracing::error!(%task, number, "the file of a value can't be read");
        return Err(ApiError::Internal);
    }
    let octets = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, octets);
    Ok(response)
}
