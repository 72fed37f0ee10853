//! One life of the daemon: the driver's own code, the engine, the Mesos session, and what is under way inside.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{broadcast, oneshot, watch};

use super::clients::Ask;
use super::course::Course;
use super::disk::{Disk, Fate};
use super::happening::{Happening, Life};
use super::local::Local;
use super::settings::{Configured, mesos_settings};
use super::{BackendKind, Defect};
use crate::backend::Backend;
use crate::backend::mesos::session::{OutCall, Session};
use crate::backend::mesos::{FRAMEWORK_ID, Recovered};
use crate::driver::order::{Core, Listeners};
use crate::driver::{BatchStats, Message, RequestError};
use crate::engine::{AttemptId, Decision, Engine, Event, Fact, Reply, Request, Time};
use crate::store::{self, StoreError};

/// What the driver decided, on its way to the backend.
#[derive(Clone)]
struct Decided {
    decisions: Arc<Mutex<VecDeque<Decision>>>,
    fate: Fate,
}

impl Backend for Decided {
    fn act(&mut self, decision: Decision) {
        if self.fate.acts() {
            let mut decisions = self
                .decisions
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            decisions.push_back(decision);
        }
    }

    fn reconcile(&mut self, _attempts: Vec<AttemptId>) {}

    fn shut_down(&mut self) {}
}

/// What runs the tasks, as the daemon holds it.
pub(super) enum Side {
    Mesos {
        session: Box<Session>,
        /// Calls that wait for the one under way.
        calls: VecDeque<OutCall>,
        /// The call under way.
        calling: Option<u64>,
        /// The subscription that is current.
        generation: u64,
    },
    Local(Local),
}

/// One life of the daemon.
pub(super) struct Daemon {
    pub(super) life: Life,
    /// How far the clock was ahead when it started: its session waits by one that nobody sets.
    pub(super) skew: i64,
    pub(super) core: Core,
    pub(super) side: Side,
    pub(super) fate: Fate,
    decided: Decided,
    /// What was asked and is not answered yet.
    asked: Vec<(Ask, oneshot::Receiver<Result<Reply, RequestError>>)>,
    /// A configuration that is to take effect.
    pub(super) reloading: Option<(Configured, oneshot::Receiver<Result<Reply, RequestError>>)>,
    /// Whether the driver waits for the store.
    pub(super) is_stalled: bool,
    drive_number: u64,
    drive_at: Option<u64>,
    shell_number: u64,
    shell_at: Option<u64>,
}

impl Daemon {
    /// Starts one from what is on the disk.
    ///
    /// # Errors
    /// The disk can't be read.
    pub(super) fn start(
        life: Life,
        disk: &Disk,
        kind: BackendKind,
        course: &mut Course,
        now: Time,
        configured: &Configured,
        defect: Option<Defect>,
    ) -> Result<Self, StoreError> {
        let fate = Fate::default();
        let mut store = disk.open(fate.clone());
        let mut engine = Engine::new(configured.engine.clone());
        let attempts = store::recover(&mut store, &mut engine, now, "disk")?;
        course.tell("daemon", || {
            format!("starts with {} attempts", attempts.len())
        });
        let side = match kind {
            BackendKind::Mesos => {
                engine.decline_offers();
                let session = session(&engine, &attempts, course, now, defect, configured);
                Side::Mesos {
                    session: Box::new(session),
                    calls: VecDeque::new(),
                    calling: None,
                    generation: 0,
                }
            }
            BackendKind::Local => Side::Local(Local::new(&attempts)),
        };
        let decided = Decided {
            decisions: Arc::default(),
            fate: fate.clone(),
        };
        let listeners = Listeners {
            observer: Box::new(|_: &[Fact], _: &BatchStats| ()),
            committed: broadcast::channel(1).0,
            failure: watch::channel(None).0,
        };
        let core = Core::new(
            engine,
            Box::new(store),
            Box::new(decided.clone()),
            listeners,
        );
        Ok(Self {
            life,
            skew: 0,
            core,
            side,
            fate,
            decided,
            asked: Vec::new(),
            reloading: None,
            is_stalled: false,
            drive_number: 0,
            drive_at: None,
            shell_number: 0,
            shell_at: None,
        })
    }

    /// Somebody asks for something.
    pub(super) fn ask(&mut self, course: &mut Course, ask: Ask) {
        let (answer, answered) = oneshot::channel();
        let message = Message::Request(Box::new(ask.request()), None, answer);
        self.core.messages.push(message);
        self.asked.push((ask, answered));
        self.drive_by(course.now + 5, course);
    }

    /// The daemon itself asks for something.
    pub(super) fn ask_itself(
        &mut self,
        course: &mut Course,
        request: Request,
    ) -> oneshot::Receiver<Result<Reply, RequestError>> {
        let (answer, answered) = oneshot::channel();
        let message = Message::Request(Box::new(request), None, answer);
        self.core.messages.push(message);
        self.drive_by(course.now, course);
        answered
    }

    /// The backend tells the driver something.
    pub(super) fn tell(&mut self, course: &mut Course, event: Event) {
        self.core.events.push(vec![event]);
        let soon = course.between(0, 20);
        self.drive_by(course.now + soon, course);
    }

    /// What was answered since this was asked last, in the order of asking. Where the daemon has died, nobody
    /// knows what became of the rest.
    pub(super) fn take_answered(&mut self) -> Vec<(Ask, Option<Result<Reply, RequestError>>)> {
        let mut left = Vec::new();
        let mut answered = Vec::new();
        for (ask, mut answer) in self.asked.drain(..) {
            match answer.try_recv() {
                Ok(reply) => answered.push((ask, Some(reply))),
                Err(oneshot::error::TryRecvError::Empty) => left.push((ask, answer)),
                Err(oneshot::error::TryRecvError::Closed) => answered.push((ask, None)),
            }
        }
        self.asked = left;
        answered
    }

    /// Everything that was asked, when it dies.
    pub(super) fn take_asked(&mut self) -> Vec<Ask> {
        self.asked.drain(..).map(|(ask, _)| ask).collect()
    }

    /// The next decision that reaches the backend.
    pub(super) fn next_decision(&self) -> Option<Decision> {
        let decisions = self.decided.decisions.lock();
        decisions
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    /// The driver makes its next batch by then.
    pub(super) fn drive_by(&mut self, at: u64, course: &mut Course) {
        if self.drive_at.is_none_or(|planned| at < planned) {
            self.drive_at = Some(at);
            self.drive_number += 1;
            course.plan_at(at, Happening::Drive(self.life, self.drive_number));
        }
    }

    /// Whether this is the batch that was planned last; then it is made.
    pub(super) fn takes_drive(&mut self, number: u64) -> bool {
        let takes = number == self.drive_number && self.drive_at.take().is_some();
        takes && !self.is_stalled
    }

    /// The backend's shell wakes by then.
    pub(super) fn shell_by(&mut self, at: u64, course: &mut Course) {
        if self.shell_at.is_none_or(|planned| at < planned) {
            self.shell_at = Some(at);
            self.shell_number += 1;
            course.plan_at(at, Happening::Shell(self.life, self.shell_number));
        }
    }

    /// Whether the shell wakes now.
    pub(super) fn takes_shell(&mut self, number: u64) -> bool {
        number == self.shell_number && self.shell_at.take().is_some()
    }
}

fn session(
    engine: &Engine,
    attempts: &[AttemptId],
    course: &mut Course,
    now: Time,
    defect: Option<Defect>,
    configured: &Configured,
) -> Session {
    let recovered = if defect == Some(Defect::AttemptsAreForgotten) {
        Vec::new()
    } else {
        Recovered::find(engine, attempts)
    };
    let framework = engine.backend_notes().get(FRAMEWORK_ID).cloned();
    let seed = course.dice.u64(..);
    let settings = mesos_settings(configured.placement.clone());
    Session::new(settings, framework, recovered, seed, now)
}
