//! Use that is forgotten with a half-life: u(t+d) = u(t)·b + (1-b)·now, with b = 0.5^(d/half_life).
//!
//! Kept per resource as a value, the time it was true at, and what was held from then on. Looking at
//! it later changes nothing, so time may be cut into any pieces: only a change of what is held rounds,
//! once, by at most 2^-17 of a thousandth, and that error fades as the use itself does.
//!
//! What ranks is the larger of decayed use and what is held now ([`Memory::counted`]): a burst counts
//! at once and in full, though decayed use follows only slowly, and what is given back is remembered
//! only as far as it was really held for a while.
//!
//! Numbers are integers, so all machines agree: amounts in 2^-16 of a thousandth, factors in 2^-64.

use crate::amount::Amount;
use crate::demand::{Amounts, Demand};
use crate::ids::ResourceId;

/// Bits behind the point of a decayed amount in thousandths.
pub(crate) const FRACTION_BITS: u32 = 16;

/// A ranking looks at decayed use as it was at the last of so many moments in a half-life. Between two of
/// them orders stay as they are, so that time costs something only so often.
const STEPS: u64 = 128;

/// Bits of an exponent's fraction that count.
const EXPONENT_BITS: u32 = 48;

/// One amount that decays towards what is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Decayed {
    /// When `value` was true, in milliseconds.
    since: u64,
    /// In 2^-16 thousandths.
    value: u64,
    /// In thousandths, from `since` on.
    held: u64,
}

/// What a queue used, resource by resource, with its running tasks as one more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// In milliseconds, above zero.
    half_life: u64,
    resources: Vec<Decayed>,
    tasks: Decayed,
    /// Whether the queue stands in the tree's list of those whose use fades.
    pub(crate) is_listed: bool,
}

impl Decayed {
    /// In 2^-16 thousandths.
    fn at(&self, now: u64, half_life: u64) -> u64 {
        let held = self.held << FRACTION_BITS;
        let passed = now.saturating_sub(self.since);
        if self.value >= held {
            held + faded(self.value - held, passed, half_life)
        } else {
            held - faded(held - self.value, passed, half_life)
        }
    }

    fn hold(&mut self, now: u64, half_life: u64, held: u64) {
        if held != self.held {
            self.move_to(now, half_life);
            self.held = held;
        }
    }

    fn move_to(&mut self, now: u64, half_life: u64) {
        if now > self.since {
            self.value = self.at(now, half_life);
            self.since = now;
        }
    }

    /// Adds what was held from one time to another, both in the past.
    fn add_past(&mut self, now: u64, half_life: u64, amount: u64, from: u64, to: u64) {
        self.move_to(now, half_life);
        let whole = amount << FRACTION_BITS;
        let grown = whole - faded(whole, to.saturating_sub(from), half_life);
        let left = faded(grown, self.since.saturating_sub(to), half_life);
        self.value = self.value.saturating_add(left);
    }

    /// Whether more was used than is held.
    fn fades(&self, now: u64, half_life: u64) -> bool {
        let held = self.held << FRACTION_BITS;
        self.value > held && self.at(now, half_life) > held
    }
}

impl Memory {
    /// Nothing was used; the half-life is in milliseconds and above zero.
    pub(crate) fn new(half_life: u64, now: u64, used: &Amounts, running: u64) -> Self {
        let start = |held: u64| Decayed {
            since: now,
            value: 0,
            held,
        };
        Self {
            half_life,
            resources: (used.as_slice().iter())
                .map(|used| start(used.milli()))
                .collect(),
            tasks: start(running),
            is_listed: false,
        }
    }

    pub(crate) fn half_life(&self) -> u64 {
        self.half_life
    }

    /// Of what a demand names, and of running tasks, so much is held from now on.
    pub(crate) fn hold(&mut self, now: u64, demand: &Demand, used: &Amounts, running: u64) {
        for (resource, _) in demand.iter() {
            if resource.index() >= self.resources.len() {
                let missing = resource.index() + 1;
                self.resources.resize(missing, Decayed::default());
            }
            let held = used.get(resource).milli();
            self.resources[resource.index()].hold(now, self.half_life, held);
        }
        self.tasks.hold(now, self.half_life, running);
    }

    /// What ranks, in 2^-16 thousandths: decayed use as of the last step, or what is held where that is more.
    pub(crate) fn counted(&self, resource: ResourceId, now: u64) -> u64 {
        self.resources
            .get(resource.index())
            .map_or(0, |use_| self.larger(use_, now))
    }

    /// The same of running tasks, in 2^-16 tasks.
    pub(crate) fn counted_tasks(&self, now: u64) -> u64 {
        self.larger(&self.tasks, now)
    }

    fn larger(&self, use_: &Decayed, now: u64) -> u64 {
        let at = last_step(now, self.half_life);
        use_.at(at, self.half_life).max(use_.held << FRACTION_BITS)
    }

    /// Whether what ranks will get less as time passes.
    pub(crate) fn fades(&self, now: u64) -> bool {
        let mut all = self.resources.iter().chain([&self.tasks]);
        all.any(|use_| use_.fades(now, self.half_life))
    }

    /// Takes over what another queue remembers of a resource, as of now.
    pub(crate) fn remember(
        &mut self,
        now: u64,
        resource: ResourceId,
        other: &Self,
        theirs: ResourceId,
    ) {
        let Some(remembered) = other.resources.get(theirs.index()) else {
            return;
        };
        if let Some(own) = self.resources.get_mut(resource.index()) {
            own.value = remembered.at(now, other.half_life);
            own.since = now;
        }
    }

    /// The same of running tasks.
    pub(crate) fn remember_tasks(&mut self, now: u64, other: &Self) {
        self.tasks.value = other.tasks.at(now, other.half_life);
        self.tasks.since = now;
    }

    /// Decayed use at this very moment, in 2^-16 thousandths.
    #[cfg(test)]
    pub(crate) fn decayed(&self, resource: ResourceId, now: u64) -> u64 {
        let use_ = self.resources.get(resource.index());
        use_.map_or(0, |use_| use_.at(now, self.half_life))
    }

    /// Adds what was used before: `amount` was held from one time to another, both in the past.
    pub(crate) fn add_past(
        &mut self,
        now: u64,
        resource: ResourceId,
        amount: Amount,
        from: u64,
        to: u64,
    ) {
        if let Some(use_) = self.resources.get_mut(resource.index()) {
            use_.add_past(now, self.half_life, amount.milli(), from, to);
        }
    }

    /// The same of a running task.
    pub(crate) fn add_past_task(&mut self, now: u64, from: u64, to: u64) {
        self.tasks.add_past(now, self.half_life, 1, from, to);
    }
}

/// The last moment up to `now` at which decayed use was looked at.
pub(crate) fn last_step(now: u64, half_life: u64) -> u64 {
    let step = (half_life / STEPS).max(1);
    now - now % step
}

/// `amount · 0.5^(passed / half_life)`, to the nearest integer.
fn faded(amount: u64, passed: u64, half_life: u64) -> u64 {
    if passed == 0 || amount == 0 {
        return amount;
    }
    let halvings = passed / half_life;
    if halvings >= 64 {
        return 0;
    }
    let rest = (u128::from(passed % half_life) << EXPONENT_BITS) / u128::from(half_life);
    let rest = u64::try_from(rest).expect("a fraction has 48 bits");
    let product = match exp2_of_minus(rest) {
        None => u128::from(amount) << 64,
        Some(factor) => u128::from(amount) * u128::from(factor),
    };
    // Rounded once: half of the last bit that stays is added first. Below 2^128, since without a factor the
    // amount's own low bits are zero.
    let bits = 64 + u32::try_from(halvings).expect("below 64");
    let half = 1_u128 << (bits - 1);
    let sum = product.checked_add(half);
    let rounded = sum.map_or_else(|| (product >> bits) + 1, |sum| sum >> bits);
    u64::try_from(rounded).unwrap_or(u64::MAX)
}

/// 0.5^(f · 2^-48) in 2^-64, `None` for f = 0, where it is 1. Within 2^-47 of the true value: the table's
/// entries and their products are off by less than 2^-56, and bits of f beyond 48 were cut off.
fn exp2_of_minus(f: u64) -> Option<u64> {
    let mut factor: Option<u64> = None;
    for (place, row) in POWERS.iter().enumerate() {
        let byte = (f >> (40 - 8 * place)) & 0xff;
        if byte == 0 {
            continue;
        }
        let next = row[byte as usize];
        factor = Some(factor.map_or(next, |factor| multiply(factor, next)));
    }
    factor
}

/// The product of two factors in 2^-64.
const fn multiply(one: u64, other: u64) -> u64 {
    ((one as u128 * other as u128 + (1 << 63)) >> 64) as u64
}

/// By byte of the fraction, the highest first, then by its value v: 0.5^(v / 256^(place+1)). Entry 0 is not
/// used: it would be 1.
static POWERS: [[u64; 256]; 6] = powers();

const fn powers() -> [[u64; 256]; 6] {
    // 0.5^(1/2), 0.5^(1/4) ...: each the square root of the one before.
    let mut roots = [0_u64; 48];
    let mut root = 1_u128 << 63;
    let mut place = 0;
    while place < roots.len() {
        root = (root << 64).isqrt();
        roots[place] = root as u64;
        place += 1;
    }
    let mut powers = [[0; 256]; 6];
    let mut byte = 0;
    while byte < powers.len() {
        let mut value = 1_usize;
        while value < 256 {
            // The highest bit's root times the power of the other bits.
            let highest = 7 - (value as u8).leading_zeros() as usize;
            let own = roots[8 * byte + 7 - highest];
            let rest = value & !(1 << highest);
            powers[byte][value] = if rest == 0 {
                own
            } else {
                multiply(own, powers[byte][rest])
            };
            value += 1;
        }
        byte += 1;
    }
    powers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn a_half_life_halves() {
        assert_eq!(faded(1 << 40, HOUR, HOUR), 1 << 39);
        assert_eq!(faded(1 << 40, 10 * HOUR, HOUR), 1 << 30);
        assert_eq!(faded(u64::MAX, 64 * HOUR, HOUR), 0);
        assert_eq!(faded(u64::MAX, HOUR, HOUR), 1 << 63, "rounded up");
        assert_eq!(faded(3, HOUR, HOUR), 2, "rounded up");
        assert_eq!(faded(5, 2 * HOUR, HOUR), 1, "rounded down");
        assert_eq!(faded(u64::MAX, 1, u64::MAX), u64::MAX);
        let root = faded(1 << 40, HOUR / 2, HOUR) as f64 / (1_u64 << 40) as f64;
        assert!((root - 0.5_f64.sqrt()).abs() < 1e-11, "{root}");
    }

    #[test]
    fn products_of_factors_are_rounded_to_the_nearest() {
        let half = 1 << 63;
        assert_eq!(multiply(half, half), 1 << 62);
        assert_eq!(multiply(half, 1), 1, "a half is rounded up");
        assert_eq!(multiply(half - 1, 1), 0, "less is rounded down");
        assert_eq!(multiply(half, 3), 2);
        assert_eq!(multiply(u64::MAX, u64::MAX), u64::MAX - 1);
    }

    #[test]
    fn use_is_looked_at_128_times_in_a_half_life() {
        let step = HOUR / 128;
        for (now, last) in [
            (0, 0),
            (step - 1, 0),
            (step, step),
            (3 * step + 5, 3 * step),
            (HOUR, HOUR),
        ] {
            assert_eq!(last_step(now, HOUR), last, "{now}");
        }
        assert_eq!(last_step(57, 100), 57, "at most once in a millisecond");
    }

    #[test]
    fn a_resource_that_nothing_was_used_of_is_remembered_from_its_first_use_on() {
        let late = ResourceId::new(3);
        let amount = Amount::from_milli(8).unwrap();
        let demand = Demand::new([(late, amount)]);
        let mut used = Amounts::zero(1);
        used.set(late, amount);
        let mut memory = one_cpu();
        memory.hold(HOUR, &demand, &used, 2);
        memory.hold(2 * HOUR, &demand, &Amounts::zero(1), 1);
        assert_eq!(memory.counted(late, 2 * HOUR), 4 << FRACTION_BITS);
        assert_eq!(memory.counted(ResourceId::new(2), 2 * HOUR), 0);
    }

    /// Use of one cpu from time 0 on, forgotten with a half-life of an hour.
    fn one_cpu() -> Memory {
        let mut used = Amounts::zero(1);
        used.set(ResourceId::new(0), Amount::from_milli(1000).unwrap());
        Memory::new(HOUR, 0, &used, 1)
    }

    fn let_go(memory: &mut Memory, now: u64) {
        let cpu = Demand::new([(ResourceId::new(0), Amount::from_milli(1000).unwrap())]);
        memory.hold(now, &cpu, &Amounts::zero(1), 0);
    }

    #[test]
    fn what_is_held_counts_at_once_and_is_remembered_as_long_as_it_was_held() {
        let cpu = ResourceId::new(0);
        let whole = 1000 << FRACTION_BITS;
        let mut memory = one_cpu();
        assert_eq!(memory.counted(cpu, 0), whole);
        assert_eq!(memory.decayed(cpu, HOUR), whole / 2);
        assert!(!memory.fades(HOUR));
        let mut again = one_cpu();
        let_go(&mut again, HOUR);
        let cpu_again = Demand::new([(cpu, Amount::from_milli(1000).unwrap())]);
        let mut used = Amounts::zero(1);
        used.set(cpu, Amount::from_milli(1000).unwrap());
        again.hold(HOUR, &cpu_again, &used, 1);
        assert!(!again.fades(HOUR), "half of what is held now");
        let_go(&mut memory, HOUR);
        assert_eq!(memory.counted(cpu, HOUR), whole / 2);
        assert_eq!(memory.counted(cpu, 2 * HOUR), whole / 4);
        assert_eq!(memory.counted_tasks(2 * HOUR), (1 << FRACTION_BITS) / 4);
        assert!(memory.fades(2 * HOUR) && !memory.fades(99 * HOUR));
        let mut burst = one_cpu();
        let_go(&mut burst, HOUR / 100);
        assert!(burst.counted(cpu, HOUR / 100) < whole / 100);
    }

    #[test]
    fn the_past_can_be_told_afterwards() {
        let cpu = ResourceId::new(0);
        let mut lived = one_cpu();
        let_go(&mut lived, HOUR);
        let mut told = Memory::new(HOUR, 3 * HOUR, &Amounts::zero(1), 0);
        told.add_past(3 * HOUR, cpu, Amount::from_milli(1000).unwrap(), 0, HOUR);
        told.add_past_task(3 * HOUR, 0, HOUR);
        assert_eq!(told.decayed(cpu, 3 * HOUR), lived.decayed(cpu, 3 * HOUR));
        assert_eq!(told.counted_tasks(3 * HOUR), lived.counted_tasks(3 * HOUR));
    }

    proptest! {
        /// Against the formula, in floating point.
        #[test]
        fn decay_is_what_the_formula_says(
            amount in any::<u64>(), passed in 0..u64::from(u32::MAX), half_life in 1..1_u64 << 36,
        ) {
            let exact = amount as f64 * 0.5_f64.powf(passed as f64 / half_life as f64);
            let found = faded(amount, passed, half_life) as f64;
            prop_assert!((found - exact).abs() <= 1.0 + amount as f64 * 1e-13, "{found} {exact}");
        }

        /// Later never counts for more.
        #[test]
        fn decay_only_falls(amount in any::<u64>(), passed in 0..1_u64 << 40, half_life in 1..1_u64 << 36) {
            prop_assert!(faded(amount, passed + 1, half_life) <= faded(amount, passed, half_life));
        }

        /// Looking at any times in between leaves the same bits; so do changes that undo one another at
        /// the moment they are made, up to the stated rounding.
        #[test]
        fn time_may_be_cut_anywhere(cuts in proptest::collection::vec(0..40 * HOUR, 0..20), end in 1..40 * HOUR) {
            let cpu = ResourceId::new(0);
            let (mut whole, mut cut) = (one_cpu(), one_cpu());
            let mut cuts = cuts;
            cuts.retain(|cut| *cut < end);
            cuts.sort_unstable();
            for at in &cuts {
                let _ = cut.counted(cpu, *at);
                let_go(&mut cut, *at);
                let mut used = Amounts::zero(1);
                used.set(cpu, Amount::from_milli(1000).unwrap());
                let demand = Demand::new([(cpu, Amount::from_milli(1000).unwrap())]);
                cut.hold(*at, &demand, &used, 1);
            }
            let off = whole.decayed(cpu, end).abs_diff(cut.decayed(cpu, end));
            prop_assert!(off <= 1 + cuts.len() as u64 / 2, "off by {off}");
            let seen = whole.clone();
            for at in cuts {
                let _ = (whole.counted(cpu, at), whole.fades(at));
            }
            prop_assert_eq!(&seen, &whole);
            let_go(&mut whole, end);
        }
    }
}
