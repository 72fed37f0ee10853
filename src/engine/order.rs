//! In which order the leaves would be served, for tests and people.

use std::sync::Arc;

use apportion_policies::{Offer, ShapeSet};

use super::Engine;

impl Engine {
    /// The leaves with work in the order in which they would be served if every waiting task fitted that
    /// `max` allows: who goes first, who if that one had nothing left, and so on. What can never run
    /// doesn't wait. As of the last [`Engine::turn`]. Costs a decision for each leaf, and making the
    /// policy anew.
    ///
    /// # Panics
    /// Never: the names of policies were validated.
    #[must_use]
    pub fn order(&self) -> Vec<Arc<str>> {
        let mut tree = self.state.queues.tree.clone();
        let policy = self.registry.policy_for(&tree);
        let mut policy = policy.expect("the names of policies were validated");
        let mut fits = ShapeSet::default();
        for (shape, _) in tree.shapes() {
            fits.insert(shape);
        }
        let free = tree.totals().clone();
        let mut order = Vec::new();
        let offer = Offer {
            free: &free,
            fits: &fits,
        };
        while let Some(choice) = policy.choose(&tree, &offer) {
            order.push(Arc::clone(tree.path(choice.leaf)));
            for (shape, _) in tree.heads(choice.leaf).to_vec() {
                tree.set_head(choice.leaf, shape, None);
            }
            policy.changed(&tree, choice.leaf);
        }
        order
    }
}
