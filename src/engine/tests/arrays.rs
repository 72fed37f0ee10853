//! Arrays: one record, expanded as their tasks start.

use super::env::*;
use crate::engine::spec::{ArrayRange, Submission};
use crate::engine::{Refusal, TaskId, TaskState, Time};

#[test]
fn an_array_is_one_record_until_its_tasks_start() {
    let mut env = TestEnv::new(&["a"]);
    env.submit(task("a").array(1000));
    assert!(env.engine.state.live.is_empty());
    env.submit(task("a"));
    env.agent("m", "cpus=3");
    env.offer("m", "cpus=3");
    assert_eq!(env.launched(), [(1, 1), (2, 1), (3, 1)]);
    assert_eq!(env.engine.state.live.len(), 3);
    env.ends(attempt(2, 1), OK);
    env.offer("m", "cpus=1");
    assert_eq!(env.launched(), [(4, 1)]);
    assert_eq!(env.state(500), Some(TaskState::Queued));
}

#[test]
fn one_task_of_an_array_is_cancelled_and_retried_alone() {
    let mut env = TestEnv::new(&["a"]);
    env.submit(task("a").array(5));
    env.cancel(3);
    env.cancel(1);
    env.retry(3);
    env.agent("m", "cpus=9");
    env.offer("m", "cpus=9");
    assert_eq!(env.launched(), [(2, 1), (3, 1), (4, 1), (5, 1)]);
}

#[test]
fn a_task_of_an_array_that_is_tried_again_keeps_its_place() {
    let mut env = TestEnv::new(&["a"]);
    env.submit(task("a").array(4).retries(1));
    env.submit(task("a").priority(1));
    env.agent("m", "cpus=2");
    env.offer("m", "cpus=2");
    assert_eq!(env.launched(), [(5, 1), (1, 1)]);
    env.ends(attempt(1, 1), FAIL);
    env.advance(1.0);
    env.offer("m", "cpus=1");
    assert_eq!(env.launched(), [(1, 2)]);
}

#[test]
fn more_tasks_than_may_live_are_refused() {
    let mut settings = settings(&["a"]);
    settings.live_max = 10;
    let mut env = TestEnv::with(settings);
    env.submit(task("a").array(8));
    let refusal = Refusal::TooManyTasks { n_live: 8 };
    assert_eq!(env.refused(task("a").array(3)), refusal);
    assert_eq!(
        env.try_submit(&[task("a").array(2), task("a")]),
        Err(refusal.clone())
    );
    let mut whole = task("a");
    whole.task.spec.array = Some(crate::engine::spec::ArrayRange {
        first: 0,
        last: u32::MAX,
        step: 1,
    });
    assert_eq!(env.refused(whole), refusal);
    env.submit(task("a").array(2));
    env.cancel(1);
    env.submit(task("a"));
    assert_eq!(env.try_retry(1), Err(Refusal::TooManyTasks { n_live: 10 }));
}

#[test]
fn more_tasks_than_may_wait_in_a_queue_are_refused_whatever_brings_them() {
    let mut settings = settings(&["a", "a/x", "a/y", "b"]);
    settings.queues[0].queued_max = Some(4);
    settings.queues[2].queued_max = Some(1);
    let mut env = TestEnv::with(settings.clone());
    let full = |queue: &str, n_queued, n_new, max| Refusal::QueueFull {
        queue: queue.into(),
        n_queued,
        n_new,
        max,
    };
    env.submit(task("a/x").array(3));
    assert_eq!(env.refused(task("a/x").array(2)), full("a/x", 3, 2, 4));
    env.submit(task("a/x").after(2));
    assert_eq!(env.refused(task("a/x")), full("a/x", 4, 1, 4));
    env.submit(task("a/y"));
    assert_eq!(env.refused(task("a/y")), full("a/y", 1, 1, 1));
    env.submit(task("b").array(100));
    // What ends makes room; what is retried by hand takes it.
    env.cancel(1);
    env.submit(task("a/x"));
    assert_eq!(env.try_retry(1), Err(full("a/x", 4, 1, 4)));
    // Fewer than there are takes nothing away.
    settings.queues[0].queued_max = Some(2);
    env.reload(settings).unwrap();
    assert_eq!(env.refused(task("a/x")), full("a/x", 4, 1, 2));
    assert_eq!(env.engine.state.n_live, 105);
}

#[test]
fn a_million_tasks_are_taken_in_and_cancelled_one_by_one_in_the_middle() {
    let mut engine = crate::engine::Engine::new(settings(&["a"]));
    let mut out = crate::engine::Output::default();
    let now = crate::engine::Time(0);
    engine.recovered(now);
    let tasks = vec![task("a").array(1_000_000).task];
    engine
        .on_request(now, crate::engine::Request::Submit { tasks }, &mut out)
        .unwrap();
    for id in (2..1000).step_by(2) {
        let (task, reason) = (TaskId(id), None);
        engine
            .on_request(
                now,
                crate::engine::Request::Cancel { task, reason },
                &mut out,
            )
            .unwrap();
    }
    assert_eq!(
        engine.queues()[0].tasks[1],
        (TaskState::Queued, 1_000_000 - 499)
    );
    let explained = engine.explain(TaskId(1_000_000)).unwrap();
    assert_eq!(explained.n_ahead, 1_000_000 - 500);
    assert_eq!(explained.ahead[..3], [TaskId(1), TaskId(3), TaskId(5)]);
}

/// An array of these indexes, or a single task, whose first id is 7.
fn submission(array: Option<ArrayRange>) -> Submission {
    let mut spec = task("a").task.spec;
    spec.array = array;
    Submission {
        first: TaskId(7),
        spec,
        after: Vec::new(),
        digest: [0; 16],
        submitted_at: Time::default(),
    }
}

#[test]
fn each_task_of_an_array_has_its_index() {
    let array = ArrayRange {
        first: 10,
        last: 25,
        step: 5,
    };
    let of_array = submission(Some(array));
    assert_eq!((array.count(), of_array.end()), (4, TaskId(11)));
    let indexes = [7, 8, 9, 10].map(|id| of_array.array_index(TaskId(id)));
    assert_eq!(indexes, [10, 15, 20, 25].map(Some));
    assert_eq!(submission(None).array_index(TaskId(7)), None);
}

#[test]
#[should_panic(expected = "the task is one of its submission's")]
fn the_task_after_an_array_has_no_index_in_it() {
    let array = ArrayRange {
        first: 0,
        last: 1,
        step: 1,
    };
    let _ = submission(Some(array)).array_index(TaskId(9));
}

#[test]
fn arrays_count_towards_the_most_live_tasks_with_all_that_is_there() {
    let mut little = settings(&["a"]);
    little.live_max = 10;
    let mut env = TestEnv::with(little);
    env.submit(task("a").array(5));
    let mut stepped = task("a");
    stepped.task.spec.array = Some(ArrayRange {
        first: 0,
        last: 10,
        step: 5,
    });
    let too_many = [task("a").array(3), stepped.clone()];
    let n_live = 5;
    assert_eq!(
        env.try_submit(&too_many),
        Err(Refusal::TooManyTasks { n_live })
    );
    env.try_submit(&[task("a").array(2), stepped]).unwrap();
    assert_eq!(env.engine.state.n_live, 10);
}

#[test]
fn what_never_started_of_an_array_stands_in_as_few_ranges_as_can_be() {
    let mut env = TestEnv::new(&["a"]);
    env.submit(task("a").array(8));
    env.agent("m", "cpus=2");
    env.offer("m", "cpus=2");
    env.cancel(5);
    let state = &env.engine.state;
    let slot = state.find_live(TaskId(1)).unwrap();
    let ranges = state.fresh_ranges(slot).into_iter();
    let ranges: Vec<(u64, u32)> = ranges.map(|range| (range.first.0, range.count)).collect();
    assert_eq!(ranges, [(3, 2), (6, 3)]);
}
