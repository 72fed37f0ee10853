//! What the index keeps of each queue: as a child of the queue above, as a leaf, as an inner queue.

use std::cmp::Reverse;
use std::sync::Arc;

use super::bits::{self, Counted};
use super::column::{Bounded, Column};
use super::facts::Facts;
use super::guarantee;
use super::memo::Memo;
use super::shortlist::Seen;
use super::siblings::{Siblings, Stand};
use super::sums::{Given, Sums};
use super::tournament::Tournament;
use crate::amount::{Amount, Weight};
use crate::fixed;
use crate::ids::{QueueId, ResourceId, ShapeId};
use crate::policy::Choice;
use crate::ranking::{Key, Ranking};
use crate::share::Share;
use crate::tree::{QueueTree, TaskRank};

/// How an inner queue orders its children.
#[derive(Clone)]
pub(crate) enum Order {
    /// By a ranking.
    Ranked(Arc<dyn Ranking>),
    /// By dominant share over weight as hierarchical DRF defines it. Keys are `rounded` where a child
    /// is an inner queue with a scaled share or past use counts, and exact fractions otherwise.
    Drf {
        /// See above.
        rounded: bool,
    },
}

impl Order {
    pub(super) fn is_drf(&self) -> bool {
        matches!(self, Self::Drf { .. })
    }
}

/// A queue as a child of the one above. The root's is never read.
#[derive(Default)]
pub(super) struct Child {
    pub(super) parent: usize,
    /// The place among the siblings' paths.
    pub(super) path: u32,
    pub(super) weight: Weight,
    /// What stands in the parent's `bounds` and `level_bounds`.
    pub(super) bound: Option<Key>,
    pub(super) level_bound: Option<u64>,
    pub(super) seen: Seen,
    /// What stands in the parent's sums.
    pub(super) given: Given,
}

/// The first waiting task of one shape in a leaf.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) shape: ShapeId,
    pub(super) rank: TaskRank,
    /// Whether the leaf's own `max` lets it go.
    pub(super) is_allowed: bool,
}

/// A leaf.
#[derive(Default)]
pub(super) struct Leaf {
    pub(super) is_limited: bool,
    pub(super) is_guaranteed: bool,
    /// In order of shapes.
    pub(super) heads: Vec<Head>,
    /// Where a narrow leaf stands, in order of shapes.
    pub(super) stands: Vec<Stand>,
    /// Kept where the parent needs them.
    pub(super) used: UsedShares,
    /// The largest of these.
    pub(super) share: u64,
    /// The least dominant share of a task that waits, in 2^-48.
    pub(super) task_share: u64,
}

/// What would be launched below a queue.
#[derive(Clone, Copy)]
pub(super) struct Next {
    pub(super) choice: Choice,
    pub(super) rank: TaskRank,
}

/// What was found below a queue for an offer.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) next: Next,
    /// By which its parent orders it.
    pub(super) key: Key,
}

/// What is known of an inner queue that can go with an offer.
#[derive(Clone, Copy, Default)]
pub(super) struct Standing {
    /// How it stands; `None` where that hasn't been asked for.
    pub(super) stance: Option<Stance>,
    /// What would be launched; `None` where it hasn't been asked for.
    pub(super) next: Option<Next>,
}

/// How an inner queue stands among its siblings for an offer.
#[derive(Clone, Copy)]
pub(super) struct Stance {
    /// By which its parent orders it.
    pub(super) key: Key,
    /// The larger of its share and that of its smallest task, over its weight; kept where the parent
    /// adds up its children's shares.
    pub(super) level: Option<u64>,
}

/// Per resource, the share of what counts of a queue's use.
#[derive(Default)]
pub(super) struct UsedShares {
    /// What counts, as the tree tells it.
    counted: Vec<u64>,
    /// In 2^-48.
    shares: Vec<u64>,
}

/// The shares of an inner queue whose parent orders by dominant share, in 2^-48.
#[derive(Default)]
pub(super) struct Shares {
    /// What is really used.
    pub(super) used: UsedShares,
    /// Per resource, the standing share.
    pub(super) standing: Vec<u64>,
    /// The level to which the children are scaled for it.
    pub(super) level: Option<u64>,
    /// The same for the least level that any offer can bring; zero where that isn't asked for.
    pub(super) lowest: Vec<u64>,
    pub(super) least: Option<u64>,
    /// Present where the children are ordered by dominant share, too.
    pub(super) sums: Option<Sums>,
}

/// An inner queue.
pub(super) struct Inner {
    pub(super) order: Order,
    pub(super) is_limited: bool,
    pub(super) is_guaranteed: bool,
    /// Shapes that wait below.
    pub(super) waiting: Counted,
    /// Shapes that the limits of the children, and of the queues below those, let go.
    pub(super) offered: Counted,
    /// Those of them that the own limit lets go. Unused without a limit.
    pub(super) allowed: Vec<u64>,
    /// Per limit, between which demands its head-room lay when `allowed` was found: the largest that
    /// it let go, and the least that it didn't.
    pub(super) head_rooms: Vec<(Amount, Option<Amount>)>,
    /// How many of the shapes that may go ask for each set of resources.
    pub(super) footprints: Vec<(usize, u32)>,
    /// The least dominant share of a task that waits, in 2^-48.
    pub(super) task_share: u64,
    pub(super) siblings: Siblings,
    /// How it stands among its siblings.
    pub(super) bounded: Bounded,
    pub(super) column: Option<Box<Column>>,
    /// Children by the best rank of a task that waits there; kept where a ranking above asks for it.
    pub(super) ranks: Option<Tournament<TaskRank>>,
    pub(super) shares: Option<Shares>,
    pub(super) memo: Memo,
    /// Room for the shapes that can go in the decision at hand.
    pub(super) room: Vec<u64>,
}

/// A node of the index.
pub(super) enum Node {
    Leaf(Leaf),
    Inner(Box<Inner>),
}

impl Leaf {
    /// The task that goes first if only these shapes can. Costs the leaf's waiting shapes.
    pub(super) fn find(&self, leaf: usize, going: &[u64]) -> Option<Next> {
        let can_go = |head: &&Head| head.is_allowed && bits::contains(going, head.shape);
        let heads = self.heads.iter().filter(can_go);
        let head = heads.min_by_key(|head| head.rank)?;
        let choice = Choice {
            leaf: QueueId::new(leaf),
            shape: head.shape,
        };
        Some(Next {
            choice,
            rank: head.rank,
        })
    }

    /// How far the leaf is below its guarantee in what shapes demand that may go and for which `can_go` holds.
    pub(super) fn below_guarantee(
        &self,
        tree: &QueueTree,
        leaf: usize,
        facts: &Facts,
        can_go: impl Fn(ShapeId) -> bool,
    ) -> Option<Share> {
        if !self.is_guaranteed {
            return None;
        }
        let going = || (self.heads.iter()).filter(|head| head.is_allowed && can_go(head.shape));
        guarantee::proportion(tree, QueueId::new(leaf), |resource| {
            going().any(|head| !facts.demand(head.shape).get(resource).is_zero())
        })
    }

    /// The rank of a waiting shape's first task.
    pub(super) fn rank(&self, shape: ShapeId) -> TaskRank {
        let index = self.heads.binary_search_by_key(&shape, |head| head.shape);
        self.heads[index.expect("a shape of a class waits in its leaves")].rank
    }

    /// The best rank that could go, whatever the offer.
    pub(super) fn best(&self) -> Option<TaskRank> {
        self.heads
            .iter()
            .filter(|head| head.is_allowed)
            .map(|head| head.rank)
            .min()
    }
}

impl Inner {
    /// The shapes that could go below, if they fitted and no queue above forbade it.
    pub(super) fn going(&self) -> &[u64] {
        if self.is_limited {
            &self.allowed
        } else {
            self.offered.words()
        }
    }

    /// Whether the children's shares are added up: this queue and the one above order by them.
    pub(super) fn has_sums(&self) -> bool {
        self.shares
            .as_ref()
            .is_some_and(|shares| shares.sums.is_some())
    }

    /// How far the queue is below its guarantee in what these shapes demand.
    pub(super) fn below_guarantee(
        &self,
        tree: &QueueTree,
        queue: usize,
        facts: &Facts,
        going: &[u64],
    ) -> Option<Share> {
        if !self.is_guaranteed {
            return None;
        }
        let is_wanted = |resource| facts.any_demands(resource, going);
        guarantee::proportion(tree, QueueId::new(queue), is_wanted)
    }

    /// The best rank below that could go, whatever the offer.
    pub(super) fn best(&self) -> Option<TaskRank> {
        let (rank, _) = self.ranks.as_ref()?.first()?;
        Some(rank)
    }

    /// One shape more, or one fewer, with this footprint may go.
    pub(super) fn count_footprint(&mut self, footprint: usize, comes: bool) {
        let found = self
            .footprints
            .iter()
            .position(|(known, _)| *known == footprint);
        match (found, comes) {
            (Some(index), true) => self.footprints[index].1 += 1,
            (None, true) => self.footprints.push((footprint, 1)),
            (Some(index), false) => {
                self.footprints[index].1 -= 1;
                if self.footprints[index].1 == 0 {
                    self.footprints.swap_remove(index);
                }
            }
            (None, false) => unreachable!("a footprint leaves where it came in"),
        }
    }

    /// The least, over the shapes that may go, of the largest share in what they ask for: no offer
    /// can make the queue's share less.
    pub(super) fn least_share<S: Ord + Copy>(
        &self,
        facts: &Facts,
        zero: S,
        share: impl Fn(ResourceId) -> S,
    ) -> S {
        let largest = |footprint: usize| {
            let resources = facts.resources(footprint).iter();
            resources.map(|id| share(*id)).max().unwrap_or(zero)
        };
        let footprints = self.footprints.iter();
        let shares = footprints.map(|(footprint, _)| largest(*footprint));
        shares.min().unwrap_or(zero)
    }

    /// The queue's share where the shapes of `going` can go and the children are scaled to `level`.
    pub(super) fn share_for(&self, facts: &Facts, going: &[u64], level: Option<u64>) -> u64 {
        let Some(shares) = &self.shares else { return 0 };
        // Most offers scale to one of two levels.
        let known = if level == shares.level {
            Some(&shares.standing)
        } else {
            Some(&shares.lowest).filter(|_| level.is_some() && level == shares.least)
        };
        let share = |resource: usize| match known {
            Some(known) => known[resource],
            None => shares.at(resource, level),
        };
        let waiting = self.waiting.words();
        let mut largest = 0;
        for resource in 0..shares.standing.len() {
            if facts.counts(resource, waiting, going) {
                largest = largest.max(share(resource));
            }
        }
        largest
    }

    /// As [`Inner::share_for`], exactly, where the real use counts.
    pub(super) fn exact_share_for(
        &self,
        facts: &Facts,
        tree: &QueueTree,
        queue: usize,
        going: &[u64],
    ) -> Share {
        let used = tree.used(QueueId::new(queue)).iter();
        let counting = used.filter(|(resource, amount)| {
            !amount.is_zero() && facts.counts(resource.index(), self.waiting.words(), going)
        });
        let share = |(resource, amount): (ResourceId, Amount)| {
            Share::new(amount, tree.totals().get(resource))
        };
        counting.map(share).max().unwrap_or(Share::ZERO)
    }
}

impl UsedShares {
    /// As the tree has it now. Divides only where something changed.
    pub(super) fn update(&mut self, tree: &QueueTree, queue: QueueId) {
        let totals = tree.totals();
        let n_resources = totals.as_slice().len();
        self.counted.resize(n_resources, 0);
        self.shares.resize(n_resources, 0);
        let mut kept = self.counted.iter_mut().zip(&mut self.shares);
        tree.tell_counted(queue, |resource, now| {
            if let Some((counted, share)) = kept.next().filter(|(counted, _)| **counted != now) {
                *counted = now;
                *share = fixed::counted_share(now, totals.get(resource));
            }
        });
    }

    pub(super) fn as_slice(&self) -> &[u64] {
        &self.shares
    }

    pub(super) fn largest(&self) -> u64 {
        self.shares.iter().copied().max().unwrap_or(0)
    }
}

impl Shares {
    /// The share of one resource if the children are scaled to a common level, in 2^-48.
    pub(super) fn at(&self, resource: usize, level: Option<u64>) -> u64 {
        let used = self.used.as_slice()[resource];
        let (Some(sums), Some(level)) = (&self.sums, level) else {
            return used;
        };
        sums.at(resource, level).map_or(used, |sum| sum.min(used))
    }

    /// Notes the shares at the level that stands.
    pub(super) fn scale(&mut self, level: Option<u64>) {
        for resource in 0..self.standing.len() {
            self.standing[resource] = self.at(resource, level);
        }
        self.level = level;
    }

    /// Notes the shares at the least level that any offer can bring.
    pub(super) fn scale_least(&mut self, least: Option<u64>) {
        for resource in 0..self.lowest.len() {
            self.lowest[resource] = if least == self.level {
                self.standing[resource]
            } else {
                self.at(resource, least)
            };
        }
        self.least = least;
    }

    /// The standing dominant share.
    pub(super) fn dominant(&self) -> u64 {
        self.standing.iter().copied().max().unwrap_or(0)
    }
}

/// The priorities of ranks are compared reversed; within one priority, order is that of submission.
pub(super) fn have_one_priority(heads: &[Head]) -> bool {
    let mut priorities = heads
        .iter()
        .filter(|head| head.is_allowed)
        .map(|head| head.rank.priority);
    let first: Option<Reverse<i32>> = priorities.next();
    priorities.all(|priority| Some(priority) == first)
}
