//! The only file that reads a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::engine::Time;

/// The time of day, for everything that is kept or shown.
#[must_use]
#[allow(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the clock"
)]
pub fn now() -> Time {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Time::default().after(since_epoch)
}

/// A clock that goes on evenly, however the system's clock is set: it shows the time of day at its start and what has
/// passed since. For waits whose length matters.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    began: Time,
    watch: Stopwatch,
}

impl Steady {
    /// Starts one.
    #[must_use]
    pub fn start() -> Self {
        Self {
            began: now(),
            watch: Stopwatch::start(),
        }
    }

    /// What it shows.
    #[must_use]
    pub fn now(self) -> Time {
        self.began.after(self.watch.elapsed())
    }
}

/// A running stopwatch, for durations that only metrics see.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts one.
    #[must_use]
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the clock"
    )]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Since its start.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
