//! The fixed-point numbers of hierarchical DRF at inner queues.
//!
//! Exact shares of inner queues have denominators without bound (each child brings its own), so they
//! are integers here: shares and levels in 2^-48, scaled shares per weight in 2^-32, keys in 2^-36.
//! Every quotient is rounded to the nearest integer, halves up. Sums of integers are the same in any
//! order, so keeping them up to date and adding them up anew give the same bits.

use crate::amount::{Amount, Weight};
use crate::decay::FRACTION_BITS;
use crate::share::Share;

/// Shares count at most as so much (2^12 times the total); real ones are at most 1, unless a total
/// shrinks below what is in use.
const SHARE_MAX: u128 = 1 << 60;

/// So much times 1000, and half of the largest divisor, fit 64 bits.
const FEW: u64 = 1 << 53;

/// `dividend / divisor` to the nearest integer. The sum of the dividend and half the divisor must stay
/// within 128 bits.
const fn rounded(dividend: u128, divisor: u128) -> u128 {
    (dividend + divisor / 2) / divisor
}

/// `used / total` in 2^-48; zero for a total of zero.
pub(crate) fn share(used: Amount, total: Amount) -> u64 {
    counted_share(used.milli() << FRACTION_BITS, total)
}

/// The same of what counts of a use, in 2^-16 of a thousandth.
pub(crate) fn counted_share(counted: u64, total: Amount) -> u64 {
    if total.is_zero() || counted == 0 {
        return 0;
    }
    let dividend = u128::from(counted) << (48 - FRACTION_BITS);
    let share = rounded(dividend, u128::from(total.milli()));
    narrow(share.min(SHARE_MAX))
}

/// A share divided by a weight, in 2^-48.
pub(crate) fn level(share: u64, weight: Weight) -> u64 {
    per(share, u64::from(weight.milli()))
}

/// A share divided by a weight, in 2^-36: coarse enough that shares which are equal as fractions are
/// equal here, whatever was rounded on the way.
pub(crate) fn key(share: u64, weight: Weight) -> u64 {
    per(share, u64::from(weight.milli()) << 12)
}

/// The largest level of a share of which the key isn't above this one.
pub(crate) fn level_limit(key: u64) -> u64 {
    key.saturating_mul(1 << 12).saturating_add(1 << 11)
}

/// A share divided by thousandths.
fn per(share: u64, milli: u64) -> u64 {
    // Shares are hardly ever above one, and dividing 64 bits is much cheaper than 128.
    if share <= FEW {
        return (share * 1000 + milli / 2) / milli;
    }
    narrow(rounded(u128::from(share) * 1000, u128::from(milli)))
}

/// The level of a part of a share, in 2^-48. The part is at most one, of two amounts.
pub(crate) fn level_of_part(share: u64, weight: Weight, part: Share) -> u64 {
    let (part, whole) = part.parts();
    let share = u128::from(share) * 1000 * u128::from(part);
    narrow(rounded(share, whole * u128::from(weight.milli())))
}

/// What a child adds to the sum that a common level multiplies: `weight · share / own level`, in
/// thousandths of 2^-32. Zero where the level is zero: then the share is, too.
pub(crate) fn due(share: u64, own: u64, weight: Weight) -> u64 {
    if share == 0 || own == 0 {
        return 0;
    }
    debug_assert!(share <= own, "a queue's dominant share is its largest");
    if share == own {
        return u64::from(weight.milli()) << 32;
    }
    narrow(rounded(
        (u128::from(weight.milli()) * u128::from(share)) << 32,
        u128::from(own),
    ))
}

/// Thousandths of 2^-32 in one, by which what a level multiplies is finer than a share.
const FINE: u128 = 1000 << 32;

/// A share as finely as a product of a level and a due.
pub(crate) fn fine(share: u64) -> u128 {
    u128::from(share) * FINE
}

/// What a level makes of a due, finely.
pub(crate) fn at_level(level: u64, due: u64) -> u128 {
    u128::from(level) * u128::from(due)
}

/// `level · sum of dues`, and what is there besides, finely, in 2^-48, or `None` where the sum passes 128 bits.
pub(crate) fn scaled(level: u64, dues: u128, besides: u128) -> Option<u128> {
    let product = match u64::try_from(dues) {
        Ok(few) => u128::from(level) * u128::from(few),
        Err(_) => u128::from(level).checked_mul(dues)?,
    };
    // Adding half of what is divided by, and dividing in two steps that come to the same.
    let sum = product.checked_add(besides)?.checked_add(FINE / 2)? >> 32;
    Some(match u64::try_from(sum) {
        Ok(small) => u128::from(small / 1000),
        Err(_) => sum / 1000,
    })
}

fn narrow(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(milli: u64) -> Amount {
        Amount::from_milli(milli).unwrap()
    }

    #[test]
    fn quotients_are_rounded_to_the_nearest() {
        assert_eq!(share(amount(1), amount(2)), 1 << 47);
        assert_eq!(share(amount(1), amount(3)), (1 << 48) / 3);
        assert_eq!(share(amount(2), amount(3)), (1 << 49) / 3 + 1);
        assert_eq!(share(amount(3), amount(7)), (3 << 48) / 7);
        assert_eq!(share(amount(6), amount(7)), (6 << 48) / 7 + 1);
        assert_eq!(share(amount(1), Amount::ZERO), 0);
        let half = FINE / 2;
        assert_eq!(scaled(1, 0, half - 1), Some(0));
        assert_eq!(scaled(1, 0, half), Some(1));
    }

    #[test]
    fn large_numbers_are_divided_as_small_ones_are() {
        let three = Weight::from_milli(3000).unwrap();
        let large = 3 << 58;
        assert_eq!(level(large, three), 1 << 58);
        assert_eq!(level(large + 1, three), 1 << 58);
        assert_eq!(level(large + 2, three), (1 << 58) + 1);
        assert_eq!(scaled(0, 0, fine(u64::MAX)), Some(u128::from(u64::MAX)));
        let dues = u128::from(u64::MAX) + 1;
        assert_eq!(scaled(FINE as u64, dues, 0), Some(dues));
    }

    #[test]
    fn the_level_of_a_part_is_that_of_the_share_which_it_comes_to() {
        let two = Weight::from_milli(2000).unwrap();
        let third = Share::new(amount(1), amount(3));
        let share = share(amount(6), amount(8));
        assert_eq!(level_of_part(share, two, third), 1 << 45);
        assert_eq!(
            level_of_part(share, two, Share::new(amount(5), amount(5))),
            level(share, two)
        );
    }

    #[test]
    fn a_level_within_the_limit_of_a_key_may_have_that_key() {
        let weight = Weight::from_milli(700).unwrap();
        for share in (1..5000_u64).chain((1 << 48) - 5000..1 << 48) {
            let (key, level) = (key(share, weight), level(share, weight));
            assert!(level <= level_limit(key));
            assert!(key == 0 || level > level_limit(key - 1) - 2);
        }
    }

    #[test]
    fn thirds_added_up_have_the_key_of_the_whole() {
        let ninth = share(amount(1), amount(9));
        let third = share(amount(1), amount(3));
        assert_eq!(
            key(3 * ninth, Weight::default()),
            key(third, Weight::default())
        );
    }

    #[test]
    fn scaling_by_the_own_level_gives_the_share_back() {
        let weight = Weight::from_milli(3000).unwrap();
        let (part, own) = (share(amount(2), amount(7)), share(amount(5), amount(7)));
        let dues = u128::from(due(part, own, weight));
        let back = scaled(level(own, weight), dues, 0).unwrap();
        assert!(back.abs_diff(u128::from(part)) < 1 << 18);
    }

    #[test]
    fn quotients_are_rounded_to_the_nearest_however_they_are_found() {
        let three = Weight::from_milli(3000).unwrap();
        // A third is rounded down, two thirds are rounded up.
        for (share, third) in [(0, 0), (1, 0), (2, 1), (3, 1), (4, 1), (5, 2)] {
            assert_eq!(level(share, three), third, "{share}");
            let large = 3 * FEW;
            assert_eq!(level(large + share, three), FEW + third, "{share}");
        }
    }

    #[test]
    fn extremes_neither_overflow_nor_panic() {
        let (light, heavy) = (
            Weight::from_milli(1).unwrap(),
            Weight::from_milli(u32::MAX).unwrap(),
        );
        let most = share(Amount::MAX, amount(1));
        assert_eq!(u128::from(most), SHARE_MAX);
        for weight in [light, heavy] {
            key(most, weight);
            let level = level(most, weight);
            scaled(
                level,
                u128::from(due(most, most, weight)) * 100_000,
                fine(most) * 100_000,
            );
            due(most - 1, most, weight);
        }
        assert_eq!(scaled(u64::MAX, u128::MAX, 0), None);
        assert_eq!(scaled(1, 1, u128::MAX), None);
        assert_eq!(due(0, 0, light), 0);
    }
}
