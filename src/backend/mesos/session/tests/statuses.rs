//! Statuses: late, repeated, unknown, uncertain; acknowledged once they are durable.

use crate::backend::mesos::session::Recovered;
use crate::engine::Decision;
use crate::proto::mesos::v1::TaskState;
use crate::proto::mesos::v1::task_status::Reason;

use super::env::*;

#[test]
fn a_status_is_acknowledged_once_its_receipt_comes_back() {
    let mut env = Env::subscribed();
    env.launched(1);
    env.status("1.1", TaskState::TaskRunning);
    assert_eq!(env.wanted(), ["1.1 started"]);
    env.exited("1.1", 0);
    assert_eq!(env.wanted(), ["1.1 exited 0"]);
    env.decide(Decision::Acknowledge { receipt: 1 });
    assert_eq!(env.wanted(), ["acknowledge 1.1"]);
    env.decide(Decision::Acknowledge { receipt: 2 });
    let calls = env.calls();
    let acknowledge = calls[0].body.acknowledge.as_ref().unwrap();
    assert_eq!(&acknowledge.uuid[..], [2; 16]);
    assert_eq!(acknowledge.agent_id.value, "A");
}

#[test]
fn a_repeated_status_is_acknowledged_again_and_told_once() {
    let mut env = Env::subscribed();
    env.launched(1);
    for _ in 0..2 {
        env.exited("1.1", 3);
    }
    assert_eq!(env.wanted(), ["1.1 exited 3"]);
    env.decide(Decision::Acknowledge { receipt: 2 });
    assert_eq!(env.wanted(), ["acknowledge 1.1", "acknowledge 1.1"]);
}

#[test]
fn without_a_uuid_nothing_is_acknowledged_and_an_end_is_waited_for() {
    let mut env = Env::subscribed();
    env.launched(1);
    env.answer("1.1", TaskState::TaskFinished);
    env.answer("1.1", TaskState::TaskRunning);
    assert_eq!(env.wanted(), ["1.1 started"]);
    env.decide(Decision::Acknowledge { receipt: 99 });
    assert!(env.wanted().is_empty());
    env.exited("1.1", 0);
    assert_eq!(env.wanted(), ["1.1 exited 0"]);
}

#[test]
fn acknowledgements_die_with_their_subscription() {
    let mut env = Env::subscribed();
    env.launched(1);
    env.exited("1.1", 0);
    env.session
        .on_stream_closed(env.now, env.generation, "gone");
    env.advance(1);
    env.subscribe();
    env.actions.clear();
    env.decide(Decision::Acknowledge { receipt: 9 });
    assert!(env.wanted().is_empty(), "the agent sends the status again");
}

#[test]
fn every_way_to_end_has_its_meaning() {
    let mut env = Env::subscribed();
    let cases = [
        (
            TaskState::TaskFailed,
            Some(Reason::ExecutorTerminated),
            "lost: executor_lost",
        ),
        (
            TaskState::TaskFailed,
            Some(Reason::ContainerLaunchFailed),
            "lost: launch_dropped",
        ),
        (
            TaskState::TaskFailed,
            Some(Reason::ContainerLimitationMemory),
            "lost: executor_lost",
        ),
        (TaskState::TaskKilled, None, "killed"),
        (
            TaskState::TaskKilled,
            Some(Reason::TaskKilledDuringLaunch),
            "killed",
        ),
        (
            TaskState::TaskKilled,
            Some(Reason::AgentDraining),
            "lost: agent_lost",
        ),
        (
            TaskState::TaskDropped,
            Some(Reason::InvalidOffers),
            "lost: launch_dropped",
        ),
        (
            TaskState::TaskLost,
            Some(Reason::InvalidOffers),
            "lost: launch_dropped",
        ),
        (
            TaskState::TaskLost,
            Some(Reason::AgentRemoved),
            "lost: agent_lost",
        ),
        (TaskState::TaskGone, None, "lost: agent_lost"),
        (
            TaskState::TaskGone,
            Some(Reason::ExecutorReregistrationTimeout),
            "lost: executor_lost",
        ),
        (TaskState::TaskGoneByOperator, None, "lost: agent_lost"),
        (
            TaskState::TaskError,
            Some(Reason::TaskUnauthorized),
            "not started: Mesos refuses the task: because",
        ),
        (TaskState::TaskFinished, None, "lost: executor_lost"),
    ];
    for (place, (state, reason, expected)) in (1..).zip(cases) {
        env.launched(place);
        env.status_with(&format!("{place}.1"), state, |status| {
            status.reason = reason.map(|it| it as i32);
            status.message = Some("because".to_owned());
        });
        assert_eq!(
            env.wanted(),
            [format!("{place}.1 {expected}")],
            "{state:?} {reason:?}"
        );
    }
}

#[test]
fn a_container_of_its_own_that_is_out_of_memory_is_the_task_s_fault() {
    let mut env = Env::subscribed();
    env.launched(1);
    env.status_with("1.1", TaskState::TaskFailed, |status| {
        status.reason = Some(Reason::ContainerLimitationMemory as i32);
        status.executor_id = Some(crate::proto::mesos::v1::ExecutorId {
            value: "1.1".to_owned(),
        });
    });
    assert_eq!(env.wanted(), ["1.1 out of memory"]);
}

#[test]
fn more_than_available_is_no_fault_of_the_task() {
    let mut env = Env::subscribed();
    env.launched(1);
    env.status_with("1.1", TaskState::TaskError, |status| {
        status.uuid = None;
        status.message = Some("Task uses more resources: more than available".to_owned());
    });
    assert_eq!(env.wanted(), ["1.1 lost: launch_dropped"]);
}

#[test]
fn what_is_unreachable_may_come_back_in_time() {
    let mut env = Env::subscribed();
    env.launched(1);
    env.status("1.1", TaskState::TaskRunning);
    env.answer("1.1", TaskState::TaskUnreachable);
    env.advance(59);
    env.heartbeat();
    env.answer("1.1", TaskState::TaskRunning);
    env.advance(60);
    env.heartbeat();
    env.actions.clear();
    env.exited("1.1", 0);
    assert_eq!(env.wanted(), ["1.1 exited 0"]);
}

#[test]
fn what_is_unreachable_for_long_is_lost_and_killed_when_it_comes_back() {
    let mut env = Env::subscribed();
    env.launched(1);
    env.answer("1.1", TaskState::TaskUnreachable);
    env.actions.clear();
    env.advance(60);
    assert_eq!(env.wanted(), ["1.1 lost: agent_lost"]);
    for _ in 0..2 {
        env.answer("1.1", TaskState::TaskRunning);
    }
    assert_eq!(env.wanted(), ["kill 1.1"], "once, and its word is nothing");
    env.exited("1.1", 0);
    env.decide(Decision::Acknowledge { receipt: 9 });
    assert_eq!(env.wanted(), ["acknowledge 1.1"]);
}

#[test]
fn a_task_that_is_none_of_ours_is_killed_and_acknowledged() {
    let mut env = Env::subscribed();
    env.status("stranger", TaskState::TaskRunning);
    assert_eq!(env.wanted(), ["kill stranger"]);
    env.decide(Decision::Acknowledge { receipt: 1 });
    assert_eq!(env.wanted(), ["acknowledge stranger"]);
    env.status("stranger", TaskState::TaskKilled);
    assert!(env.wanted().is_empty());
    env.advance(31);
    env.status("stranger", TaskState::TaskRunning);
    assert_eq!(env.wanted(), ["kill stranger"]);
}

#[test]
fn nobody_knows_of_it_so_it_is_asked_again_and_then_lost() {
    let mut env = Env::subscribed();
    env.launched(1);
    env.advance(40);
    env.heartbeat();
    env.session
        .on_stream_closed(env.now, env.generation, "gone");
    env.advance(1);
    env.subscribe();
    env.actions.clear();
    env.answer("1.1", TaskState::TaskUnknown);
    assert!(env.wanted().is_empty());
    env.advance(10);
    assert_eq!(env.wanted(), ["reconcile 1.1"]);
    env.answer("1.1", TaskState::TaskUnknown);
    assert_eq!(env.wanted(), ["1.1 lost: agent_lost"]);
}

#[test]
fn an_answer_to_a_launch_of_just_now_is_too_early() {
    let mut env = Env::subscribed();
    env.launched(1);
    env.session
        .on_stream_closed(env.now, env.generation, "gone");
    env.advance(1);
    env.subscribe();
    env.actions.clear();
    for _ in 0..5 {
        env.answer("1.1", TaskState::TaskUnknown);
        env.answer("1.1", TaskState::TaskGone);
    }
    assert!(env.wanted().is_empty());
    env.advance(30);
    env.answer("1.1", TaskState::TaskGone);
    assert_eq!(env.wanted().pop().unwrap(), "1.1 lost: agent_lost");
}

/// Found by simulated faults: a daemon that starts again asks while the master still asks its authorizer.
#[test]
fn an_answer_to_a_launch_of_the_last_daemon_is_too_early_too() {
    let recovered = Recovered {
        attempt: attempt(1, 1),
        agent: "A".into(),
        demand: std::sync::Arc::default(),
    };
    let mut env = Env::new(Some("F"), vec![recovered]);
    env.subscribe();
    env.actions.clear();
    env.answer("1.1", TaskState::TaskGone);
    assert!(env.wanted().is_empty());
    env.advance(30);
    env.answer("1.1", TaskState::TaskGone);
    assert_eq!(env.wanted().pop().unwrap(), "1.1 lost: agent_lost");
}

#[test]
fn a_launch_whose_offers_were_spent_is_asked_about_for_it_may_have_come_twice() {
    let spent = |env: &mut Env| {
        env.status_with("1.1", TaskState::TaskDropped, |status| {
            status.uuid = None;
            status.reason = Some(Reason::InvalidOffers as i32);
        });
        env.advance(0);
        assert_eq!(env.wanted(), ["reconcile 1.1"]);
    };
    let mut env = Env::subscribed();
    env.launched(1);
    spent(&mut env);
    env.answer("1.1", TaskState::TaskGone);
    assert_eq!(env.wanted(), ["1.1 lost: launch_dropped"]);
    // The first of two copies has launched it.
    let mut env = Env::subscribed();
    env.launched(1);
    spent(&mut env);
    env.answer("1.1", TaskState::TaskStaging);
    env.answer("1.1", TaskState::TaskGone);
    assert!(
        env.wanted().is_empty(),
        "once heard of, it is like any other"
    );
    env.exited("1.1", 0);
    assert_eq!(env.wanted(), ["1.1 exited 0"]);
}

#[test]
fn rounds_ask_ever_more_rarely_until_each_was_heard_of() {
    let recovered = |task| Recovered {
        attempt: attempt(task, 1),
        agent: "A".into(),
        demand: std::sync::Arc::default(),
    };
    let mut env = Env::new(Some("F"), vec![recovered(1), recovered(2)]);
    env.subscribe();
    env.actions.clear();
    env.answer("1.1", TaskState::TaskRunning);
    env.actions.clear();
    let mut asked = Vec::new();
    for second in 0..200 {
        env.advance(1);
        env.heartbeat();
        if env.wanted().contains(&"reconcile 2.1".to_owned()) {
            asked.push(second + 1);
        }
    }
    assert_eq!(asked, [10, 30, 70, 150]);
    env.answer("2.1", TaskState::TaskRunning);
    env.actions.clear();
    for _ in 0..8 {
        env.advance(60);
        env.heartbeat();
    }
    let all = "reconcile 1.1 2.1".to_owned();
    assert!(
        env.wanted().contains(&all),
        "all are asked about after ten minutes"
    );
}

#[test]
fn a_launch_of_which_nothing_is_heard_is_asked_about() {
    let mut env = Env::subscribed();
    env.launched(1);
    for _ in 0..5 {
        env.advance(30);
        env.heartbeat();
    }
    assert!(env.wanted().contains(&"reconcile 1.1".to_owned()));
}

#[test]
fn a_launch_that_was_known_and_never_runs_is_asked_about_again() {
    let mut env = Env::subscribed();
    env.launched(1);
    env.status("1.1", TaskState::TaskStaging);
    for _ in 0..2 {
        env.actions.clear();
        for _ in 0..5 {
            env.advance(30);
            env.heartbeat();
        }
        assert!(env.wanted().contains(&"reconcile 1.1".to_owned()));
        env.status("1.1", TaskState::TaskStaging);
    }
}

#[test]
fn kills_are_asked_again_until_the_end() {
    let mut env = Env::subscribed();
    env.launched(1);
    let kill = Decision::Kill {
        attempt: attempt(1, 1),
        grace: std::time::Duration::from_secs(10),
    };
    env.decide(kill.clone());
    assert_eq!(env.wanted(), ["kill 1.1"]);
    env.advance(30);
    assert!(env.wanted().contains(&"kill 1.1".to_owned()));
    env.session
        .on_stream_closed(env.now, env.generation, "gone");
    env.advance(1);
    env.actions.clear();
    env.subscribe();
    assert!(env.wanted().contains(&"kill 1.1".to_owned()));
    env.status("1.1", TaskState::TaskKilled);
    assert_eq!(env.wanted(), ["1.1 killed"]);
    env.advance(60);
    env.heartbeat();
    assert!(!env.wanted().contains(&"kill 1.1".to_owned()));
    env.decide(kill);
    assert_eq!(env.wanted(), ["1.1 killed"], "what is unknown has ended");
}
