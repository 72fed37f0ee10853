//! The steps of a decision, for people: at each queue on the way to a task the child that would be served first, and
//! the one that leads to the task, with the keys by which they were compared.

use super::index::Index;
use super::queue::{Found, Next, Node, Order};
use super::siblings::Place;
use super::{bits, guarantee};
use crate::decay::FRACTION_BITS;
use crate::explain::{Contender, Fraction, ShownKey, Step};
use crate::ids::QueueId;
use crate::policy::Choice;
use crate::ranking::Key;
use crate::tree::{PolicySpec, QueueTree, TaskRank};

/// In how many parts a rounded key divides a share: keys are multiples of 2^-36.
const ROUNDED: u128 = 1 << 36;

impl Index {
    /// The steps from the root to `leaf` if the shapes of `fits` fitted. Costs the depth times what
    /// [`Index::choose`] does, and where others are asked for, all siblings.
    pub(super) fn steps(
        &mut self,
        tree: &QueueTree,
        fits: &[u64],
        leaf: QueueId,
        n_others: usize,
    ) -> Vec<Step> {
        let path = path_to(tree, leaf);
        let mut steps = Vec::new();
        let mut above = fits.to_vec();
        for pair in path.windows(2) {
            let (parent, child) = (pair[0], pair[1]);
            let served = self.find(tree, parent.index(), &above);
            let served = served.map(|found| child_towards(tree, parent, found.next.choice.leaf));
            let mut going = Vec::new();
            bits::set_common(&mut going, &above, self.inner(parent.index()).going());
            steps.push(Step {
                parent,
                first: served.map(|served| self.contender(tree, parent, served, &going)),
                own: self.contender(tree, parent, child, &going),
                others: match n_others {
                    0 => Vec::new(),
                    _ => self.others(tree, parent, &[served, Some(child)], &going, n_others),
                },
            });
            above = going;
        }
        steps
    }

    /// The keys on the way from the root to what was just chosen for these shapes.
    pub(super) fn keys(&mut self, tree: &QueueTree, fits: &[u64], choice: Choice) -> Vec<ShownKey> {
        let mut way = std::mem::take(&mut self.way);
        way.clear();
        let upwards = std::iter::successors(Some(choice.leaf.index()), |queue| {
            Some(self.children[*queue].parent).filter(|parent| *parent > 0)
        });
        way.extend(upwards);
        let mut keys = Vec::with_capacity(way.len());
        let mut going = std::mem::take(&mut self.above);
        going.clear();
        going.extend_from_slice(fits);
        let mut parent = 0;
        for queue in way.iter().rev().copied() {
            bits::keep_common(&mut going, self.inner(parent).going());
            let found = self.found_in_class(parent, queue, choice);
            let found = found.or_else(|| self.find(tree, queue, &going));
            keys.extend(found.map(|found| self.shown(tree, parent, &found)));
            parent = queue;
        }
        (self.way, self.above) = (way, going);
        keys
    }

    /// What was chosen as it stands in a class, where its leaf is `queue` and stands in one.
    fn found_in_class(&self, parent: usize, queue: usize, choice: Choice) -> Option<Found> {
        let Node::Leaf(leaf) = &self.nodes[queue] else {
            return None;
        };
        let stand = (leaf.stands.iter()).find(|stand| stand.shape == choice.shape)?;
        let key = self.inner(parent).siblings.key(*stand)?;
        let rank = leaf.rank(choice.shape);
        let next = Next { choice, rank };
        Some(Found { next, key })
    }

    /// The key of a child as it can be shown.
    fn shown(&self, tree: &QueueTree, parent: usize, found: &Found) -> ShownKey {
        let order = &self.inner(parent).order;
        let spec = tree.policy_spec(QueueId::new(parent));
        show(found.key, order, spec, found.next.rank)
    }

    /// The first of the children that could go, without some of them.
    fn others(
        &mut self,
        tree: &QueueTree,
        parent: QueueId,
        without: &[Option<QueueId>],
        going: &[u64],
        n_others: usize,
    ) -> Vec<Contender> {
        let mut places = Vec::new();
        for child in tree.children(parent) {
            if without.contains(&Some(*child)) {
                continue;
            }
            if let Some(found) = self.find(tree, child.index(), going) {
                let path = self.children[child.index()].path;
                let place = Place {
                    key: found.key,
                    seq: found.next.rank.seq,
                    path,
                };
                places.push((place, *child));
            }
        }
        places.sort_unstable();
        places.truncate(n_others);
        let others = places.into_iter();
        others
            .map(|(_, child)| self.contender(tree, parent, child, going))
            .collect()
    }

    fn contender(
        &mut self,
        tree: &QueueTree,
        parent: QueueId,
        child: QueueId,
        going: &[u64],
    ) -> Contender {
        let found = self.find(tree, child.index(), going);
        Contender {
            queue: child,
            standing: found
                .map(|found| (self.shown(tree, parent.index(), &found), found.next.rank)),
        }
    }
}

/// The queues from the root to a leaf.
fn path_to(tree: &QueueTree, leaf: QueueId) -> Vec<QueueId> {
    let mut path = vec![leaf];
    while let Some(above) = tree.parent(path[path.len() - 1]) {
        path.push(above);
    }
    path.reverse();
    path
}

/// The child of `parent` on the way to a leaf below it.
fn child_towards(tree: &QueueTree, parent: QueueId, leaf: QueueId) -> QueueId {
    let mut child = leaf;
    while let Some(above) = tree.parent(child).filter(|above| *above != parent) {
        child = above;
    }
    child
}

fn show(key: Key, order: &Order, spec: &PolicySpec, next: TaskRank) -> ShownKey {
    let (part, whole) = key.share.parts();
    let part = u128::from(part);
    if guarantee::is_below(key) {
        return ShownKey::Guarantee(Fraction { part, whole });
    }
    // A weight is kept in thousandths, which cancel out between siblings.
    let weighed = part * 1000;
    let (part, whole) = match order {
        Order::Drf { rounded: true } => (part, ROUNDED),
        Order::Drf { rounded: false } => (weighed, whole),
        Order::Ranked(_) if &*spec.name == "fifo" => return ShownKey::Order(next),
        Order::Ranked(_) if &*spec.name == "weighted" => {
            let unit = spec.resource.map_or(1, |_| 1000) << FRACTION_BITS;
            (weighed, whole * unit)
        }
        // A policy of a program's own: the key as it is.
        Order::Ranked(_) => (part, whole),
    };
    ShownKey::Use(Fraction { part, whole })
}
