//! Many times `true` through a real Mesos, beside a bare framework that accepts every offer with the same executor.
//!
//! `cargo bench --bench mesos -- [options]`; `--help` lists them. Without `--bench`, which `cargo bench` passes,
//! nothing is measured, so that a test run over all targets stays quick.

#![allow(
    clippy::print_stdout,
    reason = "a benchmark prints what it has measured"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that can't go on ends, and so do the tests whose helpers it uses"
)]

mod bare;
#[path = "../load/processes.rs"]
#[allow(dead_code, reason = "shared with another benchmark")]
mod processes;
#[path = "../load/report.rs"]
#[allow(dead_code, reason = "shared with another benchmark")]
mod report;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use apportion::clock::Stopwatch;
use clap::Parser;
use serde_json::json;

use crate::report::{Figure, Goal, Report};
use crate::support::daemon::Daemon;
use crate::support::mesos::{Mesos, Part, Setup};

/// What section 12 of the design asks: the most times the time of the bare framework.
const RATIO_MAX: f64 = 1.2;

/// What each task takes: so many run side by side as fit on the agent.
const CPUS: f64 = 0.02;
const MEM_MIB: f64 = 4.0;

/// Measures the scheduler beside a framework that knows no fairness and keeps nothing.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// How many tasks each side runs in a round.
    #[arg(long, default_value_t = 3000)]
    n_tasks: u32,
    /// How often both are measured, in turns; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How often Mesos shares out what is free (`--allocation_interval`).
    #[arg(long, default_value = "100ms")]
    interval: String,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one side took for all its tasks.
#[derive(Clone, Copy, Debug)]
struct Spent {
    wall: Duration,
    /// The scheduler's own processor time.
    cpu_seconds: f64,
    /// How long an offer was held, on average, in seconds.
    held_seconds: f64,
}

fn main() {
    let options = Options::parse();
    if !options.bench {
        println!("nothing measured; run `cargo bench --bench mesos`");
        return;
    }
    let setup = Setup::agents(1)
        .resources("cpus:4;mem:4096;disk:10000")
        .flag("MESOS_ALLOCATION_INTERVAL", &options.interval)
        // What it logs at this rate would be measured too.
        .flag("GLOG_minloglevel", "1");
    let Some(mesos) = setup.start() else {
        println!("nothing measured: there is no Mesos");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder can be made");
    let daemon = start(&mesos, folder.path());
    let (mut ours, mut bares) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        bares.push(bare::run(&mesos, options.n_tasks));
        ours.push(through_daemon(&daemon, options.n_tasks));
    }
    let (ours, bare) = (median(ours), median(bares));
    let n = f64::from(options.n_tasks);
    let per_task = |spent: &Spent| spent.cpu_seconds / n * 1e6;
    let mut report = Report::default();
    let what = format!(
        "{} x true, allocation every {}",
        options.n_tasks, options.interval
    );
    report.add(
        Figure::new("mesos", what, ours.wall.as_secs_f64(), "s")
            .beside(bare.wall.as_secs_f64(), "bare framework")
            .goal(Goal::RatioAtMost(RATIO_MAX))
            .note("rate", n / ours.wall.as_secs_f64(), "1/s")
            .note("bare rate", n / bare.wall.as_secs_f64(), "1/s"),
    );
    report.add(
        Figure::new("mesos", "scheduler cpu a task", per_task(&ours), "us")
            .beside(per_task(&bare), "bare framework"),
    );
    report.add(
        Figure::new(
            "mesos",
            "an offer is held for",
            ours.held_seconds * 1e3,
            "ms",
        )
        .beside(bare.held_seconds * 1e3, "bare framework"),
    );
    println!("{}", report.table());
}

/// The round whose time is in the middle.
fn median(mut rounds: Vec<Spent>) -> Spent {
    rounds.sort_by_key(|spent| spent.wall);
    rounds[rounds.len() / 2]
}

/// A daemon whose executor is there already.
fn start(mesos: &Mesos, folder: &std::path::Path) -> Daemon {
    let config = format!(
        "[tasks]\ndemand = {{ cpus = {CPUS}, mem = {MEM_MIB} }}\n\
         [backend]\nkind = \"mesos\"\n[backend.mesos]\nmasters = [\"{}\"]\n",
        mesos.url(Part::Master)
    );
    let daemon = Daemon::start(folder, &config);
    let first = daemon.http.submit(&json!({"run": {"argv": ["true"]}}));
    daemon.http.wait_ended(first);
    daemon
}

/// From the submission until the last end is durable.
fn through_daemon(daemon: &Daemon, n_tasks: u32) -> Spent {
    let pid = [daemon.pid().as_raw().unsigned_abs()];
    let before = (processes::cpu_seconds(&pid), offer_ages(daemon));
    let since = Stopwatch::start();
    let _ = daemon.http.submit(&json!({
        "array": format!("0-{}", n_tasks - 1), "run": {"argv": ["true"]},
    }));
    let n_left = || {
        let queues = daemon.http.get("/v1/queues").expect(200);
        let counts = queues["queues"][0]["tasks"].as_object().cloned();
        let counts = counts.into_iter().flatten();
        counts.filter_map(|(_, n)| n.as_u64()).sum::<u64>()
    };
    // Seldom enough to take nothing from the daemon.
    while n_left() > 0 {
        std::thread::sleep(Duration::from_millis(50));
    }
    let wall = since.elapsed();
    let after = (processes::cpu_seconds(&pid), offer_ages(daemon));
    let (n_offers, seconds) = (after.1.0 - before.1.0, after.1.1 - before.1.1);
    Spent {
        wall,
        cpu_seconds: after.0 - before.0,
        held_seconds: seconds / n_offers.max(1.0),
    }
}

/// How many offers were held, and for how long together.
fn offer_ages(daemon: &Daemon) -> (f64, f64) {
    let page = daemon.http.get("/metrics").text();
    let value = |name: &str| {
        let found = page.lines().find_map(|line| line.strip_prefix(name));
        found
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(0.0)
    };
    (
        value("apportion_offer_age_seconds_count "),
        value("apportion_offer_age_seconds_sum "),
    )
}
