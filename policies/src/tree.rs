//! The books: the queue tree with what each queue uses, may use, and has waiting.
//!
//! The engine writes here; policies read. Tasks themselves are not here, only, for each leaf and
//! shape, the rank of the first waiting task.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use crate::amount::{Amount, Weight};
use crate::decay::Memory;
use crate::demand::{Amounts, Demand};
use crate::ids::{QueueId, ResourceId, ShapeId};
pub use crate::shapes::Shape;
use crate::shapes::Shapes;
use crate::share::Share;

mod past;

/// The order of waiting tasks: higher priority first, then submission. The least rank goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TaskRank {
    /// Higher goes first.
    pub priority: Reverse<i32>,
    /// The order of submission.
    pub seq: u64,
}

/// How an inner queue orders its children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySpec {
    /// A name of the registry: `drf`, `fifo`, `weighted`, or one that a program registered.
    pub name: Arc<str>,
    /// For `weighted`: the resource that counts, or `None` to count running tasks.
    pub resource: Option<ResourceId>,
    /// How fast past use is forgotten, in milliseconds; `None` where only what is held now counts.
    pub half_life: Option<NonZeroU64>,
}

impl PolicySpec {
    /// A policy of which only the name is given.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: Arc::from(name),
            resource: None,
            half_life: None,
        }
    }
}

/// The settings of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// Its due relative to its siblings.
    pub weight: Weight,
    /// What its subtree is guaranteed, per resource named: among siblings, one that is below goes first.
    pub min: Vec<(ResourceId, Amount)>,
    /// The most that its subtree may use, per resource named. An entry of zero forbids the resource.
    pub max: Vec<(ResourceId, Amount)>,
    /// The order of its children; `None` for the default of the tree.
    pub policy: Option<PolicySpec>,
    /// What else is said of the queue, for policies that a program registers; the built-in ones look at
    /// none of it. Numbers and dates stand here as they were written.
    pub parameters: BTreeMap<Arc<str>, Arc<str>>,
}

impl Default for QueueSettings {
    /// Weight 1, no limits, the tree's default policy, no parameters.
    fn default() -> Self {
        Self {
            weight: Weight::default(),
            min: Vec::new(),
            max: Vec::new(),
            policy: None,
            parameters: BTreeMap::new(),
        }
    }
}

/// One queue with its books.
#[derive(Clone, Debug)]
struct Queue {
    path: Arc<str>,
    parent: Option<QueueId>,
    children: Vec<QueueId>,
    settings: QueueSettings,
    used: Amounts,
    running: u64,
    heads: Vec<(ShapeId, TaskRank)>,
    /// What it used; kept where the queue above orders by it.
    memory: Option<Box<Memory>>,
}

/// The tree of queues with its books. See the module's text.
#[derive(Clone, Debug)]
pub struct QueueTree {
    queues: Vec<Queue>,
    totals: Amounts,
    default_policy: PolicySpec,
    shapes: Shapes,
    /// In milliseconds.
    now: u64,
    /// The half-lives there are, each once.
    half_lives: Vec<u64>,
    /// Queues that used more than they hold.
    fading: Vec<QueueId>,
}

impl QueueTree {
    /// A tree with only the root, over as many resources as `totals` has entries.
    #[must_use]
    pub fn new(totals: Amounts, default_policy: PolicySpec) -> Self {
        let root = Queue {
            path: Arc::from(""),
            parent: None,
            children: Vec::new(),
            settings: QueueSettings::default(),
            used: Amounts::zero(totals.as_slice().len()),
            running: 0,
            heads: Vec::new(),
            memory: None,
        };
        Self {
            queues: vec![root],
            totals,
            default_policy,
            shapes: Shapes::default(),
            now: 0,
            half_lives: Vec::new(),
            fading: Vec::new(),
        }
    }

    /// The root: it has no path, no weight and no limit, and every queue is below it.
    #[must_use]
    pub fn root(&self) -> QueueId {
        QueueId::new(0)
    }

    /// Adds a queue below `parent`, which must have no waiting tasks of its own. `path` is the whole
    /// path, for ties and for people. Queues are added in the order of the configuration. The policy
    /// must be rebuilt afterwards.
    ///
    /// # Panics
    /// If `parent` has tasks: tasks live in leaves.
    pub fn add_queue(
        &mut self,
        parent: QueueId,
        path: Arc<str>,
        settings: QueueSettings,
    ) -> QueueId {
        let id = QueueId::new(self.queues.len());
        let above = &mut self.queues[parent.index()];
        let has_tasks = !above.heads.is_empty() || (above.children.is_empty() && above.running > 0);
        assert!(!has_tasks, "a queue with tasks stays a leaf");
        above.children.push(id);
        self.queues.push(Queue {
            path,
            parent: Some(parent),
            children: Vec::new(),
            settings,
            used: Amounts::zero(self.totals.as_slice().len()),
            running: 0,
            heads: Vec::new(),
            memory: None,
        });
        self.set_up_memory(id);
        id
    }

    /// Replaces a queue's settings (a reload). The policy must be rebuilt afterwards.
    ///
    /// # Panics
    /// For the root, which has no settings of its own; see [`QueueTree::set_default_policy`].
    pub fn set_settings(&mut self, queue: QueueId, settings: QueueSettings) {
        assert!(queue != self.root(), "the root has no settings of its own");
        self.queues[queue.index()].settings = settings;
        for child in self.children(queue).to_vec() {
            self.set_up_memory(child);
        }
    }

    /// Replaces the policy of the root and of every inner queue that names none (a reload). The
    /// policy must be rebuilt afterwards.
    pub fn set_default_policy(&mut self, spec: PolicySpec) {
        self.default_policy = spec;
        self.queues()
            .skip(1)
            .for_each(|queue| self.set_up_memory(queue));
    }

    /// Sets how much of a resource there is: host scope, the sum over the known agents; cluster
    /// scope, the capacity. The policy must be rebuilt afterwards.
    pub fn set_total(&mut self, resource: ResourceId, total: Amount) {
        self.totals.set(resource, total);
    }

    /// The id of this shape, known or new, with one more user of it. Costs log(shapes).
    pub fn acquire_shape(&mut self, shape: Shape) -> ShapeId {
        self.shapes.acquire(shape)
    }

    /// One user fewer; the id of a shape without users is used again.
    ///
    /// # Panics
    /// If the shape has no user.
    pub fn release_shape(&mut self, shape: ShapeId) {
        self.shapes.release(shape);
    }

    /// The shape of an id in use.
    ///
    /// # Panics
    /// If the id isn't in use.
    #[must_use]
    pub fn shape(&self, shape: ShapeId) -> &Shape {
        self.shapes.get(shape)
    }

    /// How many shapes had this id up to now. It grows when an id gets a new meaning, so whoever
    /// derived something from a shape sees that it no longer holds.
    ///
    /// # Panics
    /// If no shape ever had the id.
    #[must_use]
    pub fn shape_generation(&self, shape: ShapeId) -> u64 {
        self.shapes.generation(shape)
    }

    /// All shapes in use, in order of their ids.
    pub fn shapes(&self) -> impl Iterator<Item = (ShapeId, &Shape)> {
        self.shapes.iter()
    }

    /// Sets, or with `None` takes away, the first waiting task of one shape in one leaf. Only tasks
    /// that could run some day stand here: queued, past their pause, satisfiable.
    /// Costs log(shapes of the leaf), and their number where a shape comes or goes.
    ///
    /// # Panics
    /// If `leaf` is the root or an inner queue, or the shape isn't in use.
    pub fn set_head(&mut self, leaf: QueueId, shape: ShapeId, head: Option<TaskRank>) {
        self.assert_leaf(leaf);
        assert!(
            self.shapes.find(shape).is_some(),
            "a waiting task's shape is in use"
        );
        let heads = &mut self.queues[leaf.index()].heads;
        match (heads.binary_search_by_key(&shape, |(id, _)| *id), head) {
            (Ok(index), Some(rank)) => heads[index].1 = rank,
            (Ok(index), None) => {
                heads.remove(index);
            }
            (Err(index), Some(rank)) => heads.insert(index, (shape, rank)),
            (Err(_), None) => {}
        }
    }

    /// An attempt of this shape was launched from `leaf`: the use of the leaf and of every queue
    /// above it, the root included, grows. Costs the depth times the resources asked for.
    ///
    /// # Panics
    /// If `leaf` is the root or an inner queue, the shape isn't in use, or a sum passes
    /// [`Amount::MAX`].
    pub fn charge(&mut self, leaf: QueueId, shape: ShapeId) {
        self.assert_leaf(leaf);
        let demand = &self.shapes.get(shape).demand;
        let mut next = Some(leaf);
        while let Some(id) = next {
            let queue = &mut self.queues[id.index()];
            queue.used.add(demand);
            queue.running += 1;
            next = queue.parent;
            queue.hold(id, self.now, demand, &mut self.fading);
        }
    }

    /// An attempt of this shape has really ended. Costs the depth times the resources asked for.
    ///
    /// # Panics
    /// If no such attempt was charged.
    pub fn release(&mut self, leaf: QueueId, shape: ShapeId) {
        self.assert_leaf(leaf);
        let demand = &self.shapes.get(shape).demand;
        let mut next = Some(leaf);
        while let Some(id) = next {
            let queue = &mut self.queues[id.index()];
            queue.used.subtract(demand);
            queue.running = queue.running.checked_sub(1).expect("what ends was running");
            next = queue.parent;
            queue.hold(id, self.now, demand, &mut self.fading);
        }
    }

    fn assert_leaf(&self, queue: QueueId) {
        assert!(
            self.is_leaf(queue),
            "tasks live in leaves, and never in the root"
        );
    }

    /// How many queues there are, the root included; ids run from 0 to this.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queues.len()
    }

    /// Never: the root is always there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// All queues, the root first, each after the one above it.
    pub fn queues(&self) -> impl DoubleEndedIterator<Item = QueueId> + use<> {
        (0..self.queues.len()).map(QueueId::new)
    }

    /// Whether tasks may live here: no queue is below it, and it isn't the root.
    #[must_use]
    pub fn is_leaf(&self, queue: QueueId) -> bool {
        queue != self.root() && self.queues[queue.index()].children.is_empty()
    }

    /// The whole path of a queue; empty for the root.
    #[must_use]
    pub fn path(&self, queue: QueueId) -> &Arc<str> {
        &self.queues[queue.index()].path
    }

    /// The queue above, `None` for the root.
    #[must_use]
    pub fn parent(&self, queue: QueueId) -> Option<QueueId> {
        self.queues[queue.index()].parent
    }

    /// The queues directly below, in the order they were added.
    #[must_use]
    pub fn children(&self, queue: QueueId) -> &[QueueId] {
        &self.queues[queue.index()].children
    }

    /// A queue's settings.
    #[must_use]
    pub fn settings(&self, queue: QueueId) -> &QueueSettings {
        &self.queues[queue.index()].settings
    }

    /// How the children of this queue are ordered: what its settings name, else the default.
    #[must_use]
    pub fn policy_spec(&self, queue: QueueId) -> &PolicySpec {
        self.settings(queue)
            .policy
            .as_ref()
            .unwrap_or(&self.default_policy)
    }

    /// What attempts of the queue's subtree hold, from launch until they have really ended.
    #[must_use]
    pub fn used(&self, queue: QueueId) -> &Amounts {
        &self.queues[queue.index()].used
    }

    /// How many attempts of the queue's subtree hold something.
    #[must_use]
    pub fn running(&self, queue: QueueId) -> u64 {
        self.queues[queue.index()].running
    }

    /// How much there is of each resource.
    #[must_use]
    pub fn totals(&self) -> &Amounts {
        &self.totals
    }

    /// The waiting shapes of a leaf, each with the rank of its first task, in order of shape ids.
    #[must_use]
    pub fn heads(&self, leaf: QueueId) -> &[(ShapeId, TaskRank)] {
        &self.queues[leaf.index()].heads
    }

    /// The largest share over all resources of what the queue's subtree really uses, with the
    /// resource (of several, the one with the least id; `None` where nothing is used).
    #[must_use]
    pub fn dominant_share(&self, queue: QueueId) -> (Share, Option<ResourceId>) {
        let mut largest = (Share::ZERO, None);
        for (resource, used) in self.used(queue).iter() {
            if used.is_zero() {
                continue;
            }
            let share = Share::new(used, self.totals.get(resource));
            if share > largest.0 {
                largest = (share, Some(resource));
            }
        }
        largest
    }

    /// The first queue on the path from `leaf` to the root whose `max` one more task of this demand
    /// would exceed, with the resource. A limit on a resource that isn't asked for never blocks.
    #[must_use]
    pub fn blocking_max(&self, leaf: QueueId, demand: &Demand) -> Option<(QueueId, ResourceId)> {
        let mut next = Some(leaf);
        while let Some(queue) = next {
            if let Some(resource) = self.exceeded_max(queue, demand) {
                return Some((queue, resource));
            }
            next = self.parent(queue);
        }
        None
    }

    /// The first resource in which one more task of this demand would exceed the `max` of this very
    /// queue; the queues above aren't looked at.
    #[must_use]
    pub fn exceeded_max(&self, queue: QueueId, demand: &Demand) -> Option<ResourceId> {
        let queue = &self.queues[queue.index()];
        let exceeds = |(resource, max): &(ResourceId, Amount)| {
            let amount = demand.get(*resource);
            !amount.is_zero()
                && queue
                    .used
                    .get(*resource)
                    .checked_add(amount)
                    .is_none_or(|sum| sum > *max)
        };
        queue
            .settings
            .max
            .iter()
            .find(|limit| exceeds(limit))
            .map(|(resource, _)| *resource)
    }
}
