//! Runs a scenario to its end, or to the first step that doesn't go as it says.

use std::sync::Arc;

use apportion_policies::{Amount, Registry, Share};

use super::actual::actual;
use super::world::World;
use super::{Action, Check, End, Pick, Scenario, Shown, Step, Subject};
use crate::engine::outcome::LossReason;
use crate::engine::report;
use crate::engine::request::ByName;
use crate::engine::{AttemptEnd, AttemptId, Request, TaskState};

/// How a scenario went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What each step did, up to the one that failed.
    pub steps: Vec<StepReport>,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
}

/// A step that didn't go as the scenario says.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its number.
    pub step: String,
    /// Its line in the file.
    pub line: usize,
    /// What is wrong. Never empty.
    pub mismatches: Vec<Mismatch>,
}

/// What was expected and what came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// What was looked at.
    pub subject: String,
    /// As expected.
    pub expected: String,
    /// As it is.
    pub actual: String,
}

/// What a step did, and how things stand after it.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Its number.
    pub step: String,
    /// Its line in the file.
    pub line: usize,
    /// Its kind: the key of the step.
    pub kind: &'static str,
    /// What was decided in it, in order.
    pub decisions: Vec<Decided>,
    /// The leaves with work, in the order in which they would be served.
    pub order: Vec<Arc<str>>,
    /// All leaves, as configured.
    pub queues: Vec<QueueLine>,
}

/// One decision: a launch.
#[derive(Clone, Debug)]
pub struct Decided {
    /// The attempt that was launched.
    pub attempt: AttemptId,
    /// The task's name.
    pub name: Box<str>,
    /// Its queue.
    pub queue: Arc<str>,
    /// Where it runs.
    pub agent: Arc<str>,
    /// Why: at each queue on its path, from the top down, who could have gone. Empty for what a claim started.
    pub compared: Vec<report::StepReport>,
}

/// A leaf after a step.
#[derive(Clone, Debug)]
pub struct QueueLine {
    /// The whole path.
    pub path: Arc<str>,
    /// Tasks that wait or are queued.
    pub n_waiting: u64,
    /// Attempts that hold resources.
    pub n_running: u64,
    /// What they hold.
    pub used: ByName<Amount>,
    /// The same over all there is.
    pub share: ByName<Share>,
    /// The largest of these.
    pub dominant_share: Share,
}

/// Runs a scenario. With `record`, reports each step.
///
/// # Panics
/// If the settings name a policy that the registry doesn't know, or the engine breaks an invariant.
#[must_use]
pub fn run(scenario: &Scenario, registry: &Registry, record: bool) -> Outcome {
    let mut runner = Runner {
        world: World::new(scenario, registry, record),
        steps: Vec::new(),
        record,
    };
    let ended = runner.run_all(&scenario.steps).and_then(|()| {
        let last = scenario.steps.last();
        last.map_or(Ok(()), |step| runner.check_refused(step, &[]))
    });
    Outcome {
        steps: runner.steps,
        failure: ended.err(),
    }
}

struct Runner {
    world: World,
    steps: Vec<StepReport>,
    record: bool,
}

impl Runner {
    fn run_all(&mut self, steps: &[Step]) -> Result<(), Failure> {
        for step in steps {
            let done = self.run_step(step);
            if self.record && !matches!(step.action, Action::Repeat { .. }) {
                self.report(step);
            }
            self.world.step_launched.clear();
            self.world.step_choices.clear();
            done?;
        }
        Ok(())
    }

    fn run_step(&mut self, step: &Step) -> Result<(), Failure> {
        let world = &mut self.world;
        match &step.action {
            Action::Submit {
                task,
                count,
                run_time,
            } => {
                for _ in 0..*count {
                    world.submit((**task).clone(), *run_time);
                }
            }
            Action::Offer(agents) => {
                let names = agents.clone().unwrap_or_else(|| world.agents.present());
                world.offer(&names);
            }
            Action::Expect(checks) => return self.expect(step, checks),
            Action::Finish { pick, end } => return self.finish(step, pick, *end),
            Action::Advance(span) => world.advance(*span),
            Action::Outside(amounts) => {
                for (resource, used) in amounts {
                    world.ask(Request::ReportOutside {
                        resource: Arc::clone(resource),
                        used: *used,
                    });
                }
            }
            Action::Cancel(pick) => {
                let tasks = world.pick_tasks(pick);
                enough(step, "cancel", pick, tasks.len())?;
                for task in tasks {
                    let reason = None;
                    world.ask(Request::Cancel { task, reason });
                }
            }
            Action::Reload(settings) => {
                let settings = settings.clone();
                world.ask(Request::Reload { settings });
            }
            Action::Agent(spec) => {
                let joined = world.agents.join(spec.clone());
                world.batch(vec![joined], []);
            }
            Action::AgentReturns(name) => {
                if let Some(spec) = world.agents.find_spec(name).cloned() {
                    let joined = world.agents.join(spec);
                    world.batch(vec![joined], []);
                }
            }
            Action::AgentLost(name) => {
                if !world.lose_agent(name) {
                    let expected = format!("{name} is there");
                    return Err(mismatch(
                        step,
                        "agent_lost",
                        expected,
                        "it isn't".to_owned(),
                    ));
                }
            }
            Action::Repeat { times, steps } => {
                for _ in 0..*times {
                    self.run_all(steps)?;
                }
            }
        }
        self.world.engine.check_invariants();
        Ok(())
    }

    fn finish(&mut self, step: &Step, pick: &Pick, end: End) -> Result<(), Failure> {
        let attempts = self.world.pick_attempts(pick);
        enough(step, "finish", pick, attempts.len())?;
        let end = match end {
            End::Succeeded => AttemptEnd::Exited { code: 0 },
            End::Failed => AttemptEnd::Exited { code: 1 },
            End::Lost => AttemptEnd::Lost {
                reason: LossReason::ExecutorLost,
            },
        };
        self.world.end_all(&attempts, &end);
        Ok(())
    }

    fn expect(&mut self, step: &Step, checks: &[Check]) -> Result<(), Failure> {
        let mut mismatches = Vec::new();
        for check in checks {
            let actual = actual(&self.world, check.subject, &check.expected);
            if actual != check.expected {
                mismatches.push(Mismatch {
                    subject: check.subject.key().to_owned(),
                    expected: check.expected.to_string(),
                    actual: actual.to_string(),
                });
            }
        }
        if !mismatches.is_empty() {
            return Err(Failure {
                step: step.number.clone(),
                line: step.line,
                mismatches,
            });
        }
        self.check_refused(step, checks)?;
        self.world.launched.clear();
        self.world.refused.clear();
        Ok(())
    }

    /// What was refused and isn't expected to be is a failure.
    fn check_refused(&self, step: &Step, checks: &[Check]) -> Result<(), Failure> {
        let is_expected = checks.iter().any(|check| check.subject == Subject::Refused);
        if is_expected || self.world.refused.is_empty() {
            return Ok(());
        }
        let refused = self.world.refused.iter();
        let refused = refused.map(|refusal| format!("{} ({refusal})", refusal.code()));
        let refused = refused.collect::<Vec<_>>().join(", ");
        Err(mismatch(
            step,
            "refused",
            "[]".to_owned(),
            format!("[{refused}]"),
        ))
    }

    fn compared_for(&self, attempt: AttemptId) -> Vec<report::StepReport> {
        let mut choices = self.world.step_choices.iter();
        let choice = choices.find(|choice| choice.attempt == attempt);
        choice.map_or_else(Vec::new, |choice| choice.steps.clone())
    }

    fn report(&mut self, step: &Step) {
        let decisions = self.world.step_launched.iter().map(|launched| Decided {
            attempt: launched.attempt,
            name: launched.name.clone(),
            queue: Arc::clone(&launched.queue),
            agent: Arc::clone(&launched.agent),
            compared: self.compared_for(launched.attempt),
        });
        let queues = self.world.engine.queues();
        let leaves = queues.into_iter().filter(|queue| queue.is_leaf);
        let queues = leaves.map(|queue| {
            let count = |states: &[TaskState]| {
                let counted = queue.tasks.iter();
                let counted = counted.filter(|(state, _)| states.contains(state));
                counted.map(|(_, n_tasks)| n_tasks).sum()
            };
            QueueLine {
                n_waiting: count(&[TaskState::Waiting, TaskState::Queued]),
                n_running: count(&[
                    TaskState::Launching,
                    TaskState::Running,
                    TaskState::Cancelling,
                ]),
                path: queue.path,
                used: queue.used,
                share: queue.share,
                dominant_share: queue.dominant_share,
            }
        });
        self.steps.push(StepReport {
            step: step.number.clone(),
            line: step.line,
            kind: step.action.key(),
            decisions: decisions.collect(),
            order: self.world.engine.order(),
            queues: queues.collect(),
        });
    }
}

impl Action {
    /// The key of the step.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::Submit { .. } => "submit",
            Self::Offer(_) => "offer",
            Self::Expect(_) => "expect",
            Self::Finish { .. } => "finish",
            Self::Advance(_) => "advance",
            Self::Outside(_) => "outside",
            Self::Cancel(_) => "cancel",
            Self::Reload(_) => "reload",
            Self::Agent(_) | Self::AgentReturns(_) => "agent",
            Self::AgentLost(_) => "agent_lost",
            Self::Repeat { .. } => "repeat",
        }
    }
}

/// Whether as many are there as are meant.
fn enough(step: &Step, subject: &str, pick: &Pick, found: usize) -> Result<(), Failure> {
    let wanted = pick.count.unwrap_or(1);
    if found >= wanted {
        return Ok(());
    }
    let expected = format!("{wanted} or more of {}", Shown::from(pick));
    Err(mismatch(step, subject, expected, found.to_string()))
}

fn mismatch(step: &Step, subject: &str, expected: String, actual: String) -> Failure {
    Failure {
        step: step.number.clone(),
        line: step.line,
        mismatches: vec![Mismatch {
            subject: subject.to_owned(),
            expected,
            actual,
        }],
    }
}

impl From<&Pick> for Shown {
    fn from(pick: &Pick) -> Self {
        let pairs = [
            ("queue", pick.queue.as_deref()),
            ("name", pick.name.as_deref()),
            ("agent", pick.agent.as_deref()),
        ];
        let named = pairs.into_iter();
        let named = named.filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())));
        Self::ByName(named.collect())
    }
}
