//! Reading bodies: how long they may be, how long they may take, and what is said about wrong ones.

use std::str;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tokio::sync::OwnedSemaphorePermit;

use super::json::field::Object;
use super::{ApiError, Context};

/// How long a body waits for others to be done with.
const BUDGET_WAIT: Duration = Duration::from_secs(10);
/// How much of a body that is too long is still taken in, and how long, before the caller hears so.
const DISCARD_BYTES_MAX: usize = 256 * 1024 * 1024;
const DISCARD_WAIT: Duration = Duration::from_secs(10);
/// The unit in which the memory for bodies is counted.
const BUDGET_UNIT_BYTES: usize = 1024;

/// A body as it came, together with its part of the memory that all bodies may take.
pub(super) struct ReadBody {
    /// All of it.
    pub(super) bytes: Bytes,
    /// Given back when the body is dropped.
    pub(super) budget: Option<OwnedSemaphorePermit>,
}

impl ReadBody {
    /// Reads the body of a request, which must be announced as JSON unless it is empty.
    ///
    /// # Errors
    /// It is too long, too slow, or something else than JSON.
    pub(super) async fn read(request: Request, context: &Context) -> Result<Self, ApiError> {
        let config = context.config();
        let (max, deadline) = (config.server.body_max_bytes, config.server.body_timeout);
        let (parts, body) = request.into_parts();
        let announced = announced_bytes(&parts.headers);
        if announced.is_some_and(|announced| announced > max as u64) {
            // Whoever asks before sending hears the answer at once; others hear it when they have sent.
            if !parts.headers.contains_key(header::EXPECT) {
                let _ = tokio::time::timeout(DISCARD_WAIT, discard(body)).await;
            }
            return Err(ApiError::BodyTooLarge { max });
        }
        let expected = announced
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(max);
        let budget = context
            .reserve_body(expected.div_ceil(BUDGET_UNIT_BYTES), BUDGET_WAIT)
            .await?;
        let bytes = tokio::time::timeout(deadline, collect(body, max))
            .await
            .map_err(|_| ApiError::BodyTooSlow {
                seconds: deadline.as_secs_f64(),
            })??;
        if !bytes.is_empty() {
            check_content_type(&parts.headers)?;
        }
        Ok(Self { bytes, budget })
    }
}

async fn collect(mut body: Body, max: usize) -> Result<Bytes, ApiError> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::BodyBroken {
            message: error.to_string(),
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > max {
            drop(bytes);
            let _ = tokio::time::timeout(DISCARD_WAIT, discard(body)).await;
            return Err(ApiError::BodyTooLarge { max });
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.into())
}

/// Takes in what a caller still sends, up to a bound, and forgets it: many clients look for an answer only
/// when they have sent everything, and take a connection that closes before for a fault of the network.
async fn discard(mut body: Body) {
    let mut n_bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        n_bytes += frame.data_ref().map_or(0, Bytes::len);
        if n_bytes > DISCARD_BYTES_MAX {
            return;
        }
    }
}

fn announced_bytes(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let announced = headers.get(header::CONTENT_TYPE);
    let found = announced.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let essence = found
        .as_deref()
        .and_then(|found| found.split(';').next())
        .unwrap_or_default();
    if essence.trim().eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(ApiError::ContentType { found })
    }
}

/// A body in JSON that may be left out.
pub(super) struct OptionalJson<T>(pub(super) T);

impl<T: DeserializeOwned + Default> FromRequest<Arc<Context>> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, context: &Arc<Context>) -> Result<Self, ApiError> {
        let body = ReadBody::read(request, context).await?;
        if body.bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        parse(&body.bytes).map(Self)
    }
}

/// Reads an object in JSON; errors know the path, the line and the column.
///
/// # Errors
/// It isn't UTF-8, isn't JSON, or isn't a `T`.
pub(super) fn parse<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, ApiError> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let (line, column) = position(&bytes[..error.valid_up_to()]);
        ApiError::InvalidUtf8 { line, column }
    })?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let Object(value) = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        describe(error.inner(), path)
    })?;
    deserializer
        .end()
        .map_err(|error| describe(&error, String::new()))?;
    Ok(value)
}

/// Line and column, from 1, of the byte behind these.
fn position(before: &[u8]) -> (usize, usize) {
    let line_start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |newline| newline + 1);
    let n_newlines = before.iter().filter(|byte| **byte == b'\n').count();
    (n_newlines + 1, before.len() - line_start + 1)
}

fn describe(error: &serde_json::Error, path: String) -> ApiError {
    let (line, column) = (error.line(), error.column());
    let message = error.to_string();
    let suffix = format!(" at line {line} column {column}");
    let message = message.strip_suffix(&suffix).unwrap_or(&message).to_owned();
    match error.classify() {
        Category::Data => {
            let path = if path.is_empty() || path == "." {
                "the body".to_owned()
            } else {
                path
            };
            ApiError::InvalidField {
                path,
                message,
                position: Some((line, column)),
            }
        }
        Category::Io | Category::Syntax | Category::Eof => ApiError::InvalidJson {
            message,
            line,
            column,
        },
    }
}
