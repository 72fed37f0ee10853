//! The agents with what they have, what live attempts hold of it, and what is offered.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use apportion_policies::{Amount, Amounts, Demand};
use rustc_hash::FxHashMap;

use super::super::event::OfferId;
use super::super::request::ByName;
use super::hopes::Hopes;
use super::resources::Resources;

/// The place of an agent. Used again when it is gone and nothing of it is left.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct AgentIndex(u32);

/// An offer at hand.
#[derive(Clone, Debug)]
struct HeldOffer {
    id: OfferId,
    /// Its place among all offers, in the order they came.
    order: u64,
    free: ByName<Amount>,
}

/// An agent.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// False before it is first seen and after it is lost, while attempts are still on it.
    pub(crate) is_known: bool,
    /// All it has; zero while it isn't known.
    pub(crate) total: Amounts,
    /// What constraints are compared with.
    pub(crate) attributes: ByName<Arc<str>>,
    /// What live attempts demand, cluster resources included.
    pub(crate) used: Amounts,
    /// How many live attempts are on it.
    pub(crate) n_attempts: u64,
    /// The sum of its offers.
    pub(crate) offered: Amounts,
    total_by_name: ByName<Amount>,
    offers: Vec<HeldOffer>,
    /// Where its offers were declined: their place among all offers. Then `offered` is what they were.
    declined: Option<u64>,
    /// Whether it is among those to be looked at in the next turn.
    is_touched: bool,
    /// Whether it is among those that got offers since they were asked for.
    is_newly_offering: bool,
}

impl Agent {
    /// Its first offer's place in the order they came; `None` where nothing is offered and nothing declined.
    fn order(&self) -> Option<u64> {
        self.offers
            .first()
            .map(|offer| offer.order)
            .or(self.declined)
    }

    /// Whether something is offered, or was and has been declined.
    pub(crate) fn is_offering(&self) -> bool {
        self.order().is_some()
    }

    /// Whether what it offers was declined, so that it would have to be asked for again.
    pub(crate) fn is_declined(&self) -> bool {
        self.declined.is_some()
    }

    fn sum_offers(&mut self, resources: &Resources) {
        self.offered.reset(resources.len());
        for offer in &self.offers {
            resources.add_host_amounts(&offer.free, &mut self.offered);
        }
    }

    /// Whether an agent of these attributes meets constraints.
    pub(crate) fn meets(&self, constraints: &[(Arc<str>, Arc<str>)]) -> bool {
        let met = |(name, value): &(Arc<str>, Arc<str>)| self.attributes.get(name) == Some(value);
        constraints.iter().all(met)
    }
}

/// All agents.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    slots: Vec<Option<Agent>>,
    free: Vec<AgentIndex>,
    by_name: BTreeMap<Arc<str>, AgentIndex>,
    /// The same, to look one up: each event names its agent.
    indexes: FxHashMap<Arc<str>, AgentIndex>,
    offers: FxHashMap<OfferId, AgentIndex>,
    /// Agents whose offer grew, or of which something was given back.
    touched: Vec<AgentIndex>,
    /// By word of 64 shapes, then by agent: the shapes whose demand of host resources an agent's offers
    /// held when it was last looked at, or more. In columns, so that a thousand agents are passed over in
    /// less than a microsecond where a cluster resource comes free.
    hopes: Vec<Hopes>,
    /// Agents that had no offers before they got one, since this was asked last.
    newly_offering: Vec<AgentIndex>,
    next_order: u64,
    /// Whether what all agents have together, or what one has, changed.
    pub(crate) has_changed: bool,
}

impl Agents {
    /// The agent of a name, known or not.
    pub(crate) fn find(&self, name: &str) -> Option<AgentIndex> {
        self.indexes.get(name).copied()
    }

    /// The agent of an index in use.
    pub(crate) fn get(&self, index: AgentIndex) -> &Agent {
        self.slots[index.0 as usize]
            .as_ref()
            .expect("an agent in use is there")
    }

    fn get_mut(&mut self, index: AgentIndex) -> &mut Agent {
        self.slots[index.0 as usize]
            .as_mut()
            .expect("an agent in use is there")
    }

    /// All agents, those that aren't known included, in order of names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (AgentIndex, &Agent)> {
        self.by_name
            .values()
            .map(|index| (*index, self.get(*index)))
    }

    /// The agents that are known, in order of names.
    pub(crate) fn known(&self) -> impl Iterator<Item = &Agent> {
        self.iter()
            .map(|(_, agent)| agent)
            .filter(|agent| agent.is_known)
    }

    /// The agent of a name, made if need be.
    pub(crate) fn ensure(&mut self, name: &Arc<str>) -> AgentIndex {
        if let Some(index) = self.find(name) {
            return index;
        }
        let agent = Agent {
            name: Arc::clone(name),
            is_known: false,
            total: Amounts::default(),
            attributes: ByName::new(),
            used: Amounts::default(),
            n_attempts: 0,
            offered: Amounts::default(),
            total_by_name: ByName::new(),
            offers: Vec::new(),
            declined: None,
            is_touched: false,
            is_newly_offering: false,
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            AgentIndex(u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 agents"))
        });
        self.slots[index.0 as usize] = Some(agent);
        self.by_name.insert(Arc::clone(name), index);
        self.indexes.insert(Arc::clone(name), index);
        index
    }

    /// An agent was seen, or what it has has changed.
    pub(crate) fn seen(
        &mut self,
        name: &Arc<str>,
        total: ByName<Amount>,
        attributes: ByName<Arc<str>>,
        resources: &Resources,
    ) {
        let index = self.ensure(name);
        let agent = self.get_mut(index);
        if agent.is_known && agent.total_by_name == total && agent.attributes == attributes {
            return;
        }
        agent.is_known = true;
        agent.total = resources.host_amounts(&total);
        agent.total_by_name = total;
        agent.attributes = attributes;
        self.has_changed = true;
        self.touch(index);
    }

    /// An agent is gone, with its offers.
    pub(crate) fn lost(&mut self, name: &str) {
        let Some(index) = self.find(name) else { return };
        self.drop_offers(index);
        let agent = self.get_mut(index);
        self.has_changed |= agent.is_known;
        let agent = self.get_mut(index);
        agent.is_known = false;
        agent.total = Amounts::default();
        agent.total_by_name.clear();
        agent.attributes.clear();
        self.drop_if_unused(index);
    }

    /// Takes in an offer, unless its agent isn't known or the offer is at hand already.
    pub(crate) fn offered(
        &mut self,
        id: OfferId,
        name: &str,
        free: ByName<Amount>,
        resources: &Resources,
    ) {
        let Some(index) = self.find(name).filter(|index| self.get(*index).is_known) else {
            return;
        };
        match self.offers.entry(id) {
            Entry::Occupied(_) => return,
            Entry::Vacant(vacant) => vacant.insert(index),
        };
        let order = self.next_order;
        self.next_order += 1;
        if self.get(index).is_declined() {
            // What was declined is in what is offered now.
            self.drop_offers(index);
        }
        let agent = self.slots[index.0 as usize].as_mut();
        let agent = agent.expect("an agent in use is there");
        resources.add_host_amounts(&free, &mut agent.offered);
        if agent.offers.is_empty() && !std::mem::replace(&mut agent.is_newly_offering, true) {
            self.newly_offering.push(index);
        }
        agent.offers.push(HeldOffer { id, order, free });
        if !std::mem::replace(&mut agent.is_touched, true) {
            self.touched.push(index);
        }
    }

    /// An offer doesn't hold any more.
    pub(crate) fn rescinded(&mut self, id: OfferId, resources: &Resources) {
        let Some(index) = self.offers.remove(&id) else {
            return;
        };
        let agent = self.get_mut(index);
        agent.offers.retain(|offer| offer.id != id);
        agent.sum_offers(resources);
    }

    /// Uses up, or drops, all offers of an agent, and says which they were.
    pub(crate) fn drop_offers(&mut self, index: AgentIndex) -> Vec<OfferId> {
        let agent = self.get_mut(index);
        let offers: Vec<OfferId> = agent.offers.drain(..).map(|offer| offer.id).collect();
        agent.offered.reset(0);
        agent.declined = None;
        self.set_hopes(index, &[]);
        for id in &offers {
            self.offers.remove(id);
        }
        offers
    }

    /// The agents that got offers since this was asked last, and still have some, in the order they came.
    pub(crate) fn take_offering(&mut self) -> Vec<AgentIndex> {
        let mut offering = std::mem::take(&mut self.newly_offering);
        for index in &offering {
            if let Some(agent) = &mut self.slots[index.0 as usize] {
                agent.is_newly_offering = false;
            }
        }
        let order = |index: &AgentIndex| {
            let agent = self.slots[index.0 as usize].as_ref();
            agent
                .and_then(|agent| agent.offers.first())
                .map(|offer| offer.order)
        };
        offering.retain(|index| order(index).is_some());
        offering.sort_unstable_by_key(order);
        offering.dedup();
        offering
    }

    /// Whether no agent is listed twice for [`Agents::take_offering`]. For invariants only.
    pub(crate) fn lists_are_short(&self) -> bool {
        self.newly_offering.len() <= self.slots.len()
    }

    /// Lists an agent again for [`Agents::take_offering`]: its offers were held.
    pub(crate) fn hold_offers(&mut self, index: AgentIndex) {
        if !std::mem::replace(&mut self.get_mut(index).is_newly_offering, true) {
            self.newly_offering.push(index);
        }
    }

    /// Gives all offers of an agent back, says which they were, and remembers what they held.
    pub(crate) fn decline(&mut self, index: AgentIndex) -> Vec<OfferId> {
        let agent = self.get_mut(index);
        agent.declined = agent.order();
        let offers: Vec<OfferId> = agent.offers.drain(..).map(|offer| offer.id).collect();
        for id in &offers {
            self.offers.remove(id);
        }
        offers
    }

    /// Remembers what is left of offers that were used.
    pub(crate) fn remember_declined(&mut self, index: AgentIndex, left: &Amounts) {
        let order = self.next_order;
        self.next_order += 1;
        let agent = self.get_mut(index);
        agent.declined = Some(order);
        agent.offered.clone_from(left);
        self.touch(index);
    }

    /// Forgets what was declined: it comes again by itself, or not at all.
    pub(crate) fn forget_declined(&mut self) {
        self.forget_where(Agent::is_declined);
    }

    /// Forgets all offers, and what was declined.
    pub(crate) fn forget_offers(&mut self) {
        self.forget_where(|agent| agent.order().is_some());
    }

    fn forget_where(&mut self, is_due: impl Fn(&Agent) -> bool) {
        let due: Vec<AgentIndex> = self
            .iter()
            .filter(|(_, agent)| is_due(agent))
            .map(|(index, _)| index)
            .collect();
        for index in due {
            self.drop_offers(index);
        }
    }

    /// An attempt holds this of the agent from now on.
    pub(crate) fn charge(&mut self, index: AgentIndex, demand: &Demand) {
        let agent = self.get_mut(index);
        agent.used.add(demand);
        agent.n_attempts += 1;
    }

    /// An attempt gave it back.
    pub(crate) fn release(&mut self, index: AgentIndex, demand: &Demand) {
        let agent = self.get_mut(index);
        agent.used.subtract(demand);
        agent.n_attempts -= 1;
        self.touch(index);
        self.drop_if_unused(index);
    }

    fn drop_if_unused(&mut self, index: AgentIndex) {
        let agent = self.get(index);
        if !agent.is_known && agent.n_attempts == 0 {
            let name = Arc::clone(&agent.name);
            self.by_name.remove(&name);
            self.indexes.remove(&name);
            self.slots[index.0 as usize] = None;
            self.newly_offering.retain(|other| *other != index);
            self.free.push(index);
        }
    }

    /// Something of an agent may be used that couldn't before.
    pub(crate) fn touch(&mut self, index: AgentIndex) {
        let agent = self.get_mut(index);
        if !std::mem::replace(&mut agent.is_touched, true) {
            self.touched.push(index);
        }
    }

    /// The agents with offers that changed, or on which something came free, since this was asked last,
    /// in the order of their first offer.
    pub(crate) fn take_touched(&mut self, touched: &mut Vec<(u64, AgentIndex)>) {
        touched.clear();
        for index in self.touched.drain(..) {
            let Some(agent) = &mut self.slots[index.0 as usize] else {
                continue;
            };
            // A place used again may stand here twice; the flag counts once.
            if std::mem::replace(&mut agent.is_touched, false) {
                touched.extend(agent.order().map(|order| (order, index)));
            }
        }
        touched.sort_unstable();
    }

    /// Notes which shapes an agent's offers hold, as far as host resources go.
    pub(crate) fn set_hopes(&mut self, index: AgentIndex, words: &[u64]) {
        let n_words = words.len().max(self.hopes.len());
        self.hopes.resize(n_words, Hopes::default());
        let words = words.iter().copied().chain(std::iter::repeat(0));
        for (hopes, word) in self.hopes.iter_mut().zip(words) {
            hopes.set(index.0 as usize, word);
        }
    }

    /// Adds the agents whose offers may hold one of these shapes, in no order, and more than once where
    /// they are of several words. Costs one look for each of them and for each 32 agents and word of shapes.
    pub(crate) fn add_hopeful(&self, among: &[u64], hopeful: &mut Vec<(u64, AgentIndex)>) {
        let words = among.iter().zip(&self.hopes);
        for (word, hopes) in words.filter(|(word, _)| **word != 0) {
            hopes.having(*word, |place| {
                let order = self.slots[place].as_ref().and_then(Agent::order);
                let place = u32::try_from(place).expect("fewer than 2^32 agents");
                hopeful.extend(order.map(|order| (order, AgentIndex(place))));
            });
        }
    }

    /// All agents with offers, or with what was declined of them.
    pub(crate) fn offering(&self) -> impl Iterator<Item = AgentIndex> + '_ {
        let agents = self.iter().filter(|(_, agent)| agent.order().is_some());
        agents.map(|(index, _)| index)
    }

    /// Sets in `free`, which has room for all resources, what may be consumed of an agent's host resources now: what
    /// it offers, but never more than it has left, whatever a backend offers.
    pub(crate) fn free_of(&self, index: AgentIndex, resources: &Resources, free: &mut Amounts) {
        let agent = self.get(index);
        let free = free.as_mut_slice();
        for id in resources.host().iter().copied() {
            let left = agent.total.get(id).saturating_sub(agent.used.get(id));
            free[id.index()] = agent.offered.get(id).min(left);
        }
    }

    /// Other resources, or other ids of the same: everything by id is made anew from the names. What
    /// attempts hold must be charged again.
    pub(crate) fn reload(&mut self, resources: &Resources) {
        self.forget_declined();
        for agent in self.slots.iter_mut().flatten() {
            agent.total = resources.host_amounts(&agent.total_by_name);
            agent.sum_offers(resources);
            agent.used = Amounts::zero(resources.len());
            agent.n_attempts = 0;
        }
        self.has_changed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_declined_takes_its_place_among_the_offers_that_come() {
        let (mut agents, resources) = (Agents::default(), Resources::default());
        let indexes = ["a", "b", "c"].map(|name| agents.ensure(&Arc::from(name)));
        for name in ["a", "b", "c"] {
            let name = Arc::from(name);
            agents.seen(&name, ByName::new(), ByName::new(), &resources);
        }
        let offer = |agents: &mut Agents, id: u64, name: &str| {
            agents.offered(OfferId(id), name, ByName::new(), &resources);
        };
        offer(&mut agents, 1, "c");
        offer(&mut agents, 2, "b");
        agents.drop_offers(indexes[2]);
        agents.remember_declined(indexes[2], &Amounts::default());
        offer(&mut agents, 3, "a");
        let mut touched = Vec::new();
        agents.take_touched(&mut touched);
        let in_order: Vec<AgentIndex> = touched.iter().map(|(_, index)| *index).collect();
        assert_eq!(in_order, [1, 2, 0].map(|place| indexes[place]));
    }
}
