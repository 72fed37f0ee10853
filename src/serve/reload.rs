//! SIGHUP: the configuration is read again; an invalid one changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use apportion_policies::Registry;
use tokio::sync::watch;

use super::tls;
use crate::config::{self, BackendConfig, Config, ConfigErrors};
use crate::driver::{Handle, RequestError};
use crate::engine::Request;
use crate::engine::audit::Actor;

/// Reads the file and puts it into effect, as far as that goes without a restart. Says in the log how it went.
pub(super) async fn reload(
    handle: &Handle,
    current: &watch::Sender<Arc<Config>>,
    path: Option<&Path>,
    registry: &Registry,
) {
    let Some(path) = path else {
        tracing::warn!(
            "there is no configuration file to read again: the daemon was started without one"
        );
        return;
    };
    let mut config = match load(path.to_owned(), registry.clone()).await {
        Ok(config) => config,
        Err(errors) => {
            tracing::error!("the configuration stays as it was: {errors}");
            return;
        }
    };
    keep_what_needs_a_restart(&mut config, &current.borrow());
    let settings = Box::new(config.engine.clone());
    let signal = Actor {
        token: None,
        peer: Some("SIGHUP".into()),
    };
    match handle
        .request_for(signal, Request::Reload { settings })
        .await
    {
        Ok(_) => {
            current.send_replace(Arc::new(config));
            tracing::info!("the configuration of {} is in effect", path.display());
        }
        // Reloading changes nothing in the store, but was in a batch that does.
        Err(error @ RequestError::Store(_)) => tracing::error!(
            "queues and resources may be in effect as in {}, and nothing else of it: {error}; send SIGHUP again when the store works",
            path.display()
        ),
        Err(error @ (RequestError::Refused(_) | RequestError::Stopping)) => {
            tracing::error!("the configuration stays as it was: {error}");
        }
    }
}

/// Reads the certificate and its key again; what can't be used leaves those that are in use.
pub(super) async fn reload_tls(
    config: &watch::Sender<Arc<Config>>,
    current: &watch::Sender<Option<Arc<rustls::ServerConfig>>>,
) {
    let Some(files) = config.borrow().server.tls.clone() else {
        return;
    };
    match tokio::task::spawn_blocking(move || tls::load(&files)).await {
        Ok(Ok(loaded)) => {
            current.send_replace(Some(loaded));
            tracing::info!("the certificate is in effect for new connections");
        }
        Ok(Err(error)) => tracing::error!("the certificate stays as it was: {error}"),
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

async fn load(path: PathBuf, registry: Registry) -> Result<Config, ConfigErrors> {
    match tokio::task::spawn_blocking(move || config::load_for_daemon(Some(&path), &registry)).await
    {
        Ok(loaded) => loaded,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// Puts back what can't change while the daemon runs, and says so.
fn keep_what_needs_a_restart(config: &mut Config, current: &Config) {
    let warn =
        |key: &str| tracing::warn!("{key} has changed; restart the daemon to put that into effect");
    if config.server.listen != current.server.listen {
        warn("server.listen");
        config.server.listen = current.server.listen;
    }
    if config.server.data_dir != current.server.data_dir {
        warn("server.data_dir");
        config.server.data_dir.clone_from(&current.server.data_dir);
    }
    if config.server.tls.is_some() != current.server.tls.is_some() {
        warn("server.tls");
        config.server.tls.clone_from(&current.server.tls);
    }
    if config.server.connections_max != current.server.connections_max {
        warn("server.connections_max");
        config.server.connections_max = current.server.connections_max;
    }
    if config.metrics.listen != current.metrics.listen {
        warn("metrics.listen");
        config.metrics.listen = current.metrics.listen;
    }
    if config.traces != current.traces {
        warn("traces");
        config.traces.clone_from(&current.traces);
    }
    let mut kept = current.backend.clone();
    match (&mut kept, &config.backend) {
        (BackendConfig::Mesos(kept), BackendConfig::Mesos(new)) => {
            kept.placement.clone_from(&new.placement);
        }
        (BackendConfig::Local(kept), BackendConfig::Local(new)) => {
            kept.containments.clone_from(&new.containments);
        }
        (BackendConfig::Mesos(_), BackendConfig::Local(_))
        | (BackendConfig::Local(_), BackendConfig::Mesos(_)) => {}
    }
    if config.backend != kept {
        warn("backend, or python,");
        config.backend = kept;
    }
}
