//! Puts the parts of the daemon together, runs them, and takes them down in good order.
//!
//! Up: port, data directory, engine as the store remembers it, backend, driver, HTTP. Down: driver (which
//! ends what runs), then HTTP. SIGHUP reads the configuration again, SIGTERM and SIGINT stop.

mod backends;
mod http;
mod listen;
mod observing;
mod outside;
mod private;
mod reload;
mod retention;
mod tls;
mod traces;

use backends::{Setting, Started};
use retention::Files;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use apportion_policies::Registry;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use self::listen::{Listeners, Serving, check_guarded, scheme};
use crate::access::{Access, TokenFileError};
use crate::api::ApiState;
use crate::backend::EventSender;
use crate::backend::local::LocalError;
use crate::backend::mesos::{MesosError, Watcher};
use crate::backend::values::{VALUES_DIR, Values};
use crate::clock::{self, Stopwatch};
use crate::config::{BackendConfig, Config};
use crate::driver::{self, Handle};
use crate::engine::{AttemptId, Engine};
use crate::metrics::Metrics;
use crate::store::sqlite::{self, SqliteReader, SqliteStore};
use crate::store::{self, Store, StoreError};

/// Where in the data directory the tasks' files are.
const TASKS_DIR: &str = "tasks";

/// Why the daemon doesn't run, or doesn't any more. The text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The port.
    #[error("cannot listen on {address}: {source}; stop what uses it, or set another {key}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// The key that says so.
        key: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Anybody who reaches the daemon could run commands.
    #[error(
        "{address} is reached from other machines, and no tokens are asked for: whoever reaches it could run commands. \
        Make a token with `apportion token new`, or listen on 127.0.0.1; \
        where the network itself lets nobody else in, set server.insecure = true and say why in server.reason"
    )]
    Unguarded {
        /// What was asked for.
        address: SocketAddr,
    },
    /// The file of tokens.
    #[error(transparent)]
    Tokens(#[from] TokenFileError),
    /// A certificate or a key.
    #[error("{file}: {message}; correct server.tls")]
    Tls {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The data directory or the database in it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The local backend.
    #[error(transparent)]
    Backend(#[from] LocalError),
    /// The Mesos backend.
    #[error(transparent)]
    Mesos(#[from] MesosError),
    /// Agents must be told an address.
    #[error(
        "server.listen is every address of this machine, so agents of Mesos can't be told one; set backend.mesos.advertise to the URL under which they reach this daemon, such as \"http://10.0.0.1:7070\""
    )]
    NoAdvertise,
    /// The HTTP server ended by itself.
    #[error("the HTTP server ended: {0}; start the daemon again")]
    Http(io::Error),
    /// What sends traces.
    #[error("traces can't be sent to {otlp}: {message}; correct traces.otlp")]
    Traces {
        /// The address.
        otlp: String,
        /// What is wrong with it.
        message: String,
    },
    /// A fault of this program.
    #[error(
        "the scheduler stopped on a fault of its own, told above; nothing acknowledged is lost, start the daemon again and report it"
    )]
    Fault,
    /// The system didn't give what every program gets: a thread, a signal.
    #[error("the system refuses {what}: {source}")]
    System {
        /// What.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
}

/// Runs the daemon until a signal stops it. Says `listening on http://ADDRESS` on standard error once
/// it is ready.
///
/// # Errors
/// See [`ServeError`]. Whatever ran has been ended then.
pub async fn run(
    config: Config,
    config_path: Option<PathBuf>,
    registry: &Registry,
) -> Result<(), ServeError> {
    let mut signals = Signals::catch()?;
    let access = Arc::new(Access::open(&config.server.data_dir)?);
    check_guarded(&config, &access)?;
    let scheme = scheme(&config);
    let listeners = Listeners::bind(&config).await?;
    let address = listeners.address()?;
    let mut daemon = Daemon::start(Arc::new(config), access, listeners, registry.clone()).await?;
    say_ready(&format!("{scheme}://{address}"));
    let ended = loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::Reload => {
                    let path = config_path.as_deref();
                    reload::reload(&daemon.handle, &daemon.config, path, registry).await;
                    reload::reload_tls(&daemon.config, &daemon.serving.tls).await;
                }
                Asked::Stop => break Ok(()),
            },
            ended = &mut daemon.driver_ended => break Err(driver_error(ended)),
            ended = &mut daemon.serving.http => break Err(http_error(ended)),
        }
    };
    tokio::select! {
        stopped = daemon.stop(ended) => stopped,
        () = signals.stop_again() => {
            tracing::warn!("told to stop again: what runs is ended at once");
            Ok(())
        }
    }
}

/// Says where it listens, in one piece: who waits for that line never sees a part of it.
fn say_ready(url: &str) {
    // Nobody has to listen.
    let _ = io::stderr().write_all(format!("listening on {url}\n").as_bytes());
}

/// The daemon while it runs.
struct Daemon {
    handle: Handle,
    config: watch::Sender<Arc<Config>>,
    driver_ended: oneshot::Receiver<Result<(), StoreError>>,
    serving: Serving,
    retention: JoinHandle<()>,
    outside: JoinHandle<()>,
    traces: Option<JoinHandle<()>>,
}

impl Daemon {
    async fn start(
        config: Arc<Config>,
        access: Arc<Access>,
        listeners: Listeners,
        registry: Registry,
    ) -> Result<Self, ServeError> {
        let tasks_dir = config.server.data_dir.join(TASKS_DIR);
        let (handle, events, inbox) = driver::channel();
        let metrics = Metrics::install(clock::now());
        let setting = Setting {
            config: Arc::clone(&config),
            tasks_dir: tasks_dir.clone(),
            address: listeners.address()?,
            scheme: scheme(&config),
            watcher: Arc::clone(&metrics) as Arc<dyn Watcher>,
        };
        let started = tokio::task::spawn_blocking(move || Parts::start(&setting, registry, events));
        let values = Values::new(config.server.data_dir.join(VALUES_DIR));
        let Parts {
            engine,
            store,
            reader,
            started,
        } = started.await.map_err(|_| ServeError::Fault)??;
        let reader = Arc::new(reader);
        let observer = Box::new(observing::observer(Arc::clone(&metrics)));
        let backend = started.backend;
        let driver_ended = drive(move || inbox.run(engine, Box::new(store), backend, observer))?;
        let traces = send_traces(&config, &handle, &reader)?;
        let connections_max = config.server.connections_max;
        let (config, config_seen) = watch::channel(config);
        tokio::spawn(observing::keep_limits(
            Arc::clone(&metrics),
            config_seen.clone(),
        ));
        tokio::spawn(backends::keep_told(started.reloader, config_seen.clone()));
        let state = ApiState {
            handle: handle.clone(),
            access,
            reader: Arc::clone(&reader) as Arc<dyn crate::store::reader::Reader>,
            logs: started.logs,
            values: values.clone(),
            service: started.service,
            config: config_seen.clone(),
            metrics: Arc::clone(&metrics),
            trouble: started.trouble,
        };
        let outside = outside::run(handle.clone(), config_seen.clone(), metrics);
        let retention = retention::run(
            handle.clone(),
            reader,
            Files { tasks_dir, values },
            config_seen,
        );
        Ok(Self {
            handle,
            config,
            driver_ended,
            serving: listeners.serve(state, connections_max),
            retention: tokio::spawn(retention),
            outside: tokio::spawn(outside),
            traces,
        })
    }

    /// Stops what still runs, the driver first: it ends the tasks and answers who waits. Gives the error
    /// that led here, or else one that comes now.
    async fn stop(self, ended: Result<(), ServeError>) -> Result<(), ServeError> {
        self.retention.abort();
        self.outside.abort();
        let mut result = ended;
        if matches!(result, Ok(()) | Err(ServeError::Http(_))) {
            tracing::info!("stopping");
            self.handle.stop().await;
            let driver = self.driver_ended.await.unwrap_or(Ok(()));
            result = result.and(driver.map_err(ServeError::from));
        }
        self.serving.stop().await;
        if let Some(traces) = self.traces {
            traces::finish(traces).await;
        }
        result
    }
}

/// Runs the driver on a thread of its own.
fn drive(
    run: impl FnOnce() -> Result<(), StoreError> + Send + 'static,
) -> Result<oneshot::Receiver<Result<(), StoreError>>, ServeError> {
    let (done, driver_ended) = oneshot::channel();
    let thread = thread::Builder::new().name("driver".to_owned());
    let run = move || {
        // The receiver is gone only when the whole daemon is.
        let _ = done.send(run());
    };
    thread.spawn(run).map_err(|source| ServeError::System {
        what: "a thread",
        source,
    })?;
    Ok(driver_ended)
}

/// Sends traces of tasks that end, where the configuration says where to.
fn send_traces(
    config: &Config,
    handle: &Handle,
    reader: &Arc<SqliteReader>,
) -> Result<Option<JoinHandle<()>>, ServeError> {
    let Some(traces) = &config.traces else {
        return Ok(None);
    };
    let exporter = traces::exporter(traces).map_err(|error| ServeError::Traces {
        otlp: traces.otlp.clone(),
        message: error.to_string(),
    })?;
    let (handle, reader) = (handle.clone(), Arc::clone(reader));
    let sending = traces::run(exporter, traces.one_in, handle, reader);
    Ok(Some(tokio::spawn(sending)))
}

/// What is made on a blocking thread, since it reads the disk and starts processes.
struct Parts {
    engine: Engine,
    store: SqliteStore,
    reader: SqliteReader,
    started: Started,
}

impl Parts {
    fn start(
        setting: &Setting,
        registry: Registry,
        events: EventSender,
    ) -> Result<Self, ServeError> {
        let config = &*setting.config;
        let (mut store, reader) = sqlite::open(&config.server.data_dir)?;
        let (mut engine, attempts) = recover(config, registry, &mut store)?;
        retention::remove_orphans(
            &Values::new(config.server.data_dir.join(VALUES_DIR)),
            &reader,
            &attempts,
        );
        close_data_dir(config)?;
        let started = backends::start(setting, &mut engine, attempts, events)?;
        Ok(Self {
            engine,
            store,
            reader,
            started,
        })
    }
}

/// Where tasks run as other users, these must be kept out; where not, whoever owns the directory may see to it himself.
fn close_data_dir(config: &Config) -> Result<(), ServeError> {
    let has_users = matches!(&config.backend, BackendConfig::Local(local) if !local.containments.users().is_empty());
    let data_dir = &config.server.data_dir;
    match private::close_to_others(data_dir, TASKS_DIR, has_users) {
        Err(source) if has_users => Err(ServeError::System {
            what: "to close the data directory to the users of tasks",
            source,
        }),
        Err(error) => {
            tracing::warn!(%error, "cannot close {} to other users", data_dir.display());
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Folds what the store remembers into a new engine.
fn recover(
    config: &Config,
    registry: Registry,
    store: &mut dyn Store,
) -> Result<(Engine, Vec<AttemptId>), StoreError> {
    let watch = Stopwatch::start();
    let mut engine = Engine::with_registry(config.engine.clone(), registry);
    let path = config.server.data_dir.join(sqlite::DATABASE_FILE);
    let path = path.to_string_lossy();
    let attempts = store::recover(store, &mut engine, clock::now(), &path)?;
    tracing::info!(
        n_attempts = attempts.len(),
        seconds = watch.elapsed().as_secs_f64(),
        "recovered from {}",
        config.server.data_dir.display()
    );
    Ok((engine, attempts))
}

/// The driver ended though nobody asked it to.
fn driver_error(ended: Result<Result<(), StoreError>, oneshot::error::RecvError>) -> ServeError {
    match ended {
        Ok(Err(error)) => ServeError::Store(error),
        // It panicked, or thinks that it was told to stop.
        Ok(Ok(())) | Err(_) => ServeError::Fault,
    }
}

/// The HTTP server ended though nobody asked it to.
fn http_error(ended: Result<io::Result<()>, tokio::task::JoinError>) -> ServeError {
    let source = match ended {
        Ok(Ok(())) => io::Error::other("without a reason"),
        Ok(Err(error)) => error,
        Err(error) => io::Error::other(error),
    };
    ServeError::Http(source)
}

/// What a signal asks for.
enum Asked {
    Reload,
    Stop,
}

/// The signals that the daemon answers to.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn catch() -> Result<Self, ServeError> {
        let catch = |kind| {
            signal(kind).map_err(|source| ServeError::System {
                what: "to catch a signal",
                source,
            })
        };
        Ok(Self {
            hangup: catch(SignalKind::hangup())?,
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
        }
    }

    /// Resolves when somebody loses patience with a daemon that is stopping.
    async fn stop_again(&mut self) {
        while let Asked::Reload = self.next().await {
            tracing::warn!("stopping: the configuration is not read again");
        }
    }
}
