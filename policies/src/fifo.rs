//! `fifo`: the queue with the oldest task that could run goes first, higher priority before that.

use crate::ids::QueueId;
use crate::ranking::{Key, Ranking};
use crate::tree::{QueueTree, TaskRank};

/// Ranks queues by their next task: higher priority first, then order of submission. Knows no
/// fairness; a queue that submits early and much keeps the others waiting.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fifo;

impl Ranking for Fifo {
    fn key(&self, _tree: &QueueTree, _queue: QueueId, next: TaskRank) -> Key {
        Key::rank(next)
    }

    fn is_by_rank(&self) -> bool {
        true
    }
}
