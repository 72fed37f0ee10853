//! What a queue uses as a function of its level: straight between points.

/// One, in 2^-48.
pub(super) const ONE: u128 = 1 << 48;

/// A share in 2^-48, or an amount over its total.
pub(super) type Fixed = u128;

/// By so much a queue's level goes up at least while it uses more: also where its dominant share stays, since what it
/// uses more of isn't the dominant resource. Then what it uses has one level each, and a level one use.
pub(super) const LEVEL_STEP: Fixed = 1 << 24;

/// A point of a queue's curve: at this level of its own it uses so much of each resource.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) level: Fixed,
    /// The common level of its children then; of a leaf none.
    pub(super) below: Fixed,
    pub(super) used: Vec<Fixed>,
}

/// What a queue uses as a function of its dominant share: straight between points, constant behind the last.
#[derive(Clone, Debug, Default)]
pub(super) struct Curve(pub(super) Vec<Point>);

/// `number · part / whole`; zero for a whole of zero. Below 2^62 each, so the product fits.
pub(super) fn times(number: Fixed, part: Fixed, whole: Fixed) -> Fixed {
    if whole == 0 || part == 0 {
        return 0;
    }
    if part == whole {
        return number;
    }
    match number.checked_mul(part) {
        Some(product) => product / whole,
        None => (number / whole).saturating_mul(part),
    }
}

impl Point {
    /// The point so far on the straight way to another.
    pub(super) fn towards(&self, other: &Self, part: Fixed) -> Self {
        let between = self.used.iter().zip(&other.used);
        Self {
            level: self.level + times(other.level - self.level, part, ONE),
            below: self.below + times(other.below - self.below, part, ONE),
            used: between
                .map(|(low, high)| low + times(high.saturating_sub(*low), part, ONE))
                .collect(),
        }
    }
    /// The point on the way to another at which the first limit is reached.
    pub(super) fn cut(&self, other: &Self, limits: &[(usize, Fixed)]) -> Self {
        let parts = limits.iter().map(|(resource, most)| {
            let (low, high) = (self.used[*resource], other.used[*resource]);
            match high > *most {
                true => times(ONE, most - low, high - low),
                false => ONE,
            }
        });
        self.towards(other, parts.fold(ONE, Fixed::min))
    }
}

impl Curve {
    /// What is used at a level, and at which common level below; behind the last point that of the last.
    pub(super) fn at(&self, level: Fixed) -> Option<Point> {
        let behind = self.0.partition_point(|point| point.level <= level);
        let (Some(before), next) = (behind.checked_sub(1), self.0.get(behind)) else {
            return self.0.first().cloned();
        };
        let before = &self.0[before];
        let part = |next: &Point| times(ONE, level - before.level, next.level - before.level);
        Some(next.map_or_else(|| before.clone(), |next| before.towards(next, part(next))))
    }

    /// The level behind which it is constant.
    pub(super) fn end(&self) -> Fixed {
        self.0.last().map_or(0, |point| point.level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_numbers_are_rounded_down_and_never_too_large_for_the_way_there() {
        assert_eq!(times(10, 1, 3), 3);
        assert_eq!(times(10, 2, 2), 10);
        assert_eq!(times(10, 0, 0), 0);
        assert_eq!(times(1 << 100, 3 << 40, 1 << 48), 3 << 92);
    }
}
