//! How the index follows a change.
//!
//! A change climbs from its leaf to the root. At each queue on the way the entry in the queue above is
//! moved and, under hierarchical DRF, what the queue gives to the sums of the one above is replaced. No
//! sibling is touched.

use super::bits;
use super::change::Change;
use super::column::Bounded;
use super::facts::Facts;
use super::guarantee;
use super::index::Index;
use super::queue::{Child, Head, Inner, Leaf, Node, Order, have_one_priority};
use super::siblings::{Place, Siblings};
use super::sums::Gift;
use super::tournament::Value;
use crate::amount::Amount;
use crate::fixed;
use crate::ids::{QueueId, ResourceId, ShapeId};
use crate::ranking::Key;
use crate::share::Share;
use crate::tree::{QueueTree, TaskRank};

/// The most shapes with which a leaf stands in the class of each. Every change of such a leaf moves
/// it in all of them; a leaf with more is looked at when its turn could have come.
const NARROW_MAX: usize = 4;

impl Index {
    /// Brings the index up to date with one leaf and the queues above it. `false` if it can't: a
    /// shape's id has another meaning than in a leaf whose change wasn't told, or there are so many shapes now that
    /// another order pays. Then a new index is due.
    #[must_use]
    pub(super) fn changed(&mut self, tree: &QueueTree, leaf: QueueId) -> bool {
        let heads = tree.heads(leaf);
        let is_stale = |index: &Self, shape| index.facts.is_stale(tree, shape);
        if heads.iter().any(|(shape, _)| is_stale(self, *shape)) {
            self.update(tree, leaf.index(), &[]);
            for (shape, _) in heads {
                if is_stale(self, *shape) {
                    if self.facts.is_waiting(*shape) {
                        return false;
                    }
                    self.facts.learn(tree, *shape);
                }
            }
            if self.has_outgrown() {
                return false;
            }
        }
        self.update(tree, leaf.index(), heads);
        true
    }

    fn update(&mut self, tree: &QueueTree, leaf: usize, heads: &[(ShapeId, TaskRank)]) {
        let mut change = std::mem::take(&mut self.change);
        change.clear();
        self.update_leaf(tree, leaf, heads, &mut change);
        let mut queue = leaf;
        while queue > 0 {
            let parent = self.children[queue].parent;
            self.update_inner(tree, parent, &mut change);
            queue = parent;
        }
        self.change = change;
    }

    fn update_leaf(
        &mut self,
        tree: &QueueTree,
        queue: usize,
        heads: &[(ShapeId, TaskRank)],
        change: &mut Change,
    ) {
        let child = &mut self.children[queue];
        let (above, below) = self.nodes.split_at_mut(queue);
        let (Node::Inner(parent), Node::Leaf(leaf)) = (&mut above[child.parent], &mut below[0])
        else {
            unreachable!("a leaf is below an inner queue");
        };
        let id = QueueId::new(queue);
        leaf.take_heads(tree, id, heads, &mut self.facts, change);
        let is_idle = leaf.heads.is_empty();
        let has_sums = parent.has_sums();
        if has_sums || matches!(parent.order, Order::Drf { rounded: true }) {
            leaf.used.update(tree, id);
            leaf.share = leaf.used.largest();
        }
        let own = leaf.share.max(leaf.task_share);
        let level = has_sums.then(|| fixed::level(own, child.weight));
        if let Some(sums) = parent
            .shares
            .as_mut()
            .and_then(|shares| shares.sums.as_mut())
        {
            let filled = leaf.is_guaranteed.then(|| guarantee::filled(tree, id));
            let gift = Gift {
                shares: leaf.used.as_slice(),
                own,
                weight: child.weight,
                is_idle,
                filled: filled.flatten(),
            };
            sums.give(child.path, &mut child.given, &gift);
            let level = level.filter(|_| !is_idle);
            let levels = &mut parent.siblings.standing_leaves;
            levels.set(child.path as usize, level);
        }
        if let Some(ranks) = &mut parent.ranks {
            ranks.set(child.path as usize, leaf.best());
        }
        let is_bounded = parent.bounded != Bounded::Whole;
        if is_bounded {
            change.touch(&leaf.stands);
        }
        place_leaf(tree, queue, leaf, child, parent, &self.facts, level);
        if is_bounded {
            change.touch(&leaf.stands);
        }
    }

    #[inline(always)]
    fn update_inner(&mut self, tree: &QueueTree, queue: usize, change: &mut Change) {
        let child = &mut self.children[queue];
        let (above, below) = self.nodes.split_at_mut(queue);
        let Node::Inner(inner) = &mut below[0] else {
            unreachable!("a queue with children is an inner queue");
        };
        let id = QueueId::new(queue);
        inner.memo.clear();
        inner.take_change(tree, id, &self.facts, change);
        if queue == 0 {
            return;
        }
        if !change.waiting_in.is_empty() || !change.waiting_out.is_empty() {
            inner.note_waiting(&self.facts, self.resources);
        }
        let Node::Inner(parent) = &mut above[child.parent] else {
            unreachable!("a queue with children is an inner queue");
        };
        if let Some(ranks) = &mut parent.ranks {
            ranks.set(child.path as usize, inner.best());
        }
        let least_share = inner.update_shares(tree, id, &self.facts);
        let can_go = inner.going().iter().any(|word| *word != 0);
        let is_wide = can_go && inner.is_wide();
        let bound =
            is_wide.then(|| inner_bound(tree, id, inner, child, parent, &self.facts, least_share));
        let is_idle = inner.waiting.is_empty();
        let mut level_bound = None;
        if let (Some(shares), Some(above)) = (&inner.shares, &mut parent.shares)
            && let Some(sums) = &mut above.sums
        {
            let own = shares.dominant().max(inner.task_share);
            let filled = inner.is_guaranteed.then(|| guarantee::filled(tree, id));
            let gift = Gift {
                shares: &shares.standing,
                own,
                weight: child.weight,
                is_idle,
                filled: filled.flatten(),
            };
            sums.give(child.path, &mut child.given, &gift);
            let level = (!is_idle).then(|| fixed::level(own, child.weight));
            let levels = &mut parent.siblings.standing_inner;
            levels.set(child.path as usize, level);
            let least = fixed::level(least_share.max(inner.task_share), child.weight);
            level_bound = is_wide.then_some(least);
        }
        set_bounds(&mut parent.siblings, child, bound, level_bound);
        if inner.bounded != Bounded::Whole {
            change.touch_going();
        }
        inner.update_column(tree, id, child, parent, &self.facts, &mut change.touched);
    }
}

/// Puts a leaf where its parent looks for it: into the class of each shape that may go if those are
/// few and of one priority, else among the bounds.
fn place_leaf(
    tree: &QueueTree,
    queue: usize,
    leaf: &mut Leaf,
    child: &mut Child,
    parent: &mut Inner,
    facts: &Facts,
    level: Option<u64>,
) {
    let id = QueueId::new(queue);
    let allowed = leaf.heads.iter().filter(|head| head.is_allowed).count();
    let below = leaf.below_guarantee(tree, queue, facts, |_| true);
    // With several priorities the first of the shapes that fit need not be the oldest; and where a guarantee
    // is not met, which of the shapes fit tells how far.
    let is_one = allowed == 1 || (below.is_none() && have_one_priority(&leaf.heads));
    let is_narrow = allowed <= NARROW_MAX && is_one;
    let fair = match parent.order {
        Order::Ranked(_) => None,
        Order::Drf { rounded } => Some(leaf_key(tree, id, leaf.share, child, rounded)),
    };
    let key = |rank| {
        guarantee::key(below, || match (&parent.order, fair) {
            (Order::Ranked(ranking), _) => ranking.key(tree, id, rank),
            (Order::Drf { .. }, fair) => fair.expect("a key under drf"),
        })
    };
    if is_narrow {
        let siblings = &mut parent.siblings;
        leaf.update_stands(siblings, queue);
        let heads = leaf.heads.iter().filter(|head| head.is_allowed);
        let mut known = None;
        for (head, stand) in heads.zip(&leaf.stands) {
            let (key, coarse) = known.unwrap_or_else(|| {
                let key = key(head.rank);
                (key, key.coarse())
            });
            // Under drf the shapes of a leaf have one key.
            known = fair.map(|_| (key, coarse));
            let place = Place {
                key,
                seq: head.rank.seq,
                path: child.path,
            };
            siblings.put(*stand, place, coarse, level);
            if parent.bounded == Bounded::ByRank {
                siblings.put_rank(*stand, head.rank);
            }
        }
        set_bounds(siblings, child, None, None);
    } else {
        for stand in leaf.stands.drain(..) {
            parent.siblings.leave(stand);
        }
        let bound = leaf.best().map(key);
        set_bounds(
            &mut parent.siblings,
            child,
            bound,
            level.filter(|_| bound.is_some()),
        );
    }
}

/// The key of a leaf under `drf`.
pub(super) fn leaf_key(
    tree: &QueueTree,
    leaf: QueueId,
    share: u64,
    child: &Child,
    rounded: bool,
) -> Key {
    Key::share(if rounded {
        Share::count(fixed::key(share, child.weight))
    } else {
        tree.dominant_share(leaf).0.per(child.weight)
    })
}

/// A lower bound of an inner queue's key for any offer.
fn inner_bound(
    tree: &QueueTree,
    queue: QueueId,
    inner: &Inner,
    child: &Child,
    parent: &Inner,
    facts: &Facts,
    least_share: u64,
) -> Key {
    let below = inner.below_guarantee(tree, queue.index(), facts, inner.going());
    guarantee::key(below, || match &parent.order {
        Order::Ranked(ranking) => {
            let best = inner.best().expect("under a ranking, ranks are kept");
            ranking.key(tree, queue, best)
        }
        Order::Drf { rounded: true } => {
            Key::share(Share::count(fixed::key(least_share, child.weight)))
        }
        Order::Drf { rounded: false } => {
            let (used, totals) = (tree.used(queue), tree.totals());
            let least = inner.least_share(facts, Share::ZERO, |resource| {
                Share::new(used.get(resource), totals.get(resource))
            });
            Key::share(least.per(child.weight))
        }
    })
}

/// Sets what stands of a child among the bounds; `None` takes it out.
#[inline(always)]
fn set_bounds(
    siblings: &mut Siblings,
    child: &mut Child,
    bound: Option<Key>,
    level_bound: Option<u64>,
) {
    let place = child.path as usize;
    siblings.bounds.set(place, bound);
    siblings.level_bounds.set(place, level_bound);
    (child.bound, child.level_bound) = (bound, level_bound);
}

impl Leaf {
    /// Takes over the heads as they are now and says which shapes came and went.
    fn take_heads(
        &mut self,
        tree: &QueueTree,
        leaf: QueueId,
        heads: &[(ShapeId, TaskRank)],
        facts: &mut Facts,
        change: &mut Change,
    ) {
        let is_allowed = |facts: &Facts, shape| {
            !self.is_limited || tree.exceeded_max(leaf, facts.demand(shape)).is_none()
        };
        let mut old = self.heads.iter().peekable();
        for (shape, _) in heads {
            while let Some(gone) = old.next_if(|head| head.shape < *shape) {
                change.leaves(gone);
            }
            let now = is_allowed(facts, *shape);
            match old.next_if(|head| head.shape == *shape) {
                Some(head) if head.is_allowed == now => {}
                Some(_) if now => change.going_in.push(*shape),
                Some(_) => change.going_out.push(*shape),
                None => {
                    change.waiting_in.push(*shape);
                    change.going_in.extend(now.then_some(*shape));
                }
            }
        }
        old.for_each(|gone| change.leaves(gone));
        self.heads.clear();
        self.heads.extend(heads.iter().map(|(shape, rank)| Head {
            shape: *shape,
            rank: *rank,
            is_allowed: !self.is_limited || tree.exceeded_max(leaf, facts.demand(*shape)).is_none(),
        }));
        change
            .waiting_in
            .iter()
            .for_each(|shape| facts.add_leaf(*shape));
        change
            .waiting_out
            .iter()
            .for_each(|shape| facts.remove_leaf(*shape));
        if !change.waiting_in.is_empty() || !change.waiting_out.is_empty() {
            let shares = self.heads.iter().map(|head| facts.share(head.shape));
            self.task_share = shares.min().unwrap_or(0);
        }
    }

    /// Leaves the classes of shapes that no longer may go, enters those of new ones.
    fn update_stands(&mut self, siblings: &mut Siblings, queue: usize) {
        let heads = || {
            self.heads
                .iter()
                .filter(|head| head.is_allowed)
                .map(|head| head.shape)
        };
        if self.stands.iter().map(|stand| stand.shape).eq(heads()) {
            return;
        }
        let mut old = self.stands.iter().copied().peekable();
        let mut stands = Vec::with_capacity(NARROW_MAX);
        for shape in heads() {
            while let Some(gone) = old.next_if(|stand| stand.shape < shape) {
                siblings.leave(gone);
            }
            let kept = old.next_if(|stand| stand.shape == shape);
            stands.push(kept.unwrap_or_else(|| siblings.enter(shape, queue)));
        }
        old.for_each(|gone| siblings.leave(gone));
        self.stands = stands;
    }
}

impl Inner {
    /// Takes over a child's change and makes it this queue's own.
    fn take_change(
        &mut self,
        tree: &QueueTree,
        queue: QueueId,
        facts: &Facts,
        change: &mut Change,
    ) {
        let (waiting, offered) = (&mut self.waiting, &mut self.offered);
        change.waiting_in.retain(|shape| waiting.add(*shape));
        change.waiting_out.retain(|shape| waiting.remove(*shape));
        if !change.waiting_in.is_empty() || !change.waiting_out.is_empty() {
            self.task_share = waiting
                .iter()
                .map(|shape| facts.share(shape))
                .min()
                .unwrap_or(0);
        }
        change.going_in.retain(|shape| offered.add(*shape));
        change.going_out.retain(|shape| offered.remove(*shape));
        if self.is_limited {
            self.apply_limit(tree, queue, facts, change);
        }
        for shape in &change.going_in {
            self.count_footprint(facts.footprint(*shape), true);
        }
        for shape in &change.going_out {
            self.count_footprint(facts.footprint(*shape), false);
        }
    }

    /// Finds out which of the shapes offered the own limit lets go. Costs those shapes where one came
    /// or went or where head-room crossed a demand, else only the limits.
    fn apply_limit(
        &mut self,
        tree: &QueueTree,
        queue: QueueId,
        facts: &Facts,
        change: &mut Change,
    ) {
        let limits = &tree.settings(queue).max;
        let used = tree.used(queue);
        let head_room = |(id, max): &(ResourceId, Amount)| max.saturating_sub(used.get(*id));
        let same_shapes = change.going_in.is_empty() && change.going_out.is_empty();
        let mut known = self.head_rooms.iter().zip(limits);
        let same_rooms = self.head_rooms.len() == limits.len()
            && known.all(|((held, missed), limit)| {
                let now = head_room(limit);
                *held <= now && missed.is_none_or(|missed| now < missed)
            });
        if same_shapes && same_rooms {
            return;
        }
        self.head_rooms.clear();
        for limit in limits {
            let demand = |shape| facts.demand(shape).get(limit.0);
            let now = head_room(limit);
            let held = self
                .offered
                .iter()
                .map(demand)
                .filter(|demand| *demand <= now)
                .max();
            let missed = self
                .offered
                .iter()
                .map(demand)
                .filter(|demand| *demand > now)
                .min();
            self.head_rooms.push((held.unwrap_or(Amount::ZERO), missed));
        }
        let mut allowed = Vec::with_capacity(self.allowed.len());
        for shape in self.offered.iter() {
            if tree.exceeded_max(queue, facts.demand(shape)).is_none() {
                bits::insert(&mut allowed, shape);
            }
        }
        change.going_in.clear();
        change.going_out.clear();
        let old = std::mem::replace(&mut self.allowed, allowed);
        let is_new = |shape: &ShapeId| !bits::contains(&old, *shape);
        change
            .going_in
            .extend(bits::shapes_of(&self.allowed).filter(is_new));
        let is_gone = |shape: &ShapeId| !bits::contains(&self.allowed, *shape);
        change
            .going_out
            .extend(bits::shapes_of(&old).filter(is_gone));
    }

    /// Brings the shares up to date with the use and the children's sums. A lower bound of the share
    /// for any offer, in 2^-48; zero where nothing can go, or nobody asks for it.
    fn update_shares(&mut self, tree: &QueueTree, queue: QueueId, facts: &Facts) -> u64 {
        let level = self.siblings.standing_level();
        let least = self.is_wide().then(|| self.siblings.least_level());
        let Some(shares) = &mut self.shares else {
            return 0;
        };
        shares.used.update(tree, queue);
        if let (Some(sums), Some(level)) = (&mut shares.sums, level) {
            sums.expect(level);
        }
        shares.scale(level);
        let Some(least) = least else {
            shares.least = None;
            return 0;
        };
        shares.scale_least(least);
        let lowest = self
            .shares
            .as_ref()
            .map_or(&[][..], |shares| &shares.lowest);
        self.least_share(facts, 0, |resource| lowest[resource.index()])
    }
}
