//! The books: the queue tree with what each queue uses, may use, and has waiting.
//!
//! The engine writes here; policies read. Tasks themselves are not here, only, for each leaf and
//! shape, the rank of the first waiting task.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::amount::{Amount, Weight};
use crate::demand::{Amounts, Demand};
use crate::ids::{QueueId, ResourceId, ShapeId};
use crate::share::Share;

/// The order of waiting tasks: higher priority first, then submission. The least rank goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TaskRank {
    /// Higher goes first.
    pub priority: Reverse<i32>,
    /// The order of submission.
    pub seq: u64,
}

/// What the question "does it fit?" depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// What the task consumes.
    pub demand: Demand,
    /// Attributes that the agent must have, with the value wanted, in order of their names.
    pub constraints: Vec<(Arc<str>, Arc<str>)>,
}

/// How an inner queue orders its children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySpec {
    /// A name of the registry: `drf`, `fifo`, `weighted`, or one that a program registered.
    pub name: Arc<str>,
    /// For `weighted`: the resource that counts, or `None` to count running tasks.
    pub resource: Option<ResourceId>,
}

/// The settings of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// Its due relative to its siblings.
    pub weight: Weight,
    /// The most that its subtree may use, per resource named. An entry of zero forbids the resource.
    pub max: Vec<(ResourceId, Amount)>,
    /// The order of its children; `None` for the default of the tree.
    pub policy: Option<PolicySpec>,
}

/// The tree of queues with its books. See the module's text.
#[derive(Clone, Debug)]
pub struct QueueTree {}

impl QueueTree {
    /// A tree with only the root, over as many resources as `totals` has entries.
    #[must_use]
    pub fn new(totals: Amounts, default_policy: PolicySpec) -> Self {
        unimplemented!()
    }

    /// The root: it has no path, no weight and no limit, and every queue is below it.
    #[must_use]
    pub fn root(&self) -> QueueId {
        QueueId::new(0)
    }

    /// Adds a queue below `parent`, which must have no waiting tasks of its own. `path` is the whole
    /// path, for ties and for people. Queues are added in the order of the configuration.
    pub fn add_queue(
        &mut self,
        parent: QueueId,
        path: Arc<str>,
        settings: QueueSettings,
    ) -> QueueId {
        unimplemented!()
    }

    /// Replaces a queue's settings (a reload). The policy must be rebuilt afterwards.
    pub fn set_settings(&mut self, queue: QueueId, settings: QueueSettings) {
        unimplemented!()
    }

    /// Sets how much of a resource there is: host scope, the sum over the known agents; cluster
    /// scope, the capacity. The policy must be rebuilt afterwards.
    pub fn set_total(&mut self, resource: ResourceId, total: Amount) {
        unimplemented!()
    }

    /// The id of this shape, known or new, with one more user of it. Costs log(shapes).
    pub fn acquire_shape(&mut self, shape: Shape) -> ShapeId {
        unimplemented!()
    }

    /// One user fewer; the id of a shape without users is used again.
    pub fn release_shape(&mut self, shape: ShapeId) {
        unimplemented!()
    }

    /// The shape of an id in use.
    #[must_use]
    pub fn shape(&self, shape: ShapeId) -> &Shape {
        unimplemented!()
    }

    /// All shapes in use, in order of their ids.
    pub fn shapes(&self) -> impl Iterator<Item = (ShapeId, &Shape)> {
        std::iter::empty()
    }

    /// Sets, or with `None` takes away, the first waiting task of one shape in one leaf. Only tasks
    /// that could run some day stand here: queued, past their pause, satisfiable.
    pub fn set_head(&mut self, leaf: QueueId, shape: ShapeId, head: Option<TaskRank>) {
        unimplemented!()
    }

    /// An attempt of this shape was launched from `leaf`: the use of the leaf and of every queue
    /// above it, the root included, grows.
    pub fn charge(&mut self, leaf: QueueId, shape: ShapeId) {
        unimplemented!()
    }

    /// An attempt of this shape has really ended.
    pub fn release(&mut self, leaf: QueueId, shape: ShapeId) {
        unimplemented!()
    }

    /// How many queues there are, the root included; ids run from 0 to this.
    #[must_use]
    pub fn len(&self) -> usize {
        unimplemented!()
    }

    /// The whole path of a queue; empty for the root.
    #[must_use]
    pub fn path(&self, queue: QueueId) -> &Arc<str> {
        unimplemented!()
    }

    /// The queue above, `None` for the root.
    #[must_use]
    pub fn parent(&self, queue: QueueId) -> Option<QueueId> {
        unimplemented!()
    }

    /// The queues directly below, in the order they were added.
    #[must_use]
    pub fn children(&self, queue: QueueId) -> &[QueueId] {
        unimplemented!()
    }

    /// A queue's settings.
    #[must_use]
    pub fn settings(&self, queue: QueueId) -> &QueueSettings {
        unimplemented!()
    }

    /// What attempts of the queue's subtree hold, from launch until they have really ended.
    #[must_use]
    pub fn used(&self, queue: QueueId) -> &Amounts {
        unimplemented!()
    }

    /// How many attempts of the queue's subtree hold something.
    #[must_use]
    pub fn running(&self, queue: QueueId) -> u64 {
        unimplemented!()
    }

    /// How much there is of each resource.
    #[must_use]
    pub fn totals(&self) -> &Amounts {
        unimplemented!()
    }

    /// The waiting shapes of a leaf, each with the rank of its first task, in order of shape ids.
    #[must_use]
    pub fn heads(&self, leaf: QueueId) -> &[(ShapeId, TaskRank)] {
        unimplemented!()
    }

    /// The largest share over all resources of what the queue's subtree really uses.
    #[must_use]
    pub fn dominant_share(&self, queue: QueueId) -> (Share, Option<ResourceId>) {
        unimplemented!()
    }

    /// The first queue on the path from `leaf` to the root whose `max` one more task of this demand
    /// would exceed, with the resource. A limit on a resource that isn't asked for never blocks.
    #[must_use]
    pub fn blocking_max(&self, leaf: QueueId, demand: &Demand) -> Option<(QueueId, ResourceId)> {
        unimplemented!()
    }
}
