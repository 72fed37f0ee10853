//! Replays of recorded workloads through the command line: traces as archives have them, what isn't a trace, and what
//! a daemon has really run.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use apportion::sim::trace::synthetic::Synthetic;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, program};

/// What `tests/traces/week.swf` was made from.
const WEEK: Synthetic = Synthetic {
    seed: 2013,
    n_jobs: 300,
    n_users: 12,
    processors: 64,
    pause: 900,
};

fn traces() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces")
}

fn simulate(arguments: &[&str]) -> Output {
    Command::new(program())
        .arg("simulate")
        .args(arguments)
        .current_dir(traces())
        .output()
        .unwrap()
}

#[track_caller]
fn json_of(arguments: &[&str]) -> Value {
    let output = simulate(&[&["--json"], arguments].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What is told on standard error of a trace that is none, with the exit code 2.
#[track_caller]
fn error_of(arguments: &[&str]) -> String {
    let output = simulate(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    stderr
}

/// Set `APPORTION_BLESS` to write the file anew.
#[test]
fn the_shipped_week_is_what_the_generator_makes() {
    let file = traces().join("week.swf");
    if std::env::var_os("APPORTION_BLESS").is_some() {
        fs::write(&file, WEEK.to_swf()).unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), WEEK.to_swf());
}

#[test]
fn policies_run_beside_one_another_and_the_report_is_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let pages = ["one.html", "two.html"].map(|name| folder.path().join(name));
    let mut reports = Vec::new();
    for page in &pages {
        let page = page.to_str().unwrap();
        let arguments = [
            "--trace",
            "week.swf",
            "--policy",
            "drf,fifo,weighted",
            "--report",
            page,
        ];
        reports.push(json_of(&arguments));
    }
    assert_eq!(reports[0], reports[1]);
    assert_eq!(fs::read(&pages[0]).unwrap(), fs::read(&pages[1]).unwrap());
    let policies = reports[0]["policies"].as_array().unwrap();
    let names: Vec<&str> = policies
        .iter()
        .map(|it| it["policy"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["drf", "fifo", "weighted"]);
    assert_eq!(
        reports[0]["totals"]["cpus"], 64.0,
        "as the trace's header says"
    );
    let tables = simulate(&["--trace", "week.swf", "--by", "group,user"]);
    let tables = String::from_utf8_lossy(&tables.stdout).into_owned();
    assert!(
        tables.contains("week.swf: ") && tables.contains("MEAN WAIT"),
        "{tables}"
    );
    assert!(tables.contains("left out: "), "{tables}");
}

#[test]
fn a_packed_trace_is_read_whatever_its_name_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("week.trace");
    let mut packed = GzEncoder::new(fs::File::create(&file).unwrap(), Compression::fast());
    packed.write_all(WEEK.to_swf().as_bytes()).unwrap();
    packed.finish().unwrap();
    let mut plain = json_of(&["--trace", "week.swf"]);
    plain["trace"] = "week.trace".into();
    assert_eq!(json_of(&["--trace", file.to_str().unwrap()]), plain);
    let cut = fs::read(&file).unwrap();
    fs::write(&file, &cut[..cut.len() / 2]).unwrap();
    let error = error_of(&["--trace", file.to_str().unwrap()]);
    assert!(error.contains("can't be read"), "{error}");
}

#[test]
fn odd_columns_are_mapped() {
    let arguments = ["--trace", "odd.swf", "--map", "odd.toml", "--by", "queue"];
    let report = json_of(&arguments);
    assert_eq!(report["jobs"], 3);
    let skipped = json!({
        "are parts of other records": 0, "have no processors": 1, "never started": 1,
        "were cancelled before they started": 1,
    });
    for (reason, count) in report["skipped"].as_object().unwrap() {
        assert_eq!(&skipped[reason], count, "{reason}");
    }
    assert_eq!(
        report["totals"]["mem"], 17_408.0,
        "8 GiB, 2 * 4 GiB and 1 GiB at once"
    );
    let error = error_of(&["--trace", "odd.swf", "--map", "small.jsonl"]);
    assert!(error.contains("not TOML"), "{error}");
}

/// What is said beside the report of a replay.
#[track_caller]
fn notes_of(arguments: &[&str]) -> String {
    let output = simulate(arguments);
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn memory_in_another_unit_is_doubted() {
    let doubted = notes_of(&["--trace", "odd.swf"]);
    assert!(
        doubted.contains("2 of 3 jobs want more than 1 TiB") && doubted.contains("--map"),
        "{doubted}"
    );
    let mapped = notes_of(&["--trace", "odd.swf", "--map", "odd.toml"]);
    assert!(!mapped.contains("1 TiB"), "{mapped}");
}

#[test]
fn a_cluster_whose_size_is_not_known_is_told() {
    let told = "how large the cluster was is not known";
    assert!(notes_of(&["--trace", "small.jsonl"]).contains(told));
    let agents = ["--trace", "small.jsonl", "--agents", "2*cpus=4,mem=8GiB"];
    assert!(!notes_of(&agents).contains(told));
    // Its head says so.
    assert!(!notes_of(&["--trace", "week.swf"]).contains(told));
}

#[test]
fn without_arguments_all_ways_are_told() {
    let error = error_of(&[]);
    for way in ["FILE", "--trace", "--from", "--help"] {
        assert!(error.contains(way), "{error}");
    }
    let both = error_of(&["a.toml", "--trace", "week.swf"]);
    assert!(both.contains("cannot be used with"), "{both}");
}

#[test]
fn a_configuration_gives_queues_and_limits() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    let text = "[resources.db_connections]\nscope = \"cluster\"\ncapacity = 4\n[queues.\"maps/render\"]\n[queues.search]\n";
    fs::write(&file, text).unwrap();
    let config = file.to_str().unwrap();
    let arguments = [
        "--trace",
        "small.jsonl",
        "--config",
        config,
        "--agents",
        "2*cpus=4,mem=8GiB",
    ];
    let report = json_of(&arguments);
    assert_eq!(report["totals"]["db_connections"], 4.0);
    assert_eq!(report["agents"], 2);
    let all = &report["policies"][0]["all"];
    assert_eq!(all["jobs"], 5);
    assert_eq!(
        all["wait_seconds"]["worst"], 599.5,
        "one at a time with 3 of 4 connections"
    );
    fs::write(&file, text.replace("search", "finder")).unwrap();
    let error = error_of(&arguments);
    assert!(
        error.contains("no leaf queue for 1 name of the workload: search"),
        "{error}"
    );
}

#[test]
fn what_is_no_trace_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.swf");
    let name = file.to_str().unwrap();
    for (bytes, expected) in [
        (&b"1 2 x 4\n"[..], "line 1: has 4 columns"),
        (b"\x1f\x8bnothing", "can't be read"),
        (b"", "there is no job to replay in it"),
        (b"\xff\xff\xff", "line 1: has 1 columns"),
    ] {
        fs::write(&file, bytes).unwrap();
        let error = error_of(&["--trace", name]);
        assert!(error.contains(expected), "{error}");
    }
    assert!(error_of(&["--trace", "none.swf"]).contains("can't read none.swf"));
    assert!(
        error_of(&["--trace", "week.swf", "--policy", "best"])
            .contains("there is no policy 'best'")
    );
    assert!(error_of(&["--trace", "week.swf", "--agents", "cpus"]).contains("has no ="));
    assert!(error_of(&["--from", name]).contains("server.data_dir"));
}

#[test]
fn what_a_daemon_has_run_is_replayed_while_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[queues.maps]\n[queues.search]\n";
    let daemon = Daemon::start(folder.path(), config);
    for queue in ["maps", "maps", "search"] {
        let task = json!({"queue": queue, "demand": {"cpus": 0.5}, "run": {"argv": ["true"]}});
        let id = daemon.http.submit(&task);
        daemon.http.wait_state(id, "succeeded");
    }
    let demand = json!({"queue": "maps", "demand": {"cpus": 4000}, "run": {"argv": ["true"]}});
    let _waits = daemon.http.submit(&demand);
    let data = folder.path().join("data");
    let report = json_of(&["--from", data.to_str().unwrap()]);
    assert_eq!(report["jobs"], 3);
    assert_eq!(report["skipped"]["never started"], 1);
    let queues = report["policies"][0]["queues"].as_array().unwrap();
    let mut paths: Vec<&str> = queues
        .iter()
        .map(|it| it["path"].as_str().unwrap())
        .collect();
    paths.sort_unstable();
    assert_eq!(paths, ["maps", "search"]);
    let again = daemon
        .http
        .submit(&json!({"queue": "maps", "demand": {"cpus": 0.5}, "run": {"argv": ["true"]}}));
    daemon.http.wait_state(again, "succeeded");
}
