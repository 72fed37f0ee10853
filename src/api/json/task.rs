//! Tasks in JSON, as they are shown.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AmountJson, AttemptJson, OutcomeJson, time};
use crate::engine::TaskState;
use crate::engine::request::Accepted;
use crate::engine::spec::{ArrayRange, Run};
use crate::store::reader::TaskRecord;

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateJson {
    /// For tasks named in `after`.
    Waiting,
    /// For resources, or for the pause before its next attempt to pass.
    Queued,
    /// An attempt was decided; the agent has not yet said that it runs.
    Launching,
    /// An attempt runs.
    Running,
    /// Cancelled, and its last attempt has not yet ended.
    Cancelling,
    /// Ended with a value or exit code 0.
    Succeeded,
    /// Ended otherwise, with no attempts left.
    Failed,
    /// Ended because somebody, or a task it waited for, wanted so.
    Cancelled,
}

impl From<TaskState> for StateJson {
    fn from(state: TaskState) -> Self {
        match state {
            TaskState::Waiting => Self::Waiting,
            TaskState::Queued => Self::Queued,
            TaskState::Launching => Self::Launching,
            TaskState::Running => Self::Running,
            TaskState::Cancelling => Self::Cancelling,
            TaskState::Succeeded => Self::Succeeded,
            TaskState::Failed => Self::Failed,
            TaskState::Cancelled => Self::Cancelled,
        }
    }
}

/// A task. Times are RFC 3339 in UTC with milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskJson {
    /// Its id, given in order of submission.
    pub id: u64,
    /// The path of its queue.
    pub queue: String,
    /// For people; may be empty.
    pub name: String,
    /// Where it is in its life.
    pub state: StateJson,
    /// What made its submission idempotent.
    pub key: Option<String>,
    /// Where it waits when it has ended.
    pub inbox: Option<String>,
    /// What it consumes while it runs, by resource; `mem` and `disk` in MiB.
    pub demand: BTreeMap<String, AmountJson>,
    /// What it runs.
    pub run: RunJson,
    /// Added to its environment.
    pub env: BTreeMap<String, String>,
    /// Higher goes first within the queue.
    pub priority: i32,
    /// How many own failures are followed by another attempt.
    pub retries: u32,
    /// The longest an attempt may run.
    pub timeout_seconds: Option<f64>,
    /// Between SIGTERM and SIGKILL; `null` for the configuration's.
    pub kill_grace_seconds: Option<f64>,
    /// What it waits, or waited, for.
    pub after: Vec<DependencyJson>,
    /// Agent attributes wanted.
    pub constraints: BTreeMap<String, String>,
    /// The indexes of the array that it belongs to, as `first-last` or `first-last:step`.
    pub array: Option<String>,
    /// Its own index in there.
    pub array_index: Option<u32>,
    /// When it was submitted.
    pub submitted_at: String,
    /// How many attempts it had, the current one included.
    pub n_attempts: u32,
    /// No attempt before this, while it pauses.
    pub not_before: Option<String>,
    /// When it ended.
    pub ended_at: Option<String>,
    /// How it ended.
    pub outcome: Option<OutcomeJson>,
    /// Its attempts, oldest first; in lists only the last one.
    pub attempts: Vec<AttemptJson>,
}

/// What a task runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunJson {
    /// A line for `/bin/sh -c`.
    Command(String),
    /// A program and its arguments.
    Argv(Vec<String>),
    /// Base64 of a pickled object with a method `run()`; `null` in lists and inboxes, where pickles are not read.
    Python(Option<String>),
}

/// What a task waits for: `count` tasks with consecutive ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DependencyJson {
    /// The first of them.
    pub task: u64,
    /// 1, or a whole array.
    pub count: u32,
}

/// A page of tasks, in order of ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TasksJson {
    /// The tasks.
    pub tasks: Vec<TaskJson>,
    /// What to ask for as `after` to get the next page; `null` on the last one.
    pub next_after: Option<u64>,
}

/// The answer to `POST /v1/tasks`, in the order of the tasks submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AcceptedTasksJson {
    /// One entry for each task object.
    pub tasks: Vec<AcceptedJson>,
}

/// One accepted task object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AcceptedJson {
    /// The id of its first task; those of an array follow one another.
    pub id: u64,
    /// How many tasks it is: 1, or the length of the array.
    pub count: u32,
    /// False where the key was known with the same task: `id` is the first one's then.
    pub created: bool,
}

impl From<&Accepted> for AcceptedJson {
    fn from(accepted: &Accepted) -> Self {
        Self {
            id: accepted.first.0,
            count: accepted.count,
            created: accepted.created,
        }
    }
}

/// The answer to cancel and retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskStateJson {
    /// Which task.
    pub id: u64,
    /// Its state now.
    pub state: StateJson,
}

/// An array's indexes as they are written: `0-99`, `0-98:2`.
#[must_use]
pub fn format_array(array: ArrayRange) -> String {
    match array.step {
        1 => format!("{}-{}", array.first, array.last),
        step => format!("{}-{}:{step}", array.first, array.last),
    }
}

/// How much of a task is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// In a list: neither the length of the value nor a pickle.
    Brief,
    /// In an inbox: no pickle.
    Delivered,
    /// All there is.
    Full,
}

impl RunJson {
    fn from_run(run: &Run, detail: Detail) -> Self {
        match run {
            Run::Python(pickle) => {
                Self::Python((detail == Detail::Full).then(|| STANDARD.encode(pickle)))
            }
            Run::Command(line) => Self::Command(line.to_string()),
            Run::Argv(argv) => Self::Argv(argv.iter().map(ToString::to_string).collect()),
        }
    }
}

impl TaskJson {
    /// One task with all that is known of it.
    #[must_use]
    pub fn from_record(record: &TaskRecord) -> Self {
        Self::convert(record, Detail::Full)
    }

    /// A task in an inbox: what was pickled stays where it is.
    #[must_use]
    pub fn from_delivery(record: &TaskRecord) -> Self {
        Self::convert(record, Detail::Delivered)
    }

    /// An entry of a list: the value was not read.
    #[must_use]
    pub fn from_list(record: &TaskRecord) -> Self {
        Self::convert(record, Detail::Brief)
    }

    fn convert(record: &TaskRecord, detail: Detail) -> Self {
        let spec = &record.submission.spec;
        let place = record.task.0.saturating_sub(record.submission.first.0);
        let index = |array: ArrayRange| Some(array.index(u32::try_from(place).ok()?));
        let text = |text: &str| text.to_owned();
        Self {
            id: record.task.0,
            queue: spec.queue.to_string(),
            name: spec.name.to_string(),
            state: record.state.into(),
            key: spec.key.as_deref().map(text),
            inbox: spec.inbox.as_deref().map(text),
            demand: (spec.demand.iter())
                .map(|(name, amount)| (name.to_string(), AmountJson(*amount)))
                .collect(),
            run: RunJson::from_run(&spec.run, detail),
            env: spec
                .env
                .iter()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            priority: spec.priority,
            retries: spec.retries,
            timeout_seconds: spec.timeout.map(time::seconds),
            kill_grace_seconds: spec.kill_grace.map(time::seconds),
            after: (record.submission.after.iter())
                .map(|after| DependencyJson {
                    task: after.first.0,
                    count: after.count,
                })
                .collect(),
            constraints: (spec.constraints.iter())
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            array: spec.array.map(format_array),
            array_index: spec.array.and_then(index),
            submitted_at: time::format(record.submission.submitted_at),
            n_attempts: record.n_attempts,
            not_before: record.not_before.map(time::format),
            ended_at: record.ended_at.map(time::format),
            outcome: (record.outcome.as_ref())
                .map(|outcome| OutcomeJson::from_outcome(outcome, detail != Detail::Brief)),
            attempts: record
                .attempts
                .iter()
                .map(AttemptJson::from_record)
                .collect(),
        }
    }
}
