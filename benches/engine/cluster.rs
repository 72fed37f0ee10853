//! An engine with a full cluster around it: agents that answer its decisions as a backend would, and
//! submitters who replace each task that was launched, so that as many wait as at the start.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use apportion::clock::Stopwatch;
use apportion::engine::event::OfferId;
use apportion::engine::outcome::Value;
use apportion::engine::request::NewTask;
use apportion::engine::settings::{
    ClaimSettings, PolicyConfig, QueueConfig, ResourceSettings, Scope,
};
use apportion::engine::spec::{ArrayRange, Run};
use apportion::engine::{
    AttemptEnd, AttemptId, Decision, Engine, EngineSettings, Event, Fact, Output, Reply, Request,
    TaskSpec, Time, Usage,
};
use apportion_policies::{Amount, Weight};
use rustc_hash::FxHashMap;

/// What tasks consume: cpus, mem in GiB, connections, licences. Each queue has tasks of two of these.
const SHAPES: [Amounts; 8] = [
    [1, 1, 0, 0],
    [1, 2, 1, 0],
    [2, 2, 0, 1],
    [2, 4, 2, 0],
    [1, 4, 1, 0],
    [2, 8, 0, 1],
    [1, 1, 3, 0],
    [4, 8, 0, 2],
];
/// An amount of each resource.
type Amounts = [u64; 4];

/// How many shapes one queue has.
const SHAPES_PER_QUEUE: usize = 2;
/// How many machines.
const N_AGENTS: usize = 1000;
/// What each machine has where there are 1,000 queues: room for about nine tasks. Of what the cluster brings
/// instead of the machines it has so much for each machine, a little less than would be used otherwise.
const AGENT: Amounts = [16, 36, 7, 4];

/// After how many launches they are replaced; outside the time measured.
const REPLACE_EACH: usize = 1000;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// A name of the registry.
    pub(crate) policy: &'static str,
    /// How many leaf queues.
    pub(crate) n_queues: usize,
    /// Three levels of queues instead of one.
    pub(crate) deep: bool,
    /// How many tasks wait.
    pub(crate) n_tasks: usize,
    /// Each a submission of its own, instead of two arrays a queue.
    pub(crate) separate: bool,
    /// Connections and licences are the cluster's; otherwise machines bring them, too.
    pub(crate) shared: bool,
    /// How many attempts end before the engine decides again.
    pub(crate) n_ends: usize,
    /// The backend tells that an attempt runs before it tells that it has ended.
    pub(crate) started: bool,
}

/// An engine with what is around it.
pub(crate) struct Cluster {
    scenario: Scenario,
    engine: Engine,
    out: Output,
    now: u64,
    agents: Vec<Arc<str>>,
    agent_places: FxHashMap<Arc<str>, usize>,
    names: [Arc<str>; 4],
    leaves: Vec<Arc<str>>,
    leaf_places: FxHashMap<Arc<str>, usize>,
    demands: Vec<Arc<BTreeMap<Arc<str>, Amount>>>,
    next_offer: u64,
    /// What was offered and not yet used, by the offer's number.
    offers: FxHashMap<u64, Amounts>,
    /// What is left over and has to be offered again: place of the agent, amounts.
    left_over: Vec<(usize, Amounts)>,
    running: VecDeque<(AttemptId, usize, usize)>,
    /// How many were launched and not yet replaced, by queue and shape.
    missing: Vec<usize>,
    n_missing: usize,
}

fn units(amount: u64) -> Amount {
    Amount::from_units(amount).expect("small amounts")
}

/// The amount of the resource at this place; mem counts in MiB.
fn in_unit(place: usize, amount: u64) -> Amount {
    units(if place == 1 { amount * 1024 } else { amount })
}

fn scale(scenario: &Scenario) -> u64 {
    (scenario.n_queues as u64).div_ceil(1000)
}

/// How many of the resources are the machines' own.
fn n_host(scenario: &Scenario) -> usize {
    if scenario.shared { 2 } else { 4 }
}

/// The paths of all queues, parents first, and which of them are leaves.
fn queue_paths(scenario: &Scenario) -> (Vec<String>, Vec<String>) {
    if !scenario.deep {
        let leaves: Vec<_> = (0..scenario.n_queues)
            .map(|place| format!("q{place}"))
            .collect();
        return (leaves.clone(), leaves);
    }
    let width = (1..).find(|width: &usize| width.pow(3) >= scenario.n_queues);
    let width = width.expect("there is a third root");
    let (mut paths, mut leaves) = (Vec::new(), Vec::new());
    for top in 0..width {
        paths.push(format!("t{top}"));
        for middle in 0..width {
            let mut below = (0..width)
                .map(|leaf| (leaf, (leaf * width + middle) * width + top))
                .filter(|(_, place)| *place < scenario.n_queues)
                .peekable();
            if below.peek().is_some() {
                paths.push(format!("t{top}/m{middle}"));
            }
            for (leaf, _) in below {
                paths.push(format!("t{top}/m{middle}/q{leaf}"));
                leaves.push(format!("t{top}/m{middle}/q{leaf}"));
            }
        }
    }
    (paths, leaves)
}

fn settings(scenario: &Scenario, names: &[Arc<str>; 4]) -> EngineSettings {
    let scopes = [0, 1, 2, 3].map(|place| {
        if place < n_host(scenario) {
            return Scope::Host;
        }
        let capacity = units(AGENT[place] * scale(scenario) * N_AGENTS as u64);
        Scope::Cluster { capacity }
    });
    let resources = names
        .iter()
        .zip(scopes)
        .map(|(name, scope)| ResourceSettings {
            name: Arc::clone(name),
            scope,
        });
    let mut resources: Vec<_> = resources.collect();
    resources.sort_by(|one, other| one.name.cmp(&other.name));
    let queues = queue_paths(scenario).0.into_iter().enumerate();
    EngineSettings {
        resources,
        queues: queues
            .map(|(place, path)| QueueConfig {
                weight: Weight::from_milli(1000 * (1 + place as u32 % 5)).expect("above zero"),
                ..QueueConfig::new(path.into())
            })
            .collect(),
        policy: PolicyConfig::new(scenario.policy.into()),
        claims: ClaimSettings::default(),
        lost_max: 10,
        kill_grace: Duration::from_secs(10),
        retry_pause: Duration::from_secs(1),
        retry_pause_max: Duration::from_secs(300),
        live_max: 1 << 40,
    }
}

impl Cluster {
    /// An engine with its queues, without agents and tasks.
    pub(crate) fn empty(scenario: Scenario) -> Self {
        let names = ["cpus", "mem", "connections", "licences"].map(Arc::from);
        let mut engine = Engine::new(settings(&scenario, &names));
        engine.recovered(Time(0));
        let leaves: Vec<Arc<str>> = queue_paths(&scenario)
            .1
            .into_iter()
            .map(Arc::from)
            .collect();
        let demands = SHAPES.iter().map(|shape| {
            let amounts = names.iter().cloned().zip(shape.iter().enumerate());
            let amounts = amounts.map(|(name, (place, amount))| (name, in_unit(place, *amount)));
            Arc::new(amounts.filter(|(_, amount)| !amount.is_zero()).collect())
        });
        let agents: Vec<Arc<str>> = (0..N_AGENTS)
            .map(|place| format!("agent-{place:04}").into())
            .collect();
        Self {
            demands: demands.collect(),
            leaf_places: leaves.iter().cloned().zip(0..).collect(),
            agent_places: agents.iter().cloned().zip(0..).collect(),
            missing: vec![0; leaves.len() * SHAPES_PER_QUEUE],
            scenario,
            engine,
            out: Output::default(),
            now: 1,
            agents,
            names,
            leaves,
            next_offer: 0,
            offers: FxHashMap::default(),
            left_over: Vec::new(),
            running: VecDeque::new(),
            n_missing: 0,
        }
    }

    /// The same with tasks that wait and with agents that are full.
    pub(crate) fn full(scenario: Scenario) -> Self {
        let mut cluster = Self::empty(scenario);
        cluster.submit_all();
        cluster.add_agents();
        cluster.engine.turn(Time(cluster.now), &mut cluster.out);
        cluster.carry_out();
        cluster.replace();
        cluster
    }

    fn host_amounts(&self, amounts: Amounts) -> BTreeMap<Arc<str>, Amount> {
        let host = self.names.iter().zip(amounts).enumerate();
        let host = host.take(n_host(&self.scenario));
        let named = host.map(|(place, (name, amount))| (Arc::clone(name), in_unit(place, amount)));
        named.filter(|(_, amount)| !amount.is_zero()).collect()
    }

    fn offer(&mut self, agent: usize, free: Amounts) -> Event {
        self.next_offer += 1;
        self.offers.insert(self.next_offer, free);
        Event::OfferReceived {
            offer: OfferId(self.next_offer),
            agent: Arc::clone(&self.agents[agent]),
            free: self.host_amounts(free),
        }
    }

    fn add_agents(&mut self) {
        let mut total = AGENT.map(|amount| amount * scale(&self.scenario));
        total[n_host(&self.scenario)..].fill(0);
        for agent in 0..N_AGENTS {
            let seen = Event::AgentSeen {
                agent: Arc::clone(&self.agents[agent]),
                total: self.host_amounts(total),
                attributes: BTreeMap::new(),
            };
            let offer = self.offer(agent, total);
            for event in [seen, offer] {
                self.engine.on_event(Time(self.now), event, &mut self.out);
            }
        }
    }

    /// A task, or an array of `count`, of a queue's shape.
    fn new_task(&self, queue: usize, shape: usize, count: usize) -> NewTask {
        let last = u32::try_from(count - 1).expect("arrays are small");
        let spec = TaskSpec {
            queue: Arc::clone(&self.leaves[queue]),
            name: format!("tile {}/{shape}", self.now).into(),
            key: None,
            inbox: None,
            demand: Arc::clone(&self.demands[(queue + shape) % SHAPES.len()]),
            run: Run::Command(format!("render --tile {} --pass {shape}", self.now).into()),
            env: BTreeMap::new(),
            priority: 0,
            retries: 0,
            timeout: None,
            kill_grace: None,
            constraints: Arc::new(BTreeMap::new()),
            array: (!self.scenario.separate).then_some(ArrayRange {
                first: 0,
                last,
                step: 1,
            }),
        };
        NewTask {
            spec,
            after: Vec::new(),
            digest: [0; 16],
        }
    }

    /// How many tasks an array of a queue has.
    fn array_len(&self) -> usize {
        (self.scenario.n_tasks / self.scenario.n_queues / SHAPES_PER_QUEUE).max(1)
    }

    /// `n` separate tasks, over all queues in turn.
    pub(crate) fn separate_tasks(&self, n: usize) -> Vec<NewTask> {
        let n_queues = self.leaves.len();
        (0..n)
            .map(|place| self.new_task(place % n_queues, place / n_queues % SHAPES_PER_QUEUE, 1))
            .collect()
    }

    /// Submits, and gives how long the engine took, the turn that follows each request included.
    pub(crate) fn submit(&mut self, tasks: Vec<NewTask>) -> Duration {
        self.now += 1;
        let since = Stopwatch::start();
        let reply =
            self.engine
                .on_request(Time(self.now), Request::Submit { tasks }, &mut self.out);
        self.engine.turn(Time(self.now), &mut self.out);
        let took = since.elapsed();
        assert!(
            matches!(reply, Ok(Reply::Submitted(_))),
            "refused: {reply:?}"
        );
        took
    }

    /// The facts since they were last taken.
    pub(crate) fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.out.facts)
    }

    /// What the engine was made with.
    pub(crate) fn settings(&self) -> EngineSettings {
        settings(&self.scenario, &self.names)
    }

    fn submit_all(&mut self) {
        if self.scenario.separate {
            for done in (0..self.scenario.n_tasks).step_by(1000) {
                let tasks = self.separate_tasks(1000.min(self.scenario.n_tasks - done));
                self.submit(tasks);
                self.out.facts.clear();
            }
            return;
        }
        let len = self.array_len();
        for queue in 0..self.leaves.len() {
            let tasks = (0..SHAPES_PER_QUEUE).map(|shape| self.new_task(queue, shape, len));
            let tasks = tasks.collect();
            self.submit(tasks);
        }
        self.out.facts.clear();
    }

    /// What a backend would do with the decisions. Also forgets the facts, as a driver does.
    fn carry_out(&mut self) {
        self.out.facts.clear();
        self.out.n_decided = 0;
        for decision in std::mem::take(&mut self.out.decisions) {
            let Decision::Accept {
                agent,
                offers,
                launches,
            } = decision
            else {
                panic!("nothing was cancelled: {decision:?}")
            };
            let agent = self.agent_places[&agent];
            let mut rest = [0; 4];
            for offer in offers {
                let free = self.offers.remove(&offer.0).expect("an offer is used once");
                rest = std::array::from_fn(|place| rest[place] + free[place]);
            }
            for launch in launches {
                let place = self.launched_place(&launch.submission.spec);
                let used = self.host_part(place);
                rest = std::array::from_fn(|place| rest[place] - used[place]);
                self.missing[place] += 1;
                self.n_missing += 1;
                self.running.push_back((launch.attempt, agent, place));
            }
            if rest != [0; 4] {
                self.left_over.push((agent, rest));
            }
        }
    }

    /// The place of a queue and one of its shapes.
    fn launched_place(&self, spec: &TaskSpec) -> usize {
        let shape = usize::from(spec.name.ends_with("/1"));
        self.leaf_places[&spec.queue] * SHAPES_PER_QUEUE + shape
    }

    fn shape_at(&self, place: usize) -> usize {
        (place / SHAPES_PER_QUEUE + place % SHAPES_PER_QUEUE) % SHAPES.len()
    }

    /// What a task holds of its machine.
    fn host_part(&self, place: usize) -> Amounts {
        let mut amounts = SHAPES[self.shape_at(place)];
        amounts[n_host(&self.scenario)..].fill(0);
        amounts
    }

    /// Submits as many tasks as were launched, and lets the engine forget those that have ended.
    fn replace(&mut self) {
        let len = if self.scenario.separate {
            1
        } else {
            self.array_len()
        };
        let mut tasks = Vec::new();
        for place in 0..self.missing.len() {
            while self.missing[place] >= len {
                self.missing[place] -= len;
                tasks.push(self.new_task(place / SHAPES_PER_QUEUE, place % SHAPES_PER_QUEUE, len));
            }
        }
        if !tasks.is_empty() {
            self.submit(tasks);
            self.carry_out();
        }
        self.n_missing = 0;
        let forget = Request::Forget {
            ended_before: Time(self.now),
        };
        let reply = self
            .engine
            .on_request(Time(self.now), forget, &mut self.out);
        assert!(matches!(reply, Ok(Reply::Done)), "refused: {reply:?}");
        self.carry_out();
    }

    /// What the backend tells next: the ends of the oldest attempts, and what is free by that.
    fn next_events(&mut self) -> Vec<Event> {
        let mut events = Vec::with_capacity(3 * self.scenario.n_ends + self.left_over.len());
        for (agent, rest) in std::mem::take(&mut self.left_over) {
            events.push(self.offer(agent, rest));
        }
        for _ in 0..self.scenario.n_ends {
            let (attempt, agent, place) = self.running.pop_front().expect("the cluster is full");
            if self.scenario.started {
                events.push(Event::AttemptStarted { attempt });
            }
            events.push(Event::AttemptEnded {
                attempt,
                end: AttemptEnd::Exited { code: 0 },
                usage: Usage::default(),
                value: Value::default(),
            });
            events.push(self.offer(agent, self.host_part(place)));
        }
        events
    }

    /// Lets attempts end until `n` more decisions were made. Gives how long the engine took for as many,
    /// and how many ends there were for each decision.
    pub(crate) fn decide(&mut self, n: u64) -> (Duration, f64) {
        let (mut took, mut n_decided, mut n_ended) = (Duration::ZERO, 0, 0_u64);
        while n_decided < n {
            let events = self.next_events();
            self.now += 1;
            let now = Time(self.now);
            let since = Stopwatch::start();
            for event in events {
                self.engine.on_event(now, event, &mut self.out);
            }
            self.engine.turn(now, &mut self.out);
            took += since.elapsed();
            n_decided += self.out.n_decided;
            n_ended += self.scenario.n_ends as u64;
            self.carry_out();
            if self.n_missing >= REPLACE_EACH {
                self.replace();
            }
        }
        (
            took.mul_f64(n as f64 / n_decided as f64),
            n_ended as f64 / n_decided as f64,
        )
    }
}
