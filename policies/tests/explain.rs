//! What a policy says of its own order: the keys of a choice, and the steps down the tree.

use std::sync::Arc;

use apportion_policies::{
    Contender, Key, PolicySpec, QueueId, QueueSettings, QueueTree, Ranking, Share, ShownKey, Step,
    TaskRank,
};

use crate::sim::{Sim, spec, weight};

const CPU: &[(&str, &str)] = &[("cpus", "1")];

/// The kind of a key with its fraction.
fn told(key: ShownKey) -> String {
    match key {
        ShownKey::Guarantee(fraction) => format!("guarantee {fraction}"),
        ShownKey::Use(fraction) => format!("use {fraction}"),
        ShownKey::Order(rank) => format!("order {} {}", rank.priority.0, rank.seq),
    }
}

/// Whose turn it is, and the keys by which.
fn keys(sim: &mut Sim) -> String {
    let (path, keys) = sim.keys();
    let keys: Vec<_> = keys.into_iter().map(told).collect();
    format!("{path}: {}", keys.join(", "))
}

/// A queue with its key and the number of its next task.
fn standing(sim: &Sim, contender: &Contender) -> String {
    let path = sim.tree.path(contender.queue);
    match contender.standing {
        Some((key, next)) => format!("{path} {} ({})", told(key), next.seq),
        None => format!("{path} -"),
    }
}

/// A step as `parent: first | own | others`.
fn step(sim: &Sim, step: &Step) -> String {
    let first = step.first.as_ref();
    let first = first.map_or("-".to_owned(), |first| standing(sim, first));
    let others: Vec<_> = step
        .others
        .iter()
        .map(|other| standing(sim, other))
        .collect();
    let (parent, own) = (sim.tree.path(step.parent), standing(sim, &step.own));
    format!("{parent}: {first} | {own} | {}", others.join(", "))
}

fn steps(sim: &mut Sim, path: &str, n_others: usize) -> Vec<String> {
    let found = sim.steps(path, n_others);
    found.iter().map(|found| step(sim, found)).collect()
}

fn machine(policy: PolicySpec) -> Sim {
    let mut sim = Sim::with_spec(policy);
    sim.agent(&[("cpus", "8")]);
    sim
}

/// Leaves with four tasks of a cpu each, of which so many run in all.
fn leaves(sim: &mut Sim, queues: &[(&str, &str)], n_running: usize) {
    for (path, text) in queues {
        sim.queue(path, weight(text));
        sim.submit(path, 4, CPU);
    }
    sim.offer_limited(n_running);
}

#[test]
fn a_share_is_shown_over_its_weight() {
    let mut sim = machine(spec("drf"));
    leaves(&mut sim, &[("a", "2")], 3);
    assert_eq!(keys(&mut sim), "a: use 3/16");
}

#[test]
fn a_choice_has_a_key_for_each_level() {
    let mut sim = machine(spec("drf"));
    sim.queue("g", weight("2"));
    sim.queue("g/h", QueueSettings::default());
    leaves(&mut sim, &[("g/h/a", "1"), ("g/h/b", "0.5"), ("c", "1")], 5);
    // a and b have 2 and 1 cpus, c has 2: g and h count 3/8, over weights of 2 and 1, and a 2/8.
    assert_eq!(keys(&mut sim), "g/h/a: use 3/16, use 3/8, use 1/4");
}

#[test]
fn how_far_a_queue_is_below_its_guarantee_is_shown_instead_of_its_share() {
    let mut sim = machine(spec("drf"));
    sim.queue_min("a", &[("cpus", "3")]);
    sim.submit("a", 4, CPU);
    sim.offer_limited(2);
    assert_eq!(keys(&mut sim), "a: guarantee 2/3");
    sim.offer_limited(1);
    assert_eq!(keys(&mut sim), "a: use 3/8");
}

#[test]
fn fifo_shows_the_task_and_weighted_what_it_counts() {
    let mut sim = machine(spec("fifo"));
    sim.queue("a", QueueSettings::default());
    sim.submit_priority("a", 2, CPU, 7);
    assert_eq!(keys(&mut sim), "a: order 7 1");

    let mut sim = machine(spec("weighted"));
    leaves(&mut sim, &[("a", "4")], 3);
    assert_eq!(keys(&mut sim), "a: use 3/4", "tasks");

    let mut sim = machine(spec("weighted"));
    let resource = Some(sim.resource("cpus"));
    sim.tree.set_default_policy(PolicySpec {
        resource,
        ..spec("weighted")
    });
    sim.queue("a", weight("4"));
    sim.submit("a", 3, &[("cpus", "2.5")]);
    sim.offer_limited(1);
    assert_eq!(keys(&mut sim), "a: use 5/8", "cpus");
}

/// The number of running tasks, in thirds.
struct Thirds;

impl Ranking for Thirds {
    fn key(&self, tree: &QueueTree, queue: QueueId, _next: TaskRank) -> Key {
        Key::share(Share::count(tree.running(queue)).per("0.003".parse().unwrap()))
    }
}

#[test]
fn the_key_of_a_policy_of_ones_own_is_shown_as_it_is() {
    let mut sim = machine(spec("thirds")).without_reference();
    sim.registry.register("thirds", |_| Arc::new(Thirds));
    leaves(&mut sim, &[("a", "1")], 2);
    assert_eq!(keys(&mut sim), "a: use 2/3");
}

/// The order of submission, whatever the priority.
struct Submission;

impl Ranking for Submission {
    fn key(&self, _tree: &QueueTree, _queue: QueueId, next: TaskRank) -> Key {
        Key::share(Share::count(next.seq))
    }
}

#[test]
fn a_key_is_that_of_the_chosen_task_where_others_of_its_queue_have_another() {
    let mut sim = machine(spec("submission")).without_reference();
    sim.registry
        .register("submission", |_| Arc::new(Submission));
    sim.queue("a", QueueSettings::default());
    sim.submit("a", 1, &[("cpus", "2")]);
    sim.submit("a", 1, CPU);
    assert_eq!(keys(&mut sim), "a: use 1");
    sim.offer_limited(1);
    assert_eq!(keys(&mut sim), "a: use 2");
}

#[test]
fn each_step_names_who_is_first_who_is_asked_about_and_who_comes_next() {
    let mut sim = machine(spec("drf"));
    sim.queue("g", QueueSettings::default());
    leaves(
        &mut sim,
        &[("g/a", "1"), ("g/b", "1"), ("g/c", "0.5"), ("g/d", "0.25")],
        0,
    );
    leaves(&mut sim, &[("h", "1")], 7);
    // All below g have a cpu: the least level is 1/8, at which they count 1/8, 1/8, 1/16 and 1/32. h has 3 cpus.
    assert_eq!(
        steps(&mut sim, "g/d", 2),
        [
            ": g use 11/32 (2) | g use 11/32 (2) | h use 3/8 (20)",
            "g: g/a use 1/8 (2) | g/d use 1/2 (14) | g/b use 1/8 (6), g/c use 1/4 (10)",
        ]
    );
    assert_eq!(
        steps(&mut sim, "g/a", 1),
        [
            ": g use 11/32 (2) | g use 11/32 (2) | h use 3/8 (20)",
            "g: g/a use 1/8 (2) | g/a use 1/8 (2) | g/b use 1/8 (6)",
        ]
    );
    let without_others = steps(&mut sim, "h", 0);
    assert_eq!(without_others, [": g use 11/32 (2) | h use 3/8 (20) | "]);
}

#[test]
fn who_can_not_go_has_no_key() {
    let mut sim = machine(spec("drf"));
    sim.queue("g", QueueSettings::default());
    sim.queue("g/a", QueueSettings::default());
    sim.submit("g/a", 1, &[("cpus", "9")]);
    sim.queue_max("g/b", &[("cpus", "0")]);
    sim.submit("g/b", 1, CPU);
    assert_eq!(
        steps(&mut sim, "g/a", 9),
        [": - | g - | ", "g: - | g/a - | "]
    );
    sim.queue("c", QueueSettings::default());
    sim.submit("c", 1, CPU);
    assert_eq!(
        steps(&mut sim, "g/b", 9),
        [": c use 0 (3) | g - | ", "g: - | g/b - | "]
    );
}

/// Of the first tier there is.
struct First;

impl Ranking for First {
    fn key(&self, _tree: &QueueTree, _queue: QueueId, _next: TaskRank) -> Key {
        Key {
            tier: i64::MIN,
            share: Share::ZERO,
        }
    }
}

#[test]
fn no_tier_of_a_ranking_goes_before_a_guarantee() {
    let mut sim = machine(spec("first")).without_reference();
    sim.registry.register("first", |_| Arc::new(First));
    leaves(&mut sim, &[("a", "1")], 0);
    sim.queue_min("b", &[("cpus", "4")]);
    sim.submit("b", 4, CPU);
    assert_eq!(keys(&mut sim), "b: guarantee 0");
    assert_eq!(sim.offer_limited(5), ["b", "b", "b", "b", "a"]);
    assert_eq!(keys(&mut sim), "a: use 0");
}
