//! Shares as exact fractions, compared by cross-multiplication.

use std::cmp::Ordering;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

use crate::amount::{Amount, Weight};

/// A share: an amount over a total, divided by a weight. Never a float, so equal shares are equal.
///
/// Numerator below 2^48, denominator below 2^80, hence a comparison is two products below 2^128. A bare
/// number ([`Share::count`]) may have 64 bits: its denominator is 1, or with a weight below 2^32.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    part: u64,
    /// The denominator is the product of these two. Apart, they make a share half as large.
    total: NonZeroU64,
    weight: NonZeroU32,
}

impl Share {
    /// Nothing of anything.
    pub const ZERO: Self = Self::count(0);

    /// `used / total`. A total of zero gives zero: a resource that isn't there counts in no share.
    #[must_use]
    pub fn new(used: Amount, total: Amount) -> Self {
        NonZeroU64::new(total.milli()).map_or(Self::ZERO, |total| Self {
            part: used.milli(),
            total,
            weight: NonZeroU32::MIN,
        })
    }

    /// A bare number: a count, or an amount where all that it is compared with have the same total.
    #[must_use]
    pub const fn count(number: u64) -> Self {
        Self {
            part: number,
            total: NonZeroU64::MIN,
            weight: NonZeroU32::MIN,
        }
    }

    /// In 2^-48, of which less than 2^64 count.
    pub(crate) fn fixed(share: u128) -> Self {
        Self {
            part: u64::try_from(share).unwrap_or(u64::MAX),
            total: const { NonZeroU64::new(1 << 48).expect("not zero") },
            weight: NonZeroU32::MIN,
        }
    }

    /// How far two shares are apart, in 2^-48, as a share.
    #[must_use]
    pub fn apart(self, other: Self) -> Self {
        let fixed = |share: Self| (u128::from(share.part) << 48) / share.whole();
        Self::fixed(fixed(self).abs_diff(fixed(other)))
    }

    /// This share divided by a weight. The weight's unit (thousandths) cancels out between siblings.
    ///
    /// # Panics
    /// If the share was divided by a weight before.
    #[must_use]
    pub fn per(self, weight: Weight) -> Self {
        assert!(
            self.weight == NonZeroU32::MIN,
            "a share is divided by a weight once"
        );
        Self {
            weight: weight.in_milli(),
            ..self
        }
    }

    const fn whole(self) -> u128 {
        self.total.get() as u128 * self.weight.get() as u128
    }

    /// Numerator and denominator, not reduced.
    #[must_use]
    pub const fn parts(self) -> (u64, u128) {
        (self.part, self.whole())
    }

    /// A number below 2^49 that is never greater for a lesser share: the exponent of 2 and the first 40 bits of what the
    /// share comes to. Shares with the same number must be compared.
    pub(crate) fn coarse(self) -> u64 {
        const BITS: u32 = 40;
        if self.part == 0 {
            return 0;
        }
        if self.total == NonZeroU64::MIN && self.weight == NonZeroU32::MIN {
            // The same, without a division.
            let zeros = self.part.leading_zeros();
            let first = (self.part << zeros) >> (64 - BITS);
            let exponent = u64::from(64 - zeros + 256);
            return (exponent << (BITS - 1)) + first - (1 << (BITS - 1));
        }
        // As many bits of the quotient as a division gives: at least 47, since the denominator has 80 at most.
        let shift = 63 + self.part.leading_zeros();
        let quotient = (u128::from(self.part) << shift) / self.whole();
        let n_bits = 128 - quotient.leading_zeros();
        let first = (quotient >> (n_bits - BITS)) as u64;
        let exponent = u64::from(n_bits + 256 - shift);
        (exponent << (BITS - 1)) + first - (1 << (BITS - 1))
    }

    /// As a decimal, for people and metrics; never for an order.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        self.part as f64 / self.whole() as f64
    }
}

impl Ord for Share {
    fn cmp(&self, other: &Self) -> Ordering {
        if (self.total, self.weight) == (other.total, other.weight) {
            return self.part.cmp(&other.part);
        }
        let (one, two) = (u128::from(self.part), u128::from(other.part));
        (one * other.whole()).cmp(&(two * self.whole()))
    }
}

impl PartialOrd for Share {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Share {}

impl fmt::Display for Share {
    /// As a reduced fraction: `2/3`, `0`, `1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut a, mut b) = (u128::from(self.part), self.whole());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        match (u128::from(self.part) / a, self.whole() / a) {
            (part, 1) => write!(f, "{part}"),
            (part, whole) => write!(f, "{part}/{whole}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares() -> impl Strategy<Value = Share> {
        let amounts = prop_oneof![0..30_u64, 0..1_u64 << 48];
        let weights = prop_oneof![1..9_u32, 1..=u32::MAX];
        let count = any::<u64>().prop_map(Share::count);
        let amount = |milli| Amount::from_milli(milli).expect("below 2^48");
        let share = (amounts.clone(), amounts, weights).prop_map(move |(part, total, weight)| {
            let weight = Weight::from_milli(weight).expect("above zero");
            Share::new(amount(part), amount(total)).per(weight)
        });
        prop_oneof![1 => count, 5 => share]
    }

    /// `part` of 7.
    fn seventh(part: u64) -> Share {
        let amount = |milli| Amount::from_milli(milli).unwrap();
        Share::new(amount(part), amount(7))
    }

    /// The same, divided by a weight of 3.
    fn weighed(part: u64) -> Share {
        seventh(part).per(Weight::from_milli(3).unwrap())
    }

    #[test]
    fn a_coarse_number_is_an_exponent_and_the_first_bits_however_it_is_found() {
        assert_eq!(Share::ZERO.coarse(), 0);
        let parts = [1, 2, 3, 7, 1000, 12_345_678_901];
        for share in [Share::count as fn(u64) -> Share, seventh, weighed] {
            for part in parts {
                let coarse = share(part).coarse();
                assert!(coarse < share(part + 1).coarse(), "{part}");
                assert_eq!(share(2 * part).coarse(), coarse + (1 << 39), "{part}");
            }
        }
        for part in parts {
            // One is divided, the other isn't.
            assert_eq!(weighed(21 * part).coarse(), Share::count(part).coarse());
            assert_eq!(seventh(7 * part).coarse(), Share::count(part).coarse());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn coarse_numbers_go_up_with_the_shares(one in shares(), other in shares()) {
            let product = |share: Share, by: Share| {
                u128::from(share.part).checked_mul(by.whole())
            };
            prop_assert!(one.coarse() < 1 << 49);
            if product(one, other).and(product(other, one)).is_some() {
                let coarse = one.coarse().cmp(&other.coarse());
                prop_assert!(coarse == one.cmp(&other) || coarse == Ordering::Equal);
            }
        }
    }
}
