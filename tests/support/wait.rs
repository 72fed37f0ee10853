//! Waiting on conditions with a deadline: the only place in the tests that pauses.

use std::time::{Duration, Instant};

/// Asks `probe` again and again until it gives something; `None` after `deadline`.
#[allow(
    clippy::disallowed_methods,
    reason = "tests of real processes need real deadlines"
)]
pub(crate) fn within<T>(deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if start.elapsed() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asks `probe` again and again until it gives something.
///
/// # Panics
/// After `deadline`, naming what was waited for.
#[track_caller]
pub(crate) fn until<T>(what: &str, deadline: Duration, probe: impl FnMut() -> Option<T>) -> T {
    within(deadline, probe).unwrap_or_else(|| panic!("waited {deadline:?} in vain for {what}"))
}

/// Like [`until`], for a condition, with 30 s.
#[track_caller]
pub(crate) fn for_true(what: &str, mut holds: impl FnMut() -> bool) {
    until(what, Duration::from_secs(30), || holds().then_some(()));
}

/// Lets time pass: for what a test delays on purpose, never to wait for something.
pub(crate) async fn delay(time: Duration) {
    tokio::time::sleep(time).await;
}
