//! Timers: ends of pauses and timeouts of attempts, in the order in which they are due.

use std::collections::BTreeSet;

use super::super::spec::{AttemptId, TaskId};
use super::super::time::Time;

/// What happens at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Timer {
    /// The pause before a task's next attempt is over.
    Pause(TaskId),
    /// An attempt has run as long as it may.
    Timeout(AttemptId),
}

/// All timers. The order is that of time, and of ids at the same time.
#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeSet<(Time, Timer)>);

impl Timers {
    /// Sets a timer.
    pub(crate) fn insert(&mut self, at: Time, timer: Timer) {
        self.0.insert((at, timer));
    }

    /// Takes a timer away, if it is set.
    pub(crate) fn remove(&mut self, at: Time, timer: Timer) {
        self.0.remove(&(at, timer));
    }

    /// The tasks whose pauses are over, with the time, in order.
    pub(crate) fn due_pauses(&self, now: Time) -> Vec<(Time, TaskId)> {
        let pauses = self.due(now).filter_map(|(at, timer)| match timer {
            Timer::Pause(task) => Some((at, task)),
            Timer::Timeout(_) => None,
        });
        pauses.collect()
    }

    /// The attempts whose time is over, in order.
    pub(crate) fn due_timeouts(&self, now: Time) -> Vec<AttemptId> {
        let timeouts = self.due(now).filter_map(|(_, timer)| match timer {
            Timer::Timeout(attempt) => Some(attempt),
            Timer::Pause(_) => None,
        });
        timeouts.collect()
    }

    fn due(&self, now: Time) -> impl Iterator<Item = (Time, Timer)> + '_ {
        self.iter().take_while(move |(at, _)| *at <= now)
    }

    /// When the first timer is due.
    pub(crate) fn next(&self) -> Option<Time> {
        self.0.first().map(|(at, _)| *at)
    }

    /// All timers, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Time, Timer)> + '_ {
        self.0.iter().copied()
    }
}
