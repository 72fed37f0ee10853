//! Starts what runs the tasks, as the configuration says.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::ServeError;
use crate::backend::local::{LocalBackend, LocalLogs, LocalOptions, LocalReloader};
use crate::backend::mesos::{
    FRAMEWORK_ID, MesosBackend, MesosOptions, Recovered, Reloader, Watcher,
};
use crate::backend::remote::launch::Upload;
use crate::backend::remote::service::Service;
use crate::backend::{Backend, EventSender, Logs};
use crate::config::{BackendConfig, Config, MesosConfig};
use crate::engine::{AttemptId, Engine};

/// A backend that runs, and why it can't run tasks, where that is so.
pub(super) struct Started {
    pub(super) backend: Box<dyn Backend>,
    /// What attempts write.
    pub(super) logs: Arc<dyn Logs>,
    pub(super) trouble: watch::Receiver<Option<Arc<str>>>,
    /// What executors on agents may ask of this daemon, where there are any.
    pub(super) service: Option<Arc<Service>>,
    /// Who is told of a new configuration.
    pub(super) reloader: Reload,
}

/// Tells a backend what of a new configuration may change while it runs.
pub(super) type Reload = Box<dyn Fn(&Config) + Send + Sync>;

/// Tells a backend of each new configuration, until the daemon stops.
pub(super) async fn keep_told(reload: Reload, mut config: watch::Receiver<Arc<Config>>) {
    while config.changed().await.is_ok() {
        reload(&config.borrow_and_update());
    }
}

fn reload_local(reloader: LocalReloader) -> Reload {
    Box::new(move |config| {
        if let BackendConfig::Local(local) = &config.backend {
            reloader.replace(local.containments.clone());
        }
    })
}

fn reload_mesos(reloader: Reloader) -> Reload {
    Box::new(move |config| {
        if let BackendConfig::Mesos(mesos) = &config.backend {
            reloader.replace(mesos.placement.clone());
        }
    })
}

/// What a backend is started with.
pub(super) struct Setting {
    pub(super) config: Arc<Config>,
    pub(super) tasks_dir: PathBuf,
    /// Where the daemon listens.
    pub(super) address: SocketAddr,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    pub(super) watcher: Arc<dyn Watcher>,
}

/// Starts the backend; `attempts` lived when the last daemon stopped. To be called on a thread that may wait.
pub(super) fn start(
    setting: &Setting,
    engine: &mut Engine,
    attempts: Vec<AttemptId>,
    events: EventSender,
) -> Result<Started, ServeError> {
    let mut started = match &setting.config.backend {
        BackendConfig::Local(local) => {
            let options = LocalOptions::new(&setting.tasks_dir);
            let backend = LocalBackend::start(local, &options, move |batch| {
                events.blocking_send_all(batch)
            })?;
            Started {
                reloader: reload_local(backend.reloader()),
                backend: Box::new(backend),
                logs: Arc::new(LocalLogs::new(&setting.tasks_dir)),
                trouble: watch::channel(None).1,
                service: None,
            }
        }
        BackendConfig::Mesos(mesos) => {
            engine.decline_offers();
            let service = Service::open(&setting.config.server.data_dir);
            let service = Arc::new(service.map_err(|source| ServeError::System {
                what: "its own program, or the key of executors",
                source,
            })?);
            let options = mesos_options(setting, mesos, engine, &attempts, &service)?;
            let runtime = tokio::runtime::Handle::current();
            let backend = MesosBackend::start(options, events, &runtime)?;
            Started {
                trouble: backend.trouble(),
                logs: backend.logs(),
                reloader: reload_mesos(backend.reloader()),
                backend: Box::new(backend),
                service: Some(service),
            }
        }
    };
    started.backend.reconcile(attempts);
    Ok(started)
}

fn mesos_options(
    setting: &Setting,
    config: &MesosConfig,
    engine: &Engine,
    attempts: &[AttemptId],
    service: &Arc<Service>,
) -> Result<MesosOptions, ServeError> {
    let url = match &config.advertise {
        Some(url) => url.clone(),
        None if setting.address.ip().is_unspecified() => return Err(ServeError::NoAdvertise),
        None => format!("{}://{}", setting.scheme, setting.address),
    };
    let (upload_url, tokens) = (url.clone(), Arc::clone(service));
    Ok(MesosOptions {
        config: config.clone(),
        framework: engine.backend_notes().get(FRAMEWORK_ID).cloned(),
        recovered: Recovered::find(engine, attempts),
        program_url: format!("{url}/v1/executor/{}", service.program_name()),
        webui_url: url,
        upload: Box::new(move |attempt| Upload {
            url: upload_url.clone(),
            token: tokens.token(attempt),
        }),
        watcher: Arc::clone(&setting.watcher),
    })
}
