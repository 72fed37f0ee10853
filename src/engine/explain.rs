//! Why a task stands where it does.

use std::collections::BTreeSet;
use std::sync::Arc;

use apportion_policies::{Amount, Amounts, Shape, TaskRank};

use super::report::{Explanation, LiveReport, WaitReason};
use super::state::{Agent, AgentIndex, Claim, Group, Phase, Slot, State};
use super::{Engine, TaskId, TaskState};

/// How many tasks are named where there may be many.
const LISTED_MAX: usize = 10;

impl Engine {
    /// Where a live task stands, and what it waits for; `None` if it has ended or isn't known. Costs the
    /// ranges of waiting tasks that go before it in its leaf, and the agents.
    #[must_use]
    pub fn explain(&self, task: TaskId) -> Option<Explanation> {
        let slot = self.state.find_live(task)?;
        let record = self.state.submissions.get(slot);
        let group = self.state.queues.get(record.group);
        let state = self.state.state_in(task, slot);
        let (n_ahead, ahead) = match state {
            TaskState::Waiting | TaskState::Queued => self.state.ahead(group, record.rank(task)),
            TaskState::Launching
            | TaskState::Running
            | TaskState::Cancelling
            | TaskState::Succeeded
            | TaskState::Failed
            | TaskState::Cancelled => (0, Vec::new()),
        };
        let live = self.state.live.get(&task);
        let attempts = live.map_or_else(Vec::new, |live| live.attempts(task));
        let attempts = attempts.into_iter().map(|attempt| {
            let record = &self.state.attempts[&attempt];
            let live = live.filter(|live| live.current == Some(attempt.number));
            LiveReport {
                attempt,
                agent: Arc::clone(&self.state.agents.get(record.agent).name),
                launched_at: record.launched_at,
                waited: live.map(|live| record.launched_at.since(live.ready_since)),
                cause: record.cause.clone(),
                way: self.way_to(self.state.queues.get(record.group).leaf),
            }
        });
        let shape = self.state.queues.tree.shape(group.shape);
        let is_queued = state == TaskState::Queued;
        let could_run = is_queued && self.state.find_never_fits(group.leaf, shape).is_none();
        Some(Explanation {
            task,
            state,
            queue: Arc::clone(&record.submission.spec.queue),
            n_ahead,
            ahead,
            reasons: self.state.reasons(task, slot, group),
            offers: is_queued.then(|| self.state.offers_seen(task, group, shape)),
            course: could_run.then(|| self.course(group)).flatten(),
            attempts: attempts.collect(),
        })
    }
}

impl State {
    /// How many ready tasks of the leaf go before this rank, and the first of them.
    fn ahead(&self, group: &Group, rank: TaskRank) -> (u64, Vec<TaskId>) {
        let mut n_ahead = 0;
        let mut ahead: Vec<TaskRank> = Vec::new();
        for other in self.queues.groups_of(group.leaf) {
            n_ahead += other.ready.n_before(rank);
            ahead.extend(other.ready.before(rank, LISTED_MAX));
        }
        ahead.sort_unstable();
        let ahead = ahead.into_iter().take(LISTED_MAX);
        (n_ahead, ahead.map(|rank| TaskId(rank.seq)).collect())
    }

    fn reasons(&self, task: TaskId, slot: Slot, group: &Group) -> Vec<WaitReason> {
        let shape = self.queues.tree.shape(group.shape);
        let live = self.live.get(&task);
        match self.state_in(task, slot) {
            TaskState::Waiting => {
                let mut reasons = vec![self.after(slot)];
                reasons.extend(self.find_never_fits(group.leaf, shape));
                reasons
            }
            TaskState::Queued => {
                if let Some(never) = self.find_never_fits(group.leaf, shape) {
                    return vec![never];
                }
                let mut reasons = Vec::new();
                if let Some(Phase::Paused { until }) = live.map(|live| &live.phase) {
                    reasons.push(WaitReason::Pause { until: *until });
                }
                reasons.extend(self.find_claim(task).map(WaitReason::Claim));
                reasons.extend(self.lacking(task, group, shape));
                if reasons.len() > 1 {
                    // Whether something is on offer now is of interest once it could be used.
                    reasons.retain(|reason| *reason != WaitReason::NoOffer);
                }
                if reasons.is_empty() {
                    reasons.push(WaitReason::OthersFirst);
                }
                reasons
            }
            TaskState::Launching
            | TaskState::Running
            | TaskState::Cancelling
            | TaskState::Succeeded
            | TaskState::Failed
            | TaskState::Cancelled => Vec::new(),
        }
    }

    /// What a waiting submission waits for.
    fn after(&self, slot: Slot) -> WaitReason {
        let mut n_left = 0;
        let mut tasks = Vec::new();
        for dependency in &self.submissions.get(slot).submission.after {
            let n_here = self.n_left(*dependency);
            n_left += u64::from(n_here);
            let ids = dependency.first.0..dependency.first.0 + u64::from(dependency.count);
            let left = ids
                .map(TaskId)
                .filter(|task| self.find_live(*task).is_some());
            let n_wanted = LISTED_MAX.saturating_sub(tasks.len()).min(n_here as usize);
            tasks.extend(left.take(n_wanted));
        }
        WaitReason::After { n_left, tasks }
    }

    /// What keeps a queued task from running now, beside others that go first.
    fn lacking(&self, task: TaskId, group: &Group, shape: &Shape) -> Vec<WaitReason> {
        let mut reasons = Vec::new();
        if self.agents.known().next().is_none() {
            reasons.push(WaitReason::NoAgents);
        }
        reasons.extend(self.limits_in_the_way(group, shape));
        let mut in_the_way: BTreeSet<usize> = BTreeSet::new();
        for (id, demand) in shape.demand.iter() {
            if self.resources.is_host(id) {
                continue;
            }
            let free = self.unused(id);
            if demand > free {
                reasons.push(WaitReason::Lacks {
                    resource: Arc::clone(self.resources.name(id)),
                    demand,
                    free,
                    agent: None,
                });
                continue;
            }
            let others = self.claims_of_others(task, |claim| claim.kept.get(id));
            let kept = others.iter().map(|(_, kept)| *kept);
            if demand > kept.fold(free, Amount::saturating_sub) {
                in_the_way.extend(others.iter().map(|(place, _)| *place));
            }
        }
        reasons.extend(self.lacking_on_agents(task, shape, &mut in_the_way));
        reasons.extend(in_the_way.into_iter().map(|place| self.kept_for(place)));
        reasons
    }

    /// The claims of others that keep some of what `kept` tells, by their places.
    fn claims_of_others(
        &self,
        task: TaskId,
        kept: impl Fn(&Claim) -> Amount,
    ) -> Vec<(usize, Amount)> {
        let claims = self.claims.list.iter().enumerate();
        let others = claims.filter(|(_, claim)| claim.task != task);
        let kept = others.map(|(place, claim)| (place, kept(claim)));
        kept.filter(|(_, kept)| !kept.is_zero()).collect()
    }

    fn kept_for(&self, place: usize) -> WaitReason {
        let claim = &self.claims.list[place];
        let leaf = self.queues.get(claim.group).leaf;
        WaitReason::KeptForOther {
            task: claim.task,
            queue: Arc::clone(self.queues.tree.path(leaf)),
        }
    }

    /// What a task may consume on an agent now: also what its own claim keeps for it.
    pub(super) fn fill_free_for(&self, task: TaskId, agent: AgentIndex, free: &mut Amounts) {
        self.fill_free(agent, free);
        let own = self.claims.list.iter().find(|claim| claim.task == task);
        for (id, kept) in own.iter().flat_map(|claim| {
            let is_there = |id| claim.agent == agent || !self.resources.is_host(id);
            claim.kept.iter().filter(move |(id, _)| is_there(*id))
        }) {
            free.set(id, free.get(id).saturating_add(kept));
        }
    }

    /// Each `max` on the path that one more task of this shape would exceed.
    fn limits_in_the_way(&self, group: &Group, shape: &Shape) -> Vec<WaitReason> {
        let tree = &self.queues.tree;
        let mut reasons = Vec::new();
        let mut next = Some(group.leaf);
        while let Some(queue) = next {
            next = tree.parent(queue);
            for (id, max) in &tree.settings(queue).max {
                let (demand, used) = (shape.demand.get(*id), tree.used(queue).get(*id));
                if !demand.is_zero() && used.saturating_add(demand) > *max {
                    reasons.push(WaitReason::QueueAtMax {
                        queue: Arc::clone(tree.path(queue)),
                        resource: Arc::clone(self.resources.name(*id)),
                        max: *max,
                        used,
                    });
                }
            }
        }
        reasons
    }

    /// What the agent where least is missing has too little of now; empty where one has enough offered. Where
    /// only the claims of others are in the way, those are put down.
    fn lacking_on_agents(
        &self,
        task: TaskId,
        shape: &Shape,
        in_the_way: &mut BTreeSet<usize>,
    ) -> Vec<WaitReason> {
        let host = || (shape.demand.iter()).filter(|(id, _)| self.resources.is_host(*id));
        if self.find_offering(Some(task), shape).is_some() {
            return Vec::new();
        }
        if !self.claims.is_empty()
            && let Some(agent) = self.find_offering(None, shape)
        {
            let on_agent = |claim: &Claim| {
                let kept = claim.kept.iter().filter(|_| claim.agent == agent);
                let wanted = kept.filter(|(id, _)| !shape.demand.get(*id).is_zero());
                wanted.map(|(_, kept)| kept).max().unwrap_or(Amount::ZERO)
            };
            let others = self.claims_of_others(task, on_agent);
            in_the_way.extend(others.iter().map(|(place, _)| *place));
            return Vec::new();
        }
        let unused = |agent: &Agent, id| agent.total.get(id).saturating_sub(agent.used.get(id));
        let matching = self
            .agents
            .known()
            .filter(|agent| agent.meets(&shape.constraints));
        let least = matching.min_by_key(|agent| {
            host()
                .filter(|(id, demand)| *demand > unused(agent, *id))
                .count()
        });
        let Some(agent) = least else {
            return Vec::new();
        };
        let lacking = host().filter(|(id, demand)| *demand > unused(agent, *id));
        let lacking = lacking.map(|(id, demand)| WaitReason::Lacks {
            resource: Arc::clone(self.resources.name(id)),
            demand,
            free: unused(agent, id),
            agent: Some(Arc::clone(&agent.name)),
        });
        let lacking: Vec<WaitReason> = lacking.collect();
        if lacking.is_empty() {
            // What is free there is not on offer now: the backend has yet to offer it.
            return vec![WaitReason::NoOffer];
        }
        lacking
    }

    /// The first agent that offers enough for this shape: without what is kept there for the claims of others than
    /// this task, or, with `None`, were nothing kept for any. Costs the agents, so it looks at nothing but them.
    fn find_offering(&self, task: Option<TaskId>, shape: &Shape) -> Option<AgentIndex> {
        let mut free = Amounts::zero(self.resources.len());
        let mut offering = self.agents.offering();
        offering.find(|agent| {
            self.agents.free_of(*agent, &self.resources, &mut free);
            let on_agent = self.claims.list.iter().filter(|it| it.agent == *agent);
            for claim in on_agent.filter(|claim| task.is_some_and(|task| task != claim.task)) {
                for (id, kept) in claim.kept.iter() {
                    free.set(id, free.get(id).saturating_sub(kept));
                }
            }
            let mut host = (shape.demand.iter()).filter(|(id, _)| self.resources.is_host(*id));
            host.all(|(id, amount)| amount <= free.get(id))
                && self.agents.get(*agent).meets(&shape.constraints)
        })
    }
}
