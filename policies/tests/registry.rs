//! Names of policies, and policies that a program brings along.

use std::sync::Arc;

use apportion_policies::{
    Amounts, Key, QueueId, QueueSettings, QueueTree, Ranking, Registry, Share, TaskRank,
};

use crate::sim::{Sim, spec};

/// Most running tasks first: a policy that the crate doesn't have.
struct Busiest;

impl Ranking for Busiest {
    fn key(&self, tree: &QueueTree, queue: QueueId, _next: TaskRank) -> Key {
        Key {
            tier: -i64::try_from(tree.running(queue)).unwrap(),
            share: Share::ZERO,
        }
    }
}

#[test]
fn an_unknown_name_is_an_error_that_lists_the_known() {
    let mut tree = QueueTree::new(Amounts::default(), spec("drf"));
    let settings = QueueSettings {
        policy: Some(spec("fair")),
        ..QueueSettings::default()
    };
    tree.add_queue(tree.root(), Arc::from("maps"), settings);
    let error = Registry::default().policy_for(&tree).err().unwrap();
    assert_eq!(&*error.queue, "maps");
    assert_eq!(
        error.to_string(),
        "there is no policy 'fair'; known are drf, fifo, weighted"
    );
}

#[test]
fn the_policy_has_the_name_of_the_default() {
    let tree = QueueTree::new(Amounts::default(), spec("weighted"));
    assert_eq!(
        Registry::default().policy_for(&tree).unwrap().name(),
        "weighted"
    );
}

#[test]
fn a_program_registers_its_own() {
    let mut sim = Sim::new("busiest").without_reference();
    sim.registry.register("busiest", |_| Arc::new(Busiest));
    sim.agent(&[("cpus", "4")]);
    sim.queue("a", QueueSettings::default());
    sim.queue("b", QueueSettings::default());
    sim.submit("b", 1, &[("cpus", "1")]);
    sim.submit("a", 5, &[("cpus", "1")]);
    sim.submit("b", 1, &[("cpus", "1")]);
    assert_eq!(sim.offer(), ["b", "b", "a", "a"]);
}
