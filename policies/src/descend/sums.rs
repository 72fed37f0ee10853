//! The shares of a queue's children added up, so that the queue's own share at any common level is found without
//! looking at them.

use std::collections::BTreeMap;

use crate::amount::Weight;
use crate::fixed;
use crate::share::Share;

/// What a child gives to the sums of the queue above.
pub(super) struct Gift<'a> {
    /// Per resource, in 2^-48.
    pub(super) shares: &'a [u64],
    /// The larger of its dominant share and that of its smallest task.
    pub(super) own: u64,
    pub(super) weight: Weight,
    /// Whether nothing waits below it.
    pub(super) is_idle: bool,
    /// Which part of its use fills a guarantee; `None` where none does.
    pub(super) filled: Option<Share>,
}

/// What stands of a child in the sums.
#[derive(Default)]
pub(super) struct Given {
    form: Form,
    /// Per resource: its share, or what a level multiplies.
    amounts: Vec<u64>,
}

/// How a child counts.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Form {
    /// In full: it is idle, or new.
    #[default]
    Full,
    /// Scaled to the common level.
    Due,
    /// Scaled to the common level, but not below this one, up to which its guarantee has filled it.
    Guaranteed(u64),
}

/// The children's shares added up, per resource.
pub(super) struct Sums {
    /// What no level changes, finely.
    full: Vec<u128>,
    /// What the common level multiplies.
    dues: Vec<u128>,
    /// The dues of children with a guarantee, by the level up to which it has filled them, and by place.
    guaranteed: BTreeMap<(u64, u32), Box<[u64]>>,
    /// Of these, the ones above this level stand in `full` at their own, the others in `dues`.
    split: u64,
}

impl Sums {
    pub(super) fn new(resources: usize) -> Self {
        Self {
            full: vec![0; resources],
            dues: vec![0; resources],
            guaranteed: BTreeMap::new(),
            split: 0,
        }
    }

    /// Puts a child's gift in, in place of what it had given before. `place` is the child's own.
    pub(super) fn give(&mut self, place: u32, given: &mut Given, gift: &Gift<'_>) {
        let new = match gift.filled {
            _ if gift.is_idle => Form::Full,
            None => Form::Due,
            Some(part) => Form::Guaranteed(fixed::level_of_part(gift.own, gift.weight, part)),
        };
        if (given.form, new) == (Form::Due, Form::Due) {
            // Nearly always so.
            let kept = self.dues.iter_mut().zip(&mut given.amounts);
            for ((sum, amount), share) in kept.zip(gift.shares) {
                let due = fixed::due(*share, gift.own, gift.weight);
                *sum = *sum - u128::from(*amount) + u128::from(due);
                *amount = due;
            }
            return;
        }
        self.take_back(place, given);
        given.form = new;
        given.amounts.clear();
        if new == Form::Full {
            given.amounts.extend_from_slice(gift.shares);
        } else {
            let dues = gift.shares.iter();
            let dues = dues.map(|share| fixed::due(*share, gift.own, gift.weight));
            given.amounts.extend(dues);
        }
        for (resource, amount) in given.amounts.iter().enumerate() {
            let (sum, part) = self.part(new, resource, *amount);
            *sum += part;
        }
        if let Form::Guaranteed(level) = new {
            let dues = given.amounts.as_slice().into();
            self.guaranteed.insert((level, place), dues);
        }
    }

    /// Whether a child has a guarantee that it partly fills, and waits: then sums aren't the same at all levels.
    pub(super) fn has_guaranteed(&self) -> bool {
        !self.guaranteed.is_empty()
    }

    fn take_back(&mut self, place: u32, given: &Given) {
        for (resource, amount) in given.amounts.iter().enumerate() {
            let (sum, part) = self.part(given.form, resource, *amount);
            *sum -= part;
        }
        if let Form::Guaranteed(level) = given.form {
            self.guaranteed.remove(&(level, place));
        }
    }

    /// In which sum an amount of a child stands, and as what.
    fn part(&mut self, form: Form, resource: usize, amount: u64) -> (&mut u128, u128) {
        let full = match form {
            Form::Full => Some(fixed::fine(amount)),
            Form::Guaranteed(level) if level > self.split => Some(fixed::at_level(level, amount)),
            Form::Guaranteed(_) | Form::Due => None,
        };
        match full {
            Some(part) => (&mut self.full[resource], part),
            None => (&mut self.dues[resource], u128::from(amount)),
        }
    }

    /// Levels near this one will be asked for. Costs the children whose guarantee ends between it and the last.
    pub(super) fn expect(&mut self, level: u64) {
        if !self.guaranteed.is_empty() {
            for resource in 0..self.full.len() {
                (self.full[resource], self.dues[resource]) = self.split_at(resource, level);
            }
        }
        self.split = level;
    }

    /// The sums of one resource, if the children with a guarantee were split at this level.
    fn split_at(&self, resource: usize, level: u64) -> (u128, u128) {
        let (mut full, mut dues) = (self.full[resource], self.dues[resource]);
        let between = |low: u64, high: u64| {
            let range = self.guaranteed.range((low, u32::MAX)..(high, u32::MAX));
            range.map(|((level, _), dues)| {
                (
                    u128::from(dues[resource]),
                    fixed::at_level(*level, dues[resource]),
                )
            })
        };
        if level > self.split {
            for (due, filled) in between(self.split, level) {
                full -= filled;
                dues += due;
            }
        } else if level < self.split {
            for (due, filled) in between(level, self.split) {
                full += filled;
                dues -= due;
            }
        }
        (full, dues)
    }

    /// What the children use of a resource together if they are scaled to a common level, in 2^-48; `None` if
    /// that passes what a share can say. A higher level never gives less: all is rounded at once.
    pub(super) fn at(&self, resource: usize, level: u64) -> Option<u64> {
        let (full, dues) = if self.guaranteed.is_empty() {
            (self.full[resource], self.dues[resource])
        } else {
            self.split_at(resource, level)
        };
        u64::try_from(fixed::scaled(level, dues, full)?).ok()
    }
}

/// The use of one resource that is not far above: a share found for it is no larger than the real one. Only of queues of
/// which no child has a guarantee.
pub(super) struct Floor {
    resource: usize,
    used: u64,
    full: u128,
    dues: u128,
}

impl Floor {
    /// By 2^-slack below the use of a resource as it is now; without a slack that itself.
    pub(super) fn new(resource: usize, used: &[u64], sums: &Sums, slack: Option<u32>) -> Self {
        let below = |number: u128| slack.map_or(0, |slack| number >> slack);
        let lower = |number: u128| number - below(number);
        let used = used[resource];
        Self {
            resource,
            used: used - slack.map_or(0, |slack| used >> slack),
            full: lower(sums.full[resource]),
            dues: lower(sums.dues[resource]),
        }
    }

    pub(super) fn resource(&self) -> usize {
        self.resource
    }

    /// Whether the use as it is now is neither below the floor nor by 2^(1 - slack) above.
    pub(super) fn holds(&self, used: &[u64], sums: &Sums, slack: u32) -> bool {
        let holds = |floor: u128, now: u128| {
            now.checked_sub(floor)
                .is_some_and(|above| above <= floor >> (slack - 1))
        };
        holds(self.used.into(), used[self.resource].into())
            && holds(self.full, sums.full[self.resource])
            && holds(self.dues, sums.dues[self.resource])
    }

    /// What is used of the resource with the children scaled to a common level, as [`Sums::at`].
    pub(super) fn at(&self, level: u64) -> u64 {
        let sum = fixed::scaled(level, self.dues, self.full);
        sum.and_then(|sum| u64::try_from(sum).ok())
            .map_or(self.used, |sum| sum.min(self.used))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::amount::Amount;

    const ONE: u64 = 1 << 48;

    /// Sums of one resource.
    fn sums(full: u128, dues: u128) -> Sums {
        Sums {
            full: vec![full],
            dues: vec![dues],
            ..Sums::new(1)
        }
    }

    #[test]
    fn sums_know_whether_a_child_with_a_guarantee_waits() {
        let quarter = [ONE / 4];
        let gift = |is_idle, filled| Gift {
            shares: &quarter,
            own: ONE / 4,
            weight: Weight::default(),
            is_idle,
            filled,
        };
        let amount = |milli| Amount::from_milli(milli).unwrap();
        let half = Some(Share::new(amount(1), amount(2)));
        let mut sums = Sums::new(1);
        let (mut plain, mut guaranteed) = (Given::default(), Given::default());
        sums.give(0, &mut plain, &gift(false, None));
        assert!(!sums.has_guaranteed());
        sums.give(1, &mut guaranteed, &gift(false, half));
        assert!(sums.has_guaranteed());
        sums.give(1, &mut guaranteed, &gift(true, half));
        assert!(!sums.has_guaranteed(), "it is idle");
    }

    proptest! {
        /// Whatever levels were expected before, and whatever children gave before.
        #[test]
        fn at_each_level_children_with_a_guarantee_count_at_least_at_that_up_to_which_it_fills_them(
            gifts in vec((0..4_u32, 1..=ONE, proptest::option::of(0..=4_u64)), 0..12),
            expected in vec(0..ONE, 0..4),
            level in 0..ONE,
        ) {
            let (mut sums, weight) = (Sums::new(1), Weight::default());
            let mut children = <[(Given, Option<(u64, u64)>); 4]>::default();
            let mut expected = expected.into_iter();
            for (place, own, filled) in gifts {
                let quarter = |part| {
                    let amount = |milli| Amount::from_milli(milli).expect("small");
                    Share::new(amount(part), amount(4))
                };
                let (shares, filled) = ([own], filled.map(quarter));
                let gift = Gift { shares: &shares, own, weight, is_idle: false, filled };
                let (given, known) = &mut children[place as usize];
                sums.give(place, given, &gift);
                let least = filled.map_or(0, |part| fixed::level_of_part(own, weight, part));
                *known = Some((least, fixed::due(own, own, weight)));
                if let Some(level) = expected.next() {
                    sums.expect(level);
                }
            }
            let known = children.iter().filter_map(|(_, known)| *known);
            let sum = known.map(|(least, due)| fixed::at_level(level.max(least), due)).sum();
            let right = fixed::scaled(0, 0, sum).expect("a few children");
            prop_assert_eq!(sums.at(0, level).map(u128::from), Some(right));
        }
    }

    #[test]
    fn a_floor_holds_while_nothing_falls_below_it_or_leaves_it_far_behind() {
        const SLACK: u32 = 6;
        let whole = 1_u64 << 20;
        let floor = Floor::new(0, &[whole], &sums(whole.into(), whole.into()), Some(SLACK));
        let low = whole - (whole >> SLACK);
        let high = low + (low >> (SLACK - 1));
        let holds = |used: u64, full: u64, dues: u64| {
            floor.holds(&[used], &sums(full.into(), dues.into()), SLACK)
        };
        let numbers = [
            (low - 1, false),
            (low, true),
            (whole, true),
            (high, true),
            (high + 1, false),
        ];
        for (number, does_hold) in numbers {
            assert_eq!(holds(number, whole, whole), does_hold, "used {number}");
            assert_eq!(holds(whole, number, whole), does_hold, "full {number}");
            assert_eq!(holds(whole, whole, number), does_hold, "dues {number}");
        }
    }

    #[test]
    fn a_floor_tells_what_the_sums_do_less_its_slack_and_never_more_than_is_used() {
        // An eighth that no level changes, and one child of weight 1.
        let sums = sums(fixed::fine(ONE / 8), 1000 << 32);
        let exact = Floor::new(0, &[ONE / 2], &sums, None);
        let lower = Floor::new(0, &[ONE / 2], &sums, Some(6));
        for (level, share) in [(0, ONE / 8), (ONE / 8, ONE / 4), (ONE, ONE / 2)] {
            assert_eq!(exact.at(level), share);
            assert_eq!(lower.at(level), share - share / 64);
        }
        assert_eq!(sums.at(0, ONE / 8), Some(ONE / 4));
    }
}
