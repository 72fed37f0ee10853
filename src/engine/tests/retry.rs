//! Retrying by hand.

use super::env::*;
use crate::engine::outcome::{AttemptEnd, Cause};
use crate::engine::{Refusal, TaskId, TaskState};

#[test]
fn what_failed_is_tried_again_with_all_its_retries() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a").retries(1));
    env.ends(attempt(1, 1), FAIL);
    env.advance(1.0);
    env.offer("m", "cpus=1 mem=1");
    env.ends(attempt(1, 2), FAIL);
    assert_eq!(env.state(1), Some(TaskState::Failed));
    env.launched();
    env.retry(1);
    env.offer("m", "cpus=1 mem=1");
    assert_eq!(env.launched(), [(1, 3)], "numbers go on");
    env.ends(attempt(1, 3), FAIL);
    assert_eq!(
        env.state(1),
        Some(TaskState::Queued),
        "its retries are whole again"
    );
    env.advance(1.0);
    env.offer("m", "cpus=1 mem=1");
    env.ends(attempt(1, 4), OK);
    assert_eq!(env.state(1), Some(TaskState::Succeeded));
    let (task, state) = (TaskId(1), TaskState::Succeeded);
    assert_eq!(env.try_retry(1), Err(Refusal::NotRetryable { task, state }));
}

#[test]
fn only_what_failed_or_was_cancelled_is_tried_again() {
    let mut env = TestEnv::new(&["a"]);
    env.submit(task("a"));
    let task = TaskId(1);
    let state = TaskState::Queued;
    assert_eq!(env.try_retry(1), Err(Refusal::NotRetryable { task, state }));
    let task = TaskId(2);
    assert_eq!(env.try_retry(2), Err(Refusal::UnknownTask { task }));
}

#[test]
fn a_new_attempt_runs_beside_the_dying_one_and_hears_nothing_of_it() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a").retries(1));
    env.started(attempt(1, 1));
    env.cancel(1);
    env.retry(1);
    assert_eq!(env.state(1), Some(TaskState::Queued));
    env.offer("m", "cpus=100 mem=100");
    assert_eq!(env.launched(), [(1, 1), (1, 2)]);
    env.started(attempt(1, 1));
    assert_eq!(
        env.state(1),
        Some(TaskState::Launching),
        "the old one says nothing to it"
    );
    env.ends(attempt(1, 1), FAIL);
    assert_eq!(env.state(1), Some(TaskState::Launching));
    env.started(attempt(1, 2));
    env.ends(attempt(1, 2), OK);
    assert_eq!(env.state(1), Some(TaskState::Succeeded));
}

#[test]
fn a_new_attempt_may_end_before_the_dying_one() {
    let mut env = TestEnv::new(&["a", "b"]);
    env.run(task("a").demand("cpus=60"));
    env.cancel(1);
    env.retry(1);
    env.offer("m", "cpus=100 mem=100");
    assert_eq!(env.launched(), [(1, 1)], "the old one still holds its cpus");
    env.ends(attempt(1, 1), AttemptEnd::Killed);
    assert_eq!(env.launched(), [(1, 2)]);

    env.cancel(1);
    env.retry(1);
    env.cancel(1);
    assert_eq!(
        env.state(1),
        Some(TaskState::Cancelling),
        "its last attempt has not ended"
    );
    assert!(env.killed().is_empty(), "it was asked before");
    env.ends(attempt(1, 2), AttemptEnd::Killed);
    assert_eq!(env.state(1), Some(TaskState::Cancelled));

    env.retry(1);
    env.submit(task("b"));
    env.offer("m", "cpus=100 mem=100");
    assert_eq!(env.launched(), [(1, 3), (2, 1)]);
    env.cancel(2);
    env.retry(2);
    env.offer("m", "cpus=1");
    assert_eq!(env.launched(), [(2, 2)]);
    env.ends(attempt(2, 2), OK);
    assert_eq!(env.state(2), Some(TaskState::Succeeded));
    let held = env.engine.queues()[1].used["cpus"];
    assert_eq!(held, units(1), "the first attempt still dies");
    env.ends(attempt(2, 1), AttemptEnd::Killed);
    assert_eq!(env.engine.queues()[1].used["cpus"], units(0));
    assert_eq!(env.state(2), Some(TaskState::Succeeded));
}

#[test]
fn a_cancelled_task_with_two_attempts_ends_with_the_last() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a"));
    env.cancel(1);
    env.retry(1);
    env.offer("m", "cpus=1");
    assert_eq!(env.launched(), [(1, 1), (1, 2)]);
    env.cancel(1);
    assert_eq!(env.killed(), [(attempt(1, 2), 10)]);
    env.ends(attempt(1, 2), AttemptEnd::Killed);
    assert_eq!(env.state(1), Some(TaskState::Cancelling));
    env.ends(attempt(1, 1), AttemptEnd::Killed);
    assert_eq!(env.state(1), Some(TaskState::Cancelled));
}

#[test]
fn a_retried_dependant_does_not_wait_again() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a"));
    env.submit(task("a").after(1));
    env.ends(attempt(1, 1), FAIL);
    assert!(matches!(env.cause(2), Some(Cause::DependencyFailed { .. })));
    env.retry(2);
    assert_eq!(env.state(2), Some(TaskState::Queued));
    env.offer("m", "cpus=1");
    assert_eq!(env.launched(), [(1, 1), (2, 1)]);
}

#[test]
fn a_retry_into_a_queue_that_is_gone_is_refused() {
    let mut env = TestEnv::new(&["a", "b"]);
    env.submit(task("b"));
    env.cancel(1);
    env.reload(settings(&["a"])).unwrap();
    assert!(matches!(
        env.try_retry(1),
        Err(Refusal::UnknownQueue { .. })
    ));
}

#[test]
fn one_task_of_an_ended_array_is_tried_again() {
    let mut env = TestEnv::new(&["a"]);
    env.submit(task("a").array(3).key("k"));
    for id in 1..=3 {
        env.cancel(id);
    }
    env.retry(2);
    assert_eq!(env.state(1), Some(TaskState::Cancelled));
    assert_eq!(
        env.submit(task("a").array(3).key("k")),
        1,
        "the key is still its own"
    );
    env.retry(3);
    env.run(task("a"));
    assert_eq!(env.launched(), [(2, 1), (3, 1)]);
    env.ends(attempt(2, 1), OK);
    env.ends(attempt(3, 1), OK);
    assert!(!env.engine.is_live(TaskId(3)));
}
