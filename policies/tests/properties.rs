//! Random trees and histories: the index chooses what the definition chooses, decision for decision.
//!
//! The simulated world also checks at each decision that no limit is passed and that nothing could
//! have gone where nothing was chosen.

use std::cell::Cell;
use std::num::NonZeroU64;

use apportion_policies::{PolicySpec, QueueSettings, Weight};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::sim::{Sim, spec};
use crate::wrong::Wrong;

/// A change that no decision may depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Nothing,
    /// One resource is counted in thousandths of what it was.
    Unit,
    /// Queues have other names, in another order. Ties by path can't be: no two tasks are equally old.
    Names,
    /// All weights are doubled.
    Weights,
    /// There is a resource more, for which nobody asks.
    Resource,
}

impl Change {
    pub const ALL: [Self; 4] = [Self::Unit, Self::Names, Self::Weights, Self::Resource];

    fn amount(self, resource: usize, units: u64) -> String {
        let factor = if self == Self::Unit && resource == 1 {
            1000
        } else {
            1
        };
        (units * factor).to_string()
    }

    fn path(self, path: &str) -> String {
        if self != Self::Names {
            return path.to_owned();
        }
        let parts = path.split('/').map(|part| {
            let number: u64 = part[1..].parse().unwrap();
            format!("z{}", 99 - number)
        });
        parts.collect::<Vec<_>>().join("/")
    }

    fn weight(self, text: &str) -> Weight {
        let weight: Weight = text.parse().unwrap();
        let factor = if self == Self::Weights { 2 } else { 1 };
        Weight::from_milli(weight.milli() * factor).unwrap()
    }
}

#[derive(Clone, Debug)]
pub struct QueuePlan {
    path: String,
    weight: &'static str,
    policy: usize,
    min: Option<(usize, u64)>,
    max: Option<(usize, u64)>,
    pub half_life: Option<u64>,
}

#[derive(Clone, Debug)]
enum Step {
    Submit {
        leaf: usize,
        shape: usize,
        count: usize,
        priority: i32,
    },
    Offer {
        agent: usize,
        limit: usize,
    },
    Finish {
        which: usize,
    },
    /// All tasks of a leaf end at once.
    FinishAll {
        which: usize,
    },
    Pass {
        milliseconds: u64,
    },
}

#[derive(Clone, Debug)]
pub struct World {
    default: usize,
    pub half_life: Option<u64>,
    /// Of each, the cpus and the memory.
    agents: Vec<(u64, u64)>,
    licences: u64,
    pub queues: Vec<QueuePlan>,
    shapes: Vec<(u64, u64, u64)>,
    steps: Vec<Step>,
}

const RESOURCES: [&str; 3] = ["cpus", "mem", "licences"];
const DEPTH_MAX: usize = 4;

fn weights() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just("1"), 1 => Just("2"), 1 => Just("3"), 1 => Just("0.7")]
}

fn guarantees() -> impl Strategy<Value = Option<(usize, u64)>> {
    proptest::option::weighted(0.2, (0..3_usize, 1..6_u64))
}

/// Mostly none; few kinds, so that queues above and below one another have the same.
fn half_lives() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![4 => Just(None), 2 => Just(Some(60_000)), 1 => Just(Some(500))]
}

/// Names that don't sort as they were added.
fn name(number: usize) -> String {
    format!("q{}", (number * 7) % 16)
}

/// Queues of any policy, with limits, each below one of those before it.
fn mixed_queues() -> impl Strategy<Value = Vec<QueuePlan>> {
    let max = proptest::option::weighted(0.2, (0..3_usize, 0..8_u64));
    let settings = (weights(), 0..10_usize, guarantees(), max, half_lives());
    let plans = vec((any::<usize>(), settings), 1..14);
    plans.prop_map(|plans| {
        let mut queues: Vec<QueuePlan> = Vec::new();
        for (number, (parent, settings)) in plans.into_iter().enumerate() {
            let (weight, policy, min, max, half_life) = settings;
            let paths = queues.iter().map(|queue| &queue.path);
            let above: Vec<_> = paths
                .filter(|path| path.split('/').count() < DEPTH_MAX)
                .collect();
            let path = match parent % (above.len() + 1) {
                0 => name(number),
                parent => format!("{}/{}", above[parent - 1], name(number)),
            };
            queues.push(QueuePlan {
                path,
                weight,
                policy,
                min,
                max,
                half_life,
            });
        }
        queues
    })
}

/// Groups of groups of leaves, hierarchical DRF everywhere, hardly a limit.
fn groups() -> impl Strategy<Value = Vec<QueuePlan>> {
    let max = proptest::option::weighted(0.05, (0..3_usize, 4..20_u64));
    let shape = vec(vec(0..4_usize, 0..4), 1..4);
    let settings = vec((weights(), guarantees(), max), 64);
    (shape, settings).prop_map(|(shape, settings)| {
        let mut paths = Vec::new();
        for (top, groups) in shape.iter().enumerate() {
            paths.push(name(top));
            for (group, leaves) in groups.iter().enumerate() {
                let group = format!("{}/{}", name(top), name(group));
                paths.push(group.clone());
                paths.extend((0..*leaves).map(|leaf| format!("{group}/{}", name(leaf))));
            }
        }
        let plan = |(path, (weight, min, max))| QueuePlan {
            path,
            weight,
            policy: 9,
            min,
            max,
            half_life: None,
        };
        paths.into_iter().zip(settings).map(plan).collect()
    })
}

/// Up to five levels of queues, so that shares of scaled queues are scaled again.
fn deep_queues() -> impl Strategy<Value = Vec<QueuePlan>> {
    let min = proptest::option::weighted(0.15, (0..2_usize, 1..8_u64));
    let max = proptest::option::weighted(0.1, (0..3_usize, 2..12_u64));
    // How many children the queues have, one after the other as they are reached.
    let n_children = vec(
        prop_oneof![1 => Just(0_usize), 2 => Just(1), 4 => Just(2), 1 => Just(3)],
        40,
    );
    let settings = vec((weights(), min, max), 40);
    (2..4_usize, n_children, settings).prop_map(|(n_tops, n_children, settings)| {
        let mut paths: Vec<String> = (0..n_tops).map(name).collect();
        for (next, n_children) in n_children.into_iter().enumerate() {
            let Some(path) = paths.get(next).cloned() else {
                break;
            };
            let level = path.split('/').count();
            // The second level is always there, the sixth never.
            let n_children = match level {
                1 => n_children.max(2),
                5.. => 0,
                _ => n_children,
            };
            let room = settings.len() - paths.len();
            paths.extend((0..n_children.min(room)).map(|child| format!("{path}/{}", name(child))));
        }
        let plan = |(path, (weight, min, max))| QueuePlan {
            path,
            weight,
            policy: 9,
            min,
            max,
            half_life: None,
        };
        paths.into_iter().zip(settings).map(plan).collect()
    })
}

fn submits(counts: std::ops::Range<usize>) -> impl Strategy<Value = Step> {
    let priority = prop_oneof![3 => Just(0), 1 => -1..2];
    let submit = (any::<usize>(), any::<usize>(), counts, priority);
    submit.prop_map(|(leaf, shape, count, priority)| Step::Submit {
        leaf,
        shape,
        count,
        priority,
    })
}

fn offers() -> impl Strategy<Value = Step> {
    (any::<usize>(), 1..6_usize).prop_map(|(agent, limit)| Step::Offer { agent, limit })
}

fn finishes() -> impl Strategy<Value = Step> {
    any::<usize>().prop_map(|which| Step::Finish { which })
}

fn passes() -> impl Strategy<Value = Step> {
    let spans = prop_oneof![0..2_000_u64, 0..100_000_u64];
    spans.prop_map(|milliseconds| Step::Pass { milliseconds })
}

pub fn mixed_worlds() -> impl Strategy<Value = World> {
    let agents = vec((1..12_u64, 1..12_u64), 1..4);
    let shape = (0..4_u64, 0..4_u64, prop_oneof![3 => Just(0), 1 => 1..3_u64]);
    let shapes = vec(shape, 1..8);
    let steps = prop_oneof![2 => submits(1..5), 3 => offers(), 3 => finishes(), 1 => passes()];
    let steps = vec(steps, 1..60);
    let default = (0..10_usize, half_lives());
    (default, agents, 0..8_u64, mixed_queues(), shapes, steps).prop_map(
        |((default, half_life), agents, licences, queues, shapes, steps)| World {
            default,
            half_life,
            agents,
            licences,
            queues,
            shapes,
            steps,
        },
    )
}

/// Much waits everywhere, and tasks come and go.
pub fn grouped_worlds() -> impl Strategy<Value = World> {
    let agents = vec((6..30_u64, 6..30_u64), 1..3);
    let cpus = (1..4_u64, Just(0), Just(0));
    let mem = (Just(0), 1..4_u64, Just(0));
    let shape = prop_oneof![cpus, mem, (0..3_u64, 0..3_u64, 0..2_u64)];
    let shapes = vec(shape, 2..6);
    let backlog = vec(submits(4..12), 8..20);
    let churn = prop_oneof![1 => submits(1..8), 5 => offers(), 5 => finishes(), 1 => passes()];
    let churn = vec(churn, 20..80);
    let agents = (agents, half_lives());
    (agents, 2..20_u64, groups(), shapes, backlog, churn).prop_map(
        |((agents, half_life), licences, queues, shapes, backlog, churn)| World {
            default: 9,
            half_life,
            agents,
            licences,
            queues,
            shapes,
            steps: [backlog, churn].concat(),
        },
    )
}

/// Deep trees where siblings stand at very different levels, and often can't go: agents have much of one resource and
/// little of the other, tasks are small or large, and all that a leaf runs may end at once.
pub fn deep_worlds() -> impl Strategy<Value = World> {
    let agent = prop_oneof![
        (8..24_u64, 8..24_u64),
        (10..24_u64, 0..2_u64),
        (0..2_u64, 10..24_u64)
    ];
    let agents = vec(agent, 1..4);
    let cpus = (1..5_u64, Just(0), Just(0));
    let mem = (Just(0), 1..5_u64, Just(0));
    let both = (1..3_u64, 1..3_u64, prop_oneof![4 => Just(0), 1 => Just(1)]);
    let shapes = vec(prop_oneof![2 => cpus, 2 => mem, 1 => both], 2..6);
    let backlog = vec(submits(4..16), 10..24);
    let finish_all = any::<usize>().prop_map(|which| Step::FinishAll { which });
    let churn = prop_oneof![
        2 => submits(1..8), 6 => offers(), 4 => finishes(), 2 => finish_all,
    ];
    let churn = vec(churn, 20..60);
    (agents, 2..8_u64, deep_queues(), shapes, backlog, churn).prop_map(
        |(agents, licences, queues, shapes, backlog, churn)| World {
            default: 9,
            half_life: None,
            agents,
            licences,
            queues,
            shapes,
            steps: [backlog, churn].concat(),
        },
    )
}

/// Mostly drf.
fn policy(sim: &mut Sim, number: usize, half_life: Option<u64>) -> PolicySpec {
    let mut spec = match number {
        0 => spec("fifo"),
        1 => spec("weighted"),
        2 => PolicySpec {
            resource: Some(sim.resource("cpus")),
            ..PolicySpec::new("weighted")
        },
        _ => spec("drf"),
    };
    spec.half_life = half_life.and_then(NonZeroU64::new);
    spec
}

fn sim_of(world: &World, change: Change) -> Sim {
    let mut sim = Sim::new("drf");
    for resource in RESOURCES {
        sim.resource(resource);
    }
    let default = policy(&mut sim, world.default, world.half_life);
    sim.tree.set_default_policy(default);
    for (cpus, mem) in &world.agents {
        let (cpus, mem) = (change.amount(0, *cpus), change.amount(1, *mem));
        sim.agent(&[("cpus", &cpus), ("mem", &mem)]);
    }
    sim.cluster("licences", &change.amount(2, world.licences));
    if change == Change::Resource {
        sim.cluster("tapes", "7");
    }
    for plan in &world.queues {
        let mut amounts = |limit: Option<(usize, u64)>| {
            let limit = limit.map(|(id, units)| (RESOURCES[id], change.amount(id, units)));
            let limit = limit.iter().map(|(name, text)| (*name, text.as_str()));
            sim.demand_with_zeros(&limit.collect::<Vec<_>>())
        };
        let (min, max) = (amounts(plan.min), amounts(plan.max));
        let policy = (plan.policy < 6).then(|| policy(&mut sim, plan.policy, plan.half_life));
        let settings = QueueSettings {
            weight: change.weight(plan.weight),
            min,
            max,
            policy,
            ..QueueSettings::default()
        };
        sim.queue(&change.path(&plan.path), settings);
    }
    sim
}

/// The simulated world checks each decision. How many there were.
fn run(world: &World, set_up: fn(Sim) -> Sim) -> u64 {
    let sim = set_up(sim_of(world, Change::Nothing));
    play(world, Change::Nothing, sim).n_decided
}

/// Who was launched, in order, by places in the list of leaves; without the reference.
pub fn run_changed(world: &World, change: Change) -> Vec<usize> {
    let sim = sim_of(world, change).without_reference();
    play(world, change, sim).launched
}

/// What came of a history.
struct Played {
    /// Who was launched, in order, by places in the list of leaves.
    launched: Vec<usize>,
    n_decided: u64,
    /// The wrong forms that always chose what is right.
    rivals_alike: Vec<Wrong>,
}

fn play(world: &World, change: Change, mut sim: Sim) -> Played {
    let paths = || world.queues.iter().map(|queue| &queue.path);
    let is_leaf = |path: &&String| !paths().any(|other| other.starts_with(&format!("{path}/")));
    let leaves: Vec<_> = paths()
        .filter(is_leaf)
        .map(|path| change.path(path))
        .collect();
    let mut launched = Vec::new();
    for step in &world.steps {
        match step {
            Step::Submit {
                leaf,
                shape,
                count,
                priority,
            } => {
                let (cpus, mem, licences) = world.shapes[shape % world.shapes.len()];
                let amounts = [cpus, mem, licences];
                let amounts = [0, 1, 2].map(|id| change.amount(id, amounts[id]));
                let texts = amounts.iter().map(String::as_str);
                let demand: Vec<_> = RESOURCES.into_iter().zip(texts).collect();
                sim.submit_priority(&leaves[leaf % leaves.len()], *count, &demand, *priority);
            }
            Step::Offer { agent, limit } => {
                launched.extend(sim.offer_agent(agent % sim.n_agents(), *limit));
            }
            Step::Pass { milliseconds } => sim.advance(*milliseconds),
            Step::Finish { which } | Step::FinishAll { which } => {
                let running = sim.running_leaves();
                if !running.is_empty() {
                    let leaf = &running[which % running.len()];
                    let is_all = matches!(step, Step::FinishAll { .. });
                    let n_running = if is_all { sim.running(leaf) } else { 1 };
                    sim.finish(leaf, n_running as usize);
                }
            }
        }
    }
    launched.extend(sim.offer_limited(5));
    let place = |path| leaves.iter().position(|leaf| *leaf == path).unwrap();
    Played {
        launched: launched.into_iter().map(place).collect(),
        n_decided: sim.n_decided,
        rivals_alike: sim.rivals_alike(),
    }
}

/// Few cases, since the reference is slow; more with the variable `PROPTEST_CASES`: 20,000 of them, built with
/// `--release`, are some millions of decisions.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let is_asked_for = std::env::var_os("PROPTEST_CASES").is_some();
    ProptestConfig {
        cases: if is_asked_for { default.cases } else { 32 },
        failure_persistence: None,
        ..default
    }
}

fn run_all(worlds: &impl Strategy<Value = World>, set_up: fn(Sim) -> Sim) {
    let n_decided = Cell::new(0);
    let mut runner = TestRunner::new(config());
    let result = runner.run(worlds, |world| {
        n_decided.set(n_decided.get() + run(&world, set_up));
        Ok(())
    });
    println!("{} decisions compared", n_decided.get());
    result.unwrap();
}

#[test]
fn the_index_chooses_what_the_definition_chooses_in_mixed_trees() {
    run_all(&mixed_worlds(), |sim| sim);
}

#[test]
fn the_index_chooses_what_the_definition_chooses_in_groups() {
    run_all(&grouped_worlds(), |sim| sim);
}

#[test]
fn the_index_chooses_what_the_definition_chooses_in_deep_trees() {
    run_all(&deep_worlds(), Sim::without_exact_reference);
}

/// Random worlds say little if what they are looked at for never happens in them: each wrong form of the definition
/// chooses otherwise somewhere. The same worlds each time.
#[test]
fn deep_trees_show_what_each_clause_is_for() {
    const WORLDS_MAX: usize = 60;
    let mut runner = TestRunner::deterministic();
    let mut unseen = Wrong::ALL.to_vec();
    for _ in 0..WORLDS_MAX {
        let world = deep_worlds().new_tree(&mut runner).unwrap().current();
        let sim = sim_of(&world, Change::Nothing).with_rivals(&unseen);
        unseen = play(&world, Change::Nothing, sim).rivals_alike;
        if unseen.is_empty() {
            return;
        }
    }
    panic!("nothing shows {unseen:?}");
}
