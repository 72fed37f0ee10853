//! What attempts say: that they run, and how they ended.

use std::time::Duration;

use super::outcome::{AttemptEnd, Cause, LossReason, Outcome, OutcomeKind, Usage, Value};
use super::state::{LiveTaskRecord, Phase, Slot};
use super::{AttemptId, Engine, Fact, Output, TaskId, Time};

/// How an attempt ended, as the backend tells it.
pub(super) struct Ended {
    pub(super) end: AttemptEnd,
    pub(super) usage: Usage,
    pub(super) value: Value,
}

/// What an end means for the task.
enum Meaning {
    Success,
    OwnFailure(Cause),
    Loss(LossReason),
}

impl Engine {
    pub(super) fn on_attempt_started(&mut self, now: Time, attempt: AttemptId, out: &mut Output) {
        let live = self.state.live.get(&attempt.task);
        let is_launching = |live: &LiveTaskRecord| {
            live.phase == Phase::Launching && live.current == Some(attempt.number)
        };
        if live.is_some_and(is_launching) {
            self.emit(out, Fact::Started { attempt, at: now });
        }
    }

    /// An attempt has really ended: what it held is given back, and unless the task has moved on, its end
    /// decides what becomes of the task.
    pub(super) fn on_attempt_ended(
        &mut self,
        now: Time,
        attempt: AttemptId,
        ended: Ended,
        out: &mut Output,
    ) {
        let Some(record) = self.state.attempts.get(&attempt) else {
            return;
        };
        let timed_out = record.timed_out;
        self.pace.expect(now);
        let live = self.state.live.get(&attempt.task);
        let was_current = live.is_some_and(|live| live.current == Some(attempt.number));
        let fact = Fact::AttemptEnded {
            attempt,
            end: ended.end.clone(),
            usage: ended.usage,
            at: now,
        };
        self.emit(out, fact);
        let Some(live) = self.state.live.get(&attempt.task) else {
            return;
        };
        if let Phase::Cancelling { reason } = &live.phase {
            if !live.has_attempts() {
                let cause = Cause::Cancelled {
                    reason: reason.clone(),
                };
                let outcome = outcome(OutcomeKind::Cancelled, Some(cause), ended);
                self.end_task(now, attempt.task, outcome, out);
            }
        } else if was_current {
            let slot = live.slot;
            self.decide_next(
                now,
                attempt.task,
                slot,
                meaning(&ended.end, timed_out),
                ended,
                out,
            );
        }
    }

    fn decide_next(
        &mut self,
        now: Time,
        task: TaskId,
        slot: Slot,
        meaning: Meaning,
        ended: Ended,
        out: &mut Output,
    ) {
        let live = || &self.state.live[&task];
        let (kind, cause) = match meaning {
            Meaning::Success => (OutcomeKind::Succeeded, None),
            Meaning::OwnFailure(cause) => {
                let retries = self.state.submissions.get(slot).submission.spec.retries;
                let n_failures = live().n_failures;
                if n_failures < retries {
                    let pause = self.pause(n_failures);
                    return self.requeue(now, task, true, pause, out);
                }
                (OutcomeKind::Failed, Some(cause))
            }
            Meaning::Loss(reason) => {
                let n_losses = live().n_losses;
                if n_losses < self.settings.lost_max {
                    let earlier = n_losses.checked_sub(1);
                    let pause = earlier.map_or(Duration::ZERO, |earlier| self.pause(earlier));
                    return self.requeue(now, task, false, pause, out);
                }
                (OutcomeKind::Failed, Some(Cause::LostTooOften(reason)))
            }
        };
        self.end_task(now, task, outcome(kind, cause, ended), out);
    }

    fn requeue(
        &mut self,
        now: Time,
        task: TaskId,
        own_failure: bool,
        pause: Duration,
        out: &mut Output,
    ) {
        let fact = Fact::Requeued {
            task,
            own_failure,
            not_before: now.after(pause),
            at: now,
        };
        self.emit(out, fact);
    }

    /// The pause after so many earlier ones: it doubles each time, up to the longest.
    fn pause(&self, n_earlier: u32) -> Duration {
        let factor = 1_u32.checked_shl(n_earlier).unwrap_or(u32::MAX);
        let pause = self.settings.retry_pause.checked_mul(factor);
        let longest = self.settings.retry_pause_max;
        pause.unwrap_or(longest).min(longest)
    }
}

/// What the end of the attempt whose word counts means, where nobody cancelled the task. Whatever an
/// attempt says that was asked to end because its time was over, it has failed by its timeout.
fn meaning(end: &AttemptEnd, timed_out: bool) -> Meaning {
    if timed_out {
        return Meaning::OwnFailure(Cause::TimedOut);
    }
    match end {
        AttemptEnd::Exited { code: 0 } => Meaning::Success,
        AttemptEnd::Exited { .. }
        | AttemptEnd::Signalled { .. }
        | AttemptEnd::OutOfMemory
        | AttemptEnd::OverLimit { .. }
        | AttemptEnd::NotStarted { .. }
        | AttemptEnd::Raised { .. } => Meaning::OwnFailure(Cause::Attempt(end.clone())),
        // Nobody here asked for it: the backend ended it for reasons of its own.
        AttemptEnd::Killed => Meaning::Loss(LossReason::BackendFailed),
        AttemptEnd::Lost { reason } => Meaning::Loss(*reason),
    }
}

fn outcome(kind: OutcomeKind, cause: Option<Cause>, ended: Ended) -> Outcome {
    let exit_code = match ended.end {
        AttemptEnd::Exited { code } => Some(code),
        AttemptEnd::Signalled { .. }
        | AttemptEnd::OutOfMemory
        | AttemptEnd::OverLimit { .. }
        | AttemptEnd::Killed
        | AttemptEnd::NotStarted { .. }
        | AttemptEnd::Raised { .. }
        | AttemptEnd::Lost { .. } => None,
    };
    Outcome {
        kind,
        cause,
        exit_code,
        value: ended.value,
        usage: ended.usage,
    }
}
