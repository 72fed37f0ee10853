//! Configurations, scenarios and traces.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use apportion::config;
use apportion::policies::Registry;
use apportion::sim::trace::{self, Key, swf::Columns};
use proptest::prelude::*;

use super::mutation::garbled;

const CASES: u32 = 1000;

/// One of these texts with a few edits.
fn garbled_text(samples: Vec<String>) -> impl Strategy<Value = String> {
    let samples = samples.into_iter().map(String::into_bytes).collect();
    garbled(samples).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The files of a folder of the project with this ending, a few levels down.
fn samples(folder: &str, ending: &str) -> Vec<String> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == ending) {
                files.push(path);
            }
        }
    }
    files.sort();
    let texts = files
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap());
    let texts: Vec<String> = texts.filter(|text| text.len() < 40_000).collect();
    assert!(!texts.is_empty(), "no sample in {folder}");
    texts
}

const SWF: &str = "\
; MaxProcs: 128
; Comment: anything
1 0 10 300 4 250.5 1024 4 600 2048 1 7 3 -1 2 1 -1 -1
2 60 -1 1200 -1 -1 -1 16 3600 -1 1 8 3 -1 1 2 -1 -1
3 61 5 0 1 1 1 1 1 1 5 9 3 -1 1 2 -1 -1
";

const LINES: &str = r#"{"submit": 12.5, "run": 300, "user": "ann", "demand": {"cpus": 2, "mem": 4096}}
{"submit": 13, "run": 0.5, "queue": "maps/render", "priority": -3, "constraints": {"rack": "r1"}}
"#;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn a_configuration_is_read_or_every_error_told(text in garbled_text(samples("config", "toml"))) {
        if let Err(errors) = config::parse(&text, &Registry::default()) {
            prop_assert!(!errors.errors.is_empty());
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn a_scenario_is_read_or_every_error_told(text in garbled_text(samples("tests/scenarios", "toml"))) {
        if let Err(errors) = config::scenario::parse(&text, &Registry::default()) {
            prop_assert!(!errors.errors.is_empty());
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn a_trace_is_read_or_its_first_wrong_line_told(text in garbled_text(vec![SWF.to_owned()])) {
        let by = [Key::Group, Key::User];
        let mut input = BufReader::new(text.as_bytes());
        match trace::swf::read(&mut input, &Columns::default(), &by, None) {
            // A trace is no larger than what it was read from.
            Ok(trace) => prop_assert!(trace.jobs.len() <= text.lines().count()),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn a_trace_of_json_lines_too(text in garbled_text(vec![LINES.to_owned()])) {
        let mut input = BufReader::new(text.as_bytes());
        match trace::lines::read(&mut input, &[Key::Queue], None) {
            Ok(trace) => prop_assert!(trace.jobs.len() <= text.lines().count()),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
