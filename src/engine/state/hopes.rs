//! Which agents may hold which shapes, for 64 shapes: what comes free of the cluster is looked for there. Agents are
//! passed over many at once.

/// So many agents are passed over at once where none may hold what came free.
const HOPES_AT_ONCE: usize = 32;

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub(super) struct Hopes {
    words: Vec<u64>,
    /// Those of [`HOPES_AT_ONCE`] agents together.
    together: Vec<u64>,
}

impl Hopes {
    /// Takes over what an agent may hold.
    pub(super) fn set(&mut self, place: usize, word: u64) {
        if place >= self.words.len() {
            if word == 0 {
                return;
            }
            let n_chunks = place / HOPES_AT_ONCE + 1;
            self.words.resize(n_chunks * HOPES_AT_ONCE, 0);
            self.together.resize(n_chunks, 0);
        }
        let before = std::mem::replace(&mut self.words[place], word);
        let (chunks, _) = self.words.as_chunks::<HOPES_AT_ONCE>();
        let chunk = place / HOPES_AT_ONCE;
        self.together[chunk] = if before & !word == 0 {
            self.together[chunk] | word
        } else {
            chunks[chunk].iter().fold(0, |all, word| all | word)
        };
    }

    /// Tells the agents that have some of these shapes.
    pub(super) fn having(&self, word: u64, mut tell: impl FnMut(usize)) {
        let (chunks, _) = self.words.as_chunks::<HOPES_AT_ONCE>();
        for (chunk, words) in chunks.iter().enumerate() {
            if self.together[chunk] & word == 0 {
                continue;
            }
            for (place, hopes) in words.iter().enumerate() {
                if hopes & word != 0 {
                    tell(chunk * HOPES_AT_ONCE + place);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_hold_a_shape_is_told_and_nobody_else_is_looked_at() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut hopes, mut plain) = (Hopes::default(), [0; 100]);
        for _ in 0..3000 {
            let place = random.usize(0..plain.len());
            // Few shapes each, so that some go and others stay.
            let word = random.u64(..) & random.u64(..) & random.u64(..) & random.u64(..);
            let word = if random.bool() { 0 } else { word };
            plain[place] = word;
            hopes.set(place, word);
            let wanted = 1 << random.u32(0..64) | 1 << random.u32(0..64);
            let mut told = Vec::new();
            hopes.having(wanted, |place| told.push(place));
            let having = (0..plain.len()).filter(|place| plain[*place] & wanted != 0);
            assert_eq!(told, having.collect::<Vec<_>>());
            for (chunk, together) in hopes.together.iter().enumerate() {
                let own = plain[chunk * HOPES_AT_ONCE..].iter().take(HOPES_AT_ONCE);
                assert_eq!(*together, own.fold(0, |all, word| all | word));
            }
        }
        // An agent that holds nothing needs no room.
        hopes.set(10_000, 0);
        assert!(hopes.words.len() < 10_000);
    }
}
