//! Where the daemon listens, and whether it may.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::http::Door;
use super::{ServeError, tls};
use crate::access::Access;
use crate::api::{self, ApiState};
use crate::config::{BackendConfig, Config};

/// How many connections the listener for metrics holds.
const METRICS_CONNECTIONS_MAX: usize = 64;

/// How long open HTTP connections may take to end once the driver has.
const HTTP_STOP_MAX: Duration = Duration::from_secs(5);

/// Refuses to listen where others could run commands unasked.
pub(super) fn check_guarded(config: &Config, access: &Access) -> Result<(), ServeError> {
    if let BackendConfig::Local(local) = &config.backend
        && !access.is_guarded()
        && !local.containments.users().is_empty()
    {
        tracing::warn!(
            "tasks run as users of their own, but there are no tokens: whoever runs one of them may submit to any queue, and so run commands as any of these users; make tokens with `apportion token new`"
        );
    }
    let address = config.server.listen;
    if address.ip().is_loopback() {
        return Ok(());
    }
    match (&config.server.insecure, access.is_guarded()) {
        (_, true) if config.server.tls.is_none() => tracing::warn!(
            "{address} is reached from other machines without encryption: tokens can be read on the way; set server.tls"
        ),
        (_, true) => {}
        (Some(reason), false) => tracing::warn!(
            reason,
            "{address} is reached from other machines, and whoever reaches it can run commands"
        ),
        (None, false) => return Err(ServeError::Unguarded { address }),
    }
    Ok(())
}

/// `http` or `https`.
pub(super) fn scheme(config: &Config) -> &'static str {
    match config.server.tls {
        Some(_) => "https",
        None => "http",
    }
}

/// What is listened on, and how.
pub(super) struct Listeners {
    api: TcpListener,
    metrics: Option<TcpListener>,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Listeners {
    pub(super) async fn bind(config: &Config) -> Result<Self, ServeError> {
        let metrics = match config.metrics.listen {
            Some(address) => Some(bind(address, "metrics.listen").await?),
            None => None,
        };
        if let Some(address) = metrics.as_ref().and_then(|it| it.local_addr().ok()) {
            tracing::info!("metrics are served to everybody at http://{address}/metrics");
        }
        Ok(Self {
            tls: config.server.tls.as_ref().map(tls::load).transpose()?,
            api: bind(config.server.listen, "server.listen").await?,
            metrics,
        })
    }

    /// Begins to serve.
    pub(super) fn serve(self, state: ApiState, connections_max: usize) -> Serving {
        let config = state.config.clone();
        let (tls, tls_seen) = watch::channel(self.tls);
        let metrics = self.metrics.map(|listener| Door {
            listener,
            router: api::metrics_router(state.clone()),
            tls: watch::channel(None).1,
            connections_max: METRICS_CONNECTIONS_MAX,
            config: config.clone(),
        });
        let http = Door {
            listener: self.api,
            router: api::router(state),
            tls: tls_seen,
            connections_max,
            config,
        };
        let (stop, stops) = oneshot::channel();
        let (stop_metrics, metrics_stops) = oneshot::channel();
        if let Some(door) = metrics {
            tokio::spawn(door.serve(metrics_stops));
        }
        Serving {
            tls,
            http: tokio::spawn(http.serve(stops)),
            stop,
            _stop_metrics: stop_metrics,
        }
    }

    pub(super) fn address(&self) -> Result<SocketAddr, ServeError> {
        self.api.local_addr().map_err(ServeError::Http)
    }
}

async fn bind(address: SocketAddr, key: &'static str) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen {
            address,
            key,
            source,
        })
}

/// What is being served.
pub(super) struct Serving {
    /// How connections are encrypted.
    pub(super) tls: watch::Sender<Option<Arc<rustls::ServerConfig>>>,
    /// Ends by itself only when something is wrong.
    pub(super) http: JoinHandle<io::Result<()>>,
    stop: oneshot::Sender<()>,
    _stop_metrics: oneshot::Sender<()>,
}

impl Serving {
    /// Takes no more connections, and waits for those that there are, but not for long.
    pub(super) async fn stop(self) {
        drop(self.stop);
        if !self.http.is_finished()
            && tokio::time::timeout(HTTP_STOP_MAX, self.http)
                .await
                .is_err()
        {
            tracing::warn!("some HTTP connections are cut off");
        }
    }
}
