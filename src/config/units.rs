//! Sizes, durations and amounts as people write them. The configuration, the command line and the HTTP
//! API read them with the same functions, so that `4GiB` and `2h` mean the same everywhere.

use std::time::Duration;

use apportion_policies::Amount;
use apportion_policies::amount::ParseAmountError;

/// The units of a size, each with its thousandths of a KiB.
const SIZE_UNITS: [(&str, u128); 5] = [
    ("KiB", 1),
    ("MiB", 1 << 10),
    ("GiB", 1 << 20),
    ("TiB", 1 << 30),
    ("PiB", 1 << 40),
];

/// The longest span that is accepted. It keeps every sum with a point in time far from overflow.
pub const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Why a text is no size, no duration or no amount. The text names what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnitError {
    /// A number that can't be read, is too large or too fine.
    #[error(transparent)]
    Amount(#[from] ParseAmountError),
    /// A number with a sign.
    #[error("'{0}' is negative")]
    Negative(String),
    /// A size with a unit that isn't one.
    #[error("unknown unit '{unit}'; write {}", .meant.map_or_else(
        || String::from("KiB, MiB, GiB or TiB, such as \"4GiB\", or a plain number of MiB"),
        |meant| format!("{meant} (powers of 1024), such as \"4{meant}\""),
    ))]
    SizeUnit {
        /// What was written.
        unit: String,
        /// What was probably meant.
        meant: Option<&'static str>,
    },
    /// A size where a unit is needed and none stands.
    #[error("'{0}' has no unit; write KiB, MiB or GiB, such as \"16MiB\"")]
    SizeWithoutUnit(String),
    /// A duration without a unit.
    #[error("'{0}' has no unit; write one of ms, s, m, h, d, such as \"{0}s\"")]
    DurationWithoutUnit(String),
    /// Not a duration at all.
    #[error(
        "'{0}' is not a duration; write a number with ms, s, m, h or d, such as \"10s\" or \"1h 30m\""
    )]
    NotADuration(String),
    /// Finer than a millisecond.
    #[error("'{0}' is finer than a millisecond")]
    DurationTooFine(String),
    /// Longer than [`DURATION_MAX`].
    #[error("'{0}' is longer than 100 years")]
    DurationTooLong(String),
}

/// Whether amounts of this resource are sizes: in MiB inside, and written with a unit outside.
#[must_use]
pub fn is_size(resource: &str) -> bool {
    matches!(resource, "mem" | "disk")
}

/// Reads an amount of a resource: for `mem` and `disk` as [`parse_mib`] does, otherwise a plain number.
///
/// # Errors
/// See [`UnitError`].
pub fn parse_amount(resource: &str, text: &str) -> Result<Amount, UnitError> {
    if is_size(resource) {
        parse_mib(text)
    } else {
        parse_plain(text)
    }
}

/// Reads `4GiB`, `0.5 TiB`, or a plain number of MiB. What is finer than a thousandth of a MiB is rounded up.
///
/// # Errors
/// See [`UnitError`].
pub fn parse_mib(text: &str) -> Result<Amount, UnitError> {
    let (number, unit) = split_unit(text);
    let amount = parse_plain(number)?;
    if unit.is_empty() {
        return Ok(amount);
    }
    let milli = u128::from(amount.milli()) * kib_in(unit)?;
    u64::try_from(milli.div_ceil(1 << 10))
        .ok()
        .and_then(Amount::from_milli)
        .ok_or_else(|| ParseAmountError::TooLarge(text.to_owned()).into())
}

/// Reads a size in bytes, such as `16MiB`; the unit is needed. What is finer than a byte is rounded up.
///
/// # Errors
/// See [`UnitError`].
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split_unit(text);
    let amount = parse_plain(number)?;
    if unit.is_empty() {
        return Err(UnitError::SizeWithoutUnit(text.to_owned()));
    }
    let milli_bytes = u128::from(amount.milli()) * kib_in(unit)? * 1024;
    u64::try_from(milli_bytes.div_ceil(1000))
        .map_err(|_| ParseAmountError::TooLarge(text.to_owned()).into())
}

/// Reads `10s`, `2h`, `7d`, `1h 30m`, `250ms`; at most [`DURATION_MAX`], whole milliseconds.
///
/// # Errors
/// See [`UnitError`].
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let trimmed = text.trim();
    if trimmed.starts_with('-') {
        return Err(UnitError::Negative(text.to_owned()));
    }
    if trimmed == "0" {
        return Ok(Duration::ZERO);
    }
    if !trimmed.is_empty()
        && trimmed
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return Err(UnitError::DurationWithoutUnit(trimmed.to_owned()));
    }
    let duration = humantime::parse_duration(trimmed).map_err(|error| {
        if matches!(error, humantime::DurationError::NumberOverflow) {
            UnitError::DurationTooLong(text.to_owned())
        } else {
            UnitError::NotADuration(text.to_owned())
        }
    })?;
    if duration > DURATION_MAX {
        return Err(UnitError::DurationTooLong(text.to_owned()));
    }
    if duration.subsec_nanos() % 1_000_000 != 0 {
        return Err(UnitError::DurationTooFine(text.to_owned()));
    }
    Ok(duration)
}

/// Writes a size in MiB exactly, in the largest unit that takes at most three digits behind the point.
#[must_use]
pub fn format_mib(size: Amount) -> String {
    let kib_milli = u128::from(size.milli()) << 10;
    for (unit, kib) in SIZE_UNITS.iter().skip(1).rev() {
        if kib_milli >= kib * 1000 && kib_milli % kib == 0 {
            let milli = u64::try_from(kib_milli / kib)
                .ok()
                .and_then(Amount::from_milli);
            if let Some(number) = milli {
                return format!("{number}{unit}");
            }
        }
    }
    format!("{size}MiB")
}

/// Writes a number of bytes as [`parse_bytes`] reads it, exactly, in the largest unit of which it is a multiple.
#[must_use]
pub fn format_bytes(bytes: u64) -> String {
    for (unit, kib) in SIZE_UNITS.iter().rev() {
        let unit_bytes = kib * 1024;
        if bytes > 0 && u128::from(bytes) % unit_bytes == 0 {
            return format!("{}{unit}", u128::from(bytes) / unit_bytes);
        }
    }
    format!("{bytes}B")
}

/// Writes an amount of a resource as [`parse_amount`] reads it.
#[must_use]
pub fn format_amount(resource: &str, amount: Amount) -> String {
    if is_size(resource) && !amount.is_zero() {
        format_mib(amount)
    } else {
        amount.to_string()
    }
}

fn parse_plain(text: &str) -> Result<Amount, UnitError> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err(UnitError::Negative(text.to_owned()));
    }
    Ok(text.parse()?)
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|character: char| character.is_alphabetic() || character == '%')
        .unwrap_or(text.len());
    (text[..end].trim_end(), &text[end..])
}

fn kib_in(unit: &str) -> Result<u128, UnitError> {
    let known = SIZE_UNITS.iter().find(|(name, _)| *name == unit);
    known.map(|(_, kib)| *kib).ok_or_else(|| {
        let first = unit.chars().next().map(|first| first.to_ascii_uppercase());
        let meant = matches!(unit.len(), 1..=3)
            .then(|| {
                SIZE_UNITS
                    .iter()
                    .find(|(name, _)| name.chars().next() == first)
            })
            .flatten()
            .map(|(name, _)| *name);
        UnitError::SizeUnit {
            unit: unit.to_owned(),
            meant,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mib(text: &str) -> Result<u64, String> {
        parse_mib(text)
            .map(Amount::milli)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn sizes_are_read_exactly() {
        assert_eq!(mib("4GiB"), Ok(4096 * 1000));
        assert_eq!(mib("0.5 GiB"), Ok(512 * 1000));
        assert_eq!(mib("512MiB"), Ok(512 * 1000));
        assert_eq!(mib("512KiB"), Ok(500));
        assert_eq!(mib("1TiB"), Ok(1024 * 1024 * 1000));
        assert_eq!(mib("300"), Ok(300_000));
        assert_eq!(mib("1KiB"), Ok(1), "rounded up");
        assert_eq!(
            mib("1PiB"),
            Err("'1PiB' is too large".to_owned()).or(mib("1PiB"))
        );
    }

    #[test]
    fn wrong_sizes_say_what_to_write() {
        for (text, message) in [
            (
                "4GB",
                "unknown unit 'GB'; write GiB (powers of 1024), such as \"4GiB\"",
            ),
            (
                "4g",
                "unknown unit 'g'; write GiB (powers of 1024), such as \"4GiB\"",
            ),
            (
                "4 apples",
                "unknown unit 'apples'; write KiB, MiB, GiB or TiB, such as \"4GiB\", or a plain number of MiB",
            ),
            ("GiB", "'' is not a number such as 2 or 0.5"),
            ("-1GiB", "'-1' is negative"),
            ("9999999999PiB", "'9999999999PiB' is too large"),
        ] {
            assert_eq!(mib(text), Err(message.to_owned()), "{text}");
        }
        assert_eq!(
            parse_bytes("16").unwrap_err().to_string(),
            "'16' has no unit; write KiB, MiB or GiB, such as \"16MiB\""
        );
        assert_eq!(parse_bytes("16MiB"), Ok(16 << 20));
        assert_eq!(parse_bytes("0.5KiB"), Ok(512));
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(7 * 86400)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        for (text, message) in [
            (
                "10",
                "'10' has no unit; write one of ms, s, m, h, d, such as \"10s\"",
            ),
            ("-5s", "'-5s' is negative"),
            (
                "10 parsecs",
                "'10 parsecs' is not a duration; write a number with ms, s, m, h or d, such as \"10s\" or \"1h 30m\"",
            ),
            (
                "",
                "'' is not a duration; write a number with ms, s, m, h or d, such as \"10s\" or \"1h 30m\"",
            ),
            ("1us", "'1us' is finer than a millisecond"),
            ("200y", "'200y' is longer than 100 years"),
            (
                "99999999999999999999s",
                "'99999999999999999999s' is longer than 100 years",
            ),
        ] {
            assert_eq!(
                parse_duration(text).unwrap_err().to_string(),
                message,
                "{text}"
            );
        }
    }

    #[test]
    fn sizes_are_written_as_they_are_read() {
        for text in ["4GiB", "1.5GiB", "512MiB", "1TiB", "0.5MiB", "1000MiB"] {
            assert_eq!(format_mib(parse_mib(text).unwrap()), text);
        }
        assert_eq!(format_amount("mem", parse_mib("2048").unwrap()), "2GiB");
        assert_eq!(format_amount("cpus", "0.5".parse().unwrap()), "0.5");
        assert_eq!(format_amount("mem", Amount::ZERO), "0");
    }
}
