//! What a task consumes ([`Demand`], sparse) and one amount per resource ([`Amounts`], dense).

use crate::amount::Amount;
use crate::ids::ResourceId;

/// One amount per resource, indexed by [`ResourceId`]. A resource beyond the end counts as zero.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Amounts(Vec<Amount>);

/// What a task consumes while it runs: the resources it asks for, in order of their ids, each above
/// zero and named once. Zero entries are dropped: to ask for nothing is not to ask.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Demand(Box<[(ResourceId, Amount)]>);

impl Amounts {
    /// Zero of each of `count` resources.
    #[must_use]
    pub fn zero(count: usize) -> Self {
        Self(vec![Amount::ZERO; count])
    }

    /// Makes this zero of each of `count` resources, in the room that is there.
    pub fn reset(&mut self, count: usize) {
        self.0.resize(count, Amount::ZERO);
        self.0.fill(Amount::ZERO);
    }

    /// The amount of one resource.
    #[must_use]
    pub fn get(&self, resource: ResourceId) -> Amount {
        self.0.get(resource.index()).copied().unwrap_or_default()
    }

    /// Sets one amount; the vector grows as needed.
    pub fn set(&mut self, resource: ResourceId, amount: Amount) {
        if resource.index() >= self.0.len() {
            self.0.resize(resource.index() + 1, Amount::ZERO);
        }
        self.0[resource.index()] = amount;
    }

    /// All amounts, in order of resource ids.
    #[must_use]
    pub fn as_slice(&self) -> &[Amount] {
        &self.0
    }

    /// The same, to change them.
    pub fn as_mut_slice(&mut self) -> &mut [Amount] {
        &mut self.0
    }

    /// Each resource with its amount, zeros included.
    pub fn iter(&self) -> impl Iterator<Item = (ResourceId, Amount)> + '_ {
        self.0
            .iter()
            .enumerate()
            .map(|(index, amount)| (ResourceId::new(index), *amount))
    }

    /// Adds a demand.
    ///
    /// # Panics
    /// If a sum passes [`Amount::MAX`]: what is in use never does.
    pub fn add(&mut self, demand: &Demand) {
        for (resource, amount) in demand.iter() {
            if resource.index() >= self.0.len() {
                self.0.resize(resource.index() + 1, Amount::ZERO);
            }
            let there = &mut self.0[resource.index()];
            let sum = there.checked_add(amount);
            *there = sum.expect("a sum of demands in use stays below 2^48");
        }
    }

    /// Takes a demand off.
    ///
    /// # Panics
    /// If less is there than is taken: nothing is given back twice.
    pub fn subtract(&mut self, demand: &Demand) {
        for (resource, amount) in demand.iter() {
            // A demand's amounts are above zero, so a resource beyond the end can't be taken off.
            let there = self.0.get_mut(resource.index());
            let there = there.expect("no more is given back than was taken");
            let rest = there.checked_sub(amount);
            *there = rest.expect("no more is given back than was taken");
        }
    }

    /// Whether `demand` fits into these amounts.
    #[must_use]
    pub fn hold(&self, demand: &Demand) -> bool {
        demand
            .iter()
            .all(|(resource, amount)| amount <= self.get(resource))
    }
}

impl Demand {
    /// From pairs in any order; zeros are dropped, and of two entries for one resource the last counts.
    #[must_use]
    pub fn new(pairs: impl IntoIterator<Item = (ResourceId, Amount)>) -> Self {
        let mut pairs: Vec<(ResourceId, Amount)> = pairs.into_iter().collect();
        if !pairs.is_sorted_by(|one, other| one.0 < other.0) {
            // The last of each resource comes first, and stays.
            pairs.reverse();
            pairs.sort_by_key(|(id, _)| *id);
            pairs.dedup_by_key(|(id, _)| *id);
        }
        pairs.retain(|(_, amount)| !amount.is_zero());
        Self(pairs.into_boxed_slice())
    }

    /// The resources asked for, in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (ResourceId, Amount)> + '_ {
        self.0.iter().copied()
    }

    /// How much of one resource; zero where it isn't asked for.
    #[must_use]
    pub fn get(&self, resource: ResourceId) -> Amount {
        self.0
            .binary_search_by_key(&resource, |(id, _)| *id)
            .map_or(Amount::ZERO, |index| self.0[index].1)
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
