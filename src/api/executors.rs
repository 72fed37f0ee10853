//! What executors on agents want of the daemon: its program, and that it takes values which are too large for Mesos.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::json::ErrorBody;
use super::{ApiError, Context};
use crate::backend::remote::launch::parse_attempt;
use crate::backend::remote::service::Service;
use crate::engine::AttemptId;
use crate::store::StoreError;

/// How long a body may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How many pieces of a body wait for the disk.
const PIECES_MAX: usize = 4;

/// How many bytes of the program are read at once.
const PROGRAM_PIECE_BYTES: usize = 256 << 10;

/// Gives the program that runs here, for an agent to start as an executor.
#[utoipa::path(
    get,
    path = "/v1/executor/{hash}",
    operation_id = "fetch_executor",
    tag = "daemon",
    params(("hash" = String, Path, description = "names its content, and can't be guessed; launches say it")),
    responses(
        (status = 200, description = "the program", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, description = "`not_found`: another program runs here, or no executors are started", body = ErrorBody),
    )
)]
pub(super) async fn program(
    State(context): State<Arc<Context>>,
    Path(hash): Path<String>,
) -> Result<Response, ApiError> {
    let path = format!("/v1/executor/{hash}");
    let service = context
        .service()
        .filter(|service| is_same(service.program_name(), &hash));
    let service = service.ok_or(ApiError::NoRoute { path })?;
    let (file, n_bytes) = service.program().map_err(|error| {
        tracing::error!(%error, "the own program can't be read");
        ApiError::Internal
    })?;
    let pieces = futures::stream::try_unfold((Arc::new(file), 0), next_piece);
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, n_bytes.to_string()),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// Compares in a time that doesn't depend on where the two differ.
fn is_same(expected: &str, given: &str) -> bool {
    blake3::hash(expected.as_bytes()) == blake3::hash(given.as_bytes())
}

/// Reads on a thread that may wait for the disk.
async fn next_piece(
    (file, offset): (Arc<std::fs::File>, u64),
) -> io::Result<Option<(Bytes, (Arc<std::fs::File>, u64))>> {
    let reading = tokio::task::spawn_blocking(move || {
        let mut bytes = vec![0; PROGRAM_PIECE_BYTES];
        let n_read = std::os::unix::fs::FileExt::read_at(&*file, &mut bytes, offset)?;
        bytes.truncate(n_read);
        let next = (file, offset + n_read as u64);
        Ok((n_read > 0).then(|| (Bytes::from(bytes), next)))
    });
    reading.await.map_err(io::Error::other)?
}

/// Takes the value of an attempt that has not been told to have ended.
#[utoipa::path(
    put,
    path = "/v1/attempts/{attempt}/value",
    operation_id = "put_value",
    tag = "daemon",
    params(
        ("attempt" = String, Path, description = "the attempt, such as `7.1`"),
        ("Authorization" = String, Header, description = "`Bearer` and the attempt's secret, which its launch told"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 204, description = "the value is on disk; one that came before is replaced"),
        (status = 400, description = "`body_broken`", body = ErrorBody),
        (status = 403, description = "`wrong_token`", body = ErrorBody),
        (status = 404, description = "`not_found`: no executors are started here", body = ErrorBody),
        (status = 408, description = "`body_too_slow`", body = ErrorBody),
        (status = 409, description = "`attempt_ended`", body = ErrorBody),
        (status = 422, description = "no attempt is called so: `invalid_field`", body = ErrorBody),
        (status = 503, description = "`store_full`", body = ErrorBody),
    )
)]
pub(super) async fn put_value(
    State(context): State<Arc<Context>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let path = request.uri().path().to_owned();
    let service = context.service().ok_or(ApiError::NoRoute { path })?;
    let attempt = parse_attempt(&name)
        .ok_or_else(|| ApiError::field("attempt", "is no attempt, such as 7.1"))?;
    check_token(service, attempt, &request)?;
    if !context
        .inspect(move |engine| engine.is_alive(attempt))
        .await?
    {
        return Err(ApiError::AttemptEnded { attempt });
    }
    let (pieces, received) = mpsc::channel(PIECES_MAX);
    let values = context.values().clone();
    let writing = tokio::task::spawn_blocking(move || {
        let mut body = BodyReader {
            pieces: received,
            current: Bytes::new(),
        };
        values.write(attempt, &mut body)
    });
    let passed = pass_on(request.into_body(), &pieces).await;
    drop(pieces);
    let written = writing.await.map_err(|_| ApiError::Internal)?;
    // What was wrong with the body says more than that the writing ended early.
    passed?;
    match written {
        Ok(n_bytes) => {
            tracing::debug!(%attempt, n_bytes, "took a value");
            Ok(StatusCode::NO_CONTENT)
        }
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            let path = context.values().path(attempt);
            let path = path.display().to_string().into();
            Err(ApiError::Store(StoreError::Full { path }))
        }
        Err(error) => {
            tracing::error!(%attempt, %error, "a value can't be written");
            Err(ApiError::Internal)
        }
    }
}

fn check_token(service: &Service, attempt: AttemptId, request: &Request) -> Result<(), ApiError> {
    let header = request.headers().get(header::AUTHORIZATION);
    let token = header.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if token.is_some_and(|token| service.is_token(attempt, token)) {
        Ok(())
    } else {
        Err(ApiError::WrongToken { attempt })
    }
}

/// Hands a body over piece by piece. If it breaks off, whoever writes hears so.
async fn pass_on(mut body: Body, pieces: &mpsc::Sender<io::Result<Bytes>>) -> Result<(), ApiError> {
    loop {
        let frame = match tokio::time::timeout(SILENCE_MAX, body.frame()).await {
            Ok(None) => return Ok(()),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                let message = error.to_string();
                let _ = pieces.send(Err(io::Error::other(error))).await;
                return Err(ApiError::BodyBroken { message });
            }
            Err(_) => {
                let _ = pieces.send(Err(io::ErrorKind::TimedOut.into())).await;
                let seconds = SILENCE_MAX.as_secs_f64();
                return Err(ApiError::BodyTooSlow { seconds });
            }
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if pieces.send(Ok(data)).await.is_err() {
            // It could not be written, and whoever did knows why.
            return Ok(());
        }
    }
}

/// A body as something to read from, on a thread that may wait.
struct BodyReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for BodyReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let n_bytes = into.len().min(self.current.len());
        into[..n_bytes].copy_from_slice(&self.current.split_to(n_bytes));
        Ok(n_bytes)
    }
}
