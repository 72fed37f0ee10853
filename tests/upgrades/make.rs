//! Makes a fixture: the story is told to a real daemon, which is killed in the middle of it.

use std::path::PathBuf;

use serde_json::Value;

use super::{fixture, story};
use crate::support::daemon::{self, Daemon};

/// How a fixture is made of the present program, to be done before the version is raised.
pub(super) const HOW: &str = "cargo test --test integration upgrades::make -- --ignored; of an earlier program with APPORTION_FIXTURE_PROGRAM=FILE";

#[test]
#[ignore = "writes into the repository: only when the tables have changed"]
fn make_the_fixture_of_a_program() {
    let program = std::env::var_os("APPORTION_FIXTURE_PROGRAM")
        .map_or_else(|| PathBuf::from(daemon::program()), PathBuf::from);
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let daemon =
        Daemon::try_start_program(&program, folder.path(), &story::config("7d"), |_| {}).unwrap();
    let version = fixture::schema_version(folder.path());
    story::tell(&daemon.http, version);
    let page = daemon.http.get("/v1/tasks?limit=1000").expect(200);
    let told: Vec<Value> = page["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| daemon.http.task(task["id"].as_u64().unwrap()))
        .collect();
    daemon.kill();
    fixture::pack(&data_dir, &told);
}
