//! The local backend: tasks are processes on this machine.
//!
//! ```text
//! driver ─ act() ─► desk ─ orders ─► keeper process ─► attempts
//!    ▲                ▲                    │
//!    └─── events ── clerk ◄─── reports ────┘
//! ```
//! The `desk` keeps the books of what is offered and is a lock that is held for moments; the `clerk` is a thread; the
//! [`keeper`] starts and ends processes. Reading order: `wire`, `books`, `desk`, `clerk`, [`keeper`], [`layout`].
//!
//! A machine that is all of the cluster is one agent, [`AGENT`], in every data directory: what was
//! submitted on a laptop under one host name still fits after it got another.

pub mod accounts;
mod books;
mod clerk;
mod desk;
mod environment;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzed;
pub mod keeper;
pub mod layout;
mod link;
mod logs;
mod machine;
mod profiles;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

pub use self::logs::LocalLogs;

use self::accounts::{Account, AccountError};
use self::books::Books;
use self::clerk::{Clerk, Shared};
use self::desk::Desk;
use self::link::{Link, Recipe, Reports};
use self::profiles::{Known, Profiles};
use self::wire::{Report, WireLimits, WirePython};
use super::Backend;
use crate::backend::settings::{Containments, LimitMode, LocalConfig, PythonConfig};
use crate::backend::values::{VALUES_DIR, Values};
use crate::clock::Stopwatch;
use crate::engine::{AttemptId, Decision, Event};

/// The name of the one agent.
pub const AGENT: &str = "local";

/// How long a keeper may take to clear away what an earlier one left. Long, for a task may hang in the kernel.
const READY_MAX: Duration = Duration::from_secs(30);

/// How much longer than the grace [`LocalBackend::shut_down`] waits for what can't be killed.
const SHUT_DOWN_MARGIN: Duration = Duration::from_secs(5);

/// Where and how.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// Where the attempts' files go; made if it isn't there. One daemon at a time may use it.
    pub tasks_dir: PathBuf,
    /// Where values that are too large for an event go; see [`Values`].
    pub values_dir: PathBuf,
    /// The program `apportion`, whose hidden command `keeper` is started; `None` where this process runs it.
    pub keeper_program: Option<PathBuf>,
    /// Between SIGTERM and SIGKILL when the daemon stops in good order.
    pub shut_down_grace: Duration,
}

impl LocalOptions {
    /// The usual ones; large values go beside the directory of the tasks.
    #[must_use]
    pub fn new(tasks_dir: impl Into<PathBuf>) -> Self {
        let tasks_dir = tasks_dir.into();
        Self {
            values_dir: tasks_dir.with_file_name(VALUES_DIR),
            tasks_dir,
            keeper_program: None,
            shut_down_grace: Duration::from_secs(5),
        }
    }
}

/// Why the backend can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// The directory for the tasks' files.
    #[error("cannot use the directory {} for the files of tasks: {source}", .path.display())]
    TasksDir {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No process or no thread.
    #[error("cannot start the keeper of tasks: {0}")]
    Keeper(#[from] io::Error),
    /// `backend.limits` asks for cgroups, and they can't be had.
    #[error(
        "backend.limits is \"cgroup\", but {0}; make that possible, or set it to \"watch\" or \"auto\""
    )]
    NoCgroups(String),
    /// Tasks can't run as the account that the configuration names.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The account can't get to where its tasks would run.
    #[error(
        "tasks can't run as '{user}': that account can't pass through {} on the way to the files of tasks; allow that (chmod o+x), or set another server.data_dir",
        .dir.display()
    )]
    Impassable {
        /// Who.
        user: String,
        /// Where.
        dir: PathBuf,
    },
    /// The keeper ended or said nothing.
    #[error("the keeper of tasks did not become ready; what it wrote to standard error says why")]
    NotReady,
}

/// This machine as a backend.
///
/// On start it tells of its one agent and, once [`Backend::reconcile`] was called, offers everything.
/// What ended attempts held comes as further offers, which add up, and what an accepted offer leaves as one of the
/// [`Backend::leftovers`].
pub struct LocalBackend {
    desk: Shared,
    /// Closed when the clerk ends.
    clerk_ended: Receiver<()>,
    shut_down_grace: Duration,
}

impl LocalBackend {
    /// Starts. When it returns, nothing of an earlier daemon on the same directory runs any more.
    ///
    /// Events go to `on_events`, those that came about together together, on a thread that may wait as long
    /// as it likes; false means that nobody listens any more. Costs two
    /// processes and one thread, however many attempts run, and threads of the keeper for some of its cgroups.
    ///
    /// # Errors
    /// See [`LocalError`].
    pub fn start(
        config: &LocalConfig,
        options: &LocalOptions,
        on_events: impl FnMut(Vec<Event>) -> bool + Send + 'static,
    ) -> Result<Self, LocalError> {
        let has_users = !config.containments.users().is_empty();
        let tasks_dir = prepare_tasks_dir(&options.tasks_dir, has_users).map_err(|source| {
            LocalError::TasksDir {
                path: options.tasks_dir.clone(),
                source,
            }
        })?;
        check_users(&config.containments, &tasks_dir)?;
        let recipe = recipe(config, options, tasks_dir);
        let (link, mut reports) = Link::start(&recipe)?;
        if let Err(error) = wait_until_ready(&mut reports) {
            // Should it still want to say something, it must not wait for who listens.
            drop(reports);
            return Err(error);
        }
        let (bell, ringer) = io::pipe()?;
        let books = Books::new(machine::resources(&config.resources));
        let seen = Event::AgentSeen {
            agent: AGENT.into(),
            total: books.total().clone(),
            attributes: config.attributes.clone(),
        };
        let desk = Shared::new(Desk {
            agent: AGENT.into(),
            recipe: Arc::new(recipe),
            books,
            profiles: Profiles::new(Known::find(config.containments.clone())),
            link: Some(link),
            bell: ringer,
            has_rung: false,
            held: BTreeMap::new(),
            waiting: Vec::new(),
            freed: BTreeMap::new(),
            // Handed over in the clerk's first round.
            told: vec![seen],
            aside: Vec::new(),
            last_start: Stopwatch::start(),
            shutting_down: false,
        });
        let clerk = Clerk {
            desk: desk.clone(),
            bell,
            reports: Some(reports),
            on_events,
            is_heard: true,
        };
        let (ended, clerk_ended) = channel();
        let body = move || {
            clerk.run();
            drop::<Sender<()>>(ended);
        };
        let thread = std::thread::Builder::new().name("local-backend".to_owned());
        thread.spawn(body)?;
        Ok(Self {
            desk,
            clerk_ended,
            shut_down_grace: options.shut_down_grace,
        })
    }

    /// By which it is told of a new configuration.
    #[must_use]
    pub fn reloader(&self) -> LocalReloader {
        LocalReloader(self.desk.clone())
    }
}

/// Tells the backend of a new configuration.
#[derive(Clone)]
pub struct LocalReloader(Shared);

impl LocalReloader {
    /// What is launched from now on is held to this.
    pub fn replace(&self, containments: Containments) {
        let known = Known::find(containments);
        self.0.lock().profiles.replace(known);
    }
}

impl Backend for LocalBackend {
    fn act(&mut self, decision: Decision) {
        self.desk.lock().act(decision);
    }

    /// The offer of what accepted offers had left.
    fn leftovers(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.desk.lock().aside)
    }

    fn reconcile(&mut self, attempts: Vec<AttemptId>) {
        self.desk.lock().reconcile(attempts);
    }

    /// Sends SIGTERM to everything, SIGKILL after the grace, and returns when nothing is left; at the latest
    /// a few seconds after the grace. No event comes any more.
    fn shut_down(&mut self) {
        self.desk.lock().shut_down(self.shut_down_grace);
        if self
            .clerk_ended
            .recv_timeout(self.shut_down_grace + SHUT_DOWN_MARGIN)
            == Err(RecvTimeoutError::Timeout)
        {
            tracing::warn!(
                "some processes of tasks cannot be ended yet; they are when the system lets go of them"
            );
        }
    }
}

impl Drop for LocalBackend {
    /// Without [`Backend::shut_down`] everything is SIGKILLed at once.
    fn drop(&mut self) {
        self.desk.lock().abandon();
    }
}

/// Waits for the keeper's first word.
fn wait_until_ready(reports: &mut Reports) -> Result<(), LocalError> {
    let since = Stopwatch::start();
    loop {
        let left = READY_MAX.saturating_sub(since.elapsed());
        if left.is_zero() {
            return Err(LocalError::NotReady);
        }
        let said = reports.read_within(left);
        for report in said.ok_or(LocalError::NotReady)? {
            match report {
                Report::Ready {
                    limits,
                    instead_because,
                } => {
                    desk::tell_limits(&limits, instead_because.as_deref());
                    return Ok(());
                }
                Report::Refused { message } => return Err(LocalError::NoCgroups(message)),
                Report::Warning { message } => tracing::warn!("{message}"),
                // One that isn't ready has nothing to say of attempts.
                Report::Started { .. } | Report::Ended { .. } => {}
            }
        }
    }
}

fn wire_limits(mode: LimitMode) -> WireLimits {
    match mode {
        LimitMode::Auto => WireLimits::Auto,
        LimitMode::Cgroup => WireLimits::Cgroup,
        LimitMode::Watch => WireLimits::Watch,
        LimitMode::Off => WireLimits::Off,
    }
}

fn wire_python(config: &PythonConfig) -> WirePython {
    WirePython {
        interpreter: config.interpreter.to_string(),
        tasks_max: config.tasks_max,
        memory_growth_bytes: config.memory_growth_bytes,
        idle_max: config.idle_max as usize,
        idle_millis: wire::millis(config.idle_time),
    }
}

/// Makes the directory and tells its one true name. Others than this process's user have no business in it, and where
/// tasks run as others, they may pass through it to what is theirs.
fn prepare_tasks_dir(path: &Path, has_users: bool) -> io::Result<PathBuf> {
    std::fs::create_dir_all(path)?;
    let others = if has_users { 0o001 } else { 0 };
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o7777;
    let wanted = mode & !0o007 | others;
    if mode != wanted {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(wanted))?;
    }
    std::fs::canonicalize(path)
}

/// What the keeper is started with.
fn recipe(config: &LocalConfig, options: &LocalOptions, tasks_dir: PathBuf) -> Recipe {
    Recipe {
        // The file that runs, even if another has taken its name since.
        program: options
            .keeper_program
            .clone()
            .unwrap_or_else(|| PathBuf::from("/proc/self/exe")),
        home: keeper::Home {
            identity: identity(&tasks_dir),
            tasks_dir,
        },
        limits: wire_limits(config.limits),
        python: wire_python(&config.python),
        values: Values::new(
            std::path::absolute(&options.values_dir).unwrap_or_else(|_| options.values_dir.clone()),
        ),
    }
}

/// Whether tasks can run as all the accounts that are named.
fn check_users(containments: &Containments, tasks_dir: &Path) -> Result<(), LocalError> {
    for user in containments.users().into_keys() {
        if let Some(dir) = Account::find(&user)?.stopped_at(tasks_dir) {
            let user = user.to_string();
            return Err(LocalError::Impassable { user, dir });
        }
    }
    Ok(())
}

/// What tells this daemon's processes and cgroups from those of a daemon with another directory.
fn identity(tasks_dir: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let hash = blake3::hash(tasks_dir.as_os_str().as_bytes()).to_hex();
    hash[..16].to_owned()
}
