//! The queue tree: what is charged where, limits, shapes.

use std::cmp::Reverse;
use std::num::NonZeroU64;
use std::sync::Arc;

use apportion_policies::{
    Amount, Amounts, Demand, PolicySpec, QueueSettings, QueueTree, ResourceId, Shape, TaskRank,
};

const CPUS: fn() -> ResourceId = || ResourceId::new(0);
const MEM: fn() -> ResourceId = || ResourceId::new(1);

fn units(count: u64) -> Amount {
    Amount::from_units(count).unwrap()
}

fn shape(cpus: u64, mem: u64) -> Shape {
    let demand = Demand::new([(CPUS(), units(cpus)), (MEM(), units(mem))]);
    Shape {
        demand,
        constraints: Vec::new(),
    }
}

fn tree() -> QueueTree {
    let mut totals = Amounts::zero(2);
    totals.set(CPUS(), units(10));
    totals.set(MEM(), units(20));
    QueueTree::new(totals, PolicySpec::new("drf"))
}

fn rank(seq: u64) -> TaskRank {
    TaskRank {
        priority: Reverse(0),
        seq,
    }
}

#[test]
fn a_launch_counts_in_the_leaf_and_in_all_queues_above() {
    let mut tree = tree();
    let maps = tree.add_queue(tree.root(), Arc::from("maps"), QueueSettings::default());
    let render = tree.add_queue(maps, Arc::from("maps/render"), QueueSettings::default());
    let other = tree.add_queue(tree.root(), Arc::from("other"), QueueSettings::default());
    let task = tree.acquire_shape(shape(2, 1));
    tree.charge(render, task);
    tree.charge(render, task);
    for queue in [tree.root(), maps, render] {
        assert_eq!(tree.used(queue).get(CPUS()), units(4));
        assert_eq!(tree.running(queue), 2);
        assert_eq!(tree.dominant_share(queue).0.to_string(), "2/5");
        assert_eq!(tree.dominant_share(queue).1, Some(CPUS()));
    }
    assert_eq!(tree.running(other), 0);
    assert_eq!(tree.dominant_share(other).1, None);
    tree.release(render, task);
    assert_eq!(tree.used(tree.root()).get(CPUS()), units(2));
    assert_eq!(tree.children(tree.root()), [maps, other]);
    assert_eq!(tree.parent(render), Some(maps));
    assert!(tree.is_leaf(render) && !tree.is_leaf(maps) && !tree.is_leaf(tree.root()));
}

#[test]
fn max_holds_on_the_whole_path_and_only_for_what_is_asked_for() {
    let mut tree = tree();
    let limit = |resource, count| QueueSettings {
        max: vec![(resource, units(count))],
        ..QueueSettings::default()
    };
    let outer = tree.add_queue(tree.root(), Arc::from("a"), limit(CPUS(), 3));
    let inner = tree.add_queue(outer, Arc::from("a/b"), limit(MEM(), 0));
    let task = tree.acquire_shape(shape(2, 0));
    assert_eq!(tree.blocking_max(inner, &shape(3, 0).demand), None);
    assert_eq!(
        tree.blocking_max(inner, &shape(4, 0).demand),
        Some((outer, CPUS()))
    );
    assert_eq!(
        tree.blocking_max(inner, &shape(1, 1).demand),
        Some((inner, MEM()))
    );
    tree.charge(inner, task);
    assert_eq!(
        tree.blocking_max(inner, &shape(2, 0).demand),
        Some((outer, CPUS()))
    );
    assert_eq!(tree.blocking_max(inner, &shape(1, 0).demand), None);
    assert_eq!(tree.blocking_max(inner, &Demand::default()), None);
}

#[test]
fn heads_stand_in_order_of_shapes() {
    let mut tree = tree();
    let leaf = tree.add_queue(tree.root(), Arc::from("a"), QueueSettings::default());
    let [first, second] = [shape(1, 1), shape(2, 2)].map(|shape| tree.acquire_shape(shape));
    tree.set_head(leaf, second, Some(rank(1)));
    tree.set_head(leaf, first, Some(rank(2)));
    assert_eq!(tree.heads(leaf), [(first, rank(2)), (second, rank(1))]);
    tree.set_head(leaf, second, Some(rank(9)));
    tree.set_head(leaf, first, None);
    tree.set_head(leaf, first, None);
    assert_eq!(tree.heads(leaf), [(second, rank(9))]);
}

#[test]
fn ids_of_shapes_are_shared_and_used_again() {
    let mut tree = tree();
    let one = tree.acquire_shape(shape(1, 1));
    let two = tree.acquire_shape(shape(2, 2));
    assert_eq!(tree.acquire_shape(shape(1, 1)), one);
    tree.release_shape(one);
    let generation = tree.shape_generation(one);
    tree.release_shape(one);
    assert_eq!(tree.shapes().map(|(id, _)| id).collect::<Vec<_>>(), [two]);
    assert_eq!(tree.acquire_shape(shape(3, 3)), one);
    assert!(tree.shape_generation(one) > generation);
    assert_eq!(tree.shape(one), &shape(3, 3));
}

#[test]
fn constraints_make_another_shape() {
    let mut tree = tree();
    let plain = tree.acquire_shape(shape(1, 1));
    let rack = vec![(Arc::from("rack"), Arc::from("r1"))];
    assert_ne!(
        tree.acquire_shape(Shape {
            constraints: rack,
            ..shape(1, 1)
        }),
        plain
    );
}

#[test]
#[should_panic(expected = "a queue with tasks stays a leaf")]
fn no_queue_is_put_below_waiting_tasks() {
    let mut tree = tree();
    let leaf = tree.add_queue(tree.root(), Arc::from("a"), QueueSettings::default());
    let task = tree.acquire_shape(shape(1, 1));
    tree.set_head(leaf, task, Some(rank(1)));
    tree.add_queue(leaf, Arc::from("a/b"), QueueSettings::default());
}

#[test]
#[should_panic(expected = "tasks live in leaves")]
fn inner_queues_hold_no_tasks() {
    let mut tree = tree();
    let inner = tree.add_queue(tree.root(), Arc::from("a"), QueueSettings::default());
    tree.add_queue(inner, Arc::from("a/b"), QueueSettings::default());
    let task = tree.acquire_shape(shape(1, 1));
    tree.set_head(inner, task, Some(rank(1)));
}

#[test]
#[should_panic(expected = "a queue with tasks stays a leaf")]
fn no_queue_comes_below_one_in_which_tasks_run() {
    let mut tree = tree();
    let leaf = tree.add_queue(tree.root(), Arc::from("a"), QueueSettings::default());
    let task = tree.acquire_shape(shape(1, 1));
    tree.charge(leaf, task);
    tree.add_queue(leaf, Arc::from("a/b"), QueueSettings::default());
}

#[test]
fn of_equal_shares_that_of_the_first_resource_dominates() {
    let mut tree = tree();
    assert!(!tree.is_empty(), "the root is there");
    let leaf = tree.add_queue(tree.root(), Arc::from("a"), QueueSettings::default());
    let task = tree.acquire_shape(shape(2, 4));
    tree.charge(leaf, task);
    assert_eq!(tree.dominant_share(leaf).1, Some(CPUS()));
}

#[test]
fn past_use_is_kept_where_the_queue_above_forgets_with_a_half_life() {
    let forgetting = PolicySpec {
        half_life: NonZeroU64::new(1000),
        ..PolicySpec::new("drf")
    };
    let mut tree = QueueTree::new(Amounts::zero(2), forgetting);
    let plain = QueueSettings {
        policy: Some(PolicySpec::new("fifo")),
        ..QueueSettings::default()
    };
    let inner = tree.add_queue(tree.root(), Arc::from("a"), plain);
    let leaf = tree.add_queue(inner, Arc::from("a/b"), QueueSettings::default());
    let has_memory = [tree.root(), inner, leaf].map(|queue| tree.has_memory(queue));
    assert_eq!(has_memory, [false, true, false]);
}
