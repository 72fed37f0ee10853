//! The least value among some of many places, without looking at all of them.

use std::cmp::{Ordering, Reverse};

use crate::ranking::Key;
use crate::tree::TaskRank;

/// A search looks at so many nodes at most, and not at more than this part of the places asked for, before those are
/// looked at one by one: where many lesser values aren't asked for, that is cheaper.
const SEARCH_MAX: usize = 48;
const SEARCH_PART: usize = 4;

/// What a tournament compares: a number that never goes down as values go up decides most comparisons, since
/// it is compared in a moment.
pub(super) trait Value: Ord + Copy {
    /// Less than [`u64::MAX`].
    fn coarse(&self) -> u64;
}

/// A walk through so few places looks at all of them.
const FEW_PLACES: usize = 32;

/// The coarse number of no value.
const NONE: u64 = u64::MAX;

/// One optional value per place, with the place of the least value of every aligned run of 2, 4, 8 …
/// places. Setting a value costs the logarithm of the places, and moves no other value; asking for the
/// least of all costs nothing, for the least among some of them as much as setting if the least of all
/// is one of them, and at most those that are asked for.
pub(super) struct Tournament<P> {
    values: Vec<Option<P>>,
    /// A heap-shaped tree: node 1 is the root, node n has the children 2n and 2n + 1, and the nodes
    /// from `values.len()` on are the places themselves.
    nodes: Vec<Winner>,
}

/// The place of the least value below a node, and the coarse number of that value: beside each other, so that a
/// comparison of two nodes hardly ever looks at the values.
#[derive(Clone, Copy)]
struct Winner {
    coarse: u64,
    place: u32,
}

/// The deepest tree has so many levels: places are 32-bit numbers.
const LEVELS_MAX: usize = 33;

/// How far a walk through the places has come; see [`Tournament::next`].
pub(super) struct Walk {
    /// The nodes yet to be looked at, the next one last.
    nodes: [u32; LEVELS_MAX],
    n_nodes: usize,
    /// How many of few places were looked at.
    n_seen: usize,
}

impl<P> Default for Tournament<P> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            nodes: Vec::new(),
        }
    }
}

impl<P: Value> Tournament<P> {
    /// Whether some place has a value.
    pub(super) fn has_any(&self) -> bool {
        self.nodes.get(1).is_some_and(|first| first.coarse != NONE)
    }

    /// Sets the value of a place. Places may come in any order; those that have no value yet cost as much
    /// memory as those that do. Tells the same as [`Tournament::set_known`].
    pub(super) fn set(&mut self, place: usize, value: Option<P>) -> bool {
        let coarse = value.as_ref().map_or(NONE, Value::coarse);
        self.set_known(place, value, coarse)
    }

    /// The same with the coarse number of the value, where that is known. Tells whether the least value of all may be
    /// another one than before.
    pub(super) fn set_known(&mut self, place: usize, value: Option<P>, coarse: u64) -> bool {
        if place >= self.values.len() {
            if value.is_none() {
                return false;
            }
            self.grow(place);
        }
        let mut node = self.values.len() + place;
        if self.nodes[node].coarse == coarse && self.values[place] == value {
            return false;
        }
        self.values[place] = value;
        let own = Winner {
            coarse,
            place: narrow(place),
        };
        self.nodes[node] = own;
        let mut winner = own;
        while node > 1 {
            let rival = self.nodes[node ^ 1];
            if self.is_before(rival, winner) {
                winner = rival;
            }
            node /= 2;
            let known = &mut self.nodes[node];
            // Above, only what this place had won can change.
            if winner.place != own.place && known.place == winner.place {
                return false;
            }
            *known = winner;
        }
        true
    }

    /// Sets the value of a place to the least value of another tournament.
    pub(super) fn set_to_first(&mut self, place: usize, other: &Self) {
        let first = other.nodes.get(1).copied();
        let value = first.and_then(|first| other.values[first.place as usize]);
        let coarse = first.map_or(NONE, |first| first.coarse);
        self.set_known(place, value, coarse);
    }

    /// Whether one value is less than another; no value goes last.
    #[inline]
    fn is_before(&self, one: Winner, other: Winner) -> bool {
        one.coarse < other.coarse
            || (one.coarse == other.coarse
                && one.coarse != NONE
                && self.values[one.place as usize] < self.values[other.place as usize])
    }

    /// Whether the least value of all is less than that of another tournament; both have one.
    pub(super) fn is_led_before(&self, other: &Self) -> bool {
        let (one, two) = (self.nodes[1], other.nodes[1]);
        one.coarse < two.coarse
            || (one.coarse == two.coarse
                && self.values[one.place as usize] < other.values[two.place as usize])
    }

    /// Whether a place has a value, and no greater one than `limit`, of which the coarse number is known.
    #[inline]
    pub(super) fn is_within(&self, place: usize, limit: &P, coarse: u64) -> bool {
        let Some(own) = self.nodes.get(self.values.len() + place) else {
            return false;
        };
        own.coarse < coarse
            || (own.coarse == coarse
                && (self.values[place].as_ref()).is_some_and(|value| value <= limit))
    }

    /// The value of a place.
    pub(super) fn get(&self, place: usize) -> Option<P> {
        *self.values.get(place)?
    }

    /// The least value of all, with its place.
    pub(super) fn first(&self) -> Option<(P, usize)> {
        let place = self.nodes.get(1)?.place as usize;
        Some((self.values[place]?, place))
    }

    /// Goes on with a walk through the places: the next one with a value that `is_due`, roughly the least
    /// first. What `is_due` refuses once it must refuse for good, and with it all that is greater.
    pub(super) fn next(&self, walk: &mut Walk, is_due: impl Fn(&P) -> bool) -> Option<usize> {
        let n_values = self.values.len();
        if n_values <= FEW_PLACES {
            return self.next_of_few(walk, is_due);
        }
        while walk.n_nodes > 0 {
            walk.n_nodes -= 1;
            let mut node = walk.nodes[walk.n_nodes] as usize;
            let winner = self.nodes[node].place;
            if !self.values[winner as usize].as_ref().is_some_and(&is_due) {
                continue;
            }
            // Those that it won against on its way up come next, the last rival first.
            while node < n_values {
                let right_won = usize::from(self.nodes[2 * node].place != winner);
                walk.push(2 * node + 1 - right_won);
                node = 2 * node + right_won;
            }
            return Some(winner as usize);
        }
        None
    }

    /// The same of few places: the least first, then the others as they stand.
    fn next_of_few(&self, walk: &mut Walk, is_due: impl Fn(&P) -> bool) -> Option<usize> {
        let first = self.nodes.get(1)?.place as usize;
        let is_due = |place: usize| self.values[place].as_ref().is_some_and(&is_due);
        if walk.n_seen == 0 {
            walk.n_seen = 1;
            if is_due(first) {
                return Some(first);
            }
            walk.n_seen = self.values.len() + 1;
        }
        while walk.n_seen <= self.values.len() {
            let place = walk.n_seen - 1;
            walk.n_seen += 1;
            if place != first && is_due(place) {
                return Some(place);
            }
        }
        None
    }

    /// The least value among some places, with its place. The arguments name the same places: one tells whether a place
    /// is among them, one lists them, one tells how many they are.
    pub(super) fn least(
        &self,
        is_asked: impl Fn(usize) -> bool,
        places: impl Iterator<Item = usize>,
        n_places: usize,
    ) -> Option<(P, usize)> {
        let mut best = None;
        let mut steps = SEARCH_MAX.min(n_places / SEARCH_PART);
        if self.values.is_empty() || self.search(1, &is_asked, &mut best, &mut steps) {
            return best;
        }
        self.least_of(places)
    }

    /// The least of a few places.
    pub(super) fn least_of(&self, places: impl Iterator<Item = usize>) -> Option<(P, usize)> {
        let nodes = self.nodes.get(self.values.len()..)?;
        let mut best: Option<Winner> = None;
        for node in places.filter_map(|place| nodes.get(place)) {
            if best.is_none_or(|best| self.is_before(*node, best)) {
                best = Some(*node);
            }
        }
        let place = best?.place as usize;
        Some((self.values[place]?, place))
    }

    /// Improves on `best` with the places below a node. `false` if the steps didn't suffice.
    fn search(
        &self,
        node: usize,
        is_asked: &impl Fn(usize) -> bool,
        best: &mut Option<(P, usize)>,
        steps: &mut usize,
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
        self.nodes[node].place as usize
    }

    fn grow(&mut self, place: usize) {
        let length = (place + 1).next_power_of_two();
        let n_before = self.values.len();
        let mut places = self.nodes.split_off(n_before);
        self.values.resize(length, None);
        places.extend((n_before..length).map(|place| Winner {
            coarse: NONE,
            place: narrow(place),
        }));
        self.nodes.clear();
        // Node 0 stands nowhere in the tree; the inner ones are filled in from below.
        self.nodes.extend_from_slice(&places);
        self.nodes.extend_from_slice(&places);
        for node in (1..length).rev() {
            let (left, right) = (self.nodes[2 * node], self.nodes[2 * node + 1]);
            let right_won = self.is_before(right, left);
            self.nodes[node] = if right_won { right } else { left };
        }
    }
}

impl Default for Walk {
    /// Nothing has been looked at.
    fn default() -> Self {
        let mut nodes = [0; LEVELS_MAX];
        nodes[0] = 1;
        Self {
            nodes,
            n_nodes: 1,
            n_seen: 0,
        }
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
            n_steps in 0..SEARCH_MAX,
        ) {
            let mut tournament = Tournament::default();
            let mut plain = vec![None; 40];
            for (place, value) in values {
                let least = |tournament: &Tournament<u32>| tournament.first().map(|(value, _)| value);
                let before = least(&tournament);
                let may_differ = tournament.set(place, value);
                prop_assert!(may_differ || least(&tournament) == before);
                plain[place] = value;
                let scan = plain.iter().enumerate().filter(|(place, _)| asked[*place]);
                let least = scan.filter_map(|(_, value)| *value).min();
                let n_asked = 4 * n_steps;
                let few = || (0..40).filter(|place| asked[*place]);
                let found = tournament.least(|place| asked[place], few(), n_asked);
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
            for (place, value) in plain.iter().enumerate() {
                prop_assert_eq!(tournament.get(place), *value);
                for limit in 0..9_u32 {
                    let is_within = tournament.is_within(place, &limit, limit.coarse());
                    prop_assert_eq!(is_within, value.is_some_and(|value| value <= limit));
                }
            }
            seen.sort_unstable();
            let due = (0..40).filter(|place| plain[*place].is_some_and(|value| value <= limit));
            prop_assert_eq!(seen, due.collect::<Vec<_>>());
        }
    }

    #[test]
    fn coarse_numbers_of_ranks_go_up_with_them_and_are_those_of_a_value() {
        let rank = |priority, seq| TaskRank {
            priority: Reverse(priority),
            seq,
        };
        let in_order = [
            rank(i32::MAX, 0),
            rank(5, 1),
            rank(5, 2),
            rank(4, 1),
            rank(-5, 0),
            rank(i32::MIN, 7),
            rank(i32::MIN, u64::MAX),
        ];
        assert!(in_order.is_sorted());
        assert!(in_order.iter().map(Value::coarse).is_sorted());
        assert!(in_order.iter().all(|rank| rank.coarse() < NONE));
    }

    #[test]
    fn the_largest_number_is_a_value_like_others() {
        let mut levels = Tournament::default();
        assert!(levels.set(3, Some(u64::MAX)));
        assert!(levels.has_any());
        levels.set(1, Some(u64::MAX - 1));
        assert_eq!(levels.first(), Some((u64::MAX - 1, 1)));
    }

    /// Many values that aren't asked for are less, so that only a part of the tree is searched; the least ones stand on the
    /// left, on the right, or anywhere.
    #[test]
    fn the_least_of_few_places_among_many_is_found_wherever_it_stands() {
        for value in [|place| place, |place| 63 - place, |place| place * 37 % 64] {
            let mut tournament = Tournament::default();
            for place in 0..64_u32 {
                tournament.set(place as usize, Some(value(place)));
            }
            for asked in 0..64 {
                let is_asked = |place| place == asked || place == 63;
                // As if there were more, for the search to go on for long.
                let n_asked = SEARCH_PART * SEARCH_MAX;
                let found = tournament.least(is_asked, [asked, 63].into_iter(), n_asked);
                let least = value(asked as u32).min(value(63));
                assert_eq!(found.map(|(value, _)| value), Some(least));
                assert!(found.is_some_and(|(_, place)| is_asked(place)));
                let mut walk = Walk::default();
                let is_due = |value: &u32| *value <= asked as u32;
                let seen = std::iter::from_fn(|| tournament.next(&mut walk, is_due));
                assert_eq!(seen.count(), asked + 1);
            }
        }
    }
}
