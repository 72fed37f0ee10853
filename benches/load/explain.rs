//! Explanations: what 1,000 a second cost the tasks that start and end meanwhile.
//!
//! Three ways in turns: nobody asks; somebody asks for explanations; somebody asks as often for `/healthz`, which the
//! engine knows nothing of. Whoever asks takes processor time, its own and the server's, and on few cores all else
//! waits for that; what explanations themselves cost is what they cost more than `/healthz`. And two loads: a third of
//! the tasks that the daemon could run, where a decision that is held up would wait although there are cores left; and
//! as many as it can.

use std::path::PathBuf;
use std::time::Duration;

use apportion::clock::Stopwatch;
use rusqlite::{Connection, OpenFlags};

use crate::daemon::{Client, Daemon, Extra, post_tasks};
use crate::floor::Latencies;
use crate::report::{Figure, Goal, spread};
use crate::{Run, bodies, processes};

/// So many a second must not slow decisions.
const PER_SECOND: u32 = 1000;
/// How much they may: decisions take at most so many times as long.
const RATIO_MAX: f64 = 1.05;
/// How many clients ask.
const N_CLIENTS: u32 = 8;
/// How many processes run side by side.
const SIDE_BY_SIDE: u32 = 8;
/// How many tasks wait to be explained, in a queue of their own with room for one.
const N_HELD: u32 = 250_000;
/// How many find out how many the daemon can run.
const N_TRIED: u32 = 4000;
/// Of the tasks that the daemon can run in a second, one in so many is submitted.
const PART: f64 = 3.0;
/// Each round is made of so many shorter ones, so that what else the machine does falls on all ways alike.
const PIECES: u32 = 3;
/// How often in a second they are.
const BATCHES_PER_SECOND: u32 = 50;

const DECISIONS: &str = "apportion_decisions_total";
const MATCHING_SUM: &str = "apportion_decision_seconds_sum";
const MATCHING_BUCKET: &str = "apportion_decision_seconds_bucket{le=\"";

const HELD: &str = "[queues.held]\nmax = { cpus = 1 }\n";

/// What somebody asks for meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    Explanations,
    Health,
}

const WAYS: [Asked; 3] = [Asked::Nothing, Asked::Explanations, Asked::Health];

/// How tasks come.
#[derive(Clone, Copy, Debug)]
enum Load {
    /// So many a second.
    Paced(f64),
    /// More than there is room for.
    Full,
}

/// What one stretch of time brought.
#[derive(Debug, Default)]
struct Stretch {
    /// Tasks that were chosen, in a second.
    decisions: f64,
    /// What a decision took the engine, in microseconds.
    decision_micros: f64,
    /// In how many microseconds 99 of 100 batches were matched, as far as the buckets tell.
    matching_p99_micros: f64,
    /// Processor time of the engine's thread for each task, in microseconds; that for explanations is in it.
    engine_cpu_micros: f64,
    waits: Waits,
    /// Until a submission was answered, so durable, in milliseconds: for half of them, and for 99 of 100.
    submitted_p50_millis: f64,
    submitted_p99_millis: f64,
    /// Processor time of this process for each second, in seconds.
    client_cpu: f64,
    answers: Latencies,
}

/// How long tasks waited, in milliseconds, as the store has it: to the whole millisecond.
#[derive(Clone, Copy, Debug, Default)]
struct Waits {
    /// From submission to launch, on average and for 99 of 100.
    launch_mean: f64,
    launch_p99: f64,
    /// From submission to end.
    end_mean: f64,
    end_p99: f64,
}

/// A figure: what it is, its unit, and where it stands.
type Column = (&'static str, &'static str, fn(&Stretch) -> f64);

const PACED: [Column; 10] = [
    ("time for a task", "us", |it| 1e6 / it.decisions),
    ("a decision", "us", |it| it.decision_micros),
    ("a batch of decisions, p99", "us", |it| {
        it.matching_p99_micros
    }),
    ("engine's thread", "us/task", |it| it.engine_cpu_micros),
    ("submission to launch, mean", "ms", |it| {
        it.waits.launch_mean
    }),
    ("submission to launch, p99", "ms", |it| it.waits.launch_p99),
    ("submission to end, mean", "ms", |it| it.waits.end_mean),
    ("submission to end, p99", "ms", |it| it.waits.end_p99),
    ("submission answered, p50", "ms", |it| {
        it.submitted_p50_millis
    }),
    ("submission answered, p99", "ms", |it| {
        it.submitted_p99_millis
    }),
];

const FULL: [Column; 3] = [
    ("time for a task", "us", |it| 1e6 / it.decisions),
    ("a decision", "us", |it| it.decision_micros),
    ("engine's thread", "us/task", |it| it.engine_cpu_micros),
];

/// Measures and reports.
pub(crate) fn measure(run: &mut Run) {
    let subject = Subject::start(run);
    let most = subject.most();
    for load in [Load::Paced(most / PART), Load::Full] {
        if matches!(load, Load::Full) {
            let body = bodies::array_of_true(N_HELD);
            subject.client.submit(&subject.daemon, body);
        }
        let mut stretches: [Vec<Stretch>; 3] = Default::default();
        let span = run.span() / PIECES;
        for round in 1..=run.options.rounds * PIECES {
            for (asked, stretches) in WAYS.into_iter().zip(&mut stretches) {
                run.tell(format!("{load:?}, asked for {asked:?}, round {round}"));
                stretches.push(subject.stretch(load, asked, Some(PER_SECOND), span));
            }
        }
        report(run, load, &stretches);
    }
    run.tell("as many explanations as there may be");
    let mut most = subject.stretch(Load::Full, Asked::Explanations, None, run.span());
    run.report.add(
        Figure::new(
            "explain",
            format!("explanations, {N_CLIENTS} clients, as many as may be"),
            most.answers.rate(),
            "1/s",
        )
        .goal(Goal::AtLeast(f64::from(PER_SECOND)))
        .note("p50", most.answers.percentile_millis(50), "ms")
        .note("p99", most.answers.percentile_millis(99), "ms")
        .note("tasks meanwhile", most.decisions, "1/s"),
    );
}

/// The first two figures of a load, the rate and the cost of decisions, are the verdict: beside nobody who asks where
/// there are cores left, and beside others who ask as often where there are none.
fn report(run: &mut Run, load: Load, stretches: &[Vec<Stretch>; 3]) {
    let [nothing, explanations, health] = stretches;
    let (name, columns) = match load {
        Load::Paced(rate) => (format!("{rate:.0} tasks/s"), &PACED[..]),
        Load::Full => ("all cores busy".to_owned(), &FULL[..]),
    };
    for (place, (what, unit, of)) in columns.iter().enumerate() {
        let [without, with, control] = [nothing, explanations, health].map(|it| spread(it, *of));
        let figure = Figure::new("explain", format!("{name}: {what}"), with[1], unit);
        let (mut figure, other) = match load {
            Load::Paced(_) => (figure.beside(without[1], "nobody asks"), control),
            Load::Full => (figure.beside(control[1], "asked for /healthz"), without),
        };
        if place == 0 {
            let asked = spread(explanations, |it| it.answers.rate());
            let client = spread(explanations, |it| it.client_cpu);
            figure =
                figure
                    .note("explanations", asked[1], "1/s")
                    .note("client cpu", client[1], "s/s");
        }
        if place < 2 {
            figure = figure.goal(Goal::RatioAtMost(RATIO_MAX));
        }
        let other_name = match load {
            Load::Paced(_) => "asked for /healthz",
            Load::Full => "nobody asks",
        };
        let figure = figure
            .note("least", with[0], "")
            .note("most", with[2], "")
            .note(other_name, other[1], "");
        run.report.add(figure);
    }
}

/// The daemon with those who ask it.
struct Subject {
    client: Client,
    daemon: Daemon,
    database: PathBuf,
}

impl Subject {
    /// With what is to be explained.
    fn start(run: &mut Run) -> Self {
        let scratch = run.scratch();
        let extra = Extra {
            sections: HELD,
            ..Extra::default()
        };
        // One more for the first of those that are held.
        let cpus = SIDE_BY_SIDE + 1;
        let daemon = Daemon::start_with(&scratch, cpus, "off", extra, run.options.log.as_ref());
        let client = Client::new();
        client.submit(&daemon, bodies::array_in("held", N_HELD));
        client.wait_metric(&daemon, DECISIONS, 1.0, Duration::from_millis(20), |_| {});
        Self {
            client,
            daemon,
            database: scratch.join("data/apportion.db"),
        }
    }

    /// How many tasks a second the daemon runs if nobody asks.
    fn most(&self) -> f64 {
        let since = Stopwatch::start();
        self.client
            .submit(&self.daemon, bodies::array_of_true(N_TRIED));
        let all = f64::from(N_TRIED) + 1.0;
        self.client.wait_metric(
            &self.daemon,
            DECISIONS,
            all,
            Duration::from_millis(20),
            |_| {},
        );
        f64::from(N_TRIED) / since.elapsed().as_secs_f64()
    }

    /// Puts a load on the daemon while somebody asks so often, or as often as may be.
    fn stretch(
        &self,
        load: Load,
        asked: Asked,
        per_second: Option<u32>,
        span: Duration,
    ) -> Stretch {
        let before = self.counted();
        let engine_before = processes::thread_seconds(self.daemon.pid(), "driver");
        let own_before = processes::own_cpu_seconds();
        let since = Stopwatch::start();
        let (mut submitted, answers) = self.client.runtime.block_on(async {
            futures::future::join(
                self.submit_paced(load, span),
                self.ask(asked, per_second, span),
            )
            .await
        });
        let seconds = since.elapsed().as_secs_f64();
        let after = self.counted();
        let engine = processes::thread_seconds(self.daemon.pid(), "driver") - engine_before;
        let n_decided = after.n_decided - before.n_decided;
        let waits = match load {
            Load::Paced(_) => self.waits(submitted.len()),
            Load::Full => Waits::default(),
        };
        Stretch {
            decisions: n_decided / seconds,
            decision_micros: (after.matching_seconds - before.matching_seconds) / n_decided * 1e6,
            matching_p99_micros: p99(&before.buckets, &after.buckets) * 1e6,
            engine_cpu_micros: engine / n_decided * 1e6,
            waits,
            submitted_p50_millis: submitted.percentile_millis(50),
            submitted_p99_millis: submitted.percentile_millis(99),
            client_cpu: (processes::own_cpu_seconds() - own_before) / seconds,
            answers,
        }
    }

    /// Submits as many tasks a second as the load says.
    async fn submit_paced(&self, load: Load, span: Duration) -> Latencies {
        let mut latencies = Latencies::default();
        let Load::Paced(rate) = load else {
            tokio::time::sleep(span).await;
            return latencies;
        };
        let count = (rate / f64::from(BATCHES_PER_SECOND)).ceil() as u32;
        let body = bytes::Bytes::from(bodies::array_of_true(count));
        let mut pace = tokio::time::interval(Duration::from_secs_f64(f64::from(count) / rate));
        let since_start = Stopwatch::start();
        while since_start.elapsed() < span {
            pace.tick().await;
            let since = Stopwatch::start();
            post_tasks(self.client.http.clone(), &self.daemon.url, body.clone()).await;
            latencies.add(since.elapsed());
        }
        latencies
    }

    async fn ask(&self, asked: Asked, per_second: Option<u32>, span: Duration) -> Latencies {
        let mut all = Latencies::default();
        if asked == Asked::Nothing {
            return all;
        }
        let since_start = Stopwatch::start();
        let each = (0..N_CLIENTS).map(|place| async move {
            let mut latencies = Latencies::default();
            let pause = per_second.map(|rate| Duration::from_secs(1) * N_CLIENTS / rate);
            let mut pace = pause.map(tokio::time::interval);
            let mut random = u64::from(place) + 1;
            while since_start.elapsed() < span {
                if let Some(pace) = &mut pace {
                    pace.tick().await;
                }
                // Knuth's constants: any spread will do.
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let since = Stopwatch::start();
                self.ask_once(asked, random >> 33).await;
                latencies.add(since.elapsed());
            }
            latencies
        });
        for latencies in futures::future::join_all(each).await {
            all.join(latencies);
        }
        all.total = since_start.elapsed();
        all
    }

    async fn ask_once(&self, asked: Asked, random: u64) {
        let url = &self.daemon.url;
        let url = match asked {
            // The first of them runs.
            Asked::Explanations => {
                let id = 2 + random % u64::from(N_HELD - 1);
                format!("{url}/v1/tasks/{id}/explain")
            }
            Asked::Health | Asked::Nothing => format!("{url}/healthz"),
        };
        let response = self.client.http.get(url).send().await;
        let text = response.expect("the daemon answers").text().await;
        let text = text.expect("the answer is text");
        assert!(
            asked != Asked::Explanations || text.contains("\"queued\""),
            "{text}"
        );
    }

    fn counted(&self) -> Counted {
        Counted::of(&self.client.get(&self.daemon, "/metrics"))
    }

    /// How long the tasks of the last so many submissions waited, once all of them have ended.
    fn waits(&self, n_submissions: usize) -> Waits {
        let database = Connection::open_with_flags(
            &self.database,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .expect("the database can be read");
        let mut query = database
            .prepare(
                "select attempts.launched_at - last.submitted_at, attempts.ended_at - last.submitted_at
                 from (select first, count, submitted_at from submissions order by first desc limit ?1) last
                 left join attempts on attempts.task between last.first and last.first + last.count - 1",
            )
            .expect("the query is right");
        loop {
            let rows = query.query_map([n_submissions as i64], |row| {
                Ok(row.get::<_, Option<f64>>(0)?.zip(row.get(1)?))
            });
            let rows = rows.expect("the database can be read");
            let ended: Option<Vec<(f64, f64)>> = rows.map(|row| row.expect("a row")).collect();
            let Some(ended) = ended else {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            };
            let (to_launch, to_end): (Vec<f64>, Vec<f64>) = ended.into_iter().unzip();
            let (launch_mean, launch_p99) = mean_and_p99(to_launch);
            let (end_mean, end_p99) = mean_and_p99(to_end);
            return Waits {
                launch_mean,
                launch_p99,
                end_mean,
                end_p99,
            };
        }
    }
}

fn mean_and_p99(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (mean, values[values.len() * 99 / 100])
}

/// What the daemon has counted so far.
#[derive(Debug, Default)]
struct Counted {
    n_decided: f64,
    matching_seconds: f64,
    /// Upper bounds in seconds, with how many batches took no longer.
    buckets: Vec<(f64, f64)>,
}

impl Counted {
    /// From the page of metrics.
    fn of(page: &str) -> Self {
        let mut counted = Self::default();
        for line in page.lines() {
            let Some((name, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let number = || value.parse::<f64>().expect("a metric is a number");
            if name.starts_with(DECISIONS) {
                counted.n_decided += number();
            } else if name == MATCHING_SUM {
                counted.matching_seconds = number();
            } else if let Some(label) = name.strip_prefix(MATCHING_BUCKET) {
                let bound = label.trim_end_matches("\"}").parse();
                counted
                    .buckets
                    .push((bound.expect("a bound is a number"), number()));
            }
        }
        counted
    }
}

/// Up to where 99 of 100 values are that were counted in between, evenly spread within each bucket.
fn p99(before: &[(f64, f64)], after: &[(f64, f64)]) -> f64 {
    let earlier = before.iter().map(|(_, count)| *count);
    let counts: Vec<(f64, f64)> = after
        .iter()
        .zip(earlier.chain(std::iter::repeat(0.0)))
        .map(|((bound, count), earlier)| (*bound, count - earlier))
        .collect();
    let wanted = counts.last().map_or(0.0, |(_, all)| all * 0.99);
    let (mut low, mut below) = (0.0, 0.0);
    for (bound, count) in counts {
        if count >= wanted && count > below {
            return low + (bound - low) * (wanted - below) / (count - below);
        }
        (low, below) = (bound, count);
    }
    low
}
