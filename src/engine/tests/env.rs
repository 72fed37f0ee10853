//! The front door of the tests: an engine with a scripted outside, a second engine that follows its
//! facts, and a third that recovers from what a store would have kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::{Amount, ShownKey};

pub(super) use super::build::{Builder, task};
use super::ledger::Ledger;
use crate::engine::outcome::{AttemptEnd, Cause, LossReason, Usage, Value};
use crate::engine::report::{ChoiceReport, LaunchCause};
use crate::engine::request::StoredTask;
use crate::engine::settings::{
    ClaimSettings, Deadline, PolicyConfig, QueueConfig, ResourceSettings, Scope,
};
use crate::engine::{
    AttemptId, Decision, Engine, EngineSettings, Event, Fact, Output, Refusal, Reply, Request,
    TaskId, TaskState, Time, event::OfferId,
};

/// Whole units.
pub(super) fn units(units: u64) -> Amount {
    Amount::from_units(units).unwrap()
}

/// Amounts by name: `amounts("cpus=2 mem=4")`.
pub(super) fn amounts(text: &str) -> BTreeMap<Arc<str>, Amount> {
    let pair = |word: &str| {
        let (name, amount) = word.split_once('=').unwrap();
        (Arc::from(name), amount.parse().unwrap())
    };
    text.split_whitespace().map(pair).collect()
}

/// Names with values: `words("rack=r1")`.
pub(super) fn words(text: &str) -> BTreeMap<Arc<str>, Arc<str>> {
    let pair = |word: &str| {
        let (name, value) = word.split_once('=').unwrap();
        (Arc::from(name), Arc::from(value))
    };
    text.split_whitespace().map(pair).collect()
}

/// Settings with these queues (`"a weight=2 min:db=1 max:db=3 policy=fifo patience=60 log=true"`), and a cluster resource `db` of 10.
pub(super) fn settings(queues: &[&str]) -> EngineSettings {
    let resource = |name: &str, scope| ResourceSettings {
        name: Arc::from(name),
        scope,
    };
    let capacity = units(10);
    EngineSettings {
        resources: vec![
            resource("cpus", Scope::Host),
            resource("db", Scope::Cluster { capacity }),
            resource("mem", Scope::Host),
        ],
        queues: queues.iter().map(|text| queue(text)).collect(),
        policy: PolicyConfig::new(Arc::from("drf")),
        claims: ClaimSettings::default(),
        lost_max: 3,
        kill_grace: Duration::from_secs(10),
        retry_pause: Duration::from_secs(1),
        retry_pause_max: Duration::from_secs(5),
        live_max: 1_000_000,
    }
}

fn queue(text: &str) -> QueueConfig {
    let mut words = text.split_whitespace();
    let mut config = QueueConfig::new(Arc::from(words.next().unwrap()));
    for word in words {
        let (name, value) = word.split_once('=').unwrap();
        match name.split_once(':') {
            Some((limit, resource)) => {
                let limits = match limit {
                    "min" => &mut config.min,
                    "max" => &mut config.max,
                    other => panic!("{other} is no limit"),
                };
                limits.push((Arc::from(resource), value.parse().unwrap()));
            }
            None if name == "log" => config.decision_log = value.parse().unwrap(),
            None if name == "weight" => config.weight = value.parse().unwrap(),
            None if name == "patience" => {
                let seconds = value.parse().unwrap();
                config.patience = Some(Deadline::After(Duration::from_secs(seconds)));
            }
            None => config.policy = Some(PolicyConfig::new(Arc::from(value))),
        }
    }
    config
}

/// The ends that tests name.
pub(super) const OK: AttemptEnd = AttemptEnd::Exited { code: 0 };
pub(super) const FAIL: AttemptEnd = AttemptEnd::Exited { code: 7 };
pub(super) const LOST: AttemptEnd = AttemptEnd::Lost {
    reason: LossReason::AgentLost,
};

/// An attempt by its task and number.
pub(super) fn attempt(task: u64, number: u32) -> AttemptId {
    let task = TaskId(task);
    AttemptId { task, number }
}

/// An engine with what it said, what a store would keep of it, and a second engine that only ever sees
/// its facts.
pub(super) struct TestEnv {
    pub(super) engine: Engine,
    /// Applies every fact, and never decides anything.
    follower: Engine,
    pub(super) ledger: Ledger,
    pub(super) now: Time,
    settings: EngineSettings,
    /// Whether offers that nothing used are declined.
    declines: bool,
    next_offer: u64,
    /// What the last step said.
    pub(super) facts: Vec<Fact>,
    pub(super) decisions: Vec<Decision>,
    pub(super) choices: Vec<ChoiceReport>,
    /// Attempts launched and not yet taken by [`TestEnv::launched`].
    launched: Vec<AttemptId>,
}

impl TestEnv {
    pub(super) fn new(queues: &[&str]) -> Self {
        Self::with(settings(queues))
    }

    pub(super) fn with(settings: EngineSettings) -> Self {
        let mut engine = Engine::new(settings.clone());
        let mut follower = Engine::new(settings.clone());
        let now = Time(1_000_000);
        assert_eq!(engine.recovered(now), []);
        assert_eq!(follower.recovered(now), []);
        Self {
            engine,
            follower,
            ledger: Ledger::default(),
            now,
            settings,
            declines: false,
            next_offer: 1,
            facts: Vec::new(),
            decisions: Vec::new(),
            choices: Vec::new(),
            launched: Vec::new(),
        }
    }

    /// From now on, offers that nothing used are declined.
    pub(super) fn decline_offers(&mut self) {
        self.declines = true;
        self.engine.decline_offers();
    }

    /// One batch: what `happens`, and a turn; then everything is checked.
    fn batch<T>(&mut self, happens: impl FnOnce(&mut Engine, Time, &mut Output) -> T) -> T {
        let mut out = Output::default();
        let answer = happens(&mut self.engine, self.now, &mut out);
        self.engine.turn(self.now, &mut out);
        self.engine.check_invariants();
        self.engine.check_work_conserving();
        for fact in &out.facts {
            self.follower.apply(fact);
            self.ledger.commit(fact);
        }
        // That a pause is over is no fact, but the time.
        self.follower.state.end_pauses(self.now);
        self.follower.check_invariants();
        for choice in &out.choices {
            self.check_told(choice);
        }
        self.facts = out.facts;
        self.decisions = out.decisions;
        self.choices = out.choices;
        for decision in &self.decisions {
            if let Decision::Accept { launches, .. } = decision {
                self.launched
                    .extend(launches.iter().map(|launch| launch.attempt));
            }
        }
        self.assert_followed();
        answer
    }

    /// What is told of a decision is what was decided: at each step the chosen queue goes first, and its keys are
    /// kept with the attempt.
    fn check_told(&self, choice: &ChoiceReport) {
        for step in &choice.steps {
            assert_eq!(step.first.as_ref(), Some(&step.own), "{choice:?}");
        }
        let keys: Option<Vec<ShownKey>> = choice.steps.iter().map(|step| step.own.key).collect();
        let record = &self.engine.state.attempts[&choice.attempt];
        let kept = LaunchCause::Turn(keys.unwrap().into_boxed_slice());
        assert_eq!(record.cause, kept, "{choice:?}");
    }

    /// The follower and an engine that recovers now stand where the engine stands.
    fn assert_followed(&self) {
        let due = self.engine.wake_at().is_some_and(|at| at <= self.now);
        assert!(!due, "a turn leaves no timer due");
        let standing = super::standing::standing(&self.engine);
        assert_eq!(
            super::standing::standing(&self.follower),
            standing,
            "the follower"
        );
        let recovered = self.recovered_engine();
        recovered.check_invariants();
        let recovered = super::standing::standing(&recovered);
        assert_eq!(recovered, standing, "an engine recovered now");
    }

    fn recovered_engine(&self) -> Engine {
        let mut engine = Engine::new(self.settings.clone());
        for fact in self.ledger.recover() {
            engine.apply(&fact);
        }
        engine.recovered(self.now);
        engine
    }

    /// The daemon dies and starts again: agents and offers are gone, and so is all that stood in memory.
    pub(super) fn crash(&mut self) -> Vec<AttemptId> {
        self.launched.clear();
        let mut engine = Engine::new(self.settings.clone());
        for fact in self.ledger.recover() {
            engine.apply(&fact);
        }
        let attempts = engine.recovered(self.now);
        self.engine = engine;
        if self.declines {
            self.engine.decline_offers();
        }
        self.follower = self.recovered_engine();
        attempts
    }

    pub(super) fn event(&mut self, event: Event) {
        self.batch(|engine, now, out| engine.on_event(now, event, out));
    }

    /// What happens in one batch.
    pub(super) fn events(&mut self, events: Vec<Event>) {
        self.batch(|engine, now, out| {
            let each = events.into_iter();
            each.for_each(|event| engine.on_event(now, event, out));
        });
    }

    /// An end of an attempt, to happen with other things.
    pub(super) fn end_of(attempt: AttemptId) -> Event {
        Event::AttemptEnded {
            attempt,
            end: OK,
            usage: Usage::default(),
            value: Value::default(),
        }
    }

    /// An offer, to come with other things.
    pub(super) fn offer_of(&mut self, agent: &str, free: &str) -> Event {
        let offer = OfferId(self.next_offer);
        self.next_offer += 1;
        Event::OfferReceived {
            offer,
            agent: Arc::from(agent),
            free: amounts(free),
        }
    }

    pub(super) fn request(&mut self, request: Request) -> Result<Reply, Refusal> {
        self.batch(|engine, now, out| {
            let n_before = out.facts.len();
            let reply = engine.on_request(now, request, out);
            assert!(
                reply.is_ok() || out.facts.len() == n_before,
                "a refusal changes nothing"
            );
            reply
        })
    }

    /// Time passes, and timers fire one by one as the driver would let them.
    pub(super) fn advance(&mut self, seconds: f64) {
        let until = self.now.after(Duration::from_secs_f64(seconds));
        let mut facts = Vec::new();
        let mut decisions = Vec::new();
        while let Some(at) = self.engine.wake_at().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            self.batch(|_, _, _| ());
            facts.append(&mut self.facts);
            decisions.append(&mut self.decisions);
        }
        self.now = until;
        self.batch(|_, _, _| ());
        facts.append(&mut self.facts);
        decisions.append(&mut self.decisions);
        (self.facts, self.decisions) = (facts, decisions);
    }

    /// An agent joins, or changes.
    pub(super) fn agent(&mut self, name: &str, total: &str) {
        self.agent_with(name, total, "");
    }

    /// Agents of one size join, and all that they have is offered.
    pub(super) fn offering(&mut self, agents: &[&str], total: &str) {
        for agent in agents {
            self.agent(agent, total);
            self.offer(agent, total);
        }
    }

    pub(super) fn agent_with(&mut self, name: &str, total: &str, attributes: &str) {
        self.event(Event::AgentSeen {
            agent: Arc::from(name),
            total: amounts(total),
            attributes: words(attributes),
        });
    }

    /// An agent offers.
    pub(super) fn offer(&mut self, agent: &str, free: &str) -> OfferId {
        let event = self.offer_of(agent, free);
        self.event(event);
        OfferId(self.n_offers())
    }

    /// How many offers there were so far.
    pub(super) fn n_offers(&self) -> u64 {
        self.next_offer - 1
    }

    /// Submits tasks of one call.
    pub(super) fn try_submit(&mut self, tasks: &[Builder]) -> Result<Vec<u64>, Refusal> {
        let tasks = tasks.iter().map(|builder| builder.task.clone()).collect();
        match self.request(Request::Submit { tasks })? {
            Reply::Submitted(accepted) => Ok(accepted.iter().map(|one| one.first.0).collect()),
            Reply::State(_) | Reply::Done => panic!("another reply"),
        }
    }

    pub(super) fn submit(&mut self, task: Builder) -> u64 {
        self.try_submit(&[task]).unwrap()[0]
    }

    pub(super) fn refused(&mut self, task: Builder) -> Refusal {
        self.try_submit(&[task]).unwrap_err()
    }

    pub(super) fn started(&mut self, attempt: AttemptId) {
        self.event(Event::AttemptStarted { attempt });
    }

    pub(super) fn ends(&mut self, attempt: AttemptId, end: AttemptEnd) {
        self.event(Event::AttemptEnded {
            attempt,
            end,
            usage: Usage::default(),
            value: Value::default(),
        });
    }

    pub(super) fn try_cancel(&mut self, task: u64) -> Result<TaskState, Refusal> {
        let request = Request::Cancel {
            task: TaskId(task),
            reason: Some("because".into()),
        };
        Ok(state_of(self.request(request)?))
    }

    pub(super) fn cancel(&mut self, task: u64) -> TaskState {
        self.try_cancel(task).unwrap()
    }

    pub(super) fn try_retry(&mut self, task: u64) -> Result<TaskState, Refusal> {
        let task = TaskId(task);
        let stored: Option<StoredTask> = if self.engine.is_live(task) {
            None
        } else {
            self.ledger.find_ended(task)
        };
        Ok(state_of(self.request(Request::Retry { task, stored })?))
    }

    pub(super) fn retry(&mut self, task: u64) {
        assert_eq!(self.try_retry(task), Ok(TaskState::Queued));
    }

    pub(super) fn reload(&mut self, settings: EngineSettings) -> Result<(), Refusal> {
        let for_follower = Box::new(settings.clone());
        let request = Request::Reload {
            settings: for_follower.clone(),
        };
        // The follower is told as well: settings are no facts.
        let mut out = Output::default();
        let reply = self.engine.on_request(self.now, request.clone(), &mut out);
        assert!(out.facts.is_empty());
        let followed = self.follower.on_request(self.now, request, &mut out);
        assert_eq!(followed, reply, "the follower reloads the same");
        if reply.is_ok() {
            self.settings = settings;
        }
        self.batch(|_, _, _| ());
        reply.map(|_| ())
    }

    /// The attempts launched since this was asked last.
    pub(super) fn launched(&mut self) -> Vec<(u64, u32)> {
        let launched = std::mem::take(&mut self.launched);
        launched
            .into_iter()
            .map(|attempt| (attempt.task.0, attempt.number))
            .collect()
    }

    /// The attempts that the last step asked to end, with the grace in seconds.
    pub(super) fn killed(&self) -> Vec<(AttemptId, u64)> {
        let killed = self.decisions.iter().filter_map(|decision| match decision {
            Decision::Kill { attempt, grace } => Some((*attempt, grace.as_secs())),
            Decision::Accept { .. }
            | Decision::Decline { .. }
            | Decision::Suppress
            | Decision::Revive
            | Decision::Acknowledge { .. } => None,
        });
        killed.collect()
    }

    /// A task's state, live or ended.
    pub(super) fn state(&self, task: u64) -> Option<TaskState> {
        self.engine.state.find_state(TaskId(task))
    }

    /// Why a task ended as it did.
    pub(super) fn cause(&self, task: u64) -> Option<Cause> {
        self.ledger.cause(TaskId(task))
    }

    /// Submits with an agent of many cpus on offer, so that the task is launched at once.
    pub(super) fn run(&mut self, task: Builder) -> u64 {
        if self.engine.agents().is_empty() {
            self.agent("m", "cpus=100 mem=100");
        }
        self.offer("m", "cpus=100 mem=100");
        self.submit(task)
    }
}

fn state_of(reply: Reply) -> TaskState {
    match reply {
        Reply::State(state) => state,
        Reply::Submitted(_) | Reply::Done => panic!("another reply"),
    }
}
