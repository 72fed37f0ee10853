//! What it costs to watch the daemon: the same load unwatched, scraped each second, and with everything on.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use apportion::clock::Stopwatch;

use crate::daemon::{Client, Daemon, Extra, post_tasks};
use crate::report::{Figure, Goal, spread};
use crate::submit::{self, N_BODIES};
use crate::{Run, bodies, processes};

/// What watching may cost: so many times the same without it.
const RATIO_MAX: f64 = 1.05;
/// How many tasks a call of the submissions has.
const BATCH: u32 = 1000;
/// How many clients submit.
const N_CLIENTS: u32 = 4;
/// Each round is made of so many shorter ones, so that what else the machine does falls on all ways alike.
const PIECES: u32 = 3;
/// Of the processes that `spawn` runs, one in so many is run in each of them.
const SPAWN_PART: u32 = 8;
/// How many processes run side by side.
const SIDE_BY_SIDE: u32 = 8;

/// How a daemon is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    /// Nobody scrapes, and only errors are logged. It counts all the same.
    Not,
    /// As it is by default, and scraped each second.
    Scraped,
    /// That, and logs in JSON with each decision.
    Logged,
    /// That, and a trace of each task.
    Wholly,
}

const WAYS: [Watched; 4] = [
    Watched::Not,
    Watched::Scraped,
    Watched::Logged,
    Watched::Wholly,
];

/// The loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    Submissions,
    Processes,
}

/// What a task took in one round.
#[derive(Clone, Copy, Debug)]
struct Taken {
    wall_micros: f64,
    cpu_micros: f64,
}

/// Measures and reports.
pub(crate) fn measure(run: &mut Run) {
    let sink = Sink::start();
    for load in [Load::Submissions, Load::Processes] {
        let subjects = WAYS.map(|watched| Subject::start(run, load, watched, &sink));
        let mut taken: [Vec<Taken>; 4] = Default::default();
        for round in 0..run.options.rounds * PIECES {
            // Whoever comes after whom changes from round to round.
            for place in 0..WAYS.len() {
                let place = (place + round as usize) % WAYS.len();
                let subject = &subjects[place];
                run.tell(format!(
                    "{load:?}, watched: {:?}, round {round}",
                    subject.watched
                ));
                taken[place].push(subject.once(run, load));
            }
        }
        report(run, load, &taken);
    }
}

fn report(run: &mut Run, load: Load, taken: &[Vec<Taken>; 4]) {
    let load = match load {
        Load::Submissions => format!("{BATCH} tasks a call, {N_CLIENTS} clients"),
        Load::Processes => format!("true, {SIDE_BY_SIDE} side by side"),
    };
    let [unwatched, watched @ ..] = taken;
    let [_, floor, _] = spread(unwatched, |it| it.wall_micros);
    let [_, floor_cpu, _] = spread(unwatched, |it| it.cpu_micros);
    for (way, name) in watched
        .iter()
        .zip(["scraped", "and decisions logged", "and traced"])
    {
        let [least, wall, most] = spread(way, |it| it.wall_micros);
        let [_, cpu, _] = spread(way, |it| it.cpu_micros);
        run.report.add(
            Figure::new("observe", format!("{load}, {name}"), wall, "us/task")
                .beside(floor, "unwatched")
                .goal(Goal::RatioAtMost(RATIO_MAX))
                .note("least", least, "")
                .note("most", most, "")
                .note("daemon cpu", cpu, "us/task")
                .note("unwatched", floor_cpu, "us/task"),
        );
    }
}

/// A daemon that is watched in one way. It is only scraped while a load is on it.
struct Subject {
    daemon: Daemon,
    watched: Watched,
    own: Vec<u32>,
}

impl Subject {
    fn start(run: &mut Run, load: Load, watched: Watched, sink: &Sink) -> Self {
        let scratch = run.scratch();
        let traces = format!("[traces]\notlp = \"{}\"\n", sink.url);
        let extra = match watched {
            Watched::Not => Extra {
                arguments: &["--log-level", "error"],
                ..Extra::default()
            },
            Watched::Scraped => Extra::default(),
            Watched::Logged | Watched::Wholly => Extra {
                queue: "decision_log = true\n",
                sections: if watched == Watched::Wholly {
                    &traces
                } else {
                    ""
                },
                arguments: &["--log-format", "json"],
            },
        };
        let cpus = match load {
            Load::Submissions => 1,
            Load::Processes => SIDE_BY_SIDE,
        };
        let daemon = Daemon::start_with(&scratch, cpus, "off", extra, run.options.log.as_ref());
        Self {
            own: daemon.own_processes(),
            daemon,
            watched,
        }
    }

    /// Puts the load on it.
    fn once(&self, run: &Run, load: Load) -> Taken {
        let scraper = (self.watched != Watched::Not).then(|| Scraper::start(&self.daemon));
        let cpu_before = processes::cpu_seconds(&self.own);
        let (n_tasks, wall) = match load {
            Load::Submissions => submissions(&self.daemon, run.span() / PIECES),
            Load::Processes => processes_of(&self.daemon, run.options.n_spawn / SPAWN_PART),
        };
        let cpu = processes::cpu_seconds(&self.own) - cpu_before;
        drop(scraper);
        Taken {
            wall_micros: wall.as_secs_f64() / n_tasks * 1e6,
            cpu_micros: cpu / n_tasks * 1e6,
        }
    }
}

/// Submits for a while.
fn submissions(daemon: &Daemon, span: Duration) -> (f64, Duration) {
    let client = Client::new();
    let bodies: Vec<bytes::Bytes> = (0..N_BODIES)
        .map(|place| submit::body(place, BATCH))
        .collect();
    let url = daemon.url.clone();
    let latencies = submit::drive(&client, N_CLIENTS, span, move |http, number| {
        let (url, body) = (url.clone(), bodies[(number % N_BODIES) as usize].clone());
        async move { post_tasks(http, &url, body).await }
    });
    let n_tasks = latencies.len() as f64 * f64::from(BATCH);
    (n_tasks, latencies.total)
}

/// Runs processes, from their submission to the end of the last one.
fn processes_of(daemon: &Daemon, n: u32) -> (f64, Duration) {
    let client = Client::new();
    let since = Stopwatch::start();
    client.submit(daemon, bodies::array_of_true(n));
    client.wait_ended(daemon, |_| {});
    (f64::from(n), since.elapsed())
}

/// Asks for the page of metrics once a second, until it is dropped.
struct Scraper {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Scraper {
    fn start(daemon: &Daemon) -> Self {
        let url = format!("{}/metrics", daemon.url);
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            let client = Client::new();
            let pause = Duration::from_secs(1);
            // Once at the beginning, for a load may be over in a second.
            loop {
                client.runtime.block_on(async {
                    let page = client.http.get(&url).send().await;
                    let page = page.expect("the daemon answers").text().await;
                    assert!(
                        page.expect("the page is text")
                            .contains("apportion_build_info")
                    );
                });
                if stopped.recv_timeout(pause) != Err(mpsc::RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the daemon was scraped");
        }
    }
}

/// Takes traces and forgets them.
struct Sink {
    url: String,
    _runtime: tokio::runtime::Runtime,
}

impl Sink {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let take = |body: bytes::Bytes| async move {
            drop(body);
        };
        let router = axum::Router::new().route("/v1/traces", axum::routing::post(take));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            url: format!("http://{address}/v1/traces"),
            _runtime: runtime,
        }
    }
}
