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
use super::rows::Visit;
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
        let Some(rows) = self.inner_mut(queue).siblings.rows.take() else {
            return;
        };
        self.n_walks += 1;
        let mut walk = rows.walk(going);
        if self.inner(queue).order.is_drf() {
            while let Some(visit) = {
                let limit = first.as_ref().map(|first| limit_of(first.key));
                rows.next_by_level(&mut walk, going, limit)
            } {
                self.compare_visit(tree, &visit, going, first);
            }
        } else {
            while let Some(visit) = {
                let limit = first.as_ref().map(|first| first.key);
                rows.next_by_key(&mut walk, going, limit)
            } {
                if self.is_news(&visit) {
                    self.consider(tree, visit.queue, going, first);
                }
            }
        }
        self.inner_mut(queue).siblings.rows = Some(rows);
    }

    fn compare_visit(
        &mut self,
        tree: &QueueTree,
        visit: &Visit,
        going: &[u64],
        first: &mut Option<First>,
    ) {
        if !self.is_news(visit) {
            return;
        }
        let key = |share| key_of(share, &self.children[visit.queue]);
        let is_after = |share| (first.as_ref()).is_some_and(|first| key(share) > first.key);
        match (self.inner(visit.queue)).told(&self.facts, visit, is_after) {
            Told::Share(share) => {
                let own = First {
                    queue: visit.queue,
                    key: key(share),
                    next: None,
                };
                self.compare(tree, own, going, first);
            }
            Told::Bound(share) if is_after(share) => {}
            Told::Bound(_) => {
                self.children[visit.queue].seen.set_done();
                self.consider(tree, visit.queue, going, first);
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
        let Some(rows) = self.inner_mut(queue).siblings.rows.take() else {
            return least;
        };
        self.n_walks += 1;
        let mut walk = rows.walk(going);
        while least != Some(0)
            && let Some(visit) = {
                let limit = least.map(|least| least - 1);
                rows.next_by_level(&mut walk, going, limit)
            }
        {
            if !self.is_news(&visit) {
                continue;
            }
            let (child, inner) = (&self.children[visit.queue], self.inner(visit.queue));
            let level = |share: u64| fixed::level(share.max(inner.task_share), child.weight);
            let is_no_less = |share: u64| least.is_some_and(|least| level(share) >= least);
            let level = match inner.told(&self.facts, &visit, is_no_less) {
                Told::Share(share) => Some(level(share)),
                Told::Bound(share) if is_no_less(share) => None,
                Told::Bound(_) => {
                    self.children[visit.queue].seen.set_done();
                    self.level_of(tree, visit.queue, going)
                }
            };
            least = least.into_iter().chain(level).min();
        }
        self.inner_mut(queue).siblings.rows = Some(rows);
        least
    }

    /// Whether a child comes up for the first time in this walk, or with a lower level than before.
    fn is_news(&mut self, visit: &Visit) -> bool {
        let seen = &mut self.children[visit.queue].seen;
        let is_news = seen.walk != self.n_walks || visit.below < seen.below;
        if is_news {
            *seen = Seen {
                walk: self.n_walks,
                below: visit.below,
            };
        }
        is_news
    }
}

/// The key of an inner queue under `drf`.
fn key_of(share: u64, child: &Child) -> Key {
    guarantee::key(None, || {
        Key::share(Share::count(fixed::key(share, child.weight)))
    })
}

/// The largest level of which the key isn't above this one.
fn limit_of(key: Key) -> u64 {
    if guarantee::is_below(key) {
        return 0;
    }
    let (key, _) = key.share.parts();
    fixed::level_limit(key)
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
        let footprint = facts.footprint(visit.shape);
        let leader = self
            .column
            .as_ref()
            .and_then(|column| column.leader(footprint));
        if let Some(leader) = leader.map(share)
            && is_enough(leader)
        {
            return Told::Bound(leader);
        }
        let asked = facts.resources(footprint).iter();
        let unwaited = self
            .column
            .as_ref()
            .map_or(&[][..], |column| column.unwaited());
        let counting = || asked.clone().chain(unwaited);
        let bound = counting().map(|resource| share(resource.index())).max();
        let bound = bound.unwrap_or(0);
        if !is_exact {
            return Told::Bound(bound);
        }
        // Other resources count if another shape demands them.
        let n_resources = shares.standing.len();
        let are_all = counting().count() == n_resources;
        if are_all || (0..n_resources).all(|resource| share(resource) <= bound) {
            Told::Share(bound)
        } else {
            Told::Bound(bound)
        }
    }
}
