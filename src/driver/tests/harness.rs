//! A driver on its thread with a real engine, a store that fails on demand, and a backend that only
//! tells what it was asked to do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use apportion_policies::Amount;
use tokio::sync::watch;

use crate::backend::{Backend, EventSender};
use crate::clock::{self, Stopwatch};
use crate::driver::{self, Handle};
use crate::engine::event::OfferId;
use crate::engine::outcome::{LossReason, Value};
use crate::engine::request::{NewTask, StoredTask};
use crate::engine::settings::{ClaimSettings, PolicyConfig, QueueConfig, ResourceSettings, Scope};
use crate::engine::spec::Run;
use crate::engine::{
    AttemptEnd, AttemptId, Decision, Engine, EngineSettings, Event, Fact, Reply, Request, TaskId,
    TaskSpec, TaskState, Usage,
};
use crate::store::memory::MemoryStore;
use crate::store::reader::Reader;
use crate::store::{Store, StoreError};

/// Longer than anything here takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// How the store behaves, set by the test.
#[derive(Default)]
struct Gate {
    fails: Option<StoreError>,
    is_shut: bool,
    n_commits: usize,
}

/// A store in memory whose commits fail, or wait, when the test wants it so.
#[derive(Clone, Default)]
pub(super) struct TestStore {
    pub(super) memory: MemoryStore,
    gate: Arc<watch::Sender<Gate>>,
}

impl TestStore {
    pub(super) fn fail(&self, error: Option<StoreError>) {
        self.gate.send_modify(|gate| gate.fails = error);
    }

    pub(super) fn shut(&self, is_shut: bool) {
        self.gate.send_modify(|gate| gate.is_shut = is_shut);
    }

    pub(super) fn n_commits(&self) -> usize {
        self.gate.borrow().n_commits
    }

    pub(super) fn state(&self, task: u64) -> Option<TaskState> {
        self.memory
            .find(TaskId(task))
            .unwrap()
            .map(|record| record.state)
    }
}

impl Store for TestStore {
    fn commit(&mut self, facts: &[Fact]) -> Result<(), StoreError> {
        self.gate.send_modify(|gate| gate.n_commits += 1);
        let waited = Stopwatch::start();
        while self.gate.borrow().is_shut {
            assert!(
                waited.elapsed() < PATIENCE,
                "the test forgot to open the gate"
            );
            std::thread::yield_now();
        }
        let fails = self.gate.borrow().fails.clone();
        match fails {
            Some(error) => Err(error),
            None => self.memory.commit(facts),
        }
    }

    fn recover(&mut self, fold: &mut dyn FnMut(Fact)) -> Result<(), StoreError> {
        self.memory.recover(fold)
    }

    fn find_ended(&mut self, task: TaskId) -> Result<Option<StoredTask>, StoreError> {
        self.memory.find_ended(task)
    }
}

/// What the backend was asked to do, and how the task stood in the store at that moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Launch(AttemptId, Option<TaskState>),
    Kill(AttemptId),
    ShutDown,
}

struct TestBackend {
    store: TestStore,
    asked: Sender<Asked>,
    events: EventSender,
    /// Attempts that end as lost when the backend is shut down.
    running: Vec<AttemptId>,
}

impl Backend for TestBackend {
    fn act(&mut self, decision: Decision) {
        match decision {
            Decision::Accept { launches, .. } => {
                for launch in launches {
                    self.running.push(launch.attempt);
                    let state = self.store.state(launch.attempt.task.0);
                    self.asked
                        .send(Asked::Launch(launch.attempt, state))
                        .unwrap();
                }
            }
            Decision::Kill { attempt, .. } => self.asked.send(Asked::Kill(attempt)).unwrap(),
            Decision::Decline { .. }
            | Decision::Suppress
            | Decision::Revive
            | Decision::Acknowledge { .. } => {}
        }
    }

    fn reconcile(&mut self, attempts: Vec<AttemptId>) {
        for attempt in attempts {
            let _ = self.events.blocking_send(ended(attempt, lost()));
        }
    }

    fn shut_down(&mut self) {
        self.asked.send(Asked::ShutDown).unwrap();
        // More than the channel holds: the driver must take them in meanwhile.
        for _ in 0..2 * driver::CHANNEL_LEN {
            for attempt in &self.running {
                let _ = self.events.blocking_send(ended(*attempt, lost()));
            }
        }
    }
}

pub(super) fn lost() -> AttemptEnd {
    AttemptEnd::Lost {
        reason: LossReason::DaemonRestarted,
    }
}

pub(super) fn ended(attempt: AttemptId, end: AttemptEnd) -> Event {
    Event::AttemptEnded {
        attempt,
        end,
        usage: Usage::default(),
        value: Value::default(),
    }
}

pub(super) fn attempt(task: u64, number: u32) -> AttemptId {
    AttemptId {
        task: TaskId(task),
        number,
    }
}

/// A driver that runs.
pub(super) struct Running {
    pub(super) handle: Handle,
    pub(super) events: EventSender,
    pub(super) store: TestStore,
    asked: Receiver<Asked>,
    thread: JoinHandle<Result<(), StoreError>>,
    next_offer: u64,
    n_batches: Arc<AtomicUsize>,
}

impl Running {
    /// On this store, with one agent that has offered nothing yet.
    pub(super) async fn start(store: TestStore) -> Self {
        let (handle, events, inbox) = driver::channel();
        let mut engine = Engine::new(settings());
        store
            .clone()
            .recover(&mut |fact| engine.apply(&fact))
            .unwrap();
        let attempts = engine.recovered(clock::now());
        let (asked_sender, asked) = channel();
        let mut backend = TestBackend {
            store: store.clone(),
            asked: asked_sender,
            events: events.clone(),
            running: Vec::new(),
        };
        let own_store = Box::new(store.clone());
        let n_batches = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&n_batches);
        let thread = std::thread::spawn(move || {
            backend.reconcile(attempts);
            let observer = move |_: &[Fact], _: &driver::BatchStats| {
                told.fetch_add(1, Ordering::SeqCst);
            };
            inbox.run(engine, own_store, Box::new(backend), Box::new(observer))
        });
        let total = BTreeMap::from([("cpus".into(), Amount::from_units(4).unwrap())]);
        events
            .send(Event::AgentSeen {
                agent: "m1".into(),
                total,
                attributes: BTreeMap::new(),
            })
            .await;
        Self {
            handle,
            events,
            store,
            asked,
            thread,
            next_offer: 1,
            n_batches,
        }
    }

    /// Of how many batches was told.
    pub(super) fn n_batches(&self) -> usize {
        self.n_batches.load(Ordering::SeqCst)
    }

    /// Offers cpus of the agent.
    pub(super) async fn offer(&mut self, cpus: u64) {
        let free = BTreeMap::from([("cpus".into(), Amount::from_units(cpus).unwrap())]);
        let offer = OfferId(self.next_offer);
        self.next_offer += 1;
        self.events
            .send(Event::OfferReceived {
                offer,
                agent: "m1".into(),
                free,
            })
            .await;
    }

    /// What the backend is asked to do next.
    #[track_caller]
    pub(super) fn asked(&self) -> Asked {
        self.asked
            .recv_timeout(PATIENCE)
            .expect("the backend is asked to do something")
    }

    /// The backend has not been asked to do anything more.
    #[track_caller]
    pub(super) fn asked_nothing(&self) {
        assert!(self.asked.try_recv().is_err());
    }

    /// Waits for the driver's thread.
    pub(super) fn join(self) -> Result<(), StoreError> {
        self.thread.join().unwrap()
    }

    /// Waits until what was sent before has been taken in.
    pub(super) async fn settle(&self) {
        self.handle.inspect(|_| ()).await.unwrap();
        // Events and requests have channels of their own: what was in one is taken in with the other's.
        self.handle.inspect(|_| ()).await.unwrap();
    }
}

fn settings() -> EngineSettings {
    let host = |name: &str| ResourceSettings {
        name: name.into(),
        scope: Scope::Host,
    };
    EngineSettings {
        resources: vec![host("cpus"), host("mem")],
        queues: vec![QueueConfig::new("default".into())],
        policy: PolicyConfig::new("fifo".into()),
        claims: ClaimSettings::default(),
        lost_max: 3,
        kill_grace: Duration::from_secs(1),
        retry_pause: Duration::from_millis(20),
        retry_pause_max: Duration::from_millis(20),
        live_max: 1_000_000,
    }
}

/// Asks for a task of one cpu with so many retries.
pub(super) fn submit(retries: u32) -> Request {
    let spec = TaskSpec {
        queue: "default".into(),
        name: "".into(),
        key: None,
        inbox: None,
        demand: Arc::new(BTreeMap::from([(
            "cpus".into(),
            Amount::from_units(1).unwrap(),
        )])),
        run: Run::Command("true".into()),
        env: BTreeMap::new(),
        priority: 0,
        retries,
        timeout: None,
        kill_grace: None,
        constraints: Arc::default(),
        array: None,
    };
    Request::Submit {
        tasks: vec![NewTask {
            spec,
            after: Vec::new(),
            digest: [0; 16],
        }],
    }
}

/// The id in the answer to a submission of one task.
#[track_caller]
pub(super) fn id(reply: Reply) -> u64 {
    let Reply::Submitted(accepted) = reply else {
        panic!("{reply:?}")
    };
    accepted[0].first.0
}
