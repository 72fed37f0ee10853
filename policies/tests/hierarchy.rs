//! What holds in trees of queues: everyone's part of the part of the queue above, and that units, names, a common
//! factor of all weights, and resources that nobody asks for change nothing.
//!
//! Of the words that `fairness` uses, s and U are here those of hierarchical DRF (see `apportion_policies::drf`): V is
//! what a queue counts as, s its largest part, t the smallest waiting task, m = max(s, t), M the least m/w among siblings.

use num_rational::Ratio;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::properties::{Change, World, grouped_worlds, mixed_worlds, run_changed};
use crate::sim::{Sim, weight};

type Number = Ratio<i128>;

/// The resources of the machine: so much of each, and of it a leaf's task wants at most [`WANTED_MAX`].
const CAPACITIES: [u64; 2] = [600, 900];
const WANTED_MAX: u64 = 2;
/// What rounding to integers may cost.
const ROUNDED: i128 = 1 << 20;

#[derive(Clone, Debug)]
enum Node {
    Leaf { weight: u64, demand: [u64; 2] },
    Inner { weight: u64, children: Vec<Node> },
}

/// How far whole tasks keep a queue from what divisible ones would be due.
struct Slack {
    /// The most by which one launch makes s grow, or t where that is more.
    jump: Number,
    /// The most by which U passes V.
    hidden: Number,
}

fn whole(number: u64) -> Number {
    Number::from_integer(i128::from(number))
}

fn leaves() -> impl Strategy<Value = Node> {
    let amount = 0..=WANTED_MAX;
    let demand = [amount.clone(), amount];
    let demand = demand.prop_filter("asks for something", |[cpus, mem]| cpus + mem > 0);
    (1..3_u64, demand).prop_map(|(weight, demand)| Node::Leaf { weight, demand })
}

/// Up to three levels.
fn trees() -> impl Strategy<Value = Vec<Node>> {
    let inner = |child: BoxedStrategy<Node>| {
        let inner = (1..3_u64, vec(child.clone(), 1..3));
        let inner = inner.prop_map(|(weight, children)| Node::Inner { weight, children });
        prop_oneof![1 => child, 2 => inner].boxed()
    };
    vec(inner(inner(leaves().boxed())), 2..4)
}

impl Node {
    fn weight(&self) -> Number {
        match self {
            Self::Leaf { weight, .. } | Self::Inner { weight, .. } => whole(*weight),
        }
    }

    /// The share of the smallest task.
    fn task(&self) -> Number {
        match self {
            Self::Leaf { demand, .. } => {
                let parts = demand.iter().zip(CAPACITIES);
                let parts = parts.map(|(amount, capacity)| whole(*amount) / whole(capacity));
                parts.max().unwrap_or_default()
            }
            Self::Inner { children, .. } => {
                let tasks = children.iter().map(Self::task);
                tasks.min().unwrap_or_default()
            }
        }
    }

    /// Of siblings m_c ≤ w_c · M + jump_c, since whoever is served has the least s/w. So V is short of U by what its
    /// children's are, and their jumps. One launch lifts M by jump_c/w_c at most, and with it every sibling's part; the
    /// child served itself grows by its jump, or from nothing to a task.
    fn slack(&self) -> Slack {
        let Self::Inner { children, .. } = self else {
            return Slack {
                jump: self.task(),
                hidden: whole(0),
            };
        };
        let slacks: Vec<Slack> = children.iter().map(Self::slack).collect();
        let weights: Number = children.iter().map(Self::weight).sum();
        let lifts = children.iter().zip(&slacks);
        let lift = lifts
            .map(|(child, slack)| slack.jump / child.weight())
            .max();
        let jump = slacks.iter().map(|slack| slack.jump).max();
        Slack {
            jump: lift.unwrap_or_default() * weights + jump.unwrap_or_default() * whole(2),
            hidden: slacks.iter().map(|slack| slack.hidden + slack.jump).sum(),
        }
    }

    fn add(&self, sim: &mut Sim, path: &str) {
        sim.queue(path, weight(&self.weight().to_string()));
        match self {
            Self::Leaf { demand, .. } => {
                let [cpus, mem] = demand.map(|amount| amount.to_string());
                sim.submit(path, 901, &[("cpus", &cpus), ("mem", &mem)]);
            }
            Self::Inner { children, .. } => {
                for (place, child) in children.iter().enumerate() {
                    child.add(sim, &format!("{path}/{place}"));
                }
            }
        }
    }

    /// Every leaf below has at least what it is due where the queue itself is due `due`.
    fn check(&self, sim: &Sim, path: &str, due: Number) -> Result<(), TestCaseError> {
        let share: Number = sim.dominant_share(path).parse().unwrap();
        prop_assert!(share >= due, "{path} has {share} of {due}");
        let Self::Inner { children, .. } = self else {
            return Ok(());
        };
        let weights: Number = children.iter().map(Self::weight).sum();
        for (place, child) in children.iter().enumerate() {
            let due = child.weight() / weights * due - child.task();
            child.check(sim, &format!("{path}/{place}"), due)?;
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// A tree that fills a machine from nothing: each queue has at least its part, by weight, of its parent's, less one
    /// task a level, and the top ones w/W · (1 − what whole tasks cost). Before the first task doesn't fit, s_h ≤ w_h · λ +
    /// jump_h for the top queues h, where λ is the least s/w; then all U, with one task more, pass 1, so λ · W + the sum of
    /// all jumps and of what is hidden + the largest task > 1. Going down, s ≤ M · (sum of the children's weights), and
    /// a child has w · M, or no task yet.
    #[test]
    fn everyone_has_its_part_of_the_part_above(tops in trees()) {
        let mut sim = Sim::new("drf").without_reference();
        sim.agent(&[("cpus", &CAPACITIES[0].to_string()), ("mem", &CAPACITIES[1].to_string())]);
        for (place, top) in tops.iter().enumerate() {
            top.add(&mut sim, &place.to_string());
        }
        sim.offer();
        let weights: Number = tops.iter().map(Node::weight).sum();
        let slacks = tops.iter().map(Node::slack);
        let cost: Number = slacks.map(|slack| slack.jump + slack.hidden).sum();
        let largest = whole(WANTED_MAX) / whole(CAPACITIES[0]);
        let level = (whole(1) - cost - largest - Number::new(1, ROUNDED)) / weights;
        for (place, top) in tops.iter().enumerate() {
            top.check(&sim, &place.to_string(), level * top.weight())?;
        }
    }
}

/// Whether a change of what doesn't matter changes a launch.
/// Past use is rounded to 2^-16 of a thousandth: in other units that is another part of it, which may decide what was a tie.
fn same(world: &World, change: Change) -> Result<(), TestCaseError> {
    let mut world = world.clone();
    if change == Change::Unit {
        world.half_life = None;
        let plans = world.queues.iter_mut();
        plans.for_each(|plan| plan.half_life = None);
    }
    let world = &world;
    let (before, after) = (
        run_changed(world, Change::Nothing),
        run_changed(world, change),
    );
    prop_assert_eq!(before, after, "{:?}", change);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn units_names_common_factors_and_other_resources_change_nothing_in_mixed_trees(world in mixed_worlds()) {
        for change in Change::ALL {
            same(&world, change)?;
        }
    }

    #[test]
    fn units_names_common_factors_and_other_resources_change_nothing_in_groups(world in grouped_worlds()) {
        for change in Change::ALL {
            same(&world, change)?;
        }
    }
}
