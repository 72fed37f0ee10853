//! Bounds of inner queues for each shape make no other choice, also with many queues and shapes.

use std::cmp::Reverse;
use std::sync::Arc;

use apportion_policies::{
    Amount, Amounts, Bounds, Choice, Demand, Descend, Offer, Policy, PolicySpec, QueueId,
    QueueSettings, QueueTree, Registry, ResourceId, Shape, ShapeId, ShapeSet, TaskRank, Weight,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// A leaf, a shape, and what happens: a task comes, the queue has none left of the shape, an offer of what tasks of the
/// shape demand is made, the oldest task of the leaf ends.
type Step = (usize, usize, u8);

struct World {
    tree: QueueTree,
    leaves: Vec<QueueId>,
    shapes: Vec<ShapeId>,
    /// One without bounds for each shape, two with them, one that takes to them with the shapes.
    policies: [Descend; 4],
    running: Vec<Choice>,
    seq: u64,
}

fn amount(milli: u64) -> Amount {
    Amount::from_milli(milli).expect("small")
}

fn settings(number: usize, policy: &str, max: Option<u64>) -> QueueSettings {
    QueueSettings {
        weight: Weight::from_milli(700 + 650 * (number as u32 % 4)).expect("above zero"),
        policy: Some(PolicySpec::new(policy)),
        max: max
            .map(|max| (ResourceId::new(0), amount(max)))
            .into_iter()
            .collect(),
        ..QueueSettings::default()
    }
}

impl World {
    /// Groups of groups of leaves, with a limit or a guarantee here and there.
    fn new(policies: [&str; 3], width: usize, n_shapes: usize) -> Self {
        let mut totals = Amounts::default();
        (0..3).for_each(|resource| totals.set(ResourceId::new(resource), amount(400_000)));
        let mut tree = QueueTree::new(totals, PolicySpec::new(policies[0]));
        let mut leaves = Vec::new();
        for top in 0..width {
            let path = format!("q{top}");
            let max = (top % 5 == 4).then_some(60_000);
            let mut group = settings(top, policies[1], max);
            if width % 4 == 1 {
                // None of these stands in a row, but those below them do.
                group.min = vec![(ResourceId::new(0), amount(9_000))];
            }
            let top = tree.add_queue(tree.root(), Arc::from(path.as_str()), group);
            for middle in 0..3 {
                let path = format!("{path}/q{middle}");
                let max = (leaves.len() % 7 == 4).then_some(20_000);
                let group = settings(middle, policies[2], max);
                let middle = tree.add_queue(top, Arc::from(path.as_str()), group);
                for leaf in 0..4 {
                    let path = format!("{path}/q{leaf}");
                    let mut leaf = settings(leaf, "drf", None);
                    if leaves.len() % 9 == 5 {
                        leaf.min = vec![(ResourceId::new(0), amount(9_000))];
                    }
                    leaves.push(tree.add_queue(middle, Arc::from(path), leaf));
                }
            }
        }
        let shape = |number: usize| {
            let demand = |resource: usize| 500 + (number * (7 + 4 * resource) % 23) as u64 * 300;
            // Some shapes don't demand the last resource, some nothing else.
            let resources = match number % 6 {
                4 => 0..2,
                5 => 2..3,
                _ => 0..3,
            };
            let demand = resources.map(|id| (ResourceId::new(id), amount(demand(id))));
            Shape {
                demand: Demand::new(demand),
                constraints: Vec::new(),
            }
        };
        let policy = |bounds| Descend::with_bounds(Registry::default(), &tree, bounds);
        let bounds = [
            Bounds::Whole,
            Bounds::Walked,
            Bounds::Gathered,
            Bounds::Cheapest,
        ];
        let policies = bounds.map(policy);
        let shapes = (0..n_shapes).map(|number| tree.acquire_shape(shape(number)));
        let shapes = shapes.collect();
        Self {
            tree,
            leaves,
            shapes,
            policies,
            running: Vec::new(),
            seq: 0,
        }
    }

    fn set_total(&mut self, resource: usize, milli: u64) {
        (self.tree).set_total(ResourceId::new(resource), amount(milli));
        for policy in &mut self.policies {
            policy.rebuild(&self.tree);
        }
    }

    fn step(&mut self, (leaf, shape, what): Step) {
        let leaf = self.leaves[leaf % self.leaves.len()];
        let shape = self.shapes[shape % self.shapes.len()];
        match what % 8 {
            0..3 => self.wait(leaf, shape),
            3 => {
                self.tree.set_head(leaf, shape, None);
                self.tell(leaf);
            }
            4 if !self.running.is_empty() => {
                let ended = self.running.remove(0);
                self.tree.release(ended.leaf, ended.shape);
                self.tell(ended.leaf);
            }
            _ => self.offer(shape, what % 8 == 7),
        }
    }

    fn wait(&mut self, leaf: QueueId, shape: ShapeId) {
        self.seq += 1;
        let rank = TaskRank {
            priority: Reverse(i32::from(self.seq.is_multiple_of(11))),
            seq: self.seq,
        };
        self.tree.set_head(leaf, shape, Some(rank));
        self.tell(leaf);
    }

    fn tell(&mut self, leaf: QueueId) {
        for policy in &mut self.policies {
            policy.changed(&self.tree, leaf);
        }
    }

    /// Offers what tasks of a shape demand, or twice as much of each resource as there may be of one.
    fn offer(&mut self, freed: ShapeId, is_large: bool) {
        let mut free = Amounts::zero(3);
        for resource in (0..3).map(ResourceId::new) {
            let own = self.tree.shape(freed).demand.get(resource);
            free.set(resource, if is_large { amount(15_000) } else { own });
        }
        let mut fits = ShapeSet::default();
        let fitting = |shape: &&ShapeId| free.hold(&self.tree.shape(**shape).demand);
        self.shapes
            .iter()
            .filter(fitting)
            .for_each(|shape| fits.insert(*shape));
        let offer = Offer {
            free: &free,
            fits: &fits,
        };
        let (tree, [plain, others @ ..]) = (&self.tree, &mut self.policies);
        let choice = plain.choose(tree, &offer);
        for other in &mut *others {
            assert_eq!(other.choose(tree, &offer), choice);
        }
        let Some(choice) = choice else { return };
        let keys = |policy: &mut Descend| format!("{:?}", policy.keys(tree, &offer, choice));
        let plain = keys(plain);
        for other in others {
            assert_eq!(keys(other), plain);
        }
        self.tree.charge(choice.leaf, choice.shape);
        self.running.push(choice);
        // In some places the queue has no other task of the shape.
        if choice.leaf.index() % 3 == 0 {
            self.tree.set_head(choice.leaf, choice.shape, None);
            self.tell(choice.leaf);
        } else {
            self.wait(choice.leaf, choice.shape);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn bounds_for_each_shape_make_no_other_choice(
        policies in prop_oneof![
            4 => Just(["drf", "drf", "drf"]),
            2 => Just(["fifo", "fifo", "fifo"]),
            1 => Just(["fifo", "drf", "drf"]),
            1 => Just(["drf", "drf", "fifo"]),
            1 => Just(["drf", "fifo", "weighted"]),
            1 => Just(["weighted", "weighted", "drf"]),
        ],
        width in 2..40_usize,
        n_shapes in prop_oneof![1..6_usize, 20..150_usize],
        steps in vec((any::<usize>(), any::<usize>(), any::<u8>()), 400..1200),
    ) {
        let mut world = World::new(policies, width, n_shapes);
        steps.into_iter().for_each(|step| world.step(step));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// So much runs in each group that a task more or less moves its share by less than its bounds are kept apart from it.
    /// A leaf has four shapes: with more it would stand by a bound for all of them.
    #[test]
    fn bounds_for_each_shape_make_no_other_choice_where_much_runs(
        total_of_last in prop_oneof![Just(400_000), 20_000..100_000_u64],
        steps in vec((any::<usize>(), any::<usize>(), any::<u8>()), 2500..4000),
    ) {
        let mut world = World::new(["drf", "drf", "drf"], 2, 576);
        world.set_total(2, total_of_last);
        for (leaf, shape, what) in steps {
            let shape = 4 * (leaf % 24) + shape % 4;
            // Where the last resource is scarce, a group has one shape that demands it, and no other resource.
            let shape = match total_of_last {
                400_000 => shape,
                _ => 6 * shape + if shape % 16 == 0 { 5 } else { 4 },
            };
            world.step((leaf, shape, what));
        }
    }
}

/// What nobody below a group waits for counts for any offer; what somebody waits for and can't get doesn't. One that
/// comes to be waited for is noticed, also after a change that took one shape and brought another.
#[test]
fn a_resource_counts_no_more_once_a_task_waits_for_it_in_vain() {
    let mut totals = Amounts::zero(2);
    let [cpus, licences] = [0, 1].map(ResourceId::new);
    totals.set(cpus, amount(100_000));
    totals.set(licences, amount(100_000));
    let mut tree = QueueTree::new(totals, PolicySpec::new("drf"));
    let [tiles, search] = ["tiles", "search"].map(|name| {
        let group = tree.add_queue(tree.root(), name.into(), QueueSettings::default());
        let path = format!("{name}/leaf");
        tree.add_queue(group, path.into(), QueueSettings::default())
    });
    let mut shape = |demand: &[(ResourceId, u64)]| {
        let demand = demand.iter().map(|(id, milli)| (*id, amount(*milli)));
        tree.acquire_shape(Shape {
            demand: Demand::new(demand),
            constraints: Vec::new(),
        })
    };
    let small = shape(&[(cpus, 1_000)]);
    let small_licence = shape(&[(licences, 1_000)]);
    let half_of_licences = shape(&[(cpus, 5_000), (licences, 50_000)]);
    let [fifth_of_cpus, other] = [shape(&[(cpus, 20_000)]), shape(&[(cpus, 2_000)])];
    tree.charge(tiles, half_of_licences);
    tree.charge(search, fifth_of_cpus);
    for bounds in [Bounds::Whole, Bounds::Walked, Bounds::Gathered] {
        let mut tree = tree.clone();
        let mut policy = Descend::with_bounds(Registry::default(), &tree, bounds);
        let mut seq = 0;
        let mut tell = |tree: &mut QueueTree, leaf, heads: &[(ShapeId, bool)]| {
            for (shape, waits) in heads {
                seq += 1;
                let rank = TaskRank {
                    priority: Reverse(0),
                    seq,
                };
                tree.set_head(leaf, *shape, waits.then_some(rank));
            }
            policy.changed(tree, leaf);
        };
        let mut free = Amounts::zero(2);
        free.set(cpus, amount(1_000));
        let mut fits = ShapeSet::default();
        fits.insert(small);
        // What waits elsewhere already is nothing new to the policy.
        let all = [(small, true), (small_licence, true), (other, true)];
        tell(&mut tree, search, &all);
        tell(&mut tree, tiles, &[(small, true)]);
        tell(&mut tree, tiles, &[(small_licence, true)]);
        let swap = [(small_licence, false), (other, true)];
        tell(&mut tree, tiles, &swap);
        tell(&mut tree, tiles, &[(small_licence, true)]);
        let offer = Offer {
            free: &free,
            fits: &fits,
        };
        // Of licences it has half, of cpus a twentieth, which alone counts.
        let choice = policy.choose(&tree, &offer).expect("two wait");
        assert_eq!(choice.leaf, tiles);
    }
}
