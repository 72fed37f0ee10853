//! Other settings while tasks live: everything by id is made anew, and what is in use charged again.

use std::collections::BTreeMap;
use std::sync::Arc;

use apportion_policies::{Amount, Demand, ResourceId, Shape};

use super::state::{Queues, Resources};
use super::{Engine, EngineSettings, Refusal, Reply};

impl Engine {
    /// Takes over other settings, or none of them. A capacity or `max` below what is in use is fine:
    /// nothing more is launched until it fits.
    ///
    /// Costs the queues, groups, live attempts and agents; not the queued tasks.
    pub(super) fn on_reload(&mut self, settings: EngineSettings) -> Result<Reply, Refusal> {
        self.check_queues_unused(&settings)?;
        self.check_resources_unused(&settings)?;
        let old_resources = std::mem::take(&mut self.state.resources);
        let resources = self.reloaded_resources(&old_resources, &settings);
        let queues = Queues::new(&settings, &resources);
        let old_queues = std::mem::replace(&mut self.state.queues, queues);
        let remake = |shape: &Shape| Shape {
            demand: translate(&shape.demand, &old_resources, &resources),
            constraints: shape.constraints.clone(),
        };
        let old_tree = self.state.queues.adopt(old_queues, remake);
        self.state.agents.reload(&resources);
        self.state.resources = resources;
        for attempt in self.state.live_attempts() {
            let record = &self.state.attempts[&attempt];
            self.state.queues.charge(record.group);
            let shape = self.state.queues.get(record.group).shape;
            self.state
                .agents
                .charge(record.agent, &self.state.queues.tree.shape(shape).demand);
        }
        let resources = &self.state.resources;
        let id_of = |id: ResourceId| old_resources.find(resources.name(id));
        self.state.queues.remember(&old_tree, id_of);
        self.state.claims.reload(settings.claims);
        let policy = self.registry.policy_for(&self.state.queues.tree);
        *self.policy.get_mut() = policy.expect("the names of policies were validated");
        self.logged = settings.logged_queues();
        self.settings = settings;
        // What was declined may fit now.
        self.pace.lose_track();
        Ok(Reply::Done)
    }

    /// A queue with live tasks must stay, and stay a leaf.
    fn check_queues_unused(&self, settings: &EngineSettings) -> Result<(), Refusal> {
        let queues = &self.state.queues;
        for (path, id) in queues.configured() {
            if !queues.tree.is_leaf(id) {
                continue;
            }
            let n_live: u64 = queues.counts(id).iter().sum();
            // Attempts may outlive their tasks.
            let n_tasks = n_live.max(queues.tree.running(id));
            if n_tasks > 0 && !is_leaf_in(path, settings) {
                let queue = Arc::clone(path);
                return Err(Refusal::QueueInUse { queue, n_tasks });
            }
        }
        Ok(())
    }

    /// A resource that live tasks demand must stay.
    fn check_resources_unused(&self, settings: &EngineSettings) -> Result<(), Refusal> {
        let mut n_users: BTreeMap<ResourceId, u64> = BTreeMap::new();
        for (_, group) in self.state.queues.groups() {
            for (id, _) in self.state.queues.tree.shape(group.shape).demand.iter() {
                *n_users.entry(id).or_insert(0) += group.n_submissions.max(group.n_attempts.min(1));
            }
        }
        for (id, n_tasks) in n_users {
            let resource = self.state.resources.name(id);
            let stays = settings.resources.iter().any(|kept| kept.name == *resource);
            if !stays && !self.state.resources.is_stray(id) {
                let resource = Arc::clone(resource);
                return Err(Refusal::ResourceInUse { resource, n_tasks });
            }
        }
        Ok(())
    }

    /// The resources of the new settings; what others use is as before, and strays that are still
    /// demanded stay.
    fn reloaded_resources(&self, old: &Resources, settings: &EngineSettings) -> Resources {
        let mut resources = Resources::new(&settings.resources);
        for (id, resource) in old.iter() {
            let group_demands = |shape: &Shape| !shape.demand.get(id).is_zero();
            let mut shapes = self.state.queues.tree.shapes();
            match resources.find(&resource.name) {
                Some(new) => resources.set_outside(new, resource.outside),
                None if shapes.any(|(_, shape)| group_demands(shape)) => {
                    resources.push_stray(Arc::clone(&resource.name));
                }
                None => {}
            }
        }
        resources
    }
}

/// Whether a path is a leaf of these settings.
fn is_leaf_in(path: &str, settings: &EngineSettings) -> bool {
    let is_there = settings.queues.iter().any(|queue| *queue.path == *path);
    let below = |other: &str| {
        other
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    is_there && !settings.queues.iter().any(|queue| below(&queue.path))
}

/// The same demand by other ids.
fn translate(demand: &Demand, old: &Resources, new: &Resources) -> Demand {
    let pair = |(id, amount): (ResourceId, Amount)| {
        let id = new.find(old.name(id)).expect("a resource in use stays");
        (id, amount)
    };
    Demand::new(demand.iter().map(pair))
}
