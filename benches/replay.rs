//! How fast a workload is replayed: a made-up trace as large as those of real clusters, under each policy.
//!
//! `cargo bench --bench replay [-- TRACE.swf]` writes a table. An event is a submission, a start or an end; reading the
//! trace and summing it up are not in the time. With a file, that one is replayed instead.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that can't go on should stop, and prints what it has measured"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::sync::Arc;

use apportion::clock::Stopwatch;
use apportion::config::Config;
use apportion::engine::settings::{PolicyConfig, QueueConfig};
use apportion::sim::AgentSpec;
use apportion::sim::replay::replay;
use apportion::sim::trace::swf::{self, Columns};
use apportion::sim::trace::synthetic::Synthetic;
use apportion::sim::trace::{Key, Trace};
use apportion_policies::{Amount, Registry};

/// Events a second that are wanted.
const GOAL: f64 = 500_000.0;

/// As many as the trace has of which the goal speaks.
const SYNTHETIC: Synthetic = Synthetic {
    seed: 1,
    n_jobs: 43_778,
    n_users: 131,
    processors: 9216,
    pause: 900,
};

/// Each replay is measured so often, and the middle one told.
const N_RUNS: usize = 5;

fn main() {
    let file = std::env::args().skip(1).find(|it| !it.starts_with("--"));
    let trace = match file {
        None => read(&mut SYNTHETIC.to_swf().as_bytes()),
        Some(file) => read(&mut BufReader::new(std::fs::File::open(file).unwrap())),
    };
    let mut settings = Config::default_local().engine;
    let queues: BTreeSet<Arc<str>> = trace
        .jobs
        .iter()
        .map(|job| Arc::clone(&job.queue))
        .collect();
    println!("{} jobs in {} queues", trace.jobs.len(), queues.len());
    settings.queues = queues.into_iter().map(QueueConfig::new).collect();
    let lots = Amount::from_units(1 << 37).unwrap();
    let processors = trace.processors.unwrap_or(1024);
    let resources = BTreeMap::from([
        ("cpus".into(), Amount::from_units(processors).unwrap()),
        ("mem".into(), lots),
    ]);
    let agents = [AgentSpec {
        name: "m1".into(),
        resources,
        attributes: BTreeMap::new(),
    }];
    for policy in ["drf", "weighted", "fifo"] {
        settings.policy = PolicyConfig::new(policy.into());
        let mut rates: Vec<(f64, u64)> = (0..N_RUNS)
            .map(|_| {
                let watch = Stopwatch::start();
                let run = replay(
                    &settings,
                    &agents,
                    &trace.jobs,
                    &Registry::default(),
                    &mut |_| (),
                );
                (
                    run.n_events as f64 / watch.elapsed().as_secs_f64(),
                    run.n_events,
                )
            })
            .collect();
        rates.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (rate, n_events) = rates[N_RUNS / 2];
        let verdict = if rate >= GOAL { "reached" } else { "MISSED" };
        println!("{policy:<10}{n_events:>10} events{rate:>12.0} a second   {verdict} ({GOAL:.0})");
    }
}

fn read(input: &mut dyn BufRead) -> Trace {
    swf::read(input, &Columns::default(), &[Key::User], None).unwrap()
}
