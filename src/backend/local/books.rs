//! What of the machine is offered, and what attempts hold. Together it is always the whole machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use apportion_policies::Amount;

use crate::engine::event::OfferId;

/// Amounts by resource name; zeros left out.
pub(super) type Resources = BTreeMap<Arc<str>, Amount>;

/// The offers that are out.
#[derive(Debug)]
pub(super) struct Books {
    total: Resources,
    offers: BTreeMap<OfferId, Resources>,
    n_offers_ever: u64,
}

impl Books {
    /// Of a machine that has this.
    pub(super) fn new(total: Resources) -> Self {
        Self {
            total,
            offers: BTreeMap::new(),
            n_offers_ever: 0,
        }
    }

    /// All that the machine has.
    pub(super) fn total(&self) -> &Resources {
        &self.total
    }

    /// The part of a demand that this machine bears; the rest is the cluster's.
    pub(super) fn host_part(&self, demand: &Resources) -> Resources {
        let is_own = |(name, amount): &(&Arc<str>, &Amount)| {
            self.total.contains_key(*name) && !amount.is_zero()
        };
        demand
            .iter()
            .filter(is_own)
            .map(|(name, amount)| (Arc::clone(name), *amount))
            .collect()
    }

    /// Takes offers back, for they were accepted; what was in them. Unknown ones hold nothing.
    pub(super) fn accept(&mut self, offers: &[OfferId]) -> Resources {
        let mut sum = Resources::new();
        for offer in offers {
            add(&mut sum, self.offers.remove(offer).unwrap_or_default());
        }
        sum
    }

    /// Makes an offer; `None` where there is nothing to offer.
    pub(super) fn offer(&mut self, mut free: Resources) -> Option<(OfferId, Resources)> {
        free.retain(|_, amount| !amount.is_zero());
        if free.is_empty() {
            return None;
        }
        self.n_offers_ever += 1;
        let id = OfferId(self.n_offers_ever);
        self.offers.insert(id, free.clone());
        Some((id, free))
    }
}

/// Adds up.
pub(super) fn add(sum: &mut Resources, more: Resources) {
    for (name, amount) in more {
        let sum = sum.entry(name).or_default();
        *sum = sum.saturating_add(amount);
    }
}

/// Takes a demand out of what is free. False, and nothing taken, where it doesn't fit.
pub(super) fn take(free: &mut Resources, demand: &Resources) -> bool {
    let left: Option<Vec<(Arc<str>, Amount)>> = demand
        .iter()
        .map(|(name, amount)| {
            let free = free.get(name).copied().unwrap_or_default();
            Some((Arc::clone(name), free.checked_sub(*amount)?))
        })
        .collect();
    let Some(left) = left else { return false };
    free.extend(left);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources<const N: usize>(pairs: [(&str, u64); N]) -> Resources {
        pairs
            .map(|(name, amount)| (name.into(), Amount::from_units(amount).unwrap()))
            .into()
    }

    #[test]
    fn nothing_is_gained_or_lost_by_accepting() {
        let mut books = Books::new(resources([("cpus", 8), ("mem", 100)]));
        let (first, free) = books.offer(books.total().clone()).unwrap();
        assert_eq!(free, *books.total());
        let mut free = books.accept(&[first]);
        let demand = books.host_part(&resources([("cpus", 3), ("db_connections", 2)]));
        assert_eq!(demand, resources([("cpus", 3)]));
        assert!(take(&mut free, &demand));
        let (second, rest) = books.offer(free).unwrap();
        assert_eq!(rest, resources([("cpus", 5), ("mem", 100)]));
        let (third, given_back) = books.offer(demand).unwrap();
        assert_eq!(given_back, resources([("cpus", 3)]));
        assert!(
            first < second && second < third,
            "numbers are never used again"
        );
        assert_eq!(books.accept(&[second, third]), *books.total());
        assert_eq!(
            books.accept(&[first, second]),
            Resources::new(),
            "an offer is good once"
        );
    }

    #[test]
    fn what_does_not_fit_takes_nothing() {
        let mut free = resources([("cpus", 2), ("mem", 10)]);
        assert!(!take(&mut free, &resources([("cpus", 1), ("mem", 11)])));
        assert_eq!(free, resources([("cpus", 2), ("mem", 10)]));
        assert!(take(&mut free, &resources([("cpus", 2)])));
        assert_eq!(
            Books::new(Resources::new()).offer(resources([("cpus", 0)])),
            None
        );
    }
}
