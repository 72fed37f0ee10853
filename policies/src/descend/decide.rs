//! How a decision is made: down the tree, to the first child that can go.

use super::index::Index;
use super::queue::{Found, Next, Node, Order};
use super::siblings::{Heads, Place};
use super::tournament::Walk;
use super::update::leaf_key;
use super::{bits, guarantee};
use crate::fixed;
use crate::ids::QueueId;
use crate::policy::Choice;
use crate::ranking::Key;
use crate::share::Share;
use crate::tree::QueueTree;

/// The best child seen so far, and the least level.
#[derive(Default)]
struct Best {
    first: Option<First>,
    level: Option<u64>,
}

/// The child that would be served first.
#[derive(Clone, Copy)]
struct First {
    place: Place,
    next: Next,
}

impl Index {
    /// The task that goes first of those whose shapes fit.
    pub(super) fn choose(&mut self, tree: &QueueTree, fits: &[u64]) -> Option<Choice> {
        Some(self.find_below(tree, 0, fits)?.next.choice)
    }

    /// What would be launched below a queue if only the shapes `above` could go.
    pub(super) fn find(&mut self, tree: &QueueTree, queue: usize, above: &[u64]) -> Option<Found> {
        let Node::Leaf(leaf) = &self.nodes[queue] else {
            return self.find_below(tree, queue, above);
        };
        let next = leaf.find(queue, above)?;
        let child = &self.children[queue];
        let id = QueueId::new(queue);
        let below = leaf.below_guarantee(tree, queue, &self.facts, |shape| {
            bits::contains(above, shape)
        });
        let key = guarantee::key(below, || match &self.inner(child.parent).order {
            Order::Ranked(ranking) => ranking.key(tree, id, next.rank),
            Order::Drf { rounded } => leaf_key(tree, id, leaf.share, child, *rounded),
        });
        let level = child.level_bound;
        Some(Found { next, key, level })
    }

    pub(super) fn find_below(
        &mut self,
        tree: &QueueTree,
        queue: usize,
        above: &[u64],
    ) -> Option<Found> {
        let inner = self.inner_mut(queue);
        let mut going = std::mem::take(&mut inner.room);
        bits::set_common(&mut going, above, inner.going());
        if let Some(found) = inner.memo.find(&going) {
            inner.room = going;
            return found;
        }
        let can_go = going.iter().any(|word| *word != 0);
        let found = if can_go {
            self.first_of(tree, queue, &going)
        } else {
            None
        };
        let inner = self.inner_mut(queue);
        inner.memo.put(&going, found);
        inner.room = going;
        found
    }

    /// The child served first, where only the shapes `going` can go.
    fn first_of(&mut self, tree: &QueueTree, queue: usize, going: &[u64]) -> Option<Found> {
        let inner = self.inner_mut(queue);
        let heads = inner.siblings.heads(going);
        let bounds = std::mem::take(&mut inner.siblings.bounds);
        let level_bounds = std::mem::take(&mut inner.siblings.level_bounds);
        let mut best = self.best_of_classes(heads);
        let mut walk = Walk::default();
        while let Some(place) = bounds.next(&mut walk, |bound| {
            (best.first).is_none_or(|first| *bound <= first.place.key)
        }) {
            let child = self.inner(queue).siblings.children[place] as usize;
            self.consider(tree, child, going, &mut best);
        }
        let reached = best.first.map(|first| first.place.key);
        let mut walk = Walk::default();
        while let Some(place) = level_bounds.next(&mut walk, |bound| {
            best.level.is_none_or(|level| *bound < level)
        }) {
            let child = self.inner(queue).siblings.children[place] as usize;
            if self.children[child].bound > reached {
                self.consider(tree, child, going, &mut best);
            }
        }
        let siblings = &mut self.inner_mut(queue).siblings;
        siblings.bounds = bounds;
        siblings.level_bounds = level_bounds;
        let first = best.first?;
        Some(self.found(tree, queue, going, first.next, best.level))
    }

    fn best_of_classes(&self, heads: Heads) -> Best {
        let first = heads.first.map(|(place, leaf, shape)| {
            let Node::Leaf(found) = &self.nodes[leaf as usize] else {
                unreachable!("classes hold leaves");
            };
            let leaf = QueueId::new(leaf as usize);
            let rank = found.rank(shape);
            let choice = Choice { leaf, shape };
            let next = Next { choice, rank };
            First { place, next }
        });
        Best {
            first,
            level: heads.level,
        }
    }

    /// Looks at one child of those that stand among the bounds.
    fn consider(&mut self, tree: &QueueTree, queue: usize, going: &[u64], best: &mut Best) {
        let Some(found) = self.find(tree, queue, going) else {
            return;
        };
        let child = &self.children[queue];
        debug_assert!(child.bound <= Some(found.key), "a bound is below the key");
        debug_assert!(
            child.level_bound <= found.level,
            "a bound is below the level"
        );
        if let Some(level) = found.level {
            best.level = Some(best.level.map_or(level, |least| least.min(level)));
        }
        let place = Place {
            key: found.key,
            seq: found.next.rank.seq,
            path: child.path,
        };
        if best.first.is_none_or(|first| place < first.place) {
            best.first = Some(First {
                place,
                next: found.next,
            });
        }
    }

    /// The key and the level of an inner queue, where the shapes `going` can go, `next` is served
    /// first and the children are scaled to `scale`.
    fn found(
        &self,
        tree: &QueueTree,
        queue: usize,
        going: &[u64],
        next: Next,
        scale: Option<u64>,
    ) -> Found {
        let mut found = Found {
            next,
            key: Key::share(Share::ZERO),
            level: None,
        };
        if queue == 0 {
            return found;
        }
        let child = &self.children[queue];
        let inner = self.inner(queue);
        let share = inner.share_for(&self.facts, going, scale);
        let below = inner.below_guarantee(tree, queue, &self.facts, going);
        found.key = guarantee::key(below, || match &self.inner(child.parent).order {
            Order::Ranked(ranking) => ranking.key(tree, QueueId::new(queue), next.rank),
            Order::Drf { rounded: true } => {
                Key::share(Share::count(fixed::key(share, child.weight)))
            }
            Order::Drf { rounded: false } => {
                let share = inner.exact_share_for(&self.facts, tree, queue, going);
                Key::share(share.per(child.weight))
            }
        });
        let own = share.max(inner.task_share);
        found.level = child.level_bound.map(|_| fixed::level(own, child.weight));
        found
    }
}
