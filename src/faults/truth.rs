//! What really happened outside: where each attempt was sent, when its process ran, and how it ended. The
//! scheduler's words are judged by it.

use std::collections::{BTreeMap, BTreeSet};

use super::course::{Course, Millis};
use crate::backend::remote::launch::parse_attempt;
use crate::engine::{AttemptEnd, AttemptId, TaskId};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunEnd {
    /// By itself.
    Exited(i32),
    /// Because the scheduler wanted so; or it was never started for that reason.
    Killed,
    /// With whatever it ran on.
    Died,
}

/// What became of an attempt outside.
#[derive(Clone, Debug)]
struct Placed {
    agent: String,
    started_at: Option<Millis>,
    end: Option<RunEnd>,
    /// Whether the scheduler may be wrong about it: it could not be reached, or died with its machine.
    is_excused: bool,
    /// Whether the scheduler has committed that it ended.
    is_told: bool,
}

/// All attempts that ever left the scheduler.
#[derive(Debug, Default)]
pub(super) struct Truth {
    placed: BTreeMap<AttemptId, Placed>,
    /// Those whose time is over: they have failed, however they end.
    timed_out: BTreeSet<AttemptId>,
    /// Up to which attempt those of a task may run beside later ones: it was retried by hand.
    retried: BTreeMap<TaskId, u32>,
    /// Tasks that somebody was told are cancelled, with the last attempt that was launched by then. Until
    /// somebody asks for a retry.
    cancelled: BTreeMap<TaskId, u32>,
}

impl Truth {
    /// The master, or this machine, has taken it.
    pub(super) fn placed(&mut self, attempt: AttemptId, agent: &str) {
        let placed = Placed {
            agent: agent.to_owned(),
            started_at: None,
            end: None,
            is_excused: false,
            is_told: false,
        };
        self.placed.insert(attempt, placed);
    }

    /// Whether an attempt of this name was ever taken.
    pub(super) fn was_placed(&self, id: &str) -> bool {
        parse_attempt(id).is_some_and(|attempt| self.placed.contains_key(&attempt))
    }

    /// Its process runs.
    pub(super) fn started(&mut self, course: &mut Course, attempt: AttemptId) {
        let first = AttemptId {
            number: 0,
            ..attempt
        };
        let retried = self.retried.get(&attempt.task).copied().unwrap_or(0);
        for (other, placed) in self.placed.range(first..attempt) {
            if placed.is_excused || other.number <= retried || placed.started_at.is_none() {
                continue;
            }
            if placed.end.is_none() {
                course.violate(format!(
                    "{attempt} runs while {other} does on {}",
                    placed.agent
                ));
            }
            let succeeded = placed.end == Some(RunEnd::Exited(0));
            if succeeded && !self.timed_out.contains(other) {
                course.violate(format!("{attempt} runs though {other} succeeded"));
            }
        }
        let last = self.cancelled.get(&attempt.task);
        if last.is_some_and(|last| *last < attempt.number) {
            course.violate(format!("{attempt} runs though its task was cancelled"));
        }
        let Some(placed) = self.placed.get_mut(&attempt) else {
            course.violate(format!("{attempt} runs and was never launched"));
            return;
        };
        if placed.started_at.replace(course.now).is_some() {
            course.violate(format!("{attempt} runs twice"));
        }
        if placed.is_told && !placed.is_excused {
            course.violate(format!("{attempt} runs after it was told to have ended"));
        }
    }

    /// Its process is no more, or will never be.
    pub(super) fn ended(&mut self, attempt: AttemptId, end: RunEnd) {
        if let Some(placed) = self.placed.get_mut(&attempt) {
            placed.end.get_or_insert(end);
        }
    }

    /// The scheduler has committed that the time of an attempt is over.
    pub(super) fn timed_out(&mut self, attempt: AttemptId) {
        self.timed_out.insert(attempt);
    }

    /// An agent can't be reached: what the scheduler makes of its attempts may be wrong.
    pub(super) fn excuse_agent(&mut self, agent: &str) {
        let on_it = self.placed.values_mut();
        for placed in on_it.filter(|placed| placed.agent == agent && !placed.is_told) {
            placed.is_excused = true;
        }
    }

    /// Everything was ended by somebody else.
    pub(super) fn excuse_all(&mut self) {
        for placed in self.placed.values_mut().filter(|placed| !placed.is_told) {
            placed.is_excused = true;
        }
    }

    /// Everything dies with the daemon.
    pub(super) fn all_die(&mut self) {
        self.excuse_all();
        for placed in self.placed.values_mut() {
            placed.end.get_or_insert(RunEnd::Died);
        }
    }

    /// The scheduler has committed that an attempt ended so.
    pub(super) fn told(&mut self, course: &mut Course, attempt: AttemptId, end: &AttemptEnd) {
        let Some(placed) = self.placed.get_mut(&attempt) else {
            // It never left: the launch was dropped on its way, or nobody has it to kill.
            if matches!(end, AttemptEnd::Exited { .. }) {
                course.violate(format!("{attempt} never ran, and {end:?} is told"));
            }
            return;
        };
        placed.is_told = true;
        let is_true = match end {
            AttemptEnd::Exited { code } => placed.end == Some(RunEnd::Exited(*code)),
            AttemptEnd::Killed => placed.is_excused || placed.end == Some(RunEnd::Killed),
            // What was dropped on its way must not start any more.
            AttemptEnd::Lost { .. } => {
                placed.is_excused || placed.end == Some(RunEnd::Died) || placed.started_at.is_none()
            }
            AttemptEnd::Signalled { .. }
            | AttemptEnd::OutOfMemory
            | AttemptEnd::OverLimit { .. }
            | AttemptEnd::NotStarted { .. }
            | AttemptEnd::Raised { .. } => false,
        };
        if !is_true {
            let (agent, real) = (&placed.agent, &placed.end);
            let what = format!(
                "{attempt} on {agent} is told to have ended by {end:?}; it did by {real:?}"
            );
            course.violate(what);
        }
    }

    /// A task was retried by hand: attempts up to this one may go on dying beside later ones.
    pub(super) fn retried(&mut self, task: TaskId, n_attempts: u32) {
        self.retried.insert(task, n_attempts);
        self.cancelled.remove(&task);
    }

    /// Somebody asks for a retry and may never know whether it came to that.
    pub(super) fn may_be_retried(&mut self, task: TaskId) {
        self.cancelled.remove(&task);
    }

    /// Somebody is told that a task is cancelled, or about to be.
    pub(super) fn cancelled(&mut self, task: TaskId, n_attempts: u32) {
        self.cancelled.insert(task, n_attempts);
    }

    /// The tasks of which somebody was told that they are cancelled.
    pub(super) fn all_cancelled(&self) -> impl Iterator<Item = TaskId> {
        self.cancelled.keys().copied()
    }
}
