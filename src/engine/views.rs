//! What is shown of queues, agents and resources.

use std::sync::Arc;

use apportion_policies::entitlement::entitlements;
use apportion_policies::{Amount, QueueId, ResourceId, Share};

use super::report::{AgentReport, QueueReport, ResourceReport};
use super::request::ByName;
use super::state::{AgentIndex, Group, LIVE_STATES};
use super::{AttemptId, Engine, Scope, TaskId};

impl Engine {
    /// Where a live attempt is, and what it demands; `None` where it has ended.
    #[must_use]
    pub fn find_attempt(&self, attempt: AttemptId) -> Option<(Arc<str>, Arc<ByName<Amount>>)> {
        let record = self.state.attempts.get(&attempt)?;
        let agent = Arc::clone(&self.state.agents.get(record.agent).name);
        // What was retried by hand may have ended and be forgotten while the attempt of before still dies.
        let slot = self.state.submissions.find(attempt.task);
        let demand = slot.map(|slot| {
            let submission = &self.state.submissions.get(slot).submission;
            Arc::clone(&submission.spec.demand)
        });
        Some((agent, demand.unwrap_or_default()))
    }

    /// The queue of a live task; `None` where it has ended.
    #[must_use]
    pub fn find_queue(&self, task: TaskId) -> Option<Arc<str>> {
        let slot = self.state.submissions.find(task)?;
        let submission = &self.state.submissions.get(slot).submission;
        Some(Arc::clone(&submission.spec.queue))
    }

    /// All queues but the root, parents before children, otherwise as configured. Costs the queues times
    /// depth and resources, and the shapes that wait in them;
    /// what they are due costs more (see [`entitlements`]).
    #[must_use]
    pub fn queues(&self) -> Vec<QueueReport> {
        let tree = &self.state.queues.tree;
        let ids = tree.queues().filter(|id| *id != tree.root());
        let due = self.entitlements();
        ids.map(|id| self.queue(id, due[id.index()])).collect()
    }

    /// What every queue is due, by id. What others use of a cluster resource is nobody's.
    fn entitlements(&self) -> Vec<Share> {
        let (queues, resources) = (&self.state.queues, &self.state.resources);
        let tree = &queues.tree;
        let wants = |leaf: QueueId| {
            let held = tree.used(leaf).as_slice().iter();
            let mut wants: Vec<u128> = held.map(|amount| u128::from(amount.milli())).collect();
            wants.resize(resources.len(), 0);
            let satisfiable = |group: &&Group| group.is_satisfiable != Some(false);
            for group in queues.groups_of(leaf).filter(satisfiable) {
                let n_ready = u128::from(group.ready.len());
                for (id, amount) in tree.shape(group.shape).demand.iter() {
                    wants[id.index()] += u128::from(amount.milli()) * n_ready;
                }
            }
            wants
        };
        let mut available = tree.totals().clone();
        for id in resources.shared() {
            let rest = available
                .get(*id)
                .saturating_sub(resources.get(*id).outside);
            available.set(*id, rest);
        }
        entitlements(tree, wants, &available)
    }

    fn queue(&self, id: QueueId, entitlement: Share) -> QueueReport {
        let (queues, resources) = (&self.state.queues, &self.state.resources);
        let tree = &queues.tree;
        let name = |resource: ResourceId| Arc::clone(resources.name(resource));
        let leaves = queues.leaves_below(id);
        let mut counts = [0; LIVE_STATES.len()];
        for leaf in &leaves {
            for (sum, n_tasks) in counts.iter_mut().zip(queues.counts(*leaf)) {
                *sum += n_tasks;
            }
        }
        let (used, totals) = (tree.used(id), tree.totals());
        let total = |resource: ResourceId| totals.get(resource);
        let there = resources
            .iter()
            .filter(|(resource, _)| !total(*resource).is_zero());
        let share = |resource: ResourceId| Share::new(used.get(resource), total(resource));
        let (dominant_share, dominant_resource) = tree.dominant_share(id);
        let settings = tree.settings(id);
        let by_name = |limits: &[(ResourceId, Amount)]| {
            let limits = limits.iter();
            limits.map(|(id, amount)| (name(*id), *amount)).collect()
        };
        QueueReport {
            path: Arc::clone(tree.path(id)),
            is_leaf: tree.is_leaf(id),
            weight: settings.weight,
            policy: Arc::clone(&tree.policy_spec(id).name),
            min: by_name(&settings.min),
            max: by_name(&settings.max),
            used: resources.by_name(used, |_| true),
            share: there
                .map(|(resource, _)| (name(resource), share(resource)))
                .collect(),
            dominant_share,
            dominant_resource: dominant_resource.map(name),
            entitlement,
            tasks: LIVE_STATES.into_iter().zip(counts).collect(),
            n_unsatisfiable: leaves
                .iter()
                .map(|leaf| queues.n_unsatisfiable(*leaf))
                .sum(),
        }
    }

    /// All agents that are known or still have attempts, in order of names. Costs sorting the attempts.
    #[must_use]
    pub fn agents(&self) -> Vec<AgentReport> {
        let resources = &self.state.resources;
        let is_host = |id: ResourceId| resources.is_host(id);
        let mut attempts: Vec<(AgentIndex, AttemptId)> = Vec::new();
        for attempt in self.state.live_attempts() {
            attempts.push((self.state.attempts[&attempt].agent, attempt));
        }
        attempts.sort_unstable();
        let report = |(index, agent): (AgentIndex, &super::state::Agent)| {
            let start = attempts.partition_point(|(other, _)| *other < index);
            let own = attempts[start..]
                .iter()
                .take_while(|(other, _)| *other == index);
            AgentReport {
                name: Arc::clone(&agent.name),
                total: resources.by_name(&agent.total, is_host),
                used: resources.by_name(&agent.used, is_host),
                offered: resources.by_name(&agent.offered, is_host),
                attributes: agent.attributes.clone(),
                attempts: own.map(|(_, attempt)| *attempt).collect(),
            }
        };
        self.state.agents.iter().map(report).collect()
    }

    /// All resources, in order of names.
    #[must_use]
    pub fn resources(&self) -> Vec<ResourceReport> {
        let tree = &self.state.queues.tree;
        let used = tree.used(tree.root());
        let known = || self.state.agents.known();
        let mut reports: Vec<ResourceReport> = Vec::new();
        for (id, resource) in self.state.resources.iter() {
            let (scope, capacity) = match resource.scope {
                Scope::Cluster { capacity } => ("cluster", capacity),
                Scope::Host => {
                    let sum = |sum: Amount, amount| sum.saturating_add(amount);
                    (
                        "host",
                        known()
                            .map(|agent| agent.total.get(id))
                            .fold(Amount::ZERO, sum),
                    )
                }
            };
            reports.push(ResourceReport {
                name: Arc::clone(&resource.name),
                scope,
                capacity,
                used: used.get(id),
                outside: resource.outside,
            });
        }
        reports.sort_by(|a, b| a.name.cmp(&b.name));
        reports
    }

    /// The name of the policy that orders the queues at the top.
    #[must_use]
    pub fn policy_name(&self) -> Arc<str> {
        let tree = &self.state.queues.tree;
        Arc::clone(&tree.policy_spec(tree.root()).name)
    }
}
