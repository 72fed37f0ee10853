//! The children of one inner queue, kept in the orders in which decisions ask for them.

use super::bits;
use super::tournament::{Tournament, Value};
use crate::ids::ShapeId;
use crate::ranking::Key;

/// Indexes of queues and of places are ids, and those have 32 bits.
pub(super) fn narrow(index: usize) -> u32 {
    u32::try_from(index).expect("ids have 32 bits")
}

/// The whole order of siblings: key, then submission of the next task, then path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) key: Key,
    pub(super) seq: u64,
    /// The place among the siblings' paths.
    pub(super) path: u32,
}

impl Value for Place {
    fn coarse(&self) -> u64 {
        self.key.coarse()
    }
}

/// The narrow leaves with one waiting shape: all fit an offer or none does. Each has a place, which is
/// used again when it leaves.
struct Class {
    shape: ShapeId,
    by_place: Tournament<Place>,
    /// By level, kept where the children's shares are summed.
    by_level: Tournament<u64>,
    /// The leaf of each place.
    leaves: Vec<u32>,
    free: Vec<u32>,
}

/// Where a narrow leaf stands for one of its shapes.
#[derive(Clone, Copy)]
pub(super) struct Stand {
    pub(super) shape: ShapeId,
    class: u32,
    place: u32,
}

/// So many classes are looked at one by one.
const FEW_CLASSES: usize = 16;

/// Of more classes, those of so many shapes are looked up one by one.
const FEW_SHAPES: u32 = 8;

/// See the module's text. A narrow leaf stands in the class of each shape that it could launch. All
/// other children stand in `bounds`, by a lower bound of their key for any offer.
///
/// But for classes, a child's place is that among the siblings' paths.
#[derive(Default)]
pub(super) struct Siblings {
    /// The children, by their place.
    pub(super) children: Vec<u32>,
    classes: Vec<Class>,
    /// In order of shapes.
    class_ids: Vec<(ShapeId, u32)>,
    /// The first leaf of each class, and the least level; kept where there are more classes than [`FEW_CLASSES`].
    first: Tournament<Place>,
    levels: Tournament<u64>,
    pub(super) bounds: Tournament<Key>,
    /// As `bounds`, by a lower bound of the level; kept where the children's shares are summed.
    pub(super) level_bounds: Tournament<u64>,
    /// Levels of the leaves that wait, whatever the offer.
    pub(super) standing_leaves: Tournament<u64>,
    /// Levels of the inner queues that wait, by their standing shares.
    pub(super) standing_inner: Tournament<u64>,
}

impl Siblings {
    /// Gives a narrow leaf a place in the class of a shape; the class is made where there is none yet.
    pub(super) fn enter(&mut self, shape: ShapeId, leaf: usize) -> Stand {
        let found = self.class_ids.binary_search_by_key(&shape, |(id, _)| *id);
        let class = match found {
            Ok(index) => self.class_ids[index].1,
            Err(index) => {
                let id = narrow(self.classes.len());
                self.classes.push(Class {
                    shape,
                    by_place: Tournament::default(),
                    by_level: Tournament::default(),
                    leaves: Vec::new(),
                    free: Vec::new(),
                });
                self.class_ids.insert(index, (shape, id));
                if self.classes.len() == FEW_CLASSES + 1 {
                    (0..FEW_CLASSES).for_each(|class| self.tell_first(class));
                }
                id
            }
        };
        let Class { leaves, free, .. } = &mut self.classes[class as usize];
        let place = free.pop().unwrap_or_else(|| {
            leaves.push(0);
            narrow(leaves.len() - 1)
        });
        leaves[place as usize] = narrow(leaf);
        Stand {
            shape,
            class,
            place,
        }
    }

    /// Moves a narrow leaf within a class. `coarse` is the coarse number of its place.
    pub(super) fn put(&mut self, stand: Stand, place: Place, coarse: u64, level: Option<u64>) {
        let class = &mut self.classes[stand.class as usize];
        let at = stand.place as usize;
        let has_moved = class.by_place.set_known(at, Some(place), coarse);
        let has_moved = class.by_level.set(at, level) || has_moved;
        if has_moved && self.has_many_classes() {
            self.tell_first(stand.class as usize);
        }
    }

    /// Takes a narrow leaf out of a class.
    pub(super) fn leave(&mut self, stand: Stand) {
        let class = &mut self.classes[stand.class as usize];
        class.by_place.set(stand.place as usize, None);
        class.by_level.set(stand.place as usize, None);
        class.free.push(stand.place);
        if self.has_many_classes() {
            self.tell_first(stand.class as usize);
        }
    }

    fn has_many_classes(&self) -> bool {
        self.classes.len() > FEW_CLASSES
    }

    /// Brings the tournaments of all classes up to date with one class.
    fn tell_first(&mut self, class: usize) {
        let Class {
            by_place, by_level, ..
        } = &self.classes[class];
        self.first.set_to_first(class, by_place);
        self.levels.set_to_first(class, by_level);
    }

    fn class_of(&self, shape: ShapeId) -> Option<usize> {
        let found = self.class_ids.binary_search_by_key(&shape, |(id, _)| *id);
        Some(self.class_ids[found.ok()?].1 as usize)
    }

    /// The key that stands for a narrow leaf.
    pub(super) fn key(&self, stand: Stand) -> Option<Key> {
        let class = &self.classes[stand.class as usize];
        Some(class.by_place.get(stand.place as usize)?.key)
    }

    /// The first leaf of the classes of these shapes, with the shape that would go. Costs about the logarithm of the
    /// classes if most shapes can go or few can, and at most these shapes.
    pub(super) fn first_head(&self, going: &[u64]) -> Option<(Place, u32, ShapeId)> {
        let class = if self.has_many_classes() {
            self.least_of_many(&self.first, going)?
        } else {
            self.least_of_few(|class| &class.by_place, going)?
        };
        let class = &self.classes[class];
        let (place, leaf) = class.by_place.first()?;
        Some((place, class.leaves[leaf], class.shape))
    }

    /// The least level of the classes of these shapes. Costs the same.
    pub(super) fn level_head(&self, going: &[u64]) -> Option<u64> {
        let class = if self.has_many_classes() {
            self.least_of_many(&self.levels, going)?
        } else {
            self.least_of_few(|class| &class.by_level, going)?
        };
        let (level, _) = self.classes[class].by_level.first()?;
        Some(level)
    }

    /// Of few classes, the one of some shapes where the least value stands.
    fn least_of_few<P: Value>(
        &self,
        kept: impl Fn(&Class) -> &Tournament<P>,
        going: &[u64],
    ) -> Option<usize> {
        let mut best: Option<(usize, &Tournament<P>)> = None;
        for (index, class) in self.classes.iter().enumerate() {
            let own = kept(class);
            if bits::contains(going, class.shape)
                && own.has_any()
                && best.is_none_or(|(_, best)| own.is_led_before(best))
            {
                best = Some((index, own));
            }
        }
        best.map(|(index, _)| index)
    }

    /// The same of many classes.
    fn least_of_many<P: Value>(&self, by_class: &Tournament<P>, going: &[u64]) -> Option<usize> {
        let shapes: u32 = going.iter().map(|word| word.count_ones()).sum();
        let classes = bits::shapes_of(going).filter_map(|shape| self.class_of(shape));
        let least = if shapes <= FEW_SHAPES {
            by_class.least_of(classes)
        } else {
            let is_going = |class: usize| bits::contains(going, self.classes[class].shape);
            by_class.least(is_going, classes)
        };
        least.map(|(_, class)| class)
    }

    /// The least level over the children that wait, by their standing shares.
    pub(super) fn standing_level(&self) -> Option<u64> {
        least([&self.standing_leaves, &self.standing_inner])
    }

    /// A lower bound of the least level over the children that can go, for any offer.
    pub(super) fn least_level(&self) -> Option<u64> {
        least([&self.standing_leaves, &self.level_bounds])
    }
}

fn least(levels: [&Tournament<u64>; 2]) -> Option<u64> {
    let levels = levels.into_iter().filter_map(Tournament::first);
    levels.map(|(level, _)| level).min()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::share::Share;

    /// More than are looked at one by one.
    const N_SHAPES: usize = 70;

    proptest! {
        /// However many classes there are, however many shapes can go, and also where leaves have left.
        #[test]
        fn the_first_of_all_classes_is_what_a_scan_finds(
            leaves in vec((0..N_SHAPES, 0..6_u64, 0..6_u64, any::<bool>()), 0..90),
            going in prop_oneof![vec(0..N_SHAPES, 0..8), vec(0..N_SHAPES, 0..60)],
        ) {
            let mut siblings = Siblings::default();
            let mut kept = Vec::new();
            for (leaf, (shape, key, level, stays)) in leaves.into_iter().enumerate() {
                let shape = ShapeId::new(shape);
                let key = Key::share(Share::count(key));
                let path = narrow(leaf);
                let place = Place { key, seq: 7, path };
                let stand = siblings.enter(shape, leaf);
                siblings.put(stand, place, place.coarse(), Some(level));
                if stays {
                    kept.push((place, path, shape, level));
                } else {
                    siblings.leave(stand);
                }
            }
            let mut words = Vec::new();
            going.into_iter().for_each(|shape| bits::insert(&mut words, ShapeId::new(shape)));
            kept.retain(|(_, _, shape, _)| bits::contains(&words, *shape));
            let first = kept.iter().map(|(place, leaf, shape, _)| (*place, *leaf, *shape)).min();
            prop_assert!(siblings.first_head(&words) == first);
            prop_assert_eq!(siblings.level_head(&words), kept.iter().map(|kept| kept.3).min());
        }
    }
}
