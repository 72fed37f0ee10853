//! How attempts and tasks end, and what they really used.

use std::sync::Arc;
use std::time::Duration;

/// What an attempt really used, as far as the backend could measure it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// From its start to its end.
    pub wall: Duration,
    /// User and system time of all its processes.
    pub cpu: Duration,
    /// The most memory it held at once, in bytes.
    pub memory_peak_bytes: u64,
}

/// Why an attempt ended, as the backend saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The process exited with this code; 0 is success.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// A signal ended it that nobody here sent.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// It used more memory than its demand.
    OutOfMemory,
    /// It took more than its queue lets a task take of what it shares with its neighbours.
    OverLimit {
        /// Of what.
        limit: TaskLimit,
    },
    /// It was ended because the engine asked so ([`super::Decision::Kill`]). Why, the engine knows.
    Killed,
    /// It could not be started, by its own fault: no such program, not executable.
    NotStarted {
        /// What the system said.
        message: Box<str>,
    },
    /// Python code raised an exception, or left without giving a value.
    Raised {
        /// The last line of its traceback: type and message.
        message: Box<str>,
    },
    /// The infrastructure lost it; its fate is known to be over.
    Lost {
        /// Which way.
        reason: LossReason,
    },
}

/// What a task may take of what it shares with its neighbours, beside its demand: of what, and how much at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskLimit {
    /// So many processes and threads at once.
    Processes(u64),
    /// So many bytes on standard output and standard error together.
    OutputBytes(u64),
    /// So many bytes on disk in its working directory.
    DiskBytes(u64),
    /// So many bytes in one file.
    FileBytes(u64),
}

impl TaskLimit {
    /// The word for what it limits, in the configuration and the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Processes(_) => "processes",
            Self::OutputBytes(_) => "output",
            Self::DiskBytes(_) => "disk",
            Self::FileBytes(_) => "file_size",
        }
    }

    /// How much, in bytes where it is no number of processes.
    #[must_use]
    pub fn most(self) -> u64 {
        match self {
            Self::Processes(max)
            | Self::OutputBytes(max)
            | Self::DiskBytes(max)
            | Self::FileBytes(max) => max,
        }
    }

    /// The reverse of [`TaskLimit::as_str`] and [`TaskLimit::most`]; `None` for another word.
    #[must_use]
    pub fn from_word(word: &str, max: u64) -> Option<Self> {
        let all = [
            Self::Processes(max),
            Self::OutputBytes(max),
            Self::DiskBytes(max),
            Self::FileBytes(max),
        ];
        all.into_iter().find(|limit| limit.as_str() == word)
    }
}

/// The ways in which the infrastructure loses an attempt. Not the task's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LossReason {
    /// The daemon that ran it went away.
    DaemonRestarted,
    /// The agent is gone.
    AgentLost,
    /// The executor is gone.
    ExecutorLost,
    /// The launch never reached the agent.
    LaunchDropped,
    /// The backend could not do its part: no process, no disk.
    BackendFailed,
}

impl LossReason {
    /// The word for it, in the API, the store and the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DaemonRestarted => "daemon_restarted",
            Self::AgentLost => "agent_lost",
            Self::ExecutorLost => "executor_lost",
            Self::LaunchDropped => "launch_dropped",
            Self::BackendFailed => "backend_failed",
        }
    }
}

/// How a task ended, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OutcomeKind {
    /// With a value or exit code 0.
    Succeeded,
    /// Otherwise.
    Failed,
    /// Somebody wanted so.
    Cancelled,
}

/// What a task has to show for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    /// For a command, its standard output; at most [`VALUE_BYTES_MAX`]. Empty where it is kept as a file.
    pub bytes: Arc<[u8]>,
    /// Whether there was more than that, which is not kept.
    pub truncated: bool,
    /// Where it is too large for that and kept as a file.
    pub file: Option<ValueFile>,
}

/// The longest value that travels with the facts, in bytes. What is longer is kept as a file.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// A value that is kept as a file, written before its attempt was told to have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueFile {
    /// The number of the attempt that wrote it.
    pub attempt: u32,
    /// Its length, in bytes.
    pub n_bytes: u64,
}

impl Value {
    /// Its length in bytes, wherever it is kept.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.file
            .map_or(self.bytes.len() as u64, |file| file.n_bytes)
    }
}

/// Why a task did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its last attempt ended so.
    Attempt(AttemptEnd),
    /// Its last attempt ran into the timeout.
    TimedOut,
    /// It was lost more often than `lost_max` allows; the last time for this reason.
    LostTooOften(LossReason),
    /// Somebody cancelled it, perhaps saying why.
    Cancelled {
        /// What they said.
        reason: Option<Box<str>>,
    },
    /// A task named in `after` did not succeed.
    DependencyFailed {
        /// Which.
        task: super::TaskId,
        /// How that one ended.
        kind: OutcomeKind,
    },
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// In one word.
    pub kind: OutcomeKind,
    /// Why, where it did not succeed.
    pub cause: Option<Cause>,
    /// Exit code of its last attempt, where it exited.
    pub exit_code: Option<i32>,
    /// What it has to show for itself; of the last attempt, also where that failed.
    pub value: Value,
    /// What its last attempt really used; zero where it never ran.
    pub usage: Usage,
}
