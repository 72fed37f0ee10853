//! Amounts of resources and weights of queues: integer thousandths in types of their own.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// Thousandths in one unit.
const MILLI: u64 = 1000;

/// An amount of a resource in thousandths of its unit (one core, one MiB, one piece), below 2^48.
///
/// The bound keeps every comparison of weighted shares within 128 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(u64);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount, 2^48 - 1 thousandths.
    pub const MAX: Self = Self((1 << 48) - 1);

    /// From thousandths; `None` above [`Amount::MAX`].
    #[must_use]
    pub const fn from_milli(milli: u64) -> Option<Self> {
        if milli <= Self::MAX.0 {
            Some(Self(milli))
        } else {
            None
        }
    }

    /// From whole units; `None` above [`Amount::MAX`].
    #[must_use]
    pub const fn from_units(units: u64) -> Option<Self> {
        match units.checked_mul(MILLI) {
            Some(milli) => Self::from_milli(milli),
            None => None,
        }
    }

    /// In thousandths.
    #[must_use]
    pub const fn milli(self) -> u64 {
        self.0
    }

    /// Whether this is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum; `None` above [`Amount::MAX`].
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        Self::from_milli(self.0 + other.0)
    }

    /// The sum, at most [`Amount::MAX`].
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        self.checked_add(other).unwrap_or(Self::MAX)
    }

    /// The difference, at least zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The difference; `None` where `other` is larger.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(milli) => Some(Self(milli)),
            None => None,
        }
    }
}

/// Why a text is no amount or no weight.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseAmountError {
    /// Not a decimal number without sign.
    #[error("'{0}' is not a number such as 2 or 0.5")]
    NotANumber(String),
    /// More than three digits behind the point.
    #[error("'{0}' has more than three digits behind the point")]
    TooFine(String),
    /// Out of range.
    #[error("'{0}' is too large")]
    TooLarge(String),
    /// A weight of zero.
    #[error("a weight must be above 0")]
    ZeroWeight,
}

/// Reads `12`, `0.5` or `.25` as thousandths.
fn parse_milli(text: &str) -> Result<u64, ParseAmountError> {
    let not_a_number = || ParseAmountError::NotANumber(text.to_owned());
    let too_large = || ParseAmountError::TooLarge(text.to_owned());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return Err(not_a_number());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 3 {
        return Err(ParseAmountError::TooFine(text.to_owned()));
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| too_large())?
    };
    let thousandths: u64 = format!("{fraction:0<3}")
        .parse()
        .map_err(|_| not_a_number())?;
    whole
        .checked_mul(MILLI)
        .and_then(|milli| milli.checked_add(thousandths))
        .ok_or_else(too_large)
}

/// Writes thousandths as a decimal without trailing zeros.
fn write_milli(milli: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (whole, rest) = (milli / MILLI, milli % MILLI);
    if rest == 0 {
        return write!(f, "{whole}");
    }
    let fraction = format!("{rest:03}");
    write!(f, "{whole}.{}", fraction.trim_end_matches('0'))
}

impl FromStr for Amount {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_milli(parse_milli(text)?)
            .ok_or_else(|| ParseAmountError::TooLarge(text.to_owned()))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_milli(self.0, f)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_milli(self.0, f)
    }
}

/// What a queue is due relative to its siblings, in thousandths, above zero; 1 unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(NonZeroU32);

impl Weight {
    /// From thousandths; `None` for zero.
    #[must_use]
    pub const fn from_milli(milli: u32) -> Option<Self> {
        match NonZeroU32::new(milli) {
            Some(milli) => Some(Self(milli)),
            None => None,
        }
    }

    /// In thousandths.
    #[must_use]
    pub const fn milli(self) -> u32 {
        self.0.get()
    }

    /// The same, known not to be zero.
    pub(crate) const fn in_milli(self) -> NonZeroU32 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(NonZeroU32::new(1000).expect("1000 is not zero"))
    }
}

impl FromStr for Weight {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let milli = u32::try_from(parse_milli(text)?)
            .map_err(|_| ParseAmountError::TooLarge(text.to_owned()))?;
        Self::from_milli(milli).ok_or(ParseAmountError::ZeroWeight)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_milli(u64::from(self.0.get()), f)
    }
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_milli(u64::from(self.0.get()), f)
    }
}
