//! What is read from the database beside the engine: tasks live and ended, their values, inboxes.
//!
//! Readers see the last commit. They never touch the writer's connection.

use std::sync::Arc;

use super::StoreError;
use crate::access::Queues;
use crate::engine::audit::{Actor, Audited};
use crate::engine::{AttemptId, Outcome, Submission, TaskId, TaskState, Time};

/// Which tasks to list, in order of ids, which is that of submission.
#[derive(Clone, Debug, Default)]
pub struct TaskFilter {
    /// Only of this queue and the queues below it.
    pub queue: Option<String>,
    /// Only of these queues; `None` for all.
    pub visible: Option<Queues>,
    /// Only in one of these states; empty for all.
    pub states: Vec<TaskState>,
    /// Only with this in their name or key, whatever the case of ASCII letters.
    pub search: Option<String>,
    /// The newest first instead of the oldest.
    pub newest: bool,
    /// Only those that come after this id in that order.
    pub after: Option<TaskId>,
    /// At most so many.
    pub limit: usize,
}

/// A task as kept.
#[derive(Clone, Debug)]
pub struct TaskRecord {
    /// Which.
    pub task: TaskId,
    /// What was submitted, shared by an array's tasks.
    pub submission: Arc<Submission>,
    /// Its state.
    pub state: TaskState,
    /// How many attempts it had.
    pub n_attempts: u32,
    /// When it ended.
    pub ended_at: Option<Time>,
    /// How it ended; in lists without the value's bytes.
    pub outcome: Option<Outcome>,
    /// No attempt before this, while it pauses.
    pub not_before: Option<Time>,
    /// Its attempts, oldest first; in lists only the last one.
    pub attempts: Vec<AttemptRecord>,
}

/// An attempt as kept.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// Which.
    pub attempt: AttemptId,
    /// Where.
    pub agent: Arc<str>,
    /// When it was decided.
    pub launched_at: Time,
    /// When its process ran.
    pub started_at: Option<Time>,
    /// When it had really ended.
    pub ended_at: Option<Time>,
    /// Why.
    pub end: Option<crate::engine::AttemptEnd>,
    /// What it used.
    pub usage: Option<crate::engine::Usage>,
}

/// A finished task in an inbox.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its number, growing; the token that acknowledges it and all before it.
    pub token: u64,
    /// The task as it stood when it was delivered.
    pub record: TaskRecord,
}

/// Which entries of the audit trail.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Only of this task and its submission.
    pub task: Option<TaskId>,
    /// Only what was done with the token of this name.
    pub by: Option<String>,
    /// Only what came before this entry.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

/// An entry of the audit trail as kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its number, growing.
    pub seq: u64,
    /// What it says.
    pub entry: Audited,
}

/// Reads. Calls block on the disk: use a blocking thread.
pub trait Reader: Send + Sync {
    /// Tasks in order of ids.
    ///
    /// # Errors
    /// The database can't be read.
    fn list(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>, StoreError>;

    /// One task with all its attempts and its value; `None` if it isn't known (any more).
    ///
    /// # Errors
    /// The database can't be read.
    fn find(&self, task: TaskId) -> Result<Option<TaskRecord>, StoreError>;

    /// The first `limit` unacknowledged deliveries of an inbox of tasks of these queues (`None` for all), oldest first,
    /// values included. Passes over those of other queues, one by one.
    ///
    /// # Errors
    /// The database can't be read.
    fn inbox(
        &self,
        inbox: &str,
        visible: Option<&Queues>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError>;

    /// The numbers of the deliveries of an inbox up to this one, of tasks of these queues, at most `limit`.
    ///
    /// # Errors
    /// The database can't be read.
    fn deliveries_until(
        &self,
        inbox: &str,
        visible: &Queues,
        upto: u64,
        limit: usize,
    ) -> Result<Vec<u64>, StoreError>;

    /// Entries of the audit trail, the newest first. By task costs a few looks into an index; by token all entries
    /// are looked at until enough are found.
    ///
    /// # Errors
    /// The database can't be read.
    fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRecord>, StoreError>;

    /// Who submitted a task; `None` where nothing is kept of that.
    ///
    /// # Errors
    /// The database can't be read.
    fn submitter(&self, task: TaskId) -> Result<Option<Actor>, StoreError>;

    /// Whether the value of this attempt, kept as a file, is or may become what its task, or a delivery of
    /// it, has to show.
    ///
    /// # Errors
    /// The database can't be read.
    fn is_value_wanted(&self, attempt: AttemptId) -> Result<bool, StoreError>;

    /// The inboxes that hold something, at most `limit`, in order of names, each with when the oldest
    /// unacknowledged task in it ended. Costs a few looks into an index each.
    ///
    /// # Errors
    /// The database can't be read.
    fn inboxes(&self, limit: usize) -> Result<Vec<(String, Time)>, StoreError>;
}
