//! Idempotent submission, and forgetting what has ended.

use super::env::*;
use crate::engine::request::Accepted;
use crate::engine::{AttemptEnd, Fact, Refusal, Reply, Request, TaskId, TaskState};

fn accept(env: &mut TestEnv, tasks: &[Builder]) -> Vec<(u64, bool)> {
    let tasks = tasks.iter().map(|builder| builder.task.clone()).collect();
    let Reply::Submitted(accepted) = env.request(Request::Submit { tasks }).unwrap() else {
        panic!("another reply");
    };
    accepted
        .iter()
        .map(|Accepted { first, created, .. }| (first.0, *created))
        .collect()
}

#[test]
fn the_same_key_with_the_same_task_answers_the_first_id() {
    let mut env = TestEnv::new(&["a"]);
    let first = task("a").key("k").array(3);
    assert_eq!(
        accept(&mut env, &[first.clone(), task("a"), first.clone()]),
        [(1, true), (4, true), (1, false)]
    );
    assert_eq!(
        accept(&mut env, &[task("a"), first.clone()]),
        [(5, true), (1, false)]
    );
    for id in 1..=3 {
        env.cancel(id);
    }
    assert_eq!(
        accept(&mut env, &[first]),
        [(1, false)],
        "also after its end"
    );
    assert_eq!(env.state(1), Some(TaskState::Cancelled));
}

#[test]
fn the_same_key_with_another_task_is_refused() {
    let mut env = TestEnv::new(&["a"]);
    env.submit(task("a").key("k"));
    let refusal = |place, task| Refusal::KeyReused {
        place,
        key: "k".into(),
        task: TaskId(task),
    };
    assert_eq!(env.refused(task("a").key("k").digest(1)), refusal(0, 1));
    let tasks = [task("a"), task("a").key("k").digest(1)];
    assert_eq!(env.try_submit(&tasks), Err(refusal(1, 1)));
    assert_eq!(env.submit(task("a")), 2, "nothing of the call was taken in");
}

#[test]
fn a_known_task_is_answered_even_if_it_could_not_be_taken_in_now() {
    let mut env = TestEnv::new(&["a", "b"]);
    env.submit(task("b").key("k"));
    env.cancel(1);
    env.reload(settings(&["a"])).unwrap();
    assert_eq!(env.submit(task("b").key("k")), 1);
}

#[test]
fn forgotten_tasks_are_unknown_and_their_keys_free() {
    let mut env = TestEnv::new(&["a"]);
    env.try_submit(&[task("a").key("k").array(2), task("a"), task("a")])
        .unwrap();
    env.cancel(1);
    env.cancel(3);
    env.advance(10.0);
    let old = env.now;
    env.cancel(2);
    env.advance(10.0);
    env.request(Request::Forget { ended_before: old }).unwrap();
    assert!(matches!(&env.facts[..], [Fact::Forgotten { firsts, .. }] if *firsts == [TaskId(3)]));
    assert_eq!(env.state(3), None);
    assert_eq!(
        env.state(1),
        Some(TaskState::Cancelled),
        "its array ended later"
    );
    assert!(matches!(
        env.refused(task("a").after(3)),
        Refusal::UnknownDependency { .. }
    ));
    assert!(matches!(env.try_retry(3), Err(Refusal::UnknownTask { .. })));
    env.request(Request::Forget {
        ended_before: env.now,
    })
    .unwrap();
    assert_eq!((env.state(1), env.state(2)), (None, None));
    assert_eq!(env.submit(task("a").key("k").digest(1)), 5);
    env.request(Request::Forget {
        ended_before: env.now,
    })
    .unwrap();
    assert!(env.facts.is_empty(), "nothing is left to forget");
}

#[test]
fn what_was_retried_is_forgotten_by_its_last_end() {
    let mut env = TestEnv::new(&["a"]);
    env.submit(task("a").key("k"));
    env.cancel(1);
    env.advance(1.0);
    env.retry(1);
    let ended_before = env.now.after(std::time::Duration::from_secs(1));
    env.request(Request::Forget { ended_before }).unwrap();
    assert_eq!(env.state(1), Some(TaskState::Queued), "it lives");
    env.advance(5.0);
    env.cancel(1);
    env.request(Request::Forget { ended_before }).unwrap();
    assert_eq!(env.state(1), Some(TaskState::Cancelled));
    env.advance(1.0);
    env.request(Request::Forget {
        ended_before: env.now,
    })
    .unwrap();
    assert_eq!(env.state(1), None);
}

/// Found by simulated faults: what an attempt that nobody knows any more says at its end reaches nobody.
#[test]
fn a_task_is_not_forgotten_while_an_attempt_of_it_dies() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a"));
    env.cancel(1);
    env.retry(1);
    env.offer("m", "cpus=100 mem=100");
    env.ends(attempt(1, 2), OK);
    assert_eq!(env.state(1), Some(TaskState::Succeeded));
    env.submit(task("a"));
    env.cancel(2);
    env.advance(10.0);
    let ended_before = env.now;
    env.request(Request::Forget { ended_before }).unwrap();
    assert!(env.facts.is_empty(), "nor what ended after it");
    env.ends(attempt(1, 1), AttemptEnd::Killed);
    env.request(Request::Forget { ended_before }).unwrap();
    assert_eq!((env.state(1), env.state(2)), (None, None));
}

#[test]
fn an_inbox_is_acknowledged_by_a_fact() {
    let mut env = TestEnv::new(&["a"]);
    let inbox = "in".into();
    assert_eq!(
        env.request(Request::AcknowledgeInbox {
            inbox,
            upto: 3,
            only: None
        }),
        Ok(Reply::Done)
    );
    assert!(matches!(
        &env.facts[..],
        [Fact::InboxAcknowledged { upto: 3, .. }]
    ));
}

#[test]
fn keys_of_ended_tasks_are_known_after_a_restart_until_they_are_forgotten() {
    let mut env = TestEnv::new(&["a"]);
    let keyed = task("a").key("k");
    assert_eq!(
        accept(&mut env, &[keyed.clone(), task("a")]),
        [(1, true), (2, true)]
    );
    env.cancel(1);
    env.crash();
    assert_eq!(accept(&mut env, std::slice::from_ref(&keyed)), [(1, false)]);
    env.advance(1.0);
    let ended_before = env.now;
    env.request(Request::Forget { ended_before }).unwrap();
    assert_eq!(accept(&mut env, &[keyed]), [(3, true)]);
}

/// What is restored of a submission that lives must not be taken for its end.
#[test]
fn what_dies_of_one_task_keeps_no_other_from_being_forgotten() {
    let mut env = TestEnv::new(&["a"]);
    env.submit(task("a"));
    env.cancel(1);
    env.run(task("a"));
    env.cancel(2);
    env.retry(2);
    env.advance(1.0);
    let ended_before = env.now;
    env.request(Request::Forget { ended_before }).unwrap();
    assert_eq!(env.state(1), None, "the attempt that dies is of the next");
}
