//! What this installation ran, as a trace: read from the daemon's database, which may be in use.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::super::CliError;
use crate::engine::TaskId;
use crate::sim::trace::{Job, Trace};
use crate::store::reader::{Reader, TaskFilter, TaskRecord};
use crate::store::sqlite::{DATABASE_FILE, SqliteReader};

/// How many tasks are read at a time.
const PAGE: usize = 10_000;

/// Reads all tasks that ran to an end, at most `limit`.
pub(super) fn read(data_dir: &Path, limit: Option<usize>) -> Result<Trace, CliError> {
    let file = data_dir.join(DATABASE_FILE);
    if !file.exists() {
        let name = data_dir.display();
        return Err(CliError::Usage(format!(
            "there is no {DATABASE_FILE} in {name}; name the daemon's server.data_dir"
        )));
    }
    let reader = SqliteReader::new(file);
    let mut trace = Trace::default();
    let mut after: Option<TaskId> = None;
    loop {
        let filter = TaskFilter {
            after,
            limit: PAGE,
            ..TaskFilter::default()
        };
        let page = reader
            .list(&filter)
            .map_err(|error| CliError::Serve(Box::new(error)))?;
        let Some(last) = page.last() else {
            break;
        };
        after = Some(last.task);
        for record in &page {
            match job(record) {
                Ok(job) => trace.jobs.push(job),
                Err(reason) => *trace.skipped.entry(reason).or_insert(0) += 1,
            }
        }
        if limit.is_some_and(|limit| trace.jobs.len() >= limit) {
            break;
        }
    }
    trace.jobs.truncate(limit.unwrap_or(usize::MAX));
    trace.jobs.sort_by_key(|job| job.submitted);
    let Some(first) = trace.jobs.first().map(|job| job.submitted) else {
        let name = data_dir.display();
        return Err(CliError::Usage(format!(
            "no task in {name} has run to its end; there is nothing to replay"
        )));
    };
    for job in &mut trace.jobs {
        job.submitted -= first;
    }
    Ok(trace)
}

fn job(record: &TaskRecord) -> Result<Job, &'static str> {
    let spec = &record.submission.spec;
    let attempt = record.attempts.last().ok_or("never started")?;
    let ended = attempt.ended_at.ok_or("have not ended")?;
    let started = attempt.started_at.unwrap_or(attempt.launched_at);
    let run_time = ended.since(started).as_millis();
    let waited = started.since(record.submission.submitted_at).as_millis();
    Ok(Job {
        submitted: record.submission.submitted_at.0,
        waited: u64::try_from(waited).unwrap_or(u64::MAX),
        run_time: u64::try_from(run_time).unwrap_or(u64::MAX),
        queue: Arc::clone(&spec.queue),
        demand: Arc::clone(&spec.demand),
        priority: spec.priority,
        constraints: Arc::new(BTreeMap::clone(&spec.constraints)),
    })
}
