//! What the scheduler owes whatever it knows from Mesos: to learn in time what is over, and to be patient with what
//! is only out of contact.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of facts, only a few kinds mean something here"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::cluster::is_terminal;
use super::course::{Millis, SECOND};
use super::happening::Happening;
use super::world::World;
use crate::engine::outcome::LossReason;
use crate::engine::{AttemptEnd, AttemptId, Fact, Time};
use crate::proto::mesos::v1::{TaskState, TaskStatus};

/// So often it is looked at what the scheduler doesn't know yet.
const LOOK_EVERY: Millis = 10 * SECOND;

/// So long a subscription may last until the scheduler knows what its master would tell: of what has not answered
/// it asks ever more rarely, at last every five minutes, and what is out of contact it waits for.
const LEARNS_WITHIN: Millis = 420 * SECOND;

/// What is out of contact is waited for so long.
pub(super) const UNREACHABLE_FOR: Duration = Duration::from_secs(60);

/// What is held against the scheduler.
#[derive(Debug, Default)]
pub(super) struct Promises {
    /// The attempts that live as far as was committed, with their agents.
    live: BTreeMap<AttemptId, Arc<str>>,
    /// Those of them that are over, as the master would say, and since when it was seen, by one subscription.
    over_since: BTreeMap<AttemptId, Millis>,
    /// The subscription.
    stream: Option<u64>,
    /// Attempts that are out of contact, as this daemon was told, by its session's clock.
    unreachable_since: BTreeMap<AttemptId, Time>,
    /// Attempts that are over, as this daemon was told: what comes later and says less is older.
    over: BTreeSet<AttemptId>,
}

impl Promises {
    /// Mesos tells a status of an attempt.
    pub(super) fn heard(&mut self, now: Time, attempt: AttemptId, status: &TaskStatus) {
        let state = status.state();
        if is_terminal(state) {
            self.over.insert(attempt);
        }
        if state == TaskState::TaskUnreachable && !self.over.contains(&attempt) {
            self.unreachable_since.entry(attempt).or_insert(now);
        } else {
            self.unreachable_since.remove(&attempt);
        }
    }

    /// A new daemon has heard nothing yet.
    pub(super) fn start(&mut self) {
        self.unreachable_since.clear();
        self.over.clear();
        self.stream = None;
    }

    /// A fact is durable. Says what is wrong with it.
    pub(super) fn committed(&mut self, now: Time, fact: &Fact) -> Option<String> {
        match fact {
            Fact::Launched { attempt, agent, .. } => {
                self.live.insert(*attempt, Arc::clone(agent));
                None
            }
            Fact::AttemptEnded { attempt, end, .. } => {
                self.live.remove(attempt);
                self.over_since.remove(attempt);
                self.over.remove(attempt);
                let since = self.unreachable_since.remove(attempt)?;
                let reason = LossReason::AgentLost;
                let waited = now.since(since);
                let is_hasty = *end == AttemptEnd::Lost { reason } && waited < UNREACHABLE_FOR;
                is_hasty.then(|| {
                    format!(
                        "{attempt} is given up after {waited:?} out of contact; it may be alive"
                    )
                })
            }
            _ => None,
        }
    }

    /// What became of the attempts that live, by the word of the master that is subscribed to; `None` where
    /// nothing is, or the scheduler can't listen. Says what it should know by now.
    fn look(
        &mut self,
        now: Millis,
        stream: Option<u64>,
        is_over: impl Fn(AttemptId, &str) -> bool,
    ) -> Option<String> {
        if stream.is_none() || stream != self.stream {
            self.stream = stream;
            self.over_since.clear();
        }
        stream?;
        for (attempt, agent) in &self.live {
            if is_over(*attempt, agent) {
                self.over_since.entry(*attempt).or_insert(now);
            } else {
                self.over_since.remove(attempt);
            }
        }
        let (attempt, since) = self.over_since.iter().min_by_key(|(_, since)| **since)?;
        let seconds = (now - since) / SECOND;
        (now - since > LEARNS_WITHIN).then(|| {
            format!("{attempt} is over, as Mesos would say for {seconds} s, and the scheduler waits for it")
        })
    }
}

impl World {
    /// Looks at what the scheduler should know; and again later.
    pub(super) fn look(&mut self) {
        self.course.plan(LOOK_EVERY, Happening::Look);
        let stream = self.cluster.master.stream();
        let heard = stream.map(|stream| (stream.number, stream.life, stream.generation));
        let heard = heard.filter(|(_, life, generation)| self.hears(*life, *generation));
        let can_listen = self
            .daemon
            .as_ref()
            .is_some_and(|daemon| !daemon.is_stalled);
        let stream = heard.map(|(number, ..)| number).filter(|_| can_listen);
        let cluster = &self.cluster;
        let is_over =
            |attempt: AttemptId, agent: &str| cluster.is_over(&attempt.to_string(), agent);
        let late = self.promises.look(self.course.now, stream, is_over);
        if let Some(what) = late {
            self.course.violate(what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{TaskId, Usage};

    const ATTEMPT: AttemptId = AttemptId {
        task: TaskId(1),
        number: 1,
    };

    /// What is held against a scheduler that gives up at once what it hears these of.
    fn given_up_after(heard: &[TaskState]) -> Option<String> {
        let mut promises = Promises::default();
        let now = Time(0);
        for state in heard {
            let status = TaskStatus {
                state: *state as i32,
                ..TaskStatus::default()
            };
            promises.heard(now, ATTEMPT, &status);
        }
        let reason = LossReason::AgentLost;
        let ended = Fact::AttemptEnded {
            attempt: ATTEMPT,
            end: AttemptEnd::Lost { reason },
            usage: Usage::default(),
            at: now,
        };
        promises.committed(now, &ended)
    }

    #[test]
    fn only_what_is_out_of_contact_is_owed_patience() {
        use TaskState::{TaskGone, TaskRunning, TaskUnreachable};
        assert_eq!(given_up_after(&[TaskGone]), None);
        let hasty = given_up_after(&[TaskRunning, TaskUnreachable]).unwrap();
        assert!(hasty.contains("given up"), "{hasty}");
        assert_eq!(given_up_after(&[TaskUnreachable, TaskRunning]), None);
        // Messages overtake one another.
        assert_eq!(given_up_after(&[TaskGone, TaskUnreachable]), None);
    }
}
