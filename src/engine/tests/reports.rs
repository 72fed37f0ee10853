//! What is reported of queues and agents, and what is due to whom.

use std::time::Duration;

use apportion_policies::Share;

use super::env::*;
use crate::engine::report::{QueueReport, fairness_error};
use crate::engine::{AttemptId, TaskId, Time};

fn queue(env: &TestEnv, path: &str) -> QueueReport {
    let queues = env.engine.queues();
    queues
        .into_iter()
        .find(|queue| &*queue.path == path)
        .unwrap()
}

/// That a share is `part / of`, but for what rounding leaves.
#[track_caller]
fn assert_share(found: Share, part: u64, of: u64) {
    let apart = found.apart(Share::new(units(part), units(of)));
    let least = Share::new(units(1), units(1_000_000_000));
    assert!(apart < least, "{found:?} is not {part}/{of}");
}

#[test]
fn what_a_queue_wants_bounds_what_it_is_due() {
    let mut env = TestEnv::new(&["little", "much", "never"]);
    env.agent("m", "cpus=12");
    // Two of one cpu wait, and twenty; what can never run is due to nobody.
    env.submit(task("little").demand("cpus=1").array(2));
    env.submit(task("much").demand("cpus=1").array(20));
    env.submit(task("never").demand("cpus=100"));
    assert_share(queue(&env, "little").entitlement, 2, 12);
    assert_share(queue(&env, "much").entitlement, 10, 12);
    assert_share(queue(&env, "never").entitlement, 0, 12);
    assert_eq!(queue(&env, "never").n_unsatisfiable, 1);
    // Nobody has anything: the largest difference is what is due to the one that is due most.
    assert_share(fairness_error(&env.engine.queues()), 10, 12);
}

#[test]
fn only_queues_with_work_that_can_run_are_treated_unfairly() {
    let mut env = TestEnv::new(&["busy", "never"]);
    env.agent("m", "cpus=12");
    env.offer("m", "cpus=12");
    env.submit(task("busy").demand("cpus=6").array(2));
    env.submit(task("never").demand("cpus=100"));
    assert_share(queue(&env, "busy").dominant_share, 12, 12);
    assert_share(fairness_error(&env.engine.queues()), 0, 12);
    // It gets all of what it is due, and would like more.
    env.submit(task("busy").demand("cpus=6"));
    assert_share(fairness_error(&env.engine.queues()), 0, 12);
}

#[test]
fn who_has_more_than_it_is_due_and_wants_no_more_is_treated_fairly() {
    let mut env = TestEnv::new(&["rich", "b", "c"]);
    env.agent("m", "cpus=12");
    env.offer("m", "cpus=10");
    env.submit(task("rich").array(10));
    env.submit(task("b").array(12));
    env.submit(task("c").array(12));
    assert_share(queue(&env, "rich").entitlement, 4, 12);
    // The others wait for four each.
    assert_share(fairness_error(&env.engine.queues()), 4, 12);
}

#[test]
fn each_agent_is_told_with_its_own_attempts() {
    let mut env = TestEnv::new(&["a"]);
    env.offering(&["m", "n", "o"], "cpus=2");
    env.submit(task("a").demand("cpus=1").array(5));
    let launched: Vec<AttemptId> = env
        .launched()
        .into_iter()
        .map(|(task, number)| attempt(task, number))
        .collect();
    assert_eq!(launched.len(), 5);
    let mut told = Vec::new();
    for agent in env.engine.agents() {
        let n_used = agent.used["cpus"].milli() / 1000;
        assert_eq!(u64::try_from(agent.attempts.len()).unwrap(), n_used);
        for attempt in agent.attempts {
            let index = env.engine.state.attempts[&attempt].agent;
            assert_eq!(env.engine.state.agents.get(index).name, agent.name);
            assert!(env.engine.is_alive(attempt));
            let (name, demand) = env.engine.find_attempt(attempt).unwrap();
            assert_eq!((name, &*demand), (agent.name.clone(), &amounts("cpus=1")));
            told.push(attempt);
        }
    }
    told.sort_unstable();
    assert_eq!(told, launched);
    assert!(!env.engine.is_alive(attempt(1, 2)));
    assert_eq!(env.engine.find_queue(TaskId(5)).as_deref(), Some("a"));
    assert_eq!(env.engine.find_queue(TaskId(6)), None);
}

#[test]
fn the_end_of_a_patience_is_waited_for() {
    let mut env = TestEnv::new(&["a patience=60"]);
    assert_eq!(env.engine.wake_at(), None);
    env.submit(task("a").demand("cpus=1"));
    let end = env.now.after(Duration::from_secs(60));
    assert_eq!(env.engine.wake_at(), Some(end));
    env.advance(61.0);
    assert_eq!(env.engine.wake_at(), None::<Time>);
}
