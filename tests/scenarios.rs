//! The project's scenarios: all of them go as they expect, and each fails when what it is about is taken away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use apportion::config;
use apportion::policies::Registry;
use apportion::sim::scenario;
use serde_json::Value;

use crate::support::daemon::program;

/// What begins a comment that says how a scenario must be changed so that it fails.
const FAILS_IF: &str = "# fails if: ";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

fn simulate(arguments: &[&str]) -> Output {
    Command::new(program())
        .arg("simulate")
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn all_of_them_go_as_they_expect() {
    let output = simulate(&[folder().to_str().unwrap()]);
    let stdout = text(&output.stdout);
    assert!(output.status.success(), "{stdout}{}", text(&output.stderr));
    let n_files = files().len();
    assert!(n_files >= 40, "there are {n_files}");
    assert_eq!(stdout, format!("{n_files} scenarios passed\n"));
}

/// A scenario with what its comment says replaced, everywhere but in comments.
fn changed(scenario: &str, from: &str, to: &str) -> String {
    let lines = scenario.lines().map(|line| match line.starts_with('#') {
        true => line.to_owned(),
        false => line.replace(from, to),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// `` `A` becomes `B` ``
fn change_of(line: &str) -> Option<(&str, &str)> {
    let (from, to) = line.strip_prefix('`')?.split_once("` becomes `")?;
    Some((from, to.strip_suffix('`')?))
}

#[test]
fn each_of_them_is_sensitive_to_what_it_is_about() {
    let mut errors = Vec::new();
    for file in files() {
        let scenario = fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let changes = scenario
            .lines()
            .filter_map(|line| line.strip_prefix(FAILS_IF));
        let changes: Vec<&str> = changes.collect();
        if changes.is_empty() {
            errors.push(format!("{name}: doesn't say what makes it fail"));
        }
        for change in changes {
            let Some((from, to)) = change_of(change) else {
                errors.push(format!("{name}: write `A` becomes `B`, not {change}"));
                continue;
            };
            let changed = changed(&scenario, from, to);
            let registry = Registry::default();
            match config::scenario::parse(&changed, &registry) {
                Err(wrong) => errors.push(format!("{name}: {change} makes it invalid: {wrong}")),
                Ok(scenario) => {
                    if scenario::run(&scenario, &registry, false).failure.is_none() {
                        errors.push(format!("{name}: {change} makes no difference"));
                    }
                }
            }
        }
    }
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

const FAILING: &str = "\
agents = [{ name = \"m1\", resources = { cpus = 2 } }]

[[steps]]
submit = { queue = \"default\", count = 3 }
[[steps]]
offer = \"all\"
[[steps]]
expect = { running = { default = 3 }, launched = [\"default\", \"default\"] }
";

#[test]
fn a_step_that_fails_is_named_with_its_line_and_what_came() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("s.toml");
    fs::write(&file, FAILING).unwrap();
    let file = file.to_str().unwrap();
    let output = simulate(&[file]);
    let expected = format!(
        "{file}:8: step 3 doesn't go as expected\n  running\n    expected  {{ default = 3 }}\n    actual    {{ default = 2 }}\n0 scenarios passed, 1 failed\n"
    );
    assert_eq!(text(&output.stdout), expected);
    assert_eq!(output.status.code(), Some(1));

    let output = simulate(&["--json", file]);
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let scenario = &json["scenarios"][0];
    assert_eq!(scenario["failure"]["step"], "3");
    assert_eq!(
        scenario["failure"]["mismatches"][0]["actual"],
        "{ default = 2 }"
    );
    let offer = &scenario["steps"][1];
    assert_eq!(offer["decisions"].as_array().unwrap().len(), 2);
    assert_eq!(offer["decisions"][1]["launch"], "2.1");
    let reason = &offer["decisions"][1]["reason"][0];
    assert_eq!(
        (&reason["policy"], &reason["served"]),
        (&"drf".into(), &"default".into())
    );
    let candidate = &reason["candidates"][0];
    assert_eq!(
        (&candidate["kind"], &candidate["key"]),
        (&"use".into(), &"1/2".into())
    );
    assert_eq!(
        (&candidate["running"], &candidate["task"]),
        (&1.into(), &2.into())
    );
    assert_eq!(offer["order"][0], "default");
    assert_eq!(offer["queues"][0]["share"]["cpus"], "1");
}

#[test]
fn what_is_refused_unexpectedly_fails_the_scenario() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("s.toml");
    fs::write(&file, "steps = [{ submit = { queue = \"nowhere\" } }]").unwrap();
    let output = simulate(&[file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("unknown queue 'nowhere'"));
}

#[test]
fn a_wrong_file_is_told_with_every_line_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("s.toml");
    fs::write(&file, "polcy = \"drf\"\n[[steps]]\noffer = \"some\"\n").unwrap();
    let file = file.to_str().unwrap();
    let output = simulate(&[file]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains(&format!("{file}:1:1: polcy: unknown key")),
        "{stderr}"
    );
    assert!(
        stderr.contains(&format!("{file}:3:9: steps[0].offer: write")),
        "{stderr}"
    );
}

/// So that what people copy from there is what is built and run.
#[test]
fn the_policies_readme_shows_the_example_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let readme = read("policies/README.md");
    for shown in ["src/main.rs", "scenario.toml"] {
        let example = read(&format!("examples/own-policy/{shown}"));
        assert!(
            readme.contains(&example),
            "policies/README.md shows another {shown}"
        );
    }
    let n_lines = read("examples/own-policy/src/main.rs").lines().count()
        + read("examples/own-policy/scenario.toml").lines().count()
        + read("examples/own-policy/Cargo.toml").lines().count();
    assert!(n_lines < 100, "{n_lines} lines");
}
