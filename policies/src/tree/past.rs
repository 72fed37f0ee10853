//! Past use in the tree's books: kept where queues are ordered by use that is forgotten with a half-life.

use std::num::NonZeroU64;

use super::{Queue, QueueTree};
use crate::decay::{self, FRACTION_BITS, Memory};
use crate::demand::Demand;
use crate::ids::{QueueId, ResourceId};

impl QueueTree {
    /// It is this time, in milliseconds since any fixed moment; an earlier one than before changes nothing.
    /// What is charged and released counts from here on. Adds to `faded` leaves of queues whose decayed use
    /// counts for less than before: the policy must be told of them. Costs nothing that grows with the
    /// queues, except 128 times in a half-life, when all queues that used more than they hold are looked at.
    pub fn advance(&mut self, now: u64, faded: &mut Vec<QueueId>) {
        let before = self.now;
        let now = now.max(before);
        self.now = now;
        let is_step = |half_life: u64| {
            decay::last_step(before, half_life) != decay::last_step(now, half_life)
        };
        if !self.half_lives.iter().any(|half_life| is_step(*half_life)) {
            return;
        }
        let mut fading = std::mem::take(&mut self.fading);
        fading.retain(|id| {
            let Some(memory) = &mut self.queues[id.index()].memory else {
                return false;
            };
            if is_step(memory.half_life()) {
                memory.is_listed = memory.fades(now);
                let is_listed = memory.is_listed;
                faded.push(self.first_leaf_below(*id));
                return is_listed;
            }
            true
        });
        self.fading = fading;
    }

    /// When it is, in milliseconds; see [`QueueTree::advance`].
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Forgets all past use: what is held counts from now on.
    pub fn forget_past(&mut self) {
        for id in self.queues().skip(1) {
            self.queues[id.index()].memory = None;
            self.set_up_memory(id);
        }
        self.fading.clear();
    }

    /// The longest half-life with which a policy forgets, in milliseconds; `None` where none does.
    #[must_use]
    pub fn longest_half_life(&self) -> Option<u64> {
        let memories = self.queues.iter().filter_map(|queue| queue.memory.as_ref());
        memories.map(|memory| memory.half_life()).max()
    }

    fn first_leaf_below(&self, queue: QueueId) -> QueueId {
        let mut queue = queue;
        while let Some(child) = self.children(queue).first() {
            queue = *child;
        }
        queue
    }

    /// Keeps what a queue used where the one above orders by decayed use.
    pub(super) fn set_up_memory(&mut self, id: QueueId) {
        let parent = self.parent(id).expect("the root is no child");
        let half_life = self.policy_spec(parent).half_life.map(NonZeroU64::get);
        let queue = &mut self.queues[id.index()];
        if queue.memory.as_ref().map(|memory| memory.half_life()) == half_life {
            return;
        }
        let Some(half_life) = half_life else {
            queue.memory = None;
            return;
        };
        let memory = Memory::new(half_life, self.now, &queue.used, queue.running);
        queue.memory = Some(Box::new(memory));
        if !self.half_lives.contains(&half_life) {
            self.half_lives.push(half_life);
        }
    }

    /// Remembers what a queue of another tree (of before a reload) remembers; `theirs` gives its id of a
    /// resource. What is held must be charged already.
    pub fn remember(
        &mut self,
        id: QueueId,
        other: &Self,
        their_id: QueueId,
        theirs: impl Fn(ResourceId) -> Option<ResourceId>,
    ) {
        let (now, n_resources) = (self.now, self.totals.as_slice().len());
        let queue = &mut self.queues[id.index()];
        let (Some(memory), Some(other)) =
            (&mut queue.memory, &other.queues[their_id.index()].memory)
        else {
            return;
        };
        for resource in (0..n_resources).map(ResourceId::new) {
            if let Some(theirs) = theirs(resource) {
                memory.remember(now, resource, other, theirs);
            }
        }
        memory.remember_tasks(now, other);
        queue.list_if_fading(id, now, &mut self.fading);
    }

    /// A task of this shape was held by `leaf` from one time to another, both in the past (recovery). Costs
    /// the depth times the resources asked for.
    pub fn remember_past(&mut self, leaf: QueueId, demand: &Demand, from: u64, to: u64) {
        let mut next = Some(leaf);
        while let Some(id) = next {
            let queue = &mut self.queues[id.index()];
            next = queue.parent;
            if let Some(memory) = &mut queue.memory {
                for (resource, amount) in demand.iter() {
                    memory.add_past(self.now, resource, amount, from, to);
                }
                memory.add_past_task(self.now, from, to);
            }
            queue.list_if_fading(id, self.now, &mut self.fading);
        }
    }

    /// Whether the queue above orders by decayed use.
    #[must_use]
    pub fn has_memory(&self, queue: QueueId) -> bool {
        self.queues[queue.index()].memory.is_some()
    }

    /// What ranks the queue among its siblings, in 2^-16 of a thousandth: where it has a memory, its decayed
    /// use, or what it holds where that is more; else what it holds.
    #[must_use]
    pub fn counted(&self, queue: QueueId, resource: ResourceId) -> u64 {
        let queue = &self.queues[queue.index()];
        match &queue.memory {
            Some(memory) => memory.counted(resource, self.now),
            None => queue.used.get(resource).milli() << FRACTION_BITS,
        }
    }

    /// Tells the same of each resource, in order of their ids.
    pub(crate) fn tell_counted(&self, queue: QueueId, mut tell: impl FnMut(ResourceId, u64)) {
        let queue = &self.queues[queue.index()];
        let Some(memory) = &queue.memory else {
            let told = queue.used.iter();
            told.for_each(|(id, used)| tell(id, used.milli() << FRACTION_BITS));
            return;
        };
        let resources = (0..self.totals.as_slice().len()).map(ResourceId::new);
        resources.for_each(|id| tell(id, memory.counted(id, self.now)));
    }

    /// The same of running tasks, in 2^-16 of a task.
    #[must_use]
    pub fn counted_running(&self, queue: QueueId) -> u64 {
        let queue = &self.queues[queue.index()];
        match &queue.memory {
            Some(memory) => memory.counted_tasks(self.now),
            None => queue.running << FRACTION_BITS,
        }
    }
}

impl Queue {
    /// Notes in its memory what it holds of what a demand names.
    pub(super) fn hold(
        &mut self,
        id: QueueId,
        now: u64,
        demand: &Demand,
        fading: &mut Vec<QueueId>,
    ) {
        if let Some(memory) = &mut self.memory {
            memory.hold(now, demand, &self.used, self.running);
            self.list_if_fading(id, now, fading);
        }
    }

    fn list_if_fading(&mut self, id: QueueId, now: u64, fading: &mut Vec<QueueId>) {
        let Some(memory) = &mut self.memory else {
            return;
        };
        if !memory.is_listed && memory.fades(now) {
            memory.is_listed = true;
            fading.push(id);
        }
    }
}
