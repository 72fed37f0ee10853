//! The trait that every policy implements.

use crate::explain::{ShownKey, Step};
use crate::ids::{QueueId, ShapeId};
use crate::offer::Offer;
use crate::tree::QueueTree;

/// Whose task consumes the offer: the first waiting task of this shape in this leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// A leaf of the tree.
    pub leaf: QueueId,
    /// A shape that waits in the leaf and fits the offer.
    pub shape: ShapeId,
}

/// Chooses which waiting task consumes an offer.
///
/// A policy keeps no books: use, limits and waiting tasks stand in the [`QueueTree`]. It may keep an
/// index of what it derived from them, which [`Policy::changed`] brings up to date.
pub trait Policy: Send {
    /// The name under which the configuration knows it.
    fn name(&self) -> &str;

    /// The tree's structure, settings or totals changed: forget what was derived and start anew.
    /// Called once before anything else, and after each reload. May cost the whole tree.
    fn rebuild(&mut self, tree: &QueueTree);

    /// The use of `leaf` and of the queues above it changed, or the waiting tasks of `leaf` did.
    /// Called after each change and before the next [`Policy::choose`]. Should cost about
    /// depth × log(siblings).
    fn changed(&mut self, tree: &QueueTree, leaf: QueueId);

    /// The task that consumes this offer, or `None` if no waiting task fits it within all limits.
    /// Work-conserving: `None` only if nothing can go.
    fn choose(&mut self, tree: &QueueTree, offer: &Offer<'_>) -> Option<Choice>;

    /// How this offer would find its way: at each queue from the root to `leaf` the child that would be served
    /// first and the one that leads to `leaf`, with what they are compared by, and up to `n_others` of those
    /// that come next. Only for people: nothing is decided by it. Should cost about depth × what
    /// [`Policy::choose`] does, and with others asked for, may cost all siblings. Empty for a policy that has
    /// nothing to say.
    fn explain(
        &mut self,
        tree: &QueueTree,
        offer: &Offer<'_>,
        leaf: QueueId,
        n_others: usize,
    ) -> Vec<Step> {
        let (_, _, _, _) = (tree, offer, leaf, n_others);
        Vec::new()
    }

    /// By what a choice was made: at each queue from the root to its leaf, the key of the child on the way.
    /// Asked right after [`Policy::choose`], for the same offer, and for each launch: it should find again what
    /// was found then. Nothing is decided by it. Empty for a policy that has nothing to say.
    fn keys(&mut self, tree: &QueueTree, offer: &Offer<'_>, choice: Choice) -> Vec<ShownKey> {
        let (_, _, _) = (tree, offer, choice);
        Vec::new()
    }
}
