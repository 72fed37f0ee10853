//! The registry: which name of the configuration means which order of queues.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::descend::{Descend, Order};
use crate::fifo::Fifo;
use crate::policy::Policy;
use crate::ranking::Ranking;
use crate::tree::{PolicySpec, QueueTree};
use crate::weighted::Weighted;

/// Makes the order of a queue's children as its configuration asks for it.
type Maker = Arc<dyn Fn(&PolicySpec) -> Order + Send + Sync>;

/// A name that no policy has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no policy '{name}'; known are {}", known.join(", "))]
#[non_exhaustive]
pub struct UnknownPolicy {
    /// The name asked for.
    pub name: Arc<str>,
    /// The path of the queue that asks for it; empty for the tree's default.
    pub queue: Arc<str>,
    /// The names there are, in alphabetical order.
    pub known: Vec<Arc<str>>,
}

/// Names with the rankings they stand for. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    makers: BTreeMap<Arc<str>, Maker>,
}

impl Default for Registry {
    /// With the built-in policies: `drf`, `fifo`, `weighted`.
    fn default() -> Self {
        let mut registry = Self {
            makers: BTreeMap::new(),
        };
        // Not a mere ranking: inner queues are scaled for each offer.
        registry.makers.insert(
            Arc::from("drf"),
            Arc::new(|_| Order::Drf { rounded: false }),
        );
        registry.register("fifo", |_| Arc::new(Fifo));
        registry.register("weighted", |spec| {
            Arc::new(Weighted {
                resource: spec.resource,
            })
        });
        registry
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.makers.keys()).finish()
    }
}

impl Registry {
    /// Adds a ranking under a name, or replaces the one that has it.
    pub fn register<F>(&mut self, name: &str, make: F)
    where
        F: Fn(&PolicySpec) -> Arc<dyn Ranking> + Send + Sync + 'static,
    {
        self.makers.insert(
            Arc::from(name),
            Arc::new(move |spec| Order::Ranked(make(spec))),
        );
    }

    /// The names there are, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.makers.keys()
    }

    /// Whether a name is known.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.makers.contains_key(name)
    }

    /// The policy of a tree: its default and what single queues name instead. It is ready to use;
    /// after a change of structure, settings or totals it must be rebuilt, and where those may name
    /// policies that weren't checked, [`Registry::check`] asked before.
    ///
    /// # Errors
    /// If the tree or a queue names a policy that isn't known.
    pub fn policy_for(&self, tree: &QueueTree) -> Result<Box<dyn Policy>, UnknownPolicy> {
        self.check(tree)?;
        Ok(Box::new(Descend::new(self.clone(), tree)))
    }

    /// Whether every policy that the tree names is known, that of leaves included: a leaf may become
    /// an inner queue.
    ///
    /// # Errors
    /// The first that isn't, in the order the queues were added.
    pub fn check(&self, tree: &QueueTree) -> Result<(), UnknownPolicy> {
        let unknown = tree
            .queues()
            .find(|queue| !self.knows(&tree.policy_spec(*queue).name));
        let Some(queue) = unknown else { return Ok(()) };
        Err(UnknownPolicy {
            name: Arc::clone(&tree.policy_spec(queue).name),
            queue: Arc::clone(tree.path(queue)),
            known: self.names().cloned().collect(),
        })
    }

    /// The order that a configuration names, `None` where the name isn't known.
    pub(crate) fn find_order(&self, spec: &PolicySpec) -> Option<Order> {
        Some(self.makers.get(&spec.name)?(spec))
    }
}
