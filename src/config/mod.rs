//! The configuration: raw TOML first, then validated into what the rest of the program uses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::{Amount, Registry};
use toml::de::DeTable;

pub use self::errors::{ConfigError, ConfigErrors, Place, Problem};
pub use self::observing::{MetricsConfig, TracesConfig};
pub use self::outside::{OutsideConfig, OutsideSource};
use self::walk::{Report, Section};
pub use crate::backend::settings::{
    Containment, Containments, Credentials, LimitMode, LocalConfig, Masters, MesosConfig,
    Placement, PythonConfig, TaskLimits,
};
use crate::engine::EngineSettings;
pub use crate::engine::settings::{ClaimSettings, Deadline, PolicyConfig, QueueConfig, Scope};

pub mod errors;
pub mod scenario;
pub mod trace_map;
pub mod units;

mod containment;
mod guarantees;
mod mesos;
mod observing;
mod outside;
mod policy;
mod python;
mod queues;
mod sections;
mod server;
mod walk;

/// A valid configuration. Each key with its default stands in `config/apportion.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[resources]`, `[queues]`, `[policy]` and what the engine takes of `[tasks]`.
    pub engine: EngineSettings,
    /// What the API fills in where a task says nothing.
    pub defaults: TaskDefaults,
    /// `[backend]`
    pub backend: BackendConfig,
    /// `[resources.X.outside]`: how the daemon learns what others use of a resource.
    pub outside: BTreeMap<Arc<str>, OutsideConfig>,
    /// `[metrics]`
    pub metrics: MetricsConfig,
    /// `[traces]`; `None` where no traces are sent.
    pub traces: Option<TracesConfig>,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where the HTTP server listens; port 0 for any free one.
    pub listen: SocketAddr,
    /// Where the database and the tasks' files are.
    pub data_dir: PathBuf,
    /// How long ended tasks stay.
    pub retention: Duration,
    /// The largest request body, in bytes.
    pub body_max_bytes: usize,
    /// How many connections there may be at once.
    pub connections_max: usize,
    /// How many streams of events there may be at once.
    pub streams_max: usize,
    /// How many calls may wait at once for something to happen.
    pub waits_max: usize,
    /// How long the head of a call may take, and a connection be idle.
    pub head_timeout: Duration,
    /// How long a body may take, from its first byte to its last.
    pub body_timeout: Duration,
    /// How long a caller may take none of an answer.
    pub write_timeout: Duration,
    /// The names under which callers reach this daemon, beside addresses and `localhost`.
    pub names: Vec<String>,
    /// How connections are encrypted; `None` where they aren't.
    pub tls: Option<TlsConfig>,
    /// Why it may be reached from elsewhere without tokens, where it may.
    pub insecure: Option<String>,
}

/// `[server.tls]`: files in PEM, read at the start and at each SIGHUP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The daemon's certificate, and those between it and an authority that callers know.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// Only callers with a certificate of one of these authorities are let in.
    pub client_ca_file: Option<PathBuf>,
}

/// What a task gets that says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskDefaults {
    /// `tasks.demand`: for a task without a demand of its own. A task's own demand replaces it entry by entry.
    pub demand: BTreeMap<Arc<str>, Amount>,
}

/// `[backend]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendConfig {
    /// This machine.
    Local(Box<LocalConfig>),
    /// A Mesos cluster.
    Mesos(Box<MesosConfig>),
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7070)),
            data_dir: PathBuf::from("apportion-data"),
            retention: Duration::from_secs(7 * 24 * 60 * 60),
            body_max_bytes: 16 << 20,
            connections_max: 4096,
            streams_max: 512,
            waits_max: 2048,
            head_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            names: Vec::new(),
            tls: None,
            insecure: None,
        }
    }
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self {
            resources: BTreeMap::new(),
            attributes: BTreeMap::new(),
            limits: LimitMode::Auto,
            python: PythonConfig::default(),
            containments: Containments::default(),
        }
    }
}

impl Config {
    /// What holds without a file: one queue, `default`, the policy `drf`, and the local backend.
    ///
    /// # Panics
    /// Never: an empty text is valid.
    #[must_use]
    pub fn default_local() -> Self {
        parse("", &Registry::default()).expect("an empty configuration is valid")
    }
}

/// Reads and validates a file; `None` for the defaults. Policies are those of the registry. A relative `server.data_dir` counts from the
/// current directory, and is absolute in what is returned.
///
/// # Errors
/// All that is wrong with the file, not only the first.
pub fn load(path: Option<&Path>, registry: &Registry) -> Result<Config, ConfigErrors> {
    let mut config = match path {
        None => Config::default_local(),
        Some(path) => read(path, registry).map_err(|errors| ConfigErrors {
            file: Some(path.to_owned()),
            errors,
        })?,
    };
    // Only an empty path or a lost current directory fails here; then the path as written is the best there is.
    if let Ok(absolute) = std::path::absolute(&config.server.data_dir) {
        config.server.data_dir = absolute;
    }
    Ok(config)
}

/// The same, for a daemon on this machine: also the accounts that it names must be there, and this process must be
/// allowed to run tasks as them.
///
/// # Errors
/// All that is wrong with the file, or else all accounts that can't be used.
pub fn load_for_daemon(path: Option<&Path>, registry: &Registry) -> Result<Config, ConfigErrors> {
    let config = load(path, registry)?;
    let errors = containment::unusable_accounts(&config);
    if errors.is_empty() {
        return Ok(config);
    }
    Err(ConfigErrors {
        file: path.map(Path::to_owned),
        errors,
    })
}

/// Validates a text; `server.data_dir` stays as written.
///
/// # Errors
/// All that is wrong with the text, not only the first.
pub fn parse(text: &str, registry: &Registry) -> Result<Config, ConfigErrors> {
    validate(text, registry).map_err(|errors| ConfigErrors { file: None, errors })
}

fn read(path: &Path, registry: &Registry) -> Result<Config, Vec<ConfigError>> {
    let text = read_text(path, |message| Problem::Unreadable { message })?;
    validate(&text, registry)
}

/// Reads a file as text.
fn read_text(
    path: &Path,
    unreadable: impl FnOnce(String) -> Problem,
) -> Result<String, Vec<ConfigError>> {
    let bytes = std::fs::read(path).map_err(|error| {
        let message = if path.is_dir() {
            "it is a directory".to_owned()
        } else {
            error.to_string()
        };
        vec![ConfigError {
            key: String::new(),
            place: None,
            problem: unreadable(message),
        }]
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let valid_up_to = error.utf8_error().valid_up_to();
        let place = Some(Place::of(error.as_bytes(), valid_up_to));
        vec![ConfigError {
            key: String::new(),
            place,
            problem: Problem::NotUtf8,
        }]
    })
}

fn validate(text: &str, registry: &Registry) -> Result<Config, Vec<ConfigError>> {
    let mut report = Report::new(text, registry);
    let (table, syntax) = DeTable::parse_recoverable(text);
    let is_toml = report.push_syntax(&syntax);
    let config = is_toml.then(|| build(&Section::root(table.get_ref()), &mut report));
    let errors = report.into_errors();
    match config {
        Some(config) if errors.is_empty() => Ok(config),
        _ => Err(errors),
    }
}

/// Tells a backend how Python tasks run, and what tasks may do to their neighbours.
fn with_tasks(
    backend: BackendConfig,
    python: PythonConfig,
    containments: Containments,
) -> BackendConfig {
    match backend {
        BackendConfig::Local(mut local) => {
            local.python = python;
            local.containments = containments;
            BackendConfig::Local(local)
        }
        BackendConfig::Mesos(mut mesos) => {
            mesos.python = python;
            mesos.placement.containments = containments;
            BackendConfig::Mesos(mesos)
        }
    }
}

/// Builds a configuration, with defaults in place of whatever is reported as wrong.
fn build(root: &Section<'_>, report: &mut Report<'_>) -> Config {
    let known = [
        "server",
        "policy",
        "tasks",
        "resources",
        "queues",
        "backend",
        "metrics",
        "traces",
        "python",
    ];
    root.refuse_others(&known, &[], report);
    let resources = sections::resources(root.get("resources"), report);
    let tasks = sections::tasks(root.get("tasks"), &resources, report);
    let (policy, claims) = policy::section(root.get("policy"), &resources, report);
    let queues = queues::queues(root.get("queues"), &resources, report);
    let isolated = mesos::isolated(root.get("queues"), &queues, report);
    let server = server::server(root.get("server"), report);
    let backend = sections::backend(root.get("backend"), &resources, isolated, report);
    let takes_users = matches!(backend, BackendConfig::Local(_));
    let containments = containment::containments(root, &queues, takes_users, report);
    let python = python::python(root.get("python"), report);
    let backend = with_tasks(backend, python, containments);
    mesos::check_address(root, &server, &backend, report);
    Config {
        server: server::with_advertised(server, &backend),
        outside: outside::outside(root.get("resources"), &resources, report),
        metrics: observing::metrics(root.get("metrics"), report),
        traces: observing::traces(root.get("traces"), report),
        backend,
        engine: EngineSettings {
            queues,
            policy,
            claims,
            lost_max: tasks.lost_max,
            kill_grace: tasks.kill_grace,
            retry_pause: tasks.retry_pause,
            retry_pause_max: tasks.retry_pause_max,
            live_max: tasks.live_max,
            resources,
        },
        defaults: TaskDefaults {
            demand: tasks.demand,
        },
    }
}

#[cfg(test)]
mod tests;
