//! What the engine is told by the configuration, already validated.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::{Amount, Weight};

/// Everything the engine needs to know. Made by `config`, which has checked it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// In order of their names; `cpus` and `mem` (host scope, MiB) are always among them.
    pub resources: Vec<ResourceSettings>,
    /// Parents before children, otherwise as configured. At least one.
    pub queues: Vec<QueueConfig>,
    /// How inner queues order their children where they don't say themselves.
    pub policy: PolicyConfig,
    /// How many times an attempt may be lost before the task fails.
    pub lost_max: u32,
    /// Between SIGTERM and SIGKILL where the task doesn't say.
    pub kill_grace: Duration,
    /// The pause before the second attempt; it doubles with each further one.
    pub retry_pause: Duration,
    /// The longest such pause.
    pub retry_pause_max: Duration,
    /// The most live tasks; submissions beyond are refused.
    pub live_max: u64,
}

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceSettings {
    /// Its name.
    pub name: Arc<str>,
    /// Who brings it.
    pub scope: Scope,
}

/// Who brings a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Agents, each its own.
    Host,
    /// The configuration, once for the whole cluster.
    Cluster {
        /// How much.
        capacity: Amount,
    },
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// The whole path, segments joined by `/`.
    pub path: Arc<str>,
    /// Its due relative to its siblings.
    pub weight: Weight,
    /// The most its subtree may use, by resource name, in order of names.
    pub max: Vec<(Arc<str>, Amount)>,
    /// How it orders its children; `None` for the default.
    pub policy: Option<PolicyConfig>,
    /// What else is said of it, for policies that a program registers.
    pub parameters: BTreeMap<Arc<str>, Arc<str>>,
}

/// A policy and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConfig {
    /// A name of the registry.
    pub name: Arc<str>,
    /// For `weighted`: the resource that counts; `None` to count running tasks.
    pub resource: Option<Arc<str>>,
}
