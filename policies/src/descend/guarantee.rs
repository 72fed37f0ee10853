//! Guarantees (`min`): of the children that can go, those below theirs go first, the one furthest below in
//! proportion before the others.

use crate::ids::{QueueId, ResourceId};
use crate::ranking::Key;
use crate::share::Share;
use crate::tree::QueueTree;

/// The tier of queues below their guarantee. Rankings are kept above it.
const BELOW: i64 = i64::MIN;

/// How far a queue is below its guarantee: the least of used / min over the resources of which it holds less
/// than it is guaranteed, and for which `is_wanted` says that a task below it demands them and can go.
pub(super) fn proportion(
    tree: &QueueTree,
    queue: QueueId,
    is_wanted: impl Fn(ResourceId) -> bool,
) -> Option<Share> {
    let used = tree.used(queue);
    let guarantees = tree.settings(queue).min.iter();
    let below = guarantees.filter(|(id, min)| used.get(*id) < *min && is_wanted(*id));
    below.map(|(id, min)| Share::new(used.get(*id), *min)).min()
}

/// Which part of a queue's use fills its guarantee: the largest min / used over the resources that it is guaranteed and
/// uses, at most one. `None` if it uses none of them.
pub(super) fn filled(tree: &QueueTree, queue: QueueId) -> Option<Share> {
    let used = tree.used(queue);
    let guarantees = tree.settings(queue).min.iter();
    let used = guarantees.map(|(id, min)| (*min, used.get(*id)));
    let used = used.filter(|(min, used)| !min.is_zero() && !used.is_zero());
    used.map(|(min, used)| Share::new(min.min(used), used))
        .max()
}

/// The key of a queue: how far it is below its guarantee, or where it isn't, that of the policy.
pub(super) fn key(below: Option<Share>, policy: impl FnOnce() -> Key) -> Key {
    match below {
        Some(share) => Key { tier: BELOW, share },
        None => {
            let key = policy();
            Key {
                tier: key.tier.max(BELOW + 1),
                ..key
            }
        }
    }
}

/// Whether a key says that its queue is below its guarantee.
pub(super) fn is_below(key: Key) -> bool {
    key.tier == BELOW
}
