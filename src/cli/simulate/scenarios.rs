//! Runs scenario files, one or many, and tells how they went.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use apportion_policies::{Registry, ShownKey};
use serde_json::{Value, json};

use super::super::output::Output;
use super::super::{CliError, format};
use crate::config::{self, ConfigErrors, units};
use crate::engine::report;
use crate::sim::scenario::{self, Failure, Outcome, QueueLine, StepReport};

/// Runs all of them; false if one doesn't go as it expects.
pub(super) fn execute(
    paths: &[PathBuf],
    registry: &Registry,
    json: bool,
    out: &mut Output<'_>,
) -> Result<bool, CliError> {
    let files = files(paths)?;
    let mut wrong = ConfigErrors {
        file: None,
        errors: Vec::new(),
    };
    let mut scenarios = Vec::new();
    for file in &files {
        match config::scenario::load(file, registry) {
            Ok(scenario) => scenarios.push((file, scenario)),
            // Several files are told of together, each error with its own.
            Err(errors) if wrong.errors.is_empty() => wrong = errors,
            Err(errors) => out.stderr(format!("{errors}\n").as_bytes())?,
        }
    }
    if !wrong.errors.is_empty() {
        return Err(wrong.into());
    }
    let mut failures = Vec::new();
    let mut reports = Vec::new();
    let length = Some(scenarios.len() as u64);
    for (position, (file, scenario)) in scenarios.iter().enumerate() {
        out.progress("scenarios".to_owned(), position as u64, length);
        let outcome = scenario::run(scenario, registry, json);
        if json {
            reports.push(outcome_json(file, &outcome));
        }
        failures.extend(outcome.failure.map(|failure| (file, failure)));
    }
    out.end_progress();
    if json {
        out.json(&json!({
            "passed": failures.is_empty(),
            "n_scenarios": scenarios.len(),
            "n_failed": failures.len(),
            "scenarios": reports,
        }))?;
        return Ok(failures.is_empty());
    }
    for (file, failure) in &failures {
        print_failure(file, failure, out)?;
    }
    let n_passed = (scenarios.len() - failures.len()) as u64;
    let passed = format::count(n_passed, "scenario");
    match failures.len() {
        0 => out.line(format_args!("{passed} passed"))?,
        n_failed => out.line(format_args!("{passed} passed, {n_failed} failed"))?,
    }
    Ok(failures.is_empty())
}

/// The files meant: of a folder all that end in `.toml`, in order of their names, those below it too.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let n_before = files.len();
        add_folder(path, &mut files).map_err(|source| CliError::Input {
            name: path.display().to_string(),
            source,
        })?;
        if files.len() == n_before {
            let name = path.display();
            let message = format!("there is no scenario in {name}: their names end in .toml");
            return Err(CliError::Usage(message));
        }
    }
    Ok(files)
}

fn add_folder(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let entries = std::fs::read_dir(folder)?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            add_folder(&path, files)?;
        } else if path.extension().is_some_and(|it| it == "toml") {
            files.push(path);
        }
    }
    Ok(())
}

fn print_failure(file: &Path, failure: &Failure, out: &mut Output<'_>) -> Result<(), CliError> {
    let (file, line, step) = (file.display(), failure.line, &failure.step);
    out.line(format_args!(
        "{file}:{line}: step {step} doesn't go as expected"
    ))?;
    for mismatch in &failure.mismatches {
        out.line(format_args!("  {}", mismatch.subject))?;
        out.line(format_args!("    expected  {}", mismatch.expected))?;
        out.line(format_args!("    actual    {}", mismatch.actual))?;
    }
    Ok(())
}

fn outcome_json(file: &Path, outcome: &Outcome) -> Value {
    let failure = outcome.failure.as_ref().map(|failure| {
        let mismatches = failure.mismatches.iter().map(|mismatch| {
            json!({
                "subject": mismatch.subject,
                "expected": mismatch.expected,
                "actual": mismatch.actual,
            })
        });
        json!({
            "step": failure.step,
            "line": failure.line,
            "mismatches": mismatches.collect::<Vec<_>>(),
        })
    });
    json!({
        "file": file.display().to_string(),
        "passed": failure.is_none(),
        "failure": failure,
        "steps": outcome.steps.iter().map(step_json).collect::<Vec<_>>(),
    })
}

fn step_json(step: &StepReport) -> Value {
    let decisions = step.decisions.iter().map(|decided| {
        json!({
            "launch": decided.attempt.to_string(),
            "task": decided.attempt.task.0,
            "name": &*decided.name,
            "queue": &*decided.queue,
            "agent": &*decided.agent,
            "reason": decided.compared.iter().map(compared_json).collect::<Vec<_>>(),
        })
    });
    json!({
        "step": step.step,
        "line": step.line,
        "kind": step.kind,
        "decisions": decisions.collect::<Vec<_>>(),
        "order": step.order.iter().map(|path| &**path).collect::<Vec<_>>(),
        "queues": step.queues.iter().map(queue_json).collect::<Vec<_>>(),
    })
}

/// One queue's choice among its children: the one served, and how all that could have gone stood before, in order.
fn compared_json(step: &report::StepReport) -> Value {
    let children = std::iter::once(&step.own).chain(&step.others);
    let candidates = children.map(|child| {
        let fraction = child.key.and_then(ShownKey::fraction);
        json!({
            "path": &*child.queue,
            "weight": child.weight.to_string(),
            "dominant_share": child.dominant_share.to_string(),
            "running": child.n_running,
            "task": child.next.map(|task| task.0),
            "kind": child.key.map(ShownKey::kind),
            "key": fraction.map(|fraction| fraction.to_string()),
        })
    });
    json!({
        "queue": &*step.queue,
        "policy": &*step.policy,
        "served": &*step.own.queue,
        "candidates": candidates.collect::<Vec<_>>(),
    })
}

fn queue_json(queue: &QueueLine) -> Value {
    let used = queue.used.iter();
    let used: BTreeMap<&str, String> = used
        .map(|(name, amount)| (&**name, units::format_amount(name, *amount)))
        .collect();
    let share = queue.share.iter();
    let share: BTreeMap<&str, String> = share
        .map(|(name, share)| (&**name, share.to_string()))
        .collect();
    json!({
        "path": &*queue.path,
        "waiting": queue.n_waiting,
        "running": queue.n_running,
        "used": used,
        "share": share,
        "dominant_share": queue.dominant_share.to_string(),
    })
}
