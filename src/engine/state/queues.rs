//! The queues with their books: the tree that policies read, how many tasks stand where, and for each
//! leaf and shape the tasks that could run now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::{
    Amounts, QueueId, QueueSettings, QueueTree, ResourceId, Shape, ShapeId, TaskRank,
};

use super::super::settings::EngineSettings;
use super::super::spec::TaskState;
use super::super::time::Time;
use super::configured::{by_id, policy_spec, span_of};
use super::fits::{FitTable, Widened};
use super::patience::Patience;
use super::ready::{ReadySet, Run};
use super::resources::Resources;
use super::room::Room;
use super::submissions::Slot;

/// One leaf with one shape. Used again when nothing is of it any more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct GroupId(u32);

/// The tasks of one leaf and one shape.
#[derive(Debug)]
pub(crate) struct Group {
    /// Their leaf.
    pub(crate) leaf: QueueId,
    /// Their shape.
    pub(crate) shape: ShapeId,
    /// Whether they could run some day as things are; `None` until it was judged.
    pub(crate) is_satisfiable: Option<bool>,
    /// Those that could run now.
    pub(crate) ready: ReadySet,
    /// How many are queued and pause before their next attempt.
    pub(crate) n_paused: u64,
    /// How many live submissions are of it.
    pub(crate) n_submissions: u64,
    /// How many live attempts are of it.
    pub(crate) n_attempts: u64,
    /// What stands in the tree.
    head: Option<TaskRank>,
}

/// The live states, in the order of the counts.
pub(crate) const LIVE_STATES: [TaskState; 5] = [
    TaskState::Waiting,
    TaskState::Queued,
    TaskState::Launching,
    TaskState::Running,
    TaskState::Cancelling,
];

/// What a leaf has beside what stands in the tree.
#[derive(Clone, Debug, Default)]
struct LeafBooks {
    groups: Vec<(ShapeId, GroupId)>,
    /// Live tasks by state, as in [`LIVE_STATES`].
    counts: [u64; 5],
    /// Whether the policy must still be told of a change.
    is_changed: bool,
}

/// All queues.
#[derive(Debug)]
pub(crate) struct Queues {
    /// What policies read.
    pub(crate) tree: QueueTree,
    by_path: BTreeMap<Arc<str>, QueueId>,
    /// Leaves that aren't configured any more, though live tasks are in them. Only after a restart
    /// with another configuration: a reload refuses it.
    retired: BTreeMap<Arc<str>, QueueId>,
    leaves: Vec<LeafBooks>,
    /// How many tasks may wait where.
    pub(super) room: Room,
    groups: Vec<Option<Group>>,
    free: Vec<GroupId>,
    /// Which shapes fit.
    pub(crate) fits: FitTable,
    /// Since when the first tasks are the first.
    pub(crate) patience: Patience,
    /// Of leaves that aren't configured.
    default_patience: Option<Duration>,
    changed: Vec<QueueId>,
    /// Whether the policy must start anew.
    pub(crate) needs_rebuild: bool,
    /// What may go now, on any agent, that couldn't go before.
    pub(crate) widened: Widened,
    /// Whether every group must be judged anew.
    pub(crate) needs_judging: bool,
    unjudged: Vec<GroupId>,
}

impl Queues {
    /// As configured, without tasks.
    pub(crate) fn new(settings: &EngineSettings, resources: &Resources) -> Self {
        let default_policy = policy_spec(&settings.policy, resources);
        let tree = QueueTree::new(Amounts::zero(resources.len()), default_policy);
        let mut queues = Self {
            leaves: vec![LeafBooks::default()],
            room: Room::of(&settings.queues),
            tree,
            by_path: BTreeMap::new(),
            retired: BTreeMap::new(),
            groups: Vec::new(),
            free: Vec::new(),
            fits: FitTable::default(),
            patience: Patience::default(),
            default_patience: span_of(settings.claims.patience).filter(|_| settings.claims.max > 0),
            changed: Vec::new(),
            needs_rebuild: true,
            widened: Widened::everything(),
            needs_judging: true,
            unjudged: Vec::new(),
        };
        queues.patience.push_queue(None);
        let mut patiences: BTreeMap<&str, Option<Duration>> = BTreeMap::new();
        for queue in &settings.queues {
            let above = queue.path.rsplit_once('/').map(|(above, _)| above);
            let inherited = above.and_then(|path| patiences.get(path).copied());
            let own = queue.patience.map(span_of);
            let patience = own.or(inherited).unwrap_or(queues.default_patience);
            patiences.insert(&queue.path, patience);
            let patience = patience.filter(|_| settings.claims.max > 0);
            queues.patience.push_queue(patience);
            let parent = above.and_then(|path| queues.find(path));
            let parent = parent.unwrap_or_else(|| queues.tree.root());
            let settings = QueueSettings {
                weight: queue.weight,
                min: by_id(&queue.min, resources),
                max: by_id(&queue.max, resources),
                policy: queue
                    .policy
                    .as_ref()
                    .map(|policy| policy_spec(policy, resources)),
                parameters: queue.parameters.clone(),
            };
            let id = queues
                .tree
                .add_queue(parent, Arc::clone(&queue.path), settings);
            queues.by_path.insert(Arc::clone(&queue.path), id);
            queues.leaves.push(LeafBooks::default());
        }
        queues
    }

    /// The configured queue of a path, inner or leaf.
    pub(crate) fn find(&self, path: &str) -> Option<QueueId> {
        self.by_path.get(path).copied()
    }

    /// The configured queues, in order of paths.
    pub(crate) fn configured(&self) -> impl Iterator<Item = (&Arc<str>, QueueId)> {
        self.by_path.iter().map(|(path, id)| (path, *id))
    }

    /// The leaf where a task that was taken in lives. Where the configuration has no such leaf any
    /// more, one of that path is made below the root, so that no task is lost.
    pub(crate) fn leaf_of_stored(&mut self, path: &Arc<str>) -> QueueId {
        let configured = self.find(path).filter(|id| self.tree.is_leaf(*id));
        if let Some(leaf) = configured.or_else(|| self.retired.get(path).copied()) {
            return leaf;
        }
        let root = self.tree.root();
        let leaf = self
            .tree
            .add_queue(root, Arc::clone(path), QueueSettings::default());
        self.leaves.push(LeafBooks::default());
        self.patience.push_queue(self.default_patience);
        self.retired.insert(Arc::clone(path), leaf);
        self.needs_rebuild = true;
        leaf
    }

    /// The group of a leaf and a shape, made if need be, for one more submission.
    pub(crate) fn acquire(&mut self, leaf: QueueId, shape: Shape) -> GroupId {
        let has_constraints = !shape.constraints.is_empty();
        let shape = self.tree.acquire_shape(shape);
        if let Some(id) = self.find_group(leaf, shape) {
            self.tree.release_shape(shape);
            self.get_mut(id).n_submissions += 1;
            return id;
        }
        let demand = &self.tree.shape(shape).demand;
        self.fits.set_row(shape, demand, has_constraints);
        let group = Group {
            leaf,
            shape,
            is_satisfiable: None,
            ready: ReadySet::default(),
            n_paused: 0,
            n_submissions: 1,
            n_attempts: 0,
            head: None,
        };
        let id = self.free.pop().unwrap_or_else(|| {
            self.groups.push(None);
            GroupId(u32::try_from(self.groups.len() - 1).expect("fewer than 2^32 groups"))
        });
        self.groups[id.0 as usize] = Some(group);
        self.list_group(leaf, shape, id);
        self.unjudged.push(id);
        id
    }

    fn list_group(&mut self, leaf: QueueId, shape: ShapeId, id: GroupId) {
        let groups = &mut self.leaves[leaf.index()].groups;
        let place = groups.partition_point(|(other, _)| *other < shape);
        groups.insert(place, (shape, id));
    }

    /// One submission of the group fewer.
    pub(crate) fn release(&mut self, id: GroupId) {
        self.get_mut(id).n_submissions -= 1;
        self.drop_if_unused(id);
    }

    fn drop_if_unused(&mut self, id: GroupId) {
        let group = self.get(id);
        if group.n_submissions > 0 || group.n_attempts > 0 {
            return;
        }
        assert!(
            group.ready.len() == 0 && group.head.is_none(),
            "a group without tasks has none ready"
        );
        let (leaf, shape) = (group.leaf, group.shape);
        self.leaves[leaf.index()]
            .groups
            .retain(|(_, other)| *other != id);
        self.groups[id.0 as usize] = None;
        self.free.push(id);
        self.tree.release_shape(shape);
    }

    /// The group of a leaf and a shape.
    pub(crate) fn find_group(&self, leaf: QueueId, shape: ShapeId) -> Option<GroupId> {
        let groups = &self.leaves[leaf.index()].groups;
        let place = groups
            .binary_search_by_key(&shape, |(other, _)| *other)
            .ok()?;
        Some(groups[place].1)
    }

    /// The groups of a leaf.
    pub(crate) fn groups_of(&self, leaf: QueueId) -> impl Iterator<Item = &Group> {
        self.leaves[leaf.index()]
            .groups
            .iter()
            .map(|(_, id)| self.get(*id))
    }

    /// All groups.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        let numbered = self.groups.iter().enumerate();
        numbered.filter_map(|(index, group)| {
            let id = GroupId(u32::try_from(index).ok()?);
            Some((id, group.as_ref()?))
        })
    }

    /// The group of an id in use.
    pub(crate) fn get(&self, id: GroupId) -> &Group {
        self.groups[id.0 as usize]
            .as_ref()
            .expect("a group in use is there")
    }

    /// The same, to change its counts.
    pub(crate) fn get_mut(&mut self, id: GroupId) -> &mut Group {
        self.groups[id.0 as usize]
            .as_mut()
            .expect("a group in use is there")
    }

    /// Tasks could run now.
    pub(crate) fn make_ready(&mut self, id: GroupId, rank: TaskRank, count: u32, slot: Slot) {
        self.get_mut(id).ready.insert(rank, Run { count, slot });
        self.publish_head(id);
    }

    /// A task can't run any more, or does.
    ///
    /// # Panics
    /// If it wasn't ready.
    pub(crate) fn take_ready(&mut self, id: GroupId, rank: TaskRank) {
        let was_ready = self.get_mut(id).ready.remove(rank);
        assert!(was_ready, "task {} was not ready", rank.seq);
        self.publish_head(id);
    }

    /// Brings the tree up to date with the first ready task of a group.
    fn publish_head(&mut self, id: GroupId) {
        let group = self.groups[id.0 as usize]
            .as_mut()
            .expect("a group in use is there");
        let first = group.ready.first().map(|(rank, _)| rank);
        let head = first.filter(|_| group.is_satisfiable == Some(true));
        if head == group.head {
            return;
        }
        let (leaf, shape) = (group.leaf, group.shape);
        match (group.head, head) {
            (None, Some(_)) => {
                self.fits.count_head(shape, true);
                self.widened.shapes.insert(shape);
            }
            (Some(_), None) => self.fits.count_head(shape, false),
            (None, None) | (Some(_), Some(_)) => {}
        }
        group.head = head;
        self.tree.set_head(leaf, shape, head);
        self.mark_changed(leaf);
    }

    /// An attempt holds what its shape demands from now on.
    pub(crate) fn charge(&mut self, id: GroupId) {
        let group = self.get_mut(id);
        group.n_attempts += 1;
        let (leaf, shape) = (group.leaf, group.shape);
        self.tree.charge(leaf, shape);
        self.mark_changed(leaf);
    }

    /// An attempt gave it back.
    pub(crate) fn discharge(&mut self, id: GroupId, resources: &Resources) {
        let group = self.get_mut(id);
        group.n_attempts -= 1;
        let (leaf, shape) = (group.leaf, group.shape);
        self.tree.release(leaf, shape);
        self.widen(leaf, shape, resources);
        self.mark_changed(leaf);
        self.drop_if_unused(id);
    }

    /// Notes what an end makes room for on any agent: tasks that demand a cluster resource that it gave
    /// back, or one that is limited on its path. Of host resources something is free only once it is
    /// offered.
    fn widen(&mut self, leaf: QueueId, shape: ShapeId, resources: &Resources) {
        let demand = &self.tree.shape(shape).demand;
        for (resource, _) in demand.iter().filter(|(id, _)| !resources.is_host(*id)) {
            self.widened.resource(resource);
        }
        let mut next = Some(leaf);
        while let Some(queue) = next {
            for (resource, _) in &self.tree.settings(queue).max {
                if !demand.get(*resource).is_zero() {
                    self.widened.resource(*resource);
                }
            }
            next = self.tree.parent(queue);
        }
    }

    /// It is this time: past use fades, as far as policies look at it.
    pub(crate) fn advance(&mut self, now: Time) {
        if now.0 <= self.tree.now() {
            return;
        }
        let mut faded = Vec::new();
        self.tree.advance(now.0, &mut faded);
        faded.into_iter().for_each(|leaf| self.mark_changed(leaf));
    }

    /// Brings up to date which tasks are the first of their leaves, and who waited beyond its patience.
    pub(crate) fn settle_patience(&mut self, now: Time) {
        self.patience.settle(now, &self.tree);
    }

    fn mark_changed(&mut self, leaf: QueueId) {
        self.patience.note(leaf);
        if !std::mem::replace(&mut self.leaves[leaf.index()].is_changed, true) {
            self.changed.push(leaf);
        }
    }

    /// Whether the policy has been told of all changes, and every group been judged.
    pub(crate) fn is_settled(&self) -> bool {
        let is_judged = !self.needs_judging && self.unjudged.is_empty();
        !self.needs_rebuild && self.changed.is_empty() && is_judged
    }

    /// The leaves that the policy must be told of.
    pub(crate) fn next_changed(&mut self) -> Option<QueueId> {
        let leaf = self.changed.pop()?;
        self.leaves[leaf.index()].is_changed = false;
        Some(leaf)
    }

    /// Judges groups that were not judged yet, or all where that may have changed.
    pub(crate) fn judge(&mut self, is_satisfiable: impl Fn(&QueueTree, QueueId, ShapeId) -> bool) {
        let mut unjudged = std::mem::take(&mut self.unjudged);
        if std::mem::take(&mut self.needs_judging) {
            unjudged = self.groups().map(|(id, _)| id).collect();
        }
        for id in unjudged {
            let Some(group) = self.groups[id.0 as usize].as_mut() else {
                continue;
            };
            group.is_satisfiable = Some(is_satisfiable(&self.tree, group.leaf, group.shape));
            self.publish_head(id);
        }
    }

    /// A task of this leaf went from one state to another; `None` where it came or went.
    pub(crate) fn count(
        &mut self,
        leaf: QueueId,
        from: Option<TaskState>,
        to: Option<TaskState>,
        n: u64,
    ) {
        let counts = &mut self.leaves[leaf.index()].counts;
        if let Some(place) = from.and_then(place_of) {
            counts[place] = counts[place]
                .checked_sub(n)
                .expect("no more tasks leave a state than were in it");
        }
        if let Some(place) = to.and_then(place_of) {
            counts[place] += n;
        }
    }

    /// Live tasks of one leaf by state, as in [`LIVE_STATES`].
    pub(crate) fn counts(&self, leaf: QueueId) -> [u64; 5] {
        self.leaves[leaf.index()].counts
    }

    /// Queued tasks of one leaf that can't run as things are.
    pub(crate) fn n_unsatisfiable(&self, leaf: QueueId) -> u64 {
        let groups = self
            .groups_of(leaf)
            .filter(|group| group.is_satisfiable == Some(false));
        groups.map(|group| group.ready.len() + group.n_paused).sum()
    }

    /// The leaves below a queue, itself where it is one, in the order they were added.
    pub(crate) fn leaves_below(&self, queue: QueueId) -> Vec<QueueId> {
        let mut leaves = Vec::new();
        let mut stack = vec![queue];
        while let Some(queue) = stack.pop() {
            if self.tree.is_leaf(queue) {
                leaves.push(queue);
            }
            stack.extend(self.tree.children(queue).iter().rev());
        }
        leaves
    }

    /// Moves every group with its tasks from other queues (of before a reload) to these. What attempts
    /// hold must be charged again. `remake` gives a shape by the new resources.
    pub(crate) fn adopt(&mut self, old: Self, remake: impl Fn(&Shape) -> Shape) -> QueueTree {
        self.advance(Time(old.tree.now()));
        self.free = old.free;
        self.groups.resize_with(old.groups.len(), || None);
        for (index, group) in old.groups.into_iter().enumerate() {
            let Some(mut group) = group else { continue };
            let id = GroupId(u32::try_from(index).expect("as many groups as before"));
            let leaf = self.leaf_of_stored(old.tree.path(group.leaf));
            let is_first = old.patience.first_shape(group.leaf) == Some(group.shape);
            let shape = remake(old.tree.shape(group.shape));
            let has_constraints = !shape.constraints.is_empty();
            let shape = self.tree.acquire_shape(shape);
            self.fits
                .set_row(shape, &self.tree.shape(shape).demand, has_constraints);
            if is_first {
                self.patience.adopt(leaf, shape, &old.patience, group.leaf);
            }
            self.leaves[leaf.index()].counts = old.leaves[group.leaf.index()].counts;
            (group.leaf, group.shape) = (leaf, shape);
            (group.is_satisfiable, group.head, group.n_attempts) = (None, None, 0);
            self.groups[index] = Some(group);
            self.list_group(leaf, shape, id);
        }
        self.needs_judging = true;
        old.tree
    }

    /// Remembers what the queues of the same paths used before a reload. What is held must be charged again
    /// already.
    pub(crate) fn remember(
        &mut self,
        old: &QueueTree,
        id_of: impl Fn(ResourceId) -> Option<ResourceId>,
    ) {
        for old_id in old.queues().skip(1) {
            let path = old.path(old_id);
            if let Some(id) = self.find(path).or_else(|| self.retired.get(path).copied()) {
                self.tree.remember(id, old, old_id, &id_of);
            }
        }
    }
}

fn place_of(state: TaskState) -> Option<usize> {
    LIVE_STATES.iter().position(|live| *live == state)
}
