//! Cancelling in every state.

use super::env::*;
use crate::engine::outcome::{AttemptEnd, Cause};
use crate::engine::{Refusal, TaskId, TaskState};

fn because() -> Option<Cause> {
    let reason = Some("because".into());
    Some(Cause::Cancelled { reason })
}

#[test]
fn what_has_no_attempt_is_cancelled_at_once() {
    let mut env = TestEnv::new(&["a"]);
    env.try_submit(&[task("a"), task("a").after(1)])
        .unwrap_err();
    env.submit(task("a"));
    env.submit(task("a").after(1));
    assert_eq!(env.cancel(2), TaskState::Cancelled, "waiting");
    assert_eq!(env.cancel(1), TaskState::Cancelled, "queued");
    assert_eq!((env.cause(1), env.cause(2)), (because(), because()));
    assert!(env.killed().is_empty());
    assert_eq!(env.cancel(1), TaskState::Cancelled, "twice is no error");
    assert!(env.facts.is_empty());
}

#[test]
fn what_pauses_is_cancelled_at_once() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a").retries(1));
    env.ends(attempt(1, 1), FAIL);
    assert_eq!(env.cancel(1), TaskState::Cancelled);
    assert_eq!(env.engine.wake_at(), None);
}

#[test]
fn what_runs_is_cancelled_when_it_has_really_ended() {
    for end in [AttemptEnd::Killed, OK, FAIL, LOST] {
        for is_running in [false, true] {
            let mut env = TestEnv::new(&["a"]);
            env.run(task("a").retries(3).timeout(60));
            if is_running {
                env.started(attempt(1, 1));
            }
            assert_eq!(env.cancel(1), TaskState::Cancelling);
            assert_eq!(env.killed(), [(attempt(1, 1), 10)]);
            assert_eq!(env.cancel(1), TaskState::Cancelling);
            assert!(env.killed().is_empty() && env.facts.is_empty());
            env.started(attempt(1, 1));
            assert_eq!(env.state(1), Some(TaskState::Cancelling));
            env.advance(100.0);
            assert!(env.killed().is_empty(), "its time doesn't matter any more");
            env.ends(attempt(1, 1), end.clone());
            assert_eq!(env.state(1), Some(TaskState::Cancelled), "{end:?}");
            assert_eq!(env.cause(1), because());
        }
    }
}

#[test]
fn what_has_ended_can_t_be_cancelled() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a"));
    env.ends(attempt(1, 1), OK);
    let (task, state) = (TaskId(1), TaskState::Succeeded);
    assert_eq!(
        env.try_cancel(1),
        Err(Refusal::AlreadyEnded { task, state })
    );
    let task = TaskId(2);
    assert_eq!(env.try_cancel(2), Err(Refusal::UnknownTask { task }));
}

#[test]
fn a_timeout_before_the_cancel_leaves_it_cancelled() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a").timeout(60));
    env.advance(60.0);
    assert_eq!(env.cancel(1), TaskState::Cancelling);
    env.ends(attempt(1, 1), AttemptEnd::Killed);
    assert_eq!(env.state(1), Some(TaskState::Cancelled));
}
