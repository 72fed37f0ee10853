//! Explanations: how many of waiting tasks are answered in a second while others start and end, and whether that
//! slows those.

use std::time::Duration;

use apportion::clock::Stopwatch;

use crate::daemon::{Client, Daemon};
use crate::floor::Latencies;
use crate::report::{Figure, Goal};
use crate::{Run, bodies};

/// So many a second must not slow decisions.
const PER_SECOND: u32 = 1000;
/// How much they may: decisions take at most so many times as long.
const RATIO_MAX: f64 = 1.05;
/// How many clients ask.
const N_CLIENTS: u32 = 8;
/// How many processes run side by side.
const SIDE_BY_SIDE: u32 = 8;
/// How many tasks are there, of which some run while others are explained.
const N_TASKS: u32 = 500_000;

const DECISIONS: &str = "apportion_decisions_total";

/// What one stretch of time brought.
struct Stretch {
    /// Tasks that started, in a second.
    decisions: f64,
    asked: Latencies,
}

/// Measures and reports.
pub(crate) fn measure(run: &mut Run) {
    let scratch = run.scratch();
    let daemon = Daemon::start(&scratch, SIDE_BY_SIDE, "off", run.options.log.as_ref());
    let client = Client::new();
    client.submit(&daemon, bodies::array_of_true(N_TASKS));
    client.wait_metric(&daemon, DECISIONS, 100.0, Duration::from_millis(20), |_| {});
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 1..=run.options.rounds {
        run.tell(format!("tasks, nobody asks, round {round}"));
        without.push(stretch(&client, &daemon, run.span(), Some(0)));
        run.tell(format!(
            "tasks, {PER_SECOND} explanations a second, round {round}"
        ));
        with.push(stretch(&client, &daemon, run.span(), Some(PER_SECOND)));
    }
    run.tell("as many explanations as there may be");
    let mut most = stretch(&client, &daemon, run.span(), None);
    let median = |stretches: &[Stretch]| {
        let mut rates: Vec<f64> = stretches.iter().map(|it| it.decisions).collect();
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let (without, slowed) = (median(&without), median(&with));
    let last = with.last_mut().expect("there was a round");
    let asked = last.asked.rate();
    run.report.add(
        Figure::new(
            "explain",
            format!("time for a task, {PER_SECOND} explanations a second"),
            1e6 / slowed,
            "us",
        )
        .beside(1e6 / without, "without them")
        .goal(Goal::RatioAtMost(RATIO_MAX))
        .note("answered", asked, "1/s")
        .note("p50", last.asked.percentile_millis(50), "ms")
        .note("p99", last.asked.percentile_millis(99), "ms"),
    );
    run.report.add(
        Figure::new(
            "explain",
            format!("explanations, {N_CLIENTS} clients, as many as may be"),
            most.asked.rate(),
            "1/s",
        )
        .goal(Goal::AtLeast(f64::from(PER_SECOND)))
        .note("p50", most.asked.percentile_millis(50), "ms")
        .note("p99", most.asked.percentile_millis(99), "ms")
        .note("tasks meanwhile", most.decisions, "1/s"),
    );
}

/// Asks for so many explanations a second, or for as many as there may be.
fn stretch(client: &Client, daemon: &Daemon, span: Duration, per_second: Option<u32>) -> Stretch {
    let before = client.metric(daemon, DECISIONS);
    let since = Stopwatch::start();
    let asked = if per_second == Some(0) {
        std::thread::sleep(span);
        Latencies::default()
    } else {
        ask(client, daemon, span, per_second)
    };
    let decisions = client.metric(daemon, DECISIONS) - before;
    Stretch {
        decisions: decisions / since.elapsed().as_secs_f64(),
        asked,
    }
}

fn ask(client: &Client, daemon: &Daemon, span: Duration, per_second: Option<u32>) -> Latencies {
    let since_start = Stopwatch::start();
    let work = (0..N_CLIENTS).map(|place| {
        let (http, url) = (client.http.clone(), daemon.url.clone());
        async move {
            let mut latencies = Latencies::default();
            let pause = per_second.map(|rate| Duration::from_secs(1) * N_CLIENTS / rate);
            let mut pace = pause.map(tokio::time::interval);
            let mut random = u64::from(place) + 1;
            while since_start.elapsed() < span {
                if let Some(pace) = &mut pace {
                    pace.tick().await;
                }
                // Knuth's constants: any spread will do. The second half still waits.
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let half = u64::from(N_TASKS / 2);
                let id = half + (random >> 33) % half;
                let since = Stopwatch::start();
                let response = http
                    .get(format!("{url}/v1/tasks/{id}/explain"))
                    .send()
                    .await
                    .expect("the daemon answers");
                let text = response.text().await.expect("the answer is text");
                assert!(text.contains("\"queued\""), "{text}");
                latencies.add(since.elapsed());
            }
            latencies
        }
    });
    let each = client.runtime.block_on(futures::future::join_all(work));
    let mut all = Latencies::default();
    each.into_iter().for_each(|latencies| all.join(latencies));
    all.total = since_start.elapsed();
    all
}
