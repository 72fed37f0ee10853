//! `drf`: the queue with the least dominant share relative to its weight goes first.
//!
//! Dominant Resource Fairness (Ghodsi et al., NSDI 2011), with weights and whole tasks. The dominant
//! share of a queue is its largest share over all resources, host and cluster scope alike.
//!
//! In a tree, a queue of queues can't simply add up what its children use: with complementary demands
//! one child would then starve another. The registry's `drf` is therefore hierarchical DRF
//! (Bhattacharya et al., SoCC 2013), in a form for whole tasks; [`crate::Descend`] works it out:
//!
//! - Each child that waits is scaled to the least share, relative to weight, among the children that
//!   can go; a share below that of one task counts as one task. Idle children count in full. A queue
//!   never counts as more than it really uses.
//! - A resource doesn't count towards an inner queue's share while tasks that demand it wait below
//!   that queue and none of them can go.
//! - A queue below its guarantee (`min`) goes before all that aren't. The scaling never takes a child's use below
//!   what fills its guarantee, so that a guarantee inside a group takes nothing from the group's siblings.
//! - With a half-life, past use counts in place of what is held, but not against `max` or for `min`. An
//!   inner queue with another half-life than the one above isn't scaled: its children's shares are of
//!   another kind.
//! - Shares of inner queues are fixed-point integers; leaves among leaves are compared as fractions where no past use counts.

use crate::ids::QueueId;
use crate::ranking::{Key, Ranking};
use crate::tree::{QueueTree, TaskRank};

/// Ranks queues by dominant share of what they hold over weight, compared exactly. Right among leaves; for
/// a tree or a half-life, name `drf` in the configuration, which does as this file's text says.
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
