//! Who waits for whom: for each task or array that others wait for, how many of its tasks are left.

use std::collections::BTreeMap;

use super::super::spec::{Dependency, TaskId};

/// A task or array that others wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watch {
    /// How many of its tasks have not yet succeeded.
    pub(crate) n_left: u32,
    /// The submissions that wait for it, by their first task, in the order they came.
    pub(crate) dependants: Vec<TaskId>,
}

/// All that is waited for. What is waited for is a single task or a whole submission.
#[derive(Debug, Default)]
pub(crate) struct Watches(BTreeMap<(TaskId, u32), Watch>);

impl Watches {
    /// `dependant` waits for this; `n_left` counts if nobody did so before.
    pub(crate) fn insert(&mut self, dependency: Dependency, n_left: u32, dependant: TaskId) {
        let watch = self.0.entry((dependency.first, dependency.count));
        let watch = watch.or_insert_with(|| Watch {
            n_left,
            dependants: Vec::new(),
        });
        watch.dependants.push(dependant);
    }

    /// Whether anyone waits for a task of these.
    pub(crate) fn any_in(&self, first: TaskId, end: TaskId) -> bool {
        !self.0.is_empty() && self.0.range((first, 0)..(end, 0)).next().is_some()
    }

    /// Those waiting for a task, and for the whole submission that it is of.
    pub(crate) fn find(&self, dependency: Dependency) -> Option<&Watch> {
        self.0.get(&(dependency.first, dependency.count))
    }

    /// One of the tasks has succeeded. Gives the dependants where it was the last.
    pub(crate) fn succeeded(&mut self, dependency: Dependency) -> Vec<TaskId> {
        let key = (dependency.first, dependency.count);
        let Some(watch) = self.0.get_mut(&key) else {
            return Vec::new();
        };
        watch.n_left = watch.n_left.saturating_sub(1);
        if watch.n_left > 0 {
            return Vec::new();
        }
        self.0
            .remove(&key)
            .map_or_else(Vec::new, |watch| watch.dependants)
    }

    /// One of the tasks ended otherwise: nobody will wait for it any more.
    pub(crate) fn failed(&mut self, dependency: Dependency) {
        self.0.remove(&(dependency.first, dependency.count));
    }

    /// All, in order of what is waited for.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Dependency, &Watch)> {
        self.0.iter().map(|((first, count), watch)| {
            let dependency = Dependency {
                first: *first,
                count: *count,
            };
            (dependency, watch)
        })
    }
}

/// What may be waited for on account of one task: the task itself, and the array that it is of.
pub(crate) fn watched_by(
    task: TaskId,
    first: TaskId,
    count: u32,
) -> impl Iterator<Item = Dependency> {
    let single = Dependency {
        first: task,
        count: 1,
    };
    let whole = Dependency { first, count };
    std::iter::once(single).chain((count > 1).then_some(whole))
}
