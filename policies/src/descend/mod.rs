//! The adapter that makes rankings a policy, by descending the queue tree.
//!
//! It keeps an index beside the tree: for each inner queue its children in the order in which they
//! would be served, leaves in one tournament per waiting shape, so that a decision looks only at
//! the shapes that fit and never at all siblings. A change moves the entries of one leaf and of the
//! queues above it.
//!
//! Inner queues stand by a lower bound of their key for any offer, or by one for each shape (`rows`), so that what waits
//! and fits no offer makes none look better than it is.
//!
//! Reading order: `queue` (what is kept), `siblings` and `rows` (the children's orders), `index` (building),
//! `change`, `update` and `column` (a change climbs), `decide` and `shortlist` (a decision descends); `bits`, `facts`,
//! `guarantee`, `memo`, `shape_map`, `sums`, `tournament` serve those.

mod bits;
mod change;
mod column;
mod decide;
mod facts;
mod guarantee;
mod index;
mod memo;
mod queue;
mod rows;
mod shape_map;
mod shortlist;
mod siblings;
mod steps;
mod sums;
mod tournament;
mod update;

use std::sync::Arc;

use self::index::Index;
pub(crate) use self::queue::Order;
use crate::explain::{ShownKey, Step};
use crate::ids::QueueId;
use crate::offer::Offer;
use crate::policy::{Choice, Policy};
use crate::registry::Registry;
use crate::tree::QueueTree;

/// By what inner queues are found among their siblings. Makes no other choice, only one that costs more or less.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bounds {
    /// By one bound of the key for any offer.
    Whole,
    /// By one for each shape, where the order of the siblings has such, looked at from the least on.
    Walked,
    /// The same, all looked at.
    Gathered,
    /// By what costs less in the tree.
    Cheapest,
}

impl Bounds {
    fn are_by_shape(self) -> bool {
        matches!(self, Self::Walked | Self::Gathered)
    }
}

/// Descends the queue tree: at each inner queue the child with the least key goes first, of equal ones
/// that whose next task was submitted first, then that with the least path. Skips, doesn't stop: only
/// children below which a task fits the offer within every `max` are looked at.
///
/// With n siblings, r resources and s shapes, [`Policy::changed`] costs about depth × (log n + r) and,
/// below a queue with a `max`, the shapes that wait there; the same below a queue with many groups as siblings, once
/// in a few changes. [`Policy::choose`] costs depth × the shapes that fit, and for inner queues those whose least
/// possible key is below the best found.
pub struct Descend {
    registry: Registry,
    name: Arc<str>,
    bounds: Bounds,
    index: Index,
}

impl Descend {
    /// The policy of this tree.
    ///
    /// # Panics
    /// If the tree names a policy that the registry doesn't know; see [`Registry::check`].
    #[must_use]
    pub fn new(registry: Registry, tree: &QueueTree) -> Self {
        Self::with_bounds(registry, tree, Bounds::Cheapest)
    }

    /// The same with these bounds.
    ///
    /// # Panics
    /// As [`Descend::new`].
    #[must_use]
    pub fn with_bounds(registry: Registry, tree: &QueueTree, bounds: Bounds) -> Self {
        let mut descend = Self {
            registry,
            name: Arc::from(""),
            bounds,
            index: Index::default(),
        };
        descend.rebuild(tree);
        descend
    }
}

impl Policy for Descend {
    fn name(&self) -> &str {
        &self.name
    }

    fn rebuild(&mut self, tree: &QueueTree) {
        self.name = Arc::clone(&tree.policy_spec(tree.root()).name);
        self.index = Index::new(&self.registry, tree, self.bounds);
    }

    fn changed(&mut self, tree: &QueueTree, leaf: QueueId) {
        if !self.index.changed(tree, leaf) {
            self.rebuild(tree);
        }
    }

    fn choose(&mut self, tree: &QueueTree, offer: &Offer<'_>) -> Option<Choice> {
        self.index.choose(tree, offer.fits.words())
    }

    fn explain(
        &mut self,
        tree: &QueueTree,
        offer: &Offer<'_>,
        leaf: QueueId,
        n_others: usize,
    ) -> Vec<Step> {
        self.index.steps(tree, offer.fits.words(), leaf, n_others)
    }

    fn keys(&mut self, tree: &QueueTree, offer: &Offer<'_>, choice: Choice) -> Vec<ShownKey> {
        self.index.keys(tree, offer.fits.words(), choice)
    }
}
