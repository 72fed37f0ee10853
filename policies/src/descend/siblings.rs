//! The children of one inner queue, kept in the orders in which decisions ask for them.

use super::bits;
use super::rows::Rows;
use super::shape_map::ShapeMap;
use super::tournament::{Tournament, Value};
use crate::ids::ShapeId;
use crate::ranking::Key;
use crate::tree::TaskRank;

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
    /// By the rank of the shape's first task, kept where queues are bounded by ranks.
    by_rank: Tournament<TaskRank>,
    /// The leaf of each place.
    leaves: Vec<u32>,
    free: Vec<u32>,
}

/// Where a narrow leaf stands for one of its shapes, or an inner queue in a row.
#[derive(Clone, Copy)]
pub(super) struct Stand {
    pub(super) shape: ShapeId,
    pub(super) class: u32,
    pub(super) place: u32,
}

/// Where a shape stands below a queue: its class and its row.
#[derive(Clone, Copy)]
pub(super) struct Below {
    class: Option<u32>,
    row: Option<u32>,
}

/// So many classes are looked at one by one.
const FEW_CLASSES: usize = 16;

/// Of more classes, those of so many shapes are looked up one by one.
const FEW_SHAPES: usize = 8;

/// See the module's text. A narrow leaf stands in the class of each shape that it could launch. All
/// other children stand in `bounds`, by a lower bound of their key for any offer.
///
/// But for classes, a child's place is that among the siblings' paths.
#[derive(Default)]
pub(super) struct Siblings {
    /// The children, by their place.
    pub(super) children: Vec<u32>,
    classes: Vec<Class>,
    class_ids: ShapeMap,
    /// The shape of each class, once more.
    class_shapes: Vec<ShapeId>,
    /// The first leaf of each class, and the least level; kept where there are more classes than [`FEW_CLASSES`].
    first: Tournament<Place>,
    levels: Tournament<u64>,
    /// The inner children that aren't in `bounds`, and at times more.
    pub(super) rows: Option<Box<Rows>>,
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
        let class = match self.class_ids.get(shape) {
            Some(class) => narrow(class),
            None => {
                let id = narrow(self.classes.len());
                self.classes.push(Class {
                    shape,
                    by_place: Tournament::default(),
                    by_level: Tournament::default(),
                    by_rank: Tournament::default(),
                    leaves: Vec::new(),
                    free: Vec::new(),
                });
                self.class_ids.insert(shape, id);
                self.class_shapes.push(shape);
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

    /// Sets the rank of a narrow leaf's first task of a class.
    pub(super) fn put_rank(&mut self, stand: Stand, rank: TaskRank) {
        let class = &mut self.classes[stand.class as usize];
        class.by_rank.set(stand.place as usize, Some(rank));
    }

    /// Takes a narrow leaf out of a class.
    pub(super) fn leave(&mut self, stand: Stand) {
        let class = &mut self.classes[stand.class as usize];
        class.by_place.set(stand.place as usize, None);
        class.by_level.set(stand.place as usize, None);
        class.by_rank.set(stand.place as usize, None);
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

    /// The inner children that stand in rows, made where there are none yet.
    pub(super) fn rows_mut(&mut self) -> &mut Rows {
        self.rows.get_or_insert_default()
    }

    /// Where a shape stands.
    pub(super) fn below(&self, shape: ShapeId) -> Below {
        Below {
            class: self.class_ids.get(shape).map(narrow),
            row: self
                .rows
                .as_ref()
                .and_then(|rows| rows.row_of(shape))
                .map(narrow),
        }
    }

    /// A lower bound of the least level of the children that can launch a shape, those in `bounds` aside.
    pub(super) fn least_level_of(&self, below: Below) -> Option<u64> {
        let leaf = below
            .class
            .and_then(|class| self.classes[class as usize].by_level.first());
        let Some((row, rows)) = below.row.zip(self.rows.as_ref()) else {
            return Some(leaf?.0);
        };
        let leaf = leaf.map(|(level, _)| level);
        leaf.into_iter().chain(rows.level(row as usize)).min()
    }

    /// The best rank of a task of a shape below these children, those in `bounds` aside.
    pub(super) fn best_rank_of(&self, below: Below) -> Option<TaskRank> {
        let leaf = below
            .class
            .and_then(|class| self.classes[class as usize].by_rank.first());
        let leaf = leaf.map(|(rank, _)| rank);
        let row = below.row.zip(self.rows.as_ref());
        let inner = row.and_then(|(row, rows)| rows.rank(row as usize));
        leaf.into_iter().chain(inner).min()
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
        let n_classes = self.class_ids.n_common(going);
        let classes = self.class_ids.common(going);
        let least = if n_classes <= FEW_SHAPES {
            by_class.least_of(classes)
        } else {
            let is_going = |class: usize| bits::contains(going, self.class_shapes[class]);
            by_class.least(is_going, classes, n_classes)
        };
        least.map(|(_, class)| class)
    }

    /// The least level over the children that wait, by their standing shares.
    pub(super) fn standing_level(&self) -> Option<u64> {
        let levels = [self.standing_leaves.first(), self.standing_inner.first()];
        levels.into_iter().flatten().map(|(level, _)| level).min()
    }

    /// A lower bound of the least level over the children that can go, for any offer.
    pub(super) fn least_level(&self) -> Option<u64> {
        let levels = [self.standing_leaves.first(), self.level_bounds.first()];
        let levels = levels.into_iter().flatten().map(|(level, _)| level);
        let rows = self.rows.as_ref();
        levels.chain(rows.and_then(|rows| rows.least_level())).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::rows::Bound;
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
                prop_assert!(siblings.key(stand).is_none());
                siblings.put(stand, place, place.coarse(), Some(level));
                prop_assert!(siblings.key(stand) == Some(key));
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

    #[test]
    fn the_least_level_is_that_of_leaves_of_bounds_and_of_rows() {
        let mut siblings = Siblings::default();
        assert_eq!(siblings.least_level(), None);
        siblings.level_bounds.set(0, Some(9));
        assert_eq!(siblings.least_level(), Some(9));
        siblings.standing_leaves.set(1, Some(5));
        assert_eq!(siblings.least_level(), Some(5));
        let (level, below) = (3, 2);
        let rows = siblings.rows_mut();
        let stand = rows.enter(ShapeId::new(7), 2);
        rows.put(stand, &Bound::Level { level, below });
        assert_eq!(siblings.least_level(), Some(3));
        siblings.standing_inner.set(3, Some(1));
        assert_eq!(siblings.least_level(), Some(3), "standing is no bound");
        assert_eq!(siblings.standing_level(), Some(1));
    }

    /// That of few classes as it is of many, one by one; then the place of one moves, and the level of another.
    #[test]
    fn the_first_class_is_found_while_classes_come_and_leaves_move() {
        let place = |key, leaf| Place {
            key: Key::share(Share::count(key)),
            seq: 7,
            path: leaf,
        };
        let mut siblings = Siblings::default();
        let (mut all, mut stands) = (Vec::new(), Vec::new());
        for last in 0..2 * FEW_CLASSES {
            let (shape, leaf) = (ShapeId::new(last), narrow(last));
            let (stand, own) = (siblings.enter(shape, last), place(1, leaf));
            siblings.put(stand, own, own.coarse(), Some(1 + u64::from(leaf)));
            stands.push(stand);
            bits::insert(&mut all, shape);
            for class in 0..=last {
                let shape = ShapeId::new(class);
                let mut going = Vec::new();
                bits::insert(&mut going, shape);
                let first = siblings.first_head(&going);
                assert!(first.is_some_and(|(_, leaf, of)| (leaf, of) == (narrow(class), shape)));
                assert_eq!(siblings.level_head(&going), Some(1 + class as u64));
            }
            assert!(
                siblings
                    .first_head(&all)
                    .is_some_and(|(_, leaf, _)| leaf == 0)
            );
            assert_eq!(siblings.level_head(&all), Some(1));
        }
        siblings.put(stands[20], place(0, 20), place(0, 20).coarse(), Some(21));
        assert!(
            siblings
                .first_head(&all)
                .is_some_and(|(_, leaf, _)| leaf == 20)
        );
        siblings.put(stands[21], place(1, 21), place(1, 21).coarse(), Some(0));
        assert_eq!(siblings.level_head(&all), Some(0));
    }
}
