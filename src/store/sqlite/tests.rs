//! The file itself: what opening refuses, what a failed commit leaves, what big arrays cost.

mod audit;
mod batches;
mod torn;
mod upgrades;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::engine::outcome::Cause;
use crate::engine::{AttemptEnd, AttemptId, OutcomeKind, TaskState, Usage};
use crate::store::reader::{Reader, TaskFilter};
use crate::store::sim::{outcome, spec, submission};

fn submitted(first: u64, count: u32) -> Fact {
    Fact::Submitted {
        submission: submission(first, spec("maps", count)),
        waiting: false,
    }
}

fn launched(task: u64) -> Fact {
    Fact::Launched {
        attempt: AttemptId {
            task: TaskId(task),
            number: 1,
        },
        agent: "m1".into(),
        queue: "maps".into(),
        waited: std::time::Duration::ZERO,
        at: Time(5),
    }
}

fn cancelled(task: u64) -> Fact {
    Fact::Ended {
        task: TaskId(task),
        outcome: outcome(
            OutcomeKind::Cancelled,
            Some(Cause::Cancelled { reason: None }),
        ),
        queue: "maps".into(),
        inbox: None,
        at: Time(9),
    }
}

fn forgotten(first: u64) -> Fact {
    Fact::Forgotten {
        ended_before: Time(10),
        firsts: vec![TaskId(first)],
    }
}

fn recovered(store: &mut SqliteStore) -> Vec<Fact> {
    let mut facts = Vec::new();
    store.recover(&mut |fact| facts.push(fact)).unwrap();
    facts
}

/// A data directory with a database of a few pages, closed in good order.
fn filled() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = open(directory.path()).unwrap();
    let facts: Vec<_> = (1..500).map(|id| submitted(id, 1)).collect();
    store.commit(&facts).unwrap();
    drop(store);
    let path = directory.path().join(DATABASE_FILE);
    (directory, path)
}

/// Opens, and asserts that it is refused and that every file is as it was.
fn refused(directory: &Path) -> StoreError {
    let before = contents(directory);
    let error = open(directory).unwrap_err();
    assert!(before == contents(directory), "opening changed a file");
    error
}

fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        // The lock file is not data, and the shared memory of the log is made anew by whoever opens it.
        .filter(|path| !path.ends_with(LOCK_FILE) && !path.to_string_lossy().ends_with("-shm"))
        .filter(|path| fs::metadata(path).unwrap().len() > 0)
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_directory_in_use_is_refused_until_it_is_free() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path()).unwrap();
    assert!(matches!(
        open(directory.path()),
        Err(StoreError::InUse { .. })
    ));
    drop(store);
    assert!(open(directory.path()).is_ok());
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let text = open(&file.join("data")).unwrap_err().to_string();
    assert!(
        text.contains("server.data_dir") && text.contains("file/data"),
        "{text}"
    );
}

#[test]
fn a_newer_version_is_refused() {
    let (directory, path) = filled();
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let error = refused(directory.path());
    assert!(
        matches!(
            error,
            StoreError::TooNew {
                found: 99,
                known: schema::VERSION,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn another_programs_database_is_refused() {
    let (directory, path) = filled();
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "application_id", 1)
        .unwrap();
    let error = refused(directory.path());
    assert!(error.to_string().contains("another program"), "{error}");
}

#[test]
fn damage_is_told_and_nothing_is_changed() {
    let (directory, path) = filled();
    let whole = fs::read(&path).unwrap();
    let mut overwritten = whole.clone();
    overwritten[4096 * 9..4096 * 12].fill(0xa5);
    let mut headless = whole.clone();
    headless[..64].fill(0);
    let cases = [
        ("overwritten", overwritten),
        ("without its header", headless),
        ("cut short", whole[..whole.len() / 2].to_vec()),
        ("a text", b"hello, this is no database at all".repeat(100)),
        ("empty", Vec::new()),
    ];
    for (name, bytes) in cases {
        fs::write(&path, &bytes).unwrap();
        let error = refused(directory.path());
        assert!(
            matches!(error, StoreError::Corrupt { .. }),
            "{name}: {error}"
        );
        assert!(error.to_string().contains(DATABASE_FILE), "{error}");
    }
    fs::write(&path, &whole).unwrap();
    assert!(open(directory.path()).is_ok());
}

#[test]
fn a_log_without_its_file_is_not_taken_for_a_new_start() {
    let (directory, path) = filled();
    fs::rename(&path, directory.path().join("moved")).unwrap();
    fs::write(path.with_extension("db-wal"), "acknowledged").unwrap();
    assert!(matches!(
        refused(directory.path()),
        StoreError::Corrupt { .. }
    ));
}

#[test]
fn an_unfinished_new_file_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("apportion.db-new"), "half of a").unwrap();
    assert!(open(directory.path()).is_ok());
}

#[test]
fn a_commit_without_space_keeps_nothing_and_succeeds_later() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, reader) = open(directory.path()).unwrap();
    store.commit(&[submitted(1, 1)]).unwrap();
    let pages: i64 = store
        .connection
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    store
        .connection
        .pragma_update(None, "max_page_count", pages + 3)
        .unwrap();
    let facts: Vec<_> = (2..2000).map(|id| submitted(id, 1)).collect();
    for _ in 0..2 {
        assert!(matches!(store.commit(&facts), Err(StoreError::Full { .. })));
        assert!(reader.find(TaskId(2)).unwrap().is_none());
        assert_eq!(recovered(&mut store).len(), 2);
    }
    store
        .connection
        .pragma_update(None, "max_page_count", 1 << 30)
        .unwrap();
    store.commit(&facts).unwrap();
    assert!(reader.find(TaskId(1999)).unwrap().is_some());
}

#[test]
fn nothing_is_committed_to_a_file_that_was_removed_until_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = open(directory.path()).unwrap();
    store.commit(&[submitted(1, 1)]).unwrap();
    let path = directory.path().join(DATABASE_FILE);
    let aside = directory.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    let error = store.commit(&[submitted(2, 1)]).unwrap_err().to_string();
    assert!(error.contains("was removed or moved away"), "{error}");
    fs::write(&path, "another").unwrap();
    let error = store.commit(&[submitted(2, 1)]).unwrap_err().to_string();
    assert!(error.contains("was replaced"), "{error}");
    fs::rename(&aside, &path).unwrap();
    store.commit(&[submitted(2, 1)]).unwrap();
}

#[test]
fn ids_grow_though_the_last_task_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = open(directory.path()).unwrap();
    store
        .commit(&[submitted(1, 3), cancelled(1), cancelled(2), cancelled(3)])
        .unwrap();
    store.commit(&[forgotten(1)]).unwrap();
    let facts = recovered(&mut store);
    assert!(
        matches!(facts[..], [Fact::RestoredNextId(TaskId(4))]),
        "{facts:?}"
    );
}

#[test]
fn a_forgotten_array_is_out_of_sight_at_once_and_swept_in_steps() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, reader) = open(directory.path()).unwrap();
    store
        .commit(&[submitted(1, 5000), submitted(5001, 1)])
        .unwrap();
    let ends: Vec<_> = (1..=5000).map(cancelled).collect();
    store.commit(&ends).unwrap();
    store.commit(&[forgotten(1)]).unwrap();
    let rows = |store: &SqliteStore| -> i64 {
        store
            .connection
            .query_row("SELECT count(*) FROM tasks", [], |row| row.get(0))
            .unwrap()
    };
    let listed = |states: &[TaskState]| {
        let filter = TaskFilter {
            queue: Some("maps".into()),
            states: states.into(),
            search: None,
            newest: false,
            visible: None,
            after: None,
            limit: 10,
        };
        reader.list(&filter).unwrap().len()
    };
    let mut left = vec![rows(&store)];
    while rows(&store) > 0 {
        assert!(reader.find(TaskId(4999)).unwrap().is_none());
        assert_eq!(reader.count_unknown(TaskId(1)).unwrap(), 5000);
        assert_eq!(reader.count_unknown(TaskId(5001)).unwrap(), 0);
        assert_eq!(listed(&[]), 1);
        assert_eq!(listed(&[TaskState::Cancelled]), 0);
        // The live submission, the next id, and what others use.
        assert!(recovered(&mut store).len() <= 3);
        let other = Fact::OutsideReported {
            resource: "db".into(),
            used: apportion_policies::Amount::ZERO,
            at: Time(left.len() as u64),
        };
        store.commit(&[other]).unwrap();
        left.push(rows(&store));
    }
    assert!(left.len() > 2, "it took more than one commit: {left:?}");
}

#[test]
fn an_array_costs_one_row_until_its_tasks_start() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, reader) = open(directory.path()).unwrap();
    store.commit(&[submitted(1, 1_000_000)]).unwrap();
    store
        .commit(&[launched(1), launched(2), launched(500_000)])
        .unwrap();
    let ranges: i64 = store
        .connection
        .query_row("SELECT count(*) FROM unstarted", [], |row| row.get(0))
        .unwrap();
    assert_eq!(ranges, 2);
    let page = |queue: Option<&str>, states: &[TaskState], after: u64| -> Vec<u64> {
        let filter = TaskFilter {
            queue: queue.map(str::to_owned),
            states: states.into(),
            search: None,
            newest: false,
            visible: None,
            after: Some(TaskId(after)),
            limit: 3,
        };
        reader
            .list(&filter)
            .unwrap()
            .iter()
            .map(|record| record.task.0)
            .collect()
    };
    assert_eq!(page(None, &[], 499_998), [499_999, 500_000, 500_001]);
    assert_eq!(page(None, &[TaskState::Queued], 0), [3, 4, 5]);
    let newest = |states: &[TaskState], after: Option<u64>| -> Vec<u64> {
        let filter = TaskFilter {
            states: states.into(),
            newest: true,
            after: after.map(TaskId),
            limit: 3,
            ..TaskFilter::default()
        };
        let records = reader.list(&filter).unwrap();
        records.iter().map(|record| record.task.0).collect()
    };
    assert_eq!(newest(&[], None), [1_000_000, 999_999, 999_998]);
    assert_eq!(
        newest(&[TaskState::Queued], Some(500_002)),
        [500_001, 499_999, 499_998]
    );
    assert_eq!(newest(&[TaskState::Launching], None), [500_000, 2, 1]);
    assert_eq!(newest(&[], Some(2)), [1]);
    assert_eq!(
        page(Some("maps"), &[TaskState::Queued], 499_998),
        [499_999, 500_001, 500_002]
    );
    assert_eq!(
        page(Some("maps"), &[TaskState::Launching], 0),
        [1, 2, 500_000]
    );
    assert_eq!(page(None, &[], 1_000_000), [0_u64; 0]);
    assert_eq!(recovered(&mut store).len(), 5);
}

#[test]
fn nothing_comes_after_the_largest_id() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, reader) = open(directory.path()).unwrap();
    store.commit(&[submitted(1, 3)]).unwrap();
    for (queue, search) in [(None, None), (Some("maps"), None), (None, Some("tile"))] {
        for after in [3, (1 << 63) - 1, 1 << 63, u64::MAX] {
            let filter = TaskFilter {
                queue: queue.map(str::to_owned),
                search: search.map(str::to_owned),
                after: Some(TaskId(after)),
                limit: 10,
                ..TaskFilter::default()
            };
            assert!(reader.list(&filter).unwrap().is_empty(), "{filter:?}");
        }
    }
}

#[test]
fn a_reader_does_not_wait_for_the_writer() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, reader) = open(directory.path()).unwrap();
    store.commit(&[submitted(1, 1)]).unwrap();
    let transaction = store.connection.transaction().unwrap();
    transaction.execute("DELETE FROM submissions", []).unwrap();
    assert!(reader.find(TaskId(1)).unwrap().is_some());
    drop(transaction);
}

#[test]
fn a_file_of_the_first_version_is_brought_to_this_one() {
    let directory = tempfile::tempdir().unwrap();
    let old = Connection::open(directory.path().join(DATABASE_FILE)).unwrap();
    old.execute_batch(schema::VERSION_1).unwrap();
    old.pragma_update(None, "application_id", schema::APPLICATION_ID)
        .unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    old.execute_batch(
        "UPDATE meta SET value = 2 WHERE name = 'next_id';
         INSERT INTO submissions(first, count, queue, state, name, inbox, demand, run, priority, retries, digest, \
             submitted_at) \
             VALUES (1, 1, 'maps', 'queued', 'old', 'release', '{\"cpus\":\"1\"}', '{\"command\":\"true\"}', 0, 0, \
             zeroblob(16), 5);
         INSERT INTO tasks(id, submission, queue, state, n_attempts, ended_at, exit_code, value_truncated, value) \
             VALUES (1, 1, 'maps', 'succeeded', 1, 9, 0, 0, x'6f6b');
         INSERT INTO inbox(inbox, task) VALUES ('release', 1);",
    )
    .unwrap();
    old.close().unwrap();
    let (mut store, reader) = open(directory.path()).unwrap();
    let delivered = reader.inbox("release", None, 9).unwrap();
    let value = &delivered[0].record.outcome.as_ref().unwrap().value;
    assert_eq!((&*value.bytes, value.file), (&b"ok"[..], None));
    let mut python = spec("maps", 1);
    python.run = crate::engine::spec::Run::Python(Box::new(*b"\x80\x05"));
    let submission = submission(2, python.clone());
    let fact = Fact::Submitted {
        submission,
        waiting: false,
    };
    store.commit(&[fact]).unwrap();
    let found = reader.find(TaskId(2)).unwrap().unwrap();
    assert_eq!(found.submission.spec, python);
}

#[test]
fn what_ended_attempts_held_is_told_again() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _reader) = open(directory.path()).unwrap();
    let ended = |task: u64, at: u64| Fact::AttemptEnded {
        attempt: AttemptId {
            task: TaskId(task),
            number: 1,
        },
        end: AttemptEnd::Exited { code: 1 },
        usage: Usage::default(),
        at: Time(at),
    };
    let facts = [
        submitted(1, 3),
        launched(1),
        launched(2),
        launched(3),
        ended(1, 7),
        ended(2, 8),
    ];
    store.commit(&facts).unwrap();
    let mut told = Vec::new();
    store
        .past_use(Time(7), &mut |past| told.push(past))
        .unwrap();
    let Fact::Submitted { submission, .. } = submitted(1, 3) else {
        unreachable!("it is one")
    };
    let past = PastUse {
        queue: "maps".into(),
        demand: Arc::clone(&submission.spec.demand),
        from: Time(5),
        to: Time(8),
    };
    assert_eq!(told, [past], "what ended later, and not what still runs");
}
