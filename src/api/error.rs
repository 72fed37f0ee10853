//! What the API answers when it can't do what was asked: one status, one lasting code, a message that says
//! what to do, and its parts as data.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::door::{self, Forbidden};
use super::json::{ErrorBody, ErrorJson};
use super::refusal;
use crate::access::Denied;
use crate::driver::RequestError;
use crate::engine::{AttemptId, Refusal, TaskId, TaskState};
use crate::store::StoreError;

/// After how many seconds it makes sense to try again where the daemon can't do it now.
const RETRY_AFTER_SECONDS: u16 = 2;

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The body isn't UTF-8.
    #[error("the body is not valid UTF-8 at line {line}, column {column}")]
    InvalidUtf8 {
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
    },
    /// The body isn't JSON.
    #[error("the body is not valid JSON: {message} at line {line}, column {column}")]
    InvalidJson {
        /// What was expected.
        message: String,
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
    },
    /// A field of the body, the query or the path is wrong.
    #[error("{path}: {message}")]
    InvalidField {
        /// Which, such as `tasks[3].demand.mem`.
        path: String,
        /// What is wrong with it.
        message: String,
        /// Where in the body it stands: line and column, from 1.
        position: Option<(usize, usize)>,
    },
    /// Too many task objects in one call.
    #[error("{found} tasks in one call; send at most {max} at a time, or an array")]
    TooManyInCall {
        /// How many there are.
        found: usize,
        /// How many may be.
        max: usize,
    },
    /// The body is longer than the configuration allows.
    #[error("the body is longer than {max} bytes; send less at a time, or raise server.body_max")]
    BodyTooLarge {
        /// The limit.
        max: usize,
    },
    /// The body didn't come in time.
    #[error("the body did not arrive within {seconds} seconds")]
    BodyTooSlow {
        /// The limit.
        seconds: f64,
    },
    /// There are as many streams of events as may be.
    #[error(
        "{max} streams of events are open, the most that server.streams_max allows; close one, or try again later"
    )]
    TooManyStreams {
        /// The limit.
        max: usize,
    },
    /// As many calls wait as may.
    #[error(
        "{max} calls wait for something, the most that server.waits_max allows; ask without wait_seconds, or try again later"
    )]
    TooManyWaits {
        /// The limit.
        max: usize,
    },
    /// The connection broke while the body came.
    #[error("the body broke off: {message}")]
    BodyBroken {
        /// What the connection said.
        message: String,
    },
    /// Something else than JSON was announced.
    #[error("{}; send JSON with the header 'content-type: application/json'", found.as_ref().map_or_else(
        || "the body has no content type".to_owned(),
        |found| format!("the body is announced as '{found}'"),
    ))]
    ContentType {
        /// What was announced.
        found: Option<String>,
    },
    /// No such path.
    #[error("there is nothing at {path}; /openapi.json lists all calls")]
    NoRoute {
        /// The path asked for.
        path: String,
    },
    /// Nobody knows who calls.
    #[error("{0}")]
    Denied(Denied),
    /// The caller lacks a right.
    #[error("{0}")]
    Forbidden(Box<Forbidden>),
    /// It was sent to another name than this daemon's, as a page does that has its name lead here.
    #[error(
        "this daemon is not known as '{host}'; call it by its IP address or as localhost, or add the name to server.names"
    )]
    WrongHost {
        /// The name.
        host: String,
    },
    /// Not exactly one host is named.
    #[error("the call does not name one host; send one header 'host'")]
    NoHost,
    /// The body is compressed.
    #[error("the body is announced as '{found}'; send it as it is, without 'content-encoding'")]
    ContentEncoding {
        /// How it is encoded.
        found: String,
    },
    /// A page of another site sent it through somebody's browser.
    #[error(
        "a page of another site may not change anything here; use the page at /, the command line or a program"
    )]
    CrossSite,
    /// The path knows other methods.
    #[error("{path} takes no {method}; /openapi.json lists all calls")]
    MethodNotAllowed {
        /// The method asked for.
        method: String,
        /// The path.
        path: String,
    },
    /// No such task, or not any more.
    #[error("unknown task {task}; ended tasks are forgotten after server.retention")]
    UnknownTask {
        /// Which.
        task: TaskId,
    },
    /// A result before the end.
    #[error("task {task} is {}, so it has no result yet", .state.as_str())]
    NotEnded {
        /// Which.
        task: TaskId,
        /// Its state.
        state: TaskState,
    },
    /// Nothing was written, or it isn't kept.
    #[error("task {task}: {message}")]
    NoOutput {
        /// Which.
        task: TaskId,
        /// Why.
        message: Cow<'static, str>,
    },
    /// Whoever has an output can't be asked.
    #[error("the output of task {task} can't be read now: {message}")]
    OutputUnreachable {
        /// Which.
        task: TaskId,
        /// Whom, and why not.
        message: String,
    },
    /// Whoever brings an attempt's value can't prove to be its executor.
    #[error("this is not the secret of attempt {attempt}; send what its launch told")]
    WrongToken {
        /// Which.
        attempt: AttemptId,
    },
    /// A value that nobody wants any more.
    #[error("attempt {attempt} has ended, or never was; its value is not wanted")]
    AttemptEnded {
        /// Which.
        attempt: AttemptId,
    },
    /// No such resource.
    #[error("unknown resource '{name}'; known: {}", .known.join(", "))]
    UnknownResource {
        /// The name.
        name: String,
        /// Those that exist.
        known: Vec<String>,
    },
    /// The engine refused; nothing changed.
    #[error("{}", refusal::message(.refusal, *.single))]
    Refused {
        /// Why.
        refusal: Refusal,
        /// Whether a single task object was sent, so that places in a list mean nothing to the sender.
        single: bool,
    },
    /// The store can't be read, or the daemon can't write.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
    /// What was asked could not be made durable.
    #[error(
        "this could not be made durable and is not acknowledged, though it may take effect when the store works again; \
        repeat it then, a submission under the same key: {0}"
    )]
    NotDurable(StoreError),
    /// The daemon recovers what it stored.
    #[error("the daemon is starting; try again in a moment")]
    Starting,
    /// The backend can't run tasks now.
    #[error("{why}; tasks are taken in, and wait")]
    NotConnected {
        /// Why.
        why: std::sync::Arc<str>,
    },
    /// The daemon stops.
    #[error("the daemon is stopping; try again when it is back")]
    Stopping,
    /// Too much is going on.
    #[error("too many large bodies at once; try again in a moment")]
    Busy,
    /// More connections than the daemon holds.
    #[error(
        "too many connections; close some, or try again in a moment. server.connections_max says how many there may be"
    )]
    TooManyConnections,
    /// A defect of the daemon.
    #[error("the daemon failed at this call; its log says more")]
    Internal,
}

impl ApiError {
    /// A field of the query or the path that is wrong.
    #[must_use]
    pub fn field(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::InvalidField {
            path: path.into(),
            message: message.into(),
            position: None,
        }
    }

    /// From the driver's answer; `single` as in [`ApiError::Refused`].
    #[must_use]
    pub fn from_request(error: RequestError, single: bool) -> Self {
        match error {
            RequestError::Refused(refusal) => Self::Refused { refusal, single },
            RequestError::Store(error) => Self::NotDurable(error),
            RequestError::Stopping => Self::Stopping,
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::InvalidUtf8 { .. }
            | Self::InvalidJson { .. }
            | Self::BodyBroken { .. }
            | Self::NoHost => StatusCode::BAD_REQUEST,
            Self::Denied(_) => StatusCode::UNAUTHORIZED,
            Self::WrongHost { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::InvalidField { .. } | Self::TooManyInCall { .. } => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::TooManyStreams { .. } | Self::TooManyWaits { .. } => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::ContentType { .. } | Self::ContentEncoding { .. } => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Self::NoRoute { .. }
            | Self::UnknownTask { .. }
            | Self::NoOutput { .. }
            | Self::UnknownResource { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::CrossSite | Self::Forbidden(_) | Self::WrongToken { .. } => StatusCode::FORBIDDEN,
            Self::NotEnded { .. } | Self::AttemptEnded { .. } => StatusCode::CONFLICT,
            Self::Refused { refusal, .. } => refusal::status(refusal),
            Self::OutputUnreachable { .. }
            | Self::Store(_)
            | Self::NotDurable(_)
            | Self::Starting
            | Self::NotConnected { .. }
            | Self::Stopping
            | Self::Busy
            | Self::TooManyConnections => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The lasting word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidUtf8 { .. } => "invalid_utf8",
            Self::InvalidJson { .. } => "invalid_json",
            Self::InvalidField { .. } => "invalid_field",
            Self::TooManyInCall { .. } => "too_many_in_call",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::BodyTooSlow { .. } => "body_too_slow",
            Self::TooManyStreams { .. } => "too_many_streams",
            Self::TooManyWaits { .. } => "too_many_waits",
            Self::BodyBroken { .. } => "body_broken",
            Self::ContentType { .. } => "unsupported_media_type",
            Self::CrossSite => "cross_site",
            Self::Denied(denied) => door::code(denied),
            Self::Forbidden(_) => "forbidden",
            Self::WrongHost { .. } => "wrong_host",
            Self::NoHost => "no_host",
            Self::ContentEncoding { .. } => "unsupported_encoding",
            Self::NoRoute { .. } => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::UnknownTask { .. } => "unknown_task",
            Self::NotEnded { .. } => "not_ended",
            Self::NoOutput { .. } => "no_output",
            Self::OutputUnreachable { .. } => "output_unreachable",
            Self::WrongToken { .. } => "wrong_token",
            Self::AttemptEnded { .. } => "attempt_ended",
            Self::UnknownResource { .. } => "unknown_resource",
            Self::Refused { refusal, .. } => refusal.code(),
            Self::Store(error) | Self::NotDurable(error) => match error {
                StoreError::Full { .. } => "store_full",
                StoreError::Corrupt { .. }
                | StoreError::TooNew { .. }
                | StoreError::InUse { .. }
                | StoreError::Other { .. } => "store_failed",
            },
            Self::Starting => "starting",
            Self::NotConnected { .. } => "not_connected",
            Self::Stopping => "stopping",
            Self::Busy => "busy",
            Self::TooManyConnections => "too_many_connections",
            Self::Internal => "internal",
        }
    }

    /// The parts of the message as data.
    #[must_use]
    pub fn detail(&self) -> Option<Value> {
        Some(match self {
            Self::InvalidUtf8 { line, column } | Self::InvalidJson { line, column, .. } => {
                json!({"line": line, "column": column})
            }
            Self::InvalidField {
                path,
                position: Some((line, column)),
                ..
            } => {
                json!({"path": path, "line": line, "column": column})
            }
            Self::InvalidField { path, .. } => json!({"path": path}),
            Self::Forbidden(forbidden) => forbidden.detail(),
            Self::WrongHost { host } => json!({"host": host}),
            Self::ContentEncoding { found } => json!({"found": found}),
            Self::TooManyInCall { found, max } => json!({"found": found, "max": max}),
            Self::BodyTooLarge { max } => json!({"max_bytes": max}),
            Self::TooManyStreams { max } | Self::TooManyWaits { max } => json!({"max": max}),
            Self::UnknownTask { task }
            | Self::NoOutput { task, .. }
            | Self::OutputUnreachable { task, .. } => json!({"task": task.0}),
            Self::NotEnded { task, state } => json!({"task": task.0, "state": state.as_str()}),
            Self::WrongToken { attempt } | Self::AttemptEnded { attempt } => {
                json!({"task": attempt.task.0, "attempt": attempt.number})
            }
            Self::UnknownResource { name, known } => json!({"resource": name, "known": known}),
            Self::Refused { refusal, single } => return refusal::detail(refusal, *single),
            Self::ContentType { found } => json!({"found": found, "expected": "application/json"}),
            Self::BodyTooSlow { .. }
            | Self::BodyBroken { .. }
            | Self::CrossSite
            | Self::Denied(_)
            | Self::NoHost
            | Self::NoRoute { .. }
            | Self::MethodNotAllowed { .. }
            | Self::Store(_)
            | Self::NotDurable(_)
            | Self::Starting
            | Self::NotConnected { .. }
            | Self::Stopping
            | Self::Busy
            | Self::TooManyConnections
            | Self::Internal => return None,
        })
    }

    /// The body of the answer.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        ErrorBody {
            error: ErrorJson {
                code: self.code().to_owned(),
                message: self.to_string(),
                detail: self.detail(),
            },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(self.body())).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
            let seconds = HeaderValue::from(RETRY_AFTER_SECONDS);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        if status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer realm=\"apportion\"");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_says_when_to_try_again() {
        let response = ApiError::Stopping.into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        let live = Refusal::TooManyTasks { n_live: 5 };
        let response = ApiError::Refused {
            refusal: live,
            single: true,
        }
        .into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        let response = ApiError::Internal.into_response();
        assert!(!response.headers().contains_key(header::RETRY_AFTER));
    }

    #[test]
    fn a_full_disk_says_so() {
        let error = ApiError::from(StoreError::Full {
            path: "a/apportion.db".into(),
        });
        assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(error.code(), "store_full");
        assert_eq!(
            error.to_string(),
            "the store failed: no space left for a/apportion.db; free some and the daemon goes on by itself"
        );
    }
}
