//! What a store would keep of an engine's facts, in the plainest way: the reference for recovery.

use std::collections::BTreeMap;
use std::sync::Arc;

use apportion_policies::Amount;

use crate::engine::fact::{LiveAttempt, LiveTask};
use crate::engine::outcome::Cause;
use crate::engine::request::StoredTask;
use crate::engine::{Fact, Outcome, OutcomeKind, Submission, TaskId, TaskState, Time};

/// A task as kept.
#[derive(Clone, Debug)]
struct Kept {
    live: LiveTask,
    is_fresh: bool,
    ended_at: Time,
    outcome: Option<Arc<Outcome>>,
}

/// A submission as kept.
#[derive(Clone, Debug)]
struct KeptSubmission {
    submission: Arc<Submission>,
    waiting: bool,
}

/// Everything kept.
#[derive(Default)]
pub(super) struct Ledger {
    submissions: BTreeMap<TaskId, KeptSubmission>,
    tasks: BTreeMap<TaskId, Kept>,
    outside: BTreeMap<Arc<str>, (Amount, Time)>,
    backend_notes: BTreeMap<Arc<str>, Arc<str>>,
    next_id: u64,
}

impl Ledger {
    /// Makes a fact last.
    pub(super) fn commit(&mut self, fact: &Fact) {
        match fact {
            Fact::Submitted {
                submission,
                waiting,
            } => self.submitted(submission, *waiting),
            Fact::Unblocked { first, .. } => {
                let kept = self.submissions.get_mut(first).unwrap();
                assert!(kept.waiting, "unblocked once");
                kept.waiting = false;
                let end = kept.submission.end();
                for (_, task) in self.tasks.range_mut(*first..end) {
                    if task.live.state == TaskState::Waiting {
                        task.live.state = TaskState::Queued;
                    }
                }
            }
            Fact::Launched { .. }
            | Fact::Started { .. }
            | Fact::TimedOut { .. }
            | Fact::AttemptEnded { .. } => self.commit_attempt(fact),
            Fact::Requeued { .. }
            | Fact::Cancelling { .. }
            | Fact::Ended { .. }
            | Fact::Retried { .. } => self.commit_task(fact),
            Fact::OutsideReported { resource, used, at } => {
                self.outside.insert(Arc::clone(resource), (*used, *at));
            }
            Fact::BackendNoted {
                name,
                value: Some(value),
            } => {
                self.backend_notes
                    .insert(Arc::clone(name), Arc::clone(value));
            }
            Fact::BackendNoted { name, value: None } => {
                self.backend_notes.remove(name);
            }
            Fact::Forgotten {
                ended_before,
                firsts,
            } => self.forgotten(*ended_before, firsts),
            Fact::InboxAcknowledged { .. } | Fact::Audited(_) => {}
            Fact::Restored(_)
            | Fact::RestoredEnded { .. }
            | Fact::RestoredDying { .. }
            | Fact::RestoredKey { .. }
            | Fact::RestoredNextId(_) => panic!("only in recovery"),
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "the caller chose")]
    fn commit_attempt(&mut self, fact: &Fact) {
        match fact {
            Fact::Launched {
                attempt, agent, at, ..
            } => {
                let task = self.task(attempt.task);
                assert_eq!(task.live.state, TaskState::Queued, "{attempt}");
                task.is_fresh = false;
                task.live.state = TaskState::Launching;
                task.live.n_attempts += 1;
                assert_eq!(task.live.n_attempts, attempt.number, "no number twice");
                task.live.attempts.push(LiveAttempt {
                    number: attempt.number,
                    agent: Arc::clone(agent),
                    launched_at: *at,
                    timed_out: false,
                });
            }
            Fact::Started { attempt, .. } => {
                let task = self.task(attempt.task);
                assert_eq!(task.live.state, TaskState::Launching);
                task.live.state = TaskState::Running;
            }
            Fact::TimedOut { attempt, .. } => {
                let mut attempts = self.task(attempt.task).live.attempts.iter_mut();
                attempts
                    .find(|one| one.number == attempt.number)
                    .unwrap()
                    .timed_out = true;
            }
            Fact::AttemptEnded { attempt, .. } => {
                let attempts = &mut self.task(attempt.task).live.attempts;
                let n_before = attempts.len();
                attempts.retain(|one| one.number != attempt.number);
                assert_eq!(attempts.len() + 1, n_before, "an attempt ends once");
            }
            _ => panic!("no fact of an attempt"),
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "the caller chose")]
    fn commit_task(&mut self, fact: &Fact) {
        match fact {
            Fact::Requeued {
                task,
                own_failure,
                not_before,
                ..
            } => {
                let live = &mut self.task(*task).live;
                live.state = TaskState::Queued;
                live.not_before = *not_before;
                live.n_failures += u32::from(*own_failure);
                live.n_losses += u32::from(!*own_failure);
                let (n_failures, n_losses) = (live.n_failures, live.n_losses);
                let spec = &self.submission(*task).submission.spec;
                assert!(
                    n_failures <= spec.retries && n_losses <= 3,
                    "no more attempts than allowed"
                );
            }
            Fact::Cancelling { task, reason, .. } => {
                let live = &mut self.task(*task).live;
                assert!(!live.state.is_ended() && !live.attempts.is_empty());
                live.state = TaskState::Cancelling;
                live.cancel_reason = reason.clone();
            }
            Fact::Ended {
                task,
                outcome,
                at,
                queue,
                inbox,
            } => {
                let spec = &self.submission(*task).submission.spec;
                assert_eq!((queue, inbox), (&spec.queue, &spec.inbox));
                self.ended(*task, outcome, *at);
            }
            Fact::Retried {
                task, n_attempts, ..
            } => {
                let kept = self.task(*task);
                assert_eq!(kept.live.n_attempts, *n_attempts);
                kept.live.state = TaskState::Queued;
                kept.is_fresh = false;
                (kept.live.n_failures, kept.live.n_losses) = (0, 0);
                kept.live.not_before = Time::default();
                kept.live.cancel_reason = None;
                kept.outcome = None;
            }
            _ => panic!("no fact of a task"),
        }
    }

    fn submitted(&mut self, submission: &Arc<Submission>, waiting: bool) {
        let first = submission.first;
        assert_eq!(first.0, self.next_id.max(1), "ids without gaps");
        self.next_id = submission.end().0;
        let state = if waiting {
            TaskState::Waiting
        } else {
            TaskState::Queued
        };
        for id in first.0..submission.end().0 {
            let live = LiveTask {
                task: TaskId(id),
                state,
                n_attempts: 0,
                n_failures: 0,
                n_losses: 0,
                not_before: Time::default(),
                cancel_reason: None,
                attempts: Vec::new(),
            };
            let kept = Kept {
                live,
                is_fresh: true,
                ended_at: Time::default(),
                outcome: None,
            };
            self.tasks.insert(TaskId(id), kept);
        }
        let kept = KeptSubmission {
            submission: Arc::clone(submission),
            waiting,
        };
        self.submissions.insert(first, kept);
    }

    fn ended(&mut self, task: TaskId, outcome: &Arc<Outcome>, at: Time) {
        let kept = self.task(task);
        assert!(!kept.live.state.is_ended(), "a task ends once");
        kept.live.state = match outcome.kind {
            OutcomeKind::Succeeded => TaskState::Succeeded,
            OutcomeKind::Failed => TaskState::Failed,
            OutcomeKind::Cancelled => TaskState::Cancelled,
        };
        kept.ended_at = at;
        kept.outcome = Some(Arc::clone(outcome));
    }

    fn forgotten(&mut self, ended_before: Time, firsts: &[TaskId]) {
        for first in firsts {
            let kept = self.submissions.remove(first).unwrap();
            for id in first.0..kept.submission.end().0 {
                let task = self.tasks.remove(&TaskId(id)).unwrap();
                assert!(task.live.state.is_ended() && task.ended_at < ended_before);
            }
        }
        let all_old = |kept: &KeptSubmission| {
            let mut tasks = self
                .tasks
                .range(kept.submission.first..kept.submission.end());
            tasks.all(|(_, task)| task.live.state.is_ended() && task.ended_at < ended_before)
        };
        assert!(
            !self.submissions.values().any(all_old),
            "all that is old is forgotten"
        );
    }

    fn task(&mut self, task: TaskId) -> &mut Kept {
        self.tasks.get_mut(&task).unwrap()
    }

    fn submission(&self, task: TaskId) -> &KeptSubmission {
        self.submissions.range(..=task).next_back().unwrap().1
    }

    /// The facts that bring a new engine to where the last commit left it.
    pub(super) fn recover(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        for (task, kept) in self
            .tasks
            .iter()
            .filter(|(_, kept)| kept.live.state.is_ended())
        {
            facts.push(Fact::RestoredEnded {
                task: *task,
                first: self.submission(*task).submission.first,
                state: kept.live.state,
                at: kept.ended_at,
            });
        }
        for (first, kept) in &self.submissions {
            facts.extend(
                kept.submission
                    .spec
                    .key
                    .clone()
                    .map(|key| Fact::RestoredKey {
                        key,
                        first: *first,
                        count: kept.submission.spec.count(),
                        digest: kept.submission.digest,
                    }),
            );
        }
        facts.push(Fact::RestoredNextId(TaskId(self.next_id.max(1))));
        for kept in self.submissions.values() {
            let range = kept.submission.first..kept.submission.end();
            if self
                .tasks
                .range(range)
                .any(|(_, task)| !task.live.state.is_ended())
            {
                facts.push(Fact::Submitted {
                    submission: Arc::clone(&kept.submission),
                    waiting: kept.waiting,
                });
            }
        }
        let live = self
            .tasks
            .values()
            .filter(|kept| !kept.is_fresh && !kept.live.state.is_ended());
        facts.extend(live.map(|kept| Fact::Restored(kept.live.clone())));
        for (task, kept) in &self.tasks {
            let submission = &self.submission(*task).submission;
            let dying = kept.live.attempts.iter();
            let dying = dying.filter(|_| kept.live.state.is_ended());
            facts.extend(dying.map(|attempt| Fact::RestoredDying {
                submission: Arc::clone(submission),
                task: *task,
                attempt: attempt.clone(),
            }));
        }
        for (resource, (used, at)) in &self.outside {
            facts.push(Fact::OutsideReported {
                resource: Arc::clone(resource),
                used: *used,
                at: *at,
            });
        }
        for (name, value) in &self.backend_notes {
            facts.push(Fact::BackendNoted {
                name: Arc::clone(name),
                value: Some(Arc::clone(value)),
            });
        }
        facts
    }

    /// What a store knows of an ended task.
    pub(super) fn find_ended(&self, task: TaskId) -> Option<StoredTask> {
        let kept = self
            .tasks
            .get(&task)
            .filter(|kept| kept.live.state.is_ended())?;
        Some(StoredTask {
            submission: Arc::clone(&self.submission(task).submission),
            state: kept.live.state,
            n_attempts: kept.live.n_attempts,
        })
    }

    /// Why a task ended as it did.
    pub(super) fn cause(&self, task: TaskId) -> Option<Cause> {
        self.tasks.get(&task)?.outcome.as_ref()?.cause.clone()
    }

    /// All tasks that are kept, with their states.
    pub(super) fn states(&self) -> impl Iterator<Item = (TaskId, TaskState)> + '_ {
        self.tasks
            .iter()
            .map(|(task, kept)| (*task, kept.live.state))
    }

    /// How a task's outcome looks.
    pub(super) fn outcome(&self, task: TaskId) -> Option<Arc<Outcome>> {
        self.tasks.get(&task)?.outcome.clone()
    }
}
