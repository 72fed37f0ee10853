//! Tests of replays: who runs when, and that all of it is the same each time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::{Amount, Registry};

use super::AgentSpec;
use super::replay::{Replayed, replay};
use super::report::{Input, Report};
use super::trace::swf::{self, Columns};
use super::trace::synthetic::Synthetic;
use super::trace::{Job, Key, Trace};
use crate::engine::EngineSettings;
use crate::engine::settings::{ClaimSettings, PolicyConfig, QueueConfig, ResourceSettings, Scope};

fn settings(policy: &str, queues: &[&str]) -> EngineSettings {
    let host = |name: &str| ResourceSettings {
        name: Arc::from(name),
        scope: Scope::Host,
    };
    EngineSettings {
        resources: vec![host("cpus"), host("mem")],
        queues: queues
            .iter()
            .map(|path| QueueConfig::new(Arc::from(*path)))
            .collect(),
        policy: PolicyConfig::new(policy.into()),
        claims: ClaimSettings::default(),
        lost_max: 10,
        kill_grace: Duration::from_secs(10),
        retry_pause: Duration::from_secs(1),
        retry_pause_max: Duration::from_secs(300),
        live_max: 1_000_000,
    }
}

fn machine(cpus: u64) -> AgentSpec {
    let cpus = Amount::from_units(cpus).unwrap();
    AgentSpec {
        name: "m".into(),
        resources: BTreeMap::from([("cpus".into(), cpus), ("mem".into(), Amount::MAX)]),
        attributes: BTreeMap::new(),
    }
}

/// A job by when it comes, how long it runs (both in seconds), its queue and its cpus.
fn job(submitted: u64, run: u64, queue: &str, cpus: u64) -> Job {
    let cpus = Amount::from_units(cpus).unwrap();
    Job {
        submitted: submitted * 1000,
        waited: 0,
        run_time: run * 1000,
        queue: queue.into(),
        demand: Arc::new(BTreeMap::from([("cpus".into(), cpus)])),
        priority: 0,
        constraints: Arc::default(),
    }
}

fn run(policy: &str, queues: &[&str], cpus: u64, jobs: &[Job]) -> Replayed {
    let registry = Registry::default();
    let agents = [machine(cpus)];
    replay(
        &settings(policy, queues),
        &agents,
        jobs,
        &registry,
        &mut |_| (),
    )
}

/// When each started, in seconds.
fn started(replayed: &Replayed) -> Vec<Option<u64>> {
    replayed
        .started
        .iter()
        .map(|at| at.map(|at| at / 1000))
        .collect()
}

#[test]
fn a_job_starts_when_it_came_or_when_another_has_ended() {
    let jobs = [
        job(0, 10, "a", 2),
        job(3, 10, "a", 2),
        job(4, 1, "a", 1),
        job(50, 0, "a", 2),
        job(50, 5, "a", 2),
    ];
    let replayed = run("fifo", &["a"], 3, &jobs);
    let expected = [Some(0), Some(10), Some(4), Some(50), Some(50)];
    assert_eq!(started(&replayed), expected);
    assert_eq!((replayed.ended, replayed.n_events), (55_000, 15));
}

#[test]
fn policies_differ_and_a_job_that_never_fits_is_told() {
    let mut jobs: Vec<Job> = (0..4).map(|_| job(0, 10, "a", 1)).collect();
    jobs.push(job(1, 10, "b", 1));
    jobs.push(job(1, 10, "b", 9));
    let under = |policy| started(&run(policy, &["a", "b"], 2, &jobs));
    assert_eq!(under("fifo")[4], Some(20));
    assert_eq!(under("drf")[4], Some(10));
    assert_eq!(under("drf")[5], None);
}

fn made_up() -> Trace {
    let made = Synthetic {
        seed: 3,
        n_jobs: 300,
        n_users: 20,
        processors: 64,
        pause: 300,
    };
    let text = made.to_swf();
    swf::read(
        &mut text.as_bytes(),
        &Columns::default(),
        &[Key::Group, Key::User],
        None,
    )
    .unwrap()
}

fn report(trace: &Trace) -> Report {
    report_of(trace, &["drf", "fifo"])
}

fn report_of(trace: &Trace, policies: &[&str]) -> Report {
    let mut paths: Vec<Arc<str>> = trace
        .jobs
        .iter()
        .map(|job| Arc::clone(&job.queue))
        .collect();
    let groups: Vec<Arc<str>> = paths
        .iter()
        .map(|it| it.split('/').next().unwrap().into())
        .collect();
    paths.extend(groups);
    paths.sort();
    paths.dedup();
    let paths: Vec<&str> = paths.iter().map(|path| &**path).collect();
    let runs = policies.iter().map(|policy| {
        let replayed = run(policy, &paths, 64, &trace.jobs);
        ((*policy).to_owned(), settings(policy, &paths), replayed)
    });
    let agents = [machine(64)];
    Report::new(&Input {
        title: "made <up>",
        jobs: &trace.jobs,
        skipped: &trace.skipped,
        agents: &agents,
        runs: runs.collect(),
    })
}

#[test]
fn the_same_trace_gives_the_same_report_byte_for_byte() {
    let trace = made_up();
    let (one, other) = (report(&trace), report(&trace));
    assert_eq!(one.to_json().to_string(), other.to_json().to_string());
    assert_eq!(one.to_html(), other.to_html());
}

#[test]
fn a_report_adds_up() {
    let trace = made_up();
    let report = report(&trace);
    for policy in &report.policies {
        assert_eq!(policy.n_started, trace.jobs.len());
        let n_jobs: usize = policy.queues.iter().map(|queue| queue.jobs.n_jobs).sum();
        assert_eq!(n_jobs, trace.jobs.len(), "each job is in one queue");
        let work: f64 = trace
            .jobs
            .iter()
            .map(|job| job.run_time as f64 * job.demand["cpus"].milli() as f64)
            .sum();
        let used: f64 = policy.used[0].iter().sum::<f64>() * report.piece as f64 * 64_000.0;
        assert!((work / used - 1.0).abs() < 1e-6, "{work} and {used}");
        assert!(policy.used[0].iter().all(|part| *part <= 1.0 + 1e-6));
        assert!(policy.all.slowdown.median >= 1.0 && policy.all.wait.worst >= policy.all.wait.p95);
    }
    let (drf, fifo) = (&report.policies[0], &report.policies[1]);
    assert!(
        drf.fairness_error.0 < fifo.fairness_error.0,
        "what drf is for"
    );
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_shows_names_as_text() {
    let page = report(&made_up()).to_html();
    assert!(page.contains("Replay of made &lt;up&gt;"));
    for outside in ["<script", "<link", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    let hosts = page.replace("http://www.w3.org/", "");
    assert!(
        !hosts.contains("http"),
        "no host is named but in SVG's own name"
    );
    assert!(page.matches("<svg").count() > 10 && page.contains("prefers-color-scheme: dark"));
}

#[test]
fn the_page_marks_all_that_are_equally_good_and_none_where_all_are() {
    const BEST: &str = "class=\"best\"";
    let trace = made_up();
    assert!(!report_of(&trace, &["drf", "drf"]).to_html().contains(BEST));
    let page = report_of(&trace, &["drf", "fifo", "drf"]).to_html();
    let rows = page.lines().filter(|line| line.starts_with("<tr><td>drf<"));
    let rows: Vec<&str> = rows.collect();
    assert_eq!(rows.len(), 2);
    assert!(rows[0] == rows[1] && rows[0].contains(BEST), "{}", rows[0]);
}
