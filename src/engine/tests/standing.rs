//! Where an engine stands: everything that facts determine, to compare two engines.

use std::collections::BTreeMap;
use std::sync::Arc;

use apportion_policies::Amount;

use crate::engine::state::{LIVE_STATES, State};
use crate::engine::{AttemptId, Engine, TaskId, TaskState, Time};

/// A live task.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Task {
    state: TaskState,
    counts: (u32, u32, u32),
    attempts: Vec<AttemptId>,
}

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    next_id: TaskId,
    live: BTreeMap<TaskId, Task>,
    ended: BTreeMap<TaskId, TaskState>,
    /// Attempts with their agents, times and whether they timed out.
    attempts: BTreeMap<AttemptId, (Arc<str>, Time, bool)>,
    timers: Vec<String>,
    watches: Vec<String>,
    kept: Vec<(Time, TaskId, u32)>,
    keys: BTreeMap<String, u64>,
    outside: BTreeMap<Arc<str>, Amount>,
    counts: BTreeMap<Arc<str>, [u64; LIVE_STATES.len()]>,
    used: BTreeMap<Arc<str>, Vec<(Arc<str>, Amount)>>,
}

/// Where an engine stands.
pub(super) fn standing(engine: &Engine) -> Standing {
    let state = &engine.state;
    let (live, ended, keys) = tasks(state);
    let attempts = state.live_attempts().into_iter().map(|attempt| {
        let record = &state.attempts[&attempt];
        let agent = Arc::clone(&state.agents.get(record.agent).name);
        (attempt, (agent, record.launched_at, record.timed_out))
    });
    let kept = state.kept.due(Time(u64::MAX)).into_iter();
    let mut kept: Vec<_> = kept
        .map(|kept| (kept.ended_at, kept.first, kept.count))
        .collect();
    kept.sort_unstable();
    let waits = |first: &TaskId| {
        let slot = state.submissions.find_first(*first);
        let record = slot.map(|slot| state.submissions.get(slot));
        record.is_some_and(|record| record.is_waiting && record.n_fresh > 0)
    };
    let watches = state
        .watches
        .iter()
        .filter(|(_, watch)| watch.dependants.iter().any(waits));
    let watches = watches.map(|(what, watch)| format!("{what:?} {}", watch.n_left));
    let tree = &state.queues.tree;
    let leaves = state.queues.leaves_below(tree.root());
    let in_use = tree.queues().map(|queue| {
        let used = state
            .resources
            .by_name(tree.used(queue), |_| true)
            .into_iter();
        (
            Arc::clone(tree.path(queue)),
            used.filter(|(_, used)| !used.is_zero()).collect(),
        )
    });
    Standing {
        next_id: state.next_id,
        live,
        ended,
        attempts: attempts.collect(),
        timers: state
            .timers
            .iter()
            .map(|timer| format!("{timer:?}"))
            .collect(),
        watches: watches.collect(),
        kept,
        keys,
        outside: state
            .resources
            .iter()
            .map(|(_, one)| (Arc::clone(&one.name), one.outside))
            .collect(),
        counts: leaves
            .iter()
            .map(|leaf| (Arc::clone(tree.path(*leaf)), state.queues.counts(*leaf)))
            .collect(),
        used: in_use.collect(),
    }
}

type Tasks = (
    BTreeMap<TaskId, Task>,
    BTreeMap<TaskId, TaskState>,
    BTreeMap<String, u64>,
);

/// The live tasks, the ended ones, and the keys of the live ones.
fn tasks(state: &State) -> Tasks {
    let mut live = BTreeMap::new();
    let mut ended = BTreeMap::new();
    let mut keys = BTreeMap::new();
    for id in 1..state.next_id.0 {
        let task = TaskId(id);
        if let Some(kind) = state.ended.find(task) {
            ended.insert(task, TaskState::from(kind));
        }
        let Some(slot) = state.find_live(task) else {
            continue;
        };
        let record = state.live.get(&task);
        live.insert(
            task,
            Task {
                state: state.state_in(task, slot),
                counts: record.map_or((0, 0, 0), |live| {
                    (live.n_attempts, live.n_failures, live.n_losses)
                }),
                attempts: record.map_or_else(Vec::new, |live| live.attempts(task)),
            },
        );
        if let Some(key) = &state.submissions.get(slot).submission.spec.key {
            keys.insert(key.to_string(), state.keys.find(key).unwrap().first.0);
        }
    }
    (live, ended, keys)
}
