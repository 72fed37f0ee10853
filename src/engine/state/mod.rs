//! The state of the engine: what is true of every task, attempt, queue and agent. Tasks change only by
//! facts ([`State::apply`]); agents, offers and settings are told anew after a restart and are no facts.
//!
//! A task in its first state (`waiting` or `queued`, never launched) has no record of its own: its
//! submission stands for it, as a range of ids. Tasks beyond that have a [`LiveTaskRecord`], ended ones a
//! byte.

mod agents;
mod apply;
mod attempts;
mod claims;
mod configured;
mod ended;
mod fits;
mod hopes;
mod keys;
mod patience;
mod queues;
mod ready;
mod recovery;
mod resources;
mod revive;
mod room;
mod submissions;
mod timers;
mod watches;

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::outcome::OutcomeKind;
use super::settings::EngineSettings;
use super::spec::{AttemptId, Dependency, TaskId, TaskState};
use super::time::Time;
pub(crate) use agents::{Agent, AgentIndex, Agents};
pub(crate) use attempts::{AttemptRecord, LiveTaskRecord, Phase};
pub(crate) use claims::{Claim, Claims};
pub(crate) use ended::{EndedKinds, Kept, KeptSubmissions};
pub(crate) use fits::Widened;
pub(crate) use keys::{KeyOwner, Keys};
pub(crate) use queues::{Group, GroupId, LIVE_STATES, Queues};
pub(crate) use resources::Resources;
pub(crate) use submissions::{Slot, SubmissionRecord, Submissions};
pub(crate) use timers::{Timer, Timers};
pub(crate) use watches::{Watches, watched_by};

/// Everything.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) resources: Resources,
    pub(crate) queues: Queues,
    pub(crate) agents: Agents,
    pub(crate) claims: Claims,
    pub(crate) submissions: Submissions,
    pub(crate) live: FxHashMap<TaskId, LiveTaskRecord>,
    pub(crate) attempts: FxHashMap<AttemptId, AttemptRecord>,
    pub(crate) ended: EndedKinds,
    pub(crate) kept: KeptSubmissions,
    pub(crate) keys: Keys,
    pub(crate) watches: Watches,
    pub(crate) timers: Timers,
    /// What the backend has kept, by name.
    pub(crate) backend_notes: BTreeMap<Arc<str>, Arc<str>>,
    /// The id that the next task gets.
    pub(crate) next_id: TaskId,
    /// How many tasks have not ended.
    pub(crate) n_live: u64,
    /// Whether recovery is still going on.
    pub(crate) is_recovering: bool,
    /// Whether more may be in use than there is, because there is less than there was: an agent shrank,
    /// a limit was lowered, others use more. Nothing new is launched into it. For invariants only.
    pub(crate) may_exceed: bool,
}

impl State {
    /// Without tasks, ready for recovery.
    pub(crate) fn new(settings: &EngineSettings) -> Self {
        let resources = Resources::new(&settings.resources);
        Self {
            queues: Queues::new(settings, &resources),
            resources,
            agents: Agents::default(),
            claims: Claims::new(settings.claims),
            submissions: Submissions::default(),
            live: FxHashMap::default(),
            attempts: FxHashMap::default(),
            ended: EndedKinds::default(),
            kept: KeptSubmissions::default(),
            keys: Keys::default(),
            watches: Watches::default(),
            timers: Timers::default(),
            backend_notes: BTreeMap::new(),
            next_id: TaskId(1),
            n_live: 0,
            is_recovering: true,
            may_exceed: true,
        }
    }

    /// The submission of a task that has not ended.
    pub(crate) fn find_live(&self, task: TaskId) -> Option<Slot> {
        if let Some(record) = self.live.get(&task) {
            return Some(record.slot);
        }
        let slot = self.submissions.find(task)?;
        self.ended.find(task).is_none().then_some(slot)
    }

    /// The state of a task that has not ended, or is kept.
    pub(crate) fn find_state(&self, task: TaskId) -> Option<TaskState> {
        if let Some(kind) = self.ended.find(task) {
            return Some(TaskState::from(kind));
        }
        let slot = self.find_live(task)?;
        Some(self.state_in(task, slot))
    }

    /// The state of a task that has not ended, of this submission.
    pub(crate) fn state_in(&self, task: TaskId, slot: Slot) -> TaskState {
        match self.live.get(&task) {
            Some(record) => record.phase.state(),
            None if self.submissions.get(slot).is_waiting => TaskState::Waiting,
            None => TaskState::Queued,
        }
    }

    /// The tasks of a submission that never left their first state, as ranges, in order. Costs the tasks
    /// of the submission, unless all are so.
    pub(crate) fn fresh_ranges(&self, slot: Slot) -> Vec<Dependency> {
        let record = self.submissions.get(slot);
        let range = record.range();
        if record.n_fresh == range.count {
            return vec![range];
        }
        let mut ranges: Vec<Dependency> = Vec::new();
        for id in range.first.0..range.first.0 + u64::from(range.count) {
            let task = TaskId(id);
            if self.live.contains_key(&task) || self.ended.find(task).is_some() {
                continue;
            }
            match ranges.last_mut() {
                Some(last) if last.first.0 + u64::from(last.count) == id => last.count += 1,
                Some(_) | None => ranges.push(Dependency {
                    first: task,
                    count: 1,
                }),
            }
        }
        ranges
    }

    /// How many tasks of a dependency have not ended; those that are yet to come haven't.
    pub(crate) fn n_left(&self, dependency: Dependency) -> u32 {
        if dependency.first >= self.next_id {
            return dependency.count;
        }
        if dependency.count == 1 {
            return u32::from(self.find_live(dependency.first).is_some());
        }
        let slot = self.submissions.find_first(dependency.first);
        slot.map_or(0, |slot| self.submissions.get(slot).n_live)
    }

    /// A task of a dependency that ended otherwise than well, and how.
    pub(crate) fn find_unsuccessful(
        &self,
        dependency: Dependency,
    ) -> Option<(TaskId, OutcomeKind)> {
        let mut ended = self.ended.range(dependency.first, dependency.count);
        ended.find(|(_, kind)| *kind != OutcomeKind::Succeeded)
    }

    /// All tasks with a record of their own, in order of ids. Costs sorting them.
    #[allow(clippy::disallowed_methods, reason = "sorted before anyone sees them")]
    pub(crate) fn live_tasks(&self) -> Vec<TaskId> {
        let mut tasks: Vec<TaskId> = self.live.keys().copied().collect();
        tasks.sort_unstable();
        tasks
    }

    /// All attempts that have not ended, in order of ids. Costs sorting them.
    #[allow(clippy::disallowed_methods, reason = "sorted before anyone sees them")]
    pub(crate) fn live_attempts(&self) -> Vec<AttemptId> {
        let mut attempts: Vec<AttemptId> = self.attempts.keys().copied().collect();
        attempts.sort_unstable();
        attempts
    }

    /// When the first of these submissions ended that has an attempt that is still dying. Costs them and the live
    /// attempts.
    #[allow(
        clippy::disallowed_methods,
        reason = "the least of all is the same in any order"
    )]
    pub(crate) fn end_of_dying(&self, ended: &[Kept]) -> Option<Time> {
        if ended.is_empty() {
            return None;
        }
        let by_first: BTreeMap<TaskId, &Kept> = ended.iter().map(|it| (it.first, it)).collect();
        let dying = self.attempts.keys().filter_map(|attempt| {
            let (_, kept) = by_first.range(..=attempt.task).next_back()?;
            let end = kept.first.0 + u64::from(kept.count);
            (attempt.task.0 < end).then_some(kept.ended_at)
        });
        dying.min()
    }

    /// Ends the pauses that are over.
    pub(crate) fn end_pauses(&mut self, now: Time) {
        for (until, task) in self.timers.due_pauses(now) {
            self.end_pause(task, until);
        }
    }

    /// The pause of a task is over: it could run now.
    fn end_pause(&mut self, task: TaskId, until: Time) {
        self.timers.remove(until, Timer::Pause(task));
        let Some(record) = self.live.get_mut(&task) else {
            return;
        };
        assert!(
            record.phase == Phase::Paused { until },
            "only what pauses ends its pause"
        );
        record.phase = Phase::Ready;
        record.ready_since = until;
        let slot = record.slot;
        let submission = self.submissions.get(slot);
        let (group, rank) = (submission.group, submission.rank(task));
        self.queues.get_mut(group).n_paused -= 1;
        self.queues.make_ready(group, rank, 1, slot);
    }
}
