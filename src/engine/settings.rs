//! What the engine is told by the configuration, already validated.

use std::collections::{BTreeMap, BTreeSet};
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
    /// What becomes of tasks that wait for long and fit nowhere.
    pub claims: ClaimSettings,
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

impl EngineSettings {
    /// The paths of the queues with a decision log.
    pub(super) fn logged_queues(&self) -> BTreeSet<Arc<str>> {
        let logged = self.queues.iter().filter(|queue| queue.decision_log);
        logged.map(|queue| Arc::clone(&queue.path)).collect()
    }
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
    /// What its subtree is guaranteed before its siblings get more, by resource name, in order of names.
    pub min: Vec<(Arc<str>, Amount)>,
    /// The most its subtree may use, by resource name, in order of names.
    pub max: Vec<(Arc<str>, Amount)>,
    /// How it orders its children; `None` for the default.
    pub policy: Option<PolicyConfig>,
    /// What else is said of it, for policies that a program registers.
    pub parameters: BTreeMap<Arc<str>, Arc<str>>,
    /// How long its first task waits for its turn before a claim is due; `None` as for the queue above, at
    /// the top as [`ClaimSettings::patience`] says.
    pub patience: Option<Deadline>,
    /// The most tasks that may wait or be queued in it, and in each leaf below it that doesn't say otherwise; beyond,
    /// submissions and retries by hand are refused. `None` as for the queue above, at the top for no limit of its own.
    pub queued_max: Option<u64>,
    /// Whether each decision for it and the queues below it is told with what was compared; see
    /// [`super::Output::choices`].
    pub decision_log: bool,
}

impl QueueConfig {
    /// A queue of which only the path is given.
    #[must_use]
    pub fn new(path: Arc<str>) -> Self {
        Self {
            path,
            weight: Weight::default(),
            min: Vec::new(),
            max: Vec::new(),
            policy: None,
            patience: None,
            queued_max: None,
            decision_log: false,
            parameters: BTreeMap::new(),
        }
    }
}

/// A policy and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConfig {
    /// A name of the registry.
    pub name: Arc<str>,
    /// For `weighted`: the resource that counts; `None` to count running tasks.
    pub resource: Option<Arc<str>>,
    /// How fast past use is forgotten; `None` where only what is held now counts. Above zero, counted in
    /// milliseconds.
    pub half_life: Option<Duration>,
}

impl PolicyConfig {
    /// A policy of which only the name is given.
    #[must_use]
    pub fn new(name: Arc<str>) -> Self {
        Self {
            name,
            resource: None,
            half_life: None,
        }
    }
}

/// When something is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// So long after it began.
    After(Duration),
    /// It has no end.
    Never,
}

/// Claims: what is kept back for tasks that have waited beyond their patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimSettings {
    /// How long a task that is the first of its queue waits before a claim is due, where its queue doesn't
    /// say.
    pub patience: Deadline,
    /// The most claims at once; 0 for none ever.
    pub max: u32,
    /// After how long without anything coming free for it a claim is given up. Doubles with each further
    /// claim of one task.
    pub expiry: Deadline,
}

impl Default for ClaimSettings {
    fn default() -> Self {
        Self {
            patience: Deadline::After(Duration::from_secs(10 * 60)),
            max: 4,
            expiry: Deadline::After(Duration::from_secs(60 * 60)),
        }
    }
}
