//! Amounts in JSON: written as exact decimal numbers, read from the digits as they stand in the body.

use std::fmt;
use std::time::Duration;

use apportion_policies::Amount;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::config::units;

/// An amount as a JSON number with at most three decimals; sizes are in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, utoipa::ToSchema)]
#[schema(value_type = f64, minimum = 0)]
pub struct AmountJson(pub Amount);

impl Serialize for AmountJson {
    /// An amount has at most 15 digits, so the shortest decimal of the nearest float is the amount itself.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let milli = self.0.milli();
        if milli.is_multiple_of(1000) {
            serializer.serialize_u64(milli / 1000)
        } else {
            serializer.serialize_f64(milli as f64 / 1000.0)
        }
    }
}

impl<'de> Deserialize<'de> for AmountJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = AmountJson;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number with at most three decimals")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<AmountJson, E> {
                Amount::from_units(number)
                    .map(AmountJson)
                    .ok_or_else(|| E::custom(format_args!("{number} is too large")))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<AmountJson, E> {
                number
                    .to_string()
                    .parse()
                    .map(AmountJson)
                    .map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Number)
    }
}

/// A number or a text, as it was written. What it means depends on what it is an amount of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmountText(String);

impl AmountText {
    /// The amount of this resource that was meant.
    ///
    /// # Errors
    /// The text says what to write instead.
    pub fn parse(&self, resource: &str) -> Result<Amount, units::UnitError> {
        units::parse_amount(resource, &self.0)
    }
}

impl<'de> Deserialize<'de> for AmountText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = Scalar::read(deserializer, "a number or a text")?;
        Ok(Self(match scalar {
            Scalar::Number(text) | Scalar::Text(text) => text,
            Scalar::Null => return Err(de::Error::custom("expected a number or a text, not null")),
        }))
    }
}

/// A number, a text or null of a body, the number with its digits as they were written.
enum Scalar {
    Null,
    Number(String),
    Text(String),
}

impl Scalar {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, expected: &str) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        match raw.bytes().next() {
            Some(b'"') => serde_json::from_str(raw)
                .map(Self::Text)
                .map_err(de::Error::custom),
            Some(b'-' | b'0'..=b'9') => Ok(Self::Number(raw.to_owned())),
            Some(b'n') => Ok(Self::Null),
            _ => Err(de::Error::custom(format_args!(
                "expected {expected}, not {}",
                kind(raw)
            ))),
        }
    }
}

/// What a JSON value is, in words.
fn kind(raw: &str) -> &'static str {
    match raw.bytes().next() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        _ => "a boolean",
    }
}

/// Reads a duration: a number of seconds with at most three decimals, or a text such as `"2h"`; null for none.
///
/// # Errors
/// Anything else, and what [`units::parse_duration`] refuses.
pub fn read_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let expected = "a duration such as \"2h\" or a number of seconds";
    match Scalar::read(deserializer, expected)? {
        Scalar::Text(text) => units::parse_duration(&text)
            .map(Some)
            .map_err(de::Error::custom),
        Scalar::Null => Ok(None),
        Scalar::Number(text) => {
            // The thousandths of a second have the range and the digits of an amount.
            let seconds = units::parse_amount("seconds", &text).map_err(de::Error::custom)?;
            let duration = Duration::from_millis(seconds.milli());
            if duration > units::DURATION_MAX {
                return Err(de::Error::custom(units::UnitError::DurationTooLong(text)));
            }
            Ok(Some(duration))
        }
    }
}
