//! Past use that is forgotten with a half-life: what time, restarts and reloads leave of it.

use std::sync::Arc;
use std::time::Duration;

use super::env::*;
use crate::engine::settings::{ResourceSettings, Scope};
use crate::engine::{EngineSettings, PastUse};

/// In seconds. What ranks is looked at 128 times in a half-life: here each second, so whole seconds are exact.
const HALF_LIFE: u64 = 128;

/// Two queues below one that forgets in so many seconds.
fn forgetting(half_life: u64) -> EngineSettings {
    let mut settings = settings(&["a", "b"]);
    settings.policy.half_life = Some(Duration::from_secs(half_life));
    settings
}

/// What ranks a queue: cpus, and running tasks.
fn counted(env: &TestEnv, path: &str) -> (f64, f64) {
    let state = &env.engine.state;
    let (tree, queue) = (&state.queues.tree, state.queues.find(path).unwrap());
    let cpus = tree.counted(queue, state.resources.find("cpus").unwrap());
    let tasks = tree.counted_running(queue);
    // Both are of 2^16 parts, and so exact as they are small.
    let parts = f64::from(1 << 16);
    (cpus as f64 / 1000.0 / parts, tasks as f64 / parts)
}

/// A task of one cpu of queue `a` ran for one half-life, and has ended.
fn used() -> TestEnv {
    let mut env = TestEnv::with(forgetting(HALF_LIFE));
    env.agent("m", "cpus=4");
    env.offer("m", "cpus=4");
    env.submit(task("a"));
    env.advance(128.0);
    assert_eq!(
        counted(&env, "a"),
        (1.0, 1.0),
        "what is held counts in full"
    );
    env.ends(attempt(1, 1), OK);
    env
}

#[test]
fn half_of_what_was_used_is_left_after_a_half_life_however_time_is_cut() {
    let cuts: [&[f64]; 4] = [
        &[128.0],
        &[64.0, 64.0],
        &[0.001, 0.5, 127.499],
        &[1.0, 126.5, 0.25, 0.25],
    ];
    for cut in cuts {
        let mut env = used();
        assert_eq!(counted(&env, "a"), (0.5, 0.5), "{cut:?}");
        assert_eq!(counted(&env, "b"), (0.0, 0.0), "{cut:?}");
        for seconds in cut {
            env.advance(*seconds);
        }
        assert_eq!(counted(&env, "a"), (0.25, 0.25), "{cut:?}");
        env.advance(256.0);
        assert_eq!(counted(&env, "a"), (0.0625, 0.0625), "{cut:?}");
    }
}

#[test]
fn whoever_used_more_is_served_later_until_that_is_forgotten() {
    let served_first = |seconds: f64, reload: bool| {
        let mut env = used();
        env.offer("m", "cpus=4");
        env.submit(task("b").demand("cpus=0.3"));
        if reload {
            env.reload(forgetting(HALF_LIFE)).unwrap();
        }
        let (a, _) = (env.submit(task("a")), env.submit(task("b")));
        env.launched();
        env.advance(seconds);
        env.offer("m", "cpus=1");
        let launched = env.launched();
        if launched == [(a, 1)] { "a" } else { "b" }
    };
    for reload in [false, true] {
        // A half of a cpu that was used against three tenths that are held, then a quarter.
        assert_eq!(served_first(0.0, reload), "b");
        assert_eq!(served_first(128.0, reload), "a");
    }
}

#[test]
fn what_live_attempts_held_before_a_restart_counts_after_it() {
    let mut env = TestEnv::with(forgetting(HALF_LIFE));
    env.agent("m", "cpus=4");
    env.offer("m", "cpus=4");
    env.submit(task("a"));
    env.advance(128.0);
    env.crash();
    assert_eq!(counted(&env, "a"), (1.0, 1.0));
    env.ends(attempt(1, 1), OK);
    assert_eq!(counted(&env, "a"), (0.5, 0.5));
    assert_eq!(counted(&env, "b"), (0.0, 0.0));
}

#[test]
fn what_ended_before_a_restart_counts_as_much_as_it_would_have_without() {
    let mut env = used();
    env.advance(128.0);
    env.crash();
    assert_eq!(counted(&env, "a"), (0.0, 0.0));
    let ago = |seconds: u64| crate::engine::Time(env.now.0 - seconds * 1000);
    env.engine.remember(&PastUse {
        queue: "a".into(),
        demand: Arc::new(amounts("cpus=1")),
        from: ago(256),
        to: ago(128),
    });
    assert_eq!(counted(&env, "a"), (0.25, 0.25));
    env.advance(128.0);
    assert_eq!(counted(&env, "a"), (0.125, 0.125));
}

#[test]
fn a_reload_forgets_nothing_and_another_half_life_holds_from_then_on() {
    let mut env = used();
    let mut other = forgetting(HALF_LIFE / 2);
    let apples = ResourceSettings {
        name: "apples".into(),
        scope: Scope::Host,
    };
    // Ids of resources and queues are others.
    other.resources.insert(0, apples);
    other.queues.reverse();
    env.reload(other).unwrap();
    assert_eq!(counted(&env, "a"), (0.5, 0.5));
    assert_eq!(counted(&env, "b"), (0.0, 0.0));
    env.advance(64.0);
    assert_eq!(counted(&env, "a"), (0.25, 0.25));
}

#[test]
fn what_is_held_over_a_reload_counts_with_what_was_held_before() {
    let mut env = TestEnv::with(forgetting(HALF_LIFE));
    env.agent("m", "cpus=4");
    env.offer("m", "cpus=4");
    env.submit(task("a"));
    env.advance(128.0);
    env.reload(forgetting(HALF_LIFE)).unwrap();
    env.advance(128.0);
    env.ends(attempt(1, 1), OK);
    assert_eq!(counted(&env, "a"), (0.75, 0.75));
}
