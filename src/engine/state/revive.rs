//! Tasks that live again, and tasks that are forgotten.

use std::sync::Arc;

use super::super::spec::{AttemptId, Submission, TaskId, TaskState};
use super::super::time::Time;
use super::State;
use super::submissions::Slot;
use super::watches::watched_by;

impl State {
    pub(super) fn retried(
        &mut self,
        task: TaskId,
        submission: &Arc<Submission>,
        n_attempts: u32,
        at: Time,
    ) {
        let slot = match self.live.get_mut(&task) {
            Some(live) => {
                let from = live.phase.state();
                live.dying.extend(live.current.take());
                (live.n_failures, live.n_losses) = (0, 0);
                let slot = live.slot;
                let leaf = self.leaf_in(slot);
                self.queues.count(leaf, Some(from), None, 1);
                slot
            }
            None => self.revive(task, submission, n_attempts, at),
        };
        let leaf = self.leaf_in(slot);
        self.queues.count(leaf, None, Some(TaskState::Queued), 1);
        self.queue_after(task, at, at);
    }

    /// A task that had ended lives again.
    fn revive(
        &mut self,
        task: TaskId,
        submission: &Arc<Submission>,
        n_attempts: u32,
        at: Time,
    ) -> Slot {
        let slot = self
            .submissions
            .find_first(submission.first)
            .unwrap_or_else(|| {
                self.kept.revive(submission.first);
                self.insert_submission(submission, at)
            });
        self.ended.remove(task);
        self.n_live += 1;
        // Whoever waited for it was cancelled; what is left is counted anew for whoever comes next.
        let range = self.submissions.get(slot).range();
        for dependency in watched_by(task, range.first, range.count) {
            self.watches.failed(dependency);
        }
        let record = self.submissions.get_mut(slot);
        record.n_live += 1;
        record.n_fresh += 1;
        self.leave_first_state(task, slot, at);
        let live = self.live.get_mut(&task).expect("it was put in above");
        live.n_attempts = n_attempts;
        // Those of before an earlier retry outlived the task.
        let attempts = &self.attempts;
        let lives = |number: &u32| {
            let number = *number;
            attempts.contains_key(&AttemptId { task, number })
        };
        live.dying = (1..=n_attempts).filter(lives).collect();
        slot
    }

    pub(super) fn forgotten(&mut self, ended_before: Time) {
        for kept in self.kept.pop_due(ended_before) {
            for id in kept.first.0..kept.first.0 + u64::from(kept.count) {
                self.ended.remove(TaskId(id));
            }
            self.keys.forget(kept.first);
        }
    }
}
