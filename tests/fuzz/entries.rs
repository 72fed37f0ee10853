//! Each entry with what fuzzing begins with, with inputs that once broke it, and with garbled ones.
//!
//! What Mesos' masters send and what the keeper says go to parts that are not public: fuzzing alone reaches those as a
//! whole. Their tests are beside them.

#[path = "../../fuzz/entries/attempts.rs"]
mod attempts;
#[path = "../../fuzz/entries/config.rs"]
mod config;
#[path = "../../fuzz/entries/database.rs"]
mod database;
#[path = "../../fuzz/entries/executor.rs"]
mod executor;
#[path = "../../fuzz/entries/http.rs"]
mod http;
#[path = "../../fuzz/entries/recordio.rs"]
mod recordio;
#[path = "../../fuzz/entries/scenario.rs"]
mod scenario;
#[path = "../../fuzz/seeds.rs"]
mod seeds;
#[path = "../../fuzz/entries/trace.rs"]
mod trace;

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use prost::Message as _;

use super::mutation::garbled;

/// What fuzzing begins with, and what it found.
fn inputs(target: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let seeds = seeds::all(root).into_iter();
    let seeds = seeds.filter(|seed| seed.target == target);
    let mut inputs: Vec<Vec<u8>> = seeds.map(|seed| seed.bytes).collect();
    assert!(!inputs.is_empty(), "no seed for {target}");
    if let Ok(found) = fs::read_dir(root.join("tests/fuzz/found").join(target)) {
        inputs.extend(found.map(|entry| fs::read(entry.unwrap().path()).unwrap()));
    }
    inputs
}

/// `APPORTION_SEEDS=FOLDER` writes what fuzzing begins with to `FOLDER/TARGET/`, as `tests/fuzz.sh` needs it: nothing that
/// is built for fuzzing links without being a target.
#[test]
fn each_target_has_seeds_of_its_own() {
    let kept = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("APPORTION_SEEDS");
    let folder = folder.map_or(kept.path().to_owned(), PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for target in fs::read_dir(root.join("fuzz/fuzz_targets")).unwrap() {
        let target = target.unwrap().path();
        fs::create_dir_all(folder.join(target.file_stem().unwrap())).unwrap();
    }
    for seed in seeds::all(root) {
        // A target that is not there has no folder.
        fs::write(folder.join(seed.target).join(seed.name), seed.bytes).unwrap();
    }
    for target in fs::read_dir(&folder).unwrap() {
        let target = target.unwrap().path();
        let n_seeds = fs::read_dir(&target).unwrap().count();
        assert!(n_seeds > 0, "no seed for {}", target.display());
    }
}

/// Runs an entry with all of its inputs, and with so many garbled ones.
fn check(target: &str, n_garbled: u32, run: impl Fn(&[u8])) {
    let inputs = inputs(target);
    for input in &inputs {
        run(input);
    }
    check_with(n_garbled, garbled(inputs), run);
}

fn check_with(n_cases: u32, inputs: impl Strategy<Value = Vec<u8>>, run: impl Fn(&[u8])) {
    let mut runner = TestRunner::new(ProptestConfig::with_cases(n_cases));
    let ran = runner.run(&inputs, |bytes| {
        run(&bytes);
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn a_configuration_is_read_or_every_error_told() {
    check("config", 1000, config::run);
}

#[test]
fn a_scenario_is_played_or_every_error_told() {
    check("scenario", 1000, scenario::run);
}

#[test]
fn a_trace_is_read_or_its_first_wrong_line_told() {
    check("trace", 1000, trace::run);
}

#[test]
fn a_stream_gives_the_same_records_or_error_however_it_is_cut() {
    check("recordio", 2000, recordio::run);
}

#[test]
fn a_description_or_an_end_of_an_attempt_is_read_or_refused() {
    check("attempts", 4000, attempts::run);
}

#[test]
fn an_executor_outlives_whatever_its_agent_says() {
    check("executor", 500, executor::run);
    let events = seeds::agent_events();
    let events = events.iter().map(|event| event.encode_to_vec()).collect();
    let words = prop::collection::vec((garbled(events), any::<u8>()), 1..30);
    let framed = words.prop_map(|words| {
        let framed = words
            .iter()
            .map(|(event, what)| seeds::framed(*what, event));
        framed.collect::<Vec<_>>().concat()
    });
    check_with(500, framed, executor::run);
}

#[test]
fn a_database_with_other_values_or_bytes_is_read_or_refused() {
    check("database", 100, database::run);
}

#[test]
fn a_call_without_a_network_is_answered() {
    let daemon = http::Daemon::start();
    check("http", 500, |bytes| daemon.call(bytes));
}
