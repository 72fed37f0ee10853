//! When and how an executor ends.

use std::time::Duration;

use super::{ExitReason, FIRST_TASK_MAX, Output, Session};
use crate::engine::Time;

/// Of the time that the agent gives before it kills, so much is kept for telling it of the ends.
const TELLING: Duration = Duration::from_secs(1);

/// How long attempts have to end when the agent is gone.
const ORPHANED_GRACE: Duration = Duration::from_secs(5);

/// How much longer than its grace an attempt may take to be gone.
const MARGIN: Duration = Duration::from_secs(5);

/// That this executor is about to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    reason: ExitReason,
    /// It ends then, whatever is left.
    pub(super) deadline: Time,
}

impl Session {
    /// Ends all attempts, tells of their ends, and then ends the executor.
    pub(super) fn shut_down(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.ending.is_some() {
            return;
        }
        tracing::info!("told to end");
        let grace = self.options.shutdown_grace;
        self.ending = Some(Ending {
            reason: ExitReason::Told,
            deadline: now.after(grace),
        });
        self.kill_all(now, grace.saturating_sub(TELLING.min(grace / 2)), out);
    }

    /// The agent is gone for good: nobody is there to be told anything.
    pub(super) fn give_agent_up(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.is_exiting(ExitReason::AgentGone) {
            return;
        }
        tracing::warn!("the agent is gone for good; ending what runs");
        self.ending = Some(Ending {
            reason: ExitReason::AgentGone,
            deadline: now.after(ORPHANED_GRACE + MARGIN),
        });
        self.kill_all(now, ORPHANED_GRACE, out);
    }

    pub(super) fn is_exiting(&self, reason: ExitReason) -> bool {
        self.ending.is_some_and(|ending| ending.reason == reason)
    }

    /// Until when to wait for another task.
    pub(super) fn idle_until(&self) -> Option<Time> {
        let idle_max = match self.options.idle_timeout {
            idle_max if self.had_a_task => idle_max?,
            Some(idle_max) => idle_max.max(FIRST_TASK_MAX),
            None => FIRST_TASK_MAX,
        };
        Some(self.idle_since?.after(idle_max))
    }

    /// Ends the executor if there is nothing left to wait for.
    pub(super) fn end_if_due(&mut self, now: Time, out: &mut Vec<Output>) {
        let reason = match self.ending {
            Some(Ending { reason, deadline }) => {
                let is_over = match reason {
                    ExitReason::AgentGone => self.attempts.is_empty(),
                    ExitReason::Idle | ExitReason::Told => self.idle_since.is_some(),
                };
                (is_over || deadline <= now).then_some(reason)
            }
            None => {
                let is_over = self.idle_until().is_some_and(|until| until <= now);
                is_over.then_some(ExitReason::Idle)
            }
        };
        out.extend(reason.map(Output::Exit));
    }
}
