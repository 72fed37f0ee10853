//! The configuration: raw TOML first, then validated into what the rest of the program uses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::Amount;

pub use crate::backend::settings::{LimitMode, LocalConfig};
use crate::engine::EngineSettings;

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
    Local(LocalConfig),
}
