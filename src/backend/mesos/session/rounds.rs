//! What Mesos owes an answer for: reconciliation in rounds, and everything else that is due with time.
//!
//! A round asks about attempts until each has been heard of, ever more rarely: of agents that are still coming
//! back, Mesos says nothing. Then it asks once for everything that Mesos knows, which shows strays.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Session, kind};
use crate::engine::outcome::LossReason;
use crate::engine::{AttemptId, Time};
use crate::proto::mesos::v1::scheduler::{Call, call};
use crate::proto::mesos::v1::{AgentId, TaskId};

/// The wait for answers before asking again; doubled each time.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// The longest such wait.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5 * 60);

/// All attempts are asked about again after so long.
const ROUND_EVERY: Duration = Duration::from_secs(10 * 60);

/// An attempt that doesn't run and of which nothing was heard is asked about after so long: an executor that doesn't
/// come up is given up by its agent after a minute.
const LAUNCH_WATCH: Duration = Duration::from_secs(120);

/// How often attempts of which nothing was heard are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The most tasks of one call.
const TASKS_MAX: usize = 1000;

/// Attempts to be heard of.
#[derive(Debug)]
pub(super) struct Round {
    /// Those of which nothing was heard yet.
    pub(super) remaining: BTreeSet<AttemptId>,
    ask_at: Time,
    wait: Duration,
}

impl Session {
    /// Starts to ask about everything.
    pub(super) fn start_round(&mut self, now: Time) {
        let remaining = self.all_attempts();
        self.round_due = now.after(ROUND_EVERY);
        self.round = Some(Round {
            remaining,
            ask_at: now,
            wait: ANSWER_WAIT,
        });
        self.ask_now(now);
        // Everything that the master knows, for what nobody here does.
        self.call(Call {
            reconcile: Some(call::Reconcile { tasks: Vec::new() }),
            ..kind(call::Type::Reconcile)
        });
    }

    /// An answer was too early.
    pub(super) fn ask_again(&mut self, attempt: AttemptId) {
        if let Some(round) = &mut self.round {
            round.remaining.insert(attempt);
        }
    }

    /// Asks about the attempts of an agent of which there was bad news.
    pub(super) fn ask_about_agent(&mut self, now: Time, agent: &str) {
        let on_it = self.attempts.iter();
        let on_it: Vec<AttemptId> = on_it
            .filter(|(_, live)| &*live.agent == agent)
            .map(|(attempt, _)| *attempt)
            .collect();
        self.ask_about(now, on_it);
    }

    pub(super) fn ask_about(&mut self, now: Time, attempts: Vec<AttemptId>) {
        if attempts.is_empty() || !self.link.is_subscribed() {
            return;
        }
        let round = self.round.get_or_insert(Round {
            remaining: BTreeSet::new(),
            ask_at: now,
            wait: ANSWER_WAIT,
        });
        round.remaining.extend(attempts);
        round.ask_at = round.ask_at.min(now);
    }

    /// Asks about what remains, if it is time.
    fn ask_now(&mut self, now: Time) {
        let Some(round) = &mut self.round else { return };
        if round.remaining.is_empty() {
            self.round = None;
            return;
        }
        if round.ask_at > now {
            return;
        }
        round.ask_at = now.after(round.wait);
        round.wait = (round.wait * 2).min(ANSWER_WAIT_MAX);
        let tasks = round.remaining.iter().map(|attempt| {
            let agent = self.attempts.get(attempt).map(|live| AgentId {
                value: live.agent.to_string(),
            });
            call::reconcile::Task {
                task_id: TaskId {
                    value: attempt.to_string(),
                },
                agent_id: agent,
            }
        });
        let tasks: Vec<call::reconcile::Task> = tasks.collect();
        for tasks in tasks.chunks(TASKS_MAX) {
            self.call(Call {
                reconcile: Some(call::Reconcile {
                    tasks: tasks.to_vec(),
                }),
                ..kind(call::Type::Reconcile)
            });
        }
    }

    /// Does what is due. To be called when [`Session::wake_at`] says so; more often does no harm.
    pub(crate) fn tick(&mut self, now: Time) {
        self.tick_link(now);
        if self.link.is_subscribed() {
            self.ask_now(now);
            self.kill_again(now, false);
            self.look_for_silent(now);
            if self.round.is_none() && self.round_due <= now {
                self.start_round(now);
            }
        }
        self.give_up_unreachable(now);
    }

    fn look_for_silent(&mut self, now: Time) {
        if now < self.look_at {
            return;
        }
        self.look_at = now.after(LOOK_EVERY);
        let mut silent = Vec::new();
        for (attempt, live) in &mut self.attempts {
            // Also of what Mesos knew: it tells only once that a launch came to nothing.
            let is_new = live.launched_at.is_some() && !live.is_started;
            if is_new && live.heard_at.after(LAUNCH_WATCH) <= now {
                live.heard_at = now;
                silent.push(*attempt);
            }
        }
        self.ask_about(now, silent);
    }

    /// What has been out of contact for too long is given up. Should it come back, it is killed.
    fn give_up_unreachable(&mut self, now: Time) {
        let patience = self.settings.config.unreachable_for;
        let due: Vec<AttemptId> = (self.unreachable.iter())
            .filter(|(_, since)| since.after(patience) <= now)
            .map(|(attempt, _)| *attempt)
            .collect();
        for attempt in due {
            self.lose(attempt, LossReason::AgentLost);
        }
    }

    /// When [`Session::tick`] should be called at the latest.
    pub(crate) fn wake_at(&self) -> Option<Time> {
        let patience = self.settings.config.unreachable_for;
        let unreachable = self.unreachable.values().min();
        let mut due = vec![
            self.link_wakes_at(),
            unreachable.map(|since| since.after(patience)),
        ];
        if self.link.is_subscribed() {
            due.push(self.round.as_ref().map(|round| round.ask_at));
            due.push(Some(self.round_due).filter(|_| self.round.is_none()));
            due.push(self.kills.values().map(|wanted| wanted.again_at).min());
            due.push(self.strays.values().min().copied());
            due.push(Some(self.look_at).filter(|_| !self.attempts.is_empty()));
        }
        due.into_iter().flatten().min()
    }
}
