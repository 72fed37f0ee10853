//! Points in time in JSON: RFC 3339, UTC, milliseconds.

use std::time::{Duration, UNIX_EPOCH};

use crate::engine::Time;

/// The last millisecond of the year 9999, the last that RFC 3339 can write.
const LAST_MILLIS: u64 = 253_402_300_799_999;

/// `2026-11-22T13:05:00.000Z`. What lies behind the year 9999 is written as its end.
#[must_use]
pub fn format(time: Time) -> String {
    let since_epoch = Duration::from_millis(time.0.min(LAST_MILLIS));
    humantime::format_rfc3339_millis(UNIX_EPOCH + since_epoch).to_string()
}

/// A span in seconds, exact to the microsecond.
#[must_use]
pub fn seconds(span: Duration) -> f64 {
    // Rounding to whole microseconds first keeps the decimals short.
    span.as_micros() as f64 / 1e6
}
