//! How what the engine knows stands in columns, and back. Stored forms are types and words of their own.

use std::collections::BTreeMap;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::Amount;
use rusqlite::Row;
use serde::{Deserialize, Serialize, Serializer};

use super::error::unreadable;
use crate::engine::outcome::{Cause, LossReason, TaskLimit, Value, ValueFile};
use crate::engine::spec::{ArrayRange, Dependency, Run};
use crate::engine::{
    AttemptEnd, Outcome, OutcomeKind, Submission, TaskId, TaskSpec, TaskState, Time, Usage,
};

/// The columns of a submission, in the order that [`submission`] reads.
pub(super) const SUBMISSION_COLUMNS: &str = "first, queue, name, key, inbox, demand, run, env, priority, retries, \
     timeout_ms, kill_grace_ms, constraints, array, after, digest, submitted_at, python";

/// The columns of an outcome but its value, in the order that [`outcome`] reads.
pub(super) const OUTCOME_COLUMNS: &str = "cause, cause_detail, exit_code, wall_us, cpu_us, memory_peak_bytes, value_truncated, \
     value_attempt, value_bytes";

/// The place of the value among these, which is the one behind them.
const VALUE_PLACE: usize = 9;

/// An unsigned number as SQLite's signed one. What is beyond stands for the end of time anyway.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A point in time as a column.
pub(super) fn millis(time: Time) -> i64 {
    int(time.0)
}

/// A column as a number that can't be negative.
pub(super) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// The same, where the column may be NULL.
pub(super) fn count_option(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    let value: Option<i64> = row.get(column)?;
    value
        .map(|value| {
            u64::try_from(value)
                .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
        })
        .transpose()
}

/// A column as a point in time, where it may be NULL.
pub(super) fn time_option(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Time>> {
    Ok(count_option(row, column)?.map(Time))
}

/// The state that a word stands for.
pub(super) fn state(word: &str) -> rusqlite::Result<TaskState> {
    TaskState::ALL
        .into_iter()
        .find(|state| state.as_str() == word)
        .ok_or_else(|| unreadable("state", word))
}

/// One copy of what many rows repeat: names, demands, constraints.
#[derive(Debug, Default)]
pub(super) struct Shared {
    names: HashSet<Arc<str>>,
    /// By their texts.
    demands: HashMap<Box<str>, ByName<Amount>>,
    constraints: HashMap<Box<str>, ByName<Arc<str>>>,
    nothing: ByName<Arc<str>>,
}

type ByName<T> = Arc<BTreeMap<Arc<str>, T>>;

impl Shared {
    /// The one copy of a name.
    pub(super) fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name));
        name
    }

    /// The one copy of a demand.
    pub(super) fn demand(&mut self, text: &str) -> rusqlite::Result<ByName<Amount>> {
        if let Some(known) = self.demands.get(text) {
            return Ok(Arc::clone(known));
        }
        let amounts: BTreeMap<&str, &str> = from_json("demand", text)?;
        let amounts = amounts.into_iter().map(|(name, amount)| {
            let amount = amount.parse().map_err(|_| unreadable("demand", amount))?;
            Ok((self.name(name), amount))
        });
        let demand = Arc::new(amounts.collect::<rusqlite::Result<_>>()?);
        self.demands.insert(text.into(), Arc::clone(&demand));
        Ok(demand)
    }

    /// The one copy of constraints.
    fn constraints(&mut self, text: Option<&str>) -> rusqlite::Result<ByName<Arc<str>>> {
        let Some(text) = text else {
            return Ok(Arc::clone(&self.nothing));
        };
        if let Some(known) = self.constraints.get(text) {
            return Ok(Arc::clone(known));
        }
        let pairs: BTreeMap<String, String> = from_json("constraints", text)?;
        let constraints = Arc::new(
            pairs
                .iter()
                .map(|(name, value)| (self.name(name), self.name(value)))
                .collect(),
        );
        self.constraints
            .insert(text.into(), Arc::clone(&constraints));
        Ok(constraints)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum StoredRun {
    Command(Box<str>),
    Argv(Box<[Box<str>]>),
    /// The pickle stands in a column of its own.
    Python,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum BorrowedRun<'a> {
    Command(&'a str),
    Argv(&'a [Box<str>]),
    Python,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredArray {
    first: u32,
    last: u32,
    step: u32,
}

/// A demand as JSON: exact decimals, as text, since a JSON number may pass through floating point.
struct StoredDemand<'a>(&'a BTreeMap<Arc<str>, Amount>);

struct Decimal(Amount);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Serialize for StoredDemand<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, amount)| (name, Decimal(*amount))))
    }
}

/// JSON text of something that JSON can always say.
fn json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn from_json<'a, T: Deserialize<'a>>(what: &'static str, text: &'a str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|_| unreadable(what, text))
}

/// The JSON columns of a submission, and the pickle of one that runs Python.
pub(super) struct SpecTexts<'a> {
    pub(super) demand: String,
    pub(super) run: String,
    pub(super) python: Option<&'a [u8]>,
    pub(super) env: Option<String>,
    pub(super) constraints: Option<String>,
    pub(super) array: Option<String>,
    pub(super) after: Option<String>,
}

impl<'a> SpecTexts<'a> {
    /// Writes them.
    pub(super) fn of(submission: &'a Submission) -> rusqlite::Result<Self> {
        let spec = &submission.spec;
        let (run, python) = match &spec.run {
            Run::Command(line) => (BorrowedRun::Command(line), None),
            Run::Argv(arguments) => (BorrowedRun::Argv(arguments), None),
            Run::Python(pickle) => (BorrowedRun::Python, Some(&**pickle)),
        };
        let array = spec
            .array
            .map(|ArrayRange { first, last, step }| StoredArray { first, last, step });
        let after: Vec<_> = submission
            .after
            .iter()
            .map(|one| (one.first.0, one.count))
            .collect();
        Ok(Self {
            demand: json(&StoredDemand(&spec.demand))?,
            run: json(&run)?,
            python,
            env: (!spec.env.is_empty())
                .then(|| json(&spec.env))
                .transpose()?,
            constraints: (!spec.constraints.is_empty())
                .then(|| json(&spec.constraints))
                .transpose()?,
            array: array.as_ref().map(json).transpose()?,
            after: (!after.is_empty()).then(|| json(&after)).transpose()?,
        })
    }
}

/// A duration in whole milliseconds.
pub(super) fn duration_ms(duration: Duration) -> i64 {
    int(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// A duration in whole microseconds: what short tasks use is below a millisecond.
pub(super) fn duration_us(duration: Duration) -> i64 {
    int(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

/// Reads [`SUBMISSION_COLUMNS`] from column 0 on.
pub(super) fn submission(row: &Row<'_>, shared: &mut Shared) -> rusqlite::Result<Submission> {
    let text = |column: usize| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
    let optional = |column: usize| {
        row.get_ref(column)?
            .as_str_or_null()
            .map_err(rusqlite::Error::from)
    };
    let small = |column: usize| row.get::<_, u32>(column);
    let run = match from_json("run", text(6)?)? {
        StoredRun::Command(line) => Run::Command(line),
        StoredRun::Argv(arguments) => Run::Argv(arguments),
        StoredRun::Python => {
            let pickle = row.get_ref(17)?.as_blob_or_null()?;
            Run::Python(pickle.ok_or_else(|| unreadable("python", ""))?.into())
        }
    };
    let env = optional(7)?.map_or_else(|| Ok(BTreeMap::new()), |text| from_json("env", text))?;
    let array = optional(13)?
        .map(|text| from_json("array", text))
        .transpose()?;
    let after: Vec<(u64, u32)> =
        optional(14)?.map_or_else(|| Ok(Vec::new()), |text| from_json("after", text))?;
    Ok(Submission {
        first: TaskId(count(row, 0)?),
        spec: TaskSpec {
            queue: shared.name(text(1)?),
            name: text(2)?.into(),
            key: optional(3)?.map(Into::into),
            inbox: optional(4)?.map(|inbox| shared.name(inbox)),
            demand: shared.demand(text(5)?)?,
            run,
            env,
            priority: row.get(8)?,
            retries: small(9)?,
            timeout: count_option(row, 10)?.map(Duration::from_millis),
            kill_grace: count_option(row, 11)?.map(Duration::from_millis),
            constraints: shared.constraints(optional(12)?)?,
            array: array.map(|StoredArray { first, last, step }| ArrayRange { first, last, step }),
        },
        after: after
            .into_iter()
            .map(|(first, count)| Dependency {
                first: TaskId(first),
                count,
            })
            .collect(),
        digest: row.get(15)?,
        submitted_at: Time(count(row, 16)?),
    })
}

/// How an attempt ended, as a word and what more there is to say.
pub(super) fn write_end(end: &AttemptEnd) -> (&'static str, Option<String>) {
    match end {
        AttemptEnd::Exited { code } => ("exited", Some(code.to_string())),
        AttemptEnd::Signalled { signal } => ("signalled", Some(signal.to_string())),
        AttemptEnd::OutOfMemory => ("out_of_memory", None),
        AttemptEnd::OverLimit { limit } => (
            "over_limit",
            Some(format!("{} {}", limit.as_str(), limit.most())),
        ),
        AttemptEnd::Killed => ("killed", None),
        AttemptEnd::NotStarted { message } => ("not_started", Some(message.to_string())),
        AttemptEnd::Raised { message } => ("raised", Some(message.to_string())),
        AttemptEnd::Lost { reason } => ("lost", Some(reason.as_str().to_owned())),
    }
}

/// The reverse of [`write_end`].
pub(super) fn read_end(word: &str, detail: Option<&str>) -> rusqlite::Result<AttemptEnd> {
    find_end(word, detail)?.ok_or_else(|| unreadable("ending", word))
}

/// The end that the words stand for; `None` where the first is no word for an end.
fn find_end(word: &str, detail: Option<&str>) -> rusqlite::Result<Option<AttemptEnd>> {
    let text = detail.unwrap_or_default();
    let number = || {
        text.parse::<i32>()
            .map_err(|_| unreadable("ending_detail", text))
    };
    Ok(Some(match word {
        "exited" => AttemptEnd::Exited { code: number()? },
        "signalled" => AttemptEnd::Signalled { signal: number()? },
        "out_of_memory" => AttemptEnd::OutOfMemory,
        "over_limit" => AttemptEnd::OverLimit {
            limit: task_limit(text).ok_or_else(|| unreadable("ending_detail", text))?,
        },
        "killed" => AttemptEnd::Killed,
        "not_started" => AttemptEnd::NotStarted {
            message: text.into(),
        },
        "raised" => AttemptEnd::Raised {
            message: text.into(),
        },
        "lost" => AttemptEnd::Lost {
            reason: loss(text)?,
        },
        _ => return Ok(None),
    }))
}

/// `output 1073741824`
fn task_limit(text: &str) -> Option<TaskLimit> {
    let (word, max) = text.split_once(' ')?;
    TaskLimit::from_word(word, max.parse().ok()?)
}

fn loss(word: &str) -> rusqlite::Result<LossReason> {
    [
        LossReason::DaemonRestarted,
        LossReason::AgentLost,
        LossReason::ExecutorLost,
        LossReason::LaunchDropped,
        LossReason::BackendFailed,
    ]
    .into_iter()
    .find(|reason| reason.as_str() == word)
    .ok_or_else(|| unreadable("loss reason", word))
}

/// Why a task did not succeed, as a word and what more there is to say.
pub(super) fn write_cause(cause: &Cause) -> (&'static str, Option<String>) {
    match cause {
        Cause::Attempt(end) => write_end(end),
        Cause::TimedOut => ("timed_out", None),
        Cause::LostTooOften(reason) => ("lost_too_often", Some(reason.as_str().to_owned())),
        Cause::Cancelled { reason } => ("cancelled", reason.as_deref().map(str::to_owned)),
        Cause::DependencyFailed { task, kind } => (
            "dependency_failed",
            Some(format!("{task} {}", TaskState::from(*kind).as_str())),
        ),
    }
}

/// The reverse of [`write_cause`].
fn read_cause(word: &str, detail: Option<&str>) -> rusqlite::Result<Cause> {
    Ok(match word {
        "timed_out" => Cause::TimedOut,
        "lost_too_often" => Cause::LostTooOften(loss(detail.unwrap_or_default())?),
        "cancelled" => Cause::Cancelled {
            reason: detail.map(Into::into),
        },
        "dependency_failed" => {
            let text = detail.unwrap_or_default();
            let bad = || unreadable("cause_detail", text);
            let (task, kind) = text.split_once(' ').ok_or_else(bad)?;
            let kind = state_kind(state(kind)?).ok_or_else(bad)?;
            Cause::DependencyFailed {
                task: TaskId(task.parse().map_err(|_| bad())?),
                kind,
            }
        }
        end => Cause::Attempt(find_end(end, detail)?.ok_or_else(|| unreadable("cause", end))?),
    })
}

/// How a task in this state ended; `None` where it has not.
pub(super) fn state_kind(state: TaskState) -> Option<OutcomeKind> {
    match state {
        TaskState::Succeeded => Some(OutcomeKind::Succeeded),
        TaskState::Failed => Some(OutcomeKind::Failed),
        TaskState::Cancelled => Some(OutcomeKind::Cancelled),
        TaskState::Waiting
        | TaskState::Queued
        | TaskState::Launching
        | TaskState::Running
        | TaskState::Cancelling => None,
    }
}

/// Reads `wall_us`, `cpu_us` and `memory_peak_bytes` from a column on.
pub(super) fn usage(row: &Row<'_>, from: usize) -> rusqlite::Result<Usage> {
    Ok(Usage {
        wall: Duration::from_micros(count_option(row, from)?.unwrap_or(0)),
        cpu: Duration::from_micros(count_option(row, from + 1)?.unwrap_or(0)),
        memory_peak_bytes: count_option(row, from + 2)?.unwrap_or(0),
    })
}

/// Reads [`OUTCOME_COLUMNS`] from a column on, and the value's bytes (NULL for none) from the one behind.
pub(super) fn outcome(row: &Row<'_>, from: usize, kind: OutcomeKind) -> rusqlite::Result<Outcome> {
    let word: Option<String> = row.get(from)?;
    let detail: Option<String> = row.get(from + 1)?;
    let bytes = row
        .get_ref(from + VALUE_PLACE)?
        .as_blob_or_null()?
        .unwrap_or_default();
    let attempt: Option<u32> = row.get(from + 7)?;
    let file = attempt.zip(count_option(row, from + 8)?);
    Ok(Outcome {
        kind,
        cause: word
            .map(|word| read_cause(&word, detail.as_deref()))
            .transpose()?,
        exit_code: row.get(from + 2)?,
        value: Value {
            bytes: bytes.into(),
            truncated: row.get::<_, Option<bool>>(from + 6)?.unwrap_or(false),
            file: file.map(|(attempt, n_bytes)| ValueFile { attempt, n_bytes }),
        },
        usage: usage(row, from + 3)?,
    })
}
