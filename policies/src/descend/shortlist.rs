//! How a decision compares the inner children that stand in rows.
//!
//! A child comes up once for each of its shapes that is due, with a lower bound of its least level then. Where all
//! children of that child stand in classes, the bound is the level itself, and gives the child's share at once: for the
//! shape with the least level that is its share for the offer, for others more. So a child counts by the least of what
//! it came up with, and nothing below it is looked at unless it is served or its key is that of another one.

use super::decide::First;
use super::facts::Facts;
use super::guarantee;
use super::index::Index;
use super::queue::{Child, Inner};
use super::rows::{Rows, Visit};
use crate::fixed;
use crate::ranking::Key;
use crate::share::Share;
use crate::tree::QueueTree;

/// The last walk through the siblings that came by a child.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen {
    walk: u64,
    /// The least level with which the child came up.
    below: u64,
}

impl Seen {
    /// All is known of the child.
    fn set_done(&mut self) {
        self.below = 0;
    }
}

/// What a visit tells of a child without looking below it.
enum Told {
    /// A lower bound of the share.
    Bound(u64),
    /// The share if this is the shape with the least level.
    Share(u64),
}

impl Index {
    /// Looks at the children that stand in rows, as far as they may go before `first`.
    pub(super) fn consider_rows(
        &mut self,
        tree: &QueueTree,
        queue: usize,
        going: &[u64],
        first: &mut Option<First>,
    ) {
        let Some(mut rows) = self.inner_mut(queue).siblings.rows.take() else {
            return;
        };
        self.n_walks += 1;
        let is_drf = self.inner(queue).order.is_drf();
        if is_drf && rows.gather(going, self.gathered_max) {
            self.consider_gathered(tree, queue, &mut rows, going, first);
        } else if is_drf {
            let mut walk = rows.walk(going);
            while let Some(visit) = {
                let limit = first.as_ref().map(|first| limit_of(first.key));
                rows.next_by_level(&mut walk, going, limit)
            } {
                let child = self.child_at(queue, visit.child);
                self.compare_visit(tree, child, &visit, going, first);
            }
        } else {
            let mut walk = rows.walk(going);
            while let Some(visit) = {
                let limit = first.as_ref().map(|first| first.key);
                rows.next_by_key(&mut walk, going, limit)
            } {
                let child = self.child_at(queue, visit.child);
                if self.is_news(child, &visit) {
                    self.consider(tree, child, going, first);
                }
            }
        }
        self.inner_mut(queue).siblings.rows = Some(rows);
    }

    /// The same of children that were gathered. Those of which the key is known, or a bound of it that isn't above the
    /// least known, are compared when all have been looked at: so few next tasks are asked for.
    fn consider_gathered(
        &mut self,
        tree: &QueueTree,
        queue: usize,
        rows: &mut Rows,
        going: &[u64],
        first: &mut Option<First>,
    ) {
        let mut due = std::mem::take(&mut rows.due);
        due.clear();
        let mut least = first.as_ref().map_or(u64::MAX, |first| count_of(first.key));
        let mut limit = fixed::level_limit(least);
        for visit in rows.gathered() {
            if visit.level > limit {
                continue;
            }
            let queue = self.child_at(queue, visit.child);
            let key = |share| fixed::key(share, self.children[queue].weight);
            let told = (self.inner(queue)).told(&self.facts, &visit, |share| key(share) > least);
            let (share, is_exact) = match told {
                Told::Share(share) => (share, true),
                Told::Bound(share) => (share, false),
            };
            let bound = key(share);
            if bound > least {
                continue;
            }
            if is_exact {
                least = bound;
                limit = fixed::level_limit(least);
            }
            due.push((bound, is_exact, queue));
        }
        due.retain(|(bound, ..)| *bound <= least);
        due.sort_unstable();
        for (bound, is_exact, queue) in due.iter().copied() {
            let key = key_of_count(bound);
            if (first.as_ref()).is_some_and(|first| key > first.key) {
                break;
            }
            if is_exact {
                let next = None;
                self.compare(tree, First { queue, key, next }, going, first);
            } else {
                self.consider(tree, queue, going, first);
            }
        }
        rows.due = due;
    }

    fn compare_visit(
        &mut self,
        tree: &QueueTree,
        queue: usize,
        visit: &Visit,
        going: &[u64],
        first: &mut Option<First>,
    ) {
        if !self.is_news(queue, visit) {
            return;
        }
        let key = |share| key_of(share, &self.children[queue]);
        let is_after = |share| (first.as_ref()).is_some_and(|first| key(share) > first.key);
        match (self.inner(queue)).told(&self.facts, visit, is_after) {
            Told::Share(share) => {
                let key = key(share);
                let next = None;
                self.compare(tree, First { queue, key, next }, going, first);
            }
            Told::Bound(share) if is_after(share) => {}
            Told::Bound(_) => {
                self.children[queue].seen.set_done();
                self.consider(tree, queue, going, first);
            }
        }
    }

    /// The least level over the children that stand in rows, or `least` where none is below that.
    pub(super) fn least_level_in_rows(
        &mut self,
        tree: &QueueTree,
        queue: usize,
        going: &[u64],
        mut least: Option<u64>,
    ) -> Option<u64> {
        let Some(mut rows) = self.inner_mut(queue).siblings.rows.take() else {
            return least;
        };
        if rows.gather(going, self.gathered_max) {
            least = self.least_level_gathered(tree, queue, &mut rows, going, least);
        } else {
            self.n_walks += 1;
            let mut walk = rows.walk(going);
            while least != Some(0)
                && let Some(visit) = {
                    let limit = least.map(|least| least - 1);
                    rows.next_by_level(&mut walk, going, limit)
                }
            {
                let child = self.child_at(queue, visit.child);
                if !self.is_news(child, &visit) {
                    continue;
                }
                let level = match self.told_level(child, &visit, least) {
                    Told::Share(level) => Some(level),
                    Told::Bound(bound) if least.is_some_and(|least| bound >= least) => None,
                    Told::Bound(_) => {
                        self.children[child].seen.set_done();
                        self.level_of(tree, child, going)
                    }
                };
                least = least.into_iter().chain(level).min();
            }
        }
        self.inner_mut(queue).siblings.rows = Some(rows);
        least
    }

    /// The same of children that were gathered. Those of which only a bound is known are looked at least first.
    fn least_level_gathered(
        &mut self,
        tree: &QueueTree,
        queue: usize,
        rows: &mut Rows,
        going: &[u64],
        mut least: Option<u64>,
    ) -> Option<u64> {
        let mut due = std::mem::take(&mut rows.due);
        due.clear();
        for visit in rows.gathered() {
            if least.is_some_and(|least| visit.level >= least) {
                continue;
            }
            let queue = self.child_at(queue, visit.child);
            match self.told_level(queue, &visit, least) {
                Told::Share(level) => least = least.into_iter().chain([level]).min(),
                Told::Bound(bound) => due.push((bound, false, queue)),
            }
        }
        due.retain(|(bound, ..)| least.is_none_or(|least| *bound < least));
        due.sort_unstable();
        for (bound, _, queue) in due.iter().copied() {
            if least.is_some_and(|least| bound >= least) {
                break;
            }
            let level = self.level_of(tree, queue, going);
            least = least.into_iter().chain(level).min();
        }
        rows.due = due;
        least
    }

    /// What a visit tells of a child's level. A bound that isn't below `least` needs not be the best.
    fn told_level(&self, queue: usize, visit: &Visit, least: Option<u64>) -> Told {
        let (child, inner) = (&self.children[queue], self.inner(queue));
        let level = |share: u64| fixed::level(share.max(inner.task_share), child.weight);
        let is_no_less = |share| least.is_some_and(|least| level(share) >= least);
        match inner.told(&self.facts, visit, is_no_less) {
            Told::Share(share) => Told::Share(level(share)),
            Told::Bound(share) => Told::Bound(level(share)),
        }
    }

    /// Whether a child comes up for the first time in this walk, or with a lower level than before.
    fn is_news(&mut self, queue: usize, visit: &Visit) -> bool {
        let seen = &mut self.children[queue].seen;
        let is_news = seen.walk != self.n_walks || visit.below < seen.below;
        if is_news {
            *seen = Seen {
                walk: self.n_walks,
                below: visit.below,
            };
        }
        is_news
    }

    /// The child of a queue at a place among the siblings' paths.
    fn child_at(&self, queue: usize, place: usize) -> usize {
        self.inner(queue).siblings.children[place] as usize
    }
}

/// The key of an inner queue under `drf`.
fn key_of(share: u64, child: &Child) -> Key {
    key_of_count(fixed::key(share, child.weight))
}

/// The same of its share over its weight.
fn key_of_count(count: u64) -> Key {
    guarantee::key(None, || Key::share(Share::count(count)))
}

/// The largest level of which the key isn't above this one.
fn limit_of(key: Key) -> u64 {
    fixed::level_limit(count_of(key))
}

/// The share over the weight that a key of `drf` tells; zero where the queue is below its guarantee.
fn count_of(key: Key) -> u64 {
    let (count, _) = key.share.parts();
    if guarantee::is_below(key) { 0 } else { count }
}

impl Inner {
    /// What a visit tells. A bound for which `is_enough` holds needs not be the best.
    fn told(&self, facts: &Facts, visit: &Visit, is_enough: impl FnOnce(u64) -> bool) -> Told {
        let shares = self.shares.as_ref().expect("levels are kept with shares");
        let siblings = &self.siblings;
        let is_exact = siblings.rows.is_none() && !siblings.level_bounds.has_any();
        let known = (shares.level == Some(visit.below)).then_some(&shares.standing);
        let share = |resource: usize| match known {
            Some(standing) => standing[resource],
            None => shares.at(resource, Some(visit.below)),
        };
        let (footprint, column) = (facts.footprint(visit.shape), self.column.as_ref());
        let leader = column.and_then(|column| column.leader(footprint));
        let mut bound = leader.map_or(0, share);
        if leader.is_some() && is_enough(bound) {
            return Told::Bound(bound);
        }
        // No share is larger than what is used.
        let used = shares.used.as_slice();
        let unwaited = column.map_or(&[][..], |column| column.unwaited());
        for resource in facts.resources(footprint).iter().chain(unwaited) {
            if used[resource.index()] > bound {
                bound = bound.max(share(resource.index()));
            }
        }
        // Other resources count if another shape demands them.
        let is_no_more = |resource: usize| used[resource] <= bound || share(resource) <= bound;
        if is_exact && (0..used.len()).all(is_no_more) {
            Told::Share(bound)
        } else {
            Told::Bound(bound)
        }
    }
}
