//! Retrying by hand what failed or was cancelled, or is about to be.

use super::request::StoredTask;
use super::{Engine, Fact, Output, Refusal, Reply, TaskId, TaskState, Time};

impl Engine {
    /// Gives a task a new attempt, with all its retries. What it once waited for is not waited for again:
    /// whoever retries by hand knows better. An attempt that is still dying goes on dying beside it.
    pub(super) fn on_retry(
        &mut self,
        now: Time,
        task: TaskId,
        stored: Option<StoredTask>,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        let fact = match self.state.find_state(task) {
            Some(TaskState::Cancelling) => self.retry_live(now, task)?,
            Some(TaskState::Failed | TaskState::Cancelled) => {
                self.retry_ended(now, task, stored)?
            }
            Some(
                state @ (TaskState::Waiting
                | TaskState::Queued
                | TaskState::Launching
                | TaskState::Running
                | TaskState::Succeeded),
            ) => return Err(Refusal::NotRetryable { task, state }),
            None => return Err(Refusal::UnknownTask { task }),
        };
        self.emit(out, fact);
        Ok(Reply::State(TaskState::Queued))
    }

    fn retry_live(&self, now: Time, task: TaskId) -> Result<Fact, Refusal> {
        let live = &self.state.live[&task];
        let record = self.state.submissions.get(live.slot);
        self.check_room(self.state.queues.get(record.group).leaf, 1)?;
        Ok(Fact::Retried {
            task,
            submission: record.submission.clone(),
            n_attempts: live.n_attempts,
            at: now,
        })
    }

    fn retry_ended(
        &mut self,
        now: Time,
        task: TaskId,
        stored: Option<StoredTask>,
    ) -> Result<Fact, Refusal> {
        // A record of another task, or without the task, would be the driver's mistake.
        let stored = stored
            .filter(|stored| (stored.submission.first..stored.submission.end()).contains(&task));
        let stored = stored.ok_or(Refusal::UnknownTask { task })?;
        let leaf = self.check_spec(0, &stored.submission.spec)?;
        let n_live = self.state.n_live;
        if n_live >= self.settings.live_max {
            return Err(Refusal::TooManyTasks { n_live });
        }
        self.check_room(leaf, 1)?;
        if let Some(state) = self.state.ended.find(task).map(TaskState::from) {
            debug_assert_ne!(state, TaskState::Succeeded);
        }
        let first = stored.submission.first;
        let submission = match self.state.submissions.find_first(first) {
            Some(slot) => self.state.submissions.get(slot).submission.clone(),
            None => self.interner.submission(&stored.submission),
        };
        Ok(Fact::Retried {
            task,
            submission,
            n_attempts: stored.n_attempts,
            at: now,
        })
    }
}
