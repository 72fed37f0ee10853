//! A backup of the real daemon under load, and what is there when it is restored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::kills::{CONFIG, drain, start_clients};
use super::load::Load;
use crate::support::daemon::{Daemon, program, write_config};
use crate::support::wait;

/// Runs a command line that needs no daemon.
fn run(arguments: &[&str], paths: &[&Path]) -> Output {
    let mut command = Command::new(program());
    command.args(arguments).args(paths);
    command.output().unwrap()
}

#[track_caller]
fn expect(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    match code {
        0 => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => said,
    }
}

/// What clients knew when the backup began.
struct Known {
    tasks: BTreeMap<String, u64>,
    cancelled: BTreeSet<u64>,
    ended: BTreeMap<u64, (String, u64)>,
    delivered: BTreeSet<u64>,
}

impl Known {
    fn of(load: &Load) -> Self {
        let told = load.told.lock().unwrap();
        Self {
            tasks: told.tasks.clone(),
            cancelled: told.cancelled.clone(),
            ended: told.ended.clone(),
            delivered: told.delivered.iter().copied().collect(),
        }
    }
}

fn wait_for_answers(load: &Load, more: u64) {
    let target = load.n_answers.load(Ordering::SeqCst) + more;
    wait::until("answers", Duration::from_secs(120), || {
        (load.n_answers.load(Ordering::SeqCst) >= target).then_some(())
    });
}

#[test]
fn what_was_acknowledged_before_a_backup_is_there_after_its_restore() {
    let folder = tempfile::tempdir().unwrap();
    let load = Load::new(folder.path());
    let daemon = Daemon::start(folder.path(), CONFIG);
    load.set_url(&daemon.url);
    let clients = start_clients(&load);
    wait_for_answers(&load, 150);
    let known = Known::of(&load);
    let backup = folder.path().join("backup.tar");
    let data_dir = folder.path().join("data");
    let output = run(
        &["backup", "--json", "--data-dir"],
        &[&data_dir, Path::new("--to"), &backup],
    );
    let made: Value = serde_json::from_str(&expect(&output, 0)).unwrap();
    assert!(made["bytes"].as_u64().unwrap() > 0, "{made}");
    wait_for_answers(&load, 50);
    load.stop();
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    daemon.kill();
    // From here on only attempts of the restored daemon write.
    std::fs::rename(&load.witness, folder.path().join("witness-before")).unwrap();
    let other = tempfile::tempdir().unwrap();
    let new = other.path().join("data");
    let output = run(&["restore"], &[&backup, Path::new("--data-dir"), &new]);
    assert!(expect(&output, 0).contains("all as of"));
    let daemon = Daemon::start(other.path(), CONFIG);
    load.set_url(&daemon.url);
    load.told.lock().unwrap().delivered.clear();
    drain(&daemon, &load);
    check(&daemon, &load, &known);
}

fn check(daemon: &Daemon, load: &Load, known: &Known) {
    assert!(
        known.tasks.len() > 20 && known.ended.len() > 5,
        "too little happened before"
    );
    let ran_again: BTreeSet<u64> = std::fs::read_to_string(&load.witness)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.strip_prefix("start ")?.split_once('.')?.0.parse().ok())
        .collect();
    for (key, id) in &known.tasks {
        let task = daemon.http.task(*id);
        assert_eq!(&task["key"], key);
        let state = task["state"].as_str().unwrap();
        if let Some((state_seen, n_attempts)) = known.ended.get(id) {
            assert_eq!(
                (state, &task["n_attempts"]),
                (state_seen.as_str(), &json!(n_attempts))
            );
        }
        if known.ended.contains_key(id) || known.cancelled.contains(id) {
            assert!(!ran_again.contains(id), "it had ended: {task}");
        }
        // Whatever ran when the backup was made was lost as in a crash; nothing else came to harm.
        assert!(matches!(state, "succeeded" | "cancelled"), "{task}");
        let attempts = task["attempts"].as_array().unwrap();
        for attempt in attempts.iter().rev().skip(1) {
            assert_eq!(attempt["end"]["code"], "daemon_restarted", "{task}");
        }
    }
    let delivered = load.told.lock().unwrap().delivered.clone();
    let once: BTreeSet<u64> = delivered.iter().copied().collect();
    assert_eq!(once.len(), delivered.len(), "each task once in the inbox");
    assert!(
        once.is_disjoint(&known.delivered),
        "an acknowledgement was forgotten"
    );
}

#[test]
fn a_restore_to_a_directory_in_use_or_of_no_backup_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let daemon = Daemon::start(folder.path(), "");
    let id = daemon
        .http
        .submit(&json!({"run": {"command": "echo hello"}}));
    daemon.http.wait_state(id, "succeeded");
    let config = write_config(folder.path(), "");
    let config = config.as_path();
    // Into a directory, under a name that tells when.
    let output = run(
        &["backup", "--config"],
        &[config, Path::new("--to"), folder.path()],
    );
    let said = expect(&output, 0);
    let backup = Path::new(said.split(": ").next().unwrap()).to_owned();
    assert!(backup.exists() && said.contains("apportion-20"), "{said}");
    let into = Path::new("--data-dir");
    let restore = |file: &Path| run(&["restore", "--force"], &[file, into, &data_dir]);
    let said = expect(&restore(&backup), 3);
    assert!(said.contains("in use"), "{said}");
    assert_eq!(daemon.http.task(id)["state"], "succeeded");
    assert!(daemon.stop().success());
    let said = expect(&restore(config), 3);
    assert!(said.contains("no whole backup"), "{said}");
    let output = run(&["restore"], &[&backup, into, &data_dir]);
    assert!(expect(&output, 3).contains("--force"));
    // A stopped daemon's directory is saved and restored as well.
    let again = folder.path().join("again.tar");
    let to = Path::new("--to");
    expect(&run(&["backup", "--data-dir"], &[&data_dir, to, &again]), 0);
    expect(&restore(&again), 0);
    let daemon = Daemon::start(folder.path(), "");
    assert_eq!(
        daemon.http.get(&format!("/v1/tasks/{id}/result")).body,
        b"hello\n"
    );
}
