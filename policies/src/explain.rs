//! What a policy says of its own order, for people who ask why a task waits.

use std::fmt;

use crate::ids::QueueId;
use crate::tree::TaskRank;

/// One step down the queue tree: the children of `parent` were compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The inner queue, the root included, whose children were compared.
    pub parent: QueueId,
    /// The child that would be served first; `None` where nothing below could go.
    pub first: Option<Contender>,
    /// The child on the way to the task that was asked about. The same as `first` where it wins.
    pub own: Contender,
    /// The children that come after `first`, without `own`, in order; as many as were asked for.
    pub others: Vec<Contender>,
}

/// A child with what it was compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contender {
    /// Which.
    pub queue: QueueId,
    /// By what it is ordered, and the task below it that would go; `None` where none can.
    pub standing: Option<(ShownKey, TaskRank)>,
}

/// A key as it can be shown. Of two of one kind, the lesser goes first; a guarantee goes before the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownKey {
    /// It is below its guarantee: what it uses over `min`, in the resource of which it has least of that.
    Guarantee(Fraction),
    /// What it uses, relative to its weight: a dominant share, an amount, or a number of tasks, as its policy has it.
    Use(Fraction),
    /// The order of its next task.
    Order(TaskRank),
}

impl ShownKey {
    /// What kind of key it is, as it is named in JSON.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Guarantee(_) => "guarantee",
            Self::Use(_) => "use",
            Self::Order(_) => "order",
        }
    }

    /// What is compared; `None` for the order of tasks.
    #[must_use]
    pub const fn fraction(self) -> Option<Fraction> {
        match self {
            Self::Guarantee(fraction) | Self::Use(fraction) => Some(fraction),
            Self::Order(_) => None,
        }
    }
}

/// A fraction as it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction {
    /// Its numerator.
    pub part: u128,
    /// Its denominator, above 0.
    pub whole: u128,
}

impl Fraction {
    /// As a decimal, for people.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        self.part as f64 / self.whole as f64
    }
}

impl fmt::Display for Fraction {
    /// Reduced: `2/3`, `0`, `1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut divisor, mut rest) = (self.part, self.whole);
        while rest != 0 {
            (divisor, rest) = (rest, divisor % rest);
        }
        match (self.part / divisor, self.whole / divisor) {
            (part, 1) => write!(f, "{part}"),
            (part, whole) => write!(f, "{part}/{whole}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use super::*;

    #[test]
    fn keys_are_named_and_all_but_the_order_of_tasks_are_fractions() {
        let half = Fraction { part: 1, whole: 2 };
        let first = TaskRank {
            priority: Reverse(0),
            seq: 1,
        };
        for (key, kind, fraction) in [
            (ShownKey::Guarantee(half), "guarantee", Some(half)),
            (ShownKey::Use(half), "use", Some(half)),
            (ShownKey::Order(first), "order", None),
        ] {
            assert_eq!((key.kind(), key.fraction()), (kind, fraction));
        }
    }

    #[test]
    fn fractions_are_shown_reduced() {
        let shown = |part, whole| Fraction { part, whole }.to_string();
        assert_eq!(shown(4, 6), "2/3");
        assert_eq!(shown(0, 7), "0");
        assert_eq!(shown(7, 7), "1");
        assert_eq!(shown(1 << 34, 1 << 36), "1/4");
    }
}
