//! Durable submission over HTTP: single tasks and batches, one client and many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apportion::clock::Stopwatch;

use crate::daemon::{Client, Daemon, post_tasks};
use crate::floor::{self, Latencies};
use crate::report::{Figure, Goal};
use crate::{Run, bodies, processes};

/// What section 12 of the design asks of batches of 1,000, in tasks a second.
const TASKS_PER_SECOND: f64 = 50_000.0;

/// How many bodies are made ahead and sent in turn, so that making them takes nothing from the daemon's cores.
pub(crate) const N_BODIES: u64 = 64;

/// Measures and reports.
pub(crate) fn measure(run: &mut Run) {
    floor::measure(run);
    measure_http(run);
    for batch in [1, 1000] {
        for n_clients in [1, 64] {
            measure_one(run, batch, n_clients);
        }
    }
}

/// The floor of HTTP itself: the smallest request that there is, answered without the engine.
fn measure_http(run: &mut Run) {
    for n_clients in [1, 64] {
        run.tell(format!("HTTP alone, {n_clients} clients"));
        let scratch = run.scratch();
        let daemon = Daemon::start(&scratch, 1, "auto", run.options.log.as_ref());
        let url = format!("{}/healthz", daemon.url);
        let client = Client::new();
        let mut latencies = drive(&client, n_clients, run.span(), move |http, _| {
            let url = url.clone();
            async move {
                let response = http.get(url).send().await.expect("the daemon answers");
                response.bytes().await.expect("the answer can be read");
            }
        });
        run.report.add(
            Figure::new(
                "submit",
                format!("GET /healthz, {n_clients} clients"),
                latencies.rate(),
                "1/s",
            )
            .note("p50", latencies.percentile_millis(50), "ms")
            .note("p99", latencies.percentile_millis(99), "ms"),
        );
    }
}

/// Runs requests one after the other in each of `n_clients`, until the time is over.
pub(crate) fn drive<F, Fut>(
    client: &Client,
    n_clients: u32,
    span: Duration,
    request: F,
) -> Latencies
where
    F: Fn(reqwest::Client, u64) -> Fut + Clone + 'static,
    Fut: Future<Output = ()>,
{
    let number = Arc::new(AtomicU64::new(0));
    let since_start = Stopwatch::start();
    let work = async {
        let clients = (0..n_clients).map(|_| {
            let (http, number, request) =
                (client.http.clone(), Arc::clone(&number), request.clone());
            async move {
                let mut latencies = Latencies::default();
                while since_start.elapsed() < span {
                    let since = Stopwatch::start();
                    request(http.clone(), number.fetch_add(1, Ordering::Relaxed)).await;
                    latencies.add(since.elapsed());
                }
                latencies
            }
        });
        futures::future::join_all(clients).await
    };
    let each = client.runtime.block_on(work);
    let mut all = Latencies::default();
    each.into_iter().for_each(|latencies| all.join(latencies));
    all.total = since_start.elapsed();
    all
}

fn measure_one(run: &mut Run, batch: u32, n_clients: u32) {
    run.tell(format!("submission, {batch} a call, {n_clients} clients"));
    let scratch = run.scratch();
    let daemon = Daemon::start(&scratch, 1, "auto", run.options.log.as_ref());
    let client = Client::new();
    // The first task takes the only cpu for good, so whatever follows stays in its queue.
    client.submit(&daemon, bodies::single(0));
    client.wait_metric(
        &daemon,
        "apportion_decisions_total",
        1.0,
        Duration::from_millis(5),
        |_| {},
    );
    let bodies: Arc<Vec<bytes::Bytes>> =
        Arc::new((1..=N_BODIES).map(|place| body(place, batch)).collect());
    let processes = daemon.own_processes();
    let n_commits = client.metric(&daemon, "apportion_store_commit_seconds_count");
    let (cpu_before, own_cpu_before) = (
        processes::cpu_seconds(&processes),
        processes::own_cpu_seconds(),
    );
    let url: Arc<str> = Arc::from(daemon.url.as_str());
    let mut latencies = drive(&client, n_clients, run.span(), move |http, number| {
        let (url, bodies) = (Arc::clone(&url), Arc::clone(&bodies));
        async move {
            let body = bodies[(number % N_BODIES) as usize].clone();
            post_tasks(http, &url, body).await;
        }
    });
    let cpu = processes::cpu_seconds(&processes) - cpu_before;
    let own_cpu = processes::own_cpu_seconds() - own_cpu_before;
    let n_commits = client.metric(&daemon, "apportion_store_commit_seconds_count") - n_commits;
    let n_tasks = latencies.len() as f64 * f64::from(batch);
    let floor = if batch == 1 {
        floor::COMMITS
    } else {
        floor::ROWS
    };
    let floor_rate = run
        .report
        .find(floor)
        .expect("the floor was measured before");
    let mut figure = Figure::new(
        "submit",
        format!("{batch} a call, {n_clients} clients"),
        latencies.rate() * f64::from(batch),
        "tasks/s",
    )
    .beside(floor_rate, floor);
    if batch > 1 {
        figure = figure.goal(Goal::AtLeast(TASKS_PER_SECOND));
    }
    run.report.add(
        figure
            .note("requests", latencies.rate(), "1/s")
            .note("p50", latencies.percentile_millis(50), "ms")
            .note("p99", latencies.percentile_millis(99), "ms")
            .note("commits/request", n_commits / latencies.len() as f64, "")
            .note("daemon cpu", cpu / n_tasks * 1e6, "us/task")
            .note("client cpu", own_cpu / n_tasks * 1e6, "us/task"),
    );
}

/// The body of a call with so many tasks.
pub(crate) fn body(place: u64, batch: u32) -> bytes::Bytes {
    let first = place * u64::from(batch);
    if batch == 1 {
        bodies::single(first)
    } else {
        bodies::batch(first, batch)
    }
    .into()
}
