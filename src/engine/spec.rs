//! What was submitted: tasks, arrays of tasks, and how both are named.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::Amount;

use super::outcome::OutcomeKind;
use super::time::Time;

/// A task: a positive integer, given in order of submission.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TaskId(pub u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One launch of a task. Written `<id>.<attempt>`, as agents know it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttemptId {
    /// The task.
    pub task: TaskId,
    /// Counted from 1, never used twice for a task, not even after a retry by hand.
    pub number: u32,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.task, self.number)
    }
}

/// What a task runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// A line for `/bin/sh -c`.
    Command(Box<str>),
    /// A program and its arguments, not seen by a shell. Never empty.
    Argv(Box<[Box<str>]>),
    /// A pickled Python object with a method `run()`. Never empty.
    Python(Box<[u8]>),
}

/// The indexes of an array: `first`, `first + step`, … up to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayRange {
    /// The first index.
    pub first: u32,
    /// The last index, inclusive; reached exactly.
    pub last: u32,
    /// The distance between indexes, at least 1.
    pub step: u32,
}

impl ArrayRange {
    /// How many tasks the array has.
    #[must_use]
    pub fn count(self) -> u32 {
        (self.last - self.first) / self.step + 1
    }

    /// The index of the task at this place, counted from 0.
    #[must_use]
    pub fn index(self, place: u32) -> u32 {
        self.first + place * self.step
    }
}

/// What a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The first task waited for.
    pub first: TaskId,
    /// How many tasks from there on: 1, or a whole array.
    pub count: u32,
}

/// A task as submitted, shared by all tasks of an array. Immutable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSpec {
    /// The path of a leaf queue.
    pub queue: Arc<str>,
    /// For people; may be empty.
    pub name: Box<str>,
    /// What makes the submission idempotent.
    pub key: Option<Box<str>>,
    /// Where the finished task waits for whoever submitted it.
    pub inbox: Option<Arc<str>>,
    /// What it consumes, by resource name, in order of names, zeros left out. Shared, since a million
    /// tasks rarely have more than a few different demands: the engine keeps one copy of equal ones.
    pub demand: Arc<BTreeMap<Arc<str>, Amount>>,
    /// What it runs.
    pub run: Run,
    /// Added to the environment.
    pub env: BTreeMap<Box<str>, Box<str>>,
    /// Higher goes first within the queue.
    pub priority: i32,
    /// How many own failures are followed by another attempt.
    pub retries: u32,
    /// The longest an attempt may run, from its launch.
    pub timeout: Option<Duration>,
    /// Between SIGTERM and SIGKILL; `None` for the configuration's.
    pub kill_grace: Option<Duration>,
    /// Agent attributes wanted. Shared like the demand.
    pub constraints: Arc<BTreeMap<Arc<str>, Arc<str>>>,
    /// The indexes, if this is an array.
    pub array: Option<ArrayRange>,
}

impl TaskSpec {
    /// How many tasks it describes.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.array.map_or(1, ArrayRange::count)
    }
}

/// A spec that was taken in: one task or an array, with consecutive ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The id of its first task.
    pub first: TaskId,
    /// What was submitted.
    pub spec: TaskSpec,
    /// What each of its tasks waits for, resolved.
    pub after: Vec<Dependency>,
    /// A digest of the whole task object, to tell a repeated key from a reused one.
    pub digest: [u8; 16],
    /// When.
    pub submitted_at: Time,
}

impl Submission {
    /// The ids are `first` up to and without this one.
    #[must_use]
    pub fn end(&self) -> TaskId {
        TaskId(self.first.0 + u64::from(self.spec.count()))
    }

    /// The index of one of its tasks; `None` if this is no array.
    ///
    /// # Panics
    /// If the task is not one of the submission's.
    #[must_use]
    pub fn array_index(&self, task: TaskId) -> Option<u32> {
        let array = self.spec.array?;
        let place = task.0.checked_sub(self.first.0);
        let place = place.and_then(|place| u32::try_from(place).ok());
        let place = place.filter(|place| *place < array.count());
        Some(array.index(place.expect("the task is one of its submission's")))
    }
}

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskState {
    /// For tasks named in `after`.
    Waiting,
    /// For resources, or for the pause before its next attempt to pass.
    Queued,
    /// An attempt was decided; the agent has not yet said that it runs.
    Launching,
    /// An attempt runs.
    Running,
    /// It was cancelled and its last attempt has not yet ended.
    Cancelling,
    /// Ended with a value or exit code 0.
    Succeeded,
    /// Ended otherwise, with no attempts left.
    Failed,
    /// Ended because somebody, or a task it waited for, wanted so.
    Cancelled,
}

impl TaskState {
    /// All states, in the order of a life.
    pub const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Queued,
        Self::Launching,
        Self::Running,
        Self::Cancelling,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The word for it, in the API, the store and the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Launching => "launching",
            Self::Running => "running",
            Self::Cancelling => "cancelling",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

impl From<OutcomeKind> for TaskState {
    /// The state in which a task with this outcome has ended.
    fn from(kind: OutcomeKind) -> Self {
        match kind {
            OutcomeKind::Succeeded => Self::Succeeded,
            OutcomeKind::Failed => Self::Failed,
            OutcomeKind::Cancelled => Self::Cancelled,
        }
    }
}
