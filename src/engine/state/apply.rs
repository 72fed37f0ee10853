//! Folding facts: the only way in which tasks change.

use std::sync::Arc;

use apportion_policies::{Amount, Shape};

use super::super::fact::Fact;
use super::super::outcome::{Outcome, OutcomeKind};
use super::super::report::LaunchCause;
use super::super::spec::{AttemptId, Submission, TaskId, TaskSpec, TaskState};
use super::super::time::Time;
use super::agents::AgentIndex;
use super::attempts::{AttemptRecord, LiveTaskRecord, Phase};
use super::ended::Kept;
use super::keys::KeyOwner;
use super::submissions::{Slot, SubmissionRecord};
use super::timers::Timer;
use super::watches::watched_by;
use super::{GroupId, State};

impl State {
    /// Folds one fact.
    ///
    /// # Panics
    /// If the fact contradicts the state: facts are the engine's own words.
    pub(crate) fn apply(&mut self, fact: &Fact) {
        match fact {
            Fact::Submitted {
                submission,
                waiting,
            } => self.submitted(submission, *waiting),
            Fact::Unblocked { first, at } => self.unblocked(*first, *at),
            Fact::Launched {
                attempt, agent, at, ..
            } => {
                let slot = self.find_live(attempt.task);
                let slot = slot.expect("what is launched lives");
                let agent = self.agents.ensure(agent);
                self.launched(*attempt, slot, agent, *at, LaunchCause::Unknown);
            }
            Fact::Started { attempt, .. } => self.started(*attempt),
            Fact::TimedOut { attempt, .. } => self.timed_out(*attempt),
            Fact::AttemptEnded { attempt, .. } => self.attempt_ended(*attempt),
            Fact::Requeued {
                task,
                own_failure,
                not_before,
                at,
            } => {
                self.requeued(*task, *own_failure, *not_before, *at);
            }
            Fact::Cancelling { task, reason, .. } => self.cancelling(*task, reason.clone()),
            Fact::Ended {
                task, outcome, at, ..
            } => self.ended(*task, outcome, *at),
            Fact::Retried {
                task,
                submission,
                n_attempts,
                at,
            } => {
                self.retried(*task, submission, *n_attempts, *at);
            }
            Fact::InboxAcknowledged { .. } | Fact::Audited(_) => {}
            Fact::OutsideReported { resource, used, .. } => self.outside_reported(resource, *used),
            Fact::BackendNoted { name, value } => self.noted(name, value.as_ref()),
            Fact::Forgotten { ended_before, .. } => self.forgotten(*ended_before),
            Fact::Restored(task) => self.restored(task),
            Fact::RestoredEnded {
                task,
                first,
                state,
                at,
            } => {
                self.restored_ended(*task, *first, *state, *at);
            }
            Fact::RestoredDying {
                submission,
                task,
                attempt,
            } => self.restored_dying(submission, *task, attempt),
            Fact::RestoredKey {
                key,
                first,
                count,
                digest,
            } => {
                let owner = KeyOwner {
                    first: *first,
                    count: *count,
                    digest: *digest,
                };
                self.keys.restore(key, owner);
            }
            Fact::RestoredNextId(next) => self.next_id = self.next_id.max(*next),
        }
    }

    fn outside_reported(&mut self, resource: &str, used: Amount) {
        if let Some(id) = self.resources.find(resource) {
            self.resources.set_outside(id, used);
            self.queues.widened.resource(id);
            self.may_exceed = true;
        }
    }

    fn noted(&mut self, name: &Arc<str>, value: Option<&Arc<str>>) {
        match value {
            Some(value) => self
                .backend_notes
                .insert(Arc::clone(name), Arc::clone(value)),
            None => self.backend_notes.remove(name),
        };
    }

    fn submitted(&mut self, submission: &Arc<Submission>, waiting: bool) {
        let (first, end) = (submission.first, submission.end());
        let count = submission.spec.count();
        let n_ended = if self.is_recovering {
            let n_ended = self.ended.range(first, count).count();
            u32::try_from(n_ended).expect("no more tasks ended than there are")
        } else {
            0
        };
        if n_ended < count {
            let slot = self.insert_submission(submission, submission.submitted_at);
            let record = self.submissions.get_mut(slot);
            record.is_waiting = waiting;
            (record.n_live, record.n_fresh) = (count - n_ended, count - n_ended);
            record.is_watched = self.watches.any_in(first, end);
            let group = record.group;
            let leaf = self.queues.get(group).leaf;
            let state = if waiting {
                TaskState::Waiting
            } else {
                TaskState::Queued
            };
            self.queues
                .count(leaf, None, Some(state), u64::from(count - n_ended));
            self.n_live += u64::from(count - n_ended);
            self.next_id = self.next_id.max(end);
            if !waiting {
                self.make_fresh_ready(slot);
            } else if !self.is_recovering {
                self.watch_dependencies(slot);
            }
        }
    }

    /// Makes the record of a submission, without tasks as yet.
    pub(super) fn insert_submission(
        &mut self,
        submission: &Arc<Submission>,
        ready_since: Time,
    ) -> Slot {
        let spec = &submission.spec;
        if let Some(key) = &spec.key {
            let owner = KeyOwner {
                first: submission.first,
                count: spec.count(),
                digest: submission.digest,
            };
            self.keys.insert(key, owner);
        }
        let group = self.acquire_group(spec);
        self.submissions.insert(SubmissionRecord {
            submission: Arc::clone(submission),
            ready_since,
            group,
            n_live: 0,
            n_fresh: 0,
            n_watches: 0,
            is_waiting: false,
            is_watched: false,
        })
    }

    /// The group of what is asked for, held by one more submission.
    pub(super) fn acquire_group(&mut self, spec: &TaskSpec) -> GroupId {
        let leaf = self.queues.leaf_of_stored(&spec.queue);
        let shape = Shape {
            demand: self.resources.demand_of_stored(&spec.demand),
            constraints: spec
                .constraints
                .iter()
                .map(|(name, value)| (Arc::clone(name), Arc::clone(value)))
                .collect(),
        };
        self.queues.acquire(leaf, shape)
    }

    /// The tasks of a submission that never left their first state could run now.
    pub(super) fn make_fresh_ready(&mut self, slot: Slot) {
        for range in self.fresh_ranges(slot) {
            let record = self.submissions.get(slot);
            let (group, rank) = (record.group, record.rank(range.first));
            self.queues.make_ready(group, rank, range.count, slot);
        }
    }

    /// Sets up what a submission waits for.
    pub(super) fn watch_dependencies(&mut self, slot: Slot) {
        let submission = Arc::clone(&self.submissions.get(slot).submission);
        for dependency in &submission.after {
            let n_left = self.n_left(*dependency);
            if n_left == 0 {
                continue;
            }
            self.watches.insert(*dependency, n_left, submission.first);
            self.submissions.get_mut(slot).n_watches += 1;
            if let Some(watched) = self.submissions.find(dependency.first) {
                self.submissions.get_mut(watched).is_watched = true;
            }
        }
    }

    fn unblocked(&mut self, first: TaskId, at: Time) {
        let slot = self
            .submissions
            .find_first(first)
            .expect("what is unblocked lives");
        let record = self.submissions.get_mut(slot);
        assert!(record.is_waiting, "only what waits is unblocked");
        record.is_waiting = false;
        record.ready_since = at;
        let (group, n_fresh) = (record.group, record.n_fresh);
        let leaf = self.queues.get(group).leaf;
        self.queues.count(
            leaf,
            Some(TaskState::Waiting),
            Some(TaskState::Queued),
            u64::from(n_fresh),
        );
        self.make_fresh_ready(slot);
    }

    /// An attempt of a task of this submission was decided.
    pub(crate) fn launched(
        &mut self,
        attempt: AttemptId,
        slot: Slot,
        agent: AgentIndex,
        at: Time,
        cause: LaunchCause,
    ) {
        let record = self.submissions.get(slot);
        let (group, rank, ready_since) =
            (record.group, record.rank(attempt.task), record.ready_since);
        let timeout = record.submission.spec.timeout;
        let phase = self.live.get(&attempt.task).map(|live| &live.phase);
        if let Some(Phase::Paused { until }) = phase {
            self.end_pause(attempt.task, *until);
        }
        self.queues.take_ready(group, rank);
        let live = self.live.entry(attempt.task).or_insert_with(|| {
            self.submissions.get_mut(slot).n_fresh -= 1;
            LiveTaskRecord::new(slot, ready_since)
        });
        assert!(
            live.phase == Phase::Ready && attempt.number == live.n_attempts + 1,
            "attempts go up by one"
        );
        live.phase = Phase::Launching;
        live.current = Some(attempt.number);
        live.n_attempts = attempt.number;
        let leaf = self.queues.get(group).leaf;
        self.queues
            .count(leaf, Some(TaskState::Queued), Some(TaskState::Launching), 1);
        let record = AttemptRecord {
            group,
            agent,
            launched_at: at,
            timeout_at: timeout.map(|timeout| at.after(timeout)),
            timed_out: false,
            cause,
        };
        self.insert_attempt(attempt, record);
    }

    /// A queued task gets a record of its own.
    pub(super) fn leave_first_state(&mut self, task: TaskId, slot: Slot, ready_since: Time) {
        self.submissions.get_mut(slot).n_fresh -= 1;
        self.live
            .insert(task, LiveTaskRecord::new(slot, ready_since));
    }

    /// An attempt holds its demand from now on.
    pub(super) fn insert_attempt(&mut self, attempt: AttemptId, record: AttemptRecord) {
        if let Some(at) = record.timeout_at {
            self.timers.insert(at, Timer::Timeout(attempt));
        }
        self.queues.charge(record.group);
        let shape = self.queues.get(record.group).shape;
        self.agents
            .charge(record.agent, &self.queues.tree.shape(shape).demand);
        let replaced = self.attempts.insert(attempt, record);
        assert!(replaced.is_none(), "attempt {attempt} was launched twice");
    }

    fn started(&mut self, attempt: AttemptId) {
        let live = self.live.get_mut(&attempt.task).expect("what starts lives");
        assert!(live.phase == Phase::Launching && live.current == Some(attempt.number));
        live.phase = Phase::Running;
        let group = self.submissions.get(live.slot).group;
        let leaf = self.queues.get(group).leaf;
        self.queues.count(
            leaf,
            Some(TaskState::Launching),
            Some(TaskState::Running),
            1,
        );
    }

    fn timed_out(&mut self, attempt: AttemptId) {
        self.drop_timeout(attempt);
        let record = self
            .attempts
            .get_mut(&attempt)
            .expect("what times out has not ended");
        record.timed_out = true;
    }

    /// The time of an attempt doesn't matter any more.
    pub(super) fn drop_timeout(&mut self, attempt: AttemptId) {
        let record = self.attempts.get_mut(&attempt);
        if let Some(at) = record.and_then(|record| record.timeout_at.take()) {
            self.timers.remove(at, Timer::Timeout(attempt));
        }
    }

    fn attempt_ended(&mut self, attempt: AttemptId) {
        let record = self
            .attempts
            .remove(&attempt)
            .expect("an attempt ends once");
        if let Some(at) = record.timeout_at {
            self.timers.remove(at, Timer::Timeout(attempt));
        }
        let shape = self.queues.get(record.group).shape;
        self.agents
            .release(record.agent, &self.queues.tree.shape(shape).demand);
        self.queues.discharge(record.group, &self.resources);
        let Some(live) = self.live.get_mut(&attempt.task) else {
            return;
        };
        live.dying.retain(|number| *number != attempt.number);
        if live.current == Some(attempt.number) {
            live.current = None;
        }
    }

    fn requeued(&mut self, task: TaskId, own_failure: bool, not_before: Time, at: Time) {
        let live = self
            .live
            .get_mut(&task)
            .expect("what is queued again lives");
        assert!(
            live.current.is_none(),
            "only what has no attempt is queued again"
        );
        if own_failure {
            live.n_failures += 1;
        } else {
            live.n_losses += 1;
        }
        let from = live.phase.state();
        let slot = live.slot;
        self.queue_after(task, not_before, at);
        let leaf = self.leaf_in(slot);
        self.queues
            .count(leaf, Some(from), Some(TaskState::Queued), 1);
    }

    /// Puts a task with a record of its own among those that could run, now or after a pause.
    pub(super) fn queue_after(&mut self, task: TaskId, not_before: Time, at: Time) {
        let live = self
            .live
            .get_mut(&task)
            .expect("what is queued again lives");
        let slot = live.slot;
        let record = self.submissions.get(slot);
        let (group, rank) = (record.group, record.rank(task));
        live.ready_since = not_before.max(at);
        if not_before > at {
            live.phase = Phase::Paused { until: not_before };
            self.timers.insert(not_before, Timer::Pause(task));
            self.queues.get_mut(group).n_paused += 1;
        } else {
            live.phase = Phase::Ready;
            self.queues.make_ready(group, rank, 1, slot);
        }
    }

    /// Takes a queued task out of those that could run; one in another state stays as it is.
    /// `phase` is `None` where it never left its first one.
    fn unqueue(&mut self, task: TaskId, slot: Slot, phase: Option<&Phase>) {
        let record = self.submissions.get(slot);
        let (group, rank) = (record.group, record.rank(task));
        match phase {
            None if record.is_waiting => {}
            None | Some(Phase::Ready) => self.queues.take_ready(group, rank),
            Some(Phase::Paused { until }) => {
                self.timers.remove(*until, Timer::Pause(task));
                self.queues.get_mut(group).n_paused -= 1;
            }
            Some(Phase::Launching | Phase::Running | Phase::Cancelling { .. }) => {}
        }
    }

    fn cancelling(&mut self, task: TaskId, reason: Option<Box<str>>) {
        let live = self.live.get(&task).expect("what has an attempt lives");
        let (slot, phase) = (live.slot, live.phase.clone());
        self.unqueue(task, slot, Some(&phase));
        let live = self.live.get_mut(&task).expect("it was there above");
        assert!(
            live.has_attempts(),
            "what has no attempt is cancelled at once"
        );
        let from = live.phase.state();
        live.phase = Phase::Cancelling { reason };
        let attempts = live.attempts(task);
        let leaf = self.leaf_in(slot);
        self.queues
            .count(leaf, Some(from), Some(TaskState::Cancelling), 1);
        for attempt in attempts {
            self.drop_timeout(attempt);
        }
    }

    fn ended(&mut self, task: TaskId, outcome: &Outcome, at: Time) {
        let (slot, from) = if let Some(live) = self.live.remove(&task) {
            assert!(live.current.is_none(), "a task ends after its attempt");
            self.unqueue(task, live.slot, Some(&live.phase));
            (live.slot, live.phase.state())
        } else {
            let slot = self.find_live(task).expect("a task ends once");
            let from = self.state_in(task, slot);
            self.unqueue(task, slot, None);
            self.submissions.get_mut(slot).n_fresh -= 1;
            (slot, from)
        };
        let leaf = self.leaf_in(slot);
        self.queues.count(leaf, Some(from), None, 1);
        self.ended.insert(task, outcome.kind);
        self.n_live -= 1;
        let record = self.submissions.get_mut(slot);
        record.n_live -= 1;
        let (range, n_live, is_watched) = (record.range(), record.n_live, record.is_watched);
        if is_watched {
            self.tell_watchers(task, range.first, range.count, outcome.kind);
        }
        if n_live > 0 {
            return;
        }
        let record = self.submissions.remove(slot);
        self.queues.release(record.group);
        self.kept.push(Kept {
            ended_at: at,
            first: range.first,
            count: range.count,
        });
        if let Some(key) = &record.submission.spec.key {
            self.keys.ended(key, range.first);
        }
    }

    fn tell_watchers(&mut self, task: TaskId, first: TaskId, count: u32, kind: OutcomeKind) {
        for dependency in watched_by(task, first, count) {
            if kind != OutcomeKind::Succeeded {
                self.watches.failed(dependency);
                continue;
            }
            for dependant in self.watches.succeeded(dependency) {
                if let Some(slot) = self.submissions.find_first(dependant) {
                    let record = self.submissions.get_mut(slot);
                    record.n_watches = record.n_watches.saturating_sub(1);
                }
            }
        }
    }

    pub(super) fn leaf_in(&self, slot: Slot) -> apportion_policies::QueueId {
        let group: GroupId = self.submissions.get(slot).group;
        self.queues.get(group).leaf
    }
}
