//! Timers that are due: pauses that are over, and attempts whose time is.

use super::{Engine, Fact, Output, Time};

impl Engine {
    pub(super) fn fire_timers(&mut self, now: Time, out: &mut Output) {
        self.state.end_pauses(now);
        for attempt in self.state.timers.due_timeouts(now) {
            self.emit(out, Fact::TimedOut { attempt, at: now });
            self.kill(attempt, out);
        }
    }
}
