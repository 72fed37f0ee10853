//! A task's life: launched, running, succeeded, failed, tried again, lost, out of time.

use super::env::*;
use crate::engine::outcome::{AttemptEnd, Cause, LossReason, OutcomeKind};
use crate::engine::{Fact, TaskId, TaskState};

#[test]
fn a_task_runs_and_succeeds() {
    let mut env = TestEnv::new(&["a"]);
    let task_id = env.submit(task("a").inbox("in"));
    assert_eq!(env.state(task_id), Some(TaskState::Queued));
    env.advance(2.0);
    env.agent("m", "cpus=4 mem=4");
    env.offer("m", "cpus=4 mem=4");
    assert_eq!(env.launched(), [(1, 1)]);
    assert_eq!(env.state(1), Some(TaskState::Launching));
    let waited = env.facts.iter().find_map(|fact| match fact {
        Fact::Launched { waited, .. } => Some(waited.as_secs()),
        _ => None,
    });
    assert_eq!(waited, Some(2));
    env.started(attempt(1, 1));
    assert_eq!(env.state(1), Some(TaskState::Running));
    env.ends(attempt(1, 1), OK);
    assert_eq!(env.state(1), Some(TaskState::Succeeded));
    let outcome = env.ledger.outcome(TaskId(1)).unwrap();
    assert_eq!(
        (outcome.kind, outcome.exit_code),
        (OutcomeKind::Succeeded, Some(0))
    );
    assert!(!env.engine.is_live(TaskId(1)));
}

#[test]
fn what_is_said_late_twice_or_of_unknown_attempts_changes_nothing() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a"));
    env.ends(attempt(1, 1), OK);
    for said in [attempt(1, 1), attempt(1, 2), attempt(9, 1)] {
        env.started(said);
        env.ends(said, FAIL);
        assert!(env.facts.is_empty(), "{said}");
    }
    assert_eq!(env.state(1), Some(TaskState::Succeeded));
    env.run(task("a"));
    env.started(attempt(2, 1));
    env.started(attempt(2, 1));
    assert!(env.facts.is_empty());
}

#[test]
fn an_end_may_come_before_the_start() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a"));
    env.ends(attempt(1, 1), FAIL);
    env.started(attempt(1, 1));
    assert!(env.facts.is_empty());
    assert_eq!(env.state(1), Some(TaskState::Failed));
    assert_eq!(env.cause(1), Some(Cause::Attempt(FAIL)));
}

#[test]
fn own_failures_are_tried_again_with_growing_pauses() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a").retries(5));
    for (number, pause) in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (5, 5.0)] {
        assert_eq!(env.launched(), [(1, number)]);
        env.ends(attempt(1, number), FAIL);
        assert_eq!(env.state(1), Some(TaskState::Queued));
        env.offer("m", "cpus=100 mem=100");
        env.advance(pause - 0.001);
        assert_eq!(env.launched(), [], "pause {pause}");
        env.advance(0.001);
    }
    assert_eq!(env.launched(), [(1, 6)]);
    env.ends(attempt(1, 6), AttemptEnd::Signalled { signal: 11 });
    assert_eq!(env.state(1), Some(TaskState::Failed));
    let end = AttemptEnd::Signalled { signal: 11 };
    assert_eq!(env.cause(1), Some(Cause::Attempt(end)));
}

#[test]
fn losses_use_no_retries_pause_from_the_second_on_and_are_bounded() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a"));
    for (number, pause) in [(1, 0.0), (2, 1.0), (3, 2.0)] {
        assert_eq!(env.launched(), [(1, number)]);
        env.ends(attempt(1, number), LOST);
        env.offer("m", "cpus=100 mem=100");
        if pause > 0.0 {
            env.advance(pause - 0.001);
            assert_eq!(env.launched(), [], "pause {pause}");
            env.advance(0.001);
        }
    }
    assert_eq!(env.launched(), [(1, 4)]);
    env.ends(attempt(1, 4), LOST);
    assert_eq!(env.state(1), Some(TaskState::Failed));
    assert_eq!(
        env.cause(1),
        Some(Cause::LostTooOften(LossReason::AgentLost))
    );
}

#[test]
fn an_attempt_killed_by_nobody_here_is_a_loss() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a"));
    env.ends(attempt(1, 1), AttemptEnd::Killed);
    assert_eq!(env.state(1), Some(TaskState::Queued));
}

#[test]
fn a_timeout_counts_from_the_launch_and_is_an_own_failure() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a").timeout(60).retries(1).kill_grace(3));
    env.advance(59.0);
    env.started(attempt(1, 1));
    env.advance(0.999);
    assert!(env.killed().is_empty());
    env.advance(0.001);
    assert_eq!(env.killed(), [(attempt(1, 1), 3)]);
    assert_eq!(
        env.state(1),
        Some(TaskState::Running),
        "until it has really ended"
    );
    env.advance(100.0);
    assert!(env.killed().is_empty(), "asked once");
    env.ends(attempt(1, 1), OK);
    assert_eq!(
        env.state(1),
        Some(TaskState::Queued),
        "too late is too late"
    );
    env.offer("m", "cpus=100 mem=100");
    env.advance(1.0);
    env.advance(60.0);
    assert_eq!(env.killed(), [(attempt(1, 2), 3)]);
    env.ends(attempt(1, 2), AttemptEnd::Killed);
    assert_eq!(env.cause(1), Some(Cause::TimedOut));
    assert_eq!(env.engine.wake_at(), None);
}

#[test]
fn an_attempt_that_ends_in_time_has_no_timer_left() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a").timeout(60));
    assert_eq!(
        env.engine.wake_at(),
        Some(env.now.after(std::time::Duration::from_secs(60)))
    );
    env.ends(attempt(1, 1), OK);
    assert_eq!(env.engine.wake_at(), None);
}

#[test]
fn what_an_attempt_holds_is_given_back_when_it_has_ended() {
    let mut env = TestEnv::new(&["a"]);
    env.agent("m", "cpus=1");
    env.offer("m", "cpus=1");
    env.try_submit(&[task("a"), task("a")]).unwrap();
    assert_eq!(env.launched(), [(1, 1)]);
    env.cancel(1);
    env.offer("m", "cpus=1");
    assert_eq!(
        env.launched(),
        [],
        "the agent has no cpu left, whatever it offers"
    );
    env.ends(attempt(1, 1), AttemptEnd::Killed);
    assert_eq!(env.launched(), [(2, 1)]);
}
