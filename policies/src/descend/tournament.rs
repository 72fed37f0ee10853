//! The least value among some of many places, without looking at all of them.

/// So many nodes are searched before all the places asked for are looked at one by one: where many
/// lesser values aren't asked for, that is cheaper.
const SEARCH_MAX: u32 = 48;

/// One optional value per place, with the place of the least value of every aligned run of 2, 4, 8 …
/// places. Setting a value costs the logarithm of the places; asking for the least among some of them
/// costs as much if the least of all is one of them, and at most those that are asked for.
pub(super) struct Tournament<P> {
    values: Vec<Option<P>>,
    /// A heap-shaped tree: node 1 is the root, node n has the children 2n and 2n + 1, and the nodes
    /// from `values.len()` on are the places themselves, and left out.
    winners: Vec<u32>,
}

impl<P> Default for Tournament<P> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            winners: Vec::new(),
        }
    }
}

impl<P: Ord + Copy> Tournament<P> {
    /// Whether no place ever had a value.
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of a place.
    pub(super) fn value(&self, place: usize) -> Option<P> {
        *self.values.get(place)?
    }

    /// Sets the value of a place. Places may come in any order.
    pub(super) fn set(&mut self, place: usize, value: Option<P>) {
        if place >= self.values.len() {
            self.grow(place);
        }
        self.values[place] = value;
        let mut node = (self.values.len() + place) / 2;
        while node > 0 {
            let winner = self.winner_of_children(node);
            if self.winners[node] == winner && winner as usize != place {
                break;
            }
            self.winners[node] = winner;
            node /= 2;
        }
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
        let winner = match (&self.values[left], &self.values[right]) {
            (Some(one), Some(other)) if other < one => right,
            (None, Some(_)) => right,
            _ => left,
        };
        u32::try_from(winner).expect("places are classes of 32-bit shapes")
    }

    fn grow(&mut self, place: usize) {
        let length = (place + 1).next_power_of_two();
        self.values.resize(length, None);
        self.winners = vec![0; length];
        for node in (1..length).rev() {
            self.winners[node] = self.winner_of_children(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
            }
        }
    }
}
