//! The adapter that makes rankings a policy, by descending the queue tree.

use std::sync::Arc;

use crate::ids::{QueueId, ShapeId};
use crate::offer::Offer;
use crate::policy::{Choice, Policy};
use crate::ranking::{Key, Ranking};
use crate::registry::Registry;
use crate::tree::{QueueTree, TaskRank};

/// Descends the queue tree: at each inner queue the child with the least key goes first, of equal ones
/// that whose next task was submitted first, then that with the least path. Skips, doesn't stop: only
/// children below which a task fits the offer within every `max` are looked at.
pub struct Descend {
    registry: Registry,
    name: Arc<str>,
    /// Per queue, the order of its children.
    rankings: Vec<Arc<dyn Ranking>>,
}

/// The order of siblings: key, submission of the next task, path.
type Order<'a> = (Key, u64, &'a Arc<str>);

/// What a queue would launch.
#[derive(Clone, Copy)]
struct Candidate {
    choice: Choice,
    next: TaskRank,
}

impl Descend {
    /// The policy of this tree.
    ///
    /// # Panics
    /// If the tree names a policy that the registry doesn't know; see [`Registry::check`].
    #[must_use]
    pub fn new(registry: Registry, tree: &QueueTree) -> Self {
        let mut descend = Self {
            registry,
            name: Arc::from(""),
            rankings: Vec::new(),
        };
        descend.rebuild(tree);
        descend
    }

    fn candidate(&self, tree: &QueueTree, queue: QueueId, offer: &Offer<'_>) -> Option<Candidate> {
        if tree.is_leaf(queue) {
            return leaf_candidate(tree, queue, offer);
        }
        let ranking = &self.rankings[queue.index()];
        let mut best: Option<(Order<'_>, Candidate)> = None;
        for child in tree.children(queue) {
            let Some(candidate) = self.candidate(tree, *child, offer) else {
                continue;
            };
            let key = ranking.key(tree, *child, candidate.next);
            let order = (key, candidate.next.seq, tree.path(*child));
            if best.as_ref().is_none_or(|(least, _)| order < *least) {
                best = Some((order, candidate));
            }
        }
        best.map(|(_, candidate)| candidate)
    }
}

/// The best-ranked waiting shape of a leaf that fits the offer and that `max` allows.
fn leaf_candidate(tree: &QueueTree, leaf: QueueId, offer: &Offer<'_>) -> Option<Candidate> {
    let can_go = |shape: ShapeId| {
        offer.fits.contains(shape) && tree.blocking_max(leaf, &tree.shape(shape).demand).is_none()
    };
    let heads = tree.heads(leaf).iter().filter(|(shape, _)| can_go(*shape));
    let (shape, next) = heads.min_by_key(|(_, rank)| *rank)?;
    Some(Candidate {
        choice: Choice {
            leaf,
            shape: *shape,
        },
        next: *next,
    })
}

impl Policy for Descend {
    fn name(&self) -> &str {
        &self.name
    }

    fn rebuild(&mut self, tree: &QueueTree) {
        self.name = Arc::clone(&tree.policy_spec(tree.root()).name);
        self.rankings.clear();
        for queue in tree.queues() {
            let ranking = self.registry.find_ranking(tree.policy_spec(queue));
            self.rankings
                .push(ranking.expect("the names of policies were checked"));
        }
    }

    fn changed(&mut self, _tree: &QueueTree, _leaf: QueueId) {}

    fn choose(&mut self, tree: &QueueTree, offer: &Offer<'_>) -> Option<Choice> {
        Some(self.candidate(tree, tree.root(), offer)?.choice)
    }
}
