//! A simulated local backend: one machine, whose attempts vanish when the daemon dies.

use std::collections::BTreeMap;
use std::sync::Arc;

use apportion_policies::Amount;

use super::course::{Course, Millis};
use super::happening::{Happening, Life};
use super::script;
use super::truth::{RunEnd, Truth};
use crate::engine::event::OfferId;
use crate::engine::outcome::{AttemptEnd, LossReason, Usage, Value};
use crate::engine::request::ByName;
use crate::engine::spec::Run;
use crate::engine::{AttemptId, Decision, Event};

/// The one agent.
const AGENT: &str = "local";

/// What it has, in thousandths.
const TOTAL: [(&str, u64); 2] = [("cpus", 4000), ("mem", 512_000)];

/// An attempt that runs.
struct Running {
    demand: ByName<Amount>,
    code: i32,
}

/// This machine as a backend, for one life of the daemon.
pub(super) struct Local {
    running: BTreeMap<AttemptId, Running>,
    offers: BTreeMap<OfferId, ByName<Amount>>,
    n_offers: u64,
    /// To be told when it starts.
    lost: Vec<AttemptId>,
}

fn total() -> ByName<Amount> {
    let amount = |milli| Amount::from_milli(milli).unwrap_or(Amount::MAX);
    TOTAL
        .map(|(name, milli)| (Arc::from(name), amount(milli)))
        .into()
}

fn ended(attempt: AttemptId, end: AttemptEnd) -> Event {
    Event::AttemptEnded {
        attempt,
        end,
        usage: Usage::default(),
        value: Value::default(),
    }
}

impl Local {
    /// After these lived when the last daemon stopped.
    pub(super) fn new(attempts: &[AttemptId]) -> Self {
        Self {
            running: BTreeMap::new(),
            offers: BTreeMap::new(),
            n_offers: 0,
            lost: attempts.to_vec(),
        }
    }

    /// Its first words: the agent, what was lost, and all that is free.
    pub(super) fn begin(&mut self) -> Vec<Event> {
        let mut events = vec![Event::AgentSeen {
            agent: AGENT.into(),
            total: total(),
            attributes: BTreeMap::new(),
        }];
        let reason = LossReason::DaemonRestarted;
        let lost = std::mem::take(&mut self.lost).into_iter();
        events.extend(lost.map(|attempt| ended(attempt, AttemptEnd::Lost { reason })));
        events.push(self.offer(total()));
        events
    }

    fn offer(&mut self, free: ByName<Amount>) -> Event {
        self.n_offers += 1;
        let offer = OfferId(self.n_offers);
        self.offers.insert(offer, free.clone());
        Event::OfferReceived {
            offer,
            agent: AGENT.into(),
            free,
        }
    }

    /// Carries a decision out.
    pub(super) fn act(
        &mut self,
        course: &mut Course,
        truth: &mut Truth,
        life: Life,
        decision: Decision,
    ) -> Vec<Event> {
        match decision {
            Decision::Accept {
                offers, launches, ..
            } => {
                let mut left = ByName::<Amount>::new();
                for offer in offers {
                    let Some(free) = self.offers.remove(&offer) else {
                        course.violate(format!("offer {} is used twice", offer.0));
                        return Vec::new();
                    };
                    for (name, amount) in free {
                        let sum = left.entry(name).or_default();
                        *sum = sum.saturating_add(amount);
                    }
                }
                let mut events = Vec::new();
                for launch in launches {
                    let spec = &launch.submission.spec;
                    let demand = hosts_of(&spec.demand);
                    for (name, amount) in &demand {
                        let free = left.entry(Arc::clone(name)).or_default();
                        match free.checked_sub(*amount) {
                            Some(rest) => *free = rest,
                            None => course.violate(format!("{} has too little", launch.attempt)),
                        }
                    }
                    let Run::Command(command) = &spec.run else {
                        continue;
                    };
                    events.extend(self.start(course, truth, life, launch.attempt, command, demand));
                }
                left.retain(|_, amount| !amount.is_zero());
                events.push(self.offer(left));
                events
            }
            Decision::Kill { attempt, grace } => {
                if !self.running.contains_key(&attempt) {
                    return vec![ended(attempt, AttemptEnd::Killed)];
                }
                let wait = course.between(0, grace.as_millis() as Millis);
                course.plan(wait, Happening::LocalDies(life, attempt));
                Vec::new()
            }
            Decision::Decline { .. } | Decision::Suppress | Decision::Revive => {
                course.violate("a local offer is declined".to_owned());
                Vec::new()
            }
            Decision::Acknowledge { .. } => Vec::new(),
        }
    }

    fn start(
        &mut self,
        course: &mut Course,
        truth: &mut Truth,
        life: Life,
        attempt: AttemptId,
        command: &str,
        demand: ByName<Amount>,
    ) -> Option<Event> {
        let act = script::act(command, attempt.number)?;
        truth.placed(attempt, AGENT);
        truth.started(course, attempt);
        course.tell("machine", || format!("runs {attempt}"));
        let code = act.code;
        self.running.insert(attempt, Running { demand, code });
        course.plan(act.runs, Happening::LocalEnds(life, attempt));
        Some(Event::AttemptStarted { attempt })
    }

    /// Everything is ended.
    pub(super) fn shut_down(&mut self, truth: &mut Truth) -> Vec<Event> {
        let running = std::mem::take(&mut self.running).into_keys();
        let killed = running.map(|attempt| {
            truth.ended(attempt, RunEnd::Killed);
            ended(attempt, AttemptEnd::Killed)
        });
        killed.collect()
    }

    /// An attempt ends, by itself or because it was told so.
    pub(super) fn ends(
        &mut self,
        course: &mut Course,
        truth: &mut Truth,
        attempt: AttemptId,
        is_killed: bool,
    ) -> Vec<Event> {
        let Some(running) = self.running.remove(&attempt) else {
            return Vec::new();
        };
        let code = running.code;
        let (run_end, end) = if is_killed {
            (RunEnd::Killed, AttemptEnd::Killed)
        } else {
            (RunEnd::Exited(code), AttemptEnd::Exited { code })
        };
        course.tell("machine", || format!("ends {attempt}: {run_end:?}"));
        truth.ended(attempt, run_end);
        vec![ended(attempt, end), self.offer(running.demand)]
    }
}

fn hosts_of(demand: &ByName<Amount>) -> ByName<Amount> {
    let is_host = |name: &str| TOTAL.iter().any(|(known, _)| *known == name);
    let hosts = demand.iter().filter(|(name, _)| is_host(name));
    hosts
        .map(|(name, amount)| (Arc::clone(name), *amount))
        .collect()
}
