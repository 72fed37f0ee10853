//! What each clause of hierarchical DRF for whole tasks is for: a scenario that goes as it should, and otherwise where the
//! clause is left out.
//!
//! The wrong forms are done by the slow reference; that the fast one does as the right reference does is shown elsewhere.

use apportion_policies::QueueSettings;

use crate::sim::{Sim, weight};
use crate::wrong::Wrong;

/// A queue with the demand of its tasks, of which there are many.
type Plan<'a> = (&'a str, &'a [(&'a str, &'a str)]);

/// Plays a scenario with the right policy, which must come to `expected`, and with a wrong one, which must come to
/// something else: to what, is told.
#[track_caller]
fn check(wrong: Wrong, paths: &[&str], expected: &[u64], play: impl Fn(&mut Sim)) -> Vec<u64> {
    let run = |mut sim: Sim| {
        play(&mut sim);
        paths
            .iter()
            .map(|path| sim.running(path))
            .collect::<Vec<_>>()
    };
    assert_eq!(run(Sim::new("drf")), expected, "the right policy");
    let otherwise = run(Sim::new("drf").with_wrong(wrong));
    assert_ne!(otherwise, expected, "{wrong:?} changes nothing");
    otherwise
}

fn groups(sim: &mut Sim, paths: &[&str]) {
    for path in paths {
        sim.queue(path, QueueSettings::default());
    }
}

/// The queues, and as many tasks as could ever run.
fn crowd(sim: &mut Sim, plans: &[Plan<'_>]) {
    for (path, demand) in plans {
        sim.queue(path, QueueSettings::default());
        sim.submit(path, 60, demand);
    }
}

const CPU: &[(&str, &str)] = &[("cpus", "1")];
const MEM: &[(&str, &str)] = &[("mem", "1")];

fn four_groups(sim: &mut Sim, cpus: &str, cpu: &[(&str, &str)]) {
    sim.agent(&[("cpus", cpus), ("mem", "30")]);
    groups(sim, &["n3"]);
    crowd(
        sim,
        &[
            ("n1", cpu),
            ("n2", cpu),
            ("n3/cpu", cpu),
            ("n3/mem", MEM),
            ("n4", MEM),
        ],
    );
    sim.offer();
}

#[test]
fn blocked_is_who_can_not_go_not_only_who_wants_what_is_used_up() {
    let play = |sim: &mut Sim| four_groups(sim, "31", &[("cpus", "3")]);
    let wrong = check(
        Wrong::BlockedOnlyIfUsedUp,
        &["n3/mem", "n4"],
        &[15, 15],
        play,
    );
    assert_eq!(wrong, [21, 9]);
}

#[test]
fn who_can_not_go_is_no_measure() {
    let play = |sim: &mut Sim| four_groups(sim, "30", CPU);
    check(
        Wrong::AllThatWaitAreMeasures,
        &["n3/mem", "n4"],
        &[15, 15],
        play,
    );
}

#[test]
fn who_waits_for_another_agent_is_no_measure() {
    let play = |sim: &mut Sim| {
        sim.agent(&[("cpus", "16")]);
        sim.agent(&[("cpus", "16"), ("gpus", "32")]);
        groups(sim, &["g"]);
        crowd(
            sim,
            &[
                ("g/gpu", &[("cpus", "1"), ("gpus", "1")]),
                ("g/cpu", CPU),
                ("other", CPU),
            ],
        );
        sim.offer_agent(0, 99);
    };
    let wrong = check(
        Wrong::BlockedOnlyByTotals,
        &["g/cpu", "other"],
        &[8, 8],
        play,
    );
    assert!(wrong[0] > 8, "{wrong:?}");
}

#[test]
fn a_child_at_its_max_is_no_measure() {
    let play = |sim: &mut Sim| {
        sim.agent(&[("cpus", "20")]);
        groups(sim, &["g"]);
        sim.queue_max("g/capped", &[("cpus", "1")]);
        sim.submit("g/capped", 60, CPU);
        crowd(sim, &[("g/free", CPU), ("other", CPU)]);
        sim.offer();
    };
    let wrong = check(Wrong::MaxDoesNotBlock, &["g", "other"], &[10, 10], play);
    assert!(wrong[0] >= 17, "{wrong:?}");
}

fn twelve(sim: &mut Sim) {
    sim.agent(&[("cpus", "10")]);
    groups(sim, &["g"]);
    for number in 0..12 {
        crowd(sim, &[(&format!("g/{number}"), CPU)]);
    }
    crowd(sim, &[("solo", CPU)]);
    sim.offer();
}

#[test]
fn a_share_below_one_task_counts_as_one_task() {
    let wrong = check(
        Wrong::NothingCountsAsNothing,
        &["g", "solo"],
        &[5, 5],
        twelve,
    );
    assert_eq!(wrong, [10, 0]);
}

#[test]
fn once_the_smallest_task_runs_a_share_counts_as_the_next_larger_one() {
    for (groups_below, leaf) in [(&["g"][..], "g/m"), (&["g", "g/m"], "g/m/a")] {
        let mut sim = Sim::new("drf");
        sim.agent(&[("cpus", "32")]);
        groups(&mut sim, groups_below);
        for path in ["g/k", "h", leaf] {
            sim.queue(path, QueueSettings::default());
        }
        let queues = ["g/k", "h"];
        for path in queues {
            sim.submit(path, 3, CPU);
        }
        sim.offer();
        for path in queues {
            sim.submit(path, 1, CPU);
        }
        sim.submit(leaf, 1, CPU);
        sim.submit(leaf, 1, &[("cpus", "4")]);
        // A cpu is the measure: g counts for no more than one, h has three.
        assert_eq!(sim.offer_limited(1), [leaf]);
        // Four cpus are more than the three of g/k: g counts for these, and a part of the one that runs.
        assert_eq!(sim.offer_limited(1), ["h"]);
    }
}

fn complementary(sim: &mut Sim) {
    sim.agent(&[("cpus", "10"), ("mem", "10")]);
    groups(sim, &["n2"]);
    crowd(sim, &[("n1", MEM), ("n2/cpu", CPU), ("n2/mem", MEM)]);
    sim.offer();
}

#[test]
fn a_child_without_a_share_is_a_measure() {
    let play = |sim: &mut Sim| {
        complementary(sim);
        sim.finish("n2/mem", 5);
        sim.finish("n2/cpu", 1);
        sim.offer();
    };
    let wrong = check(Wrong::NothingIsLeftOut, &["n1", "n2/mem"], &[5, 5], play);
    assert!(wrong[1] == 0, "{wrong:?}");
}

#[test]
fn children_are_scaled_by_their_weights() {
    let play = |sim: &mut Sim| {
        sim.agent(&[("cpus", "24")]);
        groups(sim, &["g"]);
        sim.queue("g/heavy", weight("3"));
        sim.submit("g/heavy", 60, CPU);
        crowd(sim, &[("g/light", CPU), ("other", CPU)]);
        sim.offer();
    };
    let wrong = check(Wrong::WeightsDoNotScale, &["g", "other"], &[12, 12], play);
    assert!(wrong[0] > 12, "{wrong:?}");
}

/// Every task takes a bit of all, so the cpus are never quite used up.
#[test]
fn blocked_children_that_wait_are_scaled_too() {
    let play = |sim: &mut Sim| {
        sim.agent(&[("cpus", "11.5"), ("mem", "11")]);
        groups(sim, &["n2"]);
        let mem = &[("cpus", "0.1"), ("mem", "1")];
        crowd(
            sim,
            &[
                ("n1", mem),
                ("n2/cpu", &[("cpus", "1"), ("mem", "0.1")]),
                ("n2/mem", mem),
            ],
        );
        sim.offer();
        for _ in 0..20 {
            let n_running = sim.running("n2/mem").min(1);
            sim.finish("n2/mem", n_running as usize);
            sim.offer();
        }
    };
    let wrong = check(
        Wrong::BlockedCountInFull,
        &["n1", "n2/cpu", "n2/mem"],
        &[5, 10, 5],
        play,
    );
    assert!(wrong[2] < 3, "{wrong:?}");
}

#[test]
fn nobody_counts_for_more_than_it_uses() {
    let play = |sim: &mut Sim| {
        sim.agent(&[("cpus", "11")]);
        groups(sim, &["g"]);
        sim.queue_max("g/capped", &[("cpus", "1")]);
        sim.submit("g/capped", 60, CPU);
        crowd(sim, &[("g/free", CPU), ("other", CPU)]);
        sim.offer();
    };
    let wrong = check(Wrong::MoreThanIsUsed, &["g", "other"], &[6, 5], play);
    assert!(wrong[0] < 6, "{wrong:?}");
}

/// Of g, x waits for cpus that are not to be had, and y has many of them and now wants memory, as h does.
fn cpus_and_then_memory(sim: &mut Sim, cpus: &str, h: &[(&str, &str)]) {
    sim.agent(&[("cpus", cpus), ("mem", "12")]);
    groups(sim, &["g"]);
    sim.queue("g/y", QueueSettings::default());
    sim.submit("g/y", 9, CPU);
    sim.offer();
    crowd(sim, &[("g/x", CPU)]);
    sim.offer();
    sim.submit("g/y", 60, MEM);
    crowd(sim, &[("h", h)]);
    sim.offer();
}

#[test]
fn what_nobody_below_can_have_does_not_count() {
    let play = |sim: &mut Sim| cpus_and_then_memory(sim, "12", MEM);
    let wrong = check(Wrong::NothingIsSaturated, &["g/y", "h"], &[15, 6], play);
    assert!(wrong[1] >= 9, "{wrong:?}");
}

/// A competitor that wants little of the cpus, and can go, doesn't make them count for those that can not.
#[test]
fn what_others_can_have_does_not_count_for_a_queue_that_can_not() {
    let little = &[("cpus", "0.01"), ("mem", "1")];
    let play = |sim: &mut Sim| cpus_and_then_memory(sim, "12.5", little);
    let wrong = check(Wrong::SaturatedForAll, &["g/y", "h"], &[15, 6], play);
    assert!(wrong[1] >= 9, "{wrong:?}");
}

/// Who has all it wanted still counts for what it has.
#[test]
fn what_a_satisfied_child_uses_counts() {
    let play = |sim: &mut Sim| {
        sim.agent(&[("cpus", "10"), ("mem", "10")]);
        groups(sim, &["g"]);
        sim.queue("g/done", QueueSettings::default());
        sim.submit("g/done", 8, CPU);
        sim.offer();
        crowd(sim, &[("g/more", MEM), ("other", MEM)]);
        sim.offer();
    };
    let wrong = check(
        Wrong::OnlyWhatIsWantedCounts,
        &["g/more", "other"],
        &[2, 8],
        play,
    );
    assert_eq!(wrong, [5, 5]);
}

#[test]
fn what_fills_a_guarantee_is_not_scaled_down() {
    let play = |sim: &mut Sim| {
        sim.agent(&[("cpus", "20")]);
        groups(sim, &["g"]);
        sim.queue_min("g/sure", &[("cpus", "9")]);
        sim.submit("g/sure", 60, CPU);
        crowd(sim, &[("g/rest", CPU), ("other", CPU)]);
        sim.offer();
    };
    let wrong = check(Wrong::GuaranteesAreScaled, &["g", "other"], &[10, 10], play);
    assert!(wrong[0] > 10, "{wrong:?}");
}

/// It would come closest to what divisible tasks are due, but a group then counts for a task that it doesn't have, and
/// loses it.
#[test]
fn children_are_not_scaled_to_a_share_with_one_task_more() {
    let play = |sim: &mut Sim| {
        complementary(sim);
        for _ in 0..10 {
            let n_running = sim.running("n2/mem").min(1);
            sim.finish("n2/mem", n_running as usize);
            sim.offer();
        }
    };
    let wrong = check(Wrong::OneTaskMore, &["n1", "n2/mem"], &[5, 5], play);
    assert_eq!(wrong, [6, 4]);
}

/// x lives on the single cpus that its own tasks leave; y needs two at once, which only h's leave.
#[test]
fn what_the_next_task_wants_is_scaled_like_all_else() {
    let play = |sim: &mut Sim| {
        sim.agent(&[("cpus", "12")]);
        groups(sim, &["g"]);
        let two = &[("cpus", "2")];
        crowd(sim, &[("g/x", CPU), ("h", two)]);
        sim.offer();
        crowd(sim, &[("g/y", two)]);
        for _ in 0..6 {
            sim.finish("g/x", 1);
            sim.offer();
            sim.finish("h", 1);
            sim.offer();
        }
    };
    let wrong = check(Wrong::NextTaskInFull, &["g/y"], &[1], play);
    assert_eq!(wrong, [0]);
}
