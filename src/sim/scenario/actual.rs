//! What is to be seen in a scenario's cluster now, in the form in which it is compared.

use std::collections::BTreeMap;

use crate::engine::TaskState;
use crate::engine::report::{QueueReport, fairness_error};

use super::world::World;
use super::{Shown, Subject, rounded};

/// What a check of this subject sees, as far as `expected` asks for it.
pub(super) fn actual(world: &World, subject: Subject, expected: &Shown) -> Shown {
    let launched = world.launched.iter();
    match subject {
        Subject::Launched => list(launched.map(|launched| launched.queue.to_string())),
        Subject::LaunchedNames => list(launched.map(|launched| launched.name.to_string())),
        Subject::LaunchedOn => list(launched.map(|launched| launched.agent.to_string())),
        Subject::Refused => list(
            world
                .refused
                .iter()
                .map(|refusal| refusal.code().to_owned()),
        ),
        Subject::Order => list(world.engine.order().iter().map(ToString::to_string)),
        Subject::LaunchedCounts => by_name(expected, |queue| {
            let below = launched.clone().filter(|launched| {
                let rest = launched.queue.strip_prefix(queue);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            });
            below.count().to_string()
        }),
        Subject::Running => by_queue(world, expected, |queue| {
            let holding = [
                TaskState::Launching,
                TaskState::Running,
                TaskState::Cancelling,
            ];
            count(queue, &holding).to_string()
        }),
        Subject::Waiting => by_queue(world, expected, |queue| {
            count(queue, &[TaskState::Waiting, TaskState::Queued]).to_string()
        }),
        Subject::Unsatisfiable => {
            by_queue(world, expected, |queue| queue.n_unsatisfiable.to_string())
        }
        Subject::DominantShare => {
            by_queue(world, expected, |queue| queue.dominant_share.to_string())
        }
        Subject::Entitlement => by_queue(world, expected, |queue| rounded(queue.entitlement)),
        Subject::FairnessError => Shown::Number(rounded(fairness_error(&world.engine.queues()))),
        Subject::Claims => by_name(expected, |name| claim(world, name)),
        Subject::Used => by_queue_and_resource(world, expected, |queue, resource| {
            queue.used.get(resource).map(ToString::to_string)
        }),
        Subject::Share => by_queue_and_resource(world, expected, |queue, resource| {
            queue.share.get(resource).map(ToString::to_string)
        }),
        Subject::State => by_name(expected, |name| state(world, name)),
        Subject::Why => by_name(expected, |name| why(world, name)),
        Subject::Agents => {
            let running_on = world.running_on();
            by_name(expected, |agent| {
                running_on.get(agent).copied().unwrap_or(0).to_string()
            })
        }
    }
}

fn list(items: impl Iterator<Item = String>) -> Shown {
    Shown::List(items.collect())
}

/// What is seen of each name that is asked for.
fn by_name(expected: &Shown, seen: impl Fn(&str) -> String) -> Shown {
    let names = match expected {
        Shown::ByName(map) => map.keys().cloned().collect(),
        Shown::Number(_) | Shown::List(_) | Shown::ByNames(_) => Vec::new(),
    };
    let pairs = names.into_iter().map(|name| {
        let seen = seen(&name);
        (name, seen)
    });
    Shown::ByName(pairs.collect())
}

fn by_queue(world: &World, expected: &Shown, seen: impl Fn(&QueueReport) -> String) -> Shown {
    let queues = world.engine.queues();
    by_name(expected, |path| match find(&queues, path) {
        Some(queue) => seen(queue),
        None => "no such queue".to_owned(),
    })
}

fn by_queue_and_resource(
    world: &World,
    expected: &Shown,
    seen: impl Fn(&QueueReport, &str) -> Option<String>,
) -> Shown {
    let queues = world.engine.queues();
    let Shown::ByNames(wanted) = expected else {
        return Shown::ByNames(BTreeMap::new());
    };
    let rows = wanted.iter().map(|(path, resources)| {
        let queue = find(&queues, path);
        let cells = resources.keys().map(|resource| {
            let found = queue.map(|queue| seen(queue, resource));
            let shown = match found {
                None => "no such queue".to_owned(),
                Some(None) => "nothing of it".to_owned(),
                Some(Some(shown)) => shown,
            };
            (resource.clone(), shown)
        });
        (path.clone(), cells.collect())
    });
    Shown::ByNames(rows.collect())
}

fn find<'a>(queues: &'a [QueueReport], path: &str) -> Option<&'a QueueReport> {
    queues.iter().find(|queue| *queue.path == *path)
}

fn count(queue: &QueueReport, states: &[TaskState]) -> u64 {
    let counted = queue
        .tasks
        .iter()
        .filter(|(state, _)| states.contains(state));
    counted.map(|(_, n_tasks)| n_tasks).sum()
}

fn state(world: &World, name: &str) -> String {
    let Some(known) = world.named(name) else {
        return "no such task".to_owned();
    };
    let live = || Some(world.engine.explain(known.task)?.state);
    match known.ended.or_else(live) {
        Some(state) => state.as_str().to_owned(),
        None => "forgotten".to_owned(),
    }
}

fn why(world: &World, name: &str) -> String {
    let Some(known) = world.named(name) else {
        return "no such task".to_owned();
    };
    let Some(explanation) = world.engine.explain(known.task) else {
        return "it has ended".to_owned();
    };
    match explanation.reasons.first() {
        Some(reason) => reason.code().to_owned(),
        None => explanation.state.as_str().to_owned(),
    }
}

fn claim(world: &World, name: &str) -> String {
    let Some(known) = world.named(name) else {
        return "no such task".to_owned();
    };
    let mut claims = world.engine.claims().into_iter();
    let own = claims.find(|claim| claim.task == known.task);
    own.map_or_else(|| "none".to_owned(), |claim| claim.agent.to_string())
}
