//! Random trees and histories: the index chooses what the definition chooses, decision for decision.
//!
//! The simulated world also checks at each decision that no limit is passed and that nothing could
//! have gone where nothing was chosen.

use std::sync::Arc;

use apportion_policies::{PolicySpec, QueueSettings};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::sim::{Sim, spec};

/// A queue below one of those before it.
#[derive(Clone, Debug)]
struct QueuePlan {
    parent: usize,
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

fn queue_plans() -> impl Strategy<Value = Vec<QueuePlan>> {
    let weight = prop_oneof![4 => Just("1"), 1 => Just("2"), 1 => Just("3"), 1 => Just("0.7")];
    let max = proptest::option::weighted(0.2, (0..3_usize, 0..8_u64));
    let plan = (any::<usize>(), weight, 0..10_usize, max);
    let plan = plan.prop_map(|(parent, weight, policy, max)| QueuePlan {
        parent,
        weight,
        policy,
        max,
    });
    vec(plan, 1..14)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let priority = prop_oneof![3 => Just(0), 1 => -1..2];
    let submit = (any::<usize>(), any::<usize>(), 1..5_usize, priority);
    let submit = submit.prop_map(|(leaf, shape, count, priority)| Step::Submit {
        leaf,
        shape,
        count,
        priority,
    });
    let offer =
        (any::<usize>(), 1..6_usize).prop_map(|(agent, limit)| Step::Offer { agent, limit });
    let finish = any::<usize>().prop_map(|which| Step::Finish { which });
    vec(prop_oneof![2 => submit, 3 => offer, 3 => finish], 1..60)
}

fn worlds() -> impl Strategy<Value = World> {
    let agents = vec((1..12_u64, 1..12_u64), 1..4);
    let shape = (0..4_u64, 0..4_u64, prop_oneof![3 => Just(0), 1 => 1..3_u64]);
    let shapes = vec(shape, 1..8);
    (
        0..10_usize,
        agents,
        0..8_u64,
        queue_plans(),
        shapes,
        steps(),
    )
        .prop_map(|(default, agents, licences, queues, shapes, steps)| World {
            default,
            agents,
            licences,
            queues,
            shapes,
            steps,
        })
}

/// Mostly drf.
fn policy(sim: &mut Sim, number: usize) -> PolicySpec {
    match number {
        0 => spec("fifo"),
        1 => spec("weighted"),
        2 => PolicySpec {
            name: Arc::from("weighted"),
            resource: Some(sim.resource("cpus")),
        },
        _ => spec("drf"),
    }
}

/// Queues as planned, none deeper than [`DEPTH_MAX`]; the paths of the leaves.
fn add_queues(sim: &mut Sim, plans: &[QueuePlan]) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for (number, plan) in plans.iter().enumerate() {
        let shallow = |path: &&String| path.split('/').count() < DEPTH_MAX;
        let above: Vec<_> = paths.iter().filter(shallow).cloned().collect();
        let parent = plan.parent % (above.len() + 1);
        // Names that don't sort as they were added.
        let name = format!("q{}", (number * 7) % 16);
        let path = if parent == 0 {
            name
        } else {
            format!("{}/{name}", above[parent - 1])
        };
        let limit = plan
            .max
            .map(|(resource, units)| (RESOURCES[resource], units.to_string()));
        let max = limit
            .iter()
            .map(|(name, text)| (*name, text.as_str()))
            .collect::<Vec<_>>();
        let max = sim.demand_with_zeros(&max);
        let policy = (plan.policy < 6).then(|| policy(sim, plan.policy));
        sim.queue(
            &path,
            QueueSettings {
                weight: plan.weight.parse().unwrap(),
                max,
                policy,
            },
        );
        paths.push(path);
    }
    let is_leaf = |path: &String| {
        !paths
            .iter()
            .any(|other| other.starts_with(&format!("{path}/")))
    };
    paths.iter().filter(|path| is_leaf(path)).cloned().collect()
}

fn run(world: &World) {
    let mut sim = Sim::new("drf");
    let default = policy(&mut sim, world.default);
    sim.tree.set_default_policy(default);
    for (cpus, mem) in &world.agents {
        sim.agent(&[("cpus", &cpus.to_string()), ("mem", &mem.to_string())]);
    }
    sim.cluster("licences", &world.licences.to_string());
    let leaves = add_queues(&mut sim, &world.queues);
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
                let demand: Vec<_> = RESOURCES
                    .iter()
                    .zip(&amounts)
                    .map(|(name, text)| (*name, text.as_str()))
                    .collect();
                sim.submit_priority(&leaves[leaf % leaves.len()], *count, &demand, *priority);
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_chooses_what_the_definition_chooses(world in worlds()) {
        run(&world);
    }
}
