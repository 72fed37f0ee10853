//! Whether a task could ever run as things are, whatever else is running.

use std::sync::Arc;

use apportion_policies::{Amount, Demand, QueueId, QueueTree, ResourceId, Shape, ShapeId};

use super::report::WaitReason;
use super::state::{Agent, Agents, Resources, State};
use super::{Engine, Scope};

impl Engine {
    /// Brings up to date what depends on agents and limits: the totals that shares are of, and which
    /// tasks could ever run.
    pub(super) fn refresh(&mut self) {
        let state = &mut self.state;
        if std::mem::take(&mut state.agents.has_changed) {
            state.refresh_totals();
            state.queues.needs_rebuild = true;
            state.queues.needs_judging = true;
            state.may_exceed = true;
        }
        let (resources, agents) = (&state.resources, &state.agents);
        state
            .queues
            .judge(|tree, leaf, shape| is_satisfiable(tree, leaf, shape, resources, agents));
        if std::mem::take(&mut state.queues.needs_rebuild) {
            self.policy.get_mut().rebuild(&state.queues.tree);
            while state.queues.next_changed().is_some() {}
        }
    }
}

impl State {
    fn refresh_totals(&mut self) {
        for (id, resource) in self.resources.iter() {
            let total = match resource.scope {
                Scope::Cluster { capacity } => capacity,
                Scope::Host => {
                    let totals = self.agents.known().map(|agent| agent.total.get(id));
                    totals.fold(Amount::ZERO, Amount::saturating_add)
                }
            };
            self.queues.tree.set_total(id, total);
        }
    }

    /// Why a task of this shape can never run as things are; `None` if it could.
    pub(super) fn find_never_fits(&self, leaf: QueueId, shape: &Shape) -> Option<WaitReason> {
        if let Some(excess) = self.find_configured_excess(leaf, &shape.demand) {
            return Some(WaitReason::NeverFits {
                resource: Arc::clone(self.resources.name(excess.resource)),
                demand: shape.demand.get(excess.resource),
                most: excess.most,
                limit: excess.limit,
            });
        }
        let resources = &self.resources;
        self.agents.known().next()?;
        if self
            .agents
            .known()
            .any(|agent| holds(agent, shape, resources))
        {
            return None;
        }
        let matching: Vec<&Agent> = self
            .agents
            .known()
            .filter(|agent| agent.meets(&shape.constraints))
            .collect();
        if matching.is_empty() {
            return self.find_unmatched(shape);
        }
        // Where one resource is more than any agent has, that one; else what the agent where least is
        // missing has too little of.
        let most_of = |id: ResourceId| {
            matching
                .iter()
                .max_by_key(|agent| agent.total.get(id))
                .copied()
        };
        let host = || shape.demand.iter().filter(|(id, _)| resources.is_host(*id));
        let beyond_all = host().find_map(|(id, amount)| {
            let agent = most_of(id)?;
            (amount > agent.total.get(id)).then_some((id, agent))
        });
        let (id, agent) = beyond_all.or_else(|| {
            let agent = matching
                .iter()
                .min_by_key(|agent| n_missing(agent, shape, resources))?;
            let (id, _) = host().find(|(id, amount)| *amount > agent.total.get(*id))?;
            Some((id, *agent))
        })?;
        let most = agent.total.get(id);
        Some(WaitReason::NeverFits {
            resource: Arc::clone(resources.name(id)),
            demand: shape.demand.get(id),
            most,
            limit: if most.is_zero() {
                "each agent".into()
            } else {
                format!("agent {}", agent.name).into()
            },
        })
    }

    /// The constraint that no agent meets, or that none meets together with the others.
    fn find_unmatched(&self, shape: &Shape) -> Option<WaitReason> {
        let alone = |wanted: &&(Arc<str>, Arc<str>)| {
            !self
                .agents
                .known()
                .any(|agent| agent.meets(std::slice::from_ref(*wanted)))
        };
        let constraints = &shape.constraints;
        let (attribute, value) = constraints.iter().find(alone).or(constraints.first())?;
        Some(WaitReason::NoAgentMatches {
            attribute: Arc::clone(attribute),
            value: Arc::clone(value),
        })
    }
}

/// Whether a task could ever run. As long as no agent is known, nothing is held against it but the
/// configuration.
fn is_satisfiable(
    tree: &QueueTree,
    leaf: QueueId,
    shape: ShapeId,
    resources: &Resources,
    agents: &Agents,
) -> bool {
    let shape = tree.shape(shape);
    let within = |(id, amount): (ResourceId, Amount)| {
        resources.capacity(id).is_none_or(|most| amount <= most)
    };
    if !shape.demand.iter().all(within) || !is_allowed(tree, leaf, &shape.demand) {
        return false;
    }
    let mut known = agents.known().peekable();
    known.peek().is_none() || known.any(|agent| holds(agent, shape, resources))
}

/// Whether no `max` on the path is below the demand itself.
fn is_allowed(tree: &QueueTree, leaf: QueueId, demand: &Demand) -> bool {
    let mut next = Some(leaf);
    while let Some(queue) = next {
        let max = &tree.settings(queue).max;
        if max.iter().any(|(id, most)| demand.get(*id) > *most) {
            return false;
        }
        next = tree.parent(queue);
    }
    true
}

/// Whether an agent could ever hold a task of this shape.
pub(super) fn holds(agent: &Agent, shape: &Shape, resources: &Resources) -> bool {
    agent.meets(&shape.constraints) && n_missing(agent, shape, resources) == 0
}

/// Of how many host resources an agent has too little.
fn n_missing(agent: &Agent, shape: &Shape, resources: &Resources) -> usize {
    let host = shape.demand.iter().filter(|(id, _)| resources.is_host(*id));
    host.filter(|(id, amount)| *amount > agent.total.get(*id))
        .count()
}
