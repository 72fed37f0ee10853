//! The Mesos backend: the v1 scheduler API, as a guest of a cluster.
//!
//! ```text
//! driver ─ act() ─► shell task ─► session (pure) ─► actions ─► HTTP
//!    ▲                 ▲                               │
//!    └── events task ◄─┼───────────────────────────────┘
//!                      └── stream, call, discovery tasks
//! ```
//! `session` decides what is said, and when; the `shell` says it. Reading order: `session`, `resources`,
//! `framework`, `shell`, `talk`, `discovery`.

mod discovery;
mod framework;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzed;
pub mod logs;
pub(crate) mod resources;
pub(crate) mod session;
mod shell;
mod talk;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

pub(crate) use self::session::FRAMEWORK_ID;
pub use self::session::Recovered;

use self::logs::MesosLogs;
use self::session::{Session, SessionSettings};
use self::shell::{Command, Shell};
use self::talk::Talk;
use super::remote::launch::Upload;
use super::settings::{MesosConfig, Placement};
use super::{Backend, EventSender};
use crate::clock::Steady;
use crate::engine::{AttemptId, Decision};

/// How long the subscription may take to close when the daemon stops.
const STOP_MAX: Duration = Duration::from_secs(2);

/// Why the backend can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MesosError {
    /// A file that the configuration names.
    #[error("{what}: cannot read {}: {source}", .path.display())]
    Unreadable {
        /// The key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Certificates.
    #[error("{what}: {message}")]
    Tls {
        /// The key.
        what: &'static str,
        /// What is wrong with them.
        message: String,
    },
}

/// Is told what the backend does, for metrics. Called often, so it must be quick.
pub trait Watcher: Send + Sync {
    /// An offer was `accepted`, `declined`, `rescinded` or `forgotten`, after it was held for so long.
    fn offer_ended(&self, result: &'static str, held: Duration);
    /// So many offers are held now.
    fn offers_held(&self, count: usize);
    /// A call was answered with this HTTP status; 0 where there was no answer.
    fn called(&self, call: &'static str, code: u16);
    /// There is a subscription now, or there is none any more.
    fn connected(&self, is_connected: bool);
    /// The master said something.
    fn heard(&self);
}

/// Where we are known: for whoever reads from agents and masters beside the session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The framework's id.
    pub framework: Option<Arc<str>>,
    /// The URL of the leading master.
    pub master: Option<Arc<str>>,
}

/// What the backend needs to start.
pub struct MesosOptions {
    /// `[backend.mesos]`
    pub config: MesosConfig,
    /// The framework id that was kept.
    pub framework: Option<Arc<str>>,
    /// The attempts that lived when the last daemon stopped.
    pub recovered: Vec<Recovered>,
    /// Where agents fetch the executor.
    pub program_url: String,
    /// Where people look at this scheduler.
    pub webui_url: String,
    /// Where an attempt's large value goes.
    pub upload: Box<dyn Fn(AttemptId) -> Upload + Send + Sync>,
    /// Who counts.
    pub watcher: Arc<dyn Watcher>,
}

/// A Mesos cluster as a backend. Tasks outlive the daemon: Mesos keeps them for
/// `backend.mesos.failover_timeout`.
pub struct MesosBackend {
    commands: mpsc::UnboundedSender<Command>,
    has_stopped: Receiver<()>,
    trouble: watch::Receiver<Option<Arc<str>>>,
    known: watch::Receiver<Known>,
    logs: Arc<MesosLogs>,
}

impl MesosBackend {
    /// Starts to look for the leading master, on this runtime. Where there is none, it goes on looking.
    ///
    /// # Errors
    /// A file that the configuration names can't be used.
    pub fn start(
        options: MesosOptions,
        events: EventSender,
        runtime: &Handle,
    ) -> Result<Self, MesosError> {
        let talk = Talk::new(&options.config)?;
        let reads = (
            talk::client_builder(&options.config)?,
            talk::credentials(&options.config)?,
        );
        let masters = options.config.masters.clone();
        let settings = SessionSettings {
            executor_ca: talk::executor_ca(&options.config)?,
            config: options.config,
            program_url: options.program_url,
            webui_url: options.webui_url,
            upload: options.upload,
        };
        let clock = Steady::start();
        let seed = fastrand::u64(..);
        let session = Session::new(
            settings,
            options.framework,
            options.recovered,
            seed,
            clock.now(),
        );
        let waiting = Some(Arc::from("not yet connected to a Mesos master"));
        let (trouble_told, trouble) = watch::channel(waiting);
        let (known_told, known) = watch::channel(Known::default());
        let logs =
            MesosLogs::new(reads.0, known.clone(), reads.1).map_err(|error| MesosError::Tls {
                what: "backend.mesos.ca_file",
                message: error.to_string(),
            })?;
        // Without bounds of its own: the engine decides each attempt and each offer only a few times.
        let (commands, inbox) = mpsc::unbounded_channel();
        let (stopped, has_stopped) = std::sync::mpsc::channel();
        let shell = Shell::new(
            session,
            clock,
            talk,
            options.watcher,
            trouble_told,
            known_told,
        );
        runtime.spawn(async move {
            shell.run(masters, inbox, events).await;
            drop::<std::sync::mpsc::Sender<()>>(stopped);
        });
        Ok(Self {
            commands,
            has_stopped,
            trouble,
            known,
            logs: Arc::new(logs),
        })
    }

    /// Why tasks can't be run now; `None` while there is a subscription.
    #[must_use]
    pub fn trouble(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.trouble.clone()
    }

    /// What attempts write on agents.
    #[must_use]
    pub fn logs(&self) -> Arc<MesosLogs> {
        Arc::clone(&self.logs)
    }

    /// Who is to be told of a new configuration.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        Reloader(self.commands.clone())
    }

    /// Where we are known.
    #[must_use]
    pub fn known(&self) -> watch::Receiver<Known> {
        self.known.clone()
    }
}

/// Tells a running backend what of its configuration changed.
pub struct Reloader(mpsc::UnboundedSender<Command>);

impl Reloader {
    /// What is launched from now on follows this.
    pub fn replace(&self, placement: Placement) {
        let _ = self.0.send(Command::Reloaded(placement));
    }
}

impl Backend for MesosBackend {
    fn act(&mut self, decision: Decision) {
        let _ = self.commands.send(Command::Decided(decision));
    }

    /// Nothing to do: the session asks Mesos about them once it is subscribed.
    fn reconcile(&mut self, _attempts: Vec<AttemptId>) {}

    /// Closes the subscription. Tasks run on, for the next daemon.
    fn shut_down(&mut self) {
        let _ = self.commands.send(Command::Stop);
        let _ = self.has_stopped.recv_timeout(STOP_MAX);
    }
}
