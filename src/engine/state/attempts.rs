//! Records of tasks that left their first state, and of attempts that have not ended.

use super::super::report::LaunchCause;
use super::super::spec::{AttemptId, TaskId, TaskState};
use super::super::time::Time;
use super::agents::AgentIndex;
use super::queues::GroupId;
use super::submissions::Slot;

/// Where a task with a record of its own stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Queued, and could run now.
    Ready,
    /// Queued, and pauses before its next attempt.
    Paused {
        /// Until then.
        until: Time,
    },
    /// Its current attempt was decided.
    Launching,
    /// Its current attempt runs.
    Running,
    /// It was cancelled; its attempts are dying.
    Cancelling {
        /// Why, for people.
        reason: Option<Box<str>>,
    },
}

impl Phase {
    /// The state that people see.
    pub(crate) fn state(&self) -> TaskState {
        match self {
            Self::Ready | Self::Paused { .. } => TaskState::Queued,
            Self::Launching => TaskState::Launching,
            Self::Running => TaskState::Running,
            Self::Cancelling { .. } => TaskState::Cancelling,
        }
    }
}

/// A task that left its first state and has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LiveTaskRecord {
    /// Its submission.
    pub(crate) slot: Slot,
    /// Where it stands.
    pub(crate) phase: Phase,
    /// The number of the attempt whose word counts, while it has not ended.
    pub(crate) current: Option<u32>,
    /// The numbers of older attempts that have not ended: those of before a retry by hand.
    pub(crate) dying: Vec<u32>,
    /// How many attempts it had.
    pub(crate) n_attempts: u32,
    /// Own failures since it was submitted or retried by hand.
    pub(crate) n_failures: u32,
    /// Losses since then.
    pub(crate) n_losses: u32,
    /// Since when it could have run.
    pub(crate) ready_since: Time,
}

impl LiveTaskRecord {
    /// Of a task that could run since then, and had no attempt.
    pub(crate) fn new(slot: Slot, ready_since: Time) -> Self {
        Self {
            slot,
            phase: Phase::Ready,
            current: None,
            dying: Vec::new(),
            n_attempts: 0,
            n_failures: 0,
            n_losses: 0,
            ready_since,
        }
    }

    /// Whether an attempt of it has not ended.
    pub(crate) fn has_attempts(&self) -> bool {
        self.current.is_some() || !self.dying.is_empty()
    }

    /// Its attempts that have not ended, in order.
    pub(crate) fn attempts(&self, task: TaskId) -> Vec<AttemptId> {
        let mut numbers: Vec<u32> = self.dying.iter().copied().chain(self.current).collect();
        numbers.sort_unstable();
        numbers
            .into_iter()
            .map(|number| AttemptId { task, number })
            .collect()
    }
}

/// An attempt that has not ended. It may outlive its task: what was retried by hand may end before
/// the attempt of before does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AttemptRecord {
    /// Its leaf and shape.
    pub(crate) group: GroupId,
    /// Where it runs.
    pub(crate) agent: AgentIndex,
    /// When it was decided.
    pub(crate) launched_at: Time,
    /// When its time is over, while that matters.
    pub(crate) timeout_at: Option<Time>,
    /// Whether it was asked to end because its time was over.
    pub(crate) timed_out: bool,
    /// Why it was launched. Only for people, and not kept over a restart.
    pub(crate) cause: LaunchCause,
}
