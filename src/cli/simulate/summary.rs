//! The report of a replay as tables.

use std::path::Path;

use super::super::output::{Output, table};
use super::super::{CliError, format};
use crate::sim::report::{PolicyReport, Report};

/// So many queues are shown.
const QUEUES_MAX: usize = 15;

pub(super) fn print(
    report: &Report,
    page: Option<&Path>,
    out: &mut Output<'_>,
) -> Result<(), CliError> {
    let totals = report.totals.iter();
    let totals = totals.map(|(name, total)| format!("{name}={}", format::amount_of(name, *total)));
    let totals = totals.collect::<Vec<_>>().join(" ");
    let n_jobs = format::count(report.n_jobs as u64, "job");
    let agents = format::count(report.n_agents as u64, "agent");
    out.line(format_args!(
        "{}: {n_jobs} on {agents}, {totals}",
        report.title
    ))?;
    for (reason, count) in &report.skipped {
        out.line(format_args!("left out: {count} that {reason}"))?;
    }
    out.line("")?;
    let mut rows = table(&[
        "POLICY",
        ">MEAN WAIT",
        ">MEDIAN",
        ">95TH",
        ">WORST",
        ">MEAN SLOWDOWN",
        ">95TH",
        ">FAIRNESS ERROR",
        ">ENDED AFTER",
        ">NEVER RAN",
    ]);
    for policy in &report.policies {
        let (wait, slowdown) = (policy.all.wait, policy.all.slowdown);
        let refused: u64 = policy.refused.values().sum();
        rows.add_row(vec![
            policy.policy.clone(),
            wait_of(wait.mean.round()),
            wait_of(wait.median),
            wait_of(wait.p95),
            wait_of(wait.worst),
            format!("{:.1}", slowdown.mean),
            format!("{:.1}", slowdown.p95),
            format!("{:.1}%", policy.fairness_error.0 * 100.0),
            format::seconds(policy.ended as f64 / 1000.0),
            (policy.n_never as u64 + refused).to_string(),
        ]);
    }
    out.table(&mut rows)?;
    for policy in &report.policies {
        out.line("")?;
        print_queues(report, policy, out)?;
    }
    if let Some(page) = page {
        out.line("")?;
        out.line(format_args!("plots are in {}", page.display()))?;
    }
    Ok(())
}

/// `0s` where there was none: nobody measured milliseconds.
fn wait_of(seconds: f64) -> String {
    match seconds {
        0.0 => "0s".to_owned(),
        _ => format::seconds(seconds),
    }
}

fn print_queues(
    report: &Report,
    policy: &PolicyReport,
    out: &mut Output<'_>,
) -> Result<(), CliError> {
    let used = report.totals.iter().zip(&policy.utilisation);
    let used = used.map(|((name, _), used)| format!("{name} {:.1}%", used * 100.0));
    let used = used.collect::<Vec<_>>().join(", ");
    out.line(format_args!(
        "{}, used until the last submission: {used}",
        policy.policy
    ))?;
    let mut rows = table(&[
        "QUEUE",
        ">JOBS",
        ">USED",
        ">DUE",
        ">MEDIAN WAIT",
        ">95TH",
        ">WORST",
        ">MEDIAN SLOWDOWN",
        ">95TH",
        ">WORST",
    ]);
    for queue in policy.queues.iter().take(QUEUES_MAX) {
        let (wait, slowdown) = (queue.jobs.wait, queue.jobs.slowdown);
        // Where no job ran, there is nothing to sum up.
        let told = |text: String| match queue.jobs.n_jobs {
            0 => "-".to_owned(),
            _ => text,
        };
        rows.add_row(vec![
            queue.path.to_string(),
            queue.jobs.n_jobs.to_string(),
            format!("{:.1}%", queue.mean_share * 100.0),
            format!("{:.1}%", queue.mean_entitlement * 100.0),
            told(wait_of(wait.median)),
            told(wait_of(wait.p95)),
            told(wait_of(wait.worst)),
            told(format!("{:.1}", slowdown.median)),
            told(format!("{:.1}", slowdown.p95)),
            told(format!("{:.1}", slowdown.worst)),
        ]);
    }
    out.table(&mut rows)?;
    let n_others = policy.queues.len().saturating_sub(QUEUES_MAX);
    if n_others > 0 {
        out.line(format_args!(
            "and {n_others} queues that used less; --json has all"
        ))?;
    }
    Ok(())
}
