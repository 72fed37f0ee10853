//! For tests: sequences of facts as an engine would tell them, from random choices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::Amount;

use crate::engine::outcome::{Cause, LossReason, Value, ValueFile};
use crate::engine::spec::{ArrayRange, Dependency, Run};
use crate::engine::{
    AttemptEnd, AttemptId, Fact, Outcome, OutcomeKind, Submission, TaskId, TaskSpec, TaskState,
    Time, Usage,
};

/// Queues whose names sort in ways that a careless subtree filter gets wrong.
pub(super) const QUEUES: [&str; 6] = ["maps", "maps/a", "maps/a/b", "maps-old", "maps0", "search"];

/// Inboxes that tasks name.
pub(super) const INBOXES: [&str; 2] = ["release", "nightly"];

/// One choice of a proptest: what to do, and to which of those that it can be done to.
pub(super) type Choice = (u8, u16);

/// How many kinds of things a [`Choice`] can do.
pub(super) const N_KINDS: u8 = 17;

/// A spec with something in every field.
pub(crate) fn spec(queue: &str, count: u32) -> TaskSpec {
    let array = (count > 1).then_some(ArrayRange {
        first: 10,
        last: 10 + 2 * (count - 1),
        step: 2,
    });
    TaskSpec {
        queue: queue.into(),
        name: format!("Tile {}/3 \"ü\"", count % 3).into(),
        key: None,
        inbox: None,
        demand: Arc::new(BTreeMap::from([
            ("cpus".into(), Amount::from_milli(1500).unwrap()),
            ("mem".into(), Amount::MAX),
        ])),
        run: Run::Command("render --tile 7/3".into()),
        env: BTreeMap::new(),
        priority: -3,
        retries: 2,
        timeout: None,
        kill_grace: None,
        constraints: Arc::default(),
        array,
    }
}

/// A submission of it.
pub(crate) fn submission(first: u64, spec: TaskSpec) -> Arc<Submission> {
    Arc::new(Submission {
        first: TaskId(first),
        spec,
        after: Vec::new(),
        digest: [7; 16],
        submitted_at: Time(1_000 + first),
    })
}

/// An outcome with a value.
pub(super) fn outcome(kind: OutcomeKind, cause: Option<Cause>) -> Arc<Outcome> {
    Arc::new(Outcome {
        kind,
        cause,
        exit_code: (kind == OutcomeKind::Failed).then_some(3),
        value: Value {
            bytes: b"hello\0\xff"[..].into(),
            truncated: kind == OutcomeKind::Succeeded,
            file: None,
        },
        usage: usage(),
    })
}

fn usage() -> Usage {
    Usage {
        wall: Duration::from_micros(1_234_567),
        cpu: Duration::from_micros(890),
        memory_peak_bytes: 1 << 33,
    }
}

struct Task {
    submission: Arc<Submission>,
    state: TaskState,
    n_attempts: u32,
    live: BTreeSet<u32>,
}

/// What an engine would know of its tasks, as far as needed to tell only what can happen.
#[derive(Default)]
pub(super) struct Sim {
    tasks: BTreeMap<u64, Task>,
    pub(super) next_id: u64,
    now: u64,
    n_delivered: u64,
}

impl Sim {
    fn pick(&self, choice: u16, wanted: impl Fn(&Task) -> bool) -> Option<u64> {
        let fit: Vec<u64> = self
            .tasks
            .iter()
            .filter(|(_, task)| wanted(task))
            .map(|(id, _)| *id)
            .collect();
        (!fit.is_empty()).then(|| fit[usize::from(choice) % fit.len()])
    }

    fn in_state(&self, choice: u16, states: &[TaskState]) -> Option<u64> {
        self.pick(choice, |task| states.contains(&task.state))
    }

    /// The facts that one choice brings about; none where nothing of the kind can happen now.
    pub(super) fn act(&mut self, (kind, choice): Choice) -> Vec<Fact> {
        self.now += u64::from(choice % 50);
        match kind % N_KINDS {
            0..=2 => self.submit(choice),
            3 => self.unblock(choice).into_iter().collect(),
            4 | 5 => self.launch(choice).into_iter().collect(),
            6 => self.start(choice).into_iter().collect(),
            7 => self.end_attempt(choice, AttemptEnd::Exited { code: 0 }),
            8 => self.end_attempt(choice, AttemptEnd::Signalled { signal: 9 }),
            9 if choice.is_multiple_of(2) => self.end_attempt(
                choice / 2,
                AttemptEnd::Raised {
                    message: "ValueError: 'ü'".into(),
                },
            ),
            9 => self.end_attempt(
                choice,
                AttemptEnd::Lost {
                    reason: LossReason::AgentLost,
                },
            ),
            10 => self.cancel(choice).into_iter().collect(),
            11 => self.retry(choice).into_iter().collect(),
            12 => vec![Fact::InboxAcknowledged {
                inbox: INBOXES[usize::from(choice) % 2].into(),
                upto: u64::from(choice / 2) % (self.n_delivered + 1),
                // Now all of them, now every other.
                only: (choice % 8 == 0).then(|| (0..=self.n_delivered).step_by(2).collect()),
            }],
            13 => vec![Fact::OutsideReported {
                resource: ["db", "licences"][usize::from(choice) % 2].into(),
                used: Amount::from_milli(u64::from(choice)).unwrap(),
                at: Time(self.now),
            }],
            15 => vec![Fact::BackendNoted {
                name: ["id", "role"][usize::from(choice) % 2].into(),
                value: (choice % 3 > 0).then(|| choice.to_string().into()),
            }],
            14 => self.forget(choice).into_iter().collect(),
            _ => self.time_out(choice).into_iter().collect(),
        }
    }

    fn submit(&mut self, choice: u16) -> Vec<Fact> {
        let first = self.next_id.max(1);
        let choice = usize::from(choice);
        let count = if choice.is_multiple_of(3) {
            1 + (choice as u32 / 3) % 6
        } else {
            1
        };
        let mut spec = spec(QUEUES[choice % 6], count);
        if choice.is_multiple_of(2) {
            spec.key = Some(format!("key {first}").into());
            spec.run = if choice.is_multiple_of(4) {
                Run::Python(Box::new([0x80, 5, 0, 0xff, b'.']))
            } else {
                Run::Argv(Box::new([
                    "render".into(),
                    String::new().into(),
                    "ä \n\"".into(),
                ]))
            };
            spec.env = BTreeMap::from([("STAGE".into(), "prod 'x'".into())]);
            spec.constraints = Arc::new(BTreeMap::from([("rack".into(), "r1".into())]));
            spec.timeout = Some(Duration::from_mins(120));
            spec.kill_grace = Some(Duration::from_millis(1));
        }
        spec.inbox = (!choice.is_multiple_of(5)).then(|| INBOXES[choice % 2].into());
        let mut submission = Submission::clone(&submission(first, spec));
        let waiting = choice.is_multiple_of(7);
        if waiting {
            submission.after = vec![Dependency {
                first: TaskId(1),
                count: 1,
            }];
        }
        let submission = Arc::new(submission);
        self.next_id = submission.end().0;
        let state = if waiting {
            TaskState::Waiting
        } else {
            TaskState::Queued
        };
        for id in first..self.next_id {
            let submission = Arc::clone(&submission);
            self.tasks.insert(
                id,
                Task {
                    submission,
                    state,
                    n_attempts: 0,
                    live: BTreeSet::new(),
                },
            );
        }
        vec![Fact::Submitted {
            submission,
            waiting,
        }]
    }

    fn unblock(&mut self, choice: u16) -> Option<Fact> {
        let first = self.tasks[&self.in_state(choice, &[TaskState::Waiting])?]
            .submission
            .first;
        for task in self.tasks.values_mut() {
            if task.submission.first == first && task.state == TaskState::Waiting {
                task.state = TaskState::Queued;
            }
        }
        Some(Fact::Unblocked {
            first,
            at: Time(self.now),
        })
    }

    fn launch(&mut self, choice: u16) -> Option<Fact> {
        let id = self.in_state(choice, &[TaskState::Queued])?;
        let task = self.tasks.get_mut(&id)?;
        task.state = TaskState::Launching;
        task.n_attempts += 1;
        task.live.insert(task.n_attempts);
        Some(Fact::Launched {
            attempt: AttemptId {
                task: TaskId(id),
                number: task.n_attempts,
            },
            agent: ["m1", "m2"][usize::from(choice) % 2].into(),
            queue: Arc::clone(&task.submission.spec.queue),
            waited: Duration::ZERO,
            at: Time(self.now),
        })
    }

    fn start(&mut self, choice: u16) -> Option<Fact> {
        let id = self.in_state(choice, &[TaskState::Launching])?;
        let task = self.tasks.get_mut(&id)?;
        task.state = TaskState::Running;
        let attempt = AttemptId {
            task: TaskId(id),
            number: task.n_attempts,
        };
        Some(Fact::Started {
            attempt,
            at: Time(self.now),
        })
    }

    fn time_out(&mut self, choice: u16) -> Option<Fact> {
        let id = self.in_state(choice, &[TaskState::Running])?;
        let attempt = AttemptId {
            task: TaskId(id),
            number: self.tasks[&id].n_attempts,
        };
        Some(Fact::TimedOut {
            attempt,
            at: Time(self.now),
        })
    }

    /// Ends the oldest live attempt of a task. Where it isn't the current one, nothing else happens.
    fn end_attempt(&mut self, choice: u16, end: AttemptEnd) -> Vec<Fact> {
        let at = Time(self.now);
        let Some(id) = self.pick(choice, |task| !task.live.is_empty()) else {
            return Vec::new();
        };
        let Some(task) = self.tasks.get_mut(&id) else {
            return Vec::new();
        };
        let Some(number) = task.live.pop_first() else {
            return Vec::new();
        };
        let attempt = AttemptId {
            task: TaskId(id),
            number,
        };
        let ended = Fact::AttemptEnded {
            attempt,
            end: end.clone(),
            usage: usage(),
            at,
        };
        let is_current = number == task.n_attempts
            && matches!(
                task.state,
                TaskState::Launching | TaskState::Running | TaskState::Cancelling
            );
        if !is_current {
            return vec![ended];
        }
        let then = match (task.state, &end) {
            (TaskState::Cancelling, _) => {
                let reason = (choice.is_multiple_of(2)).then(|| "no longer needed".into());
                self.end(
                    id,
                    OutcomeKind::Cancelled,
                    Some(Cause::Cancelled { reason }),
                )
            }
            (_, AttemptEnd::Exited { .. }) => self.end(id, OutcomeKind::Succeeded, None),
            (_, AttemptEnd::Signalled { .. } | AttemptEnd::Raised { .. })
                if choice.is_multiple_of(2) =>
            {
                self.end(id, OutcomeKind::Failed, Some(Cause::Attempt(end)))
            }
            (_, end) => {
                task.state = TaskState::Queued;
                let own_failure = !matches!(end, AttemptEnd::Lost { .. });
                Fact::Requeued {
                    task: TaskId(id),
                    own_failure,
                    not_before: Time(self.now + 100),
                    at,
                }
            }
        };
        vec![ended, then]
    }

    fn end(&mut self, id: u64, kind: OutcomeKind, cause: Option<Cause>) -> Fact {
        let task = self.tasks.get_mut(&id).unwrap();
        task.state = TaskState::from(kind);
        let spec = &task.submission.spec;
        self.n_delivered += u64::from(spec.inbox.is_some());
        let mut outcome = Outcome::clone(&outcome(kind, cause));
        if id.is_multiple_of(3) {
            outcome.value = Value {
                file: Some(ValueFile {
                    attempt: task.n_attempts,
                    n_bytes: 1 << 33,
                }),
                ..Value::default()
            };
        }
        Fact::Ended {
            task: TaskId(id),
            outcome: Arc::new(outcome),
            queue: Arc::clone(&spec.queue),
            inbox: spec.inbox.clone(),
            at: Time(self.now),
        }
    }

    fn cancel(&mut self, choice: u16) -> Option<Fact> {
        use TaskState::{Launching, Queued, Running, Waiting};
        let id = self.in_state(choice, &[Waiting, Queued, Launching, Running])?;
        let task = self.tasks.get_mut(&id)?;
        if matches!(task.state, Waiting | Queued) {
            let cause = Cause::DependencyFailed {
                task: TaskId(3),
                kind: OutcomeKind::Failed,
            };
            return Some(self.end(id, OutcomeKind::Cancelled, Some(cause)));
        }
        task.state = TaskState::Cancelling;
        let reason = (choice.is_multiple_of(3)).then(|| "why not".into());
        Some(Fact::Cancelling {
            task: TaskId(id),
            reason,
            at: Time(self.now),
        })
    }

    fn retry(&mut self, choice: u16) -> Option<Fact> {
        let id = self.in_state(
            choice,
            &[
                TaskState::Failed,
                TaskState::Cancelled,
                TaskState::Cancelling,
            ],
        )?;
        let task = self.tasks.get_mut(&id)?;
        task.state = TaskState::Queued;
        Some(Fact::Retried {
            task: TaskId(id),
            submission: Arc::clone(&task.submission),
            n_attempts: task.n_attempts,
            at: Time(self.now),
        })
    }

    /// Forgets a submission whose tasks have all ended, or names one that still has live tasks: that one
    /// must stay. While an attempt of a task that has ended still dies, an engine names no such submission.
    fn forget(&mut self, choice: u16) -> Option<Fact> {
        let id = self.pick(choice, |task| task.state.is_ended() && task.live.is_empty())?;
        let first = self.tasks[&id].submission.first;
        let own = |task: &Task| task.submission.first == first;
        let mut of_it = self.tasks.values().filter(|task| own(task));
        if of_it.clone().all(|task| task.state.is_ended()) {
            if of_it.any(|task| !task.live.is_empty()) {
                return None;
            }
            self.tasks.retain(|_, task| !own(task));
        }
        Some(Fact::Forgotten {
            ended_before: Time(self.now),
            firsts: vec![first],
        })
    }
}
