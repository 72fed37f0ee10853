//! Who consumes an offer: each policy on small examples, step by step.

use apportion_policies::{PolicySpec, QueueSettings};

use crate::sim::{Sim, spec, weight};

/// Simple queues `a`, `b`, ... with tasks of one cpu.
fn sim_of_cpus(policy: &str, cpus: &str, weights: &[&str]) -> Sim {
    let mut sim = Sim::new(policy);
    sim.agent(&[("cpus", cpus)]);
    for (path, text) in ["a", "b", "c", "d"].iter().zip(weights) {
        sim.queue(path, weight(text));
        sim.submit(path, 20, &[("cpus", "1")]);
    }
    sim
}

/// Section 4.1 of Ghodsi et al., NSDI 2011. Their table starts with B.
#[test]
fn drf_serves_the_example_of_its_paper() {
    let mut sim = Sim::new("drf");
    sim.agent(&[("cpus", "9"), ("mem", "18")]);
    sim.queue("a", QueueSettings::default());
    sim.queue("b", QueueSettings::default());
    sim.submit("b", 10, &[("cpus", "3"), ("mem", "1")]);
    sim.submit("a", 10, &[("cpus", "1"), ("mem", "4")]);
    let steps = [
        ("b", "0", "1/3"),
        ("a", "2/9", "1/3"),
        ("a", "4/9", "1/3"),
        ("b", "4/9", "2/3"),
        ("a", "2/3", "2/3"),
    ];
    for (path, a, b) in steps {
        assert_eq!(sim.offer_limited(1), [path]);
        assert_eq!(
            (
                sim.dominant_share("a").as_str(),
                sim.dominant_share("b").as_str()
            ),
            (a, b)
        );
    }
    assert!(sim.offer().is_empty());
    assert_eq!((sim.running("a"), sim.running("b")), (3, 2));
}

#[test]
fn weights_divide_three_to_two_to_one() {
    for policy in ["drf", "weighted"] {
        let mut sim = sim_of_cpus(policy, "12", &["3", "2", "1"]);
        let launched = sim.offer();
        assert_eq!(launched[..6], ["a", "b", "c", "a", "b", "a"], "{policy}");
        assert_eq!(
            (sim.running("a"), sim.running("b"), sim.running("c")),
            (6, 4, 2)
        );
        sim.finish("c", 2);
        assert_eq!(sim.offer(), ["c", "c"]);
    }
}

#[test]
fn fifo_goes_by_priority_then_by_submission() {
    let mut sim = Sim::new("fifo");
    sim.agent(&[("cpus", "6")]);
    sim.queue("a", QueueSettings::default());
    sim.queue("b", QueueSettings::default());
    sim.submit("b", 2, &[("cpus", "1")]);
    sim.submit("a", 2, &[("cpus", "1")]);
    sim.submit_priority("b", 1, &[("cpus", "1")], -1);
    sim.submit_priority("a", 1, &[("cpus", "1")], 5);
    assert_eq!(sim.offer(), ["a", "b", "b", "a", "a", "b"]);
}

#[test]
fn weighted_counts_tasks_or_one_resource() {
    let run = |resource: Option<&str>| {
        let mut sim = Sim::new("weighted");
        sim.agent(&[("cpus", "8")]);
        let resource = resource.map(|name| sim.resource(name));
        let own = PolicySpec {
            resource,
            ..PolicySpec::new("weighted")
        };
        sim.queue_policy("g", own);
        sim.queue("g/big", QueueSettings::default());
        sim.queue("g/small", QueueSettings::default());
        sim.submit("g/big", 9, &[("cpus", "2")]);
        sim.submit("g/small", 9, &[("cpus", "1")]);
        sim.offer();
        (sim.running("g/big"), sim.running("g/small"))
    };
    assert_eq!(run(None), (3, 2));
    assert_eq!(run(Some("cpus")), (2, 4));
}

#[test]
fn a_cluster_resource_can_be_the_dominant_one() {
    let mut sim = Sim::new("drf");
    sim.cluster("db_connections", "10");
    sim.agent(&[("cpus", "100")]);
    sim.agent(&[("cpus", "100")]);
    sim.queue("db", QueueSettings::default());
    sim.queue("both", QueueSettings::default());
    sim.submit("db", 20, &[("cpus", "1"), ("db_connections", "1")]);
    sim.submit("both", 20, &[("cpus", "1"), ("db_connections", "3")]);
    assert_eq!(sim.offer(), ["db", "both", "db", "db", "db", "both"]);
    assert_eq!(sim.dominant_share("db"), "2/5");
    assert_eq!(sim.dominant_share("both"), "3/5");
}

#[test]
fn who_does_not_fit_is_skipped_and_the_next_goes() {
    let mut sim = Sim::new("drf");
    sim.agent(&[("cpus", "3")]);
    sim.queue("a", QueueSettings::default());
    sim.queue("b", QueueSettings::default());
    sim.submit("a", 2, &[("cpus", "2")]);
    sim.submit("b", 9, &[("cpus", "1")]);
    assert_eq!(sim.offer(), ["a", "b"]);
    sim.finish("b", 1);
    assert_eq!(
        sim.offer(),
        ["b"],
        "a is no further behind, and its task of 2 doesn't fit"
    );
}

#[test]
fn inside_a_leaf_a_later_task_that_fits_goes_first() {
    let mut sim = Sim::new("drf");
    sim.agent(&[("cpus", "3")]);
    sim.queue("a", QueueSettings::default());
    sim.submit_priority("a", 1, &[("cpus", "9")], 1);
    sim.submit("a", 1, &[("cpus", "1")]);
    sim.submit_priority("a", 1, &[("cpus", "2")], 1);
    assert_eq!(sim.offer(), ["a", "a"]);
    assert_eq!(sim.dominant_share("a"), "1");
}

#[test]
fn max_of_an_inner_queue_blocks_all_below_it() {
    let mut sim = Sim::new("drf");
    sim.agent(&[("cpus", "10")]);
    sim.queue_max("g", &[("cpus", "3")]);
    sim.queue("g/x", QueueSettings::default());
    sim.queue("g/y", QueueSettings::default());
    sim.queue("h", QueueSettings::default());
    for path in ["g/x", "g/y", "h"] {
        sim.submit(path, 20, &[("cpus", "1")]);
    }
    sim.offer();
    assert_eq!(
        (sim.running("g/x"), sim.running("g/y"), sim.running("h")),
        (2, 1, 7)
    );
    sim.finish("g/x", 1);
    sim.finish("h", 1);
    assert_eq!(sim.offer(), ["g/x", "h"]);
}

#[test]
fn max_stops_the_shape_that_asks_for_it_and_no_other() {
    let mut sim = Sim::new("fifo");
    sim.cluster("licences", "5");
    sim.agent(&[("cpus", "10")]);
    sim.queue_max("a", &[("licences", "1")]);
    sim.submit("a", 3, &[("cpus", "1"), ("licences", "1")]);
    sim.submit("a", 3, &[("cpus", "1")]);
    assert_eq!(sim.offer().len(), 4);
    assert_eq!(sim.dominant_share("a"), "2/5");
}

#[test]
fn each_queue_may_order_its_children_by_a_policy_of_its_own() {
    let mut sim = Sim::new("drf");
    sim.agent(&[("cpus", "8")]);
    sim.queue_policy("old", spec("fifo"));
    sim.queue("old/x", QueueSettings::default());
    sim.queue("old/y", QueueSettings::default());
    sim.queue("fair", QueueSettings::default());
    sim.queue("fair/x", QueueSettings::default());
    sim.queue("fair/y", QueueSettings::default());
    for path in ["old/x", "old/y", "fair/x", "fair/y"] {
        sim.submit(path, 9, &[("cpus", "1")]);
    }
    sim.offer();
    let running = ["old/x", "old/y", "fair/x", "fair/y"].map(|path| sim.running(path));
    assert_eq!(running, [4, 0, 2, 2]);
}

/// 1/3 against 2/6 is a tie although the totals differ; as floats with weights it often isn't one.
#[test]
fn exact_ties_go_to_the_task_submitted_first_then_to_the_lesser_path() {
    let mut sim = Sim::new("drf");
    sim.agent(&[("cpus", "3"), ("mem", "6")]);
    sim.queue("z", QueueSettings::default());
    sim.queue("b", QueueSettings::default());
    sim.submit("b", 2, &[("mem", "2")]);
    sim.submit("z", 2, &[("cpus", "1")]);
    assert_eq!(sim.offer_limited(2), ["b", "z"]);
    assert_eq!(
        (sim.dominant_share("b"), sim.dominant_share("z")),
        ("1/3".into(), "1/3".into())
    );
    assert_eq!(sim.offer(), ["b", "z"], "b's second task is older than z's");
}

/// Weights of three digits: as floats, 0.1 + 0.2 style differences would decide.
#[test]
fn groups_stand_by_what_they_use_now_also_for_shapes_that_nothing_ended_of() {
    let mut sim = Sim::new("weighted");
    sim.agent(&[("cpus", "8")]);
    sim.agent(&[("mem", "1")]);
    for path in ["g", "g/x", "g/y", "h", "h/z"] {
        sim.queue(path, QueueSettings::default());
    }
    sim.submit("g/x", 3, &[("cpus", "1")]);
    sim.submit("h/z", 2, &[("cpus", "1")]);
    sim.offer();
    for path in ["h/z", "g/y"] {
        sim.submit(path, 1, &[("mem", "1")]);
    }
    sim.finish("g/x", 3);
    assert_eq!(sim.offer(), ["g/y"]);
}

#[test]
fn groups_of_groups_under_fifo_go_by_the_oldest_task_below_them() {
    for inner in ["fifo", "drf"] {
        let mut sim = sim_of_cpus("fifo", "2", &[]);
        for path in ["g", "g/m", "h", "h/n"] {
            sim.queue_policy(path, spec(inner));
        }
        for path in ["h/n/b", "g/m/a"] {
            sim.queue(path, QueueSettings::default());
            sim.submit(path, 1, &[("cpus", "1")]);
        }
        assert_eq!(sim.offer(), ["h/n/b", "g/m/a"], "{inner}");
    }
}

#[test]
fn weighted_ties_stay_ties_over_many_rounds() {
    let mut sim = Sim::new("drf");
    sim.agent(&[("cpus", "60")]);
    for (path, text) in [("a", "0.1"), ("b", "0.2"), ("c", "0.3")] {
        sim.queue(path, weight(text));
        sim.submit(path, 60, &[("cpus", "1")]);
    }
    for round in 1..=10_u64 {
        sim.offer_limited(6);
        let running = ["a", "b", "c"].map(|path| sim.running(path));
        assert_eq!(running, [round, 2 * round, 3 * round]);
    }
}

#[test]
fn queues_added_in_another_order_are_served_alike() {
    let run = |paths: [&str; 4]| {
        let mut sim = Sim::new("drf");
        sim.agent(&[("cpus", "7"), ("mem", "9")]);
        for path in paths {
            sim.queue(path, QueueSettings::default());
        }
        for path in ["a", "b", "c", "d"] {
            sim.submit(path, 4, &[("cpus", "1"), ("mem", "1")]);
        }
        sim.offer()
    };
    assert_eq!(run(["a", "b", "c", "d"]), run(["d", "b", "a", "c"]));
}

#[test]
fn an_end_below_the_max_of_a_group_lets_go_what_was_too_large_for_it() {
    let mut sim = Sim::new("drf");
    sim.agent(&[("cpus", "10")]);
    sim.queue_max("g", &[("cpus", "4")]);
    sim.queue("g/a", QueueSettings::default());
    sim.submit("g/a", 1, &[("cpus", "3")]);
    sim.submit("g/a", 1, &[("cpus", "2")]);
    assert_eq!(sim.offer(), ["g/a"]);
    sim.finish("g/a", 1);
    assert_eq!(
        sim.offer(),
        ["g/a"],
        "there is room for more than it asks for"
    );
}

/// The group is ordered by submission, so its own use counts as it is.
#[test]
fn what_a_group_holds_of_a_resource_does_not_count_where_none_that_want_it_can_go() {
    let mut sim = Sim::new("drf");
    sim.agent(&[("cpus", "10"), ("mem", "10")]);
    sim.queue_policy("g", spec("fifo"));
    for path in ["g/x", "g/y", "h"] {
        sim.queue(path, QueueSettings::default());
    }
    sim.submit("g/x", 5, &[("cpus", "1")]);
    sim.submit("h", 3, &[("mem", "1")]);
    assert_eq!(sim.offer().len(), 8);
    sim.submit("g/x", 1, &[("cpus", "6")]);
    sim.submit("h", 1, &[("mem", "1")]);
    sim.submit("g/y", 1, &[("mem", "1")]);
    assert_eq!(
        sim.offer_limited(1),
        ["g/y"],
        "half of the cpus don't count"
    );
    sim.finish("g/x", 1);
    sim.submit("g/y", 1, &[("mem", "1")]);
    assert_eq!(sim.offer_limited(1), ["h"], "now they do");
}
