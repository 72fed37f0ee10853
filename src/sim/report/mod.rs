//! What replays are summed up to: waits, slowdowns, shares, utilisation and the fairness error, one policy beside
//! another. Floating point is for people here; nothing is decided by it.

mod fluid;
pub mod html;
mod plot;
mod series;

use std::collections::BTreeMap;
use std::sync::Arc;

use apportion_policies::Amount;
use serde_json::{Value, json};

use super::AgentSpec;
use super::replay::Replayed;
use super::trace::Job;
use crate::engine::EngineSettings;
use crate::engine::settings::Scope;

/// Shorter jobs count as if they ran so long, in milliseconds: the bound of the bounded slowdown.
const SLOWDOWN_BOUND: u64 = 10_000;

/// Into so many pieces the time of a replay is cut: more than a plot can show.
const N_PIECES: usize = 240;

/// All of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was replayed, for people.
    pub title: String,
    /// How many jobs.
    pub n_jobs: usize,
    /// Records that were left out, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// All there is of each resource.
    pub totals: Vec<(Arc<str>, Amount)>,
    /// How many agents.
    pub n_agents: usize,
    /// The length of a piece of the series, in milliseconds.
    pub piece: u64,
    /// One for each policy, in the order in which they were asked for.
    pub policies: Vec<PolicyReport>,
}

/// How a workload went under one policy.
#[derive(Clone, Debug)]
pub struct PolicyReport {
    /// Its name.
    pub policy: String,
    /// Jobs that ran.
    pub n_started: usize,
    /// Jobs that were refused, by code.
    pub refused: BTreeMap<&'static str, u64>,
    /// Jobs that waited to the end and never ran.
    pub n_never: usize,
    /// When the last job ended, in milliseconds.
    pub ended: u64,
    /// Submissions, starts and ends.
    pub n_events: u64,
    /// Over all jobs that ran.
    pub all: JobStats,
    /// The mean and the largest fairness error over the pieces in which somebody had work.
    pub fairness_error: (f64, f64),
    /// The mean use of each resource until the last job was submitted, in the order of the totals.
    pub utilisation: Vec<f64>,
    /// By queue, the one that used most first.
    pub queues: Vec<QueueStats>,
    /// The use of each resource over time, in the order of the totals.
    pub used: Vec<Vec<f64>>,
    /// The fairness error over time.
    pub errors: Vec<f64>,
}

/// Waits and bounded slowdowns of some jobs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobStats {
    /// How many.
    pub n_jobs: usize,
    /// In seconds.
    pub wait: Spread,
    /// Wait and run time over run time, of which at least 10 s; at least 1.
    pub slowdown: Spread,
}

/// How numbers are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// Their mean.
    pub mean: f64,
    /// Half of them are no larger.
    pub median: f64,
    /// 95 of 100 are no larger.
    pub p95: f64,
    /// The largest.
    pub worst: f64,
}

/// How one queue fared.
#[derive(Clone, Debug)]
pub struct QueueStats {
    /// Its path.
    pub path: Arc<str>,
    /// Its weight.
    pub weight: f64,
    /// Its jobs that ran.
    pub jobs: JobStats,
    /// Its mean dominant share over the whole time.
    pub mean_share: f64,
    /// The mean of what it was due.
    pub mean_entitlement: f64,
    /// Its dominant share over time.
    pub share: Vec<f64>,
    /// What it was due over time.
    pub entitlement: Vec<f64>,
}

/// What is summed up.
#[derive(Debug)]
pub struct Input<'a> {
    /// What was replayed, for people.
    pub title: &'a str,
    /// The jobs.
    pub jobs: &'a [Job],
    /// Records that were left out.
    pub skipped: &'a BTreeMap<&'static str, u64>,
    /// The agents.
    pub agents: &'a [AgentSpec],
    /// Each policy with the settings and what came of it.
    pub runs: Vec<(String, EngineSettings, Replayed)>,
}

impl Report {
    /// Sums replays up. Costs the jobs, and the queues times the resources times the pieces of
    /// time.
    #[must_use]
    pub fn new(input: &Input<'_>) -> Self {
        let last = input.jobs.last().map_or(0, |job| job.submitted);
        let ended = input.runs.iter().map(|(_, _, run)| run.ended).max();
        let piece = (ended.unwrap_or(0).max(last).max(1)).div_ceil(N_PIECES as u64);
        let totals = totals(input);
        let policies = input.runs.iter().map(|(policy, settings, run)| {
            PolicyReport::new(policy, settings, run, input.jobs, &totals, piece)
        });
        Self {
            title: input.title.to_owned(),
            n_jobs: input.jobs.len(),
            skipped: input.skipped.clone(),
            n_agents: input.agents.len(),
            piece,
            policies: policies.collect(),
            totals,
        }
    }

    /// As JSON: amounts and shares as numbers rounded to millionths, times in seconds.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let totals = self.totals.iter();
        let totals: BTreeMap<&str, f64> = totals
            .map(|(name, amount)| (&**name, amount.milli() as f64 / 1000.0))
            .collect();
        json!({
            "trace": self.title,
            "jobs": self.n_jobs,
            "skipped": self.skipped,
            "agents": self.n_agents,
            "totals": totals,
            "piece_seconds": self.piece as f64 / 1000.0,
            "policies": self.policies.iter().map(|it| it.to_json(&self.totals)).collect::<Vec<_>>(),
        })
    }
}

/// All there is of each resource of which there is any.
fn totals(input: &Input<'_>) -> Vec<(Arc<str>, Amount)> {
    let Some((_, settings, _)) = input.runs.first() else {
        return Vec::new();
    };
    let total = |name: &Arc<str>, scope: Scope| match scope {
        Scope::Cluster { capacity } => capacity,
        Scope::Host => {
            let brought = input.agents.iter();
            let brought = brought.filter_map(|agent| agent.resources.get(name).copied());
            brought.fold(Amount::ZERO, Amount::saturating_add)
        }
    };
    let all = settings.resources.iter();
    let all = all.map(|it| (Arc::clone(&it.name), total(&it.name, it.scope)));
    all.filter(|(_, amount)| !amount.is_zero()).collect()
}

impl PolicyReport {
    fn new(
        policy: &str,
        settings: &EngineSettings,
        run: &Replayed,
        jobs: &[Job],
        totals: &[(Arc<str>, Amount)],
        piece: u64,
    ) -> Self {
        let groups = series::Groups::new(settings, jobs);
        let series = series::Series::new(run, jobs, totals, &groups, piece);
        let mut refused = BTreeMap::new();
        for (_, refusal) in &run.refused {
            *refused.entry(refusal.code()).or_insert(0) += 1;
        }
        let n_started = run.started.iter().flatten().count();
        let mut by_group: Vec<Vec<usize>> = vec![Vec::new(); groups.names.len()];
        for (place, group) in groups.of_job.iter().enumerate() {
            by_group[*group].push(place);
        }
        let mut queues: Vec<QueueStats> = Vec::new();
        for (group, places) in by_group.iter().enumerate() {
            let (share, entitlement) = (&series.share[group], &series.entitlement[group]);
            queues.push(QueueStats {
                path: Arc::clone(&groups.names[group]),
                weight: f64::from(groups.weights[group].milli()) / 1000.0,
                jobs: JobStats::new(run, jobs, places.iter().copied()),
                mean_share: mean(share),
                mean_entitlement: mean(entitlement),
                share: share.clone(),
                entitlement: entitlement.clone(),
            });
        }
        queues.sort_by(|a, b| {
            let order = b.mean_share.total_cmp(&a.mean_share);
            order.then_with(|| a.path.cmp(&b.path))
        });
        let busy = usize::try_from(jobs.last().map_or(0, |job| job.submitted) / piece).unwrap_or(0);
        let until_last = |used: &Vec<f64>| mean(&used[..(busy + 1).min(used.len())]);
        let errors = series.errors;
        let with_work: Vec<f64> = errors.iter().copied().flatten().collect();
        Self {
            policy: policy.to_owned(),
            n_started,
            n_never: jobs.len() - n_started - run.refused.len(),
            refused,
            ended: run.ended,
            n_events: run.n_events,
            all: JobStats::new(run, jobs, 0..jobs.len()),
            fairness_error: (
                mean(&with_work),
                with_work.iter().copied().fold(0.0, f64::max),
            ),
            utilisation: series.used.iter().map(until_last).collect(),
            queues,
            used: series.used,
            errors: errors.into_iter().map(Option::unwrap_or_default).collect(),
        }
    }

    fn to_json(&self, totals: &[(Arc<str>, Amount)]) -> Value {
        let by_resource = |numbers: &[f64]| -> BTreeMap<String, f64> {
            let pairs = totals.iter().zip(numbers);
            pairs
                .map(|((name, _), number)| (name.to_string(), rounded(*number)))
                .collect()
        };
        let used = totals.iter().zip(&self.used);
        let used: BTreeMap<&str, Vec<f64>> = used
            .map(|((name, _), used)| (&**name, all_rounded(used)))
            .collect();
        json!({
            "policy": self.policy,
            "started": self.n_started,
            "never_started": self.n_never,
            "refused": self.refused,
            "ended_seconds": self.ended as f64 / 1000.0,
            "events": self.n_events,
            "all": self.all.to_json(),
            "fairness_error": {
                "mean": rounded(self.fairness_error.0),
                "worst": rounded(self.fairness_error.1),
            },
            "utilisation": by_resource(&self.utilisation),
            "queues": self.queues.iter().map(QueueStats::to_json).collect::<Vec<_>>(),
            "series": { "used": used, "fairness_error": all_rounded(&self.errors) },
        })
    }
}

impl JobStats {
    fn new(run: &Replayed, jobs: &[Job], places: impl Iterator<Item = usize>) -> Self {
        let (mut waits, mut slowdowns) = (Vec::new(), Vec::new());
        for place in places {
            let Some(started) = run.started[place] else {
                continue;
            };
            let job = &jobs[place];
            let wait = started.saturating_sub(job.submitted);
            waits.push(wait as f64 / 1000.0);
            let stretched = (wait + job.run_time) as f64 / job.run_time.max(SLOWDOWN_BOUND) as f64;
            slowdowns.push(stretched.max(1.0));
        }
        Self {
            n_jobs: waits.len(),
            wait: Spread::new(waits),
            slowdown: Spread::new(slowdowns),
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "jobs": self.n_jobs,
            "wait_seconds": self.wait.to_json(),
            "bounded_slowdown": self.slowdown.to_json(),
        })
    }
}

impl Spread {
    fn new(mut numbers: Vec<f64>) -> Self {
        numbers.sort_by(f64::total_cmp);
        let Some(worst) = numbers.last().copied() else {
            return Self::default();
        };
        // The nearest rank, so that what is told is a number that was there.
        let rank = |percent: usize| numbers[(numbers.len() * percent).div_ceil(100) - 1];
        Self {
            mean: mean(&numbers),
            median: rank(50),
            p95: rank(95),
            worst,
        }
    }

    fn to_json(self) -> Value {
        json!({
            "mean": rounded(self.mean),
            "median": rounded(self.median),
            "p95": rounded(self.p95),
            "worst": rounded(self.worst),
        })
    }
}

impl QueueStats {
    fn to_json(&self) -> Value {
        json!({
            "path": &*self.path,
            "weight": self.weight,
            "stats": self.jobs.to_json(),
            "mean_share": rounded(self.mean_share),
            "mean_entitlement": rounded(self.mean_entitlement),
            "share": all_rounded(&self.share),
            "entitlement": all_rounded(&self.entitlement),
        })
    }
}

fn mean(numbers: &[f64]) -> f64 {
    match numbers.len() {
        0 => 0.0,
        count => numbers.iter().sum::<f64>() / count as f64,
    }
}

fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

fn all_rounded(numbers: &[f64]) -> Vec<f64> {
    numbers.iter().copied().map(rounded).collect()
}
