//! What queues are due, in examples whose answer is known, and what holds of any tree.

use apportion_policies::QueueSettings;
use apportion_policies::entitlement::entitlements;

use crate::sim::{Sim, weight};

/// Demands of a leaf's waiting tasks together.
type Wants<'a> = (&'a str, [u64; 2]);

/// The entitlements of these queues in a cluster of so many cpus and so much memory, in thousandths.
fn due(sim: &Sim, wants: &[Wants<'_>], paths: &[&str]) -> Vec<u64> {
    let wanted = |queue| {
        let path = &**sim.tree.path(queue);
        let found = wants.iter().find(|(name, _)| *name == path);
        found.map_or_else(Vec::new, |(_, amounts)| {
            amounts.map(|units| u128::from(units) * 1000).to_vec()
        })
    };
    let shares = entitlements(&sim.tree, wanted, sim.tree.totals());
    let of = |path: &&str| {
        let queue = sim
            .tree
            .queues()
            .find(|queue| **sim.tree.path(*queue) == **path)
            .unwrap();
        (shares[queue.index()].as_f64() * 1000.0).round() as u64
    };
    paths.iter().map(of).collect()
}

fn sim(cpus: u64, mem: u64, paths: &[&str]) -> Sim {
    let mut sim = Sim::new("drf");
    sim.agent(&[("cpus", &cpus.to_string()), ("mem", &mem.to_string())]);
    for path in paths {
        sim.queue(path, QueueSettings::default());
    }
    sim
}

#[test]
fn the_example_of_the_paper() {
    let sim = sim(9, 18, &["a", "b"]);
    let wants = [("a", [100, 400]), ("b", [300, 100])];
    assert_eq!(due(&sim, &wants, &["a", "b"]), [667, 667]);
}

#[test]
fn who_wants_little_leaves_the_rest_to_the_others_by_weight() {
    let mut sim = sim(100, 100, &["a", "b"]);
    sim.queue("c", weight("3"));
    let wants = [("a", [10, 0]), ("b", [500, 0]), ("c", [500, 0])];
    assert_eq!(due(&sim, &wants, &["a", "b", "c"]), [100, 225, 675]);
    let wants = [("a", [10, 0]), ("c", [50, 0])];
    assert_eq!(
        due(&sim, &wants, &["a", "b", "c"]),
        [100, 0, 500],
        "all have all"
    );
}

#[test]
fn complementary_siblings_do_not_keep_one_another_back() {
    let two = sim(10, 10, &["n1", "n2", "n2/cpu", "n2/mem"]);
    let wants = [("n1", [0, 99]), ("n2/cpu", [99, 0]), ("n2/mem", [0, 99])];
    assert_eq!(
        due(&two, &wants, &["n1", "n2/cpu", "n2/mem"]),
        [500, 1000, 500]
    );
    let three = sim(30, 30, &["n1", "n2", "n3", "n3/cpu", "n3/mem", "n4"]);
    let wants = [
        ("n1", [99, 0]),
        ("n2", [99, 0]),
        ("n3/cpu", [99, 0]),
        ("n3/mem", [0, 99]),
        ("n4", [0, 99]),
    ];
    let paths = ["n1", "n2", "n3/cpu", "n3/mem", "n4"];
    assert_eq!(due(&three, &wants, &paths), [333, 333, 333, 500, 500]);
}

#[test]
fn limits_and_guarantees_are_kept() {
    let mut sim = sim(100, 100, &["free"]);
    sim.queue_max("limited", &[("cpus", "10")]);
    sim.queue_max("group", &[("cpus", "20")]);
    sim.queue("group/x", QueueSettings::default());
    sim.queue("group/y", QueueSettings::default());
    let wants = [
        ("free", [900, 0]),
        ("limited", [900, 0]),
        ("group/x", [900, 0]),
        ("group/y", [900, 0]),
    ];
    let paths = ["free", "limited", "group", "group/x", "group/y"];
    assert_eq!(due(&sim, &wants, &paths), [700, 100, 200, 100, 100]);
    sim.queue_min("sure", &[("cpus", "60")]);
    let wants = [wants.as_slice(), &[("sure", [900, 0])]].concat();
    assert_eq!(
        due(&sim, &wants, &["free", "limited", "group", "sure"]),
        [150, 100, 150, 600]
    );
}

#[test]
fn a_limit_of_what_a_group_does_not_use_keeps_nothing_else_back() {
    let mut sim = sim(100, 100, &["free"]);
    sim.queue_max("group", &[("cpus", "20"), ("mem", "0")]);
    sim.queue("group/x", QueueSettings::default());
    let wants = [("free", [900, 0]), ("group/x", [900, 0])];
    assert_eq!(due(&sim, &wants, &["free", "group"]), [800, 200]);
}

#[test]
fn who_wants_exactly_what_there_is_gets_it() {
    let sim = sim(10, 10, &["a"]);
    assert_eq!(due(&sim, &[("a", [10, 5])], &["a"]), [1000]);
}

#[test]
fn a_guarantee_of_what_nobody_wants_gives_nothing_else() {
    let mut sim = sim(10, 10, &["a"]);
    sim.queue_min("sure", &[("mem", "9")]);
    let wants = [("a", [99, 0]), ("sure", [99, 0])];
    assert_eq!(due(&sim, &wants, &["a", "sure"]), [500, 500]);
}

#[test]
fn a_guarantee_of_a_group_is_filled_also_by_those_that_go_on_alone() {
    let mut sim = sim(12, 12, &[]);
    sim.queue_min("g", &[("mem", "6")]);
    sim.queue("g/x", QueueSettings::default());
    sim.queue("g/y", QueueSettings::default());
    sim.queue("h", weight("9"));
    let wants = [("g/x", [0, 1]), ("g/y", [0, 12]), ("h", [0, 99])];
    let paths = ["g", "g/x", "g/y", "h"];
    assert_eq!(due(&sim, &wants, &paths), [500, 83, 417, 500]);
}

#[test]
fn once_the_cluster_is_full_those_at_a_max_stop_nobody_who_wants_something_else() {
    let mut sim = sim(12, 12, &["o"]);
    sim.queue_max("g", &[("mem", "2")]);
    for path in ["g/x", "g/y", "g/z"] {
        sim.queue(path, QueueSettings::default());
    }
    let wants = [
        ("o", [0, 99]),
        ("g/x", [0, 9]),
        ("g/y", [3, 0]),
        ("g/z", [6, 0]),
    ];
    let paths = ["o", "g/x", "g/y", "g/z"];
    assert_eq!(due(&sim, &wants, &paths), [833, 167, 250, 500]);
}

#[test]
fn a_share_turns_where_another_resource_becomes_the_dominant_one() {
    let mut sim = sim(12, 12, &["a", "b", "b/y"]);
    sim.queue("b/x", weight("2"));
    let wants = [("a", [0, 7]), ("b/x", [1, 5]), ("b/y", [6, 1])];
    assert_eq!(
        due(&sim, &wants, &["a", "b", "b/x", "b/y"]),
        [512, 512, 417, 429]
    );
}

#[test]
fn a_share_stays_while_a_queue_uses_more_of_what_is_not_dominant() {
    let mut sim = sim(12, 12, &["g", "g/z"]);
    sim.queue("g/x", weight("4"));
    sim.queue("g/y", weight("2"));
    let wants = [("g/x", [4, 0]), ("g/y", [0, 13]), ("g/z", [9, 0])];
    assert_eq!(due(&sim, &wants, &["g/x", "g/y", "g/z"]), [333, 1000, 667]);
}

#[test]
fn ten_thousand_queues_share_alike() {
    let mut sim = sim(1000, 1000, &[]);
    let groups: Vec<String> = (0..100).map(|group| format!("g{group}")).collect();
    let mut leaves = Vec::new();
    for group in &groups {
        sim.queue(group, QueueSettings::default());
        for leaf in 0..100 {
            let path = format!("{group}/{leaf}");
            sim.queue(&path, QueueSettings::default());
            leaves.push(path);
        }
    }
    let shares = entitlements(&sim.tree, |_| vec![1_000_000, 1_000], sim.tree.totals());
    let all = 1.0 / leaves.len() as f64;
    for queue in sim.tree.queues().filter(|queue| sim.tree.is_leaf(*queue)) {
        let share = shares[queue.index()].as_f64();
        assert!((share - all).abs() < 1e-8, "{share} instead of {all}");
    }
}
