//! `/v1/tasks/{id}/logs/…`: what an attempt wrote, also while it runs.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::changes::{Changes, Woken};
use super::json::ErrorBody;
use super::query::{Parameters, TaskPath};
use super::{ApiError, Context};
use crate::access::Caller;
use crate::backend::{LogChunk, LogError, LogStream};
use crate::engine::{AttemptId, Fact, TaskId};

/// The most bytes of one answer.
const CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// The longest that a call waits for more.
const WAIT_SECONDS_MAX: f64 = 60.0;
/// How often a growing file is looked at: soon enough for a person who follows it.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// An attempt, and who has what it wrote.
struct Place {
    attempt: AttemptId,
    agent: Arc<str>,
}

/// What is asked for.
struct Wanted {
    task: TaskId,
    stream: LogStream,
    offset: u64,
    attempt: Option<u32>,
    wait_seconds: f64,
}

/// Gives the standard output of an attempt from `offset` on, at most 1 MiB at a time.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}/logs/stdout",
    operation_id = "read_stdout",
    tag = "tasks",
    params(
        ("id" = u64, Path, description = "the task"),
        ("offset" = Option<u64>, Query, description = "from this byte on; 0 where it isn't said"),
        ("attempt" = Option<u32>, Query, description = "of this attempt; the latest where it isn't said"),
        ("wait_seconds" = Option<f64>, Query, description = "where there is nothing new, wait so long, at most 60, for more bytes or the end of the attempt"),
    ),
    responses(
        (status = 200, description = "the bytes; none at the end", body = Vec<u8>, content_type = "application/octet-stream",
            headers(
                ("Apportion-Attempt" = u32, description = "the attempt that wrote them"),
                ("Apportion-Log-Total" = u64, description = "how long the output is so far, in bytes"),
                ("Apportion-Log-Ended" = bool, description = "whether the attempt has ended and nothing follows these bytes"),
            )),
        (status = 404, description = "`unknown_task`; `no_output` where nothing was written or is kept", body = ErrorBody),
        (status = 422, description = "`invalid_field`", body = ErrorBody),
        (status = 429, description = "`too_many_waits`", body = ErrorBody),
        (status = 503, description = "`output_unreachable`, `store_failed`", body = ErrorBody),
    )
)]
pub(super) async fn stdout(
    State(context): State<Arc<Context>>,
    caller: Caller,
    TaskPath(task): TaskPath,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let wanted = Wanted::read(task, LogStream::Stdout, parameters)?;
    answer(&context, &caller, wanted).await
}

/// Gives the standard error of an attempt from `offset` on, at most 1 MiB at a time.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}/logs/stderr",
    operation_id = "read_stderr",
    tag = "tasks",
    params(
        ("id" = u64, Path, description = "the task"),
        ("offset" = Option<u64>, Query, description = "from this byte on; 0 where it isn't said"),
        ("attempt" = Option<u32>, Query, description = "of this attempt; the latest where it isn't said"),
        ("wait_seconds" = Option<f64>, Query, description = "where there is nothing new, wait so long, at most 60, for more bytes or the end of the attempt"),
    ),
    responses(
        (status = 200, description = "the bytes; none at the end; headers as for stdout", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, description = "`unknown_task`; `no_output` where nothing was written or is kept", body = ErrorBody),
        (status = 422, description = "`invalid_field`", body = ErrorBody),
        (status = 429, description = "`too_many_waits`", body = ErrorBody),
        (status = 503, description = "`output_unreachable`, `store_failed`", body = ErrorBody),
    )
)]
pub(super) async fn stderr(
    State(context): State<Arc<Context>>,
    caller: Caller,
    TaskPath(task): TaskPath,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let wanted = Wanted::read(task, LogStream::Stderr, parameters)?;
    answer(&context, &caller, wanted).await
}

impl Wanted {
    fn read(task: TaskId, stream: LogStream, mut parameters: Parameters) -> Result<Self, ApiError> {
        let offset = parameters.natural("offset")?.unwrap_or_default();
        let attempt = parameters.number("attempt")?;
        let wait_seconds = parameters.wait("wait_seconds", WAIT_SECONDS_MAX)?;
        parameters.end(&["offset", "attempt", "wait_seconds"])?;
        Ok(Self {
            task,
            stream,
            offset,
            attempt,
            wait_seconds,
        })
    }

    fn missing(&self, message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::NoOutput {
            task: self.task,
            message: message.into(),
        }
    }
}

async fn answer(context: &Context, caller: &Caller, wanted: Wanted) -> Result<Response, ApiError> {
    let mut changes = Changes::subscribe(context, wanted.wait_seconds);
    let (place, mut has_ended) = find_attempt(context, caller, &wanted, &mut changes).await?;
    let attempt = place.attempt;
    loop {
        // Whether the attempt had ended is known before its output is read: nothing can come after that.
        let found = read(context, &place, &wanted).await?;
        if found.is_none() && has_ended {
            return Err(wanted.missing("nothing is kept of this attempt's output"));
        }
        let chunk = found.unwrap_or_default();
        let is_over = wanted.wait_seconds == 0.0 || changes.is_over();
        if !chunk.bytes.is_empty() || has_ended || is_over {
            return Ok(respond(attempt, wanted.offset, has_ended, chunk));
        }
        let ends = |fact: &Fact| matches!(fact, Fact::AttemptEnded { attempt: ended, .. } if *ended == attempt);
        tokio::select! {
            woken = changes.wait(ends) => match woken? {
                Woken::Look => {
                    let record = context.find_task(caller, attempt.task).await?;
                    has_ended = record.attempts.iter()
                        .any(|known| known.attempt == attempt && known.ended_at.is_some());
                }
                Woken::Over => return Ok(respond(attempt, wanted.offset, has_ended, chunk)),
            },
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// The attempt meant, and whether it has ended. Waits for a first one where waiting was asked for.
async fn find_attempt(
    context: &Context,
    caller: &Caller,
    wanted: &Wanted,
    changes: &mut Changes<'_>,
) -> Result<(Place, bool), ApiError> {
    loop {
        let record = context.find_task(caller, wanted.task).await?;
        let found = match wanted.attempt {
            Some(number) => record
                .attempts
                .iter()
                .find(|known| known.attempt.number == number),
            None => record.attempts.last(),
        };
        if let Some(found) = found {
            let place = Place {
                attempt: found.attempt,
                agent: Arc::clone(&found.agent),
            };
            return Ok((place, found.ended_at.is_some()));
        }
        let missing = match wanted.attempt {
            Some(_) => wanted.missing("there is no such attempt"),
            None => wanted.missing("it has had no attempt yet"),
        };
        let is_over = wanted.wait_seconds == 0.0 || changes.is_over();
        if wanted.attempt.is_some() || record.state.is_ended() || is_over {
            return Err(missing);
        }
        let begins = |fact: &Fact| {
            let begun =
                matches!(fact, Fact::Launched { attempt, .. } if attempt.task == wanted.task);
            begun || matches!(fact, Fact::Ended { task, .. } if *task == wanted.task)
        };
        if changes.wait(begins).await? == Woken::Over {
            return Err(missing);
        }
    }
}

async fn read(
    context: &Context,
    place: &Place,
    wanted: &Wanted,
) -> Result<Option<LogChunk>, ApiError> {
    let reading = context.logs().read(
        place.attempt,
        Arc::clone(&place.agent),
        wanted.stream,
        wanted.offset,
        CHUNK_BYTES_MAX,
    );
    reading.await.map_err(|error| match error {
        LogError::Unreachable(message) => ApiError::OutputUnreachable {
            task: wanted.task,
            message,
        },
        LogError::Gone(message) => wanted.missing(message),
        LogError::Io(error) => {
            tracing::error!(attempt = %place.attempt, %error, "an attempt's output can't be read");
            ApiError::Internal
        }
    })
}

fn respond(attempt: AttemptId, offset: u64, has_ended: bool, chunk: LogChunk) -> Response {
    let is_all = offset.saturating_add(chunk.bytes.len() as u64) >= chunk.total_bytes;
    let headers = [
        (
            header::CONTENT_TYPE.as_str(),
            "application/octet-stream".to_owned(),
        ),
        ("apportion-attempt", attempt.number.to_string()),
        ("apportion-log-total", chunk.total_bytes.to_string()),
        ("apportion-log-ended", (has_ended && is_all).to_string()),
    ];
    (headers, chunk.bytes).into_response()
}
