//! The session against an agent that only exists in these tests.

mod env;

use std::time::Duration;

use self::env::{
    Env, acknowledged, event, file, kill, launched, options, states, submission, subscribed,
};
use super::*;
use crate::backend::remote::ended::{self, Shown};
use crate::backend::remote::launch;
use crate::engine::AttemptEnd;
use crate::engine::outcome::Value;
use crate::proto::mesos::v1::TaskState;
use crate::proto::mesos::v1::executor::event::Type as EventType;

#[test]
fn a_task_is_told_until_it_is_acknowledged() {
    let mut env = Env::subscribed(options());
    env.launch("7.1");
    env.give(Input::Backend(Event::AttemptStarted {
        attempt: launch::parse_attempt("7.1").unwrap(),
    }));
    env.finished("7.1");
    let updates = env.take_updates();
    assert_eq!(
        states(&updates),
        [
            ("7.1", TaskState::TaskRunning),
            ("7.1", TaskState::TaskFinished)
        ]
    );
    for (uuid, status) in &updates {
        assert_eq!(status.uuid.as_deref(), Some(&uuid[..]));
        assert_eq!(status.timestamp, Some(1000.0));
    }
    // The agent takes the first and goes away.
    env.give(Input::Answered(updates[0].0, Answer::Accepted));
    env.give(Input::Answered(updates[1].0, Answer::Failed));
    env.give(Input::StreamEnded(1, "gone".to_owned()));
    assert_eq!(env.take(), []);
    env.pass(Duration::from_millis(500));
    let (stream, subscribe) = env.take_subscribe();
    assert_eq!(subscribe.unacknowledged_tasks.len(), 1);
    assert_eq!(subscribe.unacknowledged_updates.len(), 2, "in order:");
    assert_eq!(subscribe.unacknowledged_updates[0].status, updates[0].1);
    env.hear(stream, subscribed());
    assert_eq!(env.take(), [], "the subscription has handed them over");
    env.acknowledge(stream, "7.1", updates[0].0);
    env.acknowledge(stream, "7.1", updates[0].0);
    env.acknowledge(stream, "7.1", updates[1].0);
    env.give(Input::StreamEnded(stream, "gone".to_owned()));
    env.pass(Duration::from_millis(500));
    let (_, subscribe) = env.take_subscribe();
    assert!(subscribe.unacknowledged_tasks.is_empty());
    assert!(subscribe.unacknowledged_updates.is_empty());
}

#[test]
fn updates_wait_while_the_agent_is_away() {
    let mut env = Env::subscribed(options());
    env.launch("7.1");
    env.give(Input::StreamEnded(1, "gone".to_owned()));
    env.finished("7.1");
    assert_eq!(env.take(), []);
    // It answers several times that it can't yet.
    for stream in 2..5 {
        env.pass(Duration::from_millis(500));
        let (opened, subscribe) = env.take_subscribe();
        assert_eq!(opened, stream);
        assert_eq!(subscribe.unacknowledged_updates.len(), 1);
        env.give(Input::StreamEnded(stream, "503".to_owned()));
    }
    env.pass(Duration::from_millis(500));
    let (stream, _) = env.take_subscribe();
    // What an old stream still says counts for nothing.
    env.hear(2, event(EventType::Shutdown));
    env.hear(stream, subscribed());
    assert_eq!(env.take(), []);
}

#[test]
fn what_is_not_acknowledged_is_sent_again() {
    let mut env = Env::subscribed(options());
    env.launch("7.1");
    env.finished("7.1");
    let first = env.take_updates();
    env.give(Input::Answered(first[0].0, Answer::Failed));
    assert_eq!(env.take(), [], "not at once");
    env.pass(CALL_PAUSE);
    let second = env.take_updates();
    assert_eq!(second, first, "the same update");
    env.give(Input::Answered(first[0].0, Answer::Accepted));
    env.pass(ACKNOWLEDGE_MAX * 3);
    let again = env.take_updates();
    assert!(!again.is_empty() && again.iter().all(|update| *update == first[0]));
    env.acknowledge(1, "7.1", first[0].0);
    env.pass(ACKNOWLEDGE_MAX * 3);
    assert_eq!(env.take(), []);
}

#[test]
fn an_update_that_is_refused_is_told_in_few_words() {
    let mut env = Env::subscribed(options());
    env.launch("7.1");
    env.finished("7.1");
    let refused = env.take_updates();
    env.give(Input::Answered(refused[0].0, Answer::Refused));
    let plain = env.take_updates();
    assert_eq!(states(&plain), [("7.1", TaskState::TaskFailed)]);
    assert_ne!(plain[0].0, refused[0].0, "another update");
    let told = ended::from_bytes(plain[0].1.data.as_deref().unwrap()).unwrap();
    assert!(matches!(told.end, AttemptEnd::Lost { .. }));
    // If not even that is taken, it is let go, and so is the task.
    env.give(Input::Answered(plain[0].0, Answer::Refused));
    assert_eq!(env.take(), []);
    env.give(Input::StreamEnded(1, "gone".to_owned()));
    env.pass(Duration::from_millis(500));
    let (_, subscribe) = env.take_subscribe();
    assert!(subscribe.unacknowledged_tasks.is_empty());
}

#[test]
fn calls_that_come_late_or_twice_do_no_harm() {
    let mut env = Env::subscribed(options());
    env.launch("7.1");
    env.hear(1, launched("7.1", "again", "http://s"));
    assert_eq!(env.take(), [], "nothing is started twice");
    env.hear(1, kill("7.2", None));
    env.hear(1, kill("no attempt", None));
    env.hear(1, acknowledged("7.1", b"short"));
    env.hear(1, acknowledged("9.9", &[0; 16]));
    env.hear(1, event(EventType::Heartbeat));
    env.hear(1, event(EventType::Launch));
    env.hear(1, executor::Event::default());
    env.hear(
        1,
        executor::Event {
            r#type: Some(77),
            ..executor::Event::default()
        },
    );
    env.give(Input::Uploaded(
        launch::parse_attempt("7.1").unwrap(),
        Ok(()),
    ));
    env.give(Input::Answered([9; 16], Answer::Refused));
    env.finished("8.1");
    assert_eq!(env.take(), []);
    env.finished("7.1");
    let updates = env.take_updates();
    env.finished("7.1");
    env.hear(1, kill("7.1", None));
    env.acknowledge(1, "7.1", updates[0].0);
    env.hear(1, launched("7.1", "after its end", "http://s"));
    assert_eq!(env.take(), []);
}

#[test]
fn what_can_not_be_launched_has_failed() {
    let mut env = Env::subscribed(options());
    for (id, data) in [("seven", &b""[..]), ("7.1", b"\xff\xff")] {
        let mut garbage = launched(id, "", "");
        garbage.launch.as_mut().unwrap().task.data = Some(data.to_vec().into());
        env.hear(1, garbage);
        let updates = env.take_updates();
        assert_eq!(states(&updates), [(id, TaskState::TaskFailed)]);
        let told = ended::from_bytes(updates[0].1.data.as_deref().unwrap()).unwrap();
        assert!(matches!(told.end, AttemptEnd::NotStarted { .. }));
    }
}

#[test]
fn kills_carry_their_grace_and_may_come_again() {
    let mut env = Env::subscribed(options());
    env.launch("7.1");
    env.hear(1, kill("7.1", Some(Duration::from_secs(9))));
    env.hear(1, kill("7.1", Some(Duration::from_secs(1))));
    let id = launch::parse_attempt("7.1").unwrap();
    let (kills, rest): (Vec<_>, Vec<_>) = env
        .take()
        .into_iter()
        .partition(|output| matches!(output, Output::Kill(..)));
    let graces = [9, 1].map(|seconds| Output::Kill(id, Duration::from_secs(seconds)));
    assert_eq!(kills, graces);
    env.wanted = rest;
    assert_eq!(
        states(&env.take_updates()),
        [("7.1", TaskState::TaskKilling)]
    );
    env.ended("7.1", AttemptEnd::Killed, Value::default());
    assert_eq!(
        states(&env.take_updates()),
        [("7.1", TaskState::TaskKilled)]
    );
}

#[test]
fn a_large_value_is_brought_before_its_end_is_told() {
    let mut env = Env::subscribed(options());
    let id = launch::parse_attempt("7.1").unwrap();
    env.launch("7.1");
    env.ended("7.1", AttemptEnd::Exited { code: 0 }, file(70_000));
    let to = |url: &str| Upload {
        url: url.to_owned(),
        token: "token of 7.1".to_owned(),
    };
    assert_eq!(env.take(), [Output::Upload(id, to("http://s"))]);
    // The scheduler has moved, as the next launch says.
    env.hear(1, launched("8.1", "true", "http://elsewhere"));
    let wanted = env.take();
    assert_eq!(wanted[0], Output::Upload(id, to("http://elsewhere")));
    assert_eq!(submission(&wanted[1]).first.0, 8);
    env.give(Input::Uploaded(id, Ok(())));
    let updates = env.take_updates();
    assert_eq!(states(&updates), [("7.1", TaskState::TaskFinished)]);
    let told = ended::from_bytes(updates[0].1.data.as_deref().unwrap()).unwrap();
    assert_eq!(told.shown, Shown::Uploaded(70_000));
    // One that can't be brought is a loss, and one that nobody wants any more is let be.
    let other = launch::parse_attempt("8.1").unwrap();
    env.ended("8.1", AttemptEnd::Exited { code: 0 }, file(70_000));
    env.take();
    env.give(Input::Uploaded(other, Err("409".to_owned())));
    let told = env.take_updates().remove(0).1;
    let told = ended::from_bytes(told.data.as_deref().unwrap()).unwrap();
    assert!(told.lost_because.is_some_and(|why| why.contains("409")));
    env.launch("9.1");
    env.ended("9.1", AttemptEnd::Exited { code: 0 }, file(70_000));
    env.take();
    env.hear(1, kill("9.1", None));
    let third = launch::parse_attempt("9.1").unwrap();
    assert_eq!(env.wanted.remove(0), Output::StopUpload(third));
    assert_eq!(
        states(&env.take_updates()),
        [("9.1", TaskState::TaskKilled)]
    );
}

#[test]
fn told_to_shut_down_it_ends_all_and_tells_of_it() {
    let mut env = Env::subscribed(options());
    env.launch("7.1");
    env.hear(1, event(EventType::Shutdown));
    let wanted = env.take();
    let id = launch::parse_attempt("7.1").unwrap();
    // A second of the agent's five is for telling.
    assert!(
        wanted.contains(&Output::Kill(id, Duration::from_secs(4))),
        "{wanted:?}"
    );
    env.hear(1, launched("8.1", "true", "http://s"));
    env.ended("7.1", AttemptEnd::Killed, Value::default());
    let updates = env.take_updates();
    assert_eq!(
        states(&updates),
        [
            ("8.1", TaskState::TaskFailed),
            ("7.1", TaskState::TaskKilled)
        ]
    );
    env.acknowledge(1, "8.1", updates[0].0);
    assert_eq!(env.take(), []);
    env.acknowledge(1, "7.1", updates[1].0);
    // That it was killing 7.1 is not acknowledged yet.
    env.pass(Duration::from_secs(5));
    assert_eq!(env.take().last(), Some(&Output::Exit(ExitReason::Told)));
}

#[test]
fn an_agent_that_stays_away_is_given_up() {
    let mut env = Env::subscribed(options());
    env.launch("7.1");
    env.give(Input::StreamEnded(1, "gone".to_owned()));
    env.pass(Duration::from_secs(59));
    let wanted = env.take();
    assert!(
        wanted
            .iter()
            .all(|output| matches!(output, Output::Subscribe(..)))
    );
    env.pass(Duration::from_secs(1));
    let id = launch::parse_attempt("7.1").unwrap();
    assert!(
        env.take()
            .contains(&Output::Kill(id, Duration::from_secs(5)))
    );
    env.ended("7.1", AttemptEnd::Killed, Value::default());
    assert_eq!(
        env.take(),
        [Output::Exit(ExitReason::AgentGone)],
        "nobody is there to be told"
    );
}

#[test]
fn without_checkpoints_the_end_of_the_stream_is_the_end() {
    let mut env = Env::subscribed(SessionOptions {
        checkpoint: false,
        ..options()
    });
    env.launch("7.1");
    env.give(Input::StreamEnded(1, "gone".to_owned()));
    assert!(matches!(env.take().as_slice(), [Output::Kill(..)]));
    // What hangs in the kernel is not waited for for ever.
    env.pass(Duration::from_secs(11));
    assert_eq!(env.take(), [Output::Exit(ExitReason::AgentGone)]);
}

#[test]
fn idle_it_ends_if_it_is_to() {
    let idle_timeout = Some(Duration::from_secs(10));
    let mut env = Env::subscribed(SessionOptions {
        idle_timeout,
        ..options()
    });
    env.pass(Duration::from_secs(60));
    assert_eq!(env.take(), [], "its first task may take its time");
    env.launch("7.1");
    env.pass(Duration::from_secs(60));
    env.finished("7.1");
    let updates = env.take_updates();
    env.pass(Duration::from_secs(20));
    assert!(
        !env.take().contains(&Output::Exit(ExitReason::Idle)),
        "its end isn't acknowledged"
    );
    env.acknowledge(1, "7.1", updates[0].0);
    env.pass(Duration::from_secs(9));
    assert_eq!(env.take(), []);
    env.pass(Duration::from_secs(1));
    assert_eq!(env.take(), [Output::Exit(ExitReason::Idle)]);
    // One that never got a task ends too, whatever it was told.
    let mut unused = Env::subscribed(options());
    unused.pass(FIRST_TASK_MAX);
    assert_eq!(unused.take(), [Output::Exit(ExitReason::Idle)]);
}

#[test]
fn outputs_are_forgotten_in_time() {
    let mut env = Env::subscribed(options());
    env.launch("7.1");
    env.finished("7.1");
    let updates = env.take_updates();
    env.acknowledge(1, "7.1", updates[0].0);
    env.pass(Duration::from_secs(3599));
    assert_eq!(env.take(), []);
    env.pass(Duration::from_secs(1));
    let id = launch::parse_attempt("7.1").unwrap();
    assert_eq!(env.take(), [Output::Forget(id)]);
}
