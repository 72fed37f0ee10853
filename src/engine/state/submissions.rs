//! The live submissions: those with a task that has not ended. An array is one record.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use apportion_policies::TaskRank;

use super::super::spec::{Dependency, Submission, TaskId};
use super::super::time::Time;
use super::queues::GroupId;

/// The place of a live submission. Used again when it has ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Slot(pub(crate) u32);

/// A live submission.
#[derive(Debug)]
pub(crate) struct SubmissionRecord {
    /// What was submitted.
    pub(crate) submission: Arc<Submission>,
    /// Since when its tasks could have run.
    pub(crate) ready_since: Time,
    /// Its leaf and shape.
    pub(crate) group: GroupId,
    /// How many of its tasks have not ended.
    pub(crate) n_live: u32,
    /// How many of its tasks never left their first state.
    pub(crate) n_fresh: u32,
    /// How many of its dependencies are not yet fulfilled.
    pub(crate) n_watches: u32,
    /// Whether its tasks that never left their first state are `waiting`; else they are `queued`.
    pub(crate) is_waiting: bool,
    /// Whether anyone waits for one of its tasks.
    pub(crate) is_watched: bool,
}

impl SubmissionRecord {
    /// The rank of one of its tasks.
    pub(crate) fn rank(&self, task: TaskId) -> TaskRank {
        TaskRank {
            priority: Reverse(self.submission.spec.priority),
            seq: task.0,
        }
    }

    /// Its first task, and how many it has.
    pub(crate) fn range(&self) -> Dependency {
        Dependency {
            first: self.submission.first,
            count: self.submission.spec.count(),
        }
    }
}

/// All live submissions.
#[derive(Debug, Default)]
pub(crate) struct Submissions {
    slots: Vec<Option<SubmissionRecord>>,
    free: Vec<Slot>,
    by_first: BTreeMap<TaskId, Slot>,
}

impl Submissions {
    /// Takes in a submission.
    pub(crate) fn insert(&mut self, record: SubmissionRecord) -> Slot {
        let first = record.submission.first;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Slot(u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 live submissions"))
        });
        self.slots[slot.0 as usize] = Some(record);
        let replaced = self.by_first.insert(first, slot);
        assert!(replaced.is_none(), "task {first} was submitted twice");
        slot
    }

    /// Takes out a submission.
    pub(crate) fn remove(&mut self, slot: Slot) -> SubmissionRecord {
        let record = self.slots[slot.0 as usize].take();
        let record = record.expect("a slot in use holds a submission");
        self.by_first.remove(&record.submission.first);
        self.free.push(slot);
        record
    }

    /// The live submission that a task is of, whether or not the task itself has ended.
    pub(crate) fn find(&self, task: TaskId) -> Option<Slot> {
        let (_, slot) = self.by_first.range(..=task).next_back()?;
        (task < self.get(*slot).submission.end()).then_some(*slot)
    }

    /// The live submission with this first task.
    pub(crate) fn find_first(&self, first: TaskId) -> Option<Slot> {
        self.by_first.get(&first).copied()
    }

    /// The submission of a slot in use.
    pub(crate) fn get(&self, slot: Slot) -> &SubmissionRecord {
        let record = self.slots[slot.0 as usize].as_ref();
        record.expect("a slot in use holds a submission")
    }

    /// The same, to change it.
    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut SubmissionRecord {
        let record = self.slots[slot.0 as usize].as_mut();
        record.expect("a slot in use holds a submission")
    }

    /// All, in order of ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &SubmissionRecord)> {
        self.by_first.values().map(|slot| (*slot, self.get(*slot)))
    }
}
