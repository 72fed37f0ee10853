//! Guarantees, and use that is forgotten with a half-life, step by step.

use std::num::NonZeroU64;

use apportion_policies::{PolicySpec, QueueSettings};

use crate::sim::{Sim, spec, weight};

const HOUR: u64 = 3_600_000;

fn sim_of_cpus(policy: PolicySpec, cpus: &str) -> Sim {
    let mut sim = Sim::with_spec(policy);
    sim.agent(&[("cpus", cpus)]);
    sim
}

fn with_half_life(name: &str) -> PolicySpec {
    PolicySpec {
        half_life: NonZeroU64::new(HOUR),
        ..spec(name)
    }
}

#[test]
fn a_queue_below_its_guarantee_goes_first_under_every_policy() {
    for policy in ["drf", "weighted", "fifo"] {
        let mut sim = sim_of_cpus(spec(policy), "8");
        sim.queue("a", weight("100"));
        sim.queue_min("b", &[("cpus", "3")]);
        sim.submit("a", 20, &[("cpus", "1")]);
        sim.submit("b", 20, &[("cpus", "1")]);
        let launched = sim.offer();
        assert_eq!(launched[..3], ["b", "b", "b"], "{policy}");
        assert_eq!((sim.running("a"), sim.running("b")), (5, 3), "{policy}");
    }
}

#[test]
fn the_one_furthest_below_in_proportion_goes_first() {
    let mut sim = sim_of_cpus(spec("fifo"), "8");
    sim.queue_min("a", &[("cpus", "2")]);
    sim.queue_min("b", &[("cpus", "4")]);
    sim.submit("a", 20, &[("cpus", "1")]);
    sim.submit("b", 20, &[("cpus", "1")]);
    // 0/2 and 0/4 tie, a's task is older; then 1/2 against 0/4, 1/4; at 1/2 each a's is older again.
    assert_eq!(sim.offer_limited(6), ["a", "b", "b", "a", "b", "b"]);
}

#[test]
fn a_guarantee_for_what_a_queue_does_not_want_gives_it_nothing() {
    let mut sim = Sim::new("drf");
    sim.agent(&[("cpus", "4"), ("mem", "4")]);
    sim.queue("a", QueueSettings::default());
    sim.queue_min("b", &[("mem", "4")]);
    sim.submit("a", 9, &[("cpus", "1")]);
    sim.submit("b", 9, &[("cpus", "1")]);
    assert_eq!(sim.offer(), ["a", "b", "a", "b"]);
    // A task that wants it, but doesn't fit, gives nothing either.
    sim.submit("b", 1, &[("mem", "5")]);
    sim.finish("a", 1);
    assert_eq!(sim.offer(), ["a"]);
}

#[test]
fn past_use_counts_and_is_forgotten() {
    for policy in ["drf", "weighted"] {
        let mut sim = sim_of_cpus(with_half_life(policy), "8");
        sim.queue("early", QueueSettings::default());
        sim.queue("late", QueueSettings::default());
        sim.submit("early", 8, &[("cpus", "1")]);
        sim.offer();
        sim.advance(HOUR);
        sim.finish("early", 8);
        sim.submit("early", 20, &[("cpus", "1")]);
        sim.submit("late", 20, &[("cpus", "1")]);
        // Half of 8 is remembered, so the late one has four before they take turns.
        assert_eq!(sim.offer_limited(4), ["late"; 4], "{policy}");
        let next = sim.offer();
        assert_eq!(
            (sim.running("early"), sim.running("late")),
            (4, 4),
            "{policy} {next:?}"
        );
        sim.finish("early", 4);
        sim.finish("late", 4);
        sim.advance(40 * HOUR);
        sim.offer_limited(4);
        assert_eq!(
            (sim.running("early"), sim.running("late")),
            (2, 2),
            "{policy}"
        );
    }
}

#[test]
fn a_burst_is_charged_at_once() {
    let mut sim = sim_of_cpus(with_half_life("drf"), "10");
    sim.queue("burst", QueueSettings::default());
    sim.queue("steady", QueueSettings::default());
    sim.submit("steady", 5, &[("cpus", "1")]);
    sim.offer();
    sim.advance(HOUR / 10);
    sim.submit("burst", 50, &[("cpus", "1")]);
    sim.submit("steady", 50, &[("cpus", "1")]);
    assert_eq!(sim.offer(), ["burst"; 5], "up to what steady holds");
    sim.advance(1);
    sim.finish("burst", 2);
    assert_eq!(
        sim.offer(),
        ["burst"; 2],
        "what was held for a moment is not held against it"
    );
}

#[test]
fn limits_and_guarantees_look_at_what_is_held_now() {
    let mut sim = sim_of_cpus(with_half_life("drf"), "8");
    let max = sim.demand_with_zeros(&[("cpus", "4")]);
    let min = sim.demand_with_zeros(&[("cpus", "2")]);
    let limited = QueueSettings {
        min,
        max,
        ..QueueSettings::default()
    };
    sim.queue("limited", limited);
    sim.queue("other", QueueSettings::default());
    sim.submit("limited", 20, &[("cpus", "1")]);
    assert_eq!(sim.offer().len(), 4);
    sim.advance(10 * HOUR);
    sim.finish("limited", 4);
    sim.submit("other", 20, &[("cpus", "1")]);
    let launched = sim.offer();
    assert_eq!(launched[..2], ["limited", "limited"], "its guarantee");
    assert_eq!(
        launched[2..6],
        ["other"; 4],
        "until it holds as much as is remembered"
    );
    assert_eq!(
        sim.running("limited"),
        4,
        "what is remembered is no use of its max"
    );
}

/// The incremental order under a half-life is the one that a new index finds, at any moment.
#[test]
fn queues_with_different_pasts_cross_as_time_passes() {
    let mut sim = sim_of_cpus(with_half_life("drf"), "100");
    sim.queue("much", QueueSettings::default());
    sim.queue("little", QueueSettings::default());
    sim.submit("much", 60, &[("cpus", "1")]);
    sim.offer();
    sim.advance(20 * HOUR);
    sim.finish("much", 60);
    sim.submit("little", 10, &[("cpus", "1")]);
    sim.offer();
    sim.submit("much", 50, &[("cpus", "1")]);
    sim.submit("little", 50, &[("cpus", "1")]);
    let mut served = Vec::new();
    for _ in 0..12 {
        served.extend(sim.offer_limited(1));
        sim.advance(HOUR / 2);
    }
    assert_eq!(served[..3], ["little"; 3]);
    assert!(served.iter().any(|path| path == "much"), "{served:?}");
}
