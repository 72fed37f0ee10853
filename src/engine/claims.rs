//! When a task gets a claim, when it loses it, and when it starts.
//!
//! A claim never changes whose turn it is. It is made when a task that waited beyond its patience would be
//! chosen by the policy if only it fitted: then it is not passed over again, but its agent and what it needs
//! of the cluster are kept for it as they come free. A small task that only waits for its queue's turn so
//! never gets one ahead of others.

use std::sync::Arc;

use apportion_policies::{Amount, Amounts, Choice, Offer, ResourceId, Shape, ShapeSet};

use super::decision::Launch;
use super::matching::Left;
use super::report::{ClaimReport, LaunchCause};
use super::satisfiable::holds;
use super::state::{Agent, AgentIndex, Claim, State};
use super::{Engine, Output, TaskId, Time};

/// The most choices of a policy that come to nothing, because who would be chosen can't have a claim, before
/// an agent is matched without looking at overdue tasks.
const PASSED_MAX: u32 = 8;

impl Engine {
    /// Ends claims that don't hold any more, and lets the others keep what is free. At the start of a turn.
    pub(super) fn review_claims(&mut self, now: Time) {
        let state = &mut self.state;
        state.queues.settle_patience(now);
        if state.claims.is_empty() {
            return;
        }
        let mut place = 0;
        while place < state.claims.list.len() {
            if state.holds_claim(place, now) {
                place += 1;
            }
        }
        state.keep(now);
    }

    /// Takes over who waits beyond its patience now. A guest of a cluster passes nobody over while it has no
    /// offers, and could never collect any: so there the overdue task that the policy would choose next, if
    /// everything fitted, gets a claim at once. At the end of a turn, when nothing that waits fits.
    pub(super) fn claim_overdue(&mut self, now: Time) {
        self.state.queues.settle_patience(now);
        let queues = &self.state.queues;
        let is_due = self.pace.declines() && queues.patience.any_overdue();
        if is_due && !self.state.claims.is_full() {
            self.tell_policy();
            let mut waiting = ShapeSet::default();
            let words = self.state.queues.fits.waiting();
            words.iter().for_each(|word| waiting.push_word(*word));
            let offer = Offer {
                free: self.state.queues.tree.totals(),
                fits: &waiting,
            };
            let choice = self
                .policy
                .get_mut()
                .choose(&self.state.queues.tree, &offer);
            choice.map(|choice| self.claim(now, choice));
        }
        self.state.keep(now);
    }

    /// What the policy chooses for the rest of an offer, with overdue tasks that the agent could hold as if
    /// they fitted; if one of those is chosen it gets a claim, and the policy chooses again.
    pub(super) fn choose(
        &mut self,
        now: Time,
        agent: AgentIndex,
        left: &mut Left,
    ) -> Option<Choice> {
        let mut n_passed = 0;
        loop {
            let may_claim = !left.overdue.is_empty() && !self.state.claims.is_full();
            if may_claim && n_passed < PASSED_MAX {
                left.wanted.set_union(&left.fits, &left.overdue);
            } else {
                left.wanted.clone_from(&left.fits);
            }
            let offer = Offer {
                free: &left.free,
                fits: &left.wanted,
            };
            let choice = self
                .policy
                .get_mut()
                .choose(&self.state.queues.tree, &offer)?;
            if left.fits.contains(choice.shape) {
                return Some(choice);
            }
            n_passed += 1;
            left.overdue.remove(choice.shape);
            if self.claim(now, choice) {
                self.state.keep_of(agent, left);
                let fits = &self.state.queues.fits;
                let demand = &self.state.queues.tree.shape(choice.shape).demand;
                if !fits.shrink(&left.free, demand, &mut left.fits) {
                    return None;
                }
            }
        }
    }

    /// Gives the first task of a leaf a claim, if it is overdue, of this shape, and has none.
    fn claim(&mut self, now: Time, choice: Choice) -> bool {
        let state = &mut self.state;
        let tree = &state.queues.tree;
        let overdue = state.queues.patience.overdue_first(tree, choice.leaf);
        let Some((rank, _)) = overdue.filter(|(_, shape)| *shape == choice.shape) else {
            return false;
        };
        let task = TaskId(rank.seq);
        if state.claims.has(task) {
            return false;
        }
        let group = state.queues.find_group(choice.leaf, choice.shape);
        let group = group.expect("a task that waits is of a group");
        let Some(agent) = state.best_agent(tree.shape(choice.shape)) else {
            return false;
        };
        if self.pace.declines() && state.agents.get(agent.0).is_declined() {
            self.pace.want_revival(now);
        }
        state.claims.push(now, (task, rank, group), agent);
        true
    }

    /// Starts the tasks of claims for which an agent and the cluster have enough: on their own agent, or on
    /// any other that is looked at. They go before the policy is asked.
    pub(super) fn start_claimed(
        &mut self,
        now: Time,
        agent: AgentIndex,
        left: &mut Left,
        out: &mut Output,
    ) -> Vec<Launch> {
        let mut launches = Vec::new();
        let mut place = 0;
        while place < self.state.claims.list.len() {
            if !self.state.can_start(place, agent, &left.free) {
                place += 1;
                continue;
            }
            let claim = self.state.claims.list.remove(place);
            if claim.agent != agent {
                self.state.claims.was_released = true;
                self.state.agents.touch(claim.agent);
            }
            self.state.take_for(&claim, agent, &mut left.free);
            let slot = self.state.find_live(claim.task);
            let slot = slot.expect("a task with a claim lives");
            launches.push(self.launch(now, agent, (claim.task, slot), LaunchCause::Claim, out));
        }
        if !launches.is_empty() {
            let fits = &self.state.queues.fits;
            fits.retain_held(&left.free, &mut left.fits);
        }
        launches
    }

    /// The claims, in the order in which they were made.
    #[must_use]
    pub fn claims(&self) -> Vec<ClaimReport> {
        let claims = self.state.claims.list.iter();
        claims.map(|claim| self.state.claim_report(claim)).collect()
    }
}

impl State {
    /// Whether a claim still holds. If not, it has been ended; if its agent is of no use any more, another
    /// was found for it.
    fn holds_claim(&mut self, place: usize, now: Time) -> bool {
        let claim = &self.claims.list[place];
        let (task, rank, group) = (claim.task, claim.rank, claim.group);
        let is_current = |slot| self.submissions.get(slot).group == group;
        let waits = self.find_live(task).is_some_and(is_current)
            && self.queues.get(group).ready.contains(rank);
        if !waits {
            self.end_claim(place, now);
            return false;
        }
        let (leaf, shape) = (self.queues.get(group).leaf, self.queues.get(group).shape);
        let shape = self.queues.tree.shape(shape);
        // Only a `max` of its own queues stops it: what is kept would lie idle.
        if self.queues.tree.blocking_max(leaf, &shape.demand).is_some() {
            self.end_claim(place, now);
            return false;
        }
        if self.claims.expires_at(claim).is_some_and(|at| at <= now) {
            self.end_claim(place, now);
            let waiting = |task: TaskId| self.submissions.find(task).is_some();
            self.claims.count_expired(task, waiting);
            self.queues.patience.restart(leaf, now);
            return false;
        }
        let is_there = self.agents.find(&claim.agent_name) == Some(claim.agent)
            && self.could_hold(self.agents.get(claim.agent), shape);
        if is_there {
            return true;
        }
        match self.best_agent(shape) {
            Some((agent, name)) => {
                let claim = &mut self.claims.list[place];
                (claim.agent, claim.agent_name) = (agent, name);
                true
            }
            None => {
                self.end_claim(place, now);
                false
            }
        }
    }

    fn could_hold(&self, agent: &Agent, shape: &Shape) -> bool {
        agent.is_known && holds(agent, shape, &self.resources)
    }

    /// The agent that could hold a task of this shape and where least is missing now, what other claims
    /// will take counted as taken: the least of the largest missing part over the resources. Of equal ones the
    /// first by name. Costs the agents.
    fn best_agent(&self, shape: &Shape) -> Option<(AgentIndex, Arc<str>)> {
        let mut best: Option<((u64, u64), AgentIndex)> = None;
        for (index, agent) in self.agents.iter() {
            if !self.could_hold(agent, shape) {
                continue;
            }
            let mut worst = (0, 1);
            for (id, wanted) in shape
                .demand
                .iter()
                .filter(|(id, _)| self.resources.is_host(*id))
            {
                let mut free = agent.total.get(id).saturating_sub(agent.used.get(id));
                for claim in self.claims.list.iter().filter(|claim| claim.agent == index) {
                    let shape = self.queues.get(claim.group).shape;
                    free = free.saturating_sub(self.queues.tree.shape(shape).demand.get(id));
                }
                let missing = (wanted.saturating_sub(free).milli(), wanted.milli());
                if is_less(worst, missing) {
                    worst = missing;
                }
            }
            if best.is_none_or(|(least, _)| is_less(worst, least)) {
                best = Some((worst, index));
            }
        }
        let (_, index) = best?;
        Some((index, Arc::clone(&self.agents.get(index).name)))
    }

    /// Lets the claim made last keep what is left of an offer and of the cluster, and takes it off both. It is
    /// the last in the order, so the others keep what they keep.
    fn keep_of(&mut self, agent: AgentIndex, left: &mut Left) {
        let mut claims = std::mem::take(&mut self.claims.list);
        if let Some(claim) = claims.last_mut() {
            let shape = self.queues.get(claim.group).shape;
            for (id, wanted) in self.queues.tree.shape(shape).demand.iter() {
                if claim.agent == agent || !self.resources.is_host(id) {
                    let kept = wanted.min(left.free.get(id));
                    claim.kept.set(id, kept);
                    left.free.set(id, left.free.get(id).saturating_sub(kept));
                }
            }
        }
        self.claims.list = claims;
    }

    /// Whether the task of a claim can start on an agent with what it keeps and what is left.
    fn can_start(&self, place: usize, agent: AgentIndex, left: &Amounts) -> bool {
        let claim = &self.claims.list[place];
        let group = self.queues.get(claim.group);
        let shape = self.queues.tree.shape(group.shape);
        let has_enough = |(id, wanted): (ResourceId, Amount)| {
            let is_kept = claim.agent == agent || !self.resources.is_host(id);
            let kept = claim.kept.get(id);
            let own = if is_kept { kept } else { Amount::ZERO };
            left.get(id).saturating_add(own) >= wanted
        };
        self.agents.get(agent).meets(&shape.constraints)
            && shape.demand.iter().all(has_enough)
            && self
                .queues
                .tree
                .blocking_max(group.leaf, &shape.demand)
                .is_none()
    }

    /// Takes what a claim's task needs beyond what was kept for it off what is left.
    fn take_for(&self, claim: &Claim, agent: AgentIndex, left: &mut Amounts) {
        let shape = self.queues.get(claim.group).shape;
        for (id, wanted) in self.queues.tree.shape(shape).demand.iter() {
            let is_kept = claim.agent == agent || !self.resources.is_host(id);
            let own = if is_kept {
                claim.kept.get(id)
            } else {
                Amount::ZERO
            };
            let kept_too_much = own.saturating_sub(wanted);
            let rest = left.get(id).saturating_add(kept_too_much);
            left.set(id, rest.saturating_sub(wanted.saturating_sub(own)));
        }
    }

    fn claim_report(&self, claim: &Claim) -> ClaimReport {
        let group = self.queues.get(claim.group);
        let demand = &self.queues.tree.shape(group.shape).demand;
        let by_name = |amount: &dyn Fn(ResourceId, Amount) -> Amount| {
            let pairs = demand.iter();
            pairs
                .map(|(id, wanted)| (Arc::clone(self.resources.name(id)), amount(id, wanted)))
                .filter(|(_, amount)| !amount.is_zero())
                .collect()
        };
        ClaimReport {
            task: claim.task,
            queue: Arc::clone(self.queues.tree.path(group.leaf)),
            agent: Arc::clone(&claim.agent_name),
            kept: by_name(&|id, _| claim.kept.get(id)),
            missing: by_name(&|id, wanted| wanted.saturating_sub(claim.kept.get(id))),
            made_at: claim.made_at,
            expires_at: self.claims.expires_at(claim),
        }
    }

    /// The claim of a task.
    pub(super) fn find_claim(&self, task: TaskId) -> Option<ClaimReport> {
        let claim = self.claims.list.iter().find(|claim| claim.task == task)?;
        Some(self.claim_report(claim))
    }

    /// The overdue shapes that don't fit an agent's offer, but that it could hold if nothing ran there.
    pub(super) fn fill_overdue(&self, agent: AgentIndex, left: &mut Left) {
        left.overdue.clear();
        let overdue = self.queues.patience.overdue_shapes();
        if self.claims.is_full() || overdue.is_empty() || left.fits.is_empty() {
            return;
        }
        let agent = self.agents.get(agent);
        let mut total = agent.total.clone();
        for id in self.resources.shared() {
            total.set(*id, Amount::MAX);
        }
        let meets = |shape| agent.meets(&self.queues.tree.shape(shape).constraints);
        let fits = &self.queues.fits;
        fits.fitting(overdue.words(), &total, meets, &mut left.overdue);
        let words = left.overdue.words_mut().iter_mut().zip(left.fits.words());
        words.for_each(|(overdue, fits)| *overdue &= !fits);
    }
}

/// Whether one fraction is less than another; denominators are above zero.
fn is_less(one: (u64, u64), other: (u64, u64)) -> bool {
    u128::from(one.0) * u128::from(other.1) < u128::from(other.0) * u128::from(one.1)
}

#[cfg(test)]
mod tests {
    use super::is_less;

    #[test]
    fn fractions_are_compared_by_their_value() {
        assert!(is_less((1, 2), (3, 5)));
        assert!(!is_less((3, 5), (1, 2)));
        assert!(!is_less((1, 2), (2, 4)));
    }
}
