//! Amounts, sizes, durations and points in time as people read them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apportion_policies::Amount;

use super::wire::{Amounts, Quantity};
use crate::config::units;

/// The last millisecond of the year 9999.
const LAST_MS: u64 = 253_402_300_799_999;

/// `cpus=2 mem=4GiB`, in order of names, without what is zero; a dash for nothing.
pub(super) fn amounts(amounts: &Amounts) -> String {
    joined(amounts.iter().filter(|(_, amount)| !amount.0.is_zero()))
}

/// `cpus=0 mem=4GiB`, in order of names: a limit of zero is one too. A dash for no limit.
pub(super) fn limits(limits: &Amounts) -> String {
    joined(limits.iter())
}

fn joined<'a>(amounts: impl Iterator<Item = (&'a String, &'a Quantity)>) -> String {
    let parts: Vec<String> = amounts
        .map(|(name, amount)| format!("{name}={}", amount_of(name, amount.0)))
        .collect();
    or_dash(parts.join(" "))
}

/// `rack=r1 room=b`, in order of names.
pub(super) fn pairs(pairs: &BTreeMap<String, String>) -> String {
    pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// An amount of a resource, sizes with their unit.
pub(super) fn amount_of(resource: &str, amount: Amount) -> String {
    if units::is_size(resource) && !amount.is_zero() {
        mib(amount)
    } else {
        amount.to_string()
    }
}

/// A size exactly where that is short, otherwise with one digit behind the point.
fn mib(size: Amount) -> String {
    let exact = units::format_mib(size);
    let n_digits = exact.bytes().filter(u8::is_ascii_digit).count();
    if n_digits <= 4 {
        return exact;
    }
    let size_bytes = u128::from(size.milli()) * 1_048_576 / 1000;
    bytes(u64::try_from(size_bytes).unwrap_or(u64::MAX))
}

/// `12.3MiB`, `512B`.
pub(super) fn bytes(bytes: u64) -> String {
    let (mut number, mut unit) = (bytes as f64, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        // From here on one digit behind the point would already show as 1024.0.
        if number < 1023.95 {
            break;
        }
        (number, unit) = (number / 1024.0, larger);
    }
    if unit == "B" {
        format!("{bytes}B")
    } else {
        format!("{number:.1}{unit}")
    }
}

/// `350ms`, `2.50s`, `12s`, `2m 5s`, `3h 20m`, `4d 2h`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..10 if duration.subsec_millis() > 0 => format!("{:.2}s", duration.as_secs_f64()),
        1..10 => format!("{seconds}s"),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// The same of a number of seconds; what is no duration counts as zero.
pub(super) fn seconds(seconds: f64) -> String {
    duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// How long ago a time of the API was, in whole seconds; a dash where it can't be read.
pub(super) fn age(now: SystemTime, rfc3339: Option<&str>) -> String {
    let ago = rfc3339
        .and_then(time)
        .map(|then| since(now, then).as_secs());
    or_dash(match ago {
        Some(0) => "0s".to_owned(),
        Some(seconds) => duration(Duration::from_secs(seconds)),
        None => String::new(),
    })
}

/// `2026-11-22 13:05:00 UTC`, from a time of the API.
pub(super) fn point(rfc3339: Option<&str>) -> String {
    let shown = rfc3339.and_then(time).map(|time| {
        humantime::format_rfc3339_seconds(time)
            .to_string()
            .replace('T', " ")
            .replace('Z', " UTC")
    });
    or_dash(shown.unwrap_or_default())
}

/// As the API writes times; what lies too far ahead as the last time that can be written.
pub(super) fn rfc3339(at_ms: u64) -> String {
    let since_epoch = Duration::from_millis(at_ms.min(LAST_MS));
    humantime::format_rfc3339_millis(UNIX_EPOCH + since_epoch).to_string()
}

/// Reads a time of the API.
pub(super) fn time(rfc3339: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(rfc3339).ok()
}

/// How long ago `earlier` was; zero where it lies ahead.
pub(super) fn since(now: SystemTime, earlier: SystemTime) -> Duration {
    now.duration_since(earlier).unwrap_or_default()
}

/// A text that may hold anything, as one line without what would move the cursor.
pub(super) fn one_line(text: &str) -> String {
    let plain = |it: char| if it.is_control() { ' ' } else { it };
    text.chars().map(plain).collect()
}

/// A dash where there is nothing to say.
pub(super) fn or_dash(text: String) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}

/// `1 task`, `2 tasks`.
pub(super) fn count(number: u64, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_at_most_two_units() {
        for (millis, text) in [
            (350, "350ms"),
            (2_500, "2.50s"),
            (3_000, "3s"),
            (12_900, "12s"),
            (125_000, "2m 5s"),
            (12_000_000, "3h 20m"),
            (352_800_000, "4d 2h"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(seconds(-1.0), "0ms");
    }

    #[test]
    fn sizes_stay_short() {
        assert_eq!(bytes(512), "512B");
        assert_eq!(bytes(1_048_575), "1.0MiB");
        assert_eq!(bytes(12_900_000), "12.3MiB");
        assert_eq!(amount_of("mem", "4096".parse().unwrap()), "4GiB");
        assert_eq!(amount_of("mem", "24105".parse().unwrap()), "23.5GiB");
        assert_eq!(amount_of("mem", "31947.123".parse().unwrap()), "31.2GiB");
        assert_eq!(amount_of("licences", "0.5".parse().unwrap()), "0.5");
    }

    #[test]
    fn times() {
        let then = Some("2026-11-22T13:05:00.500Z");
        assert_eq!(point(then), "2026-11-22 13:05:00 UTC");
        let now = time("2026-11-22T13:07:05.400Z").unwrap();
        assert_eq!(age(now, then), "2m 4s");
        assert_eq!(age(now, Some("soon")), "-");
    }
}
