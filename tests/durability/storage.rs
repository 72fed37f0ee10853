//! A full disk, a damaged database, one of a later version, a directory that is taken or closed: a clear
//! error, no acknowledgement, nothing overwritten.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::programs::Tmpfs;
use crate::support::wait;

fn fat_task(number: u32) -> Value {
    json!({"key": format!("fat-{number}"), "run": {"command": format!("true {}", "x".repeat(20_000))},
           "demand": {"cpus": 1000}})
}

#[test]
fn a_full_disk_acknowledges_nothing_and_goes_on_when_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let Some(_disk) = Tmpfs::mount(&data, 3000) else {
        return;
    };
    let ballast = data.join("ballast");
    fs::write(&ballast, vec![0; 500_000]).unwrap();
    let daemon = Daemon::start(folder.path(), "");
    let mut acknowledged = Vec::new();
    let refused = (0..1000).find_map(|number| {
        let answer = daemon.http.post("/v1/tasks", &fat_task(number));
        if answer.status == 201 {
            acknowledged.push(answer.json()["tasks"][0]["id"].as_u64().unwrap());
            return None;
        }
        Some((number, answer.expect_error(503, "store_full")))
    });
    let (number, message) = refused.expect("the disk is full at some time");
    assert!(message.contains("space"), "{message}");
    assert_eq!(daemon.http.get("/readyz").status, 503);
    assert_eq!(daemon.http.get("/healthz").status, 200);
    for id in &acknowledged {
        assert_eq!(daemon.http.task(*id)["state"], "queued");
    }
    fs::remove_file(&ballast).unwrap();
    wait::for_true("the daemon to be ready again", || {
        daemon.http.get("/readyz").status == 200
    });
    let body = daemon.http.post("/v1/tasks", &fat_task(number));
    assert!(matches!(body.status, 200 | 201), "{}", body.text());
    acknowledged.push(body.json()["tasks"][0]["id"].as_u64().unwrap());
    daemon.kill();
    let daemon = Daemon::start(folder.path(), "");
    for id in &acknowledged {
        assert_eq!(daemon.http.task(*id)["state"], "queued");
    }
    drop(daemon);
}

/// A data directory with one finished task.
fn used_data_dir(folder: &Path) {
    let daemon = Daemon::start(folder, "");
    let id = daemon
        .http
        .submit(&json!({"run": {"command": "echo hello"}}));
    daemon.http.wait_state(id, "succeeded");
    assert!(daemon.stop().success());
}

#[test]
fn a_damaged_database_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    used_data_dir(folder.path());
    let file = folder.path().join("data/apportion.db");
    let mut bytes = fs::read(&file).unwrap();
    bytes
        .iter_mut()
        .skip(100)
        .take(16_000)
        .for_each(|byte| *byte = 0x5a);
    fs::write(&file, &bytes).unwrap();
    let said = Daemon::try_start(folder.path(), "")
        .err()
        .expect("it must not start");
    assert!(
        said.contains("apportion.db") && said.contains("damaged"),
        "{said}"
    );
    assert!(said.contains("exit status: 3"), "{said}");
    assert_eq!(
        fs::read(&file).unwrap(),
        bytes,
        "a damaged file is not touched"
    );
}

#[test]
fn a_file_that_is_no_database_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    let file = folder.path().join("data/apportion.db");
    fs::write(&file, "my diary\n".repeat(1000)).unwrap();
    let said = Daemon::try_start(folder.path(), "")
        .err()
        .expect("it must not start");
    assert!(said.contains("apportion.db"), "{said}");
    assert_eq!(
        fs::read(&file).unwrap(),
        "my diary\n".repeat(1000).into_bytes()
    );
}

#[test]
fn a_database_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    used_data_dir(folder.path());
    let file = folder.path().join("data/apportion.db");
    let database = rusqlite::Connection::open(&file).unwrap();
    database.pragma_update(None, "user_version", 999).unwrap();
    drop(database);
    let said = Daemon::try_start(folder.path(), "")
        .err()
        .expect("it must not start");
    assert!(
        said.contains("newer version") && said.contains("999"),
        "{said}"
    );
}

#[test]
fn a_data_directory_has_one_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let first = Daemon::start(folder.path(), "");
    let second = tempfile::tempdir().unwrap();
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\ndata_dir = \"{}\"\n",
        folder.path().join("data").display()
    );
    fs::write(second.path().join("other.toml"), config).unwrap();
    let output = std::process::Command::new(crate::support::daemon::program())
        .args(["serve", "--config"])
        .arg(second.path().join("other.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("in use") && said.contains("data_dir"),
        "{said}"
    );
    assert_eq!(first.http.get("/readyz").status, 200);
}

#[test]
fn a_data_directory_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("data"), "a file is in the way").unwrap();
    let said = Daemon::try_start(folder.path(), "")
        .err()
        .expect("it must not start");
    assert!(
        said.contains("data") && said.contains("exit status: 3"),
        "{said}"
    );
    assert_eq!(
        fs::read_to_string(folder.path().join("data")).unwrap(),
        "a file is in the way"
    );
}

#[test]
fn what_a_daemon_stored_is_there_for_the_next() {
    let folder = tempfile::tempdir().unwrap();
    used_data_dir(folder.path());
    let daemon = Daemon::start(folder.path(), "");
    let task = daemon.http.task(1);
    assert_eq!(task["state"], "succeeded");
    assert_eq!(daemon.http.get("/v1/tasks/1/result").body, b"hello\n");
}
