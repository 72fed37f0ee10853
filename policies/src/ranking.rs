//! The trait for policies that only rank sibling queues, and the key by which they do.

use std::cmp::Reverse;

use crate::ids::QueueId;
use crate::share::Share;
use crate::tree::{QueueTree, TaskRank};

/// By what sibling queues are ordered; the least goes first. Exact, so equal keys are a tie, and ties
/// are left to the adapter: submission order of the next task, then path.
///
/// Compared by `tier`, then by `share`. A ranking that needs only one leaves the other constant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key {
    /// Whole classes of queues: a lower tier goes before every higher one.
    pub tier: i64,
    /// Within a tier.
    pub share: Share,
}

impl Key {
    /// By a share alone.
    #[must_use]
    pub const fn share(share: Share) -> Self {
        Self { tier: 0, share }
    }

    /// By the order of waiting tasks: higher priority, then submission.
    #[must_use]
    pub fn rank(rank: TaskRank) -> Self {
        let Reverse(priority) = rank.priority;
        Self {
            tier: -i64::from(priority),
            share: Share::count(rank.seq),
        }
    }
}

/// Ranks sibling queues. Most policies are one of these; the adapter [`crate::Descend`] makes it a
/// [`crate::Policy`] by descending the queue tree.
///
/// It keeps nothing: a ranking is a pure function of its arguments.
pub trait Ranking: Send + Sync {
    /// The key of `queue`, a leaf or an inner queue that has work, among its siblings; the least goes
    /// first. `next` is the first task below it that could consume the offer.
    ///
    /// Asked when something of the queue's subtree changed, and not when a sibling did. So the key may
    /// only depend on the queue's own settings, use and running count, on the totals, and on `next`;
    /// and a later `next` must never make it less, since keys of inner queues are first bounded from
    /// below with the best task that waits there.
    fn key(&self, tree: &QueueTree, queue: QueueId, next: TaskRank) -> Key;

    /// Whether the key depends on `next` alone. Where it does, queues are found by the tasks that wait below them, so
    /// that a decision looks at few inner queues however many there are.
    fn is_by_rank(&self) -> bool {
        false
    }
}
