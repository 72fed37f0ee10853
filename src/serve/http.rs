//! Listening: takes connections in, with TLS where that is asked for, bounds how many there are and how long they
//! may be slow, and hands their calls to the API.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::api::{ApiError, Peer};
use crate::config::Config;

/// How long a connection may take to agree on its encryption.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// How long a connection beyond the limit may take to hear that it is one.
const REFUSAL_WAIT: Duration = Duration::from_secs(2);
/// How many of those are told at once; more are closed without a word.
const REFUSALS_MAX: usize = 64;
/// The pause after the system gave no connection, such as for want of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What is listened on, and how.
pub(super) struct Door {
    pub(super) listener: TcpListener,
    pub(super) router: Router,
    /// How connections are encrypted; another one counts for those that come.
    pub(super) tls: watch::Receiver<Option<Arc<rustls::ServerConfig>>>,
    /// How many connections there may be.
    pub(super) connections_max: usize,
    /// The configuration, for how long callers may take; what it says counts for connections that come.
    pub(super) config: watch::Receiver<Arc<Config>>,
}

/// How long a caller may take.
#[derive(Clone, Copy)]
struct Patience {
    /// For the head of a call; as long a connection may be idle between two.
    head: Duration,
    /// Without taking anything of an answer.
    write: Duration,
}

impl Patience {
    fn of(config: &Config) -> Self {
        Self {
            head: config.server.head_timeout,
            write: config.server.write_timeout,
        }
    }
}

impl Door {
    /// Serves until `stop` is used or dropped, and then until the calls that are under way have ended.
    pub(super) async fn serve(self, mut stop: oneshot::Receiver<()>) -> io::Result<()> {
        let open = GracefulShutdown::new();
        let places = Arc::new(Semaphore::new(self.connections_max));
        let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = &mut stop => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => {
                    tracing::error!(%error, "no connection can be taken in");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let tls = self.tls.borrow().clone();
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                if let (None, Ok(permit)) = (tls, Arc::clone(&refusals).try_acquire_owned()) {
                    tokio::spawn(async move {
                        // Nobody is left to tell where even this fails.
                        let _ = tokio::time::timeout(REFUSAL_WAIT, refuse(stream)).await;
                        drop(permit);
                    });
                }
                continue;
            };
            let patience = Patience::of(&self.config.borrow());
            let (router, watcher) = (self.router.clone(), open.watcher());
            tokio::spawn(async move {
                let served = serve_connection(stream, peer, tls, router, watcher, patience).await;
                if let Err(error) = served {
                    tracing::debug!(%peer, %error, "a connection broke off");
                }
                drop(place);
            });
        }
        drop(self.listener);
        open.shutdown().await;
        Ok(())
    }
}

/// Whether the next connection may well be taken in at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<rustls::ServerConfig>>,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
    patience: Patience,
) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(patience.write));
    let stream = Box::pin(stream);
    match tls {
        None => serve_calls(stream, peer, router, watcher, patience).await,
        Some(config) => {
            let handshake = TlsAcceptor::from(config).accept(stream);
            let stream = tokio::time::timeout(HANDSHAKE_WAIT, handshake).await??;
            serve_calls(stream, peer, router, watcher, patience).await
        }
    }
}

async fn serve_calls(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
    patience: Patience,
) -> Result<(), Failure> {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        let answered = router.clone().oneshot(request);
        async move {
            let Ok(response) = answered.await;
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .serve_connection(TokioIo::new(stream), service);
    Ok(watcher.watch(connection).await?)
}

/// Says that there are too many connections, whatever is asked.
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    let response = ApiError::TooManyConnections.into_response();
    let body = ApiError::TooManyConnections.body();
    let body = serde_json::to_string(&body)?;
    let mut text = format!("HTTP/1.1 {}\r\n", response.status());
    for (name, value) in response.headers() {
        let is_length = name == hyper::header::CONTENT_LENGTH;
        if let (false, Ok(value)) = (is_length, value.to_str()) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    let n_bytes = body.len();
    text.push_str(&format!(
        "content-length: {n_bytes}\r\nconnection: close\r\n\r\n{body}"
    ));
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    // What was asked is taken in and forgotten, or the answer could be lost with it.
    let mut asked = tokio::io::sink();
    tokio::io::copy(&mut stream, &mut asked).await?;
    Ok(())
}
