//! Claims: an agent and cluster resources, kept for a task that waited beyond its patience.
//!
//! A claim takes nothing from anyone. It keeps, of what is free anyway, as much as its task demands; so it
//! grows as things come free, and nothing is counted that isn't there. Claims are in the order in which they
//! were made, and each keeps only what those before it leave: the first is never kept from anything by a
//! later one, so they can't block one another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::{Amount, Amounts, TaskRank};

use super::super::settings::{ClaimSettings, Deadline};
use super::super::spec::TaskId;
use super::super::time::Time;
use super::State;
use super::agents::AgentIndex;
use super::queues::GroupId;

/// What is kept for one task.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Whose.
    pub(crate) task: TaskId,
    /// Its rank in its queue.
    pub(crate) rank: TaskRank,
    /// Its leaf and shape.
    pub(crate) group: GroupId,
    /// Where it will run.
    pub(crate) agent: AgentIndex,
    /// The agent's name; its place may be used again.
    pub(crate) agent_name: Arc<str>,
    /// When it was made.
    pub(crate) made_at: Time,
    /// When something came free for it last.
    renewed_at: Time,
    /// How many claims of the task were given up before.
    n_expired: u32,
    /// What it keeps, of its agent and of the cluster.
    pub(crate) kept: Amounts,
    /// The most that it ever kept.
    most: Amounts,
}

/// All claims, in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    pub(crate) list: Vec<Claim>,
    settings: ClaimSettings,
    /// How many claims of a task were given up; of tasks that still wait.
    n_expired: BTreeMap<TaskId, u32>,
    /// What all of them keep of cluster resources.
    kept_of_cluster: Amounts,
    /// Whether one went, so that others may have what it kept.
    pub(crate) was_released: bool,
}

impl Claims {
    pub(crate) fn new(settings: ClaimSettings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// Other settings; claims that are there stay.
    pub(crate) fn reload(&mut self, settings: ClaimSettings) {
        self.settings = settings;
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether there are as many as there may be.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= self.settings.max as usize
    }

    /// Whether a claim is on this agent, so that its offers are to be held.
    pub(crate) fn keeps(&self, agent: AgentIndex) -> bool {
        self.list.iter().any(|claim| claim.agent == agent)
    }

    /// Whether this task has one.
    pub(crate) fn has(&self, task: TaskId) -> bool {
        self.list.iter().any(|claim| claim.task == task)
    }

    /// What others may not use of an agent is taken off `free`, and of the cluster.
    pub(crate) fn take_off(
        &self,
        agent: AgentIndex,
        is_host: impl Fn(usize) -> bool,
        free: &mut Amounts,
    ) {
        for claim in self.list.iter().filter(|claim| claim.agent == agent) {
            for (id, kept) in claim.kept.iter().filter(|(id, _)| is_host(id.index())) {
                if !kept.is_zero() {
                    free.set(id, free.get(id).saturating_sub(kept));
                }
            }
        }
    }

    /// What all claims keep of cluster resources.
    pub(crate) fn kept_of_cluster(&self) -> &Amounts {
        &self.kept_of_cluster
    }

    /// One more, as the last.
    pub(crate) fn push(
        &mut self,
        now: Time,
        (task, rank, group): (TaskId, TaskRank, GroupId),
        (agent, agent_name): (AgentIndex, Arc<str>),
    ) {
        self.list.push(Claim {
            task,
            rank,
            group,
            agent,
            agent_name,
            made_at: now,
            renewed_at: now,
            n_expired: self.n_expired.get(&task).copied().unwrap_or(0),
            kept: Amounts::default(),
            most: Amounts::default(),
        });
    }

    /// When a claim is given up if nothing more comes free for it.
    pub(crate) fn expires_at(&self, claim: &Claim) -> Option<Time> {
        let Deadline::After(span) = self.settings.expiry else {
            return None;
        };
        let doubled = span.checked_mul(1_u32.checked_shl(claim.n_expired).unwrap_or(u32::MAX));
        Some(claim.renewed_at.after(doubled.unwrap_or(Duration::MAX)))
    }

    /// When the first one expires.
    pub(crate) fn next(&self) -> Option<Time> {
        self.list
            .iter()
            .filter_map(|claim| self.expires_at(claim))
            .min()
    }

    /// Remembers that a claim of a task expired; of tasks that don't wait any more nothing is remembered.
    pub(crate) fn count_expired(&mut self, task: TaskId, waits: impl Fn(TaskId) -> bool) {
        *self.n_expired.entry(task).or_insert(0) += 1;
        self.n_expired.retain(|task, _| waits(*task));
    }
}

impl State {
    /// Lets each claim keep, in their order, what is free of what its task demands.
    pub(crate) fn keep(&mut self, now: Time) {
        if self.claims.list.is_empty() {
            self.claims.kept_of_cluster.reset(0);
            return;
        }
        let mut claims = std::mem::take(&mut self.claims.list);
        let mut of_cluster = Amounts::zero(self.resources.len());
        for place in 0..claims.len() {
            let (before, rest) = claims.split_at_mut(place);
            let claim = &mut rest[0];
            let mut free = Amounts::zero(self.resources.len());
            // Of those whose agent is gone one ends after the other; till then the rest keeps nothing of it.
            if self.agents.find(&claim.agent_name) == Some(claim.agent) {
                self.agents.free_of(claim.agent, &self.resources, &mut free);
            }
            let shape = self.queues.get(claim.group).shape;
            let mut kept = Amounts::zero(self.resources.len());
            for (id, wanted) in self.queues.tree.shape(shape).demand.iter() {
                let have = if self.resources.is_host(id) {
                    let others = before.iter().filter(|other| other.agent == claim.agent);
                    let others = others.map(|other| other.kept.get(id));
                    others.fold(free.get(id), Amount::saturating_sub)
                } else {
                    self.unused(id).saturating_sub(of_cluster.get(id))
                };
                kept.set(id, wanted.min(have));
                if !self.resources.is_host(id) {
                    of_cluster.set(id, of_cluster.get(id).saturating_add(kept.get(id)));
                }
                if kept.get(id) > claim.most.get(id) {
                    claim.most.set(id, kept.get(id));
                    claim.renewed_at = now;
                }
            }
            claim.kept = kept;
        }
        self.claims.list = claims;
        self.claims.kept_of_cluster = of_cluster;
    }

    /// Ends a claim: what it kept may be used by others, or was used by its task.
    pub(crate) fn end_claim(&mut self, place: usize, now: Time) -> Claim {
        let claim = self.claims.list.remove(place);
        self.claims.was_released = true;
        if self.agents.find(&claim.agent_name) == Some(claim.agent) {
            self.agents.touch(claim.agent);
        }
        for id in self.resources.shared() {
            self.queues.widened.resource(*id);
        }
        self.keep(now);
        claim
    }
}
