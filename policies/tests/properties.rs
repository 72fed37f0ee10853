//! Random trees and histories: the index chooses what the definition chooses, decision for decision.
//!
//! The simulated world also checks at each decision that no limit is passed and that nothing could
//! have gone where nothing was chosen.

use apportion_policies::{PolicySpec, QueueSettings};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::sim::{Sim, spec};

#[derive(Clone, Debug)]
struct QueuePlan {
    path: String,
    weight: &'static str,
    policy: usize,
    max: Option<(usize, u64)>,
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
}

#[derive(Clone, Debug)]
struct World {
    default: usize,
    agents: Vec<(u64, u64)>,
    licences: u64,
    queues: Vec<QueuePlan>,
    shapes: Vec<(u64, u64, u64)>,
    steps: Vec<Step>,
}

const RESOURCES: [&str; 3] = ["cpus", "mem", "licences"];
const DEPTH_MAX: usize = 4;

fn weights() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just("1"), 1 => Just("2"), 1 => Just("3"), 1 => Just("0.7")]
}

/// Names that don't sort as they were added.
fn name(number: usize) -> String {
    format!("q{}", (number * 7) % 16)
}

/// Queues of any policy, with limits, each below one of those before it.
fn mixed_queues() -> impl Strategy<Value = Vec<QueuePlan>> {
    let max = proptest::option::weighted(0.2, (0..3_usize, 0..8_u64));
    let plans = vec((any::<usize>(), weights(), 0..10_usize, max), 1..14);
    plans.prop_map(|plans| {
        let mut queues: Vec<QueuePlan> = Vec::new();
        for (number, (parent, weight, policy, max)) in plans.into_iter().enumerate() {
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
                max,
            });
        }
        queues
    })
}

/// Groups of groups of leaves, hierarchical DRF everywhere, hardly a limit.
fn groups() -> impl Strategy<Value = Vec<QueuePlan>> {
    let max = proptest::option::weighted(0.05, (0..3_usize, 4..20_u64));
    let shape = vec(vec(0..4_usize, 0..4), 1..4);
    let settings = vec((weights(), max), 64);
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
        let plan = |(path, (weight, max))| QueuePlan {
            path,
            weight,
            policy: 9,
            max,
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

fn mixed_worlds() -> impl Strategy<Value = World> {
    let agents = vec((1..12_u64, 1..12_u64), 1..4);
    let shape = (0..4_u64, 0..4_u64, prop_oneof![3 => Just(0), 1 => 1..3_u64]);
    let shapes = vec(shape, 1..8);
    let steps = prop_oneof![2 => submits(1..5), 3 => offers(), 3 => finishes()];
    let steps = vec(steps, 1..60);
    (0..10_usize, agents, 0..8_u64, mixed_queues(), shapes, steps).prop_map(
        |(default, agents, licences, queues, shapes, steps)| World {
            default,
            agents,
            licences,
            queues,
            shapes,
            steps,
        },
    )
}

/// Much waits everywhere, and tasks come and go.
fn grouped_worlds() -> impl Strategy<Value = World> {
    let agents = vec((6..30_u64, 6..30_u64), 1..3);
    let cpus = (1..4_u64, Just(0), Just(0));
    let mem = (Just(0), 1..4_u64, Just(0));
    let shape = prop_oneof![cpus, mem, (0..3_u64, 0..3_u64, 0..2_u64)];
    let shapes = vec(shape, 2..6);
    let backlog = vec(submits(4..12), 8..20);
    let churn = prop_oneof![1 => submits(1..8), 5 => offers(), 5 => finishes()];
    let churn = vec(churn, 20..80);
    (agents, 2..20_u64, groups(), shapes, backlog, churn).prop_map(
        |(agents, licences, queues, shapes, backlog, churn)| World {
            default: 9,
            agents,
            licences,
            queues,
            shapes,
            steps: [backlog, churn].concat(),
        },
    )
}

/// Mostly drf.
fn policy(sim: &mut Sim, number: usize) -> PolicySpec {
    match number {
        0 => spec("fifo"),
        1 => spec("weighted"),
        2 => PolicySpec {
            resource: Some(sim.resource("cpus")),
            ..PolicySpec::new("weighted")
        },
        _ => spec("drf"),
    }
}

fn sim_of(world: &World) -> Sim {
    let mut sim = Sim::new("drf");
    for resource in RESOURCES {
        sim.resource(resource);
    }
    let default = policy(&mut sim, world.default);
    sim.tree.set_default_policy(default);
    for (cpus, mem) in &world.agents {
        sim.agent(&[("cpus", &cpus.to_string()), ("mem", &mem.to_string())]);
    }
    sim.cluster("licences", &world.licences.to_string());
    for plan in &world.queues {
        let limit = plan
            .max
            .map(|(id, units)| (RESOURCES[id], units.to_string()));
        let limit = limit.iter().map(|(name, text)| (*name, text.as_str()));
        let max = sim.demand_with_zeros(&limit.collect::<Vec<_>>());
        let policy = (plan.policy < 6).then(|| policy(&mut sim, plan.policy));
        let settings = QueueSettings {
            weight: plan.weight.parse().unwrap(),
            max,
            policy,
            ..QueueSettings::default()
        };
        sim.queue(&plan.path, settings);
    }
    sim
}

/// The simulated world checks each decision.
fn run(world: &World) {
    let mut sim = sim_of(world);
    let paths = || world.queues.iter().map(|queue| &queue.path);
    let is_leaf = |path: &&String| !paths().any(|other| other.starts_with(&format!("{path}/")));
    let leaves: Vec<_> = paths().filter(is_leaf).collect();
    for step in &world.steps {
        match step {
            Step::Submit {
                leaf,
                shape,
                count,
                priority,
            } => {
                let (cpus, mem, licences) = world.shapes[shape % world.shapes.len()];
                let amounts = [cpus, mem, licences].map(|amount| amount.to_string());
                let texts = amounts.iter().map(String::as_str);
                let demand: Vec<_> = RESOURCES.into_iter().zip(texts).collect();
                sim.submit_priority(leaves[leaf % leaves.len()], *count, &demand, *priority);
            }
            Step::Offer { agent, limit } => {
                sim.offer_agent(agent % sim.n_agents(), *limit);
            }
            Step::Finish { which } => {
                let running = sim.running_leaves();
                if !running.is_empty() {
                    sim.finish(&running[which % running.len()], 1);
                }
            }
        }
    }
    sim.offer_limited(5);
}

/// Few cases, since the reference is slow; more with the variable `PROPTEST_CASES`.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let is_asked_for = std::env::var_os("PROPTEST_CASES").is_some();
    ProptestConfig {
        cases: if is_asked_for { default.cases } else { 32 },
        failure_persistence: None,
        ..default
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_index_chooses_what_the_definition_chooses_in_mixed_trees(world in mixed_worlds()) {
        run(&world);
    }

    #[test]
    fn the_index_chooses_what_the_definition_chooses_in_groups(world in grouped_worlds()) {
        run(&world);
    }
}
