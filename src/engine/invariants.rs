//! What must always hold, in one function. Tests call it after each step, debug builds at the end of
//! each turn.

use std::collections::{BTreeMap, BTreeSet};

use apportion_policies::{Amounts, QueueId, ShapeSet};

use super::state::{AgentIndex, GroupId, LIVE_STATES, Phase, Slot, State};
use super::{AttemptId, Engine, TaskId, TaskState};

/// Up to how many tasks and attempts debug builds check at the end of each turn: enough for every
/// test, and too few to be felt.
const CHECKED_MAX: u64 = 500;

impl Engine {
    /// In debug builds, checks the invariants where that is cheap.
    pub(super) fn check_if_small(&self) {
        if cfg!(debug_assertions) && self.is_small() {
            self.check_invariants();
        }
    }

    /// The same at the end of a turn.
    pub(super) fn check_turn_if_small(&mut self) {
        if cfg!(debug_assertions) && self.is_small() {
            self.check_invariants();
            self.check_work_conserving();
            self.state.may_exceed &= self.state.find_excess().is_some();
        }
    }

    fn is_small(&self) -> bool {
        let state = &self.state;
        let n_agents = state.agents.iter().take(CHECKED_MAX as usize).count() as u64;
        state.n_live + state.attempts.len() as u64 + n_agents < CHECKED_MAX
    }

    /// Checks what must hold between batches, after [`Engine::turn`]. Costs all tasks.
    ///
    /// # Panics
    /// If something doesn't hold.
    pub fn check_invariants(&self) {
        self.state.check_tasks();
        self.state.check_attempts();
        self.state.check_counts();
        self.state.check_use();
        self.state.check_watches();
        self.state.check_claims();
        assert!(
            self.state.agents.lists_are_short(),
            "agents that got offers are listed once, however many they got"
        );
        let excess = self.state.find_excess().filter(|_| !self.state.may_exceed);
        assert_eq!(
            excess, None,
            "nothing is over-committed unless there is less than there was"
        );
    }

    /// Checks that no queued task that fits an unclaimed offer within every `max` was left: holds at the
    /// end of [`Engine::turn`]. Costs the offers times the shapes.
    ///
    /// # Panics
    /// If one was.
    pub fn check_work_conserving(&self) {
        let state = &self.state;
        let (mut free, mut fits) = (Amounts::default(), ShapeSet::default());
        for agent in state.agents.offering() {
            if state.agents.get(agent).is_declined() && self.pace.wants_revival() {
                continue;
            }
            state.fill_offer(agent, state.queues.fits.waiting(), &mut free, &mut fits);
            for (_, group) in state.queues.groups() {
                let demand = &state.queues.tree.shape(group.shape).demand;
                let can_go = group.ready.len() > 0
                    && group.is_satisfiable != Some(false)
                    && fits.contains(group.shape)
                    && state.queues.tree.blocking_max(group.leaf, demand).is_none();
                let queue = state.queues.tree.path(group.leaf);
                let agent = &state.agents.get(agent).name;
                assert!(
                    !can_go,
                    "a task of queue '{queue}' was left though agent '{agent}' offers enough"
                );
            }
        }
    }
}

impl State {
    /// Each live task is in exactly one place.
    fn check_tasks(&self) {
        let mut n_live = 0;
        let mut ready: BTreeMap<TaskId, (Slot, GroupId)> = BTreeMap::new();
        for (id, group) in self.queues.groups() {
            let n_before = ready.len();
            ready.extend(group.ready.tasks().map(|(task, slot)| (task, (slot, id))));
            let n_added = (ready.len() - n_before) as u64;
            assert_eq!(
                n_added,
                group.ready.len(),
                "no task is ready twice, and all are counted"
            );
        }
        let mut n_ready = 0;
        for (slot, record) in self.submissions.iter() {
            let range = record.range();
            let (mut n_here, mut n_fresh) = (0, 0);
            for id in range.first.0..range.first.0 + u64::from(range.count) {
                let task = TaskId(id);
                let live = self.live.get(&task);
                let is_ended = self.ended.find(task).is_some();
                assert!(
                    !(is_ended && live.is_some()),
                    "task {task} has ended and lives"
                );
                n_here += u32::from(!is_ended);
                n_fresh += u32::from(!is_ended && live.is_none());
                let is_ready = match live.map(|live| &live.phase) {
                    None => !is_ended && !record.is_waiting,
                    Some(Phase::Ready) => true,
                    Some(
                        Phase::Paused { .. }
                        | Phase::Launching
                        | Phase::Running
                        | Phase::Cancelling { .. },
                    ) => false,
                };
                let expected = is_ready.then_some((slot, record.group));
                assert_eq!(
                    ready.get(&task).copied(),
                    expected,
                    "task {task} is ready where it should be"
                );
                n_ready += usize::from(is_ready);
            }
            assert_eq!(
                (record.n_live, record.n_fresh),
                (n_here, n_fresh),
                "tasks of submission {}",
                range.first
            );
            assert!(n_here > 0, "submission {} has ended", range.first);
            n_live += u64::from(n_here);
        }
        assert_eq!(n_ready, ready.len(), "only live tasks are ready");
        assert_eq!(n_live, self.n_live, "live tasks");
    }

    /// Attempts, their tasks and timers agree.
    fn check_attempts(&self) {
        let mut n_paused: BTreeMap<GroupId, u64> = BTreeMap::new();
        for task in self.live_tasks() {
            let live = &self.live[&task];
            let record = self.submissions.get(live.slot);
            assert!((record.submission.first..record.submission.end()).contains(&task));
            match &live.phase {
                Phase::Ready => assert!(live.current.is_none()),
                Phase::Paused { until } => {
                    assert!(live.current.is_none());
                    let timer = (*until, super::state::Timer::Pause(task));
                    assert!(
                        self.timers.iter().any(|other| other == timer),
                        "task {task} has no timer"
                    );
                    *n_paused.entry(record.group).or_insert(0) += 1;
                }
                Phase::Launching | Phase::Running => {
                    assert_eq!(
                        live.current,
                        Some(live.n_attempts),
                        "the last attempt of {task} is its current one"
                    );
                }
                Phase::Cancelling { .. } => {
                    assert!(live.has_attempts(), "task {task} has nothing to wait for")
                }
            }
            for attempt in live.attempts(task) {
                assert!(
                    self.attempts.contains_key(&attempt),
                    "attempt {attempt} isn't there"
                );
                assert!(attempt.number <= live.n_attempts);
            }
        }
        for (id, group) in self.queues.groups() {
            assert_eq!(
                group.n_paused,
                n_paused.get(&id).copied().unwrap_or(0),
                "pauses"
            );
        }
    }

    /// Tasks by state are as many as are counted.
    fn check_counts(&self) {
        let mut counts: BTreeMap<QueueId, [u64; 5]> = BTreeMap::new();
        let mut add = |leaf: QueueId, state: TaskState, n_tasks: u64| {
            let place = LIVE_STATES.iter().position(|live| *live == state);
            counts.entry(leaf).or_default()[place.expect("a live task's state")] += n_tasks;
        };
        let mut n_submissions: BTreeMap<GroupId, u64> = BTreeMap::new();
        for (_, record) in self.submissions.iter() {
            let leaf = self.queues.get(record.group).leaf;
            let state = if record.is_waiting {
                TaskState::Waiting
            } else {
                TaskState::Queued
            };
            add(leaf, state, u64::from(record.n_fresh));
            *n_submissions.entry(record.group).or_insert(0) += 1;
        }
        for task in self.live_tasks() {
            let live = &self.live[&task];
            let leaf = self.queues.get(self.submissions.get(live.slot).group).leaf;
            add(leaf, live.phase.state(), 1);
        }
        for leaf in self.queues.leaves_below(self.queues.tree.root()) {
            let expected = counts.get(&leaf).copied().unwrap_or_default();
            assert_eq!(
                self.queues.counts(leaf),
                expected,
                "counts of '{}'",
                self.queues.tree.path(leaf)
            );
        }
        for (id, group) in self.queues.groups() {
            assert_eq!(
                group.n_submissions,
                n_submissions.get(&id).copied().unwrap_or(0),
                "submissions of a group"
            );
        }
    }

    /// What is used is the sum of the live attempts: of every queue, and of every agent.
    fn check_use(&self) {
        let tree = &self.queues.tree;
        let mut by_queue: BTreeMap<QueueId, (Amounts, u64)> = BTreeMap::new();
        let mut by_agent: BTreeMap<AgentIndex, (Amounts, u64)> = BTreeMap::new();
        let attempts: Vec<AttemptId> = self.live_attempts();
        for attempt in attempts {
            let record = &self.attempts[&attempt];
            let group = self.queues.get(record.group);
            let demand = &tree.shape(group.shape).demand;
            let agent = by_agent.entry(record.agent).or_default();
            agent.0.add(demand);
            agent.1 += 1;
            let mut next = Some(group.leaf);
            while let Some(queue) = next {
                let sum = by_queue.entry(queue).or_default();
                sum.0.add(demand);
                sum.1 += 1;
                next = tree.parent(queue);
            }
        }
        for queue in tree.queues() {
            let (sum, n_running) = by_queue.remove(&queue).unwrap_or_default();
            self.assert_equal(&sum, tree.used(queue), tree.path(queue));
            assert_eq!(
                n_running,
                tree.running(queue),
                "attempts of '{}'",
                tree.path(queue)
            );
        }
        for (index, agent) in self.agents.iter() {
            let (sum, n_attempts) = by_agent.remove(&index).unwrap_or_default();
            self.assert_equal(&sum, &agent.used, &agent.name);
            assert_eq!(n_attempts, agent.n_attempts, "attempts on '{}'", agent.name);
            assert!(
                agent.is_known || n_attempts > 0,
                "agent '{}' is gone",
                agent.name
            );
        }
        assert!(
            by_agent.is_empty(),
            "every attempt is on an agent that is there"
        );
    }

    /// What is over-committed: an agent, the cluster, or a queue's `max`.
    fn find_excess(&self) -> Option<String> {
        let tree = &self.queues.tree;
        let all = tree.used(tree.root());
        for (id, resource) in self.resources.iter() {
            for (_, agent) in self.agents.iter().filter(|_| self.resources.is_host(id)) {
                if agent.used.get(id) > agent.total.get(id) {
                    return Some(format!("{} of agent '{}'", resource.name, agent.name));
                }
            }
            let used = all.get(id).saturating_add(resource.outside);
            if self
                .resources
                .capacity(id)
                .is_some_and(|capacity| used > capacity)
            {
                return Some(format!("{} of the cluster", resource.name));
            }
        }
        tree.queues().find_map(|queue| {
            let mut max = tree.settings(queue).max.iter();
            let (id, _) = max.find(|(id, max)| tree.used(queue).get(*id) > *max)?;
            Some(format!(
                "{} of queue '{}'",
                self.resources.name(*id),
                tree.path(queue)
            ))
        })
    }

    /// Checks that what was launched last fitted: its agent, the cluster and each `max` on its path hold
    /// what is in use now, at least of what it demands.
    pub(super) fn check_launch(&self, agent: AgentIndex, group: GroupId) {
        let group = self.queues.get(group);
        let tree = &self.queues.tree;
        let agent = self.agents.get(agent);
        for (id, _) in tree.shape(group.shape).demand.iter() {
            let used = tree
                .used(tree.root())
                .get(id)
                .saturating_add(self.resources.get(id).outside);
            let fits = match self.resources.capacity(id) {
                Some(capacity) => used <= capacity,
                None => agent.used.get(id) <= agent.total.get(id),
            };
            assert!(
                fits,
                "{} was over-committed by a launch on '{}'",
                self.resources.name(id),
                agent.name
            );
            let mut next = Some(group.leaf);
            while let Some(queue) = next {
                let mut max = tree.settings(queue).max.iter();
                let within =
                    max.all(|(limited, max)| *limited != id || tree.used(queue).get(id) <= *max);
                assert!(
                    within,
                    "a launch brought queue '{}' over its max",
                    tree.path(queue)
                );
                next = tree.parent(queue);
            }
        }
    }

    fn assert_equal(&self, sum: &Amounts, used: &Amounts, what: &str) {
        for (id, resource) in self.resources.iter() {
            assert_eq!(
                sum.get(id),
                used.get(id),
                "{} used by '{what}'",
                resource.name
            );
        }
    }

    /// Claims keep no more than is free and demanded, each for one queued task.
    fn check_claims(&self) {
        let mut tasks = BTreeSet::new();
        let mut of_cluster = Amounts::default();
        let mut of_agents: BTreeMap<AgentIndex, Amounts> = BTreeMap::new();
        for claim in &self.claims.list {
            assert!(
                tasks.insert(claim.task),
                "task {} has two claims",
                claim.task
            );
            let group = self.queues.get(claim.group);
            assert!(
                group.ready.contains(claim.rank),
                "task {} has a claim and isn't queued",
                claim.task
            );
            let demand = &self.queues.tree.shape(group.shape).demand;
            for (id, kept) in claim.kept.iter() {
                assert!(kept <= demand.get(id), "no more is kept than is demanded");
                let sum = if self.resources.is_host(id) {
                    of_agents.entry(claim.agent).or_default()
                } else {
                    &mut of_cluster
                };
                sum.set(id, sum.get(id).saturating_add(kept));
            }
        }
        for (id, kept) in of_cluster
            .iter()
            .filter(|(id, _)| !self.resources.is_host(*id))
        {
            assert!(
                kept <= self.unused(id),
                "claims keep what isn't there of the cluster"
            );
        }
        for (agent, kept) in of_agents {
            let mut free = Amounts::zero(self.resources.len());
            self.agents.free_of(agent, &self.resources, &mut free);
            let over = kept.iter().find(|(id, kept)| *kept > free.get(*id));
            assert_eq!(
                over,
                None,
                "claims keep what '{}' doesn't offer",
                self.agents.get(agent).name
            );
        }
    }

    /// Whoever waits is counted where it waits.
    fn check_watches(&self) {
        let mut n_watches: BTreeMap<TaskId, u32> = BTreeMap::new();
        for (dependency, watch) in self.watches.iter() {
            assert_eq!(
                watch.n_left,
                self.n_left(dependency),
                "what is left of {}",
                dependency.first
            );
            assert!(watch.n_left > 0, "what has ended is waited for");
            for dependant in &watch.dependants {
                *n_watches.entry(*dependant).or_insert(0) += 1;
            }
        }
        for (_, record) in self
            .submissions
            .iter()
            .filter(|(_, record)| record.is_waiting)
        {
            let first = record.submission.first;
            let n_here = n_watches.get(&first).copied().unwrap_or(0);
            assert!(
                record.n_fresh == 0 || n_here > 0,
                "submission {first} waits for nothing"
            );
            assert!(
                record.n_fresh == 0 || record.n_watches == n_here,
                "watches of submission {first}"
            );
        }
    }
}
