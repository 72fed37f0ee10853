//! Which queues have series of their own. Prometheus keeps what it once saw in memory for hours, so ten thousand
//! queues with fifty series each must be asked for, not stumbled into.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

/// The label of all queues that have no series of their own. No queue can have this name.
pub(super) const OTHERS: &str = "(others)";

/// How many things get series of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Queues, inner ones included. Those nearest to the root come first, then those configured first.
    pub queues_max: usize,
    /// Inboxes, in order of their names.
    pub inboxes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queues_max: 500,
            inboxes_max: 100,
        }
    }
}

/// The queues that are named.
#[derive(Debug, Default)]
pub(super) struct Named(RwLock<Names>);

#[derive(Debug, Default)]
struct Names {
    limits: Limits,
    /// `None` until they are set, and where all queues are: then every name stands for itself.
    queues: Option<BTreeSet<Arc<str>>>,
}

impl Named {
    /// Sets the limits, and chooses among these queues and those above them.
    pub(super) fn set<'a>(&self, limits: Limits, queues: impl IntoIterator<Item = &'a str>) {
        let mut all = Vec::new();
        let mut seen = BTreeSet::new();
        for path in queues {
            let ends = path.match_indices('/').map(|(end, _)| end);
            for path in ends.map(|end| &path[..end]).chain([path]) {
                if seen.insert(path) {
                    all.push(path);
                }
            }
        }
        let chosen = (all.len() > limits.queues_max).then(|| {
            all.sort_by_key(|path| path.matches('/').count());
            all.into_iter()
                .take(limits.queues_max)
                .map(Arc::from)
                .collect()
        });
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *names = Names {
            limits,
            queues: chosen,
        };
    }

    /// The limits.
    pub(super) fn limits(&self) -> Limits {
        self.0.read().unwrap_or_else(PoisonError::into_inner).limits
    }

    /// Whether a queue has series of its own.
    pub(super) fn contains(&self, queue: &str) -> bool {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        names
            .queues
            .as_ref()
            .is_none_or(|queues| queues.contains(queue))
    }

    /// What a queue is called.
    pub(super) fn label(&self, queue: &Arc<str>) -> Arc<str> {
        if self.contains(queue) {
            Arc::clone(queue)
        } else {
            Arc::from(OTHERS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_near_the_root_come_first_then_those_configured_first() {
        let named = Named::default();
        assert!(named.contains("anything"));
        let limits = Limits {
            queues_max: 3,
            ..Limits::default()
        };
        named.set(limits, ["b/x", "b/y", "a"]);
        for (queue, is_named) in [("b", true), ("a", true), ("b/x", true), ("b/y", false)] {
            assert_eq!(named.contains(queue), is_named, "{queue}");
        }
        assert_eq!(&*named.label(&"b/y".into()), OTHERS);
        named.set(Limits::default(), ["b/x", "b/y", "a"]);
        assert!(named.contains("b/y"));
    }
}
