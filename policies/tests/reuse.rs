//! Ids of shapes that get another meaning between two calls of the policy.

use std::cmp::Reverse;
use std::sync::Arc;

use apportion_policies::{
    Amount, Amounts, Demand, Offer, Policy, QueueId, QueueSettings, QueueTree, Registry,
    ResourceId, Shape, ShapeId, ShapeSet, TaskRank,
};

use crate::sim::spec;

struct World {
    tree: QueueTree,
    policy: Box<dyn Policy>,
    leaves: [QueueId; 2],
}

fn shape(cpus: u64) -> Shape {
    let amount = Amount::from_units(cpus).unwrap();
    Shape {
        demand: Demand::new([(ResourceId::new(0), amount)]),
        constraints: Vec::new(),
    }
}

fn rank(seq: u64) -> TaskRank {
    TaskRank {
        priority: Reverse(0),
        seq,
    }
}

impl World {
    fn new() -> Self {
        let mut totals = Amounts::default();
        totals.set(ResourceId::new(0), Amount::from_units(10).unwrap());
        let mut tree = QueueTree::new(totals, spec("drf"));
        let group = tree.add_queue(tree.root(), Arc::from("g"), QueueSettings::default());
        // Below a limit of 5 cpus: the meaning of a shape decides whether it may go.
        let limit = QueueSettings {
            max: vec![(ResourceId::new(0), Amount::from_units(5).unwrap())],
            ..QueueSettings::default()
        };
        tree.set_settings(group, limit);
        let leaves = ["g/a", "g/b"]
            .map(|path| tree.add_queue(group, Arc::from(path), QueueSettings::default()));
        let policy = Registry::default().policy_for(&tree).unwrap();
        Self {
            tree,
            policy,
            leaves,
        }
    }

    fn wait(&mut self, leaf: usize, cpus: u64, seq: u64) -> ShapeId {
        let id = self.tree.acquire_shape(shape(cpus));
        self.tree.set_head(self.leaves[leaf], id, Some(rank(seq)));
        id
    }

    fn leave(&mut self, leaf: usize, shape: ShapeId) {
        self.tree.set_head(self.leaves[leaf], shape, None);
        self.tree.release_shape(shape);
    }

    fn tell(&mut self, leaf: usize) {
        self.policy.changed(&self.tree, self.leaves[leaf]);
    }

    /// The leaf served if everything fits.
    fn served(&mut self) -> Option<usize> {
        let mut fits = ShapeSet::default();
        self.tree.shapes().for_each(|(id, _)| fits.insert(id));
        let offer = Offer {
            free: self.tree.totals(),
            fits: &fits,
        };
        let choice = self.policy.choose(&self.tree, &offer)?;
        self.leaves.iter().position(|leaf| *leaf == choice.leaf)
    }
}

#[test]
fn an_id_may_change_its_meaning_within_one_leaf_unnoticed() {
    let mut world = World::new();
    let small = world.wait(0, 1, 1);
    world.tell(0);
    assert_eq!(world.served(), Some(0));
    world.leave(0, small);
    let large = world.wait(0, 9, 2);
    assert_eq!(small, large);
    world.tell(0);
    assert_eq!(world.served(), None, "9 cpus are above the limit");
}

#[test]
fn an_id_may_move_to_another_leaf_before_the_first_is_told_of() {
    let mut world = World::new();
    let large = world.wait(0, 9, 1);
    world.tell(0);
    assert_eq!(world.served(), None);
    world.leave(0, large);
    let small = world.wait(1, 1, 2);
    assert_eq!(small, large);
    world.tell(1);
    world.tell(0);
    assert_eq!(world.served(), Some(1));
}

#[test]
fn telling_twice_and_rebuilding_change_nothing() {
    let mut world = World::new();
    world.wait(1, 2, 1);
    world.wait(0, 2, 2);
    for leaf in [0, 1, 1, 0] {
        world.tell(leaf);
    }
    assert_eq!(world.served(), Some(1));
    world.policy.rebuild(&world.tree);
    assert_eq!(world.served(), Some(1));
}
