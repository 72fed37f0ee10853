//! Matching: offers taken one after the other, each until nothing can go.

use std::sync::Arc;

use apportion_policies::{Amount, Amounts, Offer, QueueId, ResourceId, ShapeId, ShapeSet};

use super::decision::Launch;
use super::report::{ChoiceReport, LaunchCause};
use super::state::{AgentIndex, GroupId, Slot, State, Widened};
use super::{AttemptId, Decision, Engine, Fact, Output, TaskId, Time};

/// What is left of an offer.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) free: Amounts,
    pub(super) fits: ShapeSet,
    /// Shapes that don't fit, but of which a task waited beyond its patience.
    pub(super) overdue: ShapeSet,
    /// Room for both together.
    pub(super) wanted: ShapeSet,
}

impl Left {
    /// The offer about which the policy was asked for the choice at hand; see [`Engine::choose`].
    pub(super) fn asked(&self) -> Offer<'_> {
        Offer {
            free: &self.free,
            fits: &self.wanted,
        }
    }
}

/// Room to match in, kept from turn to turn: a turn is short, and should not spend its time on memory.
#[derive(Debug, Default)]
pub(super) struct Room {
    widened: Widened,
    /// The shapes that agents that haven't changed are asked about.
    among: Vec<u64>,
    cluster_free: Amounts,
    held: Vec<u64>,
    touched: Vec<(u64, AgentIndex)>,
    agents: Vec<(u64, AgentIndex, bool)>,
    hopeful: Vec<(u64, AgentIndex)>,
    left: Left,
}

impl Engine {
    /// Matches waiting tasks with the offers at hand, until nothing can go. An agent where nothing could
    /// go before, and that hasn't changed, is asked only about shapes for which something came free
    /// elsewhere.
    pub(super) fn match_offers(&mut self, now: Time, out: &mut Output) {
        self.refresh();
        self.review_claims(now);
        let mut room = std::mem::take(&mut self.room);
        loop {
            self.state.claims.was_released = false;
            self.match_in(now, &mut room, out);
            // What a claim kept elsewhere may be used now that its task runs.
            if !self.state.claims.was_released {
                break;
            }
        }
        self.room = room;
        self.claim_overdue(now);
        self.tell_policy();
    }

    fn match_in(&mut self, now: Time, room: &mut Room, out: &mut Output) {
        room.widened.clear();
        std::mem::swap(&mut self.state.queues.widened, &mut room.widened);
        self.state.agents.take_touched(&mut room.touched);
        if self.state.queues.fits.take_new_rows() {
            self.state.note_all_hopes(room);
        }
        let fits = &self.state.queues.fits;
        fits.widened(&room.widened, &mut room.among);
        let any_widened = self.state.retain_by_cluster(room);
        room.hopeful.clear();
        if any_widened {
            self.state
                .agents
                .add_hopeful(&room.among, &mut room.hopeful);
        }
        merge(room);
        let claims = self.state.claims.list.iter();
        room.agents
            .splice(0..0, claims.map(|claim| (0, claim.agent, true)));
        for place in 0..room.agents.len() {
            let (_, agent, has_changed) = room.agents[place];
            let fits = &self.state.queues.fits;
            if fits.is_idle() {
                break;
            }
            let asked = if has_changed {
                fits.waiting()
            } else {
                &room.among
            };
            // The agent of a claim stands in the list twice.
            if !self.state.agents.get(agent).is_offering() {
                continue;
            }
            let is_declined = self.state.agents.get(agent).is_declined();
            if is_declined && self.pace.wants_revival() {
                continue;
            }
            let left = &mut room.left;
            self.state
                .fill_offer(agent, asked, &mut left.free, &mut left.fits);
            if is_declined {
                self.consider_declined(now, left);
                continue;
            }
            let has_changed = self.match_agent(now, agent, left, out);
            if has_changed {
                self.state.keep(now);
            }
            if has_changed && any_widened {
                self.state.retain_by_cluster(room);
            }
        }
        self.state.note_hopes_of_touched(room);
    }

    /// Looks whether something that waits could go on what an agent offered and was declined.
    fn consider_declined(&mut self, now: Time, left: &Left) {
        if left.fits.is_empty() {
            return;
        }
        self.tell_policy();
        let offer = Offer {
            free: &left.free,
            fits: &left.fits,
        };
        let choice = self
            .policy
            .get_mut()
            .choose(&self.state.queues.tree, &offer);
        if choice.is_some() {
            self.pace.want_revival(now);
        }
    }

    /// Launches on one agent until nothing can go. False if nothing could, and no claim was made.
    fn match_agent(
        &mut self,
        now: Time,
        agent: AgentIndex,
        left: &mut Left,
        out: &mut Output,
    ) -> bool {
        let n_claims = self.state.claims.list.len();
        let mut launches = if n_claims > 0 {
            self.start_claimed(now, agent, left, out)
        } else {
            Vec::new()
        };
        self.state.fill_overdue(agent, left);
        while !left.fits.is_empty() {
            self.tell_policy();
            let Some(choice) = self.choose(now, agent, left) else {
                break;
            };
            out.n_decided += 1;
            let (task, slot) = self.state.first_ready(choice.leaf, choice.shape);
            let steps = self.logged_steps(left, choice);
            let cause = LaunchCause::Turn(self.keys(left, choice));
            let launch = self.launch(now, agent, (task, slot), cause, out);
            let attempt = launch.attempt;
            out.choices.extend(steps.map(|steps| ChoiceReport {
                attempt,
                queue: Arc::clone(&launch.submission.spec.queue),
                agent: Arc::clone(&self.state.agents.get(agent).name),
                free: self.state.resources.by_name(&left.free, |_| true),
                steps,
            }));
            launches.push(launch);
            let state = &self.state;
            let demand = &state.queues.tree.shape(choice.shape).demand;
            left.free.subtract(demand);
            if !state.queues.fits.shrink(&left.free, demand, &mut left.fits) {
                break;
            }
        }
        if launches.is_empty() {
            return self.state.claims.list.len() != n_claims;
        }
        let offers = self.state.agents.drop_offers(agent);
        if self.pace.declines() {
            // What the launches leave is not offered again soon, as if it were declined.
            self.state.agents.remember_declined(agent, &left.free);
            if self.state.claims.keeps(agent) {
                self.pace.want_revival(now);
            }
        }
        let agent = Arc::clone(&self.state.agents.get(agent).name);
        out.decisions.push(Decision::Accept {
            agent,
            offers,
            launches,
        });
        true
    }

    /// Launches a ready task of this submission.
    pub(super) fn launch(
        &mut self,
        now: Time,
        agent: AgentIndex,
        (task, slot): (TaskId, Slot),
        cause: LaunchCause,
        out: &mut Output,
    ) -> Launch {
        let record = self.state.submissions.get(slot);
        let submission = Arc::clone(&record.submission);
        let live = self.state.live.get(&task);
        let ready_since = live.map_or(record.ready_since, |live| live.ready_since);
        let number = live.map_or(0, |live| live.n_attempts) + 1;
        let attempt = AttemptId { task, number };
        let agent_name = Arc::clone(&self.state.agents.get(agent).name);
        // The same as applying the fact, without looking submission and agent up.
        self.state.launched(attempt, slot, agent, now, cause);
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
    pub(super) fn tell_policy(&mut self) {
        while let Some(leaf) = self.state.queues.next_changed() {
            self.policy.get_mut().changed(&self.state.queues.tree, leaf);
        }
    }
}

/// Lists all agents to look at in the order of their first offer, each once, with whether it is one of
/// those touched.
fn merge(room: &mut Room) {
    let Room {
        touched,
        hopeful,
        agents,
        ..
    } = room;
    agents.clear();
    hopeful.sort_unstable();
    hopeful.dedup();
    let mut changed = touched.iter().copied().peekable();
    for (order, agent) in hopeful.iter().copied() {
        while let Some((order, agent)) = changed.next_if(|(earlier, _)| *earlier < order) {
            agents.push((order, agent, true));
        }
        if changed.peek().is_none_or(|(other, _)| *other != order) {
            agents.push((order, agent, false));
        }
    }
    agents.extend(changed.map(|(order, agent)| (order, agent, true)));
}

impl State {
    /// Shapes are new: notes of all agents with offers what those may hold.
    fn note_all_hopes(&mut self, room: &mut Room) {
        let offering: Vec<AgentIndex> = self.agents.offering().collect();
        for agent in offering {
            self.note_hopes(agent, &mut room.left.free, &mut room.held);
        }
    }

    /// Notes what the offers may hold that are left of the agents that had changed, for the turns to come.
    fn note_hopes_of_touched(&mut self, room: &mut Room) {
        for (_, agent) in &room.touched {
            if self.agents.get(*agent).is_offering() {
                self.note_hopes(*agent, &mut room.left.free, &mut room.held);
            }
        }
    }

    /// Notes which shapes an agent's offers may hold.
    fn note_hopes(&mut self, agent: AgentIndex, free: &mut Amounts, held: &mut Vec<u64>) {
        free.reset(self.resources.len());
        self.agents.free_of(agent, &self.resources, free);
        self.queues.fits.held(free, self.resources.host(), held);
        self.agents.set_hopes(agent, held);
    }

    /// What may be consumed of an agent's offers now.
    pub(super) fn fill_free(&self, agent: AgentIndex, free: &mut Amounts) {
        free.reset(self.resources.len());
        self.agents.free_of(agent, &self.resources, free);
        if !self.claims.is_empty() {
            let is_host = |id| self.resources.is_host(ResourceId::new(id));
            self.claims.take_off(agent, is_host, free);
        }
        self.fill_cluster_free(free);
    }

    /// What may be consumed of an agent's offers now, and which of the shapes asked about fit it.
    pub(super) fn fill_offer(
        &self,
        agent: AgentIndex,
        asked: &[u64],
        free: &mut Amounts,
        fits: &mut ShapeSet,
    ) {
        self.fill_free(agent, free);
        let agent = self.agents.get(agent);
        let meets = |shape: ShapeId| agent.meets(&self.queues.tree.shape(shape).constraints);
        self.queues.fits.fitting(asked, free, meets, fits);
    }

    /// Keeps of the shapes asked about those that wait and for which enough is free of the cluster's
    /// resources. False if none is left.
    fn retain_by_cluster(&self, room: &mut Room) -> bool {
        if room.among.iter().all(|word| *word == 0) {
            return false;
        }
        room.cluster_free.reset(self.resources.len());
        self.fill_cluster_free(&mut room.cluster_free);
        let shared = self.resources.shared();
        let (among, free) = (&mut room.among, &room.cluster_free);
        self.queues.fits.retain(among, free, shared)
    }

    /// What of a cluster resource neither others nor live attempts use.
    pub(super) fn unused(&self, id: ResourceId) -> Amount {
        let used = self.queues.tree.used(self.queues.tree.root()).get(id);
        let capacity = self.resources.capacity(id).unwrap_or(Amount::ZERO);
        let outside = self.resources.get(id).outside;
        capacity.saturating_sub(outside).saturating_sub(used)
    }

    /// Sets what is free of the cluster's resources: what neither others nor live attempts use, nor a claim
    /// keeps. Also holds the sum of all that is in use within what an amount can say. `free` has room for all
    /// resources.
    fn fill_cluster_free(&self, free: &mut Amounts) {
        let used = self.queues.tree.used(self.queues.tree.root());
        let free = free.as_mut_slice();
        for id in self.resources.host() {
            let free = &mut free[id.index()];
            *free = (*free).min(Amount::MAX.saturating_sub(used.get(*id)));
        }
        let kept = self.claims.kept_of_cluster();
        for id in self.resources.shared() {
            free[id.index()] = self.unused(*id).saturating_sub(kept.get(*id));
        }
    }

    /// The ready task of a leaf and shape that goes first.
    ///
    /// # Panics
    /// If there is none: a policy chooses among those that the tree shows.
    pub(super) fn first_ready(&self, leaf: QueueId, shape: ShapeId) -> (TaskId, Slot) {
        let group: Option<GroupId> = self.queues.find_group(leaf, shape);
        let first = group.and_then(|group| self.queues.get(group).ready.first());
        let (rank, slot) = first.expect("a policy chooses a shape that waits in the leaf");
        (TaskId(rank.seq), slot)
    }
}
