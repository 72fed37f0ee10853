//! How a decision is made: down the tree, to the first child that can go.

use super::bits;
use super::index::Index;
use super::queue::{Found, Node, Order};
use super::siblings::{Heads, Place};
use super::update::leaf_key;
use crate::fixed;
use crate::ids::QueueId;
use crate::policy::Choice;
use crate::ranking::Key;
use crate::share::Share;
use crate::tree::QueueTree;

/// The best child seen so far, and the least level.
#[derive(Default)]
struct Best {
    first: Option<(Place, Found)>,
    level: Option<u64>,
}

impl Index {
    /// The task that goes first of those whose shapes fit.
    pub(super) fn choose(&mut self, tree: &QueueTree, fits: &[u64]) -> Option<Choice> {
        Some(self.find_below(tree, 0, fits)?.choice)
    }

    /// What would be launched below a queue if only the shapes `above` could go.
    fn find(&mut self, tree: &QueueTree, queue: usize, above: &[u64]) -> Option<Found> {
        match &self.nodes[queue] {
            Node::Leaf(leaf) => leaf.find(queue, above),
            Node::Inner(_) => self.find_below(tree, queue, above),
        }
    }

    fn find_below(&mut self, tree: &QueueTree, queue: usize, above: &[u64]) -> Option<Found> {
        let inner = self.inner_mut(queue);
        let mut going = std::mem::take(&mut inner.memo.going);
        let differs = bits::set_common(&mut going, above, inner.going());
        if differs || !inner.memo.is_valid {
            let can_go = going.iter().any(|word| *word != 0);
            let found = if can_go {
                self.first_of(tree, queue, &going)
            } else {
                None
            };
            let memo = &mut self.inner_mut(queue).memo;
            memo.found = found;
            memo.is_valid = true;
        }
        let memo = &mut self.inner_mut(queue).memo;
        memo.going = going;
        memo.found
    }

    /// The child served first, where only the shapes `going` can go, and the queue's share then.
    fn first_of(&mut self, tree: &QueueTree, queue: usize, going: &[u64]) -> Option<Found> {
        let inner = self.inner_mut(queue);
        let heads = inner.siblings.heads(going);
        let bounds = std::mem::take(&mut inner.siblings.bounds);
        let level_bounds = std::mem::take(&mut inner.siblings.level_bounds);
        let mut best = self.best_of_classes(heads);
        for (bound, child) in &bounds {
            if best
                .first
                .as_ref()
                .is_some_and(|(place, _)| *bound > place.key)
            {
                break;
            }
            self.consider(tree, *child as usize, going, &mut best);
        }
        for (bound, child) in &level_bounds {
            if best.level.is_some_and(|level| *bound >= level) {
                break;
            }
            self.consider(tree, *child as usize, going, &mut best);
        }
        let siblings = &mut self.inner_mut(queue).siblings;
        siblings.bounds = bounds;
        siblings.level_bounds = level_bounds;
        let (_, mut found) = best.first?;
        found.share = self.inner(queue).share_for(&self.facts, going, best.level);
        Some(found)
    }

    fn best_of_classes(&self, heads: Heads) -> Best {
        let first = heads.first.map(|(place, leaf, shape)| {
            let Node::Leaf(found) = &self.nodes[leaf as usize] else {
                unreachable!("classes hold leaves");
            };
            let choice = Choice {
                leaf: QueueId::new(leaf as usize),
                shape,
            };
            (
                place,
                Found {
                    choice,
                    next: found.rank(shape),
                    share: found.share,
                },
            )
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
        if child.level_bound.is_some() {
            let task_share = match &self.nodes[queue] {
                Node::Leaf(leaf) => leaf.task_share,
                Node::Inner(inner) => inner.task_share,
            };
            let level = fixed::level(found.share.max(task_share), child.weight);
            best.level = Some(best.level.map_or(level, |least| least.min(level)));
        }
        let key = self.key(tree, queue, found);
        debug_assert!(
            child.bound.is_some_and(|bound| bound <= key),
            "a bound is below the key"
        );
        let place = Place {
            key,
            seq: found.next.seq,
            path: child.path,
        };
        if best.first.as_ref().is_none_or(|(least, _)| place < *least) {
            best.first = Some((place, found));
        }
    }

    /// The key of a child of those that stand among the bounds, for what was found below it.
    fn key(&self, tree: &QueueTree, queue: usize, found: Found) -> Key {
        let child = &self.children[queue];
        let id = QueueId::new(queue);
        match (&self.inner(child.parent).order, &self.nodes[queue]) {
            (Order::Ranked(ranking), _) => ranking.key(tree, id, found.next),
            (Order::Drf { rounded }, Node::Leaf(leaf)) => {
                leaf_key(tree, id, leaf.share, child, *rounded)
            }
            (Order::Drf { rounded: true }, Node::Inner(_)) => {
                Key::share(Share::count(fixed::key(found.share, child.weight)))
            }
            (Order::Drf { rounded: false }, Node::Inner(inner)) => {
                let share = inner.exact_share_for(&self.facts, tree, queue, &inner.memo.going);
                Key::share(share.per(child.weight))
            }
        }
    }
}
