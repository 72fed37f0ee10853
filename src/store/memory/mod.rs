//! A store in memory, for simulated faults and for tests: nothing outlives the process. It says in the plainest way
//! what a store has to remember, so the others are compared with it.

mod reading;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apportion_policies::Amount;

use super::reader::{AttemptRecord, TaskRecord};
use super::{Store, StoreError};
use crate::engine::audit::Audited;
use crate::engine::fact::{LiveAttempt, LiveTask};
use crate::engine::request::StoredTask;
use crate::engine::{AttemptId, Fact, Outcome, Submission, TaskId, TaskState, Time};

/// A store that forgets with the process. Clones share what it holds, so that one can be read, or
/// recovered from, while a driver owns another.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryStore(Arc<Mutex<Kept>>);

/// What a store keeps.
#[derive(Debug, Default)]
struct Kept {
    /// By first task, with whether its untouched tasks are `waiting`.
    submissions: BTreeMap<TaskId, (Arc<Submission>, bool)>,
    /// The tasks that have left the state in which they were submitted.
    tasks: BTreeMap<TaskId, Task>,
    inbox: BTreeMap<u64, (Arc<str>, TaskRecord)>,
    n_delivered: u64,
    outside: BTreeMap<Arc<str>, (Amount, Time)>,
    backend_notes: BTreeMap<Arc<str>, Arc<str>>,
    next_id: u64,
    audit: Vec<Audited>,
}

#[derive(Clone, Debug)]
struct Task {
    state: TaskState,
    n_attempts: u32,
    n_failures: u32,
    n_losses: u32,
    not_before: Option<Time>,
    cancel_reason: Option<Box<str>>,
    ended: Option<(Time, Arc<Outcome>)>,
    attempts: BTreeMap<u32, Attempt>,
}

#[derive(Clone, Debug)]
struct Attempt {
    record: AttemptRecord,
    timed_out: bool,
}

impl MemoryStore {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn commit(&mut self, facts: &[Fact]) -> Result<(), StoreError> {
        let mut kept = self.kept();
        for fact in facts {
            kept.keep(fact);
        }
        Ok(())
    }

    fn recover(&mut self, fold: &mut dyn FnMut(Fact)) -> Result<(), StoreError> {
        self.kept().recover(fold);
        Ok(())
    }

    fn find_ended(&mut self, task: TaskId) -> Result<Option<StoredTask>, StoreError> {
        let record = self
            .kept()
            .record(task)
            .filter(|record| record.state.is_ended());
        Ok(record.map(|record| StoredTask {
            submission: record.submission,
            state: record.state,
            n_attempts: record.n_attempts,
        }))
    }
}

fn ids(submission: &Submission) -> impl Iterator<Item = TaskId> + use<> {
    (submission.first.0..submission.end().0).map(TaskId)
}

impl Kept {
    fn submission(&self, task: TaskId) -> Option<&(Arc<Submission>, bool)> {
        let (_, found) = self.submissions.range(..=task).next_back()?;
        (task < found.0.end()).then_some(found)
    }

    /// The first task of the same submission.
    fn first(&self, task: TaskId) -> Option<TaskId> {
        self.submission(task)
            .map(|(submission, _)| submission.first)
    }

    /// The task's row, made first where it has none.
    ///
    /// # Panics
    /// If the task was never submitted: the engine tells of none such.
    fn task(&mut self, task: TaskId) -> &mut Task {
        let (_, waiting) = self
            .submission(task)
            .expect("facts are of tasks that were submitted");
        let state = if *waiting {
            TaskState::Waiting
        } else {
            TaskState::Queued
        };
        self.tasks.entry(task).or_insert_with(|| Task {
            state,
            n_attempts: 0,
            n_failures: 0,
            n_losses: 0,
            not_before: None,
            cancel_reason: None,
            ended: None,
            attempts: BTreeMap::new(),
        })
    }

    /// # Panics
    /// If the attempt was never launched: the engine tells of none such.
    fn attempt(&mut self, attempt: AttemptId) -> &mut Attempt {
        let attempts = &mut self.task(attempt.task).attempts;
        attempts
            .get_mut(&attempt.number)
            .expect("facts are of attempts that were launched")
    }

    fn keep(&mut self, fact: &Fact) {
        match fact {
            Fact::Submitted {
                submission,
                waiting,
            } => {
                self.next_id = self.next_id.max(submission.end().0);
                self.submissions
                    .insert(submission.first, (Arc::clone(submission), *waiting));
            }
            Fact::Unblocked { first, .. } => self.unblock(*first),
            Fact::Launched {
                attempt, agent, at, ..
            } => self.launch(*attempt, agent, *at),
            Fact::Started { attempt, at } => self.start(*attempt, *at),
            Fact::TimedOut { attempt, .. } => self.attempt(*attempt).timed_out = true,
            Fact::AttemptEnded {
                attempt,
                end,
                usage,
                at,
            } => {
                let record = &mut self.attempt(*attempt).record;
                record.ended_at = Some(*at);
                record.end = Some(end.clone());
                record.usage = Some(*usage);
            }
            Fact::Requeued {
                task,
                own_failure,
                not_before,
                ..
            } => self.requeue(*task, *own_failure, *not_before),
            Fact::Cancelling { task, reason, .. } => {
                let task = self.task(*task);
                task.state = TaskState::Cancelling;
                task.cancel_reason.clone_from(reason);
            }
            Fact::Ended {
                task,
                outcome,
                inbox,
                at,
                ..
            } => self.end(*task, outcome, inbox.as_ref(), *at),
            Fact::Retried {
                task, n_attempts, ..
            } => self.retry(*task, *n_attempts),
            Fact::InboxAcknowledged { inbox, upto, only } => {
                self.acknowledge(inbox, *upto, only.as_deref());
            }
            Fact::OutsideReported { resource, used, at } => {
                self.outside.insert(Arc::clone(resource), (*used, *at));
            }
            Fact::BackendNoted { name, value } => self.note(name, value.as_ref()),
            Fact::Audited(entry) => self.audit.push((**entry).clone()),
            Fact::Forgotten { firsts, .. } => firsts.iter().for_each(|first| self.forget(*first)),
            Fact::Restored(_)
            | Fact::RestoredEnded { .. }
            | Fact::RestoredDying { .. }
            | Fact::RestoredKey { .. }
            | Fact::RestoredNextId(_) => {}
        }
    }

    fn note(&mut self, name: &Arc<str>, value: Option<&Arc<str>>) {
        match value {
            Some(value) => self
                .backend_notes
                .insert(Arc::clone(name), Arc::clone(value)),
            None => self.backend_notes.remove(name),
        };
    }

    fn acknowledge(&mut self, inbox: &str, upto: u64, only: Option<&[u64]>) {
        let is_meant = |token: &u64| *token <= upto && only.is_none_or(|only| only.contains(token));
        self.inbox
            .retain(|token, (name, _)| !is_meant(token) || **name != *inbox);
    }

    fn unblock(&mut self, first: TaskId) {
        let Some((submission, waiting)) = self.submissions.get_mut(&first) else {
            return;
        };
        *waiting = false;
        for (_, task) in self.tasks.range_mut(submission.first..submission.end()) {
            if task.state == TaskState::Waiting {
                task.state = TaskState::Queued;
            }
        }
    }

    fn launch(&mut self, attempt: AttemptId, agent: &Arc<str>, at: Time) {
        let task = self.task(attempt.task);
        task.state = TaskState::Launching;
        task.n_attempts = attempt.number;
        task.not_before = None;
        let record = AttemptRecord {
            attempt,
            agent: Arc::clone(agent),
            launched_at: at,
            started_at: None,
            ended_at: None,
            end: None,
            usage: None,
        };
        task.attempts.insert(
            attempt.number,
            Attempt {
                record,
                timed_out: false,
            },
        );
    }

    fn start(&mut self, attempt: AttemptId, at: Time) {
        self.attempt(attempt).record.started_at = Some(at);
        let task = self.task(attempt.task);
        if task.state == TaskState::Launching && task.n_attempts == attempt.number {
            task.state = TaskState::Running;
        }
    }

    fn requeue(&mut self, task: TaskId, own_failure: bool, not_before: Time) {
        let task = self.task(task);
        task.state = TaskState::Queued;
        task.n_failures += u32::from(own_failure);
        task.n_losses += u32::from(!own_failure);
        task.not_before = Some(not_before);
    }

    fn retry(&mut self, task: TaskId, n_attempts: u32) {
        let task = self.task(task);
        task.state = TaskState::Queued;
        task.n_attempts = n_attempts;
        (task.n_failures, task.n_losses) = (0, 0);
        (task.not_before, task.cancel_reason, task.ended) = (None, None, None);
    }

    fn end(&mut self, id: TaskId, outcome: &Arc<Outcome>, inbox: Option<&Arc<str>>, at: Time) {
        let task = self.task(id);
        task.state = TaskState::from(outcome.kind);
        task.not_before = None;
        task.cancel_reason = None;
        task.ended = Some((at, Arc::clone(outcome)));
        if let (Some(inbox), Some(record)) = (inbox, self.record(id)) {
            self.n_delivered += 1;
            self.inbox
                .insert(self.n_delivered, (Arc::clone(inbox), record));
        }
    }

    fn forget(&mut self, first: TaskId) {
        let Some((submission, _)) = self.submissions.get(&first) else {
            return;
        };
        let submission = Arc::clone(submission);
        let has_ended = |id| self.tasks.get(&id).is_some_and(|task| task.ended.is_some());
        if !ids(&submission).all(has_ended) {
            return;
        }
        self.submissions.remove(&first);
        for id in ids(&submission) {
            self.tasks.remove(&id);
        }
        self.inbox
            .retain(|_, (_, record)| record.submission.first != first);
    }

    fn record(&self, id: TaskId) -> Option<TaskRecord> {
        let (submission, waiting) = self.submission(id)?;
        let first_state = if *waiting {
            TaskState::Waiting
        } else {
            TaskState::Queued
        };
        let task = self.tasks.get(&id);
        let ended = task.and_then(|task| task.ended.as_ref());
        Some(TaskRecord {
            task: id,
            submission: Arc::clone(submission),
            state: task.map_or(first_state, |task| task.state),
            n_attempts: task.map_or(0, |task| task.n_attempts),
            ended_at: ended.map(|(at, _)| *at),
            outcome: ended.map(|(_, outcome)| Outcome::clone(outcome)),
            not_before: task.and_then(|task| task.not_before),
            attempts: task
                .into_iter()
                .flat_map(|task| task.attempts.values().map(|attempt| attempt.record.clone()))
                .collect(),
        })
    }

    fn recover(&self, fold: &mut dyn FnMut(Fact)) {
        for (id, task) in &self.tasks {
            if let (Some((at, _)), Some(first)) = (&task.ended, self.first(*id)) {
                let at = *at;
                fold(Fact::RestoredEnded {
                    task: *id,
                    first,
                    state: task.state,
                    at,
                });
            }
        }
        for (submission, _) in self.submissions.values() {
            if let Some(key) = &submission.spec.key {
                fold(Fact::RestoredKey {
                    key: key.clone(),
                    first: submission.first,
                    count: submission.spec.count(),
                    digest: submission.digest,
                });
            }
        }
        let is_live = |id| self.tasks.get(&id).is_none_or(|task| task.ended.is_none());
        for (submission, waiting) in self.submissions.values() {
            if ids(submission).any(is_live) {
                fold(Fact::Submitted {
                    submission: Arc::clone(submission),
                    waiting: *waiting,
                });
            }
        }
        for (id, task) in self.tasks.iter().filter(|(_, task)| task.ended.is_none()) {
            fold(Fact::Restored(live(*id, task)));
        }
        for (id, task) in self.tasks.iter().filter(|(_, task)| task.ended.is_some()) {
            let Some((submission, _)) = self.submission(*id) else {
                continue;
            };
            for attempt in live_attempts(task) {
                fold(Fact::RestoredDying {
                    submission: Arc::clone(submission),
                    task: *id,
                    attempt,
                });
            }
        }
        for (resource, (used, at)) in &self.outside {
            fold(Fact::OutsideReported {
                resource: Arc::clone(resource),
                used: *used,
                at: *at,
            });
        }
        for (name, value) in &self.backend_notes {
            fold(Fact::BackendNoted {
                name: Arc::clone(name),
                value: Some(Arc::clone(value)),
            });
        }
        fold(Fact::RestoredNextId(TaskId(self.next_id.max(1))));
    }
}

fn live(id: TaskId, task: &Task) -> LiveTask {
    LiveTask {
        task: id,
        state: task.state,
        n_attempts: task.n_attempts,
        n_failures: task.n_failures,
        n_losses: task.n_losses,
        not_before: task.not_before.unwrap_or_default(),
        cancel_reason: task.cancel_reason.clone(),
        attempts: live_attempts(task).collect(),
    }
}

fn live_attempts(task: &Task) -> impl Iterator<Item = LiveAttempt> {
    let attempts = task.attempts.values();
    let living = attempts.filter(|attempt| attempt.record.ended_at.is_none());
    living.map(|attempt| LiveAttempt {
        number: attempt.record.attempt.number,
        agent: Arc::clone(&attempt.record.agent),
        launched_at: attempt.record.launched_at,
        timed_out: attempt.timed_out,
    })
}
