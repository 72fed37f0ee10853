//! What `promtool` says of the configuration and the rules, and of their unit tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::programs;

/// Where the configuration for Prometheus is.
pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/prometheus")
}

/// Runs promtool and gives what it says and whether all is well; `None` where there is none.
fn promtool(arguments: &[&str], folder: &Path) -> Option<(bool, String)> {
    let promtool = programs::find("promtool", "prometheus")?;
    let output = Command::new(promtool)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some((
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    ))
}

#[test]
fn the_configuration_is_valid() {
    if let Some((is_well, said)) = promtool(&["check", "config", "prometheus.yml"], &folder()) {
        assert!(is_well && !said.contains("WARNING"), "{said}");
    }
}

#[test]
fn each_alert_fires_when_it_should_and_is_quiet_when_it_should() {
    if let Some((is_well, said)) = promtool(&["test", "rules", "tests.yml"], &folder()) {
        assert!(is_well, "{said}");
    }
}

#[test]
fn each_alert_has_a_unit_test_and_a_text_that_says_what_to_do() {
    let alerts = fs::read_to_string(folder().join("alerts.yml")).unwrap();
    let tests = fs::read_to_string(folder().join("tests.yml")).unwrap();
    let parts: Vec<&str> = alerts.split("- alert: ").skip(1).collect();
    assert!(parts.len() >= 10, "{}", parts.len());
    for part in parts {
        let name = part.lines().next().unwrap();
        assert!(part.contains("runbook: >-"), "{name} has no runbook");
        let asked = format!("alertname=\"{name}\"");
        let fires = format!("{asked}, alertstate=\"firing\"");
        assert!(tests.contains(&fires), "{name} has no unit test");
    }
}

#[test]
fn the_unit_tests_notice_an_alert_that_never_fires() {
    let copy = tempfile::tempdir().unwrap();
    for file in ["alerts.yml", "recording.yml", "tests.yml"] {
        let text = fs::read_to_string(folder().join(file)).unwrap();
        // Nothing is ever restarted a hundred times.
        let text = text.replace("time_seconds[15m]) > 0", "time_seconds[15m]) > 99");
        fs::write(copy.path().join(file), text).unwrap();
    }
    if let Some((is_well, said)) = promtool(&["test", "rules", "tests.yml"], copy.path()) {
        assert!(!is_well && said.contains("ApportionRestarted"), "{said}");
    }
}
