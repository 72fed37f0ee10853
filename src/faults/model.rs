//! The plainest scheduler that could be right: what must become of a task, from what was committed of it. It
//! knows no resources, no order and no time, only the life of a task; so it says what, and the daemon when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::outcome::{Cause, Outcome, OutcomeKind};
use crate::engine::{AttemptEnd, AttemptId, Fact, Submission, TaskId, TaskState};

/// What must follow the end of an attempt, in the same batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Requeued { own_failure: bool },
    Ended(OutcomeKind),
}

/// One task.
#[derive(Debug)]
struct Task {
    submission: Arc<Submission>,
    state: TaskState,
    n_attempts: u32,
    n_failures: u32,
    n_losses: u32,
    live: BTreeSet<u32>,
    timed_out: BTreeSet<u32>,
    n_ends: u32,
    cancels: bool,
    is_forgotten: bool,
}

/// All tasks that were committed.
#[derive(Debug, Default)]
pub(super) struct Model {
    tasks: BTreeMap<TaskId, Task>,
    by_key: BTreeMap<Box<str>, TaskId>,
    lost_max: u32,
}

type Judged = Result<(), String>;

fn check(holds: bool, what: impl FnOnce() -> String) -> Judged {
    if holds { Ok(()) } else { Err(what()) }
}

impl Model {
    /// With this bound on losses.
    pub(super) fn new(lost_max: u32) -> Self {
        Self {
            lost_max,
            ..Self::default()
        }
    }

    /// How many attempts of a task were launched.
    pub(super) fn n_attempts(&self, task: TaskId) -> u32 {
        self.tasks.get(&task).map_or(0, |task| task.n_attempts)
    }

    /// Whether every task has ended.
    pub(super) fn all_ended(&self) -> bool {
        self.tasks.values().all(|task| task.state.is_ended())
    }

    /// The tasks that have not ended, in words.
    pub(super) fn left(&self) -> String {
        let left = self.tasks.iter().filter(|(_, task)| !task.state.is_ended());
        let words = left.map(|(id, task)| format!("{id} is {}", task.state.as_str()));
        words.collect::<Vec<_>>().join(", ")
    }

    /// How a task ended, if it has.
    pub(super) fn state(&self, task: TaskId) -> Option<TaskState> {
        self.tasks.get(&task).map(|task| task.state)
    }

    /// Whether a task ended so long ago that nothing of it is kept.
    pub(super) fn is_forgotten(&self, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(|task| task.is_forgotten)
    }

    /// All such tasks.
    pub(super) fn all_forgotten(&self) -> BTreeSet<TaskId> {
        let forgotten = self.tasks.iter().filter(|(_, task)| task.is_forgotten);
        forgotten.map(|(id, _)| *id).collect()
    }

    /// The first task that was submitted under a key.
    pub(super) fn by_key(&self, key: &str) -> Option<TaskId> {
        self.by_key.get(key).copied()
    }

    /// All tasks with how often each ended, and the inbox where each end must have arrived.
    pub(super) fn ends(&self) -> impl Iterator<Item = (TaskId, u32, Option<&Arc<str>>)> {
        self.tasks
            .iter()
            .map(|(id, task)| (*id, task.n_ends, task.submission.spec.inbox.as_ref()))
    }

    /// Takes in a batch.
    ///
    /// # Errors
    /// Something of it can't follow from what was before.
    pub(super) fn take(&mut self, facts: &[Fact]) -> Judged {
        let mut facts = facts.iter().peekable();
        while let Some(fact) = facts.next() {
            if let Fact::AttemptEnded { attempt, end, .. } = fact {
                let next = self.attempt_ended(*attempt, end)?;
                let followed = facts.peek().and_then(|fact| told(fact, attempt.task));
                // One that its task doesn't wait for brings nothing, but somebody may cancel the task next.
                let is_apart =
                    next.is_none() && followed == Some(Next::Ended(OutcomeKind::Cancelled));
                check(followed == next || is_apart, || {
                    format!("after {attempt} ended by {end:?}: {followed:?} instead of {next:?}")
                })?;
            }
            let taken = self.take_one(fact);
            taken.map_err(|what| format!("{what}, by {fact:?}"))?;
        }
        Ok(())
    }

    fn take_one(&mut self, fact: &Fact) -> Judged {
        match fact {
            Fact::Submitted {
                submission,
                waiting,
            } => self.submitted(submission, *waiting),
            Fact::Unblocked { first, .. } => self.unblocked(*first),
            Fact::Launched { attempt, .. } => self.launched(*attempt),
            Fact::Started { attempt, .. } => self.step(attempt.task, |task| {
                task.state = TaskState::Running;
                task.live.contains(&attempt.number)
            }),
            Fact::TimedOut { attempt, .. } => self.step(attempt.task, |task| {
                task.timed_out.insert(attempt.number)
                    && task.live.contains(&attempt.number)
                    && task.submission.spec.timeout.is_some()
            }),
            Fact::Requeued {
                task, own_failure, ..
            } => self.step(*task, |task| {
                task.state = TaskState::Queued;
                task.n_failures += u32::from(*own_failure);
                task.n_losses += u32::from(!own_failure);
                true
            }),
            Fact::Cancelling { task, .. } => self.step(*task, |task| {
                task.state = TaskState::Cancelling;
                task.cancels = true;
                !task.live.is_empty()
            }),
            Fact::Ended { task, outcome, .. } => self.ended(*task, outcome),
            Fact::Retried {
                task, n_attempts, ..
            } => self.step(*task, |task| {
                use TaskState::{Cancelled, Cancelling, Failed};
                let could = matches!(task.state, Failed | Cancelled | Cancelling);
                task.state = TaskState::Queued;
                (task.n_failures, task.n_losses, task.cancels) = (0, 0, false);
                could && *n_attempts == task.n_attempts
            }),
            Fact::AttemptEnded { .. }
            | Fact::InboxAcknowledged { .. }
            | Fact::OutsideReported { .. }
            | Fact::BackendNoted { .. }
            | Fact::Audited(_) => Ok(()),
            Fact::Forgotten { firsts, .. } => firsts.iter().try_for_each(|it| self.forget(*it)),
            Fact::Restored(_)
            | Fact::RestoredEnded { .. }
            | Fact::RestoredDying { .. }
            | Fact::RestoredKey { .. }
            | Fact::RestoredNextId(_) => Err(format!("{fact:?} is committed")),
        }
    }

    /// Changes a live task, which must be one, and in a way that can be.
    fn step(&mut self, id: TaskId, change: impl FnOnce(&mut Task) -> bool) -> Judged {
        let task = self.tasks.get_mut(&id);
        let task = task.ok_or_else(|| format!("{id} was never submitted"))?;
        let before = format!("{task:?}");
        check(!task.is_forgotten, || format!("{id} was forgotten"))?;
        check(change(task), || format!("{id} can't change so: {before}"))
    }

    fn submitted(&mut self, submission: &Arc<Submission>, waiting: bool) -> Judged {
        for id in (submission.first.0..submission.end().0).map(TaskId) {
            let state = if waiting {
                TaskState::Waiting
            } else {
                TaskState::Queued
            };
            let task = Task {
                submission: Arc::clone(submission),
                state,
                n_attempts: 0,
                n_failures: 0,
                n_losses: 0,
                live: BTreeSet::new(),
                timed_out: BTreeSet::new(),
                n_ends: 0,
                cancels: false,
                is_forgotten: false,
            };
            let before = self.tasks.insert(id, task);
            check(before.is_none(), || format!("{id} is submitted twice"))?;
        }
        if let Some(key) = &submission.spec.key {
            let before = self.by_key.insert(key.clone(), submission.first);
            check(before.is_none(), || format!("key {key} is submitted twice"))?;
        }
        Ok(())
    }

    fn forget(&mut self, first: TaskId) -> Judged {
        let task = self.tasks.get(&first);
        let submission = task.map(|task| Arc::clone(&task.submission));
        let submission = submission.ok_or_else(|| format!("{first} was never submitted"))?;
        if let Some(key) = &submission.spec.key {
            self.by_key.remove(key);
        }
        for (id, task) in self.tasks.range_mut(submission.first..submission.end()) {
            check(task.state.is_ended() && task.live.is_empty(), || {
                format!("{id} is forgotten and lives: {task:?}")
            })?;
            check(!std::mem::replace(&mut task.is_forgotten, true), || {
                format!("{id} is forgotten twice")
            })?;
        }
        Ok(())
    }

    fn unblocked(&mut self, first: TaskId) -> Judged {
        let submission = self
            .tasks
            .get(&first)
            .map(|task| Arc::clone(&task.submission));
        let submission = submission.ok_or_else(|| format!("{first} was never submitted"))?;
        for dependency in &submission.after {
            let ids = dependency.first.0..dependency.first.0 + u64::from(dependency.count);
            for id in ids.map(TaskId) {
                let state = self.tasks.get(&id).map(|task| task.state);
                check(state == Some(TaskState::Succeeded), || {
                    format!("{first} need not wait for {id} any more, which is {state:?}")
                })?;
            }
        }
        for (_, task) in self.tasks.range_mut(submission.first..submission.end()) {
            if task.state == TaskState::Waiting {
                task.state = TaskState::Queued;
            }
        }
        Ok(())
    }

    fn launched(&mut self, attempt: AttemptId) -> Judged {
        self.step(attempt.task, |task| {
            let could = task.state == TaskState::Queued && attempt.number == task.n_attempts + 1;
            task.state = TaskState::Launching;
            task.n_attempts = attempt.number;
            could && task.live.insert(attempt.number)
        })
    }

    /// What must become of the task now.
    fn attempt_ended(
        &mut self,
        attempt: AttemptId,
        end: &AttemptEnd,
    ) -> Result<Option<Next>, String> {
        let lost_max = self.lost_max;
        let task = self.tasks.get_mut(&attempt.task);
        let task = task.ok_or_else(|| format!("{attempt} was never submitted"))?;
        check(task.live.remove(&attempt.number), || {
            format!("{attempt} ends twice")
        })?;
        if task.cancels {
            let is_last = task.live.is_empty();
            return Ok(is_last.then_some(Next::Ended(OutcomeKind::Cancelled)));
        }
        let runs = matches!(task.state, TaskState::Launching | TaskState::Running);
        if !runs || attempt.number != task.n_attempts {
            return Ok(None);
        }
        let retries = task.submission.spec.retries;
        let own = if task.n_failures < retries {
            Next::Requeued { own_failure: true }
        } else {
            Next::Ended(OutcomeKind::Failed)
        };
        let loss = if task.n_losses < lost_max {
            Next::Requeued { own_failure: false }
        } else {
            Next::Ended(OutcomeKind::Failed)
        };
        Ok(Some(match end {
            _ if task.timed_out.contains(&attempt.number) => own,
            AttemptEnd::Exited { code: 0 } => Next::Ended(OutcomeKind::Succeeded),
            AttemptEnd::Lost { .. } | AttemptEnd::Killed => loss,
            AttemptEnd::Exited { .. }
            | AttemptEnd::Signalled { .. }
            | AttemptEnd::OutOfMemory
            | AttemptEnd::OverLimit { .. }
            | AttemptEnd::NotStarted { .. }
            | AttemptEnd::Raised { .. } => own,
        }))
    }

    fn ended(&mut self, id: TaskId, outcome: &Outcome) -> Judged {
        if let Some(Cause::DependencyFailed { task, .. }) = &outcome.cause {
            let cause = self.tasks.get(task).map(|task| task.n_ends);
            check(cause.is_some_and(|n| n > 0), || {
                format!("{id} is cancelled by {task}, which lives")
            })?;
        }
        self.step(id, |task| {
            // An attempt of before a retry may still be dying, unless the task waited for all of them.
            let waits = task.live.contains(&task.n_attempts) || task.cancels;
            let could = !task.state.is_ended() && (task.live.is_empty() || !waits);
            task.state = TaskState::from(outcome.kind);
            task.n_ends += 1;
            task.cancels = false;
            could
        })
    }
}

/// What a fact makes of this task, where it ends or queues it again.
fn told(fact: &Fact, of: TaskId) -> Option<Next> {
    match fact {
        Fact::Requeued {
            task, own_failure, ..
        } if *task == of => {
            let own_failure = *own_failure;
            Some(Next::Requeued { own_failure })
        }
        Fact::Ended { task, outcome, .. } if *task == of => Some(Next::Ended(outcome.kind)),
        Fact::Submitted { .. }
        | Fact::Unblocked { .. }
        | Fact::Launched { .. }
        | Fact::Started { .. }
        | Fact::TimedOut { .. }
        | Fact::AttemptEnded { .. }
        | Fact::Requeued { .. }
        | Fact::Cancelling { .. }
        | Fact::Ended { .. }
        | Fact::Retried { .. }
        | Fact::InboxAcknowledged { .. }
        | Fact::OutsideReported { .. }
        | Fact::BackendNoted { .. }
        | Fact::Audited(_)
        | Fact::Forgotten { .. }
        | Fact::Restored(_)
        | Fact::RestoredEnded { .. }
        | Fact::RestoredDying { .. }
        | Fact::RestoredKey { .. }
        | Fact::RestoredNextId(_) => None,
    }
}
