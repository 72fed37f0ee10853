//! The least value among some of many places, without looking at all of them.

use std::cmp::{Ordering, Reverse};

use crate::ranking::Key;
use crate::tree::TaskRank;

/// So many nodes are searched before all the places asked for are looked at one by one: where many
/// lesser values aren't asked for, that is cheaper.
const SEARCH_MAX: u32 = 48;

/// What a tournament compares: a number that never goes down as values go up decides most comparisons, since
/// it is compared in a moment.
pub(super) trait Value: Ord + Copy {
    /// Less than [`u64::MAX`].
    fn coarse(&self) -> u64;
}

/// The coarse number of no value.
const NONE: u64 = u64::MAX;

/// One optional value per place, with the place of the least value of every aligned run of 2, 4, 8 …
/// places. Setting a value costs the logarithm of the places, and moves no other value; asking for the
/// least of all costs nothing, for the least among some of them as much as setting if the least of all
/// is one of them, and at most those that are asked for.
pub(super) struct Tournament<P> {
    values: Vec<Option<P>>,
    /// The coarse numbers of the values.
    coarse: Vec<u64>,
    /// A heap-shaped tree: node 1 is the root, node n has the children 2n and 2n + 1, and the nodes
    /// from `values.len()` on are the places themselves, and left out.
    winners: Vec<u32>,
}

/// The deepest tree has so many levels: places are 32-bit numbers.
const LEVELS_MAX: usize = 33;

/// How far a walk through the places has come; see [`Tournament::next`].
pub(super) struct Walk {
    /// The nodes yet to be looked at, the next one last.
    nodes: [u32; LEVELS_MAX],
    n_nodes: usize,
}

impl<P> Default for Tournament<P> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            coarse: Vec::new(),
            winners: Vec::new(),
        }
    }
}

impl<P: Value> Tournament<P> {
    /// Whether no place ever had a value.
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Sets the value of a place. Places may come in any order; those that have no value yet cost as much
    /// memory as those that do.
    pub(super) fn set(&mut self, place: usize, value: Option<P>) {
        if place >= self.values.len() {
            if value.is_none() {
                return;
            }
            self.grow(place);
        }
        let coarse = value.as_ref().map_or(NONE, Value::coarse);
        if self.coarse[place] == coarse && self.values[place] == value {
            return;
        }
        (self.values[place], self.coarse[place]) = (value, coarse);
        let mut node = self.values.len() + place;
        let mut winner = place;
        while node > 1 {
            let rival = self.winner(node ^ 1);
            if self.is_before(rival, winner) {
                winner = rival;
            }
            node /= 2;
            // Above, only what this place had won can change.
            if winner != place && self.winners[node] as usize == winner {
                break;
            }
            self.winners[node] = narrow(winner);
        }
    }

    /// Whether the value of one place is less than that of another; no value goes last.
    fn is_before(&self, one: usize, other: usize) -> bool {
        let (first, second) = (self.coarse[one], self.coarse[other]);
        first < second
            || (first == second && first != NONE && self.values[one] < self.values[other])
    }

    /// The least value of all, with its place.
    pub(super) fn first(&self) -> Option<(P, usize)> {
        if self.values.is_empty() {
            return None;
        }
        let winner = self.winner(1);
        Some((self.values[winner]?, winner))
    }

    /// Goes on with a walk through the places: the next one with a value that `is_due`, roughly the least
    /// first. What `is_due` refuses once it must refuse for good, and with it all that is greater.
    pub(super) fn next(&self, walk: &mut Walk, is_due: impl Fn(&P) -> bool) -> Option<usize> {
        while walk.n_nodes > 0 {
            walk.n_nodes -= 1;
            let node = walk.nodes[walk.n_nodes] as usize;
            if self.values.is_empty() {
                return None;
            }
            let winner = self.winner(node);
            if !self.values[winner].as_ref().is_some_and(&is_due) {
                continue;
            }
            if node >= self.values.len() {
                return Some(winner);
            }
            let right_won = usize::from(self.winner(2 * node) != winner);
            walk.push(2 * node + 1 - right_won);
            walk.push(2 * node + right_won);
        }
        None
    }

    /// The least value among some places, with its place. Both arguments name the same places: one
    /// tells whether a place is among them, the other lists them.
    pub(super) fn least(
        &self,
        is_asked: impl Fn(usize) -> bool,
        places: impl Iterator<Item = usize>,
    ) -> Option<(P, usize)> {
        let mut best = None;
        let mut steps = SEARCH_MAX;
        if self.values.is_empty() || self.search(1, &is_asked, &mut best, &mut steps) {
            return best;
        }
        self.least_of(places)
    }

    /// The least of a few places.
    pub(super) fn least_of(&self, places: impl Iterator<Item = usize>) -> Option<(P, usize)> {
        let value = |place: usize| Some(((*self.values.get(place)?)?, place));
        places.filter_map(value).min()
    }

    /// Improves on `best` with the places below a node. `false` if the steps didn't suffice.
    fn search(
        &self,
        node: usize,
        is_asked: &impl Fn(usize) -> bool,
        best: &mut Option<(P, usize)>,
        steps: &mut u32,
    ) -> bool {
        let winner = self.winner(node);
        let Some(value) = self.values[winner] else {
            return true;
        };
        if best.as_ref().is_some_and(|(least, _)| value >= *least) {
            return true;
        }
        if is_asked(winner) {
            *best = Some((value, winner));
            return true;
        }
        if node >= self.values.len() {
            return true;
        }
        let Some(rest) = steps.checked_sub(1) else {
            return false;
        };
        *steps = rest;
        // The child without this winner first: what it finds may spare the other one.
        let other = usize::from(self.winner(2 * node) == winner);
        self.search(2 * node + other, is_asked, best, steps)
            && self.search(2 * node + 1 - other, is_asked, best, steps)
    }

    fn winner(&self, node: usize) -> usize {
        match node.checked_sub(self.values.len()) {
            Some(place) => place,
            None => self.winners[node] as usize,
        }
    }

    fn winner_of_children(&self, node: usize) -> u32 {
        let (left, right) = (self.winner(2 * node), self.winner(2 * node + 1));
        narrow(if self.is_before(right, left) {
            right
        } else {
            left
        })
    }

    fn grow(&mut self, place: usize) {
        let length = (place + 1).next_power_of_two();
        self.values.resize(length, None);
        self.coarse.resize(length, NONE);
        self.winners = vec![0; length];
        for node in (1..length).rev() {
            self.winners[node] = self.winner_of_children(node);
        }
    }
}

impl Default for Walk {
    /// Nothing has been looked at.
    fn default() -> Self {
        let mut nodes = [0; LEVELS_MAX];
        nodes[0] = 1;
        Self { nodes, n_nodes: 1 }
    }
}

impl Walk {
    fn push(&mut self, node: usize) {
        self.nodes[self.n_nodes] = narrow(node);
        self.n_nodes += 1;
    }
}

impl Value for u64 {
    fn coarse(&self) -> u64 {
        (*self).min(NONE - 1)
    }
}

impl Value for Key {
    fn coarse(&self) -> u64 {
        if self.tier == i64::MIN {
            return 0;
        }
        match self.tier.cmp(&0) {
            Ordering::Less => 1,
            Ordering::Equal => 2 + self.share.coarse(),
            Ordering::Greater => NONE - 1,
        }
    }
}

impl Value for TaskRank {
    /// The priority, then the order of submission.
    fn coarse(&self) -> u64 {
        let Reverse(priority) = self.priority;
        let reversed = u64::from(priority.abs_diff(i32::MAX));
        let seq = u32::try_from(self.seq).unwrap_or(u32::MAX);
        ((reversed << 32) | u64::from(seq)).min(NONE - 1)
    }
}

fn narrow(place: usize) -> u32 {
    u32::try_from(place).expect("places are numbers of 32 bits")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A value of which the coarse number tells only a part.
    impl Value for u32 {
        fn coarse(&self) -> u64 {
            u64::from(*self) / 3
        }
    }

    proptest! {
        #[test]
        fn finds_what_a_scan_finds(
            values in proptest::collection::vec((0..40_usize, proptest::option::of(0..9_u32)), 0..80),
            asked in proptest::collection::vec(any::<bool>(), 40),
        ) {
            let mut tournament = Tournament::default();
            let mut plain = vec![None; 40];
            for (place, value) in values {
                tournament.set(place, value);
                plain[place] = value;
                let scan = plain.iter().enumerate().filter(|(place, _)| asked[*place]);
                let least = scan.filter_map(|(_, value)| *value).min();
                let few = || (0..40).filter(|place| asked[*place]);
                let found = tournament.least(|place| asked[place], few());
                prop_assert_eq!(found.map(|(value, _)| value), least);
                if let Some((value, place)) = found {
                    prop_assert!(asked[place] && plain[place] == Some(value));
                }
                prop_assert_eq!(tournament.least_of(few()).map(|(value, _)| value), least);
                let first = plain.iter().flatten().min().copied();
                prop_assert_eq!(tournament.first().map(|(value, _)| value), first);
            }
        }

        #[test]
        fn walks_through_what_is_due(
            values in proptest::collection::vec((0..40_usize, proptest::option::of(0..9_u32)), 0..80),
            limit in 0..9_u32,
        ) {
            let mut tournament = Tournament::default();
            let mut plain = vec![None; 40];
            for (place, value) in values {
                tournament.set(place, value);
                plain[place] = value;
            }
            let mut walk = Walk::default();
            let mut seen = Vec::new();
            while let Some(place) = tournament.next(&mut walk, |value| *value <= limit) {
                if seen.is_empty() {
                    prop_assert_eq!(plain[place], plain.iter().flatten().min().copied());
                }
                seen.push(place);
            }
            seen.sort_unstable();
            let due = (0..40).filter(|place| plain[*place].is_some_and(|value| value <= limit));
            prop_assert_eq!(seen, due.collect::<Vec<_>>());
        }
    }
}
