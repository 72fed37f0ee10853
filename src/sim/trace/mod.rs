//! Workloads that were recorded elsewhere: jobs with when they came, how long they ran and what they
//! consumed. Read from the Standard Workload Format ([`swf`]) or from JSON lines ([`lines`]).

pub mod lines;
pub mod swf;
pub mod synthetic;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::sync::Arc;

use apportion_policies::Amount;

use crate::engine::request::ByName;

/// A longer line is none of a trace.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// More jobs than this would not fit into memory beside the engine.
const JOBS_MAX: usize = 20_000_000;

/// The longest time that a job may run or wait to be submitted: 100 years.
const MILLIS_MAX: f64 = 100.0 * 365.0 * 86_400_000.0;

/// A job of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// When it was submitted, in milliseconds since the first of the trace.
    pub submitted: u64,
    /// How long it waited where it really ran, in milliseconds; 0 where that isn't known. A replay has waits of its own:
    /// this tells only how large the cluster was.
    pub waited: u64,
    /// How long it ran, in milliseconds.
    pub run_time: u64,
    /// Of which leaf it becomes a task.
    pub queue: Arc<str>,
    /// What it consumed while it ran, shared by jobs that consumed the same.
    pub demand: Arc<ByName<Amount>>,
    /// Higher goes first within its queue.
    pub priority: i32,
    /// Attributes that its agent must have.
    pub constraints: Arc<ByName<Arc<str>>>,
}

/// A workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// In order of submission.
    pub jobs: Vec<Job>,
    /// How many records were left out, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// How many processors the cluster had, where the trace says so.
    pub processors: Option<u64>,
}

/// By what jobs are put into queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Who submitted it.
    User,
    /// The group of who submitted it.
    Group,
    /// The queue that it was submitted to.
    Queue,
    /// The partition of the cluster.
    Partition,
}

impl Key {
    /// Its name on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Queue => "queue",
            Self::Partition => "partition",
        }
    }
}

/// Why a trace can't be read. The text says where and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The file can't be read on.
    #[error("line {line}: can't be read: {source}")]
    Io {
        /// The line, from 1.
        line: usize,
        /// What the system said.
        source: io::Error,
    },
    /// A line that no trace has.
    #[error("line {line}: is longer than 1 MiB; is this a trace?")]
    LineTooLong {
        /// The line, from 1.
        line: usize,
    },
    /// Too few columns.
    #[error(
        "line {line}: has {found} columns, and column {needed} is needed; see --map for other formats"
    )]
    TooFewColumns {
        /// The line, from 1.
        line: usize,
        /// How many there are.
        found: usize,
        /// Which is missing, from 1.
        needed: usize,
    },
    /// A column that holds no number.
    #[error("line {line}, column {column}: '{found}' is no number; see --map for other formats")]
    NotANumber {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What stands there, shortened.
        found: String,
    },
    /// A JSON line that is wrong.
    #[error("line {line}: {message}")]
    Json {
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what to write.
        message: String,
    },
    /// More jobs than can be replayed at once.
    #[error("line {line}: more than {JOBS_MAX} jobs; replay a part with --limit")]
    TooManyJobs {
        /// The line, from 1.
        line: usize,
    },
    /// Nothing to replay.
    #[error("there is no job to replay in it{}", skipped_text(.skipped))]
    NoJobs {
        /// What was left out.
        skipped: BTreeMap<&'static str, u64>,
    },
}

fn skipped_text(skipped: &BTreeMap<&'static str, u64>) -> String {
    let parts = skipped.iter();
    let parts = parts.map(|(reason, count)| format!("; {count} {reason}"));
    parts.collect()
}

/// The jobs read so far, with what they share.
#[derive(Debug, Default)]
pub(super) struct Collector {
    trace: Trace,
    limit: Option<usize>,
    names: BTreeMap<Box<str>, Arc<str>>,
    demands: BTreeMap<ByName<Amount>, Arc<ByName<Amount>>>,
    constraints: BTreeMap<ByName<Arc<str>>, Arc<ByName<Arc<str>>>>,
}

/// What was read of one job.
pub(super) struct RawJob<'a> {
    pub(super) submitted: u64,
    pub(super) run_time: u64,
    pub(super) queue: &'a str,
    pub(super) demand: ByName<Amount>,
    pub(super) priority: i32,
    pub(super) constraints: ByName<Arc<str>>,
}

impl Collector {
    /// Takes at most so many jobs.
    pub(super) fn new(limit: Option<usize>) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// Whether as many as are wanted are there.
    pub(super) fn is_full(&self) -> bool {
        self.limit
            .is_some_and(|limit| self.trace.jobs.len() >= limit)
    }

    pub(super) fn skip(&mut self, reason: &'static str) {
        *self.trace.skipped.entry(reason).or_insert(0) += 1;
    }

    pub(super) fn set_processors(&mut self, processors: u64) {
        self.trace.processors = Some(processors);
    }

    /// The same text, kept once.
    pub(super) fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let shared: Arc<str> = name.into();
        self.names.insert(name.into(), Arc::clone(&shared));
        shared
    }

    pub(super) fn push(&mut self, line: usize, raw: RawJob<'_>) -> Result<(), TraceError> {
        if self.trace.jobs.len() >= JOBS_MAX {
            return Err(TraceError::TooManyJobs { line });
        }
        let queue = self.name(raw.queue);
        let demand = shared(&mut self.demands, raw.demand);
        let constraints = shared(&mut self.constraints, raw.constraints);
        self.trace.jobs.push(Job {
            submitted: raw.submitted,
            waited: 0,
            run_time: raw.run_time,
            queue,
            demand,
            priority: raw.priority,
            constraints,
        });
        Ok(())
    }

    /// In order of submission, counted from the first.
    pub(super) fn finish(mut self) -> Result<Trace, TraceError> {
        let jobs = &mut self.trace.jobs;
        jobs.sort_by_key(|job| job.submitted);
        let Some(first) = jobs.first().map(|job| job.submitted) else {
            let skipped = self.trace.skipped;
            return Err(TraceError::NoJobs { skipped });
        };
        for job in jobs {
            job.submitted -= first;
        }
        Ok(self.trace)
    }
}

fn shared<T: Ord + Clone>(known: &mut BTreeMap<T, Arc<T>>, value: T) -> Arc<T> {
    if let Some(known) = known.get(&value) {
        return Arc::clone(known);
    }
    let shared = Arc::new(value.clone());
    known.insert(value, Arc::clone(&shared));
    shared
}

/// Calls `each` with every line and its number. Bytes that aren't UTF-8 are replaced.
fn for_lines(
    input: &mut dyn BufRead,
    mut each: impl FnMut(usize, &str) -> Result<bool, TraceError>,
) -> Result<(), TraceError> {
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let mut limited = io::Read::take(&mut *input, LINE_BYTES_MAX + 1);
        let read = limited.read_until(b'\n', &mut bytes);
        let n_read = read.map_err(|source| TraceError::Io { line, source })?;
        if n_read == 0 {
            break;
        }
        if n_read as u64 > LINE_BYTES_MAX {
            return Err(TraceError::LineTooLong { line });
        }
        if !each(line, String::from_utf8_lossy(&bytes).trim())? {
            break;
        }
    }
    Ok(())
}

/// Seconds as whole milliseconds; `None` below zero, or beyond 100 years.
fn millis(seconds: f64) -> Option<u64> {
    let millis = (seconds * 1000.0).round();
    (0.0..=MILLIS_MAX)
        .contains(&millis)
        .then_some(millis as u64)
}

/// A name as a segment of a queue's path: what may not stand there becomes `_`.
fn segment(prefix: &str, name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let name: String = name
        .chars()
        .map(|c| if allowed(c) { c } else { '_' })
        .collect();
    match name.chars().all(|c| c == '.') {
        true => format!("{prefix}unknown"),
        false => format!("{prefix}{name}"),
    }
}
