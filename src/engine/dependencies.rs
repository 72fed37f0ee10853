//! What waits for what: refusing circles, telling those that wait, and cancelling them where what they
//! wait for did not succeed.

use std::collections::VecDeque;
use std::sync::Arc;

use super::outcome::{Cause, Outcome, OutcomeKind, Usage, Value};
use super::state::watched_by;
use super::{Engine, Fact, Output, Refusal, TaskId, Time};

/// Submissions to cancel, by their first task, with the task that did not succeed.
type Cancellations = VecDeque<(TaskId, TaskId, OutcomeKind)>;

/// Refuses edges that go in a circle. Costs the edges; without recursion, however long a chain is.
pub(super) fn check_acyclic(
    edges: &[Vec<usize>],
    name: impl Fn(usize) -> String,
) -> Result<(), Refusal> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        OnPath,
        Done,
    }
    if edges.iter().all(Vec::is_empty) {
        return Ok(());
    }
    let mut marks = vec![Mark::New; edges.len()];
    for start in 0..edges.len() {
        if marks[start] != Mark::New {
            continue;
        }
        marks[start] = Mark::OnPath;
        let mut path = vec![(start, 0)];
        while let Some((node, next)) = path.last_mut() {
            let Some(target) = edges[*node].get(*next).copied() else {
                marks[*node] = Mark::Done;
                path.pop();
                continue;
            };
            *next += 1;
            match marks[target] {
                Mark::Done => {}
                Mark::New => {
                    marks[target] = Mark::OnPath;
                    path.push((target, 0));
                }
                Mark::OnPath => {
                    let circle = path.iter().map(|(node, _)| *node);
                    let circle = circle.skip_while(|node| *node != target);
                    let keys = circle.chain([target]).map(name).collect();
                    return Err(Refusal::DependencyCycle { keys });
                }
            }
        }
    }
    Ok(())
}

impl Engine {
    /// A task has ended. Those that wait for it are told, or cancelled, and so on.
    pub(super) fn end_task(&mut self, now: Time, task: TaskId, outcome: Outcome, out: &mut Output) {
        let mut cancellations = VecDeque::new();
        self.end_one(now, task, &Arc::new(outcome), &mut cancellations, out);
        self.cancel_dependants(now, cancellations, out);
    }

    /// Cancels a submission that waits for a task that did not succeed, those that wait for it, and so on.
    pub(super) fn cancel_dependant(
        &mut self,
        now: Time,
        first: TaskId,
        cause: TaskId,
        kind: OutcomeKind,
        out: &mut Output,
    ) {
        self.cancel_dependants(now, VecDeque::from([(first, cause, kind)]), out);
    }

    fn cancel_dependants(&mut self, now: Time, mut cancellations: Cancellations, out: &mut Output) {
        while let Some((first, task, kind)) = cancellations.pop_front() {
            let waiting = self.state.submissions.find_first(first);
            let waiting = waiting.filter(|slot| self.state.submissions.get(*slot).is_waiting);
            // It may wait for several that did not succeed.
            let Some(slot) = waiting else { continue };
            let outcome = Arc::new(cancelled(Cause::DependencyFailed { task, kind }));
            for range in self.state.fresh_ranges(slot) {
                for id in range.first.0..range.first.0 + u64::from(range.count) {
                    self.end_one(now, TaskId(id), &outcome, &mut cancellations, out);
                }
            }
        }
    }

    fn end_one(
        &mut self,
        now: Time,
        task: TaskId,
        outcome: &Arc<Outcome>,
        cancellations: &mut Cancellations,
        out: &mut Output,
    ) {
        let slot = self.state.find_live(task).expect("a task ends once");
        let record = self.state.submissions.get(slot);
        let spec = &record.submission.spec;
        let fact = Fact::Ended {
            task,
            outcome: Arc::clone(outcome),
            queue: Arc::clone(&spec.queue),
            inbox: spec.inbox.clone(),
            at: now,
        };
        let told = if record.is_watched {
            self.told_of(
                task,
                record.range().first,
                record.range().count,
                outcome.kind,
            )
        } else {
            Vec::new()
        };
        self.emit(out, fact);
        for dependant in told {
            if outcome.kind != OutcomeKind::Succeeded {
                cancellations.push_back((dependant, task, outcome.kind));
            } else if self.waits_for_nothing(dependant) {
                let (first, at) = (dependant, now);
                self.emit(out, Fact::Unblocked { first, at });
            }
        }
    }

    /// The submissions to which it matters that this task ends so.
    fn told_of(&self, task: TaskId, first: TaskId, count: u32, kind: OutcomeKind) -> Vec<TaskId> {
        let mut told = Vec::new();
        for dependency in watched_by(task, first, count) {
            let watch = self.state.watches.find(dependency);
            let matters = |n_left: u32| n_left == 1 || kind != OutcomeKind::Succeeded;
            if let Some(watch) = watch.filter(|watch| matters(watch.n_left)) {
                told.extend_from_slice(&watch.dependants);
            }
        }
        told
    }

    fn waits_for_nothing(&self, first: TaskId) -> bool {
        let Some(slot) = self.state.submissions.find_first(first) else {
            return false;
        };
        let record = self.state.submissions.get(slot);
        record.is_waiting && record.n_watches == 0
    }
}

/// The outcome of a task that never ran, or whose last attempt doesn't matter.
pub(super) fn cancelled(cause: Cause) -> Outcome {
    Outcome {
        kind: OutcomeKind::Cancelled,
        cause: Some(cause),
        exit_code: None,
        value: Value::default(),
        usage: Usage::default(),
    }
}
