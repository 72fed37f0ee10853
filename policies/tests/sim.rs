//! A small world for policies: agents, queues, tasks; offers are made by hand and the queues of the
//! tasks launched come back in order.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use apportion_policies::{
    Amount, Amounts, Bounds, Demand, Descend, Offer, Policy, PolicySpec, QueueId, QueueSettings,
    QueueTree, Registry, ResourceId, Shape, ShapeId, ShapeSet, ShownKey, Step, TaskRank, Weight,
};

use crate::reference::{Reference, Rounding};
use crate::wrong::Wrong;

/// A policy by name, for a whole tree or one queue.
pub fn spec(name: &str) -> PolicySpec {
    PolicySpec::new(name)
}

pub fn weight(text: &str) -> QueueSettings {
    let weight: Weight = text.parse().unwrap();
    QueueSettings {
        weight,
        ..QueueSettings::default()
    }
}

struct Agent {
    free: Amounts,
}

struct Running {
    leaf: QueueId,
    shape: ShapeId,
    agent: usize,
}

/// See the module's text.
pub struct Sim {
    pub tree: QueueTree,
    pub registry: Registry,
    policy: Option<Box<dyn Policy>>,
    /// Asked beside the policy; must choose the same: the policy with a bound of inner queues for each shape.
    twins: Vec<Descend>,
    /// Asked in place of the policy, for what a wrong clause would do.
    wrong: Option<Wrong>,
    /// Asked beside the policy; must choose the same.
    references: Vec<Reference>,
    /// Wrong forms, asked beside the policy until they choose otherwise.
    rivals: Vec<(Wrong, Reference)>,
    resources: Vec<String>,
    cluster: Vec<bool>,
    cluster_free: Amounts,
    agents: Vec<Agent>,
    queues: BTreeMap<String, QueueId>,
    waiting: BTreeMap<(QueueId, ShapeId), Vec<TaskRank>>,
    running: Vec<Running>,
    seq: u64,
    now: u64,
    /// How often a policy was asked.
    pub n_decided: u64,
}

impl Sim {
    pub fn new(policy: &str) -> Self {
        Self::with_spec(spec(policy))
    }

    pub fn with_spec(default: PolicySpec) -> Self {
        Self {
            tree: QueueTree::new(Amounts::default(), default),
            registry: Registry::default(),
            policy: None,
            twins: Vec::new(),
            wrong: None,
            references: vec![
                Reference::new(Rounding::Integers),
                Reference::new(Rounding::None),
            ],
            rivals: Vec::new(),
            resources: Vec::new(),
            cluster: Vec::new(),
            cluster_free: Amounts::default(),
            agents: Vec::new(),
            queues: BTreeMap::new(),
            waiting: BTreeMap::new(),
            running: Vec::new(),
            seq: 0,
            now: 0,
            n_decided: 0,
        }
    }

    /// Without asking what the reference would choose: it knows only the built-in policies.
    pub fn without_reference(mut self) -> Self {
        self.references.clear();
        self
    }

    /// Beside the reference in integers only: exact rationals take long in deep trees.
    pub fn without_exact_reference(mut self) -> Self {
        self.references.truncate(1);
        self
    }

    /// With a clause of hierarchical DRF done wrong.
    pub fn with_wrong(self, wrong: Wrong) -> Self {
        Self {
            wrong: Some(wrong),
            ..self.without_reference()
        }
    }

    /// Without asking the reference, but wrong forms of it.
    pub fn with_rivals(self, rivals: &[Wrong]) -> Self {
        let rivals = rivals
            .iter()
            .map(|wrong| (*wrong, Reference::wrong(*wrong)));
        Self {
            rivals: rivals.collect(),
            ..self.without_reference()
        }
    }

    /// The wrong forms that never chose otherwise.
    pub fn rivals_alike(&self) -> Vec<Wrong> {
        self.rivals.iter().map(|(wrong, _)| *wrong).collect()
    }

    /// The id of a resource; one not heard of before is of host scope.
    pub fn resource(&mut self, name: &str) -> ResourceId {
        if let Some(index) = self.resources.iter().position(|known| known == name) {
            return ResourceId::new(index);
        }
        self.resources.push(name.to_owned());
        self.cluster.push(false);
        ResourceId::new(self.resources.len() - 1)
    }

    pub fn demand(&mut self, amounts: &[(&str, &str)]) -> Demand {
        let pairs = amounts
            .iter()
            .map(|(name, text)| (self.resource(name), text.parse().unwrap()));
        Demand::new(pairs.collect::<Vec<_>>())
    }

    /// Amounts per resource, zeros kept: a limit of zero forbids.
    pub fn demand_with_zeros(&mut self, amounts: &[(&str, &str)]) -> Vec<(ResourceId, Amount)> {
        amounts
            .iter()
            .map(|(name, text)| (self.resource(name), text.parse().unwrap()))
            .collect()
    }

    pub fn agent(&mut self, amounts: &[(&str, &str)]) {
        let demand = self.demand(amounts);
        let mut free = Amounts::default();
        for (resource, amount) in demand.iter() {
            free.set(resource, amount);
            let total = self
                .tree
                .totals()
                .get(resource)
                .checked_add(amount)
                .unwrap();
            self.tree.set_total(resource, total);
        }
        self.agents.push(Agent { free });
        self.policy = None;
    }

    pub fn cluster(&mut self, name: &str, capacity: &str) {
        let resource = self.resource(name);
        self.cluster[resource.index()] = true;
        let capacity: Amount = capacity.parse().unwrap();
        self.tree.set_total(resource, capacity);
        self.cluster_free.set(resource, capacity);
        self.policy = None;
    }

    /// Adds a queue; the one above it must be there.
    pub fn queue(&mut self, path: &str, settings: QueueSettings) -> QueueId {
        let parent = path.rsplit_once('/').map(|(above, _)| self.queues[above]);
        let parent = parent.unwrap_or(self.tree.root());
        let id = self.tree.add_queue(parent, Arc::from(path), settings);
        self.queues.insert(path.to_owned(), id);
        self.policy = None;
        id
    }

    /// A queue with a limit.
    pub fn queue_max(&mut self, path: &str, max: &[(&str, &str)]) -> QueueId {
        let max = self.demand_with_zeros(max);
        self.queue(
            path,
            QueueSettings {
                max,
                ..QueueSettings::default()
            },
        )
    }

    /// A queue with a guarantee.
    pub fn queue_min(&mut self, path: &str, min: &[(&str, &str)]) -> QueueId {
        let min = self.demand_with_zeros(min);
        self.queue(
            path,
            QueueSettings {
                min,
                ..QueueSettings::default()
            },
        )
    }

    /// A queue with a policy of its own.
    pub fn queue_policy(&mut self, path: &str, policy: PolicySpec) -> QueueId {
        self.queue(
            path,
            QueueSettings {
                policy: Some(policy),
                ..QueueSettings::default()
            },
        )
    }

    pub fn submit(&mut self, path: &str, count: usize, demand: &[(&str, &str)]) {
        self.submit_priority(path, count, demand, 0);
    }

    pub fn submit_priority(
        &mut self,
        path: &str,
        count: usize,
        demand: &[(&str, &str)],
        priority: i32,
    ) {
        let leaf = self.queues[path];
        let demand = self.demand(demand);
        for _ in 0..count {
            let shape = Shape {
                demand: demand.clone(),
                constraints: Vec::new(),
            };
            let shape = self.tree.acquire_shape(shape);
            self.seq += 1;
            let tasks = self.waiting.entry((leaf, shape)).or_default();
            let rank = TaskRank {
                priority: Reverse(priority),
                seq: self.seq,
            };
            let place = tasks.partition_point(|other| *other < rank);
            tasks.insert(place, rank);
            self.update(leaf, shape);
        }
    }

    /// Every agent offers what is free, in their order, each until nothing can go. The paths of the
    /// queues whose tasks were launched, in order.
    pub fn offer(&mut self) -> Vec<String> {
        self.offer_limited(usize::MAX)
    }

    /// As [`Sim::offer`], but at most so many launches.
    pub fn offer_limited(&mut self, limit: usize) -> Vec<String> {
        let mut launched = Vec::new();
        for agent in 0..self.agents.len() {
            launched.extend(self.offer_agent(agent, limit - launched.len()));
        }
        launched
    }

    /// One agent offers what is free.
    pub fn offer_agent(&mut self, agent: usize, limit: usize) -> Vec<String> {
        let launches: Vec<_> = (0..limit).map_while(|_| self.launch(agent)).collect();
        let path = |leaf: &QueueId| self.tree.path(*leaf).to_string();
        launches.iter().map(path).collect()
    }

    pub fn n_agents(&self) -> usize {
        self.agents.len()
    }

    /// So many milliseconds pass.
    pub fn advance(&mut self, milliseconds: u64) {
        self.now += milliseconds;
        let mut faded = Vec::new();
        self.tree.advance(self.now, &mut faded);
        for leaf in faded {
            self.tell(leaf);
        }
    }

    /// The leaves with running tasks, one entry per task, the oldest first.
    pub fn running_leaves(&self) -> Vec<String> {
        let path = |task: &Running| self.tree.path(task.leaf).to_string();
        self.running.iter().map(path).collect()
    }

    fn launch(&mut self, agent: usize) -> Option<QueueId> {
        let free = self.free(agent);
        let fits = self.fits(&free);
        self.set_up_policy();
        let policy = self.policy.as_mut().unwrap();
        let offer = Offer {
            free: &free,
            fits: &fits,
        };
        let choice = policy.choose(&self.tree, &offer);
        for twin in &mut self.twins {
            let same = twin.choose(&self.tree, &offer);
            assert_eq!(choice, same, "bounds for each shape make another choice");
        }
        self.n_decided += 1;
        for reference in &mut self.references {
            let right = reference.choose(&self.tree, &offer);
            assert_eq!(choice, right, "the reference chooses otherwise");
        }
        self.rivals
            .retain_mut(|(_, rival)| rival.choose(&self.tree, &offer) == choice);
        let Some(choice) = choice else {
            self.assert_nothing_can_go(&fits);
            return None;
        };
        assert!(fits.contains(choice.shape), "the choice fits the offer");
        let demand = self.tree.shape(choice.shape).demand.clone();
        assert_eq!(
            self.tree.blocking_max(choice.leaf, &demand),
            None,
            "no limit is passed"
        );
        let tasks = self.waiting.get_mut(&(choice.leaf, choice.shape)).unwrap();
        tasks.remove(0);
        for (resource, amount) in demand.iter() {
            let pool = self.pool(agent, resource);
            pool.set(resource, pool.get(resource).checked_sub(amount).unwrap());
        }
        self.tree.charge(choice.leaf, choice.shape);
        self.running.push(Running {
            leaf: choice.leaf,
            shape: choice.shape,
            agent,
        });
        self.update(choice.leaf, choice.shape);
        Some(choice.leaf)
    }

    fn fits(&self, free: &Amounts) -> ShapeSet {
        let mut fits = ShapeSet::default();
        for (id, shape) in self.tree.shapes() {
            if free.hold(&shape.demand) {
                fits.insert(id);
            }
        }
        fits
    }

    fn set_up_policy(&mut self) {
        if self.policy.is_none() {
            let right = || self.registry.policy_for(&self.tree).unwrap();
            let wrong = |wrong| Box::new(Reference::wrong(wrong)) as Box<dyn Policy>;
            self.policy = Some(self.wrong.map_or_else(right, wrong));
            if self.wrong.is_none() {
                let twin = |bounds| Descend::with_bounds(self.registry.clone(), &self.tree, bounds);
                self.twins = [Bounds::Walked, Bounds::Gathered].map(twin).into();
            }
        }
    }

    /// The steps to a queue, if the first agent offered what is free.
    pub fn steps(&mut self, path: &str, n_others: usize) -> Vec<Step> {
        let leaf = self.queues[path];
        self.ask(|policy, tree, offer| policy.explain(tree, offer, leaf, n_others))
    }

    /// The task that would be chosen if the first agent offered what is free, and the keys by which.
    pub fn keys(&mut self) -> (String, Vec<ShownKey>) {
        let (leaf, keys) = self.ask(|policy, tree, offer| {
            let choice = policy.choose(tree, offer).unwrap();
            (choice.leaf, policy.keys(tree, offer, choice))
        });
        (self.tree.path(leaf).to_string(), keys)
    }

    fn ask<T>(&mut self, ask: impl FnOnce(&mut dyn Policy, &QueueTree, &Offer<'_>) -> T) -> T {
        let free = self.free(0);
        let fits = self.fits(&free);
        self.set_up_policy();
        let offer = Offer {
            free: &free,
            fits: &fits,
        };
        ask(self.policy.as_mut().unwrap().as_mut(), &self.tree, &offer)
    }

    /// Work conservation: where the policy chooses nothing, nothing could have gone.
    fn assert_nothing_can_go(&self, fits: &ShapeSet) {
        for leaf in self.tree.queues().filter(|queue| self.tree.is_leaf(*queue)) {
            for (shape, _) in self.tree.heads(leaf) {
                let demand = &self.tree.shape(*shape).demand;
                let can_go =
                    fits.contains(*shape) && self.tree.blocking_max(leaf, demand).is_none();
                assert!(!can_go, "{} could have gone", self.tree.path(leaf));
            }
        }
    }

    fn free(&self, agent: usize) -> Amounts {
        let mut free = Amounts::zero(self.resources.len());
        for (index, cluster) in self.cluster.iter().enumerate() {
            let resource = ResourceId::new(index);
            let pool = if *cluster {
                &self.cluster_free
            } else {
                &self.agents[agent].free
            };
            free.set(resource, pool.get(resource));
        }
        free
    }

    fn pool(&mut self, agent: usize, resource: ResourceId) -> &mut Amounts {
        if self.cluster[resource.index()] {
            &mut self.cluster_free
        } else {
            &mut self.agents[agent].free
        }
    }

    /// The oldest running tasks of a queue end.
    pub fn finish(&mut self, path: &str, count: usize) {
        let leaf = self.queues[path];
        for _ in 0..count {
            let index = self
                .running
                .iter()
                .position(|task| task.leaf == leaf)
                .unwrap();
            let task = self.running.remove(index);
            let demand = self.tree.shape(task.shape).demand.clone();
            for (resource, amount) in demand.iter() {
                let pool = self.pool(task.agent, resource);
                pool.set(resource, pool.get(resource).checked_add(amount).unwrap());
            }
            self.tree.release(leaf, task.shape);
            self.update(leaf, task.shape);
            self.tree.release_shape(task.shape);
        }
    }

    fn update(&mut self, leaf: QueueId, shape: ShapeId) {
        let head = self
            .waiting
            .get(&(leaf, shape))
            .and_then(|tasks| tasks.first())
            .copied();
        self.tree.set_head(leaf, shape, head);
        self.tell(leaf);
    }

    fn tell(&mut self, leaf: QueueId) {
        let Some(policy) = &mut self.policy else {
            return;
        };
        policy.changed(&self.tree, leaf);
        for twin in &mut self.twins {
            twin.changed(&self.tree, leaf);
        }
    }

    pub fn running(&self, path: &str) -> u64 {
        self.tree.running(self.queues[path])
    }

    pub fn dominant_share(&self, path: &str) -> String {
        self.tree.dominant_share(self.queues[path]).0.to_string()
    }
}
