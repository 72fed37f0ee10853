//! The order of things: commit, then act and answer; and what happens when a commit fails.

mod harness;

use futures::future::join_all;

use super::*;
use crate::engine::fact::LiveAttempt;
use crate::engine::{AttemptEnd, TaskId, TaskState};
use harness::{Asked, Running, TestStore, attempt, ended, id, lost, submit};

fn full() -> StoreError {
    StoreError::Full {
        path: "test".into(),
    }
}

fn corrupt() -> StoreError {
    StoreError::Corrupt {
        path: "test".into(),
        message: "page 3".into(),
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(harness::PATIENCE, async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

#[tokio::test]
async fn what_is_answered_or_launched_is_committed_before() {
    let mut driver = Running::start(TestStore::default()).await;
    driver.offer(4).await;
    let mut told = driver.handle.subscribe();
    let task = id(driver.handle.request(submit(0)).await.unwrap());
    assert!(driver.store.state(task).is_some());
    assert!(
        told.try_recv()
            .unwrap()
            .iter()
            .any(|fact| matches!(fact, Fact::Submitted { .. }))
    );
    assert_eq!(
        driver.asked(),
        Asked::Launch(attempt(task, 1), Some(TaskState::Launching))
    );
    driver
        .events
        .send(ended(attempt(task, 1), AttemptEnd::Exited { code: 0 }))
        .await;
    until("the end is committed", || {
        driver.store.state(task) == Some(TaskState::Succeeded)
    })
    .await;
}

#[tokio::test]
async fn a_refusal_is_answered_and_commits_nothing() {
    let driver = Running::start(TestStore::default()).await;
    let request = Request::Cancel {
        task: TaskId(9),
        reason: None,
    };
    let answer = driver.handle.request(request).await;
    assert!(matches!(
        answer,
        Err(RequestError::Refused(Refusal::UnknownTask { .. }))
    ));
    assert_eq!(driver.store.n_commits(), 0);
}

#[tokio::test]
async fn many_callers_share_a_commit() {
    let driver = Running::start(TestStore::default()).await;
    driver.store.shut(true);
    let first = tokio::spawn({
        let handle = driver.handle.clone();
        async move { handle.request(submit(0)).await }
    });
    until("the first commit waits", || driver.store.n_commits() == 1).await;
    let others = (0..30).map(|_| driver.handle.request(submit(0)));
    let others = tokio::join!(join_all(others), async {
        tokio::task::yield_now().await;
        driver.store.shut(false);
    });
    assert!(others.0.iter().all(Result::is_ok));
    first.await.unwrap().unwrap();
    assert_eq!(driver.store.n_commits(), 2);
}

#[tokio::test]
async fn a_failed_commit_acknowledges_nothing_launches_nothing_and_succeeds_later() {
    let mut driver = Running::start(TestStore::default()).await;
    driver.offer(4).await;
    driver.settle().await;
    driver.store.fail(Some(full()));
    for _ in 0..2 {
        let answer = driver.handle.request(submit(0)).await;
        assert!(matches!(
            answer,
            Err(RequestError::Store(StoreError::Full { .. }))
        ));
        assert!(matches!(
            driver.handle.store_failure(),
            Some(StoreError::Full { .. })
        ));
    }
    let n_live = driver
        .handle
        .inspect(|engine| engine.is_live(TaskId(1)))
        .await;
    assert!(
        n_live.unwrap(),
        "looks are granted, at what is not durable yet"
    );
    driver.offer(1).await;
    assert_eq!(driver.store.state(1), None);
    driver.asked_nothing();
    driver.store.fail(None);
    // What was kept back is committed first and acted on then.
    assert_eq!(
        driver.asked(),
        Asked::Launch(attempt(1, 1), Some(TaskState::Launching))
    );
    until("the store works again", || {
        driver.handle.store_failure().is_none()
    })
    .await;
    // The second submission was refused without touching the engine.
    assert_eq!(id(driver.handle.request(submit(0)).await.unwrap()), 2);
}

#[tokio::test]
async fn looks_in_the_batch_of_a_failed_commit_are_granted() {
    let driver = Running::start(TestStore::default()).await;
    driver.store.shut(true);
    let first = driver.handle.request(submit(0));
    let second = driver.handle.request(submit(0));
    let look = driver.handle.inspect(|engine| engine.is_live(TaskId(2)));
    let store = driver.store.clone();
    let answers = tokio::join!(first, second, look, async {
        until("the first commit waits", || store.n_commits() == 1).await;
        store.fail(Some(full()));
        store.shut(false);
    });
    assert!(answers.0.is_err() && answers.1.is_err() && answers.2.is_ok());
    // The daemon stops though the store fails, and says so.
    driver.handle.stop().await;
    assert!(matches!(driver.join(), Err(StoreError::Full { .. })));
}

#[tokio::test]
async fn looks_alone_make_no_batch() {
    let driver = Running::start(TestStore::default()).await;
    driver.handle.request(submit(0)).await.unwrap();
    driver.settle().await;
    let n_batches = driver.n_batches();
    assert!(n_batches > 0);
    for _ in 0..50 {
        let look = driver.handle.inspect(|engine| engine.is_live(TaskId(1)));
        assert!(look.await.unwrap());
    }
    assert_eq!(
        driver.n_batches(),
        n_batches,
        "a turn for which nothing has changed would be counted among the decisions"
    );
    driver.handle.request(submit(0)).await.unwrap();
    driver.settle().await;
    assert!(driver.n_batches() > n_batches);
}

#[tokio::test]
async fn a_damaged_store_ends_the_driver() {
    let driver = Running::start(TestStore::default()).await;
    driver.store.fail(Some(corrupt()));
    let answer = driver.handle.request(submit(0)).await;
    assert!(matches!(
        answer,
        Err(RequestError::Store(StoreError::Corrupt { .. }))
    ));
    driver.handle.stopped().await;
    assert!(matches!(
        driver.handle.request(submit(0)).await,
        Err(RequestError::Stopping)
    ));
    assert_eq!(driver.asked(), Asked::ShutDown);
    assert_eq!(
        driver.store.n_commits(),
        1,
        "a damaged store is not written to again"
    );
    assert!(matches!(driver.join(), Err(StoreError::Corrupt { .. })));
}

#[tokio::test]
async fn a_task_that_has_ended_is_retried_from_the_store() {
    let mut driver = Running::start(TestStore::default()).await;
    driver.offer(1).await;
    let task = id(driver.handle.request(submit(0)).await.unwrap());
    let _ = driver.asked();
    driver
        .events
        .send(ended(attempt(task, 1), AttemptEnd::Exited { code: 1 }))
        .await;
    until("it has failed", || {
        driver.store.state(task) == Some(TaskState::Failed)
    })
    .await;
    let retry = |task| Request::Retry {
        task: TaskId(task),
        stored: None,
    };
    let reply = driver.handle.request(retry(task)).await.unwrap();
    assert_eq!(reply, Reply::State(TaskState::Queued));
    driver.offer(1).await;
    assert_eq!(
        driver.asked(),
        Asked::Launch(attempt(task, 2), Some(TaskState::Launching))
    );
    let unknown = driver.handle.request(retry(77)).await;
    assert!(matches!(
        unknown,
        Err(RequestError::Refused(Refusal::UnknownTask { .. }))
    ));
}

#[tokio::test]
async fn a_task_is_retried_in_the_batch_in_which_it_was_cancelled() {
    let driver = Running::start(TestStore::default()).await;
    let task = TaskId(id(driver.handle.request(submit(0)).await.unwrap()));
    driver.store.shut(true);
    let blocker = driver.handle.request(submit(0));
    let cancel = driver
        .handle
        .request(Request::Cancel { task, reason: None });
    let retry = driver.handle.request(Request::Retry { task, stored: None });
    let store = driver.store.clone();
    let answers = tokio::join!(blocker, cancel, retry, async {
        until("the commit waits", || store.n_commits() == 2).await;
        store.shut(false);
    });
    assert_eq!(answers.1.unwrap(), Reply::State(TaskState::Cancelled));
    assert_eq!(answers.2.unwrap(), Reply::State(TaskState::Queued));
}

#[tokio::test]
async fn a_pause_ends_though_nothing_happens() {
    let mut driver = Running::start(TestStore::default()).await;
    driver.offer(1).await;
    let task = id(driver.handle.request(submit(1)).await.unwrap());
    let _ = driver.asked();
    driver
        .events
        .send(ended(attempt(task, 1), AttemptEnd::Exited { code: 1 }))
        .await;
    driver.offer(1).await;
    assert_eq!(
        driver.asked(),
        Asked::Launch(attempt(task, 2), Some(TaskState::Launching))
    );
}

#[tokio::test]
async fn stopping_commits_what_still_ends_and_launches_nothing() {
    let mut driver = Running::start(TestStore::default()).await;
    driver.offer(2).await;
    let task = id(driver.handle.request(submit(5)).await.unwrap());
    let _ = driver.asked();
    driver.handle.stop().await;
    assert_eq!(driver.asked(), Asked::ShutDown);
    driver.handle.stopped().await;
    assert!(matches!(
        driver.handle.request(submit(0)).await,
        Err(RequestError::Stopping)
    ));
    assert_eq!(driver.store.state(task), Some(TaskState::Queued));
    driver.asked_nothing();
    assert!(driver.join().is_ok());
}

#[tokio::test]
async fn an_action_lost_in_a_crash_is_repaired_by_reconciliation() {
    let store = TestStore::default();
    let mut crashed = Running::start(store.clone()).await;
    crashed.offer(1).await;
    let task = id(crashed.handle.request(submit(0)).await.unwrap());
    let _ = crashed.asked();
    // All that is left of the crashed one is what it committed.
    let mut kept = TestStore::default();
    copy(&store, &mut kept);
    let mut driver = Running::start(kept).await;
    driver.offer(1).await;
    assert_eq!(
        driver.asked(),
        Asked::Launch(attempt(task, 2), Some(TaskState::Launching))
    );
    let record = crate::store::reader::Reader::find(&driver.store.memory, TaskId(task))
        .unwrap()
        .unwrap();
    assert_eq!(record.attempts[0].end, Some(lost()));
}

/// Brings a store to where another one is, by the facts of a recovery.
fn copy(from: &TestStore, to: &mut TestStore) {
    use crate::store::Store;
    let mut facts = Vec::new();
    from.clone().recover(&mut |fact| facts.push(fact)).unwrap();
    for fact in facts {
        let Fact::Restored(live) = &fact else {
            to.commit(&[fact]).unwrap();
            continue;
        };
        let launched = |one: &LiveAttempt| Fact::Launched {
            attempt: attempt(live.task.0, one.number),
            agent: Arc::clone(&one.agent),
            queue: "default".into(),
            waited: std::time::Duration::ZERO,
            at: one.launched_at,
        };
        to.commit(&live.attempts.iter().map(launched).collect::<Vec<_>>())
            .unwrap();
    }
}
