//! The engine alone, on a full cluster: what a decision costs, a submission, a recovery.
//!
//! `cargo bench --bench engine [-- FILTER]`. A decision is one end and one launch with everything that the
//! engine does for them, facts included; storing the facts is not. Sizes by environment:
//! `APPORTION_BENCH_TASKS` (1000000), `APPORTION_BENCH_QUEUES` (10,1000,10000), `APPORTION_BENCH_SECONDS` (1).

#![allow(
    clippy::print_stdout,
    reason = "a benchmark prints what it has measured"
)]

mod cluster;

use std::time::Duration;

use apportion::clock::Stopwatch;
use apportion::engine::{Engine, EngineSettings, Fact, Time};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};

use crate::cluster::{Cluster, Scenario};

/// What section 12 of the design asks of `drf` with 1,000 queues, in decisions a second: flat, three levels.
const DECISIONS_PER_SECOND: [f64; 2] = [1_000_000.0, 500_000.0];

/// A figure for the table at the end.
struct Figure {
    what: String,
    nanos: f64,
    ends: f64,
    goal: Option<f64>,
}

fn from_environment(name: &str, default: &str) -> Vec<usize> {
    let text = std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let numbers = text.split(',').map(|number| number.trim().parse());
    numbers
        .collect::<Result<_, _>>()
        .unwrap_or_else(|error| panic!("{name}: '{text}' is no list of numbers: {error}"))
}

fn n_tasks() -> usize {
    from_environment("APPORTION_BENCH_TASKS", "1000000")[0]
}

/// Every scenario that is measured, with the name of what varies.
fn scenarios() -> Vec<(&'static str, Scenario)> {
    let base = Scenario {
        policy: "drf",
        n_queues: 1000,
        deep: false,
        n_tasks: n_tasks(),
        separate: false,
        shared: true,
        n_ends: 1,
        started: false,
    };
    let mut all = Vec::new();
    for policy in ["drf", "fifo", "weighted"] {
        for n_queues in from_environment("APPORTION_BENCH_QUEUES", "10,1000,10000") {
            for deep in [false, true] {
                let scenario = Scenario {
                    policy,
                    n_queues,
                    deep,
                    ..base
                };
                all.push(("arrays", scenario));
            }
        }
    }
    for deep in [false, true] {
        let base = Scenario { deep, ..base };
        let separate = Scenario {
            separate: true,
            ..base
        };
        all.push(("separate", separate));
        all.push((
            "host-only",
            Scenario {
                shared: false,
                ..base
            },
        ));
        all.push(("64-ends-a-turn", Scenario { n_ends: 64, ..base }));
        all.push((
            "with-started",
            Scenario {
                started: true,
                ..base
            },
        ));
    }
    all
}

fn levels(deep: bool) -> &'static str {
    if deep { "3-levels" } else { "flat" }
}

fn decisions(criterion: &mut Criterion, figures: &mut Vec<Figure>) {
    let mut group = criterion.benchmark_group("decide");
    group.throughput(Throughput::Elements(1));
    group.sampling_mode(SamplingMode::Flat);
    for (form, scenario) in scenarios() {
        let Scenario {
            policy,
            n_queues,
            deep,
            ..
        } = scenario;
        let what = format!("{policy}/{n_queues}/{}/{form}", levels(deep));
        let mut cluster = None;
        let mut samples = Vec::new();
        group.bench_function(BenchmarkId::from_parameter(&what), |bencher| {
            let cluster = cluster.get_or_insert_with(|| Cluster::full(scenario));
            bencher.iter_custom(|iterations| {
                let (took, ends) = cluster.decide(iterations);
                samples.push((took.as_nanos() as f64 / iterations as f64, ends));
                took
            });
        });
        samples.sort_by(|one, other| one.0.total_cmp(&other.0));
        if let Some((nanos, ends)) = samples.get(samples.len() / 2).copied() {
            let wanted = policy == "drf" && n_queues == 1000;
            figures.push(Figure {
                what,
                nanos,
                ends,
                goal: wanted.then_some(DECISIONS_PER_SECOND[usize::from(deep)]),
            });
        }
    }
}

/// Submissions of 1,000 separate tasks each to a full cluster with 1,000 queues; the time is for one task.
fn submissions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("submit");
    group.throughput(Throughput::Elements(1000));
    group.sampling_mode(SamplingMode::Flat);
    let scenario = Scenario {
        policy: "drf",
        n_queues: 1000,
        deep: false,
        n_tasks: n_tasks().min(100_000),
        separate: true,
        shared: true,
        n_ends: 1,
        started: false,
    };
    group.bench_function("1000-separate-tasks", |bencher| {
        let mut cluster = Cluster::full(scenario);
        bencher.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            for _ in 0..iterations {
                let tasks = cluster.separate_tasks(1000);
                took += cluster.submit(tasks);
                cluster.take_facts();
            }
            took
        });
    });
}

/// Folding the facts of all tasks that wait, as after a restart; and what they take in memory then.
fn recoveries(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recover");
    let n = n_tasks();
    group.throughput(Throughput::Elements(n as u64));
    group.sampling_mode(SamplingMode::Flat);
    let scenario = Scenario {
        policy: "drf",
        n_queues: 1000,
        deep: false,
        n_tasks: n,
        separate: true,
        shared: true,
        n_ends: 1,
        started: false,
    };
    let mut made = None;
    group.bench_function(format!("{n}-separate-tasks"), |bencher| {
        let (settings, facts) = made.get_or_insert_with(|| submitted(scenario));
        bencher.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            for _ in 0..iterations {
                let mut engine = Engine::new(settings.clone());
                let since = Stopwatch::start();
                for fact in facts.iter() {
                    engine.apply(fact);
                }
                let alive = engine.recovered(Time(1));
                took += since.elapsed();
                assert!(alive.is_empty(), "nothing was launched");
            }
            took
        });
    });
}

/// The facts of all submissions of a scenario. Also tells what the tasks take in memory.
fn submitted(scenario: Scenario) -> (EngineSettings, Vec<Fact>) {
    let n = scenario.n_tasks;
    let mut cluster = Cluster::empty(scenario);
    let mut facts: Vec<Fact> = Vec::new();
    let before = memory_bytes();
    for done in (0..n).step_by(1000) {
        let tasks = cluster.separate_tasks(1000.min(n - done));
        cluster.submit(tasks);
        facts.extend(cluster.take_facts());
    }
    let memory = memory_bytes().saturating_sub(before);
    let facts_memory = facts.capacity() * size_of::<Fact>();
    println!(
        "engine with {n} separate tasks: {} bytes of memory a task",
        memory.saturating_sub(facts_memory as u64) / n as u64
    );
    (cluster.settings(), facts)
}

/// Resident memory of this process, in bytes; zero where the system doesn't tell.
fn memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

fn print_table(figures: &[Figure]) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header([
        "decide",
        "ns",
        "decisions/s",
        "ends/decision",
        "goal",
        "",
    ]);
    for figure in figures {
        let rate = 1e9 / figure.nanos;
        table.add_row([
            figure.what.clone(),
            format!("{:.0}", figure.nanos),
            format!("{rate:.0}"),
            format!("{:.2}", figure.ends),
            figure
                .goal
                .map_or_else(String::new, |goal| format!(">= {goal:.0}")),
            figure
                .goal
                .map_or("", |goal| if rate >= goal { "yes" } else { "NO" })
                .to_owned(),
        ]);
    }
    println!("{table}");
}

fn main() {
    // `cargo bench` passes this; a test run over all targets doesn't and stays quick.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing measured; run `cargo bench --bench engine`");
        return;
    }
    let seconds = from_environment("APPORTION_BENCH_SECONDS", "1")[0] as u64;
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(seconds))
        .configure_from_args();
    let mut figures = Vec::new();
    // First, since memory is told only while the allocator has nothing to use again.
    recoveries(&mut criterion);
    submissions(&mut criterion);
    decisions(&mut criterion, &mut figures);
    criterion.final_summary();
    print_table(&figures);
}
