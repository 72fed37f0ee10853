//! What all parts of a simulated world share: virtual time, what is still to happen, dice, and the history.

use std::collections::BTreeMap;
use std::fmt;

use super::happening::Happening;

/// Milliseconds of virtual time since the world began.
pub(super) type Millis = u64;

/// One second.
pub(super) const SECOND: Millis = 1000;

/// The course of a world. Everything in it follows from the seed.
pub(super) struct Course {
    pub(super) now: Millis,
    pending: BTreeMap<(Millis, u64), Happening>,
    n_planned: u64,
    pub(super) dice: fastrand::Rng,
    /// Whether faults are over: what is lost now is lost by a defect.
    pub(super) is_calm: bool,
    /// Whether messages are lost and repeated.
    pub(super) is_lossy: bool,
    /// The first thing that must never be.
    pub(super) violation: Option<String>,
    /// Lines for people, where somebody wants them.
    history: Option<Vec<String>>,
    digest: u64,
}

impl Course {
    /// The beginning.
    pub(super) fn new(seed: u64, is_recorded: bool) -> Self {
        Self {
            now: 0,
            pending: BTreeMap::new(),
            n_planned: 0,
            dice: fastrand::Rng::with_seed(seed),
            is_calm: false,
            is_lossy: true,
            violation: None,
            history: is_recorded.then(Vec::new),
            digest: 0,
        }
    }

    /// Lets something happen after so long. What is planned for one moment happens in the order of planning.
    pub(super) fn plan(&mut self, after: Millis, happening: Happening) {
        self.plan_at(self.now + after, happening);
    }

    /// Lets something happen then, or now where that is past.
    pub(super) fn plan_at(&mut self, at: Millis, happening: Happening) {
        self.n_planned += 1;
        let key = (at.max(self.now), self.n_planned);
        self.pending.insert(key, happening);
    }

    /// What happens next; time has come to it.
    pub(super) fn next(&mut self) -> Option<Happening> {
        let ((at, number), happening) = self.pending.pop_first()?;
        self.now = at;
        // Two courses that differ anywhere differ in this.
        self.digest = (self.digest ^ at ^ (number << 32)).wrapping_mul(0x0100_0000_01b3);
        Some(happening)
    }

    /// A number that two courses share only if they went alike.
    pub(super) fn digest(&mut self) -> u64 {
        self.digest ^ self.dice.u64(..)
    }

    /// Whether something happens that does so in `n` of a thousand cases, while there are faults.
    pub(super) fn fails(&mut self, n: u32) -> bool {
        // The dice fall either way, so that fewer faults don't change everything else.
        let falls = self.dice.u32(0..1000) < n;
        falls && self.is_lossy && !self.is_calm
    }

    /// A time between these.
    pub(super) fn between(&mut self, least: Millis, most: Millis) -> Millis {
        self.dice.u64(least..=most)
    }

    /// How long a message is under way: mostly no time, sometimes long.
    pub(super) fn delay(&mut self) -> Millis {
        match self.dice.u32(0..100) {
            0..=79 => self.between(0, 20),
            80..=97 => self.between(20, SECOND),
            _ if self.is_calm => self.between(20, SECOND),
            _ => self.between(SECOND, 10 * SECOND),
        }
    }

    /// Writes into the history.
    pub(super) fn tell(&mut self, who: &str, what: impl FnOnce() -> String) {
        if let Some(history) = &mut self.history {
            let at = Clock(self.now);
            history.push(format!("{at:>14}  {who:<10} {}", what()));
        }
    }

    /// Something must never be, and is.
    pub(super) fn violate(&mut self, what: String) {
        self.tell("VIOLATED", || what.clone());
        self.violation.get_or_insert(what);
    }

    /// What was told so far.
    pub(super) fn take_history(&mut self) -> Vec<String> {
        self.history.take().unwrap_or_default()
    }
}

/// Shows a time as `m:ss.mmm`.
struct Clock(Millis);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0 / SECOND, self.0 % SECOND);
        let text = format!("{}:{:02}.{millis:03}", seconds / 60, seconds % 60);
        f.pad(&text)
    }
}
