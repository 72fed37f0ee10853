//! A proxy in front of a server: it listens on another address, speaks TLS where the server can't, and can fall silent
//! as a broken network does, without closing anything.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// A running proxy; its connections end with it.
pub(crate) struct Proxy {
    address: SocketAddr,
    silence: watch::Sender<()>,
    _runtime: Runtime,
}

impl Proxy {
    /// Passes on all that comes to a free port of `listen`, to the server at `to` (`ip:port`).
    #[must_use]
    pub(crate) fn start(listen: IpAddr, to: &str) -> Self {
        Self::start_with(listen, to, None)
    }

    /// The same for clients that speak TLS; the server doesn't.
    #[must_use]
    pub(crate) fn start_tls(listen: IpAddr, to: &str, config: ServerConfig) -> Self {
        let tls = TlsAcceptor::from(Arc::new(config));
        Self::start_with(listen, to, Some(tls))
    }

    fn start_with(listen: IpAddr, to: &str, tls: Option<TlsAcceptor>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(TcpListener::bind((listen, 0)))
            .unwrap_or_else(|error| panic!("can't listen on {listen}: {error}"));
        let address = listener.local_addr().unwrap();
        let to: SocketAddr = to.parse().unwrap();
        let silence = watch::Sender::new(());
        let falls_silent = silence.subscribe();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut falls_silent = falls_silent.clone();
                falls_silent.mark_unchanged();
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => pass_on(client, to, falls_silent).await,
                        // A client that doesn't trust us goes away.
                        Some(tls) => {
                            if let Ok(client) = tls.accept(client).await {
                                pass_on(client, to, falls_silent).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            silence,
            _runtime: runtime,
        }
    }

    /// Where it listens.
    #[must_use]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing passes on the connections that are open, and they stay open. New ones work.
    pub(crate) fn fall_silent(&self) {
        self.silence.send_replace(());
    }
}

async fn pass_on(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    to: SocketAddr,
    mut falls_silent: watch::Receiver<()>,
) {
    let Ok(mut server) = TcpStream::connect(to).await else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = falls_silent.changed() => std::future::pending().await,
    }
}
