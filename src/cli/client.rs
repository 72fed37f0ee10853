//! Talks to the daemon over HTTP.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, Response, Url};
use serde_json::Value;

use super::connection::Connection;
use super::wire;
use crate::clock::Stopwatch;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take to go on. Submissions wait for the disk, so this is generous.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a daemon that has answered before may be away while somebody waits for a task.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is tried again in that time.
const PATIENCE_STEP: Duration = Duration::from_millis(200);

/// What goes wrong between this program and the daemon.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum ClientError {
    /// No answer.
    #[error(
        "can't reach {server}: {reason}; is the daemon running? start one with `apportion serve`, or set --server"
    )]
    Unreachable {
        /// Where.
        server: String,
        /// What the system said.
        reason: String,
    },
    /// The daemon said no.
    #[error("{}", .0.message)]
    Refused(Box<Refused>),
    /// Something else answered.
    #[error(
        "{server} answers, but not as an Apportion daemon of this version does: {reason}; check --server"
    )]
    NotUnderstood {
        /// Where.
        server: String,
        /// What was wrong with the answer.
        reason: String,
    },
}

impl ClientError {
    /// Whether the same may work in a moment: the daemon is away, starting or stopping.
    fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(refused) => matches!(refused.code.as_str(), "starting" | "stopping"),
            Self::NotUnderstood { .. } => false,
        }
    }
}

/// A refusal of the daemon.
#[derive(Debug)]
pub(super) struct Refused {
    /// The lasting word for it.
    pub(super) code: String,
    /// What is wrong and what to do.
    pub(super) message: String,
    /// The parts of the message as data.
    pub(super) detail: Value,
}

/// A connection to one daemon. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    server: String,
    /// Whether the daemon has answered before.
    reached: Arc<AtomicBool>,
}

impl Client {
    /// For one daemon. Nothing is sent yet.
    ///
    /// # Errors
    /// The URL is none or a file is wrong, as a text that says what to write.
    pub(super) fn new(connection: &Connection) -> Result<Self, String> {
        let server = connection.server.as_str();
        let wrong = |why: &str| {
            format!(
                "'{server}' is no URL of a daemon: {why}; write it such as http://127.0.0.1:7070"
            )
        };
        let url = Url::parse(server).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("only http:// and https:// are spoken"));
        }
        if url.host().is_none() {
            return Err(wrong("it names no host"));
        }
        let http = connection
            .builder()?
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .build()
            .map_err(|error| wrong(&error.to_string()))?;
        Ok(Self {
            http,
            server: server.trim_end_matches('/').to_owned(),
            reached: Arc::default(),
        })
    }

    /// Asks for JSON.
    pub(super) async fn get(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Value, ClientError> {
        self.json(self.request(Method::GET, path).query(query))
            .await
    }

    /// Asks for JSON and reads it as one of the types of [`wire`].
    pub(super) async fn get_as<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, ClientError> {
        self.read(self.get(path, query).await?)
    }

    /// Sends JSON, and reads the JSON that comes back.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.json(self.request(Method::POST, path).json(body)).await
    }

    /// The same, but once the daemon has answered at all, its being away for a moment is waited out: it may
    /// be restarted while somebody waits for a task.
    pub(super) async fn get_patiently<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, ClientError> {
        self.patiently(|| self.get_as(path, query)).await
    }

    /// Asks for bytes, as patiently as [`Client::get_patiently`].
    pub(super) async fn bytes(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<(HeaderMap, Bytes), ClientError> {
        self.patiently(|| async {
            let response = self
                .send(self.request(Method::GET, path).query(query))
                .await?;
            let headers = response.headers().clone();
            let bytes = response
                .bytes()
                .await
                .map_err(|error| self.unreachable(&error))?;
            Ok((headers, bytes))
        })
        .await
    }

    /// Asks for a body without end. The stream ends when the connection does.
    pub(super) async fn stream(
        &self,
        path: &str,
    ) -> Result<BoxStream<'static, Bytes>, ClientError> {
        let response = self.send(self.request(Method::GET, path)).await?;
        let chunks = response
            .bytes_stream()
            .take_while(|chunk| std::future::ready(chunk.is_ok()));
        Ok(chunks
            .filter_map(|chunk| std::future::ready(chunk.ok()))
            .boxed())
    }

    async fn patiently<T, F>(&self, ask: impl Fn() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let away = Stopwatch::start();
        loop {
            let answer = ask().await;
            let is_away = matches!(&answer, Err(error) if error.may_pass());
            if !is_away || !self.was_reached() || away.elapsed() > PATIENCE {
                return answer;
            }
            tokio::time::sleep(PATIENCE_STEP).await;
        }
    }

    fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// Reads an answer as one of the types of [`wire`].
    pub(super) fn read<T: serde::de::DeserializeOwned>(
        &self,
        answer: Value,
    ) -> Result<T, ClientError> {
        serde_json::from_value(answer).map_err(|error| self.not_understood(error.to_string()))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.server))
    }

    async fn json(&self, request: RequestBuilder) -> Result<Value, ClientError> {
        let response = self.send(request).await?;
        let body = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&body).map_err(|error| self.not_understood(error.to_string()))
    }

    /// Sends, and turns every status but success into an error.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        self.reached.store(true, Ordering::Relaxed);
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        match serde_json::from_slice::<wire::ErrorBody>(&body) {
            Ok(wire::ErrorBody { error }) => Err(ClientError::Refused(Box::new(Refused {
                code: error.code,
                message: error.message,
                detail: error.detail,
            }))),
            Err(_) => Err(self.not_understood(format!("status {status}"))),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        let reason = if error.is_timeout() {
            "no answer in time".to_owned()
        } else {
            innermost(error)
        };
        ClientError::Unreachable {
            server: self.server.clone(),
            reason,
        }
    }

    fn not_understood(&self, reason: String) -> ClientError {
        ClientError::NotUnderstood {
            server: self.server.clone(),
            reason,
        }
    }
}

/// The cause at the bottom says what happened; those above it only say that something did.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut reason = error.to_string();
    while let Some(current) = cause {
        reason = match current.downcast_ref::<io::Error>() {
            Some(error) if error.raw_os_error().is_some() => error.kind().to_string(),
            _ => current.to_string(),
        };
        cause = current.source();
    }
    reason
}
