//! What people and programs ask of the engine, and its answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use apportion_policies::Amount;

use super::settings::EngineSettings;
use super::spec::{Submission, TaskId, TaskSpec, TaskState};

/// Something that somebody asks for.
#[derive(Clone, Debug)]
pub enum Request {
    /// Take in tasks, all or none.
    Submit {
        /// In the order in which they get their ids.
        tasks: Vec<NewTask>,
    },
    /// Cancel a task. Answers at once; a running attempt dies in its own time.
    Cancel {
        /// Which.
        task: TaskId,
        /// Why, for people.
        reason: Option<Box<str>>,
    },
    /// Give a failed, cancelled or cancelling task a new attempt, with all its retries.
    Retry {
        /// Which.
        task: TaskId,
        /// Its stored record where the engine doesn't hold the task any more; `None` if the store has none.
        stored: Option<StoredTask>,
    },
    /// Acknowledge what an inbox delivered, up to a token.
    AcknowledgeInbox {
        /// Which.
        inbox: Arc<str>,
        /// The last delivery acknowledged.
        upto: u64,
        /// Only these of them, where whoever asks may not see all; `None` for all.
        only: Option<Arc<[u64]>>,
    },
    /// What others use of a cluster resource now.
    ReportOutside {
        /// Which.
        resource: Arc<str>,
        /// How much.
        used: Amount,
    },
    /// Other queues, weights, limits, policies, resources.
    Reload {
        /// Validated.
        settings: Box<EngineSettings>,
    },
    /// Forget tasks that ended before this time (retention).
    Forget {
        /// The time.
        ended_before: super::Time,
    },
}

/// One task, or one array, to take in.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// What. Resource names, queue and amounts are checked by the engine.
    pub spec: TaskSpec,
    /// What to wait for.
    pub after: Vec<After>,
    /// Digest of the whole task object.
    pub digest: [u8; 16],
}

/// What a new task waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// A task.
    Task(TaskId),
    /// All tasks submitted with this key, in the same call or earlier.
    Key(Box<str>),
}

/// What the store knows of a task that has ended.
#[derive(Clone, Debug)]
pub struct StoredTask {
    /// What was submitted.
    pub submission: Arc<Submission>,
    /// How it ended.
    pub state: TaskState,
    /// How many attempts it had.
    pub n_attempts: u32,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`Request::Submit`], in the order given.
    Submitted(Vec<Accepted>),
    /// To [`Request::Cancel`] and [`Request::Retry`]: the state now. Cancelling twice is no error.
    State(TaskState),
    /// To all others.
    Done,
}

/// One accepted submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The id of its first task.
    pub first: TaskId,
    /// How many tasks.
    pub count: u32,
    /// False where the key was known with the same task.
    pub created: bool,
}

/// Why a request is refused. Nothing changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No such queue.
    #[error("{}unknown queue '{queue}'; known leaf queues: {}", at(*.place), list(.known))]
    UnknownQueue {
        /// Which of the tasks submitted, from 0.
        place: usize,
        /// The path asked for.
        queue: Arc<str>,
        /// Some that exist.
        known: Vec<Arc<str>>,
    },
    /// A queue with queues below it takes no tasks.
    #[error("{}queue '{queue}' has queues below it and takes no tasks itself; submit to one of: {}", at(*.place), list(.leaves))]
    NotALeaf {
        /// Which of the tasks submitted, from 0.
        place: usize,
        /// The path asked for.
        queue: Arc<str>,
        /// Some leaves below it.
        leaves: Vec<Arc<str>>,
    },
    /// No such resource.
    #[error("{}unknown resource '{resource}'; known: {}", .place.map_or_else(String::new, at), list(.known))]
    UnknownResource {
        /// Which of the tasks submitted, from 0; `None` outside a submission.
        place: Option<usize>,
        /// The name.
        resource: Arc<str>,
        /// Those that exist.
        known: Vec<Arc<str>>,
    },
    /// More than the cluster's capacity, or a queue's `max`, can ever hold.
    #[error("{}demands {demand} {resource}, but {limit} has {most}; such a task could never run", at(*.place))]
    NeverFits {
        /// Which of the tasks submitted, from 0.
        place: usize,
        /// Of what.
        resource: Arc<str>,
        /// How much it wants.
        demand: Amount,
        /// How much there is at most.
        most: Amount,
        /// Whose limit: `the cluster`, or a queue.
        limit: Box<str>,
    },
    /// It demands nothing at all, so nothing would bound how many of its kind run at once.
    #[error("{}demands nothing; say what it consumes, cpus = 0.1 for example, or nothing bounds how many of them run at once", at(*.place))]
    NoDemand {
        /// Which of the tasks submitted, from 0.
        place: usize,
    },
    /// The key belongs to another task.
    #[error("{}key '{key}' already belongs to task {task}, which is a different one; use another key", at(*.place))]
    KeyReused {
        /// Which of the tasks submitted, from 0.
        place: usize,
        /// The key.
        key: Box<str>,
        /// Whose it is.
        task: TaskId,
    },
    /// `after` names a task that isn't known (any more).
    #[error("{}after: unknown task {name}", at(*.place))]
    UnknownDependency {
        /// Which of the tasks submitted, from 0.
        place: usize,
        /// The id, or the key in quotes.
        name: Box<str>,
    },
    /// `after` goes in a circle.
    #[error("after: these tasks wait for each other: {}", .keys.join(" -> "))]
    DependencyCycle {
        /// The keys along the circle, the first one again at the end.
        keys: Vec<String>,
    },
    /// No such task.
    #[error("unknown task {task}")]
    UnknownTask {
        /// Which.
        task: TaskId,
    },
    /// Only what failed or was cancelled can be tried again.
    #[error("task {task} is {}; only a failed or cancelled task can be retried", .state.as_str())]
    NotRetryable {
        /// Which.
        task: TaskId,
        /// Its state.
        state: TaskState,
    },
    /// It has ended; there is nothing to cancel.
    #[error("task {task} has already ended: {}", .state.as_str())]
    AlreadyEnded {
        /// Which.
        task: TaskId,
        /// Its state.
        state: TaskState,
    },
    /// A reload would take a queue away that still has tasks, or add queues below it.
    #[error(
        "queue '{queue}' still has {n_tasks} tasks; let them end or cancel them before removing it or adding queues below it"
    )]
    QueueInUse {
        /// Which.
        queue: Arc<str>,
        /// How many live tasks.
        n_tasks: u64,
    },
    /// A reload would take a resource away that live tasks demand.
    #[error(
        "resource '{resource}' is demanded by {n_tasks} tasks; let them end or cancel them before removing it"
    )]
    ResourceInUse {
        /// Which.
        resource: Arc<str>,
        /// How many live submissions.
        n_tasks: u64,
    },
    /// Outside use is told of cluster resources only.
    #[error(
        "resource '{resource}' is of host scope; outside use can be told of cluster resources only"
    )]
    NotClusterScope {
        /// Which.
        resource: Arc<str>,
    },
    /// At the limit of tasks that wait in a queue.
    #[error(
        "queue {queue} has {n_queued} tasks that wait, and its queued_max is {max}: {n_new} more are too many; try again when some have started, or ask for a higher queued_max"
    )]
    QueueFull {
        /// Which.
        queue: Arc<str>,
        /// How many wait or are queued.
        n_queued: u64,
        /// How many more were to come.
        n_new: u64,
        /// How many may be.
        max: u64,
    },
    /// At the limit of live tasks.
    #[error(
        "{n_live} tasks are live, the most that tasks.live_max allows; try again when some have ended"
    )]
    TooManyTasks {
        /// How many there are.
        n_live: u64,
    },
}

impl Refusal {
    /// The lasting word for it, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownQueue { .. } => "unknown_queue",
            Self::NotALeaf { .. } => "not_a_leaf",
            Self::UnknownResource { .. } => "unknown_resource",
            Self::NeverFits { .. } => "never_fits",
            Self::NoDemand { .. } => "no_demand",
            Self::KeyReused { .. } => "key_reused",
            Self::UnknownDependency { .. } => "unknown_dependency",
            Self::DependencyCycle { .. } => "dependency_cycle",
            Self::UnknownTask { .. } => "unknown_task",
            Self::NotRetryable { .. } => "not_retryable",
            Self::AlreadyEnded { .. } => "already_ended",
            Self::QueueInUse { .. } => "queue_in_use",
            Self::ResourceInUse { .. } => "resource_in_use",
            Self::NotClusterScope { .. } => "not_cluster_scope",
            Self::QueueFull { .. } => "queue_full",
            Self::TooManyTasks { .. } => "too_many_tasks",
        }
    }
}

fn at(place: usize) -> String {
    format!("tasks[{place}]: ")
}

fn list(names: &[Arc<str>]) -> String {
    names.join(", ")
}

/// Attributes or amounts by name, in order of names.
pub type ByName<T> = BTreeMap<Arc<str>, T>;
