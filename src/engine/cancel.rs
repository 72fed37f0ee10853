//! Cancelling: answered at once; what runs dies in its own time.

use super::dependencies::cancelled;
use super::outcome::{Cause, OutcomeKind};
use super::{AttemptId, Decision, Engine, Fact, Output, Refusal, Reply, TaskId, TaskState, Time};

impl Engine {
    /// Cancels a task. One that has no attempt ends at once; the attempts of one that has are asked to
    /// end, and it is cancelled when they have, even if the last one happens to succeed meanwhile: whoever
    /// cancelled was told that it would be.
    pub(super) fn on_cancel(
        &mut self,
        now: Time,
        task: TaskId,
        reason: Option<Box<str>>,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        match self.state.ended.find(task) {
            Some(OutcomeKind::Cancelled) => return Ok(Reply::State(TaskState::Cancelled)),
            Some(kind @ (OutcomeKind::Succeeded | OutcomeKind::Failed)) => {
                let state = TaskState::from(kind);
                return Err(Refusal::AlreadyEnded { task, state });
            }
            None => {}
        }
        let slot = self
            .state
            .find_live(task)
            .ok_or(Refusal::UnknownTask { task })?;
        let live = self.state.live.get(&task);
        if !live.is_some_and(|live| live.has_attempts()) {
            self.end_task(now, task, cancelled(Cause::Cancelled { reason }), out);
            return Ok(Reply::State(TaskState::Cancelled));
        }
        match self.state.state_in(task, slot) {
            TaskState::Cancelling => return Ok(Reply::State(TaskState::Cancelling)),
            TaskState::Waiting
            | TaskState::Queued
            | TaskState::Launching
            | TaskState::Running
            | TaskState::Succeeded
            | TaskState::Failed
            | TaskState::Cancelled => {}
        }
        let current = live.and_then(|live| live.current);
        let at = now;
        self.emit(out, Fact::Cancelling { task, reason, at });
        // Older attempts were asked to end when they were cancelled.
        if let Some(number) = current {
            self.kill(AttemptId { task, number }, out);
        }
        Ok(Reply::State(TaskState::Cancelling))
    }

    /// Asks an attempt to end.
    pub(super) fn kill(&self, attempt: AttemptId, out: &mut Output) {
        let slot = self.state.find_live(attempt.task);
        let own = slot.and_then(|slot| self.state.submissions.get(slot).submission.spec.kill_grace);
        let grace = own.unwrap_or(self.settings.kill_grace);
        out.decisions.push(Decision::Kill { attempt, grace });
    }

    /// After recovery, asks those again that may not have heard of it.
    pub(super) fn kill_again(&mut self, out: &mut Output) {
        for attempt in std::mem::take(&mut self.kill_again) {
            if self.state.attempts.contains_key(&attempt) {
                self.kill(attempt, out);
            }
        }
    }
}
