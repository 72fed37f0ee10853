//! The database file: whatever it holds, it is opened, or refused with the reason.

use std::path::Path;
use std::time::Duration;

use apportion::config;
use apportion::engine::{Engine, Time};
use apportion::policies::Registry;
use apportion::store::sqlite::{self, DATABASE_FILE};
use apportion::store::{StoreError, recover};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::json;

use super::mutation::garbled;
use crate::support::daemon::Daemon;
use crate::support::wait;

/// The database of a daemon that had all kinds of tasks.
fn sample() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), "");
    let done = daemon
        .http
        .submit(&json!({"key": "a", "inbox": "i", "run": {"argv": ["true"]}}));
    let failed = daemon
        .http
        .submit(&json!({"run": {"argv": ["false"]}, "retries": 0}));
    let more = [
        json!({"demand": {"cpus": 5000}, "array": "0-5", "run": {"command": "x"}}),
        json!({"demand": {"cpus": 5000}, "after": ["a"], "run": {"command": "y"}}),
    ];
    let _: Vec<u64> = more.iter().map(|task| daemon.http.submit(task)).collect();
    wait::until("two tasks to end", Duration::from_secs(60), || {
        let ended = [done, failed].map(|task| daemon.http.task(task)["ended_at"].is_string());
        (ended == [true; 2]).then_some(())
    });
    let database = find(folder.path()).expect("the daemon has a database");
    let _ = daemon.stop();
    std::fs::read(database).unwrap()
}

fn find(folder: &Path) -> Option<std::path::PathBuf> {
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = find(&path) {
                return Some(found);
            }
        } else if path.ends_with(DATABASE_FILE) {
            return Some(path);
        }
    }
    None
}

#[test]
fn a_garbled_database_is_opened_or_refused() {
    let sample = sample();
    let settings = config::parse("", &Registry::default()).unwrap().engine;
    let mut runner = TestRunner::new(ProptestConfig {
        max_shrink_iters: 50,
        ..ProptestConfig::with_cases(200)
    });
    let ran = runner.run(&garbled(vec![sample]), |bytes| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(DATABASE_FILE), bytes).unwrap();
        let opened = sqlite::open(folder.path()).map(|(mut store, _)| {
            let mut engine = Engine::new(settings.clone());
            recover(&mut store, &mut engine, Time(1 << 40), "the database")
        });
        match opened {
            Err(error) | Ok(Err(error)) => prop_assert!(is_told(&error), "{error:?}"),
            Ok(Ok(_)) => {}
        }
        Ok(())
    });
    ran.unwrap();
}

/// Whether an error is one of a file that can't be used.
fn is_told(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Corrupt { .. } | StoreError::TooNew { .. } | StoreError::Other { .. }
    )
}
