//! The cluster of a scenario while it runs: engine, agents, attempts, and what is known of tasks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::Registry;

use super::super::agents::Agents;
use super::super::batch::{self, Done};
use super::{Pick, Scenario};
use crate::engine::outcome::{LossReason, Value};
use crate::engine::report::ChoiceReport;
use crate::engine::{
    AttemptEnd, AttemptId, Decision, Engine, Event, Fact, Refusal, Reply, Request, Submission,
    TaskId, TaskState, Time, Usage,
};

/// When scenarios begin. Any time would do.
const BEGINNING: Time = Time(0);

/// An attempt that holds resources.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) attempt: AttemptId,
    pub(super) agent: Arc<str>,
    pub(super) submission: Arc<Submission>,
    started_at: Time,
    /// When it ends by itself.
    ends_at: Option<Time>,
}

/// A task, live or ended.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) task: TaskId,
    pub(super) queue: Arc<str>,
    pub(super) name: Box<str>,
    run_time: Option<Duration>,
    pub(super) ended: Option<TaskState>,
}

/// An attempt that was launched.
#[derive(Clone, Debug)]
pub(super) struct Launched {
    pub(super) attempt: AttemptId,
    pub(super) queue: Arc<str>,
    pub(super) name: Box<str>,
    pub(super) agent: Arc<str>,
}

/// See the module's text.
pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) now: Time,
    pub(super) agents: Agents,
    /// In the order in which they were launched.
    pub(super) live: Vec<Live>,
    /// In the order of their ids.
    pub(super) tasks: Vec<Known>,
    /// Launched since the last `expect`.
    pub(super) launched: Vec<Launched>,
    /// Launched in the present step.
    pub(super) step_launched: Vec<Launched>,
    /// How those decisions fell, where that is recorded.
    pub(super) step_choices: Vec<ChoiceReport>,
    /// Refused since the last `expect`.
    pub(super) refused: Vec<Refusal>,
}

impl World {
    pub(super) fn new(scenario: &Scenario, registry: &Registry, record: bool) -> Self {
        let mut engine = Engine::with_registry(scenario.settings.clone(), registry.clone());
        engine.recovered(BEGINNING);
        engine.report_all_choices(record);
        let mut world = Self {
            engine,
            now: BEGINNING,
            agents: Agents::default(),
            live: Vec::new(),
            tasks: Vec::new(),
            launched: Vec::new(),
            step_launched: Vec::new(),
            step_choices: Vec::new(),
            refused: Vec::new(),
        };
        let joined: Vec<Event> = scenario
            .agents
            .iter()
            .map(|agent| world.agents.join(agent.clone()))
            .collect();
        world.batch(joined, []);
        world
    }

    /// One batch, and then those that its decisions bring about.
    pub(super) fn batch(
        &mut self,
        events: Vec<Event>,
        requests: impl IntoIterator<Item = Request>,
    ) -> Vec<Result<Reply, Refusal>> {
        let Done {
            facts,
            decisions,
            replies,
            choices,
        } = batch::run(&mut self.engine, self.now, events, requests);
        self.note(&facts);
        self.step_choices.extend(choices);
        let mut events = Vec::new();
        for decision in decisions {
            self.act(decision, &mut events);
        }
        if !events.is_empty() {
            self.batch(events, []);
        }
        replies
    }

    fn note(&mut self, facts: &[Fact]) {
        for fact in facts {
            if let Fact::Ended { task, outcome, .. } = fact
                && let Ok(place) = self.tasks.binary_search_by_key(task, |known| known.task)
            {
                self.tasks[place].ended = Some(TaskState::from(outcome.kind));
            }
        }
    }

    fn act(&mut self, decision: Decision, events: &mut Vec<Event>) {
        match decision {
            Decision::Accept {
                agent, launches, ..
            } => {
                self.agents.end_offers(&agent);
                for launch in launches {
                    let spec = &launch.submission.spec;
                    self.agents.launched(&agent, &spec.demand);
                    let launched = Launched {
                        attempt: launch.attempt,
                        queue: Arc::clone(&spec.queue),
                        name: spec.name.clone(),
                        agent: Arc::clone(&agent),
                    };
                    self.launched.push(launched.clone());
                    self.step_launched.push(launched);
                    let run_time = self
                        .find_known(launch.attempt.task)
                        .and_then(|it| it.run_time);
                    self.live.push(Live {
                        attempt: launch.attempt,
                        agent: Arc::clone(&agent),
                        submission: launch.submission,
                        started_at: self.now,
                        ends_at: run_time.map(|run_time| self.now.after(run_time)),
                    });
                    events.push(Event::AttemptStarted {
                        attempt: launch.attempt,
                    });
                }
            }
            Decision::Kill { attempt, .. } => {
                events.extend(self.end(attempt, AttemptEnd::Killed));
            }
            // Words to a cluster manager; nothing here listens.
            Decision::Decline { .. }
            | Decision::Suppress
            | Decision::Revive
            | Decision::Acknowledge { .. } => {}
        }
    }

    fn find_known(&self, task: TaskId) -> Option<&Known> {
        let place = self.tasks.binary_search_by_key(&task, |known| known.task);
        Some(&self.tasks[place.ok()?])
    }

    /// An attempt ends: its agent has its resources back. `None` where it has ended before.
    fn end(&mut self, attempt: AttemptId, end: AttemptEnd) -> Option<Event> {
        let place = self.live.iter().position(|live| live.attempt == attempt)?;
        let live = self.live.remove(place);
        self.agents.ended(&live.agent, &live.submission.spec.demand);
        Some(Event::AttemptEnded {
            attempt,
            end,
            usage: Usage {
                wall: self.now.since(live.started_at),
                ..Usage::default()
            },
            value: Value::default(),
        })
    }

    /// Attempts end so, in one batch.
    pub(super) fn end_all(&mut self, attempts: &[AttemptId], end: &AttemptEnd) {
        let ended = attempts.iter();
        let events: Vec<Event> = ended
            .filter_map(|attempt| self.end(*attempt, end.clone()))
            .collect();
        self.batch(events, []);
    }

    /// Submits one task; what is refused is kept for the next `expect`.
    pub(super) fn submit(
        &mut self,
        task: crate::engine::request::NewTask,
        run_time: Option<Duration>,
    ) {
        let (queue, name) = (Arc::clone(&task.spec.queue), task.spec.name.clone());
        let request = Request::Submit { tasks: vec![task] };
        for reply in self.batch(Vec::new(), [request]) {
            match reply {
                Ok(Reply::Submitted(accepted)) => {
                    for one in accepted.iter().filter(|one| one.created) {
                        for task in one.first.0..one.first.0 + u64::from(one.count) {
                            self.tasks.push(Known {
                                task: TaskId(task),
                                queue: Arc::clone(&queue),
                                name: name.clone(),
                                run_time,
                                ended: None,
                            });
                        }
                    }
                }
                Ok(Reply::State(_) | Reply::Done) => {}
                Err(refusal) => self.refused.push(refusal),
            }
        }
    }

    /// Asks for something else than a submission.
    pub(super) fn ask(&mut self, request: Request) {
        let replies = self.batch(Vec::new(), [request]);
        self.refused
            .extend(replies.into_iter().filter_map(Result::err));
    }

    /// Agents offer what is free, all in one batch; what nobody consumed is taken back.
    pub(super) fn offer(&mut self, names: &[Arc<str>]) {
        let offered: Vec<_> = names
            .iter()
            .filter_map(|name| self.agents.offer(name))
            .collect();
        let (offers, events): (Vec<_>, Vec<_>) = offered.into_iter().unzip();
        self.batch(events, []);
        self.engine.check_invariants();
        self.engine.check_work_conserving();
        let rescinded = offers.into_iter();
        let rescinded = rescinded.map(|offer| Event::OfferRescinded { offer });
        self.batch(rescinded.collect(), []);
        for name in names {
            self.agents.end_offers(name);
        }
    }

    /// An agent is lost with all that runs on it. False where it isn't there.
    pub(super) fn lose_agent(&mut self, name: &Arc<str>) -> bool {
        if !self.agents.lose(name) {
            return false;
        }
        let agent = Arc::clone(name);
        self.batch(vec![Event::AgentLost { agent }], []);
        let on_it = self.live.iter().filter(|live| live.agent == *name);
        let attempts: Vec<AttemptId> = on_it.map(|live| live.attempt).collect();
        let reason = LossReason::AgentLost;
        self.end_all(&attempts, &AttemptEnd::Lost { reason });
        true
    }

    /// Time passes: attempts end by themselves and timers fire, one point in time after the other.
    pub(super) fn advance(&mut self, span: Duration) {
        let until = self.now.after(span);
        loop {
            let ends = self.live.iter().filter_map(|live| live.ends_at).min();
            let next = [ends, self.engine.wake_at()].into_iter().flatten().min();
            let Some(next) = next.filter(|at| *at <= until) else {
                break;
            };
            self.now = next.max(self.now);
            let is_over = |live: &&Live| live.ends_at.is_some_and(|at| at <= self.now);
            let over: Vec<AttemptId> = self
                .live
                .iter()
                .filter(is_over)
                .map(|live| live.attempt)
                .collect();
            self.end_all(&over, &AttemptEnd::Exited { code: 0 });
        }
        self.now = until;
        self.batch(Vec::new(), []);
    }

    /// The attempts that are meant, in the order in which they were launched.
    pub(super) fn pick_attempts(&self, pick: &Pick) -> Vec<AttemptId> {
        let meant = self.live.iter().filter(|live| {
            let spec = &live.submission.spec;
            pick.meets(&spec.queue, &spec.name)
                && pick.agent.as_ref().is_none_or(|agent| *agent == live.agent)
        });
        let count = pick.count.unwrap_or(usize::MAX);
        meant.map(|live| live.attempt).take(count).collect()
    }

    /// The live tasks that are meant, the oldest first.
    pub(super) fn pick_tasks(&self, pick: &Pick) -> Vec<TaskId> {
        let on_agent = |task: TaskId| {
            pick.agent.as_ref().is_none_or(|agent| {
                let mut live = self.live.iter();
                live.any(|live| live.attempt.task == task && live.agent == *agent)
            })
        };
        let meant = self.tasks.iter().filter(|known| {
            known.ended.is_none() && pick.meets(&known.queue, &known.name) && on_agent(known.task)
        });
        let count = pick.count.unwrap_or(usize::MAX);
        meant.map(|known| known.task).take(count).collect()
    }

    /// The oldest task of each name asked for.
    pub(super) fn named(&self, name: &str) -> Option<&Known> {
        self.tasks.iter().find(|known| *known.name == *name)
    }

    /// How many attempts run, by agent.
    pub(super) fn running_on(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for live in &self.live {
            *counts.entry(&*live.agent).or_insert(0) += 1;
        }
        counts
    }
}

impl Pick {
    fn meets(&self, queue: &str, name: &str) -> bool {
        let below = |above: &Arc<str>| {
            let rest = queue.strip_prefix(&**above);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.queue.as_ref().is_none_or(below) && self.name.as_ref().is_none_or(|it| **it == *name)
    }
}
