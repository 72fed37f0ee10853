//! How a decision is made: down the tree, to the first child that can go.
//!
//! Under `drf` the key of an inner queue doesn't depend on which child of it would be served, only on the least level
//! among those that can go. So a queue that is compared and loses is never asked for its next task.

use std::cmp::Ordering;

use super::index::Index;
use super::queue::{Found, Leaf, Next, Node, Order, Stance, Standing};
use super::tournament::Walk;
use super::update::leaf_key;
use super::{bits, guarantee};
use crate::fixed;
use crate::ids::QueueId;
use crate::policy::Choice;
use crate::ranking::Key;
use crate::share::Share;
use crate::tree::QueueTree;

/// The child that would be served first of those seen so far.
#[derive(Clone, Copy)]
pub(super) struct First {
    pub(super) queue: usize,
    pub(super) key: Key,
    /// `None` where it hasn't been asked for.
    pub(super) next: Option<Next>,
}

impl Index {
    /// The task that goes first of those whose shapes fit.
    pub(super) fn choose(&mut self, tree: &QueueTree, fits: &[u64]) -> Option<Choice> {
        Some(self.next_below(tree, 0, fits)?.choice)
    }

    /// What would be launched below a queue if only the shapes `above` could go, and how the queue stands then.
    pub(super) fn find(&mut self, tree: &QueueTree, queue: usize, above: &[u64]) -> Option<Found> {
        if let Node::Leaf(leaf) = &self.nodes[queue] {
            return self.find_in_leaf(tree, leaf, queue, above);
        }
        let place = self.stand(tree, queue, above);
        let Standing { stance, next } = *self.inner(queue).memo.standing(place)?;
        let Stance { key, .. } = stance.expect("the queue stands");
        let next = match next {
            Some(next) => next,
            None => self.next_below(tree, queue, above)?,
        };
        Some(Found { next, key })
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
        Some(Found { next, key })
    }

    /// How an inner queue stands if only the shapes `above` could go: the place in its memo. Costs next to nothing where
    /// that was asked since something changed below.
    #[inline]
    fn stand(&mut self, tree: &QueueTree, queue: usize, above: &[u64]) -> usize {
        let inner = self.inner(queue);
        match inner.memo.find(above, inner.going()) {
            Some(place) if inner.memo.is_known(place) => place,
            found => self.stand_anew(tree, queue, above, found),
        }
    }

    /// The same where it isn't known. `known` is the place in the memo, if there is one.
    fn stand_anew(
        &mut self,
        tree: &QueueTree,
        queue: usize,
        above: &[u64],
        known: Option<usize>,
    ) -> usize {
        let is_ranked = !self.inner(self.children[queue].parent).order.is_drf();
        let inner = self.inner_mut(queue);
        let mut going = std::mem::take(&mut inner.room);
        bits::set_common(&mut going, above, inner.going());
        let known_next = known.and_then(|place| inner.memo.standing(place)?.next);
        let can_go = going.iter().any(|word| *word != 0);
        let standing = can_go.then(|| {
            let next = known_next.or_else(|| is_ranked.then(|| self.first_of(tree, queue, &going)));
            Standing {
                stance: Some(self.stance(tree, queue, &going, next)),
                next,
            }
        });
        let inner = self.inner_mut(queue);
        let place = match known {
            Some(place) => {
                inner.memo.set(place, standing);
                place
            }
            None => inner.memo.put(&going, standing),
        };
        inner.room = going;
        place
    }

    /// What would be launched below an inner queue if only the shapes `above` could go. Remembered as well.
    fn next_below(&mut self, tree: &QueueTree, queue: usize, above: &[u64]) -> Option<Next> {
        let inner = self.inner_mut(queue);
        let known = inner.memo.find(above, inner.going());
        if let Some(place) = known
            && let Some(next) = inner.memo.standing(place)?.next
        {
            return Some(next);
        }
        let mut going = std::mem::take(&mut inner.room);
        bits::set_common(&mut going, above, inner.going());
        let can_go = going.iter().any(|word| *word != 0);
        let standing = can_go.then(Standing::default);
        let place = known.unwrap_or_else(|| inner.memo.put(&going, standing));
        if inner.memo.standing(place).is_none() {
            inner.room = going;
            return None;
        }
        let next = self.first_of(tree, queue, &going);
        let inner = self.inner_mut(queue);
        inner.memo.set_next(place, next);
        inner.room = going;
        Some(next)
    }

    /// What would be launched if only the shapes `going` could go, of which there are some.
    fn first_of(&mut self, tree: &QueueTree, queue: usize, going: &[u64]) -> Next {
        let mut first = self.first_of_classes(queue, going);
        self.consider_rows(tree, queue, going, &mut first);
        if self.inner(queue).siblings.bounds.has_any() {
            let bounds = std::mem::take(&mut self.inner_mut(queue).siblings.bounds);
            let mut walk = Walk::default();
            while let Some(place) = bounds.next(&mut walk, |bound| {
                first.as_ref().is_none_or(|first| *bound <= first.key)
            }) {
                let child = self.inner(queue).siblings.children[place] as usize;
                self.consider(tree, child, going, &mut first);
            }
            self.inner_mut(queue).siblings.bounds = bounds;
        }
        let first = first.expect("where shapes can go, a child can");
        self.next_of(tree, &first, going)
    }

    fn first_of_classes(&self, queue: usize, going: &[u64]) -> Option<First> {
        let (place, leaf, shape) = self.inner(queue).siblings.first_head(going)?;
        let queue = leaf as usize;
        let Node::Leaf(leaf) = &self.nodes[queue] else {
            unreachable!("classes hold leaves");
        };
        let rank = leaf.rank(shape);
        let leaf = QueueId::new(queue);
        let choice = Choice { leaf, shape };
        Some(First {
            queue,
            key: place.key,
            next: Some(Next { choice, rank }),
        })
    }

    /// Looks at one child of those that don't stand in classes.
    #[inline(always)]
    pub(super) fn consider(
        &mut self,
        tree: &QueueTree,
        queue: usize,
        going: &[u64],
        first: &mut Option<First>,
    ) {
        let (key, next) = if let Node::Leaf(leaf) = &self.nodes[queue] {
            let Some(found) = self.find_in_leaf(tree, leaf, queue, going) else {
                return;
            };
            (found.key, Some(found.next))
        } else {
            let place = self.stand(tree, queue, going);
            let Some(standing) = self.inner(queue).memo.standing(place) else {
                return;
            };
            let stance = standing.stance.expect("the queue stands");
            (stance.key, standing.next)
        };
        debug_assert!(
            self.children[queue].bound.is_none_or(|bound| bound <= key),
            "a bound is below the key"
        );
        self.compare(tree, First { queue, key, next }, going, first);
    }

    /// Puts one child in place of the first so far if it goes before that.
    #[inline(always)]
    pub(super) fn compare(
        &mut self,
        tree: &QueueTree,
        own: First,
        going: &[u64],
        first: &mut Option<First>,
    ) {
        let Some(best) = first else {
            *first = Some(own);
            return;
        };
        match own.key.cmp(&best.key) {
            Ordering::Greater => {}
            Ordering::Less => *best = own,
            Ordering::Equal => self.break_tie(tree, own, going, best),
        }
    }

    /// Puts a child of the same key in place of the first so far if its next task goes before.
    fn break_tie(&mut self, tree: &QueueTree, mut own: First, going: &[u64], best: &mut First) {
        if own.queue == best.queue {
            return;
        }
        let (mine, others) = (
            self.next_of(tree, &own, going),
            self.next_of(tree, best, going),
        );
        (own.next, best.next) = (Some(mine), Some(others));
        let path = |queue: usize| self.children[queue].path;
        if (mine.rank.seq, path(own.queue)) < (others.rank.seq, path(best.queue)) {
            *best = own;
        }
    }

    /// The next task of a child that can go.
    fn next_of(&mut self, tree: &QueueTree, child: &First, going: &[u64]) -> Next {
        child.next.unwrap_or_else(|| {
            let next = self.next_below(tree, child.queue, going);
            next.expect("a child that stands can go")
        })
    }

    /// The least level over the children if the shapes `going` can go; `None` where levels aren't kept.
    fn least_level(&mut self, tree: &QueueTree, queue: usize, going: &[u64]) -> Option<u64> {
        let siblings = &mut self.inner_mut(queue).siblings;
        let mut least = siblings.level_head(going);
        least = self.least_level_in_rows(tree, queue, going, least);
        let siblings = &mut self.inner_mut(queue).siblings;
        if !siblings.level_bounds.has_any() {
            return least;
        }
        let bounds = std::mem::take(&mut siblings.level_bounds);
        let mut walk = Walk::default();
        while let Some(place) =
            bounds.next(&mut walk, |bound| least.is_none_or(|least| *bound < least))
        {
            let child = self.inner(queue).siblings.children[place] as usize;
            let level = self.level_of(tree, child, going);
            debug_assert!(
                level.is_none_or(|level| self.children[child].level_bound <= Some(level)),
                "a bound is below the level"
            );
            least = least.into_iter().chain(level).min();
        }
        self.inner_mut(queue).siblings.level_bounds = bounds;
        least
    }

    /// The level of one child, if it can go.
    #[inline(always)]
    pub(super) fn level_of(
        &mut self,
        tree: &QueueTree,
        queue: usize,
        going: &[u64],
    ) -> Option<u64> {
        if let Node::Leaf(leaf) = &self.nodes[queue] {
            let level = self.children[queue].level_bound;
            return level.filter(|_| leaf.find(queue, going).is_some());
        }
        let place = self.stand(tree, queue, going);
        self.inner(queue).memo.standing(place)?.stance?.level
    }

    /// How an inner queue stands where the shapes `going` can go, of which there are some.
    /// `next` is what would be launched, where the parent's order asks for it.
    fn stance(
        &mut self,
        tree: &QueueTree,
        queue: usize,
        going: &[u64],
        next: Option<Next>,
    ) -> Stance {
        let scale = if self.inner(queue).has_sums() {
            self.least_level(tree, queue, going)
        } else {
            None
        };
        let parent = self.children[queue].parent;
        let child = &self.children[queue];
        let inner = self.inner(queue);
        let share = inner.share_for(&self.facts, going, scale);
        let below = inner.below_guarantee(tree, queue, &self.facts, going);
        let key = guarantee::key(below, || match &self.inner(parent).order {
            Order::Ranked(ranking) => {
                let next = next.expect("under a ranking it was asked for");
                ranking.key(tree, QueueId::new(queue), next.rank)
            }
            Order::Drf { rounded: true } => {
                Key::share(Share::count(fixed::key(share, child.weight)))
            }
            Order::Drf { rounded: false } => {
                let share = inner.exact_share_for(&self.facts, tree, queue, going);
                Key::share(share.per(child.weight))
            }
        });
        let is_summed = self.inner(parent).has_sums();
        let level = || fixed::level(share.max(inner.task_share), child.weight);
        Stance {
            key,
            level: is_summed.then(level),
        }
    }
}
