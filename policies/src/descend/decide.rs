//! How a decision is made: down the tree, to the first child that can go.

use super::index::Index;
use super::queue::{Found, Leaf, Next, Node, Order};
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
        let place = self.answer(tree, 0, fits);
        let found = self.inner(0).memo.answer(place)?;
        Some(found.next.choice)
    }

    /// What would be launched below a queue if only the shapes `above` could go.
    pub(super) fn find(&mut self, tree: &QueueTree, queue: usize, above: &[u64]) -> Option<Found> {
        if let Node::Leaf(leaf) = &self.nodes[queue] {
            return self.find_in_leaf(tree, leaf, queue, above);
        }
        let place = self.answer(tree, queue, above);
        self.inner(queue).memo.answer(place).copied()
    }

    fn find_in_leaf(
        &self,
        tree: &QueueTree,
        leaf: &Leaf,
        queue: usize,
        above: &[u64],
    ) -> Option<Found> {
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

    /// What would be launched below an inner queue: the place in its memo. Costs next to nothing where that was
    /// asked since something changed below.
    pub(super) fn answer(&mut self, tree: &QueueTree, queue: usize, above: &[u64]) -> usize {
        let inner = self.inner_mut(queue);
        if let Some(place) = inner.memo.find(above, inner.going()) {
            return place;
        }
        let mut going = std::mem::take(&mut inner.room);
        bits::set_common(&mut going, above, inner.going());
        let can_go = going.iter().any(|word| *word != 0);
        let found = can_go.then(|| self.first_of(tree, queue, &going));
        let inner = self.inner_mut(queue);
        let place = inner.memo.put(&going, found.flatten());
        inner.room = going;
        place
    }

    /// The child served first, where only the shapes `going` can go.
    fn first_of(&mut self, tree: &QueueTree, queue: usize, going: &[u64]) -> Option<Found> {
        let heads = self.inner(queue).siblings.heads(going);
        let mut best = self.best_of_classes(heads);
        if self.inner(queue).siblings.bounds.has_any() {
            self.consider_bounded(tree, queue, going, &mut best);
        }
        let first = best.first?;
        Some(self.found(tree, queue, going, first.next, best.level))
    }

    /// Looks at those of the children among the bounds that could go first, or have the least level.
    fn consider_bounded(&mut self, tree: &QueueTree, queue: usize, going: &[u64], best: &mut Best) {
        let siblings = &mut self.inner_mut(queue).siblings;
        let bounds = std::mem::take(&mut siblings.bounds);
        let level_bounds = std::mem::take(&mut siblings.level_bounds);
        let mut walk = Walk::default();
        while let Some(place) = bounds.next(&mut walk, |bound| {
            (best.first.as_ref()).is_none_or(|first| *bound <= first.place.key)
        }) {
            let child = self.inner(queue).siblings.children[place] as usize;
            self.consider(tree, child, going, best);
        }
        if level_bounds.has_any() {
            let reached = best.first.map(|first| first.place.key);
            let mut walk = Walk::default();
            while let Some(place) = level_bounds.next(&mut walk, |bound| {
                best.level.is_none_or(|level| *bound < level)
            }) {
                let child = self.inner(queue).siblings.children[place] as usize;
                if self.children[child].bound > reached {
                    self.consider(tree, child, going, best);
                }
            }
        }
        let siblings = &mut self.inner_mut(queue).siblings;
        siblings.bounds = bounds;
        siblings.level_bounds = level_bounds;
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
        let stored;
        let found = if let Node::Leaf(leaf) = &self.nodes[queue] {
            stored = self.find_in_leaf(tree, leaf, queue, going);
            stored.as_ref()
        } else {
            let place = self.answer(tree, queue, going);
            self.inner(queue).memo.answer(place)
        };
        let Some(found) = found else {
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
