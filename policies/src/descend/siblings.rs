//! The children of one inner queue, kept in the orders in which decisions ask for them.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use priority_queue::PriorityQueue;
use rustc_hash::{FxBuildHasher, FxHashMap};

use super::bits;
use super::tournament::Tournament;
use crate::ids::ShapeId;
use crate::ranking::Key;

/// A priority queue of children by their index in the tree, the least priority first.
pub(super) type LeastFirst<P> = PriorityQueue<u32, Reverse<P>, FxBuildHasher>;

/// The least priority of a queue.
pub(super) fn least<P: Ord + Copy>(queue: &LeastFirst<P>) -> Option<P> {
    queue.peek().map(|(_, Reverse(priority))| *priority)
}

/// Sets a child's priority, or with `None` takes the child out.
pub(super) fn set<P: Ord>(queue: &mut LeastFirst<P>, child: usize, priority: Option<P>) {
    let child = narrow(child);
    match priority {
        Some(priority) => queue.push(child, Reverse(priority)),
        None => queue.remove(&child).map(|(_, old)| old),
    };
}

/// Indexes of queues are ids, and those have 32 bits.
pub(super) fn narrow(queue: usize) -> u32 {
    u32::try_from(queue).expect("ids of queues have 32 bits")
}

/// The whole order of siblings: key, then submission of the next task, then path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) key: Key,
    pub(super) seq: u64,
    /// The place among the siblings' paths.
    pub(super) path: u32,
}

/// The narrow leaves with one waiting shape: all fit an offer or none does.
pub(super) struct Class {
    shape: ShapeId,
    by_place: LeastFirst<Place>,
    /// By level, kept where the children's shares are summed.
    by_level: LeastFirst<u64>,
}

/// What the classes that can go have to offer.
#[derive(Clone, Copy, Default)]
pub(super) struct Heads {
    /// The first leaf, with the shape that would go.
    pub(super) first: Option<(Place, u32, ShapeId)>,
    /// The least level.
    pub(super) level: Option<u64>,
}

/// So many shapes are looked up one by one.
const FEW_SHAPES: u32 = 8;

/// See the module's text. A narrow leaf stands in the class of each shape that it could launch. All
/// other children stand in `bounds`, by a lower bound of their key for any offer.
#[derive(Default)]
pub(super) struct Siblings {
    classes: Vec<Class>,
    slots: FxHashMap<ShapeId, usize>,
    /// The first leaf of each class.
    first: Tournament<(Place, u32)>,
    /// The least level of each class.
    levels: Tournament<u64>,
    pub(super) bounds: BTreeSet<(Key, u32)>,
    /// As `bounds`, by a lower bound of the level; kept where the children's shares are summed.
    pub(super) level_bounds: BTreeSet<(u64, u32)>,
    /// Levels of the leaves that wait, whatever the offer.
    pub(super) standing_leaves: LeastFirst<u64>,
    /// Levels of the inner queues that wait, by their standing shares.
    pub(super) standing_inner: LeastFirst<u64>,
}

impl Siblings {
    /// The place of a shape's class, made where there is none yet.
    pub(super) fn slot(&mut self, shape: ShapeId) -> usize {
        *self.slots.entry(shape).or_insert_with(|| {
            self.classes.push(Class {
                shape,
                by_place: LeastFirst::default(),
                by_level: LeastFirst::default(),
            });
            self.classes.len() - 1
        })
    }

    /// Puts a narrow leaf into a class, or moves it there.
    pub(super) fn put(&mut self, slot: usize, leaf: usize, place: Place, level: Option<u64>) {
        set(&mut self.classes[slot].by_place, leaf, Some(place));
        if level.is_some() {
            set(&mut self.classes[slot].by_level, leaf, level);
        }
        self.update_heads(slot);
    }

    /// Takes a narrow leaf out of a class.
    pub(super) fn take(&mut self, slot: usize, leaf: usize) {
        let class = &mut self.classes[slot];
        set(&mut class.by_place, leaf, None);
        set(&mut class.by_level, leaf, None);
        self.update_heads(slot);
    }

    fn update_heads(&mut self, slot: usize) {
        let class = &self.classes[slot];
        let first = class.by_place.peek();
        let first = first.map(|(leaf, Reverse(place))| (*place, *leaf));
        if self.first.value(slot) != first {
            self.first.set(slot, first);
        }
        let level = least(&class.by_level);
        if self.levels.value(slot) != level {
            self.levels.set(slot, level);
        }
    }

    /// The heads of the classes of these shapes. Costs about the logarithm of the classes if most
    /// shapes can go or few can, and at most these shapes.
    pub(super) fn heads(&self, going: &[u64]) -> Heads {
        let shapes: u32 = going.iter().map(|word| word.count_ones()).sum();
        let slots = || bits::shapes_of(going).filter_map(|shape| self.slots.get(&shape).copied());
        let is_going = |slot: usize| bits::contains(going, self.classes[slot].shape);
        let (first, level) = if shapes <= FEW_SHAPES {
            let levels = || self.levels.least_of(slots());
            (
                self.first.least_of(slots()),
                self.has_levels().then(levels).flatten(),
            )
        } else {
            let levels = || self.levels.least(is_going, slots());
            (
                self.first.least(is_going, slots()),
                self.has_levels().then(levels).flatten(),
            )
        };
        Heads {
            first: first.map(|((place, leaf), slot)| (place, leaf, self.classes[slot].shape)),
            level: level.map(|(level, _)| level),
        }
    }

    /// Whether any class has a level: only where the children's shares are summed.
    fn has_levels(&self) -> bool {
        !self.levels.is_empty()
    }

    /// The level of a leaf that waits; kept where the children's shares are summed.
    pub(super) fn level_of_leaf(&self, leaf: u32) -> Option<u64> {
        let level = self.standing_leaves.get_priority(&leaf);
        level.map(|Reverse(level)| *level)
    }

    /// The least level over the children that wait, by their standing shares.
    pub(super) fn standing_level(&self) -> Option<u64> {
        let levels = [least(&self.standing_leaves), least(&self.standing_inner)];
        levels.into_iter().flatten().min()
    }

    /// A lower bound of the least level over the children that can go, for any offer.
    pub(super) fn least_level(&self) -> Option<u64> {
        let bound = self.level_bounds.first().map(|(level, _)| *level);
        [least(&self.standing_leaves), bound]
            .into_iter()
            .flatten()
            .min()
    }
}
