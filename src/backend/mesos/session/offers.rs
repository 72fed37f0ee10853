//! What is offered, what agents have, and how both are used: accept, decline.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use apportion_policies::Amount;
use rustc_hash::FxHashMap;

use super::{Action, AgentTotal, LiveAttempt, Session, kind};
use crate::backend::mesos::framework::{generation, is_generation, with_id};
use crate::backend::mesos::resources::{self, ByName, Pool};
use crate::backend::remote;
use crate::engine::decision::Launch;
use crate::engine::event::OfferId;
use crate::engine::outcome::LossReason;
use crate::engine::{AttemptId, Event, Time};
use crate::proto::mesos::v1::scheduler::{Call, call};
use crate::proto::mesos::v1::{
    self, AgentId, DurationInfo, ExecutorInfo, Filters, KillPolicy, Resource, TaskInfo, offer,
};

/// What Mesos accepts as the least of a resource.
const LEAST_MILLI: u64 = 1;

/// What constraints are compared with.
type Attributes = BTreeMap<Arc<str>, Arc<str>>;

/// An offer at hand.
#[derive(Debug)]
struct HeldOffer {
    id: v1::OfferId,
    agent: Arc<str>,
    resources: Vec<Resource>,
    since: Time,
}

/// What is known of an agent.
#[derive(Debug, Default)]
struct AgentBook {
    hostname: String,
    attributes: Attributes,
    /// All it has, as the master tells it.
    total: Option<ByName>,
    /// The most that was seen of it: offered, and held by our attempts.
    seen: ByName,
    /// What our attempts hold.
    used: ByName,
    n_attempts: u64,
    /// Our executors that live there, as far as the master knows, by their ids.
    executors: BTreeSet<String>,
    /// Descriptions of shared ones that were started there with reserved resources, without their generations: to be
    /// repeated to the letter.
    reserved: Vec<ExecutorInfo>,
    offers: BTreeSet<u64>,
    /// What the engine was told.
    told: Option<(ByName, Attributes)>,
}

/// All offers and agents.
#[derive(Debug, Default)]
pub(super) struct Book {
    offers: BTreeMap<u64, HeldOffer>,
    by_id: FxHashMap<String, u64>,
    next_offer: u64,
    agents: BTreeMap<Arc<str>, AgentBook>,
}

impl Book {
    /// An attempt holds this from now on.
    pub(super) fn charge(&mut self, agent: &Arc<str>, demand: &ByName) {
        let agent = self.agents.entry(Arc::clone(agent)).or_default();
        agent.n_attempts += 1;
        for (name, amount) in demand {
            resources::add(&mut agent.used, Arc::clone(name), *amount);
        }
    }

    /// It gave it back.
    pub(super) fn release(&mut self, agent: &str, demand: &ByName) {
        if let Some(agent) = self.agents.get_mut(agent) {
            agent.n_attempts = agent.n_attempts.saturating_sub(1);
            resources::subtract(&mut agent.used, demand);
        }
    }

    fn remove(&mut self, number: u64) -> Option<HeldOffer> {
        let offer = self.offers.remove(&number)?;
        self.by_id.remove(&offer.id.value);
        if let Some(agent) = self.agents.get_mut(&offer.agent) {
            agent.offers.remove(&number);
        }
        Some(offer)
    }
}

impl Session {
    /// An offer came. The engine is told what tasks may use of it.
    pub(super) fn offered(&mut self, now: Time, offer: v1::Offer) {
        let role = &self.settings.config.role;
        let agent: Arc<str> = offer.agent_id.value.as_str().into();
        let number = self.book.next_offer;
        self.book.next_offer += 1;
        let mut free = resources::usable(&offer.resources, role);
        let book = self.book.agents.entry(Arc::clone(&agent)).or_default();
        book.hostname.clone_from(&offer.hostname);
        book.attributes = resources::attributes(&offer.attributes, &offer.hostname);
        book.executors = (offer.executor_ids.iter())
            .map(|executor| executor.value.clone())
            .collect();
        let mut seen = free.clone();
        for (name, amount) in &book.used {
            resources::add(&mut seen, Arc::clone(name), *amount);
        }
        resources::raise(&mut book.seen, &seen);
        let executor = &self.settings.config.executor;
        let plain = self.executors.plain();
        if book.find_living(plain).is_none() && book.offers.is_empty() {
            // The first task there brings its executor along.
            let holds = |(name, amount): (&Arc<str>, &Amount)| {
                free.get(name).copied().unwrap_or_default() >= *amount
            };
            if executor.iter().all(holds) {
                resources::subtract(&mut free, executor);
            } else {
                free.clear();
            }
        }
        book.offers.insert(number);
        self.book.by_id.insert(offer.id.value.clone(), number);
        let held = HeldOffer {
            id: offer.id,
            agent: Arc::clone(&agent),
            resources: offer.resources,
            since: now,
        };
        self.book.offers.insert(number, held);
        self.tell_agent(&agent);
        self.tell(Event::OfferReceived {
            offer: OfferId(number),
            agent,
            free,
        });
        self.count_offers();
    }

    /// Tells the engine what an agent has, where that is new.
    fn tell_agent(&mut self, agent: &Arc<str>) {
        let executor = &self.settings.config.executor;
        let Some(book) = self.book.agents.get_mut(agent) else {
            return;
        };
        let mut total = book.total.as_ref().unwrap_or(&book.seen).clone();
        resources::subtract(&mut total, executor);
        let told = (total.clone(), book.attributes.clone());
        if book.told.as_ref() == Some(&told) {
            return;
        }
        book.told = Some(told);
        let attributes = book.attributes.clone();
        self.tell(Event::AgentSeen {
            agent: Arc::clone(agent),
            total,
            attributes,
        });
    }

    /// What the master says of its agents: all of them that are active.
    pub(crate) fn on_agents(&mut self, agents: Vec<AgentTotal>) {
        let listed: BTreeSet<Arc<str>> = (agents.iter())
            .map(|agent| Arc::clone(&agent.agent))
            .collect();
        for agent in agents {
            let book = self
                .book
                .agents
                .entry(Arc::clone(&agent.agent))
                .or_default();
            book.hostname = agent.hostname;
            book.attributes = agent.attributes;
            book.total = Some(agent.total);
            self.tell_agent(&agent.agent);
        }
        let is_gone = |(name, book): (&Arc<str>, &AgentBook)| {
            (!listed.contains(name) && book.offers.is_empty() && book.total.is_some())
                .then(|| Arc::clone(name))
        };
        let gone: Vec<Arc<str>> = self.book.agents.iter().filter_map(is_gone).collect();
        for agent in gone {
            self.lose_agent(&agent);
        }
    }

    /// An agent is gone, with its offers. Of its attempts Mesos tells apart.
    pub(super) fn lose_agent(&mut self, agent: &Arc<str>) {
        let Some(book) = self.book.agents.get_mut(agent) else {
            return;
        };
        let was_told = book.told.take().is_some();
        book.total = None;
        book.executors.clear();
        let offers: Vec<u64> = book.offers.iter().copied().collect();
        let is_unused = book.n_attempts == 0;
        for number in offers {
            self.book.remove(number);
        }
        if is_unused {
            self.book.agents.remove(agent);
        }
        if was_told {
            self.tell(Event::AgentLost {
                agent: Arc::clone(agent),
            });
        }
        self.count_offers();
    }

    /// An executor of ours has ended.
    pub(super) fn lose_executor(&mut self, agent: &str, executor: &str) {
        if let Some(book) = self.book.agents.get_mut(agent) {
            book.executors.remove(executor);
        }
    }

    /// An offer doesn't hold any more.
    pub(super) fn rescinded(&mut self, now: Time, id: &str) {
        let Some(number) = self.book.by_id.get(id).copied() else {
            return;
        };
        if let Some(offer) = self.book.remove(number) {
            self.ended(&offer, now, "rescinded");
            self.tell(Event::OfferRescinded {
                offer: OfferId(number),
            });
        }
        self.count_offers();
    }

    /// All offers went with their subscription.
    pub(super) fn forget_offers(&mut self, now: Time) {
        let offers: Vec<u64> = self.book.offers.keys().copied().collect();
        for number in offers {
            if let Some(offer) = self.book.remove(number) {
                self.ended(&offer, now, "forgotten");
            }
        }
        self.count_offers();
    }

    fn ended(&mut self, offer: &HeldOffer, now: Time, result: &'static str) {
        let held = now.since(offer.since);
        self.actions.push(Action::OfferEnded(result, held));
    }

    fn count_offers(&mut self) {
        self.actions
            .push(Action::OffersHeld(self.book.offers.len()));
    }

    /// Gives offers back.
    pub(super) fn decline(&mut self, now: Time, offers: &[OfferId]) {
        let offer_ids = self.take_offers(now, offers, "declined");
        let offer_ids: Vec<v1::OfferId> = offer_ids.into_iter().map(|offer| offer.id).collect();
        if !offer_ids.is_empty() {
            let filters = Some(self.filters());
            self.call(Call {
                decline: Some(call::Decline { offer_ids, filters }),
                ..kind(call::Type::Decline)
            });
        }
        self.count_offers();
    }

    fn take_offers(
        &mut self,
        now: Time,
        offers: &[OfferId],
        result: &'static str,
    ) -> Vec<HeldOffer> {
        let held: Vec<HeldOffer> = (offers.iter())
            .filter_map(|offer| self.book.remove(offer.0))
            .collect();
        for offer in &held {
            self.ended(offer, now, result);
        }
        held
    }

    /// The engine remembers what was not used and asks for it, so it need not come by itself.
    fn filters(&self) -> Filters {
        Filters {
            refuse_seconds: Some(self.settings.config.decline_for.as_secs_f64()),
        }
    }

    /// Launches on one agent. What can't be launched, because offers went away meanwhile, is lost at once.
    pub(super) fn accept(
        &mut self,
        now: Time,
        agent: &Arc<str>,
        offers: &[OfferId],
        launches: Vec<Launch>,
    ) {
        let held = self.take_offers(now, offers, "accepted");
        self.count_offers();
        let offer_ids: Vec<v1::OfferId> = held.iter().map(|offer| offer.id.clone()).collect();
        let entries = held.into_iter().flat_map(|offer| offer.resources);
        let mut pool = Pool::new(entries, &self.settings.config.role);
        let mut shared = None;
        let mut operations = Vec::new();
        let mut launched = Vec::new();
        for launch in launches {
            let attempt = launch.attempt;
            let demand = Arc::clone(&launch.submission.spec.demand);
            self.book.charge(agent, &demand);
            let live = LiveAttempt {
                agent: Arc::clone(agent),
                demand,
                launched_at: Some(now),
                heard_at: now,
                is_started: false,
                n_unknown: 0,
                is_doubtful: false,
            };
            self.attempts.insert(attempt, live);
            match self.task_info(now, agent, &launch, &mut pool, &mut shared) {
                Some(task) if !offer_ids.is_empty() => {
                    operations.push(operation(task));
                    launched.push(attempt);
                }
                Some(_) | None => self.lose(attempt, LossReason::LaunchDropped),
            }
        }
        if offer_ids.is_empty() {
            return;
        }
        let filters = Some(self.filters());
        let called = self.call(Call {
            accept: Some(call::Accept {
                offer_ids,
                operations,
                filters,
            }),
            ..kind(call::Type::Accept)
        });
        self.remember_accept(called, launched);
    }

    fn remember_accept(&mut self, called: Option<u64>, launched: Vec<AttemptId>) {
        match called {
            Some(id) => {
                self.accepts.insert(id, launched);
            }
            None => {
                for attempt in launched {
                    self.lose(attempt, LossReason::LaunchDropped);
                }
            }
        }
    }

    /// The description of a task, with its resources cut out of what is offered; `None` where that is too little.
    fn task_info(
        &mut self,
        now: Time,
        agent: &Arc<str>,
        launch: &Launch,
        pool: &mut Pool,
        shared: &mut Option<ExecutorInfo>,
    ) -> Option<TaskInfo> {
        let spec = &launch.submission.spec;
        let task_id = launch.attempt.to_string();
        let executor = if self
            .settings
            .config
            .placement
            .isolated_queues
            .contains(&spec.queue)
        {
            self.executors.of_one(&task_id)
        } else {
            if shared.is_none() {
                *shared = self.shared_executor(now, agent, pool);
            }
            shared.clone()?
        };
        let cluster = &self.settings.config.placement.cluster_resources;
        let wanted = spec.demand.iter().filter_map(|(name, amount)| {
            // What agents don't bring at all is of cluster scope since a reload.
            let is_host = !cluster.contains(name) && (pool.left(name) > 0 || is_standard(name));
            is_host.then_some((&**name, amount.milli()))
        });
        let mut wanted: Vec<(&str, u64)> = wanted.collect();
        if wanted.is_empty() {
            // Mesos wants a task to have something.
            let least = ["cpus", "mem"].into_iter();
            let least = least.filter(|name| pool.left(name) >= LEAST_MILLI).take(1);
            wanted.extend(least.map(|name| (name, LEAST_MILLI)));
        }
        let resources = pool.take(wanted.into_iter())?;
        let kill_policy = spec.kill_grace.map(|grace| KillPolicy {
            grace_period: Some(DurationInfo {
                nanoseconds: i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX),
            }),
        });
        let upload = (self.settings.upload)(launch.attempt);
        let containments = &self.settings.config.placement.containments;
        let limits = &containments.of(&spec.queue).limits;
        let name = if spec.name.is_empty() {
            format!("task {}", launch.attempt.task)
        } else {
            spec.name.to_string()
        };
        Some(TaskInfo {
            name,
            task_id: v1::TaskId { value: task_id },
            agent_id: AgentId {
                value: agent.to_string(),
            },
            resources,
            executor: Some(executor),
            data: Some(remote::launch::to_bytes(launch, &upload, limits).into()),
            kill_policy,
        })
    }

    /// The shared executor of an agent: the one that lives there, or a new one, whose resources are cut out of
    /// what is offered.
    fn shared_executor(
        &mut self,
        now: Time,
        agent: &Arc<str>,
        pool: &mut Pool,
    ) -> Option<ExecutorInfo> {
        let plain = self.executors.plain();
        let book = self.book.agents.get_mut(agent)?;
        if let Some(living) = book.find_living(plain) {
            return Some(living);
        }
        let started = if pool.take_exactly(&plain.resources) {
            generation(plain, now)
        } else {
            let amounts = &self.settings.config.executor;
            let wanted = amounts.iter().map(|(name, it)| (&**name, it.milli()));
            let reserved = self.executors.shared(pool.take(wanted)?);
            let started = generation(&reserved, now);
            if !book.reserved.contains(&reserved) {
                book.reserved.push(reserved);
            }
            started
        };
        (book.executors).insert(started.executor_id.value.clone());
        Some(started)
    }
}

impl AgentBook {
    /// The shared executor of ours that lives there, and whose description is known. `plain` is the usual one.
    fn find_living(&self, plain: &ExecutorInfo) -> Option<ExecutorInfo> {
        // The latest is the least likely to be about to end.
        self.executors.iter().rev().find_map(|id| {
            let mut known = self.reserved.iter().chain([plain]);
            let description = known.find(|info| is_generation(info, id))?;
            Some(with_id(description, id.clone()))
        })
    }
}

/// Whether every agent can bring it.
fn is_standard(name: &str) -> bool {
    matches!(name, "cpus" | "mem" | "disk" | "gpus")
}

/// One operation for each task, so that one that is refused takes no other along.
fn operation(task: TaskInfo) -> offer::Operation {
    offer::Operation {
        r#type: Some(offer::operation::Type::Launch as i32),
        launch: Some(offer::operation::Launch {
            task_infos: vec![task],
        }),
    }
}
