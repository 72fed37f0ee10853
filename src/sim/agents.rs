//! Simulated agents: what they have, what attempts hold of it, and the offers that they make.

use std::collections::BTreeMap;
use std::sync::Arc;

use apportion_policies::Amount;

use crate::engine::Event;
use crate::engine::event::OfferId;
use crate::engine::request::ByName;

/// An agent to simulate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentSpec {
    /// Its name, unique.
    pub name: Arc<str>,
    /// All it has of host resources.
    pub resources: ByName<Amount>,
    /// What constraints are compared with.
    pub attributes: ByName<Arc<str>>,
}

/// One agent.
#[derive(Debug)]
struct Agent {
    spec: AgentSpec,
    used: ByName<Amount>,
    /// What its offers that still stand hold.
    offered: ByName<Amount>,
    is_there: bool,
}

/// All agents, in the order in which they were declared.
#[derive(Debug, Default)]
pub(super) struct Agents {
    list: Vec<Agent>,
    by_name: BTreeMap<Arc<str>, usize>,
    n_offers: u64,
}

impl Agents {
    /// An agent joins, returns, or has changed what it has.
    pub(super) fn join(&mut self, spec: AgentSpec) -> Event {
        let event = Event::AgentSeen {
            agent: Arc::clone(&spec.name),
            total: spec.resources.clone(),
            attributes: spec.attributes.clone(),
        };
        match self.by_name.get(&spec.name) {
            Some(place) => {
                let agent = &mut self.list[*place];
                agent.spec = spec;
                agent.is_there = true;
            }
            None => {
                self.by_name.insert(Arc::clone(&spec.name), self.list.len());
                self.list.push(Agent {
                    spec,
                    used: BTreeMap::new(),
                    offered: BTreeMap::new(),
                    is_there: true,
                });
            }
        }
        event
    }

    /// As it was declared last; `None` for one that never was.
    pub(super) fn find_spec(&self, name: &str) -> Option<&AgentSpec> {
        Some(&self.list[*self.by_name.get(name)?].spec)
    }

    /// An agent is gone. False for one that isn't there.
    pub(super) fn lose(&mut self, name: &str) -> bool {
        let place = self.by_name.get(name);
        place.is_some_and(|place| std::mem::take(&mut self.list[*place].is_there))
    }

    /// The names of those that are there, in the order in which they were declared.
    pub(super) fn present(&self) -> Vec<Arc<str>> {
        let there = self.list.iter().filter(|agent| agent.is_there);
        there.map(|agent| Arc::clone(&agent.spec.name)).collect()
    }

    /// It offers what is free and not offered yet; `None` where nothing is, or where it isn't there.
    pub(super) fn offer(&mut self, name: &str) -> Option<(OfferId, Event)> {
        let agent = &mut self.list[*self.by_name.get(name)?];
        if !agent.is_there {
            return None;
        }
        let mut free = agent.spec.resources.clone();
        for (name, amount) in &mut free {
            for taken in [&agent.used, &agent.offered] {
                *amount = amount.saturating_sub(taken.get(name).copied().unwrap_or_default());
            }
        }
        free.retain(|_, amount| !amount.is_zero());
        if free.is_empty() {
            return None;
        }
        for (name, amount) in &free {
            let offered = agent.offered.entry(Arc::clone(name)).or_default();
            *offered = offered.saturating_add(*amount);
        }
        self.n_offers += 1;
        let offer = OfferId(self.n_offers);
        let agent = Arc::clone(&agent.spec.name);
        Some((offer, Event::OfferReceived { offer, agent, free }))
    }

    /// What an agent has offered was accepted or taken back: the offers are gone.
    pub(super) fn end_offers(&mut self, name: &str) {
        self.list[self.by_name[name]].offered.clear();
    }

    /// An attempt holds its demand from now on.
    ///
    /// # Panics
    /// If the engine launched more than the agent has left: it never does.
    pub(super) fn launched(&mut self, name: &str, demand: &ByName<Amount>) {
        let agent = &mut self.list[self.by_name[name]];
        for (name, total) in &agent.spec.resources {
            let Some(amount) = demand.get(name) else {
                continue;
            };
            let used = agent.used.entry(Arc::clone(name)).or_default();
            *used = used.saturating_add(*amount);
            assert!(
                *used <= *total,
                "an agent is never over-committed in {name}"
            );
        }
    }

    /// An attempt has ended and gives back what it held.
    pub(super) fn ended(&mut self, name: &str, demand: &ByName<Amount>) {
        let agent = &mut self.list[self.by_name[name]];
        for (name, used) in &mut agent.used {
            if let Some(amount) = demand.get(name) {
                *used = used.saturating_sub(*amount);
            }
        }
    }
}
