//! A world: the daemon, its disk, a cluster or a machine, and clients, from the first step to the last.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each part of a world takes what is its own, and hands the rest on"
)]

use super::clients::{Answered, Clients, N_CLIENTS, What};
use super::cluster::{Cluster, Machine, Master, Size, Surroundings};
use super::course::{Course, Millis, SECOND};
use super::daemon::Daemon;
use super::disk::Disk;
use super::happening::{Ailment, Happening, Life};
use super::model::Model;
use super::promises::Promises;
use super::settings::{Configured, LOST_MAX};
use super::trouble::Kinds;
use super::truth::Truth;
use super::{BackendKind, Defect, Outcome, Trial};
use crate::driver::RequestError;
use crate::engine::{Reply, TaskState, Time};
use crate::proto::mesos::v1::scheduler;

/// The daemon's clock shows this when the world begins: later than any jump goes back.
const EPOCH: i64 = 1_000_000_000_000;

/// After faults are over, everything must have ended within so long.
const PATIENCE: Millis = 6 * 3600 * SECOND;

/// A world without an end has a defect.
const STEPS_MAX: u64 = 200_000;

/// How many submissions clients make.
const SUBMISSIONS: u32 = 24;

/// A simulated world. What its parts share is in [`Course`].
pub(super) struct World {
    pub(super) course: Course,
    pub(super) truth: Truth,
    pub(super) model: Model,
    pub(super) disk: Disk,
    pub(super) daemon: Option<Daemon>,
    pub(super) cluster: Cluster,
    pub(super) clients: Clients,
    pub(super) promises: Promises,
    /// What the configuration file says.
    pub(super) configured: Configured,
    /// Whether the scheduler reaches no master.
    pub(super) is_cut: bool,
    pub(super) kinds: Kinds,
    pub(super) defect: Option<Defect>,
    pub(super) backend: BackendKind,
    /// When the last subscription was granted.
    pub(super) subscribed_at: Millis,
    /// The last offers that came, where a defect makes them come again.
    pub(super) last_offers: Option<scheduler::Event>,
    /// How far the daemon's clock is ahead.
    pub(super) skew: i64,
    pub(super) life: Life,
    steps: u32,
    n_steps: u64,
}

impl World {
    /// Before its first step.
    pub(super) fn new(trial: Trial, is_recorded: bool) -> Self {
        let mut course = Course::new(trial.seed, is_recorded);
        course.is_lossy = trial.kinds.loses();
        let mut disk = Disk::default();
        disk.plant(trial.defect);
        if trial.on_files {
            disk.make_real(trial.seed);
        }
        let n_machines = match trial.backend {
            BackendKind::Mesos => course.dice.usize(2..=3),
            BackendKind::Local => 0,
        };
        let size = |cpus| Size {
            cpus,
            mem: 1_024_000,
        };
        let machines =
            (0..n_machines).map(|number| Machine::new(number, size(3000 + 1000 * number as u64)));
        let cluster = Cluster {
            master: Master::new(),
            machines: machines.collect(),
        };
        for machine in 0..n_machines {
            course.plan(10, Happening::Registers { machine, boot: 0 });
        }
        course.plan(0, Happening::Start);
        for client in 0..N_CLIENTS {
            course.plan(SECOND, Happening::Client(client));
        }
        course.plan(3 * SECOND, Happening::Fault);
        course.plan(SECOND, Happening::Look);
        Self {
            course,
            truth: Truth::default(),
            model: Model::new(LOST_MAX),
            disk,
            daemon: None,
            cluster,
            clients: Clients::new(SUBMISSIONS),
            promises: Promises::default(),
            configured: Configured::default(),
            is_cut: false,
            kinds: trial.kinds,
            defect: trial.defect,
            backend: trial.backend,
            subscribed_at: 0,
            last_offers: None,
            skew: 0,
            life: 0,
            steps: trial.steps,
            n_steps: 0,
        }
    }

    /// The cluster, and what it works with.
    pub(super) fn split(&mut self) -> (&mut Cluster, Surroundings<'_>) {
        let around = Surroundings {
            course: &mut self.course,
            truth: &mut self.truth,
        };
        (&mut self.cluster, around)
    }

    /// What the daemon's clock shows.
    pub(super) fn daemon_now(&self) -> Time {
        let now = EPOCH + self.skew + self.course.now as i64;
        Time(now.unsigned_abs())
    }

    /// What the clock of the daemon's session shows.
    pub(super) fn session_now(&self) -> Time {
        let skew = self.daemon.as_ref().map_or(self.skew, |daemon| daemon.skew);
        let now = EPOCH + skew + self.course.now as i64;
        Time(now.unsigned_abs())
    }

    /// When that will be, as the session sees it now.
    pub(super) fn when_session_sees(&self, at: Time) -> Millis {
        self.course.now + at.since(self.session_now()).as_millis() as Millis
    }

    /// When that will be, as the daemon sees it now.
    pub(super) fn when_daemon_sees(&self, at: Time) -> Millis {
        self.course.now + at.since(self.daemon_now()).as_millis() as Millis
    }

    /// Lets everything happen: first with faults, then without, until all has ended.
    pub(super) fn run(&mut self) {
        while self.n_steps < u64::from(self.steps) && self.step() {}
        self.calm_down();
        let end = self.course.now + PATIENCE;
        while self.course.violation.is_none() && !self.is_over() && self.course.now < end {
            if !self.step() {
                break;
            }
            if self.n_steps > STEPS_MAX {
                self.course
                    .violate("the world never comes to rest".to_owned());
            }
        }
        if self.course.violation.is_none() {
            self.judge();
        }
    }

    /// What became of it.
    pub(super) fn outcome(mut self) -> Outcome {
        Outcome {
            violation: self.course.violation.take(),
            digest: self.course.digest(),
            history: self.course.take_history(),
            n_steps: self.n_steps,
        }
    }

    /// One thing happens. False where nothing does any more, or something must never be.
    fn step(&mut self) -> bool {
        let Some(happening) = self.course.next() else {
            return false;
        };
        self.n_steps += 1;
        self.happen(happening);
        self.course.violation.is_none()
    }

    /// Faults are over: no more begin.
    fn calm_down(&mut self) {
        self.course.tell("world", || "faults are over".to_owned());
        self.course.is_calm = true;
        self.heal(Ailment::DiskFull);
        self.heal(Ailment::Cut);
        self.course.plan(0, Happening::Reload);
        // Machines that are cut off come back when it was planned, perhaps after they were given up.
        for client in 0..N_CLIENTS {
            self.course.plan(SECOND, Happening::Client(client));
        }
    }

    /// Whether all has ended and been seen, and nothing runs any more.
    fn is_over(&self) -> bool {
        let is_idle = !self.cluster.machines.iter().any(Machine::is_busy);
        let n_missing = self.model.ends().filter(|(task, n_ends, inbox)| {
            let is_due = inbox.is_some() && !self.model.is_forgotten(*task);
            is_due && self.clients.n_seen(*task) < *n_ends
        });
        self.daemon.is_some()
            && self.clients.is_done()
            && self.model.all_ended()
            && is_idle
            && n_missing.count() == 0
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Fault if self.course.is_calm => {}
            Happening::Fault => self.fault(),
            Happening::Heal(ailment) => self.heal(ailment),
            Happening::Start => self.start(),
            Happening::Look => self.look(),
            Happening::Reload => self.reload(),
            Happening::Drive(life, number) => {
                let daemon = self.daemon.as_mut().filter(|daemon| daemon.life == life);
                if daemon.is_some_and(|daemon| daemon.takes_drive(number)) {
                    self.drive();
                }
            }
            Happening::CommitAgain(life) => self.commit_again(life),
            Happening::Shell(life, number) => {
                let daemon = self.daemon.as_mut().filter(|daemon| daemon.life == life);
                if daemon.is_some_and(|daemon| daemon.takes_shell(number)) {
                    self.shell();
                }
            }
            Happening::Client(number) => self.client(number),
            Happening::Answered(answered) => self.clients.answered(&mut self.course, answered),
            Happening::LocalEnds(life, attempt) => self.local_ends(life, attempt, false),
            Happening::LocalDies(life, attempt) => self.local_ends(life, attempt, true),
            other => self.happen_between(other),
        }
    }

    /// The same between the session and the masters.
    fn happen_between(&mut self, happening: Happening) {
        match happening {
            Happening::Subscribing {
                life,
                generation,
                master,
                call,
            } => self.subscribing(life, generation, &master, &call),
            Happening::Refused {
                life,
                generation,
                code,
                leader,
            } => self.with_session(life, |session, now| {
                session.on_stream_refused(now, generation, code, leader, "");
            }),
            Happening::Opened {
                life,
                generation,
                stream_id,
            } => self.with_session(life, |session, now| {
                session.on_stream_opened(now, generation, &stream_id);
            }),
            Happening::Heard { stream, event } => self.heard(stream, *event),
            Happening::StreamClosed { life, generation } => {
                self.with_session(life, |session, now| {
                    session.on_stream_closed(now, generation, "it broke");
                });
            }
            Happening::CallArrives {
                life,
                call,
                is_answered,
            } => self.call_arrives(life, &call, is_answered),
            Happening::CallEnds {
                life,
                id,
                generation,
                end,
            } => self.call_ends(life, id, generation, end),
            Happening::NextCall(life) => self.next_call(life),
            Happening::AgentsAsked { life, generation } => self.agents_asked(life, generation),
            other => {
                let (cluster, mut around) = self.split();
                cluster.happen(&mut around, other);
            }
        }
    }

    /// A client does something.
    fn client(&mut self, number: usize) {
        let (asks, pause) = self
            .clients
            .act(&mut self.course, number, &self.disk.memory);
        self.course.plan(pause, Happening::Client(number));
        for ask in asks {
            let arrives = !self.course.fails(20);
            match &mut self.daemon {
                Some(daemon) if arrives => {
                    self.course
                        .tell("client", || format!("{number} asks: {}", ask.words()));
                    daemon.ask(&mut self.course, ask);
                }
                _ => self.reply(ask, None),
            }
        }
    }

    /// The daemon has answered; perhaps the answer is lost on its way.
    pub(super) fn reply(
        &mut self,
        ask: super::clients::Ask,
        answer: Option<Result<Reply, RequestError>>,
    ) {
        match (&ask.what, &answer) {
            (What::Cancel(task), Some(Ok(Reply::State(state)))) => {
                if matches!(state, TaskState::Cancelled | TaskState::Cancelling) {
                    self.truth.cancelled(*task, self.model.n_attempts(*task));
                }
            }
            (What::Retry(task), None | Some(Ok(_) | Err(RequestError::Store(_)))) => {
                self.truth.may_be_retried(*task);
            }
            _ => {}
        }
        self.course.tell("client", || match &answer {
            None => format!("{} gets no answer to: {}", ask.client, ask.words()),
            Some(answer) => format!("{} is answered {answer:?} to: {}", ask.client, ask.words()),
        });
        let is_lost = self.course.fails(30);
        let answer = answer.filter(|_| !is_lost);
        let wait = self.course.delay();
        let answered = Answered { ask, answer };
        self.course.plan(wait, Happening::Answered(answered));
    }
}
