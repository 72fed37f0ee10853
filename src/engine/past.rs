//! Past use over a restart: where a policy forgets with a half-life, what ended attempts held is told again.

use std::sync::Arc;

use apportion_policies::{Amount, Demand};

use super::request::ByName;
use super::{Engine, Time};

/// Past use is told for so many half-lives: what is left of it then is a 2^24th.
const HALF_LIVES: u64 = 24;

/// What an attempt held that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastUse {
    /// Of which queue.
    pub queue: Arc<str>,
    /// What it held.
    pub demand: Arc<ByName<Amount>>,
    /// When it was launched.
    pub from: Time,
    /// When it ended.
    pub to: Time,
}

impl Engine {
    /// What ended before this counts for no policy any more; `None` where none counts past use.
    #[must_use]
    pub fn past_counts_since(&self, now: Time) -> Option<Time> {
        let half_life = self.state.queues.tree.longest_half_life()?;
        let span = half_life.saturating_mul(HALF_LIVES);
        Some(Time(now.0.saturating_sub(span)))
    }

    /// An attempt that ended before the restart held this: see [`crate::store::Store::past_use`]. Called after
    /// [`Engine::recovered`] and before the first turn. Of a queue or resource that isn't configured any more
    /// nothing counts.
    pub fn remember(&mut self, past: &PastUse) {
        let queues = &mut self.state.queues;
        let leaf = queues.find(&past.queue);
        let Some(leaf) = leaf.filter(|leaf| queues.tree.is_leaf(*leaf)) else {
            return;
        };
        let resources = &self.state.resources;
        let pairs = past.demand.iter();
        let known = pairs.filter_map(|(name, amount)| Some((resources.find(name)?, *amount)));
        let demand = Demand::new(known);
        let tree = &mut queues.tree;
        tree.remember_past(leaf, &demand, past.from.0, past.to.0);
        queues.needs_rebuild = true;
    }
}
