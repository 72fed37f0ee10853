//! How attempts and tasks ended, in JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::time;
use crate::config::units::format_bytes;
use crate::engine::outcome::{Cause, LossReason, TaskLimit};
use crate::engine::{AttemptEnd, Outcome, OutcomeKind, TaskState};
use crate::store::reader::AttemptRecord;

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OutcomeJson {
    /// `succeeded`, `failed` or `cancelled`.
    #[schema(example = "failed")]
    pub kind: String,
    /// Why, where it did not succeed.
    pub cause: Option<EndJson>,
    /// Exit code of its last attempt, where it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended its last attempt, where nobody here sent it.
    pub signal: Option<i32>,
    /// Whether its output was longer than the value that is kept.
    pub value_truncated: bool,
    /// The length of its value; `null` in lists, where values aren't read.
    pub value_bytes: Option<u64>,
    /// How long its last attempt ran.
    pub wall_seconds: f64,
    /// User and system time of the last attempt's processes.
    pub cpu_seconds: f64,
    /// The most memory that the last attempt held at once.
    pub memory_peak_bytes: u64,
}

/// Why an attempt or a task ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndJson {
    /// `exited`, `signalled`, `raised`, `out_of_memory`, `too_many_processes`, `too_much_output`, `too_much_disk`,
    /// `file_too_large`, `killed`, `not_started`, `timed_out`, `cancelled`,
    /// `dependency_failed`, `queue_removed`, `lost_too_often`, or the way in which an attempt was lost:
    /// `daemon_restarted`, `agent_lost`, `executor_lost`, `launch_dropped`, `backend_failed`.
    #[schema(example = "exited")]
    pub code: String,
    /// The same for people.
    pub message: String,
}

/// One launch of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttemptJson {
    /// Its number, from 1.
    pub attempt: u32,
    /// Where it ran.
    pub agent: String,
    /// When it was decided, RFC 3339 in UTC.
    pub launched_at: String,
    /// When its process ran.
    pub started_at: Option<String>,
    /// When it had really ended.
    pub ended_at: Option<String>,
    /// Why it ended.
    pub end: Option<EndJson>,
    /// How long it ran.
    pub wall_seconds: Option<f64>,
    /// User and system time of its processes.
    pub cpu_seconds: Option<f64>,
    /// The most memory that it held at once.
    pub memory_peak_bytes: Option<u64>,
}

/// The word for an outcome: that of the state in which the task has ended.
#[must_use]
pub fn outcome_word(kind: OutcomeKind) -> &'static str {
    TaskState::from(kind).as_str()
}

impl OutcomeJson {
    /// From the engine's word. Without `with_value`, the value's length is left open.
    #[must_use]
    pub fn from_outcome(outcome: &Outcome, with_value: bool) -> Self {
        let signal = match outcome.cause {
            Some(Cause::Attempt(AttemptEnd::Signalled { signal })) => Some(signal),
            _ => None,
        };
        Self {
            kind: outcome_word(outcome.kind).to_owned(),
            cause: outcome.cause.as_ref().map(EndJson::from_cause),
            exit_code: outcome.exit_code,
            signal,
            value_truncated: outcome.value.truncated,
            value_bytes: with_value.then_some(outcome.value.n_bytes()),
            wall_seconds: time::seconds(outcome.usage.wall),
            cpu_seconds: time::seconds(outcome.usage.cpu),
            memory_peak_bytes: outcome.usage.memory_peak_bytes,
        }
    }
}

impl EndJson {
    fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
        }
    }

    /// From the engine's word for the end of an attempt.
    #[must_use]
    pub fn from_end(end: &AttemptEnd) -> Self {
        match end {
            AttemptEnd::Exited { code } => Self::new("exited", format!("exited with code {code}")),
            AttemptEnd::Signalled { signal } => Self::new(
                "signalled",
                format!("ended by signal {}", signal_name(*signal)),
            ),
            AttemptEnd::OutOfMemory => Self::new(
                "out_of_memory",
                "used more memory than its demand; raise demand.mem",
            ),
            AttemptEnd::OverLimit { limit } => Self::over_limit(*limit),
            AttemptEnd::Killed => Self::new("killed", "ended by the scheduler"),
            AttemptEnd::NotStarted { message } => {
                Self::new("not_started", format!("could not be started: {message}"))
            }
            AttemptEnd::Raised { message } => Self::new("raised", &**message),
            AttemptEnd::Lost { reason } => Self::new(reason.as_str(), loss_message(*reason)),
        }
    }

    fn over_limit(limit: TaskLimit) -> Self {
        let (code, what) = match limit {
            TaskLimit::Processes(max) => (
                "too_many_processes",
                format!("more than {max} processes and threads at once"),
            ),
            TaskLimit::OutputBytes(max) => (
                "too_much_output",
                format!("output over {}", format_bytes(max)),
            ),
            TaskLimit::DiskBytes(max) => (
                "too_much_disk",
                format!("disk use over {}", format_bytes(max)),
            ),
            TaskLimit::FileBytes(max) => (
                "file_too_large",
                format!("a file over {}", format_bytes(max)),
            ),
        };
        let raise = limit.as_str();
        Self::new(code, format!("{what}; limits.{raise} of its queue says so"))
    }

    /// From the engine's word for why a task did not succeed.
    #[must_use]
    pub fn from_cause(cause: &Cause) -> Self {
        match cause {
            Cause::Attempt(end) => Self::from_end(end),
            Cause::TimedOut => Self::new("timed_out", "ran longer than its timeout"),
            Cause::LostTooOften(reason) => Self::new(
                "lost_too_often",
                format!(
                    "lost more often than tasks.lost_max allows; at last: {}",
                    loss_message(*reason)
                ),
            ),
            Cause::Cancelled {
                reason: Some(reason),
            } => Self::new("cancelled", format!("cancelled: {reason}")),
            Cause::Cancelled { reason: None } => Self::new("cancelled", "cancelled"),
            Cause::DependencyFailed { task, kind } => Self::new(
                "dependency_failed",
                format!(
                    "task {task}, named in after, ended as {}",
                    outcome_word(*kind)
                ),
            ),
        }
    }
}

impl AttemptJson {
    /// From what is kept.
    #[must_use]
    pub fn from_record(record: &AttemptRecord) -> Self {
        Self {
            attempt: record.attempt.number,
            agent: record.agent.to_string(),
            launched_at: time::format(record.launched_at),
            started_at: record.started_at.map(time::format),
            ended_at: record.ended_at.map(time::format),
            end: record.end.as_ref().map(EndJson::from_end),
            wall_seconds: record.usage.map(|usage| time::seconds(usage.wall)),
            cpu_seconds: record.usage.map(|usage| time::seconds(usage.cpu)),
            memory_peak_bytes: record.usage.map(|usage| usage.memory_peak_bytes),
        }
    }
}

fn loss_message(reason: LossReason) -> &'static str {
    match reason {
        LossReason::DaemonRestarted => "the daemon that ran it went away",
        LossReason::AgentLost => "its agent went away",
        LossReason::ExecutorLost => "its executor went away",
        LossReason::LaunchDropped => "the launch never reached the agent",
        LossReason::BackendFailed => "the backend could not do its part",
    }
}

fn signal_name(signal: i32) -> String {
    nix::sys::signal::Signal::try_from(signal).map_or_else(
        |_| signal.to_string(),
        |known| format!("{signal} ({known})"),
    )
}
