//! JSON lines: an object for a job, `{"submit": 12.5, "run": 300, "user": "ann", "demand": {"cpus": 2, "mem": 4096}}`.
//!
//! `submit` and `run` are seconds; amounts are numbers, `mem` and `disk` in MiB. `user`, `group`, `queue`,
//! `partition`, `priority` and `constraints` may be left away; without a demand a job takes one cpu.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::Arc;

use apportion_policies::Amount;
use serde::Deserialize;

use super::{Collector, Key, RawJob, Trace, TraceError, for_lines, millis, segment};

/// A line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    submit: f64,
    run: f64,
    user: Option<String>,
    group: Option<String>,
    queue: Option<String>,
    partition: Option<String>,
    demand: Option<BTreeMap<String, serde_json::Number>>,
    #[serde(default)]
    priority: i32,
    #[serde(default)]
    constraints: BTreeMap<String, String>,
}

/// Reads a trace; jobs are put into queues by the keys given, one level for each. At most `limit` jobs.
///
/// # Errors
/// See [`TraceError`]: the first line that is wrong.
pub fn read(
    input: &mut dyn BufRead,
    by: &[Key],
    limit: Option<usize>,
) -> Result<Trace, TraceError> {
    let mut collector = Collector::new(limit);
    for_lines(input, |line, text| {
        if !text.is_empty() {
            let wrong = |message: String| TraceError::Json { line, message };
            let read: Line =
                serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
            job(line, read, by, &mut collector, wrong)?;
        }
        Ok(!collector.is_full())
    })?;
    collector.finish()
}

fn job(
    number: usize,
    line: Line,
    by: &[Key],
    collector: &mut Collector,
    wrong: impl Fn(String) -> TraceError,
) -> Result<(), TraceError> {
    let outside = "must be seconds from 0 up to 100 years";
    let submitted = millis(line.submit).ok_or_else(|| wrong(format!("submit {outside}")))?;
    let run_time = millis(line.run).ok_or_else(|| wrong(format!("run {outside}")))?;
    let mut demand = BTreeMap::new();
    match &line.demand {
        None => {
            demand.extend(Amount::from_units(1).map(|one| (Arc::from("cpus"), one)));
        }
        Some(amounts) => {
            for (name, amount) in amounts {
                let amount: Amount = amount
                    .to_string()
                    .parse()
                    .map_err(|error| wrong(format!("demand.{name}: {error}")))?;
                if !amount.is_zero() {
                    demand.insert(collector.name(name), amount);
                }
            }
        }
    }
    if demand.is_empty() {
        return Err(wrong("demand must name something above 0".to_owned()));
    }
    let segments = by.iter().map(|key| {
        let name = match key {
            Key::User => &line.user,
            Key::Group => &line.group,
            Key::Queue => &line.queue,
            Key::Partition => &line.partition,
        };
        let name = name.as_deref().unwrap_or("unknown");
        // A queue may have been recorded with its whole path.
        let parts = name.split('/').filter(|part| !part.is_empty());
        parts
            .map(|part| segment("", part))
            .collect::<Vec<_>>()
            .join("/")
    });
    let queue = segments.collect::<Vec<_>>().join("/");
    let constraints = line.constraints.iter();
    let constraints = constraints
        .map(|(name, value)| (collector.name(name), collector.name(value)))
        .collect();
    let queue = if queue.is_empty() { "unknown" } else { &queue };
    collector.push(
        number,
        RawJob {
            submitted,
            run_time,
            queue,
            demand,
            priority: line.priority,
            constraints,
        },
    )
}
