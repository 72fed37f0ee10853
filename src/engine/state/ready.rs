//! The tasks of one leaf and shape that could run now, as ranges of ids in the order in which they go.

use std::collections::BTreeMap;

use apportion_policies::TaskRank;

use super::super::spec::TaskId;
use super::submissions::Slot;

/// Consecutive tasks of one submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// How many.
    pub(crate) count: u32,
    /// Their submission.
    pub(crate) slot: Slot,
}

/// Ordered ranges of tasks. The first range stands apart, so that an array is used up in place.
#[derive(Debug, Default)]
pub(crate) struct ReadySet {
    front: Option<(TaskRank, Run)>,
    rest: BTreeMap<TaskRank, Run>,
    n_tasks: u64,
}

impl ReadySet {
    /// How many tasks.
    pub(crate) fn len(&self) -> u64 {
        self.n_tasks
    }

    /// The task that goes first, and its submission.
    pub(crate) fn first(&self) -> Option<(TaskRank, Slot)> {
        self.front.map(|(rank, run)| (rank, run.slot))
    }

    /// Puts tasks in, of which none is in yet; `rank` is that of the first one.
    pub(crate) fn insert(&mut self, rank: TaskRank, run: Run) {
        self.n_tasks += u64::from(run.count);
        match self.front {
            None => self.front = Some((rank, run)),
            Some((front_rank, front_run)) if rank < front_rank => {
                self.rest.insert(front_rank, front_run);
                self.front = Some((rank, run));
            }
            Some((front_rank, front_run)) if holds(front_rank, front_run, rank) => {
                // Can't be: no task is in twice.
                unreachable!("task {} is ready twice", rank.seq)
            }
            Some(_) => {
                self.rest.insert(rank, run);
            }
        }
    }

    /// Takes one task out. False if it isn't in.
    pub(crate) fn remove(&mut self, rank: TaskRank) -> bool {
        let Some((front_rank, front_run)) = self.front else {
            return false;
        };
        if front_rank == rank {
            self.front = match after_first(front_rank, front_run) {
                Some(shorter) => Some(shorter),
                None => self.rest.pop_first(),
            };
        } else if holds(front_rank, front_run, rank) {
            let (before, after) = split(front_rank, front_run, rank);
            self.front = Some((front_rank, before));
            self.rest.extend(after);
        } else {
            let Some((range_rank, range)) = self.rest.range_mut(..=rank).next_back() else {
                return false;
            };
            let (range_rank, run) = (*range_rank, *range);
            if !holds(range_rank, run, rank) {
                return false;
            }
            let (before, after) = split(range_rank, run, rank);
            if before.count == 0 {
                self.rest.remove(&range_rank);
            } else {
                *range = before;
            }
            self.rest.extend(after);
        }
        self.n_tasks -= 1;
        true
    }

    /// Whether a task is in.
    pub(crate) fn contains(&self, rank: TaskRank) -> bool {
        let before = self.rest.range(..=rank).next_back();
        let rest = before.map(|(start, run)| (*start, *run));
        let mut ranges = self.front.into_iter().chain(rest);
        ranges.any(|(start, run)| holds(start, run, rank))
    }

    /// All ranges in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TaskRank, Run)> + '_ {
        let rest = self.rest.iter().map(|(rank, run)| (*rank, *run));
        self.front.into_iter().chain(rest)
    }

    /// How many tasks go before this rank. Costs the ranges before it.
    pub(crate) fn n_before(&self, rank: TaskRank) -> u64 {
        let before = self.iter().take_while(|(start, _)| *start < rank);
        before.map(|(start, run)| n_before(start, run, rank)).sum()
    }

    /// The first `limit` tasks that go before this rank, each with its own.
    pub(crate) fn before(&self, rank: TaskRank, limit: usize) -> Vec<TaskRank> {
        let ranges = self.iter().take_while(|(start, _)| *start < rank);
        let tasks = ranges.flat_map(|(start, run)| {
            let ids = start.seq..start.seq + n_before(start, run, rank);
            ids.map(move |seq| TaskRank {
                priority: start.priority,
                seq,
            })
        });
        tasks.take(limit).collect()
    }

    /// Every task. For invariants only.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = (TaskId, Slot)> + '_ {
        self.iter().flat_map(|(rank, run)| {
            (rank.seq..rank.seq + u64::from(run.count)).map(move |id| (TaskId(id), run.slot))
        })
    }
}

/// Whether the range that starts at `start` holds the task of this rank.
fn holds(start: TaskRank, run: Run, rank: TaskRank) -> bool {
    start.priority == rank.priority
        && (start.seq..start.seq + u64::from(run.count)).contains(&rank.seq)
}

/// The range without its first task; `None` where that was all.
fn after_first(start: TaskRank, run: Run) -> Option<(TaskRank, Run)> {
    let rest = Run {
        count: run.count - 1,
        ..run
    };
    let start = TaskRank {
        seq: start.seq + 1,
        ..start
    };
    (rest.count > 0).then_some((start, rest))
}

/// What stands before and after a task of the range.
fn split(start: TaskRank, run: Run, rank: TaskRank) -> (Run, Option<(TaskRank, Run)>) {
    let n_before =
        u32::try_from(rank.seq - start.seq).expect("a range counts its tasks in 32 bits");
    let before = Run {
        count: n_before,
        ..run
    };
    let from_task = Run {
        count: run.count - n_before,
        ..run
    };
    (before, after_first(rank, from_task))
}

/// How many tasks of the range go before this rank.
fn n_before(start: TaskRank, run: Run, rank: TaskRank) -> u64 {
    let count = u64::from(run.count);
    if start.priority < rank.priority {
        return count;
    }
    count.min(rank.seq.saturating_sub(start.seq))
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use super::*;

    fn rank(priority: i32, seq: u64) -> TaskRank {
        TaskRank {
            priority: Reverse(priority),
            seq,
        }
    }

    fn run(count: u32) -> Run {
        Run {
            count,
            slot: Slot(0),
        }
    }

    fn ids(ready: &ReadySet) -> Vec<u64> {
        ready.tasks().map(|(task, _)| task.0).collect()
    }

    #[test]
    fn ranges_are_split_and_used_up_in_order() {
        let mut ready = ReadySet::default();
        ready.insert(rank(0, 10), run(5));
        ready.insert(rank(0, 20), run(3));
        ready.insert(rank(1, 30), run(1));
        assert_eq!(ids(&ready), [30, 10, 11, 12, 13, 14, 20, 21, 22]);
        for id in [12, 21, 10, 22, 20] {
            assert!(ready.remove(rank(0, id)), "{id}");
            assert!(!ready.remove(rank(0, id)), "{id}");
        }
        assert!(!ready.remove(rank(5, 11)), "of another priority");
        assert_eq!(ids(&ready), [30, 11, 13, 14]);
        assert_eq!(ready.len(), 4);
        ready.insert(rank(0, 12), run(1));
        assert_eq!(ready.n_before(rank(0, 14)), 4);
        assert_eq!(ready.n_before(rank(1, 14)), 0);
        let before = ready.before(rank(0, 14), 3);
        assert_eq!(before, [rank(1, 30), rank(0, 11), rank(0, 12)]);
        for expected in [30, 11, 12, 13, 14] {
            let (first, _) = ready.first().unwrap();
            assert_eq!(first.seq, expected);
            assert!(ready.remove(first));
        }
        assert_eq!((ready.first(), ready.len()), (None, 0));
    }

    #[test]
    fn a_task_is_in_until_it_is_taken_out() {
        let mut ready = ReadySet::default();
        ready.insert(rank(0, 10), run(3));
        ready.insert(rank(0, 20), run(2));
        let has = |ready: &ReadySet| [10, 12, 13, 20, 21].map(|id| ready.contains(rank(0, id)));
        assert_eq!(has(&ready), [true, true, false, true, true]);
        ready.remove(rank(0, 12));
        ready.remove(rank(0, 20));
        assert_eq!(has(&ready), [true, false, false, false, true]);
        assert!(!ready.contains(rank(1, 10)), "of another priority");
    }

    #[test]
    #[should_panic(expected = "task 10 is ready twice")]
    fn the_first_task_is_not_put_in_twice() {
        let mut ready = ReadySet::default();
        ready.insert(rank(0, 10), run(3));
        ready.insert(rank(0, 10), run(1));
    }

    #[test]
    #[should_panic(expected = "task 12 is ready twice")]
    fn a_task_of_the_first_range_is_not_put_in_twice() {
        let mut ready = ReadySet::default();
        ready.insert(rank(0, 10), run(3));
        ready.insert(rank(0, 12), run(1));
    }
}
