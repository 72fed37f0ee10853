//! Task ids on the command line: `7`, or `7-106` for the tasks of an array.

use std::fmt;
use std::str::FromStr;

/// Consecutive ids, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IdRange {
    /// The first.
    pub(super) first: u64,
    /// The last, inclusive.
    pub(super) last: u64,
}

impl IdRange {
    /// The ids of an accepted submission.
    pub(super) fn of(first: u64, count: u64) -> Self {
        Self {
            first,
            last: first.saturating_add(count.saturating_sub(1)),
        }
    }

    /// How many.
    pub(super) fn len(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    /// How many in all of these.
    pub(super) fn count_all(ranges: &[Self]) -> u64 {
        ranges
            .iter()
            .fold(0, |sum, range| range.len().saturating_add(sum))
    }
}

impl FromStr for IdRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let id = |part: &str| part.parse::<u64>().ok().filter(|id| *id > 0);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (id(first), id(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err("write a task's id such as 7, or those of an array such as 7-106".to_owned()),
        }
    }
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_they_are_read() {
        for text in ["7", "7-106"] {
            assert_eq!(text.parse::<IdRange>().unwrap().to_string(), text);
        }
        assert_eq!("7-106".parse::<IdRange>().unwrap().len(), 100);
        assert_eq!(IdRange::of(7, 100).to_string(), "7-106");
        let all = IdRange::of(1, u64::MAX);
        assert_eq!(IdRange::count_all(&[all, all]), u64::MAX);
        assert_eq!(
            IdRange::count_all(&[IdRange::of(7, 2), IdRange::of(1, 1)]),
            3
        );
        for text in ["0", "", "a", "9-7", "-7", "7-", "1.2"] {
            assert!(text.parse::<IdRange>().is_err(), "{text}");
        }
    }
}
