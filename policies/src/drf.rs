//! `drf`: the queue with the least dominant share relative to its weight goes first.
//!
//! Dominant Resource Fairness (Ghodsi et al., NSDI 2011), with weights and whole tasks. The dominant
//! share of a queue is its largest share over all resources, host and cluster scope alike.

use crate::ids::QueueId;
use crate::ranking::{Key, Ranking};
use crate::tree::{QueueTree, TaskRank};

/// Ranks queues by dominant share over weight, compared exactly.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drf;

impl Ranking for Drf {
    fn key(&self, tree: &QueueTree, queue: QueueId, _next: TaskRank) -> Key {
        Key::share(
            tree.dominant_share(queue)
                .0
                .per(tree.settings(queue).weight),
        )
    }
}
