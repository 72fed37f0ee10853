//! Since when each leaf's first task is the first, and which of them have waited beyond their patience.
//!
//! There is one deadline a leaf, however many tasks wait, and it moves only when it comes: a leaf whose
//! first task changed meanwhile is listed anew then. So a launch costs no more than a note.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use apportion_policies::{QueueId, QueueTree, ShapeId, ShapeSet, TaskRank};

use super::super::time::Time;

/// What is known of one leaf.
#[derive(Clone, Debug, Default)]
struct First {
    /// `None` where it has no end.
    patience: Option<Duration>,
    task: Option<(TaskRank, ShapeId)>,
    since: Time,
    is_noted: bool,
    is_listed: bool,
    is_overdue: bool,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// By queue; inner queues have no tasks.
    leaves: Vec<First>,
    /// Leaves whose tasks changed.
    noted: Vec<QueueId>,
    /// Where the patience of a leaf may be over; each at most once, and never too late.
    due: BinaryHeap<Reverse<(Time, QueueId)>>,
    /// The shapes of first tasks that are overdue, with how many leaves they are the first of.
    overdue: BTreeMap<ShapeId, u32>,
    /// The same as a set.
    shapes: ShapeSet,
}

impl Patience {
    /// The next queue, in order of ids.
    pub(crate) fn push_queue(&mut self, patience: Option<Duration>) {
        self.leaves.push(First {
            patience,
            ..First::default()
        });
    }

    /// Tasks of a leaf came or went. Costs nothing much.
    pub(crate) fn note(&mut self, leaf: QueueId) {
        let first = &mut self.leaves[leaf.index()];
        if first.patience.is_some() && !std::mem::replace(&mut first.is_noted, true) {
            self.noted.push(leaf);
        }
    }

    /// Takes over which tasks are the first ones now, and lets patience end. Costs the shapes of the leaves
    /// that changed.
    pub(crate) fn settle(&mut self, now: Time, tree: &QueueTree) {
        while let Some(leaf) = self.noted.pop() {
            self.leaves[leaf.index()].is_noted = false;
            let task = first_task(tree, leaf);
            if self.leaves[leaf.index()].task != task {
                self.set_overdue(leaf, false);
                let first = &mut self.leaves[leaf.index()];
                (first.task, first.since) = (task, now);
                self.list(leaf);
            }
        }
        while let Some(Reverse((_, leaf))) = self.due.peek().filter(|due| due.0.0 <= now).copied() {
            self.due.pop();
            let first = &mut self.leaves[leaf.index()];
            first.is_listed = false;
            if first.deadline().is_some_and(|at| at <= now) {
                self.set_overdue(leaf, true);
            } else {
                self.list(leaf);
            }
        }
        // Where nothing waits any more, nothing is due.
        while let Some(Reverse((_, leaf))) = self.due.peek().copied() {
            if self.leaves[leaf.index()].task.is_some() {
                break;
            }
            self.due.pop();
            self.leaves[leaf.index()].is_listed = false;
        }
    }

    fn list(&mut self, leaf: QueueId) {
        let first = &mut self.leaves[leaf.index()];
        if let Some(at) = first.deadline().filter(|_| !first.is_listed) {
            first.is_listed = true;
            self.due.push(Reverse((at, leaf)));
        }
    }

    fn set_overdue(&mut self, leaf: QueueId, is_overdue: bool) {
        let first = &mut self.leaves[leaf.index()];
        if std::mem::replace(&mut first.is_overdue, is_overdue) == is_overdue {
            return;
        }
        let (_, shape) = first.task.expect("only a task is overdue");
        let count = self.overdue.entry(shape).or_insert(0);
        if is_overdue {
            *count += 1;
            self.shapes.insert(shape);
            return;
        }
        *count -= 1;
        if *count == 0 {
            self.overdue.remove(&shape);
            self.shapes.remove(shape);
        }
    }

    /// The patience of a leaf's first task begins anew.
    pub(crate) fn restart(&mut self, leaf: QueueId, now: Time) {
        self.set_overdue(leaf, false);
        self.leaves[leaf.index()].since = now;
        self.list(leaf);
    }

    /// The shapes of the first tasks that have waited beyond their patience.
    pub(crate) fn overdue_shapes(&self) -> &ShapeSet {
        &self.shapes
    }

    /// Whether there is one.
    pub(crate) fn any_overdue(&self) -> bool {
        !self.overdue.is_empty()
    }

    /// The first task of a leaf, if it has waited beyond its patience and still is the first.
    pub(crate) fn overdue_first(
        &self,
        tree: &QueueTree,
        leaf: QueueId,
    ) -> Option<(TaskRank, ShapeId)> {
        let first = &self.leaves[leaf.index()];
        let task = first.task.filter(|_| first.is_overdue)?;
        (first_task(tree, leaf) == Some(task)).then_some(task)
    }

    /// When the next patience may end.
    pub(crate) fn next(&self) -> Option<Time> {
        self.due.peek().map(|due| due.0.0)
    }

    /// Takes over since when the first task of a leaf waits from the same leaf of before a reload.
    pub(crate) fn adopt(&mut self, leaf: QueueId, shape: ShapeId, old: &Self, old_leaf: QueueId) {
        let old = &old.leaves[old_leaf.index()];
        let Some((rank, _)) = old.task else { return };
        self.leaves[leaf.index()].task = Some((rank, shape));
        self.leaves[leaf.index()].since = old.since;
        self.list(leaf);
        // With the new settings it may be none that could run, and then another is the first, or none.
        self.note(leaf);
    }

    /// The shape of a leaf's first task.
    pub(crate) fn first_shape(&self, leaf: QueueId) -> Option<ShapeId> {
        self.leaves[leaf.index()].task.map(|(_, shape)| shape)
    }
}

impl First {
    fn deadline(&self) -> Option<Time> {
        self.task?;
        Some(self.since.after(self.patience?))
    }
}

fn first_task(tree: &QueueTree, leaf: QueueId) -> Option<(TaskRank, ShapeId)> {
    let heads = tree.heads(leaf).iter();
    heads.map(|(shape, rank)| (*rank, *shape)).min()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use apportion_policies::{Amounts, Demand, PolicySpec, QueueSettings, Shape};

    use super::*;

    #[test]
    fn a_shape_is_overdue_while_it_is_first_in_a_leaf_beyond_its_patience() {
        let mut tree = QueueTree::new(Amounts::zero(1), PolicySpec::new("drf"));
        let mut patience = Patience::default();
        patience.push_queue(None);
        let leaves = ["a", "b"].map(|path| {
            patience.push_queue(Some(Duration::from_secs(1)));
            tree.add_queue(tree.root(), Arc::from(path), QueueSettings::default())
        });
        let shape = tree.acquire_shape(Shape {
            demand: Demand::new([]),
            constraints: [].into(),
        });
        let rank = |seq| TaskRank {
            priority: Reverse(0),
            seq,
        };
        for (leaf, seq) in leaves.into_iter().zip(1..) {
            tree.set_head(leaf, shape, Some(rank(seq)));
            patience.note(leaf);
        }
        patience.settle(Time(0), &tree);
        assert!(!patience.any_overdue());
        assert_eq!(patience.next(), Some(Time(1000)));
        patience.settle(Time(1000), &tree);
        assert_eq!(patience.next(), None);
        for leaf in leaves {
            assert!(patience.any_overdue());
            assert!(patience.overdue_shapes().contains(shape));
            assert!(patience.overdue_first(&tree, leaf).is_some());
            tree.set_head(leaf, shape, None);
            patience.note(leaf);
            patience.settle(Time(2000), &tree);
        }
        assert!(!patience.any_overdue());
        assert!(patience.overdue_shapes().is_empty());
    }
}
