//! Scenario files: what is read and small is also played, in the simulator with all checks of the engine.

use std::time::Duration;

use apportion::config;
use apportion::policies::Registry;
use apportion::sim::scenario::{self, Action, Step};

/// The most tasks that are submitted, and steps that are made. More are no other code, only more time.
const TASKS_MAX: u64 = 300;
const STEPS_MAX: u64 = 300;

/// The most time that passes.
const TIME_MAX: Duration = Duration::from_secs(3600);

/// How much a scenario does.
#[derive(Clone, Copy, Default)]
struct Size {
    tasks: u64,
    steps: u64,
    time: Duration,
}

impl Size {
    fn of(steps: &[Step]) -> Self {
        let mut size = Self::default();
        for step in steps {
            size.steps = size.steps.saturating_add(1);
            match &step.action {
                Action::Submit { task, count, .. } => {
                    let each = u64::from(task.spec.count());
                    let tasks = u64::from(*count).saturating_mul(each);
                    size.tasks = size.tasks.saturating_add(tasks);
                }
                Action::Advance(time) => size.time = size.time.saturating_add(*time),
                Action::Repeat { times, steps } => {
                    let inner = Self::of(steps);
                    let n_times = u64::from(*times);
                    size.tasks = (inner.tasks.saturating_mul(n_times)).saturating_add(size.tasks);
                    size.steps = (inner.steps.saturating_mul(n_times)).saturating_add(size.steps);
                    size.time = (inner.time.saturating_mul(*times)).saturating_add(size.time);
                }
                Action::Offer(_)
                | Action::Expect(_)
                | Action::Finish { .. }
                | Action::Outside(_)
                | Action::Cancel(_)
                | Action::Reload(_)
                | Action::Agent(_)
                | Action::AgentReturns(_)
                | Action::AgentLost(_) => {}
            }
        }
        size
    }

    fn is_small(self) -> bool {
        self.tasks <= TASKS_MAX && self.steps <= STEPS_MAX && self.time <= TIME_MAX
    }
}

pub(crate) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let registry = Registry::default();
    match config::scenario::parse(&text, &registry) {
        Ok(scenario) if Size::of(&scenario.steps).is_small() => {
            let outcome = scenario::run(&scenario, &registry, true);
            if let Some(failure) = outcome.failure {
                assert!(!failure.mismatches.is_empty());
            }
        }
        Ok(_) => {}
        Err(errors) => {
            assert!(!errors.errors.is_empty() && !errors.to_string().is_empty());
        }
    }
}
