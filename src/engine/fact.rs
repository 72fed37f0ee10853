//! What changed. Facts are committed before they are acted on, and folded again on recovery.

use std::sync::Arc;
use std::time::Duration;

use apportion_policies::Amount;

use super::audit::Audited;
use super::outcome::{AttemptEnd, Outcome, Usage};
use super::spec::{AttemptId, Submission, TaskId, TaskState};
use super::time::Time;

/// Something that changed, for good once committed.
#[derive(Clone, Debug)]
pub enum Fact {
    /// Tasks were taken in. They are `waiting` if `after` names a task that has not yet succeeded, else `queued`.
    Submitted {
        /// What.
        submission: Arc<Submission>,
        /// Whether it is `waiting`.
        waiting: bool,
    },
    /// All that the tasks of a submission waited for has succeeded: `waiting` became `queued`.
    Unblocked {
        /// The first task of the submission.
        first: TaskId,
        /// When.
        at: Time,
    },
    /// An attempt was decided: `queued` became `launching`, and it holds its demand from now on.
    Launched {
        /// Which.
        attempt: AttemptId,
        /// Where.
        agent: Arc<str>,
        /// Of which queue, for metrics and readers of the log.
        queue: Arc<str>,
        /// How long the task could have run before it did: since it was submitted, unblocked, or its
        /// last pause was over.
        waited: Duration,
        /// When.
        at: Time,
    },
    /// The attempt's process runs: `launching` became `running`.
    Started {
        /// Which.
        attempt: AttemptId,
        /// When.
        at: Time,
    },
    /// An attempt was asked to end because its time is over.
    TimedOut {
        /// Which.
        attempt: AttemptId,
        /// When.
        at: Time,
    },
    /// An attempt has really ended and gave back what it held. What becomes of its task is told by a
    /// further fact of the same batch, unless the task had moved on before.
    AttemptEnded {
        /// Which.
        attempt: AttemptId,
        /// Why.
        end: AttemptEnd,
        /// What it used.
        usage: Usage,
        /// When.
        at: Time,
    },
    /// An attempt failed or was lost and another may follow: `queued` again, after a pause.
    Requeued {
        /// Which task.
        task: TaskId,
        /// Whether the failure was its own (counts towards `retries`) or a loss (towards `lost_max`).
        own_failure: bool,
        /// No attempt before this.
        not_before: Time,
        /// When.
        at: Time,
    },
    /// A task with a live attempt was cancelled: `cancelling`.
    Cancelling {
        /// Which.
        task: TaskId,
        /// Why, for people.
        reason: Option<Box<str>>,
        /// When.
        at: Time,
    },
    /// A task has ended; where its spec names an inbox, it is delivered there.
    Ended {
        /// Which.
        task: TaskId,
        /// How.
        outcome: Arc<Outcome>,
        /// Of which queue, for metrics and readers of the log.
        queue: Arc<str>,
        /// Where it is delivered.
        inbox: Option<Arc<str>>,
        /// When.
        at: Time,
    },
    /// A task was retried by hand: `queued` again, its counts of failures and losses at zero. An attempt
    /// that is still dying goes on dying beside it.
    Retried {
        /// Which.
        task: TaskId,
        /// Its submission.
        submission: Arc<Submission>,
        /// How many attempts it had so far.
        n_attempts: u32,
        /// When.
        at: Time,
    },
    /// An inbox was acknowledged.
    InboxAcknowledged {
        /// Which.
        inbox: Arc<str>,
        /// Up to this delivery.
        upto: u64,
        /// Only these of them; `None` for all.
        only: Option<Arc<[u64]>>,
    },
    /// Others use so much of a cluster resource.
    OutsideReported {
        /// Which.
        resource: Arc<str>,
        /// How much.
        used: Amount,
        /// When.
        at: Time,
    },
    /// The backend has something kept; in recovery, it was.
    BackendNoted {
        /// What it is.
        name: Arc<str>,
        /// What it says; `None` where it is forgotten.
        value: Option<Arc<str>>,
    },
    /// Who asked for what other facts of the same batch tell of.
    Audited(Box<Audited>),
    /// Ended tasks were forgotten: submissions all of whose tasks ended before this time.
    Forgotten {
        /// The time.
        ended_before: Time,
        /// The submissions, by their first task.
        firsts: Vec<TaskId>,
    },
    /// Only in recovery: where a live task stood that had left its first state.
    Restored(LiveTask),
    /// Only in recovery: a task that has ended and is still kept.
    RestoredEnded {
        /// Which.
        task: TaskId,
        /// The first task of its submission.
        first: TaskId,
        /// How.
        state: TaskState,
        /// When.
        at: Time,
    },
    /// Only in recovery: an attempt that outlives its task, which was retried by hand while it was dying and has
    /// ended since.
    RestoredDying {
        /// The submission of its task.
        submission: Arc<Submission>,
        /// Its task.
        task: TaskId,
        /// The attempt.
        attempt: LiveAttempt,
    },
    /// Only in recovery: the key of a submission that is still kept, live or not.
    RestoredKey {
        /// The key.
        key: Box<str>,
        /// Whose.
        first: TaskId,
        /// How many tasks.
        count: u32,
        /// The digest of the task object.
        digest: [u8; 16],
    },
    /// Only in recovery: the id that the next task gets.
    RestoredNextId(TaskId),
}

/// Where a live task stood that had left its first state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveTask {
    /// Which.
    pub task: TaskId,
    /// `waiting`, `queued`, `launching`, `running` or `cancelling`.
    pub state: TaskState,
    /// How many attempts it had, the current one included.
    pub n_attempts: u32,
    /// Own failures since it was submitted or retried by hand.
    pub n_failures: u32,
    /// Losses since then.
    pub n_losses: u32,
    /// No attempt before this, while `queued`.
    pub not_before: Time,
    /// Why it was cancelled, while `cancelling`.
    pub cancel_reason: Option<Box<str>>,
    /// Its attempts that have not ended: the current one, and those of before a retry that still die.
    pub attempts: Vec<LiveAttempt>,
}

/// An attempt that had not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveAttempt {
    /// Its number.
    pub number: u32,
    /// Where it runs.
    pub agent: Arc<str>,
    /// When it was launched.
    pub launched_at: Time,
    /// Whether it was asked to end because its time was over.
    pub timed_out: bool,
}
