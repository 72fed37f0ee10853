//! What the local backend costs: runs `true` many times in a bare loop and through the backend, in turns,
//! and prints both times and their ratio.
//!
//! `cargo bench --bench local [-- [COUNT] [auto|cgroup|watch|off] [AT-ONCE]]`

use std::collections::BTreeMap;
use std::error::Error;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use apportion::backend::Backend as _;
use apportion::backend::local::{AGENT, LocalBackend, LocalOptions, keeper};
use apportion::clock::Stopwatch;
use apportion::config::{LimitMode, LocalConfig};
use apportion::engine::decision::Launch;
use apportion::engine::event::OfferId;
use apportion::engine::spec::{Run, TaskSpec};
use apportion::engine::{AttemptEnd, AttemptId, Decision, Event, Submission, TaskId, Time};
use apportion_policies::Amount;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// Rounds of each kind; the quickest counts, being the least disturbed.
const N_ROUNDS: u64 = 5;

fn main() -> ExitCode {
    // The backend starts this same program as its keeper.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|command| command == "keeper")
    {
        return keeper::main();
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Box<dyn Error>> {
    // `cargo bench` adds an option of its own.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let count: u64 = args.first().map_or(Ok(10_000), |count| count.parse())?;
    let limits = match args.get(1).map_or("auto", String::as_str) {
        "auto" => LimitMode::Auto,
        "cgroup" => LimitMode::Cgroup,
        "watch" => LimitMode::Watch,
        "off" => LimitMode::Off,
        other => return Err(format!("'{other}' is none of auto, cgroup, watch, off").into()),
    };
    let n_cpus = std::thread::available_parallelism()?.get() as u64;
    let at_once: u64 = args.get(2).map_or(Ok(n_cpus), |count| count.parse())?;
    let per_round = (count / N_ROUNDS).max(1);
    let dir = tempfile::tempdir()?;
    let mut machine = Machine::start(dir.path(), limits, at_once)?;
    let (mut bare, mut backend) = (Duration::MAX, Duration::MAX);
    let (before, mut bare_cpu) = (cpu_time()?, Duration::ZERO);
    for round in 0..N_ROUNDS {
        let before = cpu_time()?;
        bare = bare.min(bare_loop(per_round)?);
        bare_cpu += cpu_time()?.saturating_sub(before);
        backend = backend.min(machine.run_all(round * per_round, per_round)?);
    }
    // The keeper's time, and that of all that it waited for, counts once it has ended.
    machine.backend.shut_down();
    let backend_cpu = cpu_time()?.saturating_sub(before + bare_cpu);
    let micros = |span: Duration, count: u64| span.as_secs_f64() * 1e6 / count as f64;
    let all = per_round * N_ROUNDS;
    println!(
        "{per_round} x true, best of {N_ROUNDS}; limits {limits:?}, {at_once} at once: microseconds a process"
    );
    println!("            wall      cpu");
    println!(
        "bare loop {:7.1}  {:7.1}",
        micros(bare, per_round),
        micros(bare_cpu, all)
    );
    println!(
        "backend   {:7.1}  {:7.1}",
        micros(backend, per_round),
        micros(backend_cpu, all)
    );
    let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
    println!(
        "ratio     {:7.2}  {:7.2}",
        ratio(backend, bare),
        ratio(backend_cpu, bare_cpu)
    );
    Ok(())
}

/// User and system time of this process, and of the children that have ended.
fn cpu_time() -> Result<Duration, Box<dyn Error>> {
    let mut sum = Duration::ZERO;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who)?;
        for time in [usage.user_time(), usage.system_time()] {
            sum += Duration::from_micros(u64::try_from(time.num_microseconds())?);
        }
    }
    Ok(sum)
}

/// The floor: one after the other, nothing kept.
fn bare_loop(count: u64) -> Result<Duration, Box<dyn Error>> {
    let watch = Stopwatch::start();
    for _ in 0..count {
        Command::new("true").spawn()?.wait()?;
    }
    Ok(watch.elapsed())
}

/// A backend, with this program in the place of the engine.
struct Machine {
    backend: LocalBackend,
    events: Receiver<Event>,
    offers: Vec<OfferId>,
    n_free: u64,
}

impl Machine {
    fn start(
        dir: &std::path::Path,
        limits: LimitMode,
        n_cpus: u64,
    ) -> Result<Self, Box<dyn Error>> {
        let amount = Amount::from_units(n_cpus).ok_or("too many at once")?;
        let config = LocalConfig {
            resources: [("cpus".into(), amount)].into(),
            attributes: BTreeMap::new(),
            limits,
            python: apportion::config::PythonConfig::default(),
            containments: apportion::config::Containments::default(),
        };
        let (sender, events) = channel();
        let options = LocalOptions::new(dir.join("tasks"));
        let mut backend = LocalBackend::start(&config, &options, move |events| {
            events.into_iter().all(|event| sender.send(event).is_ok())
        })?;
        backend.reconcile(Vec::new());
        Ok(Self {
            backend,
            events,
            offers: Vec::new(),
            n_free: 0,
        })
    }

    /// Runs so many tasks, each launch answering an offer.
    fn run_all(&mut self, first: u64, count: u64) -> Result<Duration, Box<dyn Error>> {
        let one = Amount::from_units(1).ok_or("one is an amount")?;
        let watch = Stopwatch::start();
        let (mut n_launched, mut n_ended) = (0, 0);
        while n_ended < count {
            let n_new = self.n_free.min(count - n_launched);
            if n_new > 0 {
                let launches = (0..n_new)
                    .map(|i| launch(first + n_launched + i + 1, one))
                    .collect();
                self.n_free = 0;
                self.accept(launches)?;
                n_launched += n_new;
            }
            let mut next = Some(self.events.recv()?);
            while let Some(event) = next {
                n_ended += self.take_in(event)?;
                next = self.events.try_recv().ok();
            }
        }
        Ok(watch.elapsed())
    }

    fn accept(&mut self, launches: Vec<Launch>) -> Result<(), Box<dyn Error>> {
        let offers = std::mem::take(&mut self.offers);
        self.backend.act(Decision::Accept {
            agent: AGENT.into(),
            offers,
            launches,
        });
        for event in self.backend.leftovers() {
            self.take_in(event)?;
        }
        Ok(())
    }

    /// How many attempts have ended by that.
    fn take_in(&mut self, event: Event) -> Result<u64, Box<dyn Error>> {
        match event {
            Event::OfferReceived { offer, free, .. } => {
                self.offers.push(offer);
                self.n_free += free.get("cpus").map_or(0, |cpus| cpus.milli() / 1000);
                Ok(0)
            }
            Event::AttemptEnded {
                end: AttemptEnd::Exited { code: 0 },
                ..
            } => Ok(1),
            Event::AttemptEnded { end, .. } => Err(format!("{end:?}").into()),
            Event::AgentSeen { .. }
            | Event::AgentLost { .. }
            | Event::OfferRescinded { .. }
            | Event::OffersForgotten
            | Event::BackendNoted { .. }
            | Event::ReceiptAsked { .. }
            | Event::AttemptStarted { .. } => Ok(0),
        }
    }
}

fn launch(task: u64, cpus: Amount) -> Launch {
    let spec = TaskSpec {
        queue: "default".into(),
        name: "".into(),
        key: None,
        inbox: None,
        demand: Arc::new([("cpus".into(), cpus)].into()),
        run: Run::Argv(["true".into()].into()),
        env: BTreeMap::new(),
        priority: 0,
        retries: 0,
        timeout: None,
        kill_grace: None,
        constraints: Arc::default(),
        array: None,
    };
    let submission = Submission {
        first: TaskId(task),
        spec,
        after: Vec::new(),
        digest: [0; 16],
        submitted_at: Time(0),
    };
    Launch {
        attempt: AttemptId {
            task: TaskId(task),
            number: 1,
        },
        submission: Arc::new(submission),
    }
}
