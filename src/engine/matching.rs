//! Matching: offers taken one after the other, each until nothing can go.

use std::sync::Arc;

use apportion_policies::{Amount, Amounts, Offer, QueueId, ResourceId, ShapeId, ShapeSet};

use super::decision::Launch;
use super::state::{AgentIndex, GroupId, Slot, State};
use super::{AttemptId, Decision, Engine, Fact, Output, Scope, TaskId, Time};

/// What is left of an offer.
#[derive(Debug, Default)]
struct Left {
    free: Amounts,
    fits: ShapeSet,
}

impl Engine {
    /// Matches waiting tasks with the offers at hand, until nothing can go. An agent where nothing could
    /// go before, and that hasn't changed, is asked only about shapes for which something came free
    /// elsewhere.
    pub(super) fn match_offers(&mut self, now: Time, out: &mut Output) {
        self.refresh();
        let widened = std::mem::take(&mut self.state.queues.widened);
        let mut among = self.state.queues.fits.widened(&widened);
        let any_widened = self.state.retain_by_cluster(&mut among);
        let mut left = Left::default();
        let touched = self.state.take_touched(&mut left.free);
        let hopeful = if any_widened {
            self.state.agents.hopeful(&among)
        } else {
            Vec::new()
        };
        for (agent, has_changed) in merge(touched, hopeful) {
            let fits = &self.state.queues.fits;
            if fits.is_idle() {
                break;
            }
            let asked = if has_changed { fits.waiting() } else { &among };
            self.state
                .fill_offer(agent, asked, &mut left.free, &mut left.fits);
            if self.match_agent(now, agent, &mut left, out) && any_widened {
                self.state.retain_by_cluster(&mut among);
            }
        }
        self.tell_policy();
    }

    /// Launches on one agent until nothing can go. False if nothing could.
    fn match_agent(
        &mut self,
        now: Time,
        agent: AgentIndex,
        left: &mut Left,
        out: &mut Output,
    ) -> bool {
        let mut launches = Vec::new();
        while !left.fits.is_empty() {
            self.tell_policy();
            let offer = Offer {
                free: &left.free,
                fits: &left.fits,
            };
            let Some(choice) = self.policy.choose(&self.state.queues.tree, &offer) else {
                break;
            };
            out.n_decided += 1;
            launches.push(self.launch(now, agent, choice.leaf, choice.shape, out));
            let state = &self.state;
            let demand = &state.queues.tree.shape(choice.shape).demand;
            left.free.subtract(demand);
            if !state.queues.fits.shrink(&left.free, demand, &mut left.fits) {
                break;
            }
        }
        if launches.is_empty() {
            return false;
        }
        let offers = self.state.agents.drop_offers(agent);
        let agent = Arc::clone(&self.state.agents.get(agent).name);
        out.decisions.push(Decision::Accept {
            agent,
            offers,
            launches,
        });
        true
    }

    /// Launches the first ready task of a leaf and shape.
    fn launch(
        &mut self,
        now: Time,
        agent: AgentIndex,
        leaf: QueueId,
        shape: ShapeId,
        out: &mut Output,
    ) -> Launch {
        let (task, slot) = self.state.first_ready(leaf, shape);
        let record = self.state.submissions.get(slot);
        let submission = Arc::clone(&record.submission);
        let live = self.state.live.get(&task);
        let ready_since = live.map_or(record.ready_since, |live| live.ready_since);
        let number = live.map_or(0, |live| live.n_attempts) + 1;
        let attempt = AttemptId { task, number };
        let agent_name = Arc::clone(&self.state.agents.get(agent).name);
        // The same as applying the fact, without looking the submission up by its id.
        self.state.launched(attempt, slot, &agent_name, now);
        if cfg!(debug_assertions) {
            self.state
                .check_launch(agent, self.state.attempts[&attempt].group);
        }
        out.facts.push(Fact::Launched {
            attempt,
            agent: agent_name,
            queue: Arc::clone(&submission.spec.queue),
            waited: now.since(ready_since),
            at: now,
        });
        Launch {
            attempt,
            submission,
        }
    }

    /// Tells the policy which leaves changed.
    fn tell_policy(&mut self) {
        while let Some(leaf) = self.state.queues.next_changed() {
            self.policy.changed(&self.state.queues.tree, leaf);
        }
    }
}

/// All agents in the order of their first offer, each once, with whether it is of the first list.
fn merge(
    touched: Vec<(u64, AgentIndex)>,
    hopeful: Vec<(u64, AgentIndex)>,
) -> Vec<(AgentIndex, bool)> {
    let mut merged: Vec<(u64, AgentIndex, bool)> =
        Vec::with_capacity(touched.len() + hopeful.len());
    let is_touched = |order: u64| {
        touched
            .binary_search_by_key(&order, |(order, _)| *order)
            .is_ok()
    };
    let others = hopeful.into_iter().filter(|(order, _)| !is_touched(*order));
    merged.extend(others.map(|(order, agent)| (order, agent, false)));
    merged.extend(touched.iter().map(|(order, agent)| (*order, *agent, true)));
    merged.sort_unstable();
    merged
        .into_iter()
        .map(|(_, agent, has_changed)| (agent, has_changed))
        .collect()
}

impl State {
    /// The agents with offers that changed, in the order of their first offer; what their offers may hold
    /// is noted anew, and that of all agents where shapes are new. `free` is room to work in.
    fn take_touched(&mut self, free: &mut Amounts) -> Vec<(u64, AgentIndex)> {
        let touched = self.agents.take_touched();
        let resources = self.resources.iter().map(|(id, _)| id);
        let host: Vec<ResourceId> = resources.filter(|id| self.resources.is_host(*id)).collect();
        let noted: Vec<AgentIndex> = if self.queues.fits.take_new_rows() {
            self.agents.offering().collect()
        } else {
            touched.iter().map(|(_, agent)| *agent).collect()
        };
        for agent in noted {
            *free = Amounts::zero(self.resources.len());
            self.agents.free_of(agent, &self.resources, free);
            let held = self.queues.fits.held(free, &host);
            self.agents.set_hopes(agent, &held);
        }
        touched
    }

    /// What may be consumed of an agent's offers now, and which of the shapes asked about fit it.
    pub(super) fn fill_offer(
        &self,
        agent: AgentIndex,
        asked: &[u64],
        free: &mut Amounts,
        fits: &mut ShapeSet,
    ) {
        *free = Amounts::zero(self.resources.len());
        self.agents.free_of(agent, &self.resources, free);
        self.fill_cluster_free(free);
        let agent = self.agents.get(agent);
        let meets = |shape: ShapeId| agent.meets(&self.queues.tree.shape(shape).constraints);
        self.queues.fits.fitting(asked, free, meets, fits);
    }

    /// Keeps of these shapes those that wait and for which enough is free of the cluster's resources.
    /// False if none is left.
    fn retain_by_cluster(&self, among: &mut [u64]) -> bool {
        let mut free = Amounts::zero(self.resources.len());
        self.fill_cluster_free(&mut free);
        let resources = self.resources.iter().map(|(id, _)| id);
        let shared: Vec<ResourceId> = resources
            .filter(|id| !self.resources.is_host(*id))
            .collect();
        self.queues.fits.retain(among, &free, &shared)
    }

    /// Sets what is free of the cluster's resources: what neither others nor live attempts use. Also
    /// holds the sum of all that is in use within what an amount can say.
    fn fill_cluster_free(&self, free: &mut Amounts) {
        let used = self.queues.tree.used(self.queues.tree.root());
        for (id, resource) in self.resources.iter() {
            let used = used.get(id);
            match resource.scope {
                Scope::Host => free.set(id, free.get(id).min(Amount::MAX.saturating_sub(used))),
                Scope::Cluster { capacity } => {
                    free.set(
                        id,
                        capacity
                            .saturating_sub(resource.outside)
                            .saturating_sub(used),
                    );
                }
            }
        }
    }

    /// The ready task of a leaf and shape that goes first.
    ///
    /// # Panics
    /// If there is none: a policy chooses among those that the tree shows.
    fn first_ready(&self, leaf: QueueId, shape: ShapeId) -> (TaskId, Slot) {
        let group: Option<GroupId> = self.queues.find_group(leaf, shape);
        let first = group.and_then(|group| self.queues.get(group).ready.first());
        let (rank, slot) = first.expect("a policy chooses a shape that waits in the leaf");
        (TaskId(rank.seq), slot)
    }
}
