//! The local backend with a real keeper and real processes.

mod ending;
mod keeper;
mod life;
mod limits;
mod starting;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use apportion::backend::local::{AGENT, LocalBackend, LocalError, LocalOptions, layout};
use apportion::backend::{Backend, LogStream};
use apportion::clock::Stopwatch;
use apportion::config::{LimitMode, LocalConfig};
use apportion::engine::decision::Launch;
use apportion::engine::event::OfferId;
use apportion::engine::outcome::Value;
use apportion::engine::spec::{Run, TaskSpec};
use apportion::engine::{AttemptEnd, AttemptId, Decision, Event, Submission, TaskId, Time, Usage};
use apportion_policies::Amount;

use crate::support::wait::for_true;

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// The program under test.
const APPORTION: &str = env!("CARGO_BIN_EXE_apportion");

/// A grace that no test waits for.
const LONG: Duration = Duration::from_secs(600);

/// The modes that need nothing special of the machine.
const MODES: [LimitMode; 3] = [LimitMode::Auto, LimitMode::Watch, LimitMode::Off];

/// How an attempt ended.
#[derive(Debug)]
struct End {
    end: AttemptEnd,
    usage: Usage,
    value: Value,
}

impl End {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.value.bytes).into_owned()
    }
}

/// A backend, with this program in the place of the engine.
struct Machine {
    backend: LocalBackend,
    events: Receiver<Event>,
    dir: tempfile::TempDir,
    offers: Vec<OfferId>,
    /// What is free by the offers.
    free: BTreeMap<Arc<str>, Amount>,
    ended: BTreeMap<AttemptId, End>,
    started: VecDeque<AttemptId>,
    n_tasks: u64,
}

/// Sixty-four cpus and 64 GiB, whatever there is.
fn config(limits: LimitMode) -> LocalConfig {
    let resources = [("cpus", 64), ("mem", 64 << 10)];
    LocalConfig {
        resources: resources
            .map(|(name, amount)| (name.into(), units(amount)))
            .into(),
        attributes: BTreeMap::new(),
        limits,
        python: apportion::config::PythonConfig::default(),
        containments: apportion::config::Containments::default(),
    }
}

fn units(units: u64) -> Amount {
    Amount::from_units(units).unwrap()
}

fn start_in(dir: &Path, limits: LimitMode) -> Result<(LocalBackend, Receiver<Event>), LocalError> {
    let (sender, events) = channel();
    let mut options = LocalOptions::new(dir.join("tasks"));
    options.keeper_program = Some(APPORTION.into());
    let backend = LocalBackend::start(&config(limits), &options, move |events| {
        events.into_iter().all(|event| sender.send(event).is_ok())
    })?;
    Ok((backend, events))
}

impl Machine {
    fn start(limits: LimitMode) -> Self {
        Self::try_start(limits).expect("the backend starts")
    }

    fn try_start(limits: LimitMode) -> Result<Self, LocalError> {
        let dir = tempfile::tempdir().unwrap();
        let (mut backend, events) = start_in(dir.path(), limits)?;
        backend.reconcile(Vec::new());
        let mut machine = Self {
            backend,
            events,
            dir,
            offers: Vec::new(),
            free: BTreeMap::new(),
            ended: BTreeMap::new(),
            started: VecDeque::new(),
            n_tasks: 0,
        };
        machine.take_in_until("the first offer", |machine| !machine.offers.is_empty());
        Ok(machine)
    }

    fn tasks_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("tasks")
    }

    /// Takes in events until something is so.
    fn take_in_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let since = Stopwatch::start();
        while !is_so(self) {
            let event = self
                .events
                .recv_timeout(DEADLINE.saturating_sub(since.elapsed()));
            self.take_in(event.unwrap_or_else(|_| panic!("{what} did not come")));
        }
    }

    fn take_in(&mut self, event: Event) {
        match event {
            Event::AgentSeen { agent, .. } => assert_eq!(&*agent, AGENT),
            Event::OfferReceived { offer, agent, free } => {
                assert_eq!(&*agent, AGENT);
                assert!(!self.offers.contains(&offer));
                self.offers.push(offer);
                for (name, amount) in free {
                    let sum = self.free.entry(name).or_default();
                    *sum = sum.checked_add(amount).unwrap();
                }
            }
            Event::AttemptStarted { attempt } => self.started.push_back(attempt),
            Event::AttemptEnded {
                attempt,
                end,
                usage,
                value,
            } => {
                let before = self.ended.insert(attempt, End { end, usage, value });
                assert!(before.is_none(), "{attempt} ended twice");
            }
            event @ (Event::AgentLost { .. }
            | Event::OfferRescinded { .. }
            | Event::OffersForgotten
            | Event::BackendNoted { .. }
            | Event::ReceiptAsked { .. }) => {
                panic!("{event:?}")
            }
        }
    }

    /// Takes in what the backend tells to nobody who doesn't ask.
    fn take_in_leftovers(&mut self) {
        for event in self.backend.leftovers() {
            self.take_in(event);
        }
    }

    fn launch(&mut self, run: Run) -> AttemptId {
        self.launch_spec(spec(run, &[("cpus", 100)]))
    }

    /// Runs a line of shell.
    fn shell(&mut self, line: &str) -> AttemptId {
        self.launch(Run::Command(line.into()))
    }

    fn launch_spec(&mut self, spec: TaskSpec) -> AttemptId {
        self.launch_all(vec![spec])[0]
    }

    /// Launches with all that was offered.
    fn launch_all(&mut self, specs: Vec<TaskSpec>) -> Vec<AttemptId> {
        let launches: Vec<Launch> = specs
            .into_iter()
            .map(|spec| {
                self.n_tasks += 1;
                let first = TaskId(self.n_tasks);
                let attempt = AttemptId {
                    task: first,
                    number: 1,
                };
                let submission = Submission {
                    first,
                    spec,
                    after: Vec::new(),
                    digest: [0; 16],
                    submitted_at: Time(0),
                };
                Launch {
                    attempt,
                    submission: Arc::new(submission),
                }
            })
            .collect();
        let attempts = launches.iter().map(|launch| launch.attempt).collect();
        let offers = std::mem::take(&mut self.offers);
        self.free.clear();
        self.backend.act(Decision::Accept {
            agent: AGENT.into(),
            offers,
            launches,
        });
        self.take_in_leftovers();
        self.take_in_until("what the launches leave", |machine| {
            !machine.offers.is_empty()
        });
        attempts
    }

    fn kill(&mut self, attempt: AttemptId, grace: Duration) {
        self.backend.act(Decision::Kill { attempt, grace });
    }

    /// Waits for the end of an attempt.
    fn end_of(&mut self, attempt: AttemptId) -> End {
        self.take_in_until(&format!("the end of {attempt}"), |machine| {
            machine.ended.contains_key(&attempt)
        });
        self.ended.remove(&attempt).unwrap()
    }

    /// A file, and the line of shell that waits until it is there.
    fn gate(&self) -> (std::path::PathBuf, String) {
        let gate = self.dir.path().join("gate");
        let line = format!("while ! test -e {}; do sleep 0.05; done", gate.display());
        (gate, line)
    }

    /// What an attempt has written so far.
    fn stdout(&self, attempt: AttemptId) -> String {
        let path = layout::output_file(&self.tasks_dir(), attempt, LogStream::Stdout);
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Waits until an attempt has written so many numbers, one a line.
    fn numbers(&self, attempt: AttemptId, count: usize) -> Vec<i32> {
        for_true(&format!("{attempt} to write {count} lines"), || {
            self.stdout(attempt).lines().count() >= count
        });
        self.stdout(attempt)
            .lines()
            .map(|line| line.trim().parse().unwrap())
            .collect()
    }

    /// Waits until everything is free again.
    fn all_free(&mut self) {
        self.take_in_until("the offer of all that there is", |machine| {
            machine.free == config(LimitMode::Off).resources
        });
    }
}

/// A task with demands in thousandths.
fn spec(run: Run, demand_milli: &[(&str, u64)]) -> TaskSpec {
    let amount = |milli| Amount::from_milli(milli).unwrap();
    TaskSpec {
        queue: "default".into(),
        name: "".into(),
        key: None,
        inbox: None,
        demand: Arc::new(
            demand_milli
                .iter()
                .map(|(name, milli)| ((*name).into(), amount(*milli)))
                .collect(),
        ),
        run,
        env: BTreeMap::new(),
        priority: 0,
        retries: 0,
        timeout: None,
        kill_grace: None,
        constraints: Arc::default(),
        array: None,
    }
}

fn argv<const N: usize>(args: [&str; N]) -> Run {
    Run::Argv(args.map(Into::into).into())
}
