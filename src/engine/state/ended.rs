//! How ended tasks ended: one byte a task, and when their submissions may be forgotten.

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashMap;

use super::super::outcome::OutcomeKind;
use super::super::spec::TaskId;
use super::super::time::Time;

/// Tasks in one chunk. Large enough that the map of chunks stays small, small enough that one task
/// kept for long pins little.
const CHUNK_LEN: u64 = 4096;

/// Consecutive ids, one byte each; 0 where the task hasn't ended or isn't kept.
#[derive(Debug)]
struct Chunk {
    kinds: Box<[u8]>,
    n_known: u32,
}

/// How each ended task that is still kept ended, by id.
#[derive(Debug, Default)]
pub(crate) struct EndedKinds {
    chunks: BTreeMap<u64, Chunk>,
}

impl EndedKinds {
    /// Notes how a task ended.
    pub(crate) fn insert(&mut self, task: TaskId, kind: OutcomeKind) {
        let (number, place) = place_of(task);
        let chunk = self.chunks.entry(number).or_insert_with(|| Chunk {
            kinds: vec![0; CHUNK_LEN as usize].into_boxed_slice(),
            n_known: 0,
        });
        if chunk.kinds[place] == 0 {
            chunk.n_known += 1;
        }
        chunk.kinds[place] = to_byte(kind);
    }

    /// Drops what is known of a task: it lives again, or is forgotten.
    pub(crate) fn remove(&mut self, task: TaskId) {
        let (number, place) = place_of(task);
        let Some(chunk) = self.chunks.get_mut(&number) else {
            return;
        };
        if chunk.kinds[place] != 0 {
            chunk.kinds[place] = 0;
            chunk.n_known -= 1;
        }
        if chunk.n_known == 0 {
            self.chunks.remove(&number);
        }
    }

    /// How a task ended, `None` where it hasn't or isn't kept.
    pub(crate) fn find(&self, task: TaskId) -> Option<OutcomeKind> {
        let (number, place) = place_of(task);
        from_byte(self.chunks.get(&number)?.kinds[place])
    }

    /// The ended tasks among `count` ids from `first` on, in order. Costs the ids, but only a look
    /// for each chunk without any.
    pub(crate) fn range(
        &self,
        first: TaskId,
        count: u32,
    ) -> impl Iterator<Item = (TaskId, OutcomeKind)> + '_ {
        let end = first.0 + u64::from(count);
        let numbers = first.0 / CHUNK_LEN..=(end.max(1) - 1) / CHUNK_LEN;
        self.chunks.range(numbers).flat_map(move |(number, chunk)| {
            let start = number * CHUNK_LEN;
            let from = first.0.max(start) - start;
            let to = end.min(start + CHUNK_LEN).max(start + from) - start;
            (from..to).filter_map(move |place| {
                let kind = from_byte(chunk.kinds[usize::try_from(place).ok()?])?;
                Some((TaskId(start + place), kind))
            })
        })
    }
}

fn place_of(task: TaskId) -> (u64, usize) {
    (task.0 / CHUNK_LEN, (task.0 % CHUNK_LEN) as usize)
}

fn to_byte(kind: OutcomeKind) -> u8 {
    match kind {
        OutcomeKind::Succeeded => 1,
        OutcomeKind::Failed => 2,
        OutcomeKind::Cancelled => 3,
    }
}

fn from_byte(byte: u8) -> Option<OutcomeKind> {
    match byte {
        1 => Some(OutcomeKind::Succeeded),
        2 => Some(OutcomeKind::Failed),
        3 => Some(OutcomeKind::Cancelled),
        _ => None,
    }
}

/// A submission all of whose tasks have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// When the last of its tasks ended.
    pub(crate) ended_at: Time,
    /// Its first task.
    pub(crate) first: TaskId,
    /// How many tasks.
    pub(crate) count: u32,
}

/// Ended submissions in the order in which they ended, for retention.
#[derive(Debug, Default)]
pub(crate) struct KeptSubmissions {
    entries: VecDeque<Kept>,
    /// How many of the first entries of a submission don't hold any more, because a task of it was
    /// retried later.
    n_stale: FxHashMap<TaskId, u32>,
    /// Only in recovery: what was told of ended tasks so far, by submission.
    restored: BTreeMap<TaskId, (u32, Time)>,
}

impl KeptSubmissions {
    /// The last task of a submission has ended.
    pub(crate) fn push(&mut self, kept: Kept) {
        self.entries.push_back(kept);
    }

    /// A submission that had ended lives again.
    pub(crate) fn revive(&mut self, first: TaskId) {
        *self.n_stale.entry(first).or_insert(0) += 1;
    }

    /// In recovery: one ended task of this submission.
    pub(crate) fn restore(&mut self, first: TaskId, ended_at: Time) {
        let entry = self.restored.entry(first).or_insert((0, ended_at));
        entry.0 += 1;
        entry.1 = entry.1.max(ended_at);
    }

    /// Ends recovery: what was restored is kept, except for submissions that live.
    pub(crate) fn finish_recovery(&mut self, is_live: impl Fn(TaskId) -> bool) {
        let restored = std::mem::take(&mut self.restored);
        let mut entries: Vec<Kept> = restored
            .into_iter()
            .filter(|(first, _)| !is_live(*first))
            .map(|(first, (count, ended_at))| Kept {
                ended_at,
                first,
                count,
            })
            .collect();
        entries.sort_by_key(|kept| (kept.ended_at, kept.first));
        self.entries.extend(entries);
    }

    /// The submissions that ended before a time, in the order they ended.
    pub(crate) fn due(&self, ended_before: Time) -> Vec<Kept> {
        let mut skipped: FxHashMap<TaskId, u32> = FxHashMap::default();
        let ended = |kept: &&Kept| kept.ended_at < ended_before;
        let mut due = Vec::new();
        for kept in self.entries.iter().take_while(ended) {
            let n_stale = self.n_stale.get(&kept.first).copied().unwrap_or(0);
            let n_skipped = skipped.entry(kept.first).or_insert(0);
            if *n_skipped < n_stale {
                *n_skipped += 1;
            } else {
                due.push(*kept);
            }
        }
        due
    }

    /// Takes out the submissions that ended before a time.
    pub(crate) fn pop_due(&mut self, ended_before: Time) -> Vec<Kept> {
        let mut due = Vec::new();
        while let Some(kept) = self
            .entries
            .pop_front_if(|kept| kept.ended_at < ended_before)
        {
            match self.n_stale.get_mut(&kept.first) {
                Some(1) => {
                    self.n_stale.remove(&kept.first);
                }
                Some(n_stale) => *n_stale -= 1,
                None => due.push(kept),
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_across_chunks_and_chunks_go_when_empty() {
        let mut ended = EndedKinds::default();
        let ids = [1, 4095, 4096, 4097, 20_000];
        for id in ids {
            ended.insert(TaskId(id), OutcomeKind::Failed);
        }
        let found = |first, count| {
            let range = ended.range(TaskId(first), count);
            range.map(|(task, _)| task.0).collect::<Vec<_>>()
        };
        assert_eq!(found(1, 30_000), ids);
        assert_eq!(found(4095, 2), [4095, 4096]);
        assert_eq!(found(4096, 1), [4096]);
        assert_eq!(found(5000, 10_000), [0; 0]);
        for id in ids {
            ended.remove(TaskId(id));
            assert_eq!(ended.find(TaskId(id)), None);
        }
        assert!(ended.chunks.is_empty());
    }

    #[test]
    fn a_revived_submission_is_due_only_after_its_last_end() {
        let mut kept = KeptSubmissions::default();
        let entry = |at, first| Kept {
            ended_at: Time(at),
            first: TaskId(first),
            count: 1,
        };
        kept.push(entry(1, 1));
        kept.push(entry(2, 2));
        kept.revive(TaskId(1));
        assert_eq!(kept.due(Time(9)), [entry(2, 2)]);
        kept.push(entry(5, 1));
        assert_eq!(kept.due(Time(5)), [entry(2, 2)]);
        assert_eq!(kept.pop_due(Time(9)), [entry(2, 2), entry(5, 1)]);
        assert!(kept.n_stale.is_empty());
    }
    #[test]
    fn a_submission_that_was_revived_often_is_due_once() {
        let mut kept = KeptSubmissions::default();
        let entry = |at| Kept {
            ended_at: Time(at),
            first: TaskId(1),
            count: 1,
        };
        for at in [1, 2, 3] {
            kept.push(entry(at));
            kept.revive(TaskId(1));
        }
        kept.push(entry(4));
        assert_eq!(kept.pop_due(Time(9)), [entry(4)]);
        assert!(kept.n_stale.is_empty());
    }
}
