//! How many tasks may wait in which leaf: `queued_max` of its own, or of the nearest queue above it that has one.

use std::collections::BTreeMap;

use apportion_policies::QueueId;

use super::super::settings::QueueConfig;
use super::queues::Queues;

/// The limits, by the places of queues in the tree; the root has none, nor have leaves that aren't configured.
#[derive(Debug, Default)]
pub(crate) struct Room(Vec<Option<u64>>);

impl Room {
    /// Of the queues as configured, parents before children, which is the order in which the tree gets them.
    pub(super) fn of(queues: &[QueueConfig]) -> Self {
        let mut by_path: BTreeMap<&str, Option<u64>> = BTreeMap::new();
        let mut limits = vec![None];
        for queue in queues {
            let above = queue.path.rsplit_once('/').map(|(above, _)| above);
            let inherited = above.and_then(|path| by_path.get(path).copied().flatten());
            let limit = queue.queued_max.or(inherited);
            by_path.insert(&queue.path, limit);
            limits.push(limit);
        }
        Self(limits)
    }
}

impl Queues {
    /// How many tasks of a leaf wait or are queued, and the most that may, where `n_new` more are too many.
    pub(crate) fn beyond_queued_max(&self, leaf: QueueId, n_new: u64) -> Option<(u64, u64)> {
        let max = self.room.0.get(leaf.index()).copied().flatten()?;
        let [n_waiting, n_queued, ..] = self.counts(leaf);
        let n_there = n_waiting + n_queued;
        (n_there.saturating_add(n_new) > max).then_some((n_there, max))
    }
}
