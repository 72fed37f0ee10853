//! What waits for what.

use super::env::*;
use crate::engine::outcome::{Cause, OutcomeKind};
use crate::engine::{Fact, Refusal, TaskId, TaskState};

fn failed(task: u64, kind: OutcomeKind) -> Option<Cause> {
    let task = TaskId(task);
    Some(Cause::DependencyFailed { task, kind })
}

#[test]
fn a_task_waits_for_all_that_it_names() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a"));
    env.run(task("a"));
    env.submit(task("a").after(1).after(2).after(2));
    env.offer("m", "cpus=1");
    assert_eq!(env.state(3), Some(TaskState::Waiting));
    env.ends(attempt(1, 1), OK);
    assert_eq!(env.state(3), Some(TaskState::Waiting));
    env.ends(attempt(2, 1), OK);
    assert_eq!(env.launched(), [(1, 1), (2, 1), (3, 1)]);
}

#[test]
fn after_a_task_that_has_succeeded_nothing_is_waited_for() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a"));
    env.ends(attempt(1, 1), OK);
    env.submit(task("a").after(1));
    assert_eq!(env.state(2), Some(TaskState::Queued));
}

#[test]
fn after_a_task_that_has_failed_a_task_is_cancelled_at_once() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a"));
    env.ends(attempt(1, 1), FAIL);
    env.try_submit(&[
        task("a").after(1).key("x"),
        task("a").after_key("x").array(3),
    ])
    .unwrap();
    assert_eq!(env.cause(2), failed(1, OutcomeKind::Failed));
    for id in 3..6 {
        assert_eq!(env.cause(id), failed(2, OutcomeKind::Cancelled));
    }
}

#[test]
fn a_failure_cancels_a_long_chain_without_recursion() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a").key("0"));
    let keys: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    let chain = keys
        .windows(2)
        .map(|pair| task("a").after_key(&pair[0]).key(&pair[1]));
    env.try_submit(&chain.collect::<Vec<_>>()).unwrap();
    env.ends(attempt(1, 1), FAIL);
    assert_eq!(env.cause(2), failed(1, OutcomeKind::Failed));
    assert_eq!(env.cause(200), failed(199, OutcomeKind::Cancelled));
    assert_eq!(env.engine.state.n_live, 0);
}

#[test]
fn a_very_long_chain_ends_too() {
    let mut engine = crate::engine::Engine::new(settings(&["a"]));
    let mut out = crate::engine::Output::default();
    let now = crate::engine::Time(0);
    engine.recovered(now);
    let mut tasks = vec![task("a").key("0").task];
    for number in 1..50_000 {
        let builder = task("a").after_key(&(number - 1).to_string());
        tasks.push(builder.key(&number.to_string()).task);
    }
    let submit = crate::engine::Request::Submit { tasks };
    engine.on_request(now, submit, &mut out).unwrap();
    let (task, reason) = (TaskId(1), None);
    let cancel = crate::engine::Request::Cancel { task, reason };
    engine.on_request(now, cancel, &mut out).unwrap();
    assert_eq!(engine.state.n_live, 0);
}

#[test]
fn a_cancelled_task_takes_its_dependants_along() {
    let mut env = TestEnv::new(&["a"]);
    env.submit(task("a"));
    env.submit(task("a").after(1));
    env.submit(task("a").after(2).after(1));
    env.cancel(1);
    assert_eq!(env.cause(2), failed(1, OutcomeKind::Cancelled));
    assert_eq!(env.cause(3), failed(1, OutcomeKind::Cancelled));
}

#[test]
fn a_cancelling_task_that_is_retried_is_still_waited_for() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a"));
    env.submit(task("a").after(1));
    env.cancel(1);
    env.retry(1);
    env.ends(attempt(1, 1), FAIL);
    assert_eq!(env.state(2), Some(TaskState::Waiting));
    env.offer("m", "cpus=1");
    env.ends(attempt(1, 2), OK);
    assert_eq!(env.state(2), Some(TaskState::Queued));
}

#[test]
fn an_array_is_waited_for_as_a_whole_or_task_by_task() {
    let mut env = TestEnv::new(&["a", "b max:cpus=1"]);
    env.run(task("a").array(2).key("all"));
    env.try_submit(&[task("b").after_key("all"), task("b").after(2).array(2)])
        .unwrap();
    env.ends(attempt(2, 1), OK);
    let states: Vec<_> = (3..6).map(|id| env.state(id)).collect();
    let (waiting, queued) = (Some(TaskState::Waiting), Some(TaskState::Queued));
    assert_eq!(states, [waiting, queued, queued]);
    env.ends(attempt(1, 1), FAIL);
    assert_eq!(env.cause(3), failed(1, OutcomeKind::Failed));
    env.submit(task("b").after_key("all"));
    assert_eq!(env.cause(6), failed(1, OutcomeKind::Failed));
}

#[test]
fn keys_may_name_later_tasks_of_the_same_call() {
    let mut env = TestEnv::new(&["a"]);
    env.agent("m", "cpus=9");
    env.offer("m", "cpus=9");
    let tasks = [
        task("a").after_key("later"),
        task("a").key("later").array(2),
    ];
    env.try_submit(&tasks).unwrap();
    assert_eq!(env.launched(), [(2, 1), (3, 1)]);
    env.ends(attempt(3, 1), OK);
    env.ends(attempt(2, 1), OK);
    env.offer("m", "cpus=1");
    assert_eq!(env.launched(), [(1, 1)]);
}

#[test]
fn circles_are_refused_with_the_keys_along_them() {
    let mut env = TestEnv::new(&["a"]);
    let keyed = |key: &str, after: &str| task("a").key(key).after_key(after);
    let tasks = [keyed("x", "y"), keyed("y", "z"), keyed("z", "y")];
    let refusal = env.try_submit(&tasks).unwrap_err();
    let keys = ["y", "z", "y"].map(String::from).to_vec();
    assert_eq!(refusal, Refusal::DependencyCycle { keys });
    let keys = ["s", "s"].map(String::from).to_vec();
    assert_eq!(
        env.refused(keyed("s", "s")),
        Refusal::DependencyCycle { keys }
    );
    assert_eq!(env.submit(task("a")), 1, "nothing was taken in");
}

#[test]
fn unknown_dependencies_are_refused() {
    let mut env = TestEnv::new(&["a"]);
    for (builder, name) in [
        (task("a").after(1), "1"),
        (task("a").after(0), "0"),
        (task("a").after_key("k"), "'k'"),
    ] {
        let (place, name) = (0, name.into());
        assert_eq!(
            env.refused(builder),
            Refusal::UnknownDependency { place, name }
        );
    }
}

#[test]
fn regression_1_what_is_left_of_an_array_is_counted_anew_after_a_retry() {
    let mut env = TestEnv::new(&["a"]);
    env.submit(task("a").array(3).key("k"));
    env.cancel(2);
    env.submit(task("a").after_key("k"));
    assert_eq!(env.state(4), Some(TaskState::Cancelled));
    env.retry(2);
    env.submit(task("a").after_key("k"));
    env.agent("m", "cpus=9");
    env.offer("m", "cpus=9");
    for id in [1, 3, 2] {
        assert_eq!(env.state(5), Some(TaskState::Waiting));
        env.ends(attempt(id, 1), OK);
    }
    assert_eq!(env.state(5), Some(TaskState::Queued));
}

#[test]
fn what_was_cancelled_and_retried_is_not_told_that_it_waits_no_longer() {
    for crashes in [false, true] {
        let mut env = TestEnv::new(&["a"]);
        env.run(task("a"));
        env.submit(task("a").after(1));
        env.cancel(2);
        env.retry(2);
        if crashes {
            env.crash();
        }
        assert_eq!(env.state(2), Some(TaskState::Queued));
        env.ends(attempt(1, 1), OK);
        let is_unblocked = |fact: &Fact| matches!(fact, Fact::Unblocked { .. });
        assert!(!env.facts.iter().any(is_unblocked), "{:?}", env.facts);
    }
}
