//! How an inner queue stands in the rows of the queue above: by a bound of its key for each shape that can go below.
//!
//! Under `drf` every change below a queue moves its share for any level, and with that its bounds for all shapes. Where
//! those are many, bounds are found for a use a little below the real one, and hold until that falls below it or leaves
//! it behind: so most changes find only the bounds of the shapes anew that they are about.

use std::ops::RangeInclusive;

use super::bits;
use super::facts::Facts;
use super::guarantee;
use super::queue::{Child, Inner, Order, Shares};
use super::rows::{Bound, Rows};
use super::siblings::{Below, Stand};
use super::sums::{Floor, Sums};
use crate::fixed;
use crate::ids::{QueueId, ResourceId, ShapeId};
use crate::tree::QueueTree;

/// By what bounds an inner queue stands among its siblings.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Bounded {
    /// By one, whatever the offer.
    #[default]
    Whole,
    /// By one for each shape, from the least level of the children that could launch it.
    ByLevel,
    /// By one for each shape, from the best rank of a task of it.
    ByRank,
}

/// What an inner queue keeps of its bounds.
#[derive(Default)]
pub(super) struct Column {
    /// In order of shapes.
    entries: Vec<Entry>,
    /// For what use the bounds of shapes with each footprint were found, of the resource that they have the largest share
    /// of. They are kept by footprint, and found as they are asked for.
    floors: Vec<(usize, Floor)>,
    /// By 2^-n of the use a floor is below that, for this n; `None` if it is the use itself.
    slack: Option<u32>,
    /// The resources for which no task waits below. They count for any offer.
    unwaited: Vec<ResourceId>,
    /// Room for the shapes of which something moved.
    moved: Vec<ShapeId>,
}

/// One bound.
#[derive(Clone, Copy)]
struct Entry {
    stand: Stand,
    /// Where the shape stands below the queue itself.
    below: Below,
}

/// So few bounds are found anew at each change, for the real use.
const FEW_BOUNDS: usize = 8;

/// A floor lies by 2^-n of the use below that, for an n between these: a few tasks of those that run.
const SLACKS: RangeInclusive<u32> = 6..=8;

impl Column {
    /// The resources for which no task waits below. They count for any offer.
    pub(super) fn unwaited(&self) -> &[ResourceId] {
        &self.unwaited
    }

    /// The resource of which the bounds of shapes with this footprint tell.
    pub(super) fn leader(&self, footprint: usize) -> Option<usize> {
        let mut floors = self.floors.iter();
        let (_, floor) = floors.find(|(of, _)| *of == footprint)?;
        Some(floor.resource())
    }
}

impl Inner {
    /// Whether the queue stands among its siblings by one bound for all shapes: since nothing else is known of it, or
    /// since that holds for a child of its own.
    pub(super) fn is_wide(&self) -> bool {
        self.bounded == Bounded::Whole || self.siblings.bounds.has_any()
    }

    /// Shapes came or went: finds out which resources are waited for.
    pub(super) fn note_waiting(&mut self, facts: &Facts, n_resources: usize) {
        if self.bounded != Bounded::ByLevel {
            return;
        }
        let waiting = self.waiting.words();
        let ids = (0..n_resources).map(ResourceId::new);
        let mut unwaited = ids.filter(|id| !facts.any_demands(*id, waiting));
        let Some(column) = &mut self.column else {
            return;
        };
        if !unwaited.clone().eq(column.unwaited.iter().copied()) {
            column.unwaited.clear();
            column.unwaited.extend(unwaited.by_ref());
            column.floors.clear();
        }
    }

    /// Brings the queue's bounds in the rows of its parent up to date. `touched` are the shapes of which the least level
    /// or the best rank below the queue may be another one; what is left of them, and what is new, are those of which
    /// that holds in the parent's row. Costs these shapes, and at times all that can go.
    pub(super) fn update_column(
        &mut self,
        tree: &QueueTree,
        queue: QueueId,
        child: &Child,
        parent: &mut Inner,
        facts: &Facts,
        touched: &mut Vec<ShapeId>,
    ) {
        let Some(mut column) = self.column.take() else {
            touched.clear();
            return;
        };
        let mut moved = std::mem::take(&mut column.moved);
        moved.clear();
        match self.bounded {
            Bounded::Whole => unreachable!("what has a column is bounded by shapes"),
            Bounded::ByLevel => {
                let is_renewed = self.renew_floors(tree, queue, &mut column);
                let Column {
                    entries,
                    floors,
                    slack,
                    unwaited,
                    ..
                } = &mut *column;
                let mut bound = |below: Below, shape: ShapeId| {
                    let below = self.siblings.least_level_of(below)?;
                    let footprint = facts.footprint(shape);
                    let found = floors.iter().position(|(of, _)| *of == footprint);
                    let index = found.or_else(|| {
                        let resources = facts.resources(footprint).iter().chain(&*unwaited);
                        floors.push((footprint, self.floor_of(resources, *slack)?));
                        Some(floors.len() - 1)
                    });
                    let share = index.map_or(0, |index| self.share_at(&floors[index].1, below));
                    let level = fixed::level(share, child.weight);
                    Some(Bound::Level { level, below })
                };
                let rows = parent.siblings.rows_mut();
                if is_renewed {
                    for entry in entries.iter() {
                        let shape = entry.stand.shape;
                        if !touched.contains(&shape)
                            && let Some(bound) = bound(entry.below, shape)
                            && rows.put(entry.stand, &bound)
                        {
                            moved.push(shape);
                        }
                    }
                }
                for shape in touched.drain(..) {
                    if self.put_bound(child.path, entries, rows, shape, &mut bound) {
                        moved.push(shape);
                    }
                }
            }
            Bounded::ByRank => {
                let keeps_ranks = parent.bounded == Bounded::ByRank;
                let Order::Ranked(ranking) = &parent.order else {
                    unreachable!("only a ranking bounds by ranks");
                };
                let rows = parent.siblings.rows.get_or_insert_default();
                let mut bound = |below: Below, _| {
                    let rank = self.siblings.best_rank_of(below)?;
                    let key = guarantee::key(None, || ranking.key(tree, queue, rank));
                    let rank = keeps_ranks.then_some(rank);
                    Some(Bound::Rank { key, rank })
                };
                for shape in touched.drain(..) {
                    if self.put_bound(child.path, &mut column.entries, rows, shape, &mut bound) {
                        moved.push(shape);
                    }
                }
            }
        }
        std::mem::swap(touched, &mut moved);
        column.moved = moved;
        self.column = Some(column);
    }

    /// Sets the bound of one shape. Tells whether something moved that the parent asks for.
    fn put_bound(
        &self,
        child: u32,
        entries: &mut Vec<Entry>,
        rows: &mut Rows,
        shape: ShapeId,
        bound: &mut impl FnMut(Below, ShapeId) -> Option<Bound>,
    ) -> bool {
        let found = entries.binary_search_by_key(&shape, |entry| entry.stand.shape);
        let can_go = bits::contains(self.going(), shape);
        let below = self.siblings.below(shape);
        let bound = can_go.then(|| bound(below, shape)).flatten();
        match (bound, found) {
            (None, Err(_)) => false,
            (None, Ok(index)) => {
                rows.leave(entries.remove(index).stand);
                true
            }
            (Some(bound), Ok(index)) => {
                entries[index].below = below;
                rows.put(entries[index].stand, &bound)
            }
            (Some(bound), Err(index)) => {
                let stand = rows.enter(shape, child);
                entries.insert(index, Entry { stand, below });
                rows.put(stand, &bound)
            }
        }
    }

    /// Whether all bounds are to be found anew. Those of few shapes are at each change.
    fn renew_floors(&self, tree: &QueueTree, queue: QueueId, column: &mut Column) -> bool {
        let (shares, sums) = self.shares_and_sums();
        let used = shares.used.as_slice();
        let n_bounds = column.entries.len();
        let are_many = n_bounds > FEW_BOUNDS && !sums.has_guaranteed();
        if let Some(slack) = column.slack.filter(|_| are_many)
            && !column.floors.is_empty()
            && (column.floors.iter()).all(|(_, floor)| floor.holds(used, sums, slack))
        {
            return false;
        }
        let n_running = tree.running(queue).max(1);
        let slack = n_running.ilog2().saturating_sub(2);
        column.slack = are_many.then(|| slack.clamp(*SLACKS.start(), *SLACKS.end()));
        column.floors.clear();
        true
    }

    /// The floor of the one of some resources that the queue has the largest share of.
    fn floor_of<'a>(
        &self,
        resources: impl Iterator<Item = &'a ResourceId>,
        slack: Option<u32>,
    ) -> Option<Floor> {
        let (shares, sums) = self.shares_and_sums();
        let resources = resources.map(|id| id.index());
        let leader = resources.max_by_key(|resource| shares.standing[*resource])?;
        Some(Floor::new(leader, shares.used.as_slice(), sums, slack))
    }

    /// The least that the queue's share can be if the resource of the floor counts and the children's common level is not
    /// below this one.
    fn share_at(&self, floor: &Floor, level: u64) -> u64 {
        let (shares, sums) = self.shares_and_sums();
        if sums.has_guaranteed() {
            return shares.at(floor.resource(), Some(level));
        }
        floor.at(level)
    }

    fn shares_and_sums(&self) -> (&Shares, &Sums) {
        let shares = self.shares.as_ref().expect("levels are kept with shares");
        let sums = shares.sums.as_ref().expect("levels are kept with sums");
        (shares, sums)
    }
}
