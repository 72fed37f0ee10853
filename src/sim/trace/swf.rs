//! The Standard Workload Format of the Parallel Workloads Archive (Chapin et al., JSSPP 1999): a line for a job,
//! 18 columns of numbers, -1 for what isn't known, `;` before comments and header fields.
//!
//! Archives bend it: more columns, names instead of numbers, other units. A [`Columns`] says where things are.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::Arc;

use apportion_policies::Amount;

use super::{Collector, Key, RawJob, Trace, TraceError, for_lines, millis, segment};

/// Where things stand in a line, by columns counted from 1. The default is the format's own order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// When it was submitted, in seconds.
    pub submit: usize,
    /// How long it ran, in seconds.
    pub run: usize,
    /// The processors that it asked for.
    pub processors: usize,
    /// The processors that it used, where it didn't ask for any.
    pub processors_used: usize,
    /// The memory that it asked for.
    pub mem: Option<Measured>,
    /// The memory that it used, where it didn't ask for any.
    pub mem_used: Option<Measured>,
    /// Its status: 0 failed, 1 completed, 2 to 4 a part of another record, 5 cancelled.
    pub status: usize,
    /// Who submitted it.
    pub user: usize,
    /// Their group.
    pub group: usize,
    /// Its queue.
    pub queue: usize,
    /// Its partition.
    pub partition: usize,
    /// How many machines it used, or which, for what is measured by machine.
    pub nodes: Option<usize>,
    /// Further resources, each by its name and where it stands.
    pub resources: BTreeMap<Arc<str>, Measured>,
}

/// A column that holds an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Which, from 1.
    pub column: usize,
    /// How many thousandths of the resource's unit one of it is: for mem 1000 / 1024 where it is in KiB,
    /// so as a fraction.
    pub milli: (u64, u64),
    /// What it is measured for.
    pub per: Per,
}

/// What an amount is measured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// Each processor.
    Processor,
    /// Each machine.
    Node,
    /// The whole job.
    Job,
}

impl Default for Columns {
    fn default() -> Self {
        let kib = |column| {
            Some(Measured {
                column,
                milli: (1000, 1024),
                per: Per::Processor,
            })
        };
        Self {
            submit: 2,
            run: 4,
            processors: 8,
            processors_used: 5,
            mem: kib(10),
            mem_used: kib(7),
            status: 11,
            user: 12,
            group: 13,
            queue: 15,
            partition: 16,
            nodes: None,
            resources: BTreeMap::new(),
        }
    }
}

/// Reads a trace; jobs are put into queues by the keys given, one level for each. At most `limit` jobs.
///
/// What says by itself that it never ran is left out and counted: cancelled before its start, without a run time or
/// processors, a part of another record.
///
/// # Errors
/// See [`TraceError`]: the first line that is wrong.
pub fn read(
    input: &mut dyn BufRead,
    columns: &Columns,
    by: &[Key],
    limit: Option<usize>,
) -> Result<Trace, TraceError> {
    let mut collector = Collector::new(limit);
    for_lines(input, |line, text| {
        if let Some(comment) = text.strip_prefix(';') {
            header(comment, &mut collector);
        } else if !text.is_empty() {
            let fields: Vec<&str> = text.split_ascii_whitespace().collect();
            job(&Row { line, fields }, columns, by, &mut collector)?;
        }
        Ok(!collector.is_full())
    })?;
    collector.finish()
}

/// `; MaxProcs: 9216`, of which only this is of use.
fn header(comment: &str, collector: &mut Collector) {
    let Some((name, value)) = comment.split_once(':') else {
        return;
    };
    if name.trim() == "MaxProcs"
        && let Some(Ok(processors)) = value.split_whitespace().next().map(str::parse::<u64>)
        && processors > 0
    {
        collector.set_processors(processors);
    }
}

struct Row<'a> {
    line: usize,
    fields: Vec<&'a str>,
}

impl Row<'_> {
    fn text(&self, column: usize) -> Result<&str, TraceError> {
        let found = self.fields.get(column - 1).copied();
        found.ok_or(TraceError::TooFewColumns {
            line: self.line,
            found: self.fields.len(),
            needed: column,
        })
    }

    /// A number; -1 and all others below zero mean that it isn't known.
    fn number(&self, column: usize) -> Result<f64, TraceError> {
        let text = self.text(column)?;
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| TraceError::NotANumber {
            line: self.line,
            column,
            found: text.chars().take(40).flat_map(char::escape_debug).collect(),
        })
    }

    /// How many: a number, or a list such as `{12,12,14}`, of which each counts once.
    fn count(&self, column: usize) -> Result<Option<f64>, TraceError> {
        let text = self.text(column)?;
        let Some(list) = text.strip_prefix('{') else {
            return self.known(column);
        };
        let mut names: Vec<&str> = list.trim_end_matches('}').split(',').collect();
        names.sort_unstable();
        names.dedup();
        Ok(Some(names.len() as f64))
    }

    fn known(&self, column: usize) -> Result<Option<f64>, TraceError> {
        Ok(Some(self.number(column)?).filter(|number| *number > 0.0))
    }
}

fn job(
    row: &Row<'_>,
    columns: &Columns,
    by: &[Key],
    collector: &mut Collector,
) -> Result<(), TraceError> {
    let status = row.number(columns.status)?;
    let run = row.number(columns.run)?;
    let processors = match row.known(columns.processors)? {
        Some(asked) => Some(asked),
        None => row.known(columns.processors_used)?,
    };
    let submitted = millis(row.number(columns.submit)?);
    let skip = match (submitted, millis(run), processors) {
        _ if (2.0..5.0).contains(&status) => "are parts of other records",
        (None, _, _) => "have no time of submission",
        (_, None, _) if run > 0.0 => "ran for more than 100 years",
        (_, None, _) => "never started",
        (_, Some(0), _) if status >= 5.0 => "were cancelled before they started",
        (_, _, None) => "have no processors",
        (Some(submitted), Some(run_time), Some(processors)) => {
            let Some(demand) = demand(row, columns, processors)? else {
                collector.skip("demand more than an amount can say");
                return Ok(());
            };
            let queue = queue(row, columns, by)?;
            return collector.push(
                row.line,
                RawJob {
                    submitted,
                    run_time,
                    queue: &queue,
                    demand,
                    priority: 0,
                    constraints: BTreeMap::new(),
                },
            );
        }
    };
    collector.skip(skip);
    Ok(())
}

/// What the job consumed; `None` where that is more than an amount can say.
fn demand(
    row: &Row<'_>,
    columns: &Columns,
    processors: f64,
) -> Result<Option<BTreeMap<Arc<str>, Amount>>, TraceError> {
    let mut demand = BTreeMap::new();
    let nodes = match columns.nodes {
        Some(column) => row.count(column)?,
        None => None,
    };
    let mut put = |name: Arc<str>, milli: f64| {
        let whole = milli.ceil();
        let amount = (whole < Amount::MAX.milli() as f64).then_some(whole as u64);
        let amount = amount.and_then(Amount::from_milli);
        let fits = amount.is_some();
        demand.extend(amount.filter(|it| !it.is_zero()).map(|it| (name, it)));
        fits
    };
    let mut fits = put("cpus".into(), processors * 1000.0);
    let measure = |measured: &Measured, number: f64| {
        let times = match measured.per {
            Per::Processor => processors,
            Per::Node => nodes.unwrap_or(1.0),
            Per::Job => 1.0,
        };
        number * times * measured.milli.0 as f64 / measured.milli.1 as f64
    };
    for measured in [&columns.mem, &columns.mem_used].into_iter().flatten() {
        if let Some(number) = row.known(measured.column)? {
            fits &= put("mem".into(), measure(measured, number));
            break;
        }
    }
    for (name, measured) in &columns.resources {
        if let Some(number) = row.known(measured.column)? {
            fits &= put(Arc::clone(name), measure(measured, number));
        }
    }
    Ok(fits.then_some(demand))
}

/// The path of the job's queue, such as `group1/user12`.
fn queue(row: &Row<'_>, columns: &Columns, by: &[Key]) -> Result<String, TraceError> {
    let mut segments = Vec::with_capacity(by.len());
    for key in by {
        let column = match key {
            Key::User => columns.user,
            Key::Group => columns.group,
            Key::Queue => columns.queue,
            Key::Partition => columns.partition,
        };
        let text = row.text(column)?;
        let is_number = text.parse::<i64>().is_ok();
        let name = if text.starts_with('-') {
            "unknown"
        } else {
            text
        };
        let prefix = match is_number && !text.starts_with('-') {
            true => key.word(),
            false => "",
        };
        segments.push(segment(prefix, name));
    }
    Ok(segments.join("/"))
}
