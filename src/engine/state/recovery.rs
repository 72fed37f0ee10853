//! Recovery: folding what the store gives back, and setting up what follows from it.

use std::sync::Arc;
use std::time::Duration;

use super::super::fact::{LiveAttempt, LiveTask};
use super::super::outcome::OutcomeKind;
use super::super::report::LaunchCause;
use super::super::spec::{AttemptId, Submission, TaskId, TaskState};
use super::super::time::Time;
use super::State;
use super::attempts::{AttemptRecord, Phase};
use super::queues::GroupId;
use super::submissions::Slot;
use super::timers::Timer;

/// A backend tells so soon what became of the attempts of before a restart, as far as it knows.
const HEARD_OF_WITHIN: Duration = Duration::from_secs(60);

impl State {
    /// A task that has ended and is still kept.
    pub(super) fn restored_ended(
        &mut self,
        task: TaskId,
        first: TaskId,
        state: TaskState,
        at: Time,
    ) {
        let kind = match state {
            TaskState::Succeeded => OutcomeKind::Succeeded,
            TaskState::Failed => OutcomeKind::Failed,
            TaskState::Cancelled => OutcomeKind::Cancelled,
            TaskState::Waiting
            | TaskState::Queued
            | TaskState::Launching
            | TaskState::Running
            | TaskState::Cancelling => panic!(
                "task {task} is restored as ended, but is {}",
                state.as_str()
            ),
        };
        self.ended.insert(task, kind);
        self.kept.restore(first, at);
        self.next_id = self.next_id.max(TaskId(task.0 + 1));
    }

    /// A task that had left its first state.
    pub(super) fn restored(&mut self, task: &LiveTask) {
        let slot = self
            .find_live(task.task)
            .expect("a task's submission is restored before it");
        let from = self.state_in(task.task, slot);
        if task.state == TaskState::Waiting || self.live.contains_key(&task.task) {
            return;
        }
        let record = self.submissions.get(slot);
        let (group, rank, ready_since) = (record.group, record.rank(task.task), record.ready_since);
        let timeout = record.submission.spec.timeout;
        if !record.is_waiting {
            self.queues.take_ready(group, rank);
        }
        self.leave_first_state(task.task, slot, ready_since);
        for attempt in &task.attempts {
            // Only the word of the current attempt counts, so only its time does.
            let has_timer = matches!(task.state, TaskState::Launching | TaskState::Running)
                && attempt.number == task.n_attempts
                && !attempt.timed_out;
            self.restored_attempt(task.task, attempt, group, timeout.filter(|_| has_timer));
        }
        let has_current =
            |number: u32| number == task.n_attempts && task.state != TaskState::Queued;
        let numbers = task.attempts.iter().map(|attempt| attempt.number);
        let (current, dying): (Vec<u32>, Vec<u32>) =
            numbers.partition(|number| has_current(*number));
        let live = self.live.get_mut(&task.task).expect("it was put in above");
        live.current = current.first().copied();
        live.dying = dying;
        live.n_attempts = task.n_attempts;
        live.n_failures = task.n_failures;
        live.n_losses = task.n_losses;
        match task.state {
            TaskState::Queued => self.queue_after(task.task, task.not_before, Time::default()),
            TaskState::Launching => live.phase = Phase::Launching,
            TaskState::Running => live.phase = Phase::Running,
            TaskState::Cancelling => {
                let reason = task.cancel_reason.clone();
                live.phase = Phase::Cancelling { reason };
            }
            TaskState::Waiting
            | TaskState::Succeeded
            | TaskState::Failed
            | TaskState::Cancelled => {
                panic!(
                    "task {} is restored as live, but is {}",
                    task.task,
                    task.state.as_str()
                )
            }
        }
        let leaf = self.queues.get(group).leaf;
        self.queues.count(leaf, Some(from), Some(task.state), 1);
    }

    /// What live attempts held since they were launched counts as past use. What ended before the restart is
    /// told by [`crate::engine::Engine::remember`].
    pub(crate) fn recover_past(&mut self, now: Time) {
        self.queues.advance(now);
        self.queues.tree.forget_past();
        for attempt in self.live_attempts() {
            let record = &self.attempts[&attempt];
            let group = self.queues.get(record.group);
            let (leaf, shape) = (group.leaf, group.shape);
            let demand = self.queues.tree.shape(shape).demand.clone();
            let since = record.launched_at.0;
            self.queues.tree.remember_past(leaf, &demand, since, now.0);
        }
    }

    /// An attempt that outlives its task holds what it was launched with until it ends.
    pub(super) fn restored_dying(
        &mut self,
        submission: &Arc<Submission>,
        task: TaskId,
        attempt: &LiveAttempt,
    ) {
        let group = self.acquire_group(&submission.spec);
        self.restored_attempt(task, attempt, group, None);
        self.queues.release(group);
    }

    fn restored_attempt(
        &mut self,
        task: TaskId,
        attempt: &LiveAttempt,
        group: GroupId,
        timeout: Option<Duration>,
    ) {
        let record = AttemptRecord {
            group,
            agent: self.agents.ensure(&attempt.agent),
            launched_at: attempt.launched_at,
            timeout_at: timeout.map(|timeout| attempt.launched_at.after(timeout)),
            timed_out: attempt.timed_out,
            cause: LaunchCause::Unknown,
        };
        let id = AttemptId {
            task,
            number: attempt.number,
        };
        self.insert_attempt(id, record);
    }

    /// Attempts whose time was over while no daemon ran get a moment in which the backend may tell what became of them:
    /// of those that ended meanwhile nobody shall say that they ran for too long. Costs these attempts.
    pub(crate) fn wait_for_overdue(&mut self, now: Time) {
        let until = now.after(HEARD_OF_WITHIN);
        for attempt in self.timers.due_timeouts(now) {
            self.drop_timeout(attempt);
            let record = self.attempts.get_mut(&attempt);
            record.expect("what has a timer is live").timeout_at = Some(until);
            self.timers.insert(until, Timer::Timeout(attempt));
        }
    }

    /// Ends recovery: what waits is set up to be told, now that all submissions are there. What waits
    /// for tasks that don't live any more has seen them succeed: a task that ends otherwise takes those
    /// that wait for it along, in the same batch.
    pub(crate) fn finish_recovery(&mut self) {
        self.is_recovering = false;
        let submissions = &self.submissions;
        self.kept
            .finish_recovery(|first| submissions.find_first(first).is_some());
        let is_waiting =
            |(slot, record): (Slot, &super::SubmissionRecord)| record.is_waiting.then_some(slot);
        let waiting: Vec<Slot> = self.submissions.iter().filter_map(is_waiting).collect();
        for slot in waiting {
            // Where all tasks were cancelled and some retried, nothing is left that waits.
            if self.submissions.get(slot).n_fresh > 0 {
                self.watch_dependencies(slot);
            }
            let record = self.submissions.get_mut(slot);
            if record.n_watches > 0 {
                continue;
            }
            record.is_waiting = false;
            let (group, n_fresh) = (record.group, record.n_fresh);
            let leaf = self.queues.get(group).leaf;
            self.queues.count(
                leaf,
                Some(TaskState::Waiting),
                Some(TaskState::Queued),
                u64::from(n_fresh),
            );
            self.make_fresh_ready(slot);
        }
    }
}
