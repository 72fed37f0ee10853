//! What a task may do to its neighbours, to the daemon and to the machine: nothing that it is not meant to.

mod accounts;
mod limits;
mod stub;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::programs::missing;

/// Two accounts that every Debian has.
const USERS: [(&str, u32); 2] = [("games", 5), ("www-data", 33)];

/// A folder that other users can pass through.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let passable = std::fs::Permissions::from_mode(0o711);
    std::fs::set_permissions(folder.path(), passable).unwrap();
    folder
}

/// Whether tasks can run as the two users here.
#[track_caller]
fn has_users() -> bool {
    let is_there = |(name, uid): (&str, u32)| {
        let found = nix::unistd::User::from_name(name).ok().flatten();
        found.is_some_and(|found| found.uid.as_raw() == uid)
    };
    let has = nix::unistd::geteuid().is_root() && USERS.into_iter().all(is_there);
    if !has {
        missing(
            "users",
            "run as root, on a machine with the accounts games and www-data",
        );
    }
    has
}

fn shell(queue: &str, line: &str) -> Value {
    json!({"queue": queue, "demand": {"cpus": 0.01}, "run": {"command": line}})
}

/// Runs a line to its end, and gives what it wrote.
#[track_caller]
fn output_of(daemon: &Daemon, queue: &str, line: &str) -> String {
    let id = daemon.http.submit(&shell(queue, line));
    let task = daemon.http.wait_ended(id);
    let said = |stream: &str| {
        let path = format!("/v1/tasks/{id}/logs/{stream}");
        daemon.http.get(&path).text()
    };
    assert_eq!(task["state"], "succeeded", "{task}\n{}", said("stderr"));
    said("stdout")
}

/// The permissions of a file.
fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
