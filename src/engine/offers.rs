//! What becomes of offers that nothing used: kept, or declined and asked for again in time.
//!
//! A guest of a cluster holds no offer that it doesn't use. What a turn leaves is declined, and the agent
//! remembers what it was: should something that waits fit that later, offers are asked for again. While
//! nothing waits, none are wanted at all. So a declined offer need not come again by itself, and the
//! scheduler that shares out the cluster is rarely asked for more.

use std::sync::Arc;
use std::time::Duration;

use super::{Decision, Engine, Output, Time};

/// Nothing has waited for so long: offers are suppressed. Shorter pauses in the work don't cost two calls each.
const SUPPRESS_AFTER: Duration = Duration::from_secs(5);

/// Between two revivals, where the first one led to a launch. Doubled for each one in a row that didn't.
const REVIVE_PAUSE: Duration = Duration::from_secs(1);

/// The longest such pause.
const REVIVE_PAUSE_MAX: Duration = Duration::from_secs(60);

/// So long after the end of an attempt, what it held is expected to be offered without asking.
const OFFER_EXPECTED: Duration = Duration::from_secs(2);

/// What waits for so long for an offer that is expected asks for it all the same.
const EXPECTING_MAX: Duration = Duration::from_secs(5);

/// When offers are asked for, and when none are wanted.
#[derive(Debug)]
pub(super) struct OfferPace {
    /// Whether offers that nothing used are declined at all.
    declines: bool,
    is_suppressed: bool,
    /// Whether it was forgotten what was declined: whatever waits next asks for offers.
    has_lost_track: bool,
    /// Since when nothing waits.
    idle_since: Option<Time>,
    /// Since when something waits that fits what was declined.
    wanted_since: Option<Time>,
    /// Offers are expected without asking until then.
    expected_until: Option<Time>,
    /// No revival before this.
    not_before: Time,
    pause: Duration,
}

impl Default for OfferPace {
    fn default() -> Self {
        Self {
            declines: false,
            is_suppressed: false,
            has_lost_track: false,
            idle_since: None,
            wanted_since: None,
            expected_until: None,
            not_before: Time::default(),
            pause: REVIVE_PAUSE,
        }
    }
}

impl OfferPace {
    /// Whether offers that nothing used are declined.
    pub(super) fn declines(&self) -> bool {
        self.declines
    }

    /// Whether declined offers are to be asked for.
    pub(super) fn wants_revival(&self) -> bool {
        self.wanted_since.is_some()
    }

    /// Something waits that fits what was declined.
    pub(super) fn want_revival(&mut self, now: Time) {
        self.wanted_since.get_or_insert(now);
    }

    /// What an attempt held will be offered.
    pub(super) fn expect(&mut self, now: Time) {
        self.expected_until = Some(now.after(OFFER_EXPECTED));
    }

    /// An offer came.
    pub(super) fn offered(&mut self) {
        self.expected_until = None;
    }

    /// What was declined is not known any more.
    pub(super) fn lose_track(&mut self) {
        self.has_lost_track = true;
    }

    /// Offers come by themselves.
    pub(super) fn forget(&mut self) {
        self.has_lost_track = false;
        self.wanted_since = None;
        self.expected_until = None;
    }

    /// Asking for offers was worth it.
    fn launched(&mut self, now: Time) {
        self.pause = REVIVE_PAUSE;
        self.not_before = self.not_before.min(now.after(REVIVE_PAUSE));
    }

    /// When offers are asked for, if something fits what was declined.
    fn revive_at(&self) -> Option<Time> {
        let wanted = self.wanted_since?;
        let expected = self.expected_until.unwrap_or_default();
        let patient = expected.min(wanted.after(EXPECTING_MAX));
        Some(self.not_before.max(patient))
    }

    /// When no offers are wanted any more, if nothing waits until then.
    fn suppress_at(&self) -> Option<Time> {
        let since = self.idle_since.filter(|_| !self.is_suppressed)?;
        Some(since.after(SUPPRESS_AFTER))
    }

    /// When something has to be done though nothing happens.
    pub(super) fn wake_at(&self) -> Option<Time> {
        // At most one of them is there: something waits, or nothing does.
        self.suppress_at().or(self.revive_at())
    }

    fn revived(&mut self, now: Time) {
        self.is_suppressed = false;
        self.forget();
        self.not_before = now.after(self.pause);
        self.pause = (self.pause * 2).min(REVIVE_PAUSE_MAX);
    }
}

impl Engine {
    /// From now on, offers that a turn leaves unused are declined, for a backend that is a guest of its
    /// cluster. Otherwise they are kept until they are used or rescinded.
    pub fn decline_offers(&mut self) {
        self.pace.declines = true;
    }

    /// Declines what the turn left of the offers, and says whether more are wanted. At the end of a turn.
    pub(super) fn settle_offers(&mut self, now: Time, out: &mut Output) {
        if !self.pace.declines {
            return;
        }
        for agent in self.state.agents.take_offering() {
            if self.state.claims.keeps(agent) {
                self.state.agents.hold_offers(agent);
                continue;
            }
            let offers = self.state.agents.decline(agent);
            let agent = Arc::clone(&self.state.agents.get(agent).name);
            out.decisions.push(Decision::Decline { agent, offers });
        }
        if out.n_decided > 0 {
            self.pace.launched(now);
        }
        if self.state.queues.fits.is_idle() {
            self.pace.wanted_since = None;
            self.pace.idle_since.get_or_insert(now);
            if self.pace.suppress_at().is_some_and(|at| at <= now) {
                self.pace.is_suppressed = true;
                out.decisions.push(Decision::Suppress);
            }
            return;
        }
        self.pace.idle_since = None;
        if self.pace.is_suppressed || self.pace.has_lost_track {
            self.pace.want_revival(now);
        }
        if self.pace.revive_at().is_some_and(|at| at <= now) {
            self.state.agents.forget_declined();
            // Claims keep nothing of what is no longer known to be there.
            self.state.keep(now);
            self.pace.revived(now);
            out.decisions.push(Decision::Revive);
        }
    }
}
