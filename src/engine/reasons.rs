//! Why a task was launched: at each queue on its path, who could have gone and how they stood.
//!
//! Only where [`Engine::record_reasons`] asks for it: it costs all queues for each launch.

use std::sync::Arc;

use apportion_policies::{Choice, QueueId, ShapeSet, Share, TaskRank, Weight};

use super::{AttemptId, Engine};

/// Why an attempt was launched.
#[derive(Clone, Debug)]
pub struct Reason {
    /// Which.
    pub attempt: AttemptId,
    /// From the top down to the leaf.
    pub levels: Vec<Level>,
}

/// One queue's choice among its children.
#[derive(Clone, Debug)]
pub struct Level {
    /// The queue; empty at the top.
    pub queue: Arc<str>,
    /// The policy that orders its children.
    pub policy: Arc<str>,
    /// The child that was served.
    pub served: Arc<str>,
    /// The children that could have gone, as they stood before the launch, in the order of the configuration.
    pub candidates: Vec<Candidate>,
}

/// A child that could have gone.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its path.
    pub path: Arc<str>,
    /// Its weight.
    pub weight: Weight,
    /// The largest share of what it really held.
    pub dominant_share: Share,
    /// Its attempts.
    pub n_running: u64,
    /// The task that would have gone.
    pub task: u64,
}

impl Engine {
    /// Whether [`super::Output::reasons`] is filled from now on.
    pub fn record_reasons(&mut self, record: bool) {
        self.records_reasons = record;
    }

    /// Why a choice fell as it did, before it is carried out.
    pub(super) fn levels(&self, choice: Choice, fits: &ShapeSet) -> Vec<Level> {
        let tree = &self.state.queues.tree;
        let mut levels = Vec::new();
        let mut served = choice.leaf;
        while let Some(queue) = tree.parent(served) {
            let candidates = tree.children(queue).iter().filter_map(|child| {
                let next = self.next_below(*child, fits)?;
                Some(Candidate {
                    path: Arc::clone(tree.path(*child)),
                    weight: tree.settings(*child).weight,
                    dominant_share: tree.dominant_share(*child).0,
                    n_running: tree.running(*child),
                    task: next.seq,
                })
            });
            levels.push(Level {
                queue: Arc::clone(tree.path(queue)),
                policy: Arc::clone(&tree.policy_spec(queue).name),
                served: Arc::clone(tree.path(served)),
                candidates: candidates.collect(),
            });
            served = queue;
        }
        levels.reverse();
        levels
    }

    /// The first task below a queue that could go now.
    fn next_below(&self, queue: QueueId, fits: &ShapeSet) -> Option<TaskRank> {
        let tree = &self.state.queues.tree;
        if !tree.is_leaf(queue) {
            let below = tree.children(queue).iter();
            return below
                .filter_map(|child| self.next_below(*child, fits))
                .min();
        }
        let heads = tree.heads(queue).iter();
        let can_go = heads.filter(|(shape, _)| {
            let demand = &tree.shape(*shape).demand;
            fits.contains(*shape) && tree.blocking_max(queue, demand).is_none()
        });
        can_go.map(|(_, rank)| *rank).min()
    }
}
