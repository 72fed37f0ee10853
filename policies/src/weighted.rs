//! `weighted`: the queue that uses least of one resource, or runs the fewest tasks, relative to its
//! weight goes first.

use crate::ids::{QueueId, ResourceId};
use crate::ranking::{Key, Ranking};
use crate::share::Share;
use crate::tree::{QueueTree, TaskRank};

/// Ranks queues by `used(resource) / weight`, or by `running tasks / weight`.
///
/// With a half-life, what was used before counts too. Max-min fairness over one thing, as in weighted fair queueing with the use as the clock. What the
/// queues use of other resources doesn't count; for that there is [`crate::Drf`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Weighted {
    /// The resource that counts, or `None` to count running tasks.
    pub resource: Option<ResourceId>,
}

impl Ranking for Weighted {
    fn key(&self, tree: &QueueTree, queue: QueueId, _next: TaskRank) -> Key {
        let used = match self.resource {
            Some(resource) => tree.counted(queue, resource),
            None => tree.counted_running(queue),
        };
        Key::share(Share::count(used).per(tree.settings(queue).weight))
    }
}
