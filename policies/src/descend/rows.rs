//! The inner children of one inner queue by the least key that each can have, shape by shape.
//!
//! A row for each shape, a column for each child: a child stands in the rows of the shapes that can go below it. An
//! offer reads the rows of the shapes that fit it, so what waits and doesn't fit makes no child look better than it is.

use super::bits;
use super::shape_map::{Cursor, ShapeMap};
use super::siblings::{Stand, narrow};
use super::tournament::{Tournament, Value, Walk};
use crate::ids::ShapeId;
use crate::ranking::Key;
use crate::tree::TaskRank;

/// The inner children below which one shape can go. Each has a place, which is used again when it leaves.
struct Row {
    shape: ShapeId,
    /// See [`Bound::Level`].
    levels: Tournament<u64>,
    /// See [`Bound::Rank`].
    keys: Tournament<Key>,
    ranks: Tournament<TaskRank>,
    members: Vec<Member>,
    free: Vec<u32>,
}

/// Who stands at a place of a row.
#[derive(Clone, Copy, Default)]
struct Member {
    /// The place among the siblings' paths.
    child: u32,
    /// See [`Bound::Level`].
    level: u64,
    /// See [`Bound::Level`]; [`u64::MAX`] where nobody stands.
    below: u64,
}

/// What stands of a child in a row: a lower bound for any offer that the shape fits, and none that goes first.
pub(super) enum Bound {
    Level {
        /// Of the share over the weight, by which both the key and the level are bounded.
        level: u64,
        /// Of the least level of the child's own children.
        below: u64,
    },
    Rank {
        key: Key,
        /// The best rank of a task of the shape, kept where a queue above asks for it.
        rank: Option<TaskRank>,
    },
}

/// See the module's text.
#[derive(Default)]
pub(super) struct Rows {
    rows: Vec<Row>,
    ids: ShapeMap,
    /// The least of each row.
    levels: Tournament<u64>,
    keys: Tournament<Key>,
    /// One more than the last place of a child among the siblings' paths.
    n_children: usize,
    /// What was gathered last, by child.
    lows: Vec<Low>,
    /// Room for children that are yet to be looked at: by what bound, whether it is what it bounds, the queue.
    pub(super) due: Vec<(u64, bool, usize)>,
}

/// The least level below a child, and the row where that stands.
#[derive(Clone, Copy)]
struct Low {
    level: u64,
    /// [`u64::MAX`] where the child wasn't gathered.
    below: u64,
    row: u32,
}

/// A child that came up in a walk, or was gathered.
#[derive(Clone, Copy)]
pub(super) struct Visit {
    /// The place among the siblings' paths.
    pub(super) child: usize,
    /// In whose row it stands.
    pub(super) shape: ShapeId,
    /// See [`Bound::Level`]; zero where ranks bound.
    pub(super) level: u64,
    pub(super) below: u64,
}

/// How far a walk through the children has come.
pub(super) struct RowsWalk {
    rows: WalkOfRows,
    /// The row at hand, and how far it was walked through.
    row: Option<(usize, Walk)>,
}

/// How far it has come with the rows.
enum WalkOfRows {
    /// Least first, until this many came that weren't asked for.
    Sorted(Walk, usize),
    /// Those asked for, one after the other, without the one that came first.
    Listed(Cursor, Option<usize>),
}

/// Of the rows asked for, such a part may come in vain before they are looked at one after the other.
const VAIN_PART: usize = 4;

impl Rows {
    /// Gives a child a place in the row of a shape; the row is made where there is none yet.
    pub(super) fn enter(&mut self, shape: ShapeId, child: u32) -> Stand {
        let class = match self.ids.get(shape) {
            Some(row) => narrow(row),
            None => {
                let id = narrow(self.rows.len());
                self.rows.push(Row::new(shape));
                self.ids.insert(shape, id);
                id
            }
        };
        let Row { members, free, .. } = &mut self.rows[class as usize];
        let place = free.pop().unwrap_or_else(|| {
            members.push(Member::default());
            narrow(members.len() - 1)
        });
        members[place as usize].child = child;
        self.n_children = self.n_children.max(child as usize + 1);
        Stand {
            shape,
            class,
            place,
        }
    }

    /// Sets what stands of a child in a row. Tells whether the least level or the best rank of the row may be another
    /// one than before.
    pub(super) fn put(&mut self, stand: Stand, bound: &Bound) -> bool {
        let row = &mut self.rows[stand.class as usize];
        let at = stand.place as usize;
        match bound {
            Bound::Level { level, below } => {
                row.members[at].level = *level;
                row.members[at].below = (*below).min(u64::MAX - 1);
                let has_moved = row.levels.set(at, Some(*level));
                if has_moved {
                    self.levels.set_to_first(stand.class as usize, &row.levels);
                }
                has_moved
            }
            Bound::Rank { key, rank } => {
                if row.keys.set(at, Some(*key)) {
                    self.keys.set_to_first(stand.class as usize, &row.keys);
                }
                row.ranks.set(at, *rank)
            }
        }
    }

    /// Takes a child out of a row.
    pub(super) fn leave(&mut self, stand: Stand) {
        let row = &mut self.rows[stand.class as usize];
        let at = stand.place as usize;
        row.levels.set(at, None);
        row.keys.set(at, None);
        row.ranks.set(at, None);
        row.members[at].below = u64::MAX;
        row.free.push(stand.place);
        self.levels.set_to_first(stand.class as usize, &row.levels);
        self.keys.set_to_first(stand.class as usize, &row.keys);
    }

    /// The number of the row of a shape.
    pub(super) fn row_of(&self, shape: ShapeId) -> Option<usize> {
        self.ids.get(shape)
    }

    /// The least level in a row.
    pub(super) fn level(&self, row: usize) -> Option<u64> {
        Some(self.rows[row].levels.first()?.0)
    }

    /// The best rank in a row.
    pub(super) fn rank(&self, row: usize) -> Option<TaskRank> {
        Some(self.rows[row].ranks.first()?.0)
    }

    /// The least level of all.
    pub(super) fn least_level(&self) -> Option<u64> {
        Some(self.levels.first()?.0)
    }

    /// Gathers all children in the rows of the shapes `going`, each once: in that where the least level below it stands,
    /// which bounds its own for all of these. `false` if there are more children, or places, than these; then none is of
    /// use.
    pub(super) fn gather(&mut self, going: &[u64], max: usize) -> bool {
        if self.n_children > max {
            return false;
        }
        let none = Low {
            level: u64::MAX,
            below: u64::MAX,
            row: 0,
        };
        self.lows.clear();
        self.lows.resize(self.n_children, none);
        let mut n_places = 0;
        for row in self.ids.common(going) {
            let members = &self.rows[row].members;
            n_places += members.len();
            if n_places > max {
                return false;
            }
            for member in members {
                let low = &mut self.lows[member.child as usize];
                if member.below < low.below {
                    *low = Low {
                        level: member.level,
                        below: member.below,
                        row: narrow(row),
                    };
                }
            }
        }
        true
    }

    /// The children that were gathered, one with the least level first, the others as they stand.
    pub(super) fn gathered(&self) -> impl Iterator<Item = Visit> + '_ {
        let places = 0..self.lows.len();
        let first = places.clone().min_by_key(|place| self.lows[*place].level);
        let first = first.unwrap_or(0);
        let in_turn = places.map(move |turn| match turn {
            0 => first,
            turn if turn <= first => turn - 1,
            turn => turn,
        });
        let was_gathered = |place: &usize| self.lows[*place].below < u64::MAX;
        in_turn.filter(was_gathered).map(|child| {
            let Low { level, below, row } = self.lows[child];
            Visit {
                child,
                shape: self.rows[row as usize].shape,
                level,
                below,
            }
        })
    }

    /// A walk through the children in the rows of the shapes `going`.
    pub(super) fn walk(&self, going: &[u64]) -> RowsWalk {
        let n_in_vain = self.ids.n_common(going) / VAIN_PART;
        RowsWalk {
            rows: WalkOfRows::Sorted(Walk::default(), n_in_vain),
            row: None,
        }
    }

    /// Goes on with a walk: the next child whose bound is within the limit, roughly the least first. One may come again,
    /// and does for each of its shapes. A limit may only go down during a walk.
    pub(super) fn next_by_key(
        &self,
        walk: &mut RowsWalk,
        going: &[u64],
        limit: Option<Key>,
    ) -> Option<Visit> {
        self.next(walk, &self.keys, |row| &row.keys, going, limit)
    }

    /// The same by the bound of the level.
    pub(super) fn next_by_level(
        &self,
        walk: &mut RowsWalk,
        going: &[u64],
        limit: Option<u64>,
    ) -> Option<Visit> {
        self.next(walk, &self.levels, |row| &row.levels, going, limit)
    }

    fn next<P: Value>(
        &self,
        walk: &mut RowsWalk,
        firsts: &Tournament<P>,
        of_row: impl Fn(&Row) -> &Tournament<P>,
        going: &[u64],
        limit: Option<P>,
    ) -> Option<Visit> {
        let is_due = |bound: &P| limit.is_none_or(|limit| *bound <= limit);
        loop {
            if let Some((row, walk)) = &mut walk.row {
                let row = &self.rows[*row];
                if let Some(place) = of_row(row).next(walk, is_due) {
                    let Member {
                        child,
                        level,
                        below,
                    } = row.members[place];
                    return Some(Visit {
                        child: child as usize,
                        shape: row.shape,
                        level,
                        below,
                    });
                }
            }
            let row = self.next_row(&mut walk.rows, firsts, going, limit)?;
            walk.row = Some((row, Walk::default()));
        }
    }

    /// The next row of which the first is within the limit.
    fn next_row<P: Value>(
        &self,
        walk: &mut WalkOfRows,
        firsts: &Tournament<P>,
        going: &[u64],
        limit: Option<P>,
    ) -> Option<usize> {
        let is_due = |bound: &P| limit.is_none_or(|limit| *bound <= limit);
        if let WalkOfRows::Sorted(sorted, n_in_vain) = walk {
            loop {
                let row = firsts.next(sorted, is_due)?;
                if bits::contains(going, self.rows[row].shape) {
                    return Some(row);
                }
                let Some(rest) = n_in_vain.checked_sub(1) else {
                    break;
                };
                *n_in_vain = rest;
            }
            // The least one makes the limit for the others.
            let least = limit
                .is_none()
                .then(|| firsts.least_of(self.ids.common(going)));
            let least = least.flatten().map(|(_, row)| row);
            *walk = WalkOfRows::Listed(Cursor::default(), least);
            if least.is_some() {
                return least;
            }
        }
        let WalkOfRows::Listed(cursor, first) = walk else {
            unreachable!("rows that aren't sorted are listed");
        };
        let Some(limit) = limit else {
            return self.ids.next_common(cursor, going);
        };
        let coarse = limit.coarse();
        loop {
            let row = self.ids.next_common(cursor, going)?;
            if Some(row) != *first && firsts.is_within(row, &limit, coarse) {
                return Some(row);
            }
        }
    }
}

impl Row {
    fn new(shape: ShapeId) -> Self {
        Self {
            shape,
            keys: Tournament::default(),
            levels: Tournament::default(),
            ranks: Tournament::default(),
            members: Vec::new(),
            free: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A shape, a child, its level and that below, or that it leaves.
    type Change = (usize, usize, Option<(u64, u64)>);

    /// By shape and child: the level, and that below.
    type Kept = BTreeMap<(usize, usize), (u64, u64)>;

    fn levels(kept: &Kept, going: &[usize]) -> impl Iterator<Item = (usize, usize, u64, u64)> {
        let entries = kept.iter().filter(|((shape, _), _)| going.contains(shape));
        let entries =
            entries.map(|((shape, child), (level, below))| (*shape, *child, *level, *below));
        entries.collect::<Vec<_>>().into_iter()
    }

    /// Rows after some changes.
    fn rows_of(changes: Vec<Change>) -> (Rows, Kept) {
        let (mut rows, mut kept, mut stands) = (Rows::default(), Kept::new(), BTreeMap::new());
        for (shape, child, bound) in changes {
            let id = ShapeId::new(shape);
            let least_of = |rows: &Rows| rows.row_of(id).and_then(|row| rows.level(row));
            let before = least_of(&rows);
            if let Some((level, below)) = bound {
                let stand = *stands
                    .entry((shape, child))
                    .or_insert_with(|| rows.enter(id, narrow(child)));
                let may_differ = rows.put(stand, &Bound::Level { level, below });
                assert!(may_differ || least_of(&rows) == before);
                kept.insert((shape, child), (level, below));
            } else if let Some(stand) = stands.remove(&(shape, child)) {
                rows.leave(stand);
                kept.remove(&(shape, child));
            }
        }
        (rows, kept)
    }

    proptest! {
        #[test]
        fn who_stands_in_rows_is_found_as_by_a_scan(
            changes in vec((0..9_usize, 0..40_usize, proptest::option::of((0..20_u64, 0..20_u64))), 0..200),
            going in vec(0..10_usize, 0..9),
            limit in 0..20_u64,
        ) {
            let (mut rows, kept) = rows_of(changes);
            for shape in 0..9 {
                let least = levels(&kept, &[shape]).map(|entry| entry.2).min();
                let row = rows.row_of(ShapeId::new(shape));
                prop_assert_eq!(row.and_then(|row| rows.level(row)), least);
            }
            prop_assert_eq!(rows.least_level(), kept.values().map(|kept| kept.0).min());
            let mut words = Vec::new();
            going.iter().for_each(|shape| bits::insert(&mut words, ShapeId::new(*shape)));

            // A walk: the first of a row, then all within the limit, each for each of its shapes, some twice.
            let mut walk = rows.walk(&words);
            let mut walked = Vec::new();
            let mut limited = None;
            while let Some(visit) = rows.next_by_level(&mut walk, &words, limited) {
                walked.push((visit.shape.index(), visit.child, visit.level, visit.below));
                limited = Some(limit);
            }
            let mut due: Vec<_> = levels(&kept, &going).filter(|entry| entry.2 <= limit).collect();
            due.extend(walked.first().filter(|first| first.2 > limit));
            due.sort_unstable();
            walked.sort_unstable();
            walked.dedup();
            prop_assert_eq!(walked, due);

            prop_assert!(rows.gather(&words, usize::MAX));
            let gathered: Vec<_> = rows.gathered().collect();
            let mut children = Vec::new();
            for visit in &gathered {
                let own = levels(&kept, &going).filter(|entry| entry.1 == visit.child);
                prop_assert_eq!(Some(visit.below), own.map(|entry| entry.3).min());
                let stands = kept.get(&(visit.shape.index(), visit.child));
                prop_assert_eq!(stands, Some(&(visit.level, visit.below)));
                children.push(visit.child);
            }
            let least = gathered.iter().map(|visit| visit.level).min();
            prop_assert_eq!(gathered.first().map(|visit| visit.level), least);
            children.sort_unstable();
            let mut all: Vec<_> = levels(&kept, &going).map(|entry| entry.1).collect();
            all.sort_unstable();
            all.dedup();
            prop_assert_eq!(children, all);
        }
    }

    #[test]
    fn no_more_are_gathered_than_are_few() {
        let changes =
            (0..3).flat_map(|shape| (0..5).map(move |child| (shape, child, Some((1, 1)))));
        let (mut rows, _) = rows_of(changes.collect());
        let mut are_few = |going, max| rows.gather(&[going], max);
        assert!(are_few(0b111, 15) && !are_few(0b111, 14));
        assert!(are_few(0b1, 5) && !are_few(0b1, 4) && !are_few(0, 4));
    }

    #[test]
    fn ranks_of_a_row() {
        let mut rows = Rows::default();
        let shape = ShapeId::new(2);
        let rank = |seq| TaskRank {
            priority: std::cmp::Reverse(0),
            seq,
        };
        let stands = [7, 3, 5].map(|seq| {
            let stand = rows.enter(shape, narrow(seq));
            let key = Key::share(crate::share::Share::count(seq as u64));
            let rank = Some(rank(seq as u64));
            rows.put(stand, &Bound::Rank { key, rank });
            stand
        });
        assert_eq!((rows.row_of(shape), rows.rank(0)), (Some(0), Some(rank(3))));
        rows.leave(stands[1]);
        assert_eq!(rows.rank(0), Some(rank(5)));
        let mut walk = rows.walk(&[0b100]);
        let mut walked = Vec::new();
        while let Some(visit) = rows.next_by_key(&mut walk, &[0b100], None) {
            walked.push(visit.child);
        }
        assert_eq!(walked, [5, 7]);
    }
}
