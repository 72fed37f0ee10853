//! Starting again from what a store kept.

use std::sync::Arc;
use std::time::Duration;

use super::env::*;
use crate::engine::fact::LiveTask;
use crate::engine::outcome::{AttemptEnd, LossReason};
use crate::engine::spec::Dependency;
use crate::engine::{Engine, Event, Fact, PastUse, Submission, TaskId, TaskState, Time};

const RESTARTED: AttemptEnd = AttemptEnd::Lost {
    reason: LossReason::DaemonRestarted,
};

#[test]
fn an_engine_that_starts_from_nothing_has_nothing() {
    let mut env = TestEnv::new(&["a"]);
    assert_eq!(env.crash(), []);
    assert_eq!(env.submit(task("a")), 1);
}

#[test]
fn what_ran_is_handed_to_the_backend_and_starts_again() {
    let mut env = TestEnv::new(&["a"]);
    env.try_submit(&[task("a").array(5), task("a").key("k")])
        .unwrap();
    env.agent("m", "cpus=3");
    env.offer("m", "cpus=3");
    env.ends(attempt(2, 1), OK);
    env.started(attempt(3, 1));
    env.launched();
    assert_eq!(env.crash(), [attempt(1, 1), attempt(3, 1)]);
    assert_eq!(env.state(2), Some(TaskState::Succeeded));
    env.agent("m", "cpus=3");
    env.offer("m", "cpus=3");
    assert_eq!(
        env.launched(),
        [(4, 1)],
        "the old attempts still hold two cpus"
    );
    env.ends(attempt(1, 1), RESTARTED);
    env.ends(attempt(3, 1), RESTARTED);
    env.offer("m", "cpus=3");
    assert_eq!(env.launched(), [(1, 2), (3, 2)]);
    assert_eq!(env.submit(task("a").key("k")), 6);
    assert_eq!(env.submit(task("a")), 7);
}

#[test]
fn those_that_were_asked_to_end_are_asked_again() {
    let mut env = TestEnv::new(&["a"]);
    env.agent("m", "cpus=9");
    env.offer("m", "cpus=9");
    env.try_submit(&[
        task("a"),
        task("a").timeout(5),
        task("a").kill_grace(1),
        task("a"),
    ])
    .unwrap();
    env.cancel(1);
    env.advance(5.0);
    env.cancel(3);
    env.retry(3);
    env.crash();
    assert_eq!(env.engine.wake_at(), Some(crate::engine::Time(0)));
    env.advance(0.0);
    assert_eq!(
        env.killed(),
        [(attempt(1, 1), 10), (attempt(2, 1), 10), (attempt(3, 1), 1)]
    );
    env.advance(1.0);
    assert!(env.killed().is_empty());
    env.ends(attempt(1, 1), RESTARTED);
    env.ends(attempt(2, 1), RESTARTED);
    let states = [1, 2, 3, 4].map(|task| env.state(task).unwrap());
    assert_eq!(
        states,
        [
            TaskState::Cancelled,
            TaskState::Failed,
            TaskState::Queued,
            TaskState::Launching
        ]
    );
}

/// The second attempt of a task beside the first, which is to end.
fn retried_while_dying() -> TestEnv {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a"));
    env.cancel(1);
    env.retry(1);
    env.agent("m", "cpus=3");
    env.offer("m", "cpus=1");
    env
}

#[test]
fn an_attempt_that_outlives_its_task_is_known_again() {
    let mut env = retried_while_dying();
    env.ends(attempt(1, 2), OK);
    assert_eq!(env.state(1), Some(TaskState::Succeeded));
    env.killed();
    assert_eq!(env.crash(), [attempt(1, 1)]);
    env.agent("m", "cpus=2");
    assert_eq!(env.killed(), [(attempt(1, 1), 10)], "it is asked again");
    env.offer("m", "cpus=2");
    env.try_submit(&[task("a").array(2)]).unwrap();
    assert_eq!(env.launched(), [(2, 1)], "it holds a cpu still");
    env.ends(attempt(1, 1), RESTARTED);
    env.offer("m", "cpus=1");
    assert_eq!(env.launched(), [(3, 1)]);
    assert_eq!(env.state(1), Some(TaskState::Succeeded));
}

#[test]
fn a_task_that_is_retried_again_waits_for_the_attempts_that_outlived_it() {
    let mut env = retried_while_dying();
    env.ends(attempt(1, 2), FAIL);
    assert_eq!(env.state(1), Some(TaskState::Failed));
    env.retry(1);
    env.offer("m", "cpus=1");
    env.cancel(1);
    for number in [1, 3] {
        assert_eq!(env.state(1), Some(TaskState::Cancelling));
        env.ends(attempt(1, number), RESTARTED);
    }
    assert_eq!(env.state(1), Some(TaskState::Cancelled));
}

#[test]
fn what_ended_while_no_daemon_ran_did_not_run_for_too_long() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a").timeout(5));
    env.run(task("a").timeout(5));
    env.now = env.now.after(Duration::from_secs(100));
    assert_eq!(env.crash(), [attempt(1, 1), attempt(2, 1)]);
    env.advance(0.0);
    assert!(env.killed().is_empty(), "nothing was heard of them yet");
    env.ends(attempt(1, 1), RESTARTED);
    assert_eq!(env.state(1), Some(TaskState::Queued));
    env.advance(60.0);
    assert_eq!(env.killed(), [(attempt(2, 1), 10)], "it runs on");
    env.ends(attempt(2, 1), RESTARTED);
    assert_eq!(env.state(2), Some(TaskState::Failed));
}

#[test]
fn timers_go_on() {
    let mut env = TestEnv::new(&["a"]);
    env.agent("m", "cpus=9");
    env.offer("m", "cpus=9");
    env.try_submit(&[task("a").timeout(60), task("a").retries(1)])
        .unwrap();
    env.ends(attempt(2, 1), FAIL);
    env.advance(0.5);
    env.crash();
    env.agent("m", "cpus=9");
    env.offer("m", "cpus=9");
    env.launched();
    env.advance(0.499);
    assert_eq!(env.launched(), []);
    env.advance(0.001);
    assert_eq!(env.launched(), [(2, 2)]);
    env.advance(59.0);
    assert_eq!(env.killed(), [(attempt(1, 1), 10)]);
}

#[test]
fn what_waits_goes_on_waiting_and_retries_of_ended_tasks_work() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a").array(3).key("k"));
    env.try_submit(&[
        task("a").after_key("k"),
        task("a").after(1),
        task("a").key("l").after_key("m"),
        task("a").key("m"),
    ])
    .unwrap();
    env.ends(attempt(2, 1), OK);
    env.crash();
    assert_eq!([4, 5, 6, 7].map(|task| env.state(task).unwrap()), {
        [
            TaskState::Waiting,
            TaskState::Waiting,
            TaskState::Waiting,
            TaskState::Queued,
        ]
    });
    env.ends(attempt(1, 1), FAIL);
    assert_eq!(env.state(4), Some(TaskState::Cancelled));
    assert_eq!(env.state(5), Some(TaskState::Cancelled));
    env.crash();
    env.retry(4);
    env.retry(1);
    env.crash();
    assert_eq!(env.state(1), Some(TaskState::Queued));
    env.cancel(7);
    assert_eq!(env.state(6), Some(TaskState::Cancelled));
}

#[test]
fn a_queue_or_resource_missing_from_the_settings_loses_no_task() {
    let mut env = TestEnv::new(&["a", "b"]);
    env.run(task("b").demand("mem=1"));
    env.submit(task("b").demand("mem=1"));
    let mut poorer = settings(&["b", "b/x"]);
    poorer.resources.remove(2);
    let mut engine = Engine::new(poorer.clone());
    for fact in env.ledger.recover() {
        engine.apply(&fact);
    }
    assert_eq!(engine.recovered(env.now), [attempt(1, 1)]);
    engine.check_invariants();
    let mut out = crate::engine::Output::default();
    engine.turn(env.now, &mut out);
    let paths: Vec<_> = engine
        .queues()
        .iter()
        .map(|queue| queue.path.to_string())
        .collect();
    assert_eq!(paths, ["b", "b/x", "b"]);
    assert!(engine.is_live(TaskId(2)));
    let settings = Box::new(poorer.clone());
    engine
        .on_request(
            env.now,
            crate::engine::Request::Reload { settings },
            &mut out,
        )
        .unwrap();
    engine.check_invariants();
    let settings = Box::new(super::env::settings(&["b"]));
    engine
        .on_request(
            env.now,
            crate::engine::Request::Reload { settings },
            &mut out,
        )
        .unwrap();
    engine.check_invariants();
    assert_eq!(engine.queues().len(), 1, "it is configured again");
    engine.turn(env.now, &mut out);
}

#[test]
fn what_ended_before_a_restart_counts_where_past_use_does() {
    let mut remembering = settings(&["early", "late"]);
    remembering.policy.half_life = Some(Duration::from_secs(3600));
    let mut env = TestEnv::with(remembering.clone());
    env.agent("m1", "cpus=8");
    for queue in ["early", "late"] {
        env.submit(task(queue).demand("cpus=1"));
    }
    let order = |told: bool| {
        let mut engine = Engine::new(remembering.clone());
        env.ledger
            .recover()
            .iter()
            .for_each(|fact| engine.apply(fact));
        engine.recovered(env.now);
        let since = engine.past_counts_since(env.now);
        assert_eq!(since, Some(Time(env.now.0.saturating_sub(24 * 3_600_000))));
        if told {
            engine.remember(&PastUse {
                queue: "early".into(),
                demand: Arc::new(amounts("cpus=4 tapes=1")),
                from: Time(env.now.0.saturating_sub(10)),
                to: env.now,
            });
        }
        let mut out = crate::engine::Output::default();
        let seen = Event::AgentSeen {
            agent: "m1".into(),
            total: amounts("cpus=8"),
            attributes: words(""),
        };
        engine.on_event(env.now, seen, &mut out);
        engine.turn(env.now, &mut out);
        engine.order()
    };
    assert_eq!(order(false), ["early".into(), "late".into()]);
    assert_eq!(order(true), ["late".into(), "early".into()]);
    let forgetful = Engine::new(settings(&["early"]));
    assert_eq!(forgetful.past_counts_since(Time(9)), None);
}

/// A submission of one task.
fn submission(first: u64, after: Vec<Dependency>) -> Arc<Submission> {
    Arc::new(Submission {
        first: TaskId(first),
        spec: task("a").task.spec,
        after,
        digest: [0; 16],
        submitted_at: Time(1),
    })
}

fn submitted(first: u64, after: Vec<Dependency>) -> Fact {
    let waiting = !after.is_empty();
    Fact::Submitted {
        submission: submission(first, after),
        waiting,
    }
}

/// An engine that was told this by its store.
fn restored(facts: &[Fact]) -> Engine {
    let mut engine = Engine::new(settings(&["a"]));
    facts.iter().for_each(|fact| engine.apply(fact));
    engine.recovered(Time(1_000_000));
    engine.check_invariants();
    engine
}

fn ended_well(task: u64) -> Fact {
    Fact::RestoredEnded {
        task: TaskId(task),
        first: TaskId(task),
        state: TaskState::Succeeded,
        at: Time(5),
    }
}

#[test]
fn what_waits_for_a_task_that_has_succeeded_is_queued() {
    let after = |first| Dependency {
        first: TaskId(first),
        count: 1,
    };
    let engine = restored(&[
        ended_well(1),
        submitted(2, vec![after(1)]),
        submitted(3, vec![after(2)]),
    ]);
    assert_eq!(engine.state.find_state(TaskId(2)), Some(TaskState::Queued));
    assert_eq!(engine.state.find_state(TaskId(3)), Some(TaskState::Waiting));
}

#[test]
fn ids_go_on_after_the_last_task_that_is_told_of() {
    let engine = restored(&[Fact::RestoredNextId(TaskId(2)), ended_well(7)]);
    assert_eq!(engine.state.next_id, TaskId(8));
}

#[test]
fn a_submission_of_which_all_has_ended_lives_no_more() {
    let engine = restored(&[ended_well(1), submitted(1, Vec::new())]);
    assert_eq!(engine.find_queue(TaskId(1)), None);
    assert_eq!(engine.state.n_live, 0);
}

#[test]
fn a_task_that_is_told_of_twice_or_still_waits_stands_once() {
    let of_task = |task, state| {
        Fact::Restored(LiveTask {
            task: TaskId(task),
            state,
            n_attempts: 1,
            n_failures: 0,
            n_losses: 0,
            not_before: Time::default(),
            cancel_reason: None,
            attempts: Vec::new(),
        })
    };
    let after = Dependency {
        first: TaskId(1),
        count: 1,
    };
    let engine = restored(&[
        submitted(1, Vec::new()),
        submitted(2, vec![after]),
        of_task(1, TaskState::Queued),
        of_task(1, TaskState::Queued),
        of_task(2, TaskState::Waiting),
    ]);
    assert_eq!(engine.state.live_tasks(), [TaskId(1)]);
    assert_eq!(engine.state.find_state(TaskId(2)), Some(TaskState::Waiting));
}
