//! What was found below an inner queue, remembered until something changes there.

use super::queue::{Next, Standing};

/// The most answers that are remembered: so many kinds of offers there are on a busy cluster with a few shapes and
/// cluster resources. They are compared one after the other, which costs far less than to find one again.
const ANSWERS_MAX: usize = 32;

/// What was found below a queue since something changed there, by the shapes that could go. Offers of a
/// busy cluster are much alike, and most queues don't change between two of them.
#[derive(Default)]
pub(super) struct Memo {
    /// Words of bits per set.
    width: usize,
    /// The sets, one after the other.
    sets: Vec<u64>,
    answers: Vec<Option<Standing>>,
    /// Which answer is forgotten next once there are [`ANSWERS_MAX`].
    next: usize,
}

impl Memo {
    /// Forgets everything: something changed below.
    pub(super) fn clear(&mut self) {
        self.sets.clear();
        self.answers.clear();
        self.next = 0;
    }

    /// The place of what was found for the shapes that are in both sets, if that was asked before.
    #[inline]
    pub(super) fn find(&self, one: &[u64], other: &[u64]) -> Option<usize> {
        let width = one.len().min(other.len());
        if width != self.width {
            return None;
        }
        match (one, other) {
            // One word is the rule.
            ([one, ..], [other, ..]) if width == 1 => {
                let word = one & other;
                self.sets.iter().position(|set| *set == word)
            }
            ([], _) | (_, []) => None,
            _ => self.sets.chunks(width).position(|set| {
                let mut words = one.iter().zip(other).map(|(one, other)| one & other);
                set.iter().all(|word| words.next() == Some(*word))
            }),
        }
    }

    /// What was found; `None` where nothing can go.
    pub(super) fn standing(&self, place: usize) -> Option<&Standing> {
        self.answers[place].as_ref()
    }

    /// What would be launched was asked for.
    pub(super) fn set_next(&mut self, place: usize, next: Next) {
        if let Some(standing) = &mut self.answers[place] {
            standing.next = Some(next);
        }
    }

    /// Whether it is known how the queue stands.
    #[inline]
    pub(super) fn is_known(&self, place: usize) -> bool {
        (self.answers[place].as_ref()).is_none_or(|standing| standing.stance.is_some())
    }

    /// Replaces what was found.
    pub(super) fn set(&mut self, place: usize, found: Option<Standing>) {
        self.answers[place] = found;
    }

    /// Remembers what was found for these shapes, and gives its place.
    pub(super) fn put(&mut self, going: &[u64], found: Option<Standing>) -> usize {
        if going.len() != self.width {
            self.clear();
            self.width = going.len();
        }
        if self.answers.len() < ANSWERS_MAX {
            self.sets.extend_from_slice(going);
            self.answers.push(found);
            return self.answers.len() - 1;
        }
        let place = self.next;
        self.sets[place * self.width..][..self.width].copy_from_slice(going);
        self.answers[place] = found;
        self.next = (place + 1) % ANSWERS_MAX;
        place
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::Stance;
    use super::*;
    use crate::ranking::Key;
    use crate::share::Share;

    fn standing(number: u64) -> Standing {
        let stance = Stance {
            key: Key::share(Share::count(number)),
            level: None,
        };
        Standing {
            stance: Some(stance),
            next: None,
        }
    }

    /// A set of its own for each number, of which both ends tell.
    fn set(width: usize, number: u64) -> Vec<u64> {
        let mut words = vec![0; width];
        words[0] = number % 7;
        words[width - 1] += 8 * (number + 1);
        words
    }

    #[test]
    fn the_last_answers_are_remembered_and_no_older_ones() {
        for width in 1..4 {
            let all = vec![u64::MAX; width];
            let mut memo = Memo::default();
            for number in 0..100 {
                assert_eq!(memo.find(&set(width, number), &all), None);
                let place = memo.put(&set(width, number), Some(standing(number)));
                assert_eq!(memo.find(&all, &set(width, number)), Some(place));
                let oldest = (number + 1).saturating_sub(ANSWERS_MAX as u64);
                for known in oldest..=number {
                    let place = memo.find(&set(width, known), &all).unwrap();
                    let key = |standing: &Standing| standing.stance.unwrap().key;
                    let found = memo.standing(place).unwrap();
                    assert!(key(found) == key(&standing(known)), "{known} of {number}");
                }
                if let Some(forgotten) = oldest.checked_sub(1) {
                    assert_eq!(memo.find(&set(width, forgotten), &all), None);
                }
            }
        }
    }

    #[test]
    fn what_is_in_both_sets_is_asked_for_and_only_of_one_width() {
        let mut memo = Memo::default();
        assert_eq!(memo.find(&[], &[1]), None);
        let nothing = memo.put(&[0], None);
        let place = memo.put(&[0b100], Some(standing(1)));
        assert_eq!(memo.find(&[0b110], &[0b101, 7]), Some(place));
        assert_eq!(memo.find(&[0b110], &[0b001]), Some(nothing));
        assert!(memo.standing(nothing).is_none());
        assert!(memo.is_known(nothing) && memo.is_known(place));
        memo.set(place, Some(Standing::default()));
        assert!(!memo.is_known(place), "how it stands wasn't asked for");
        assert_eq!(memo.find(&[0b110, 0], &[0b101, 0]), None);
        assert_eq!(memo.put(&[0b100, 0], Some(standing(2))), 0);
        assert_eq!(memo.find(&[0b100], &[0b100]), None, "of another width");
        memo.clear();
        assert_eq!(memo.find(&[0b100, 0], &[0b100, 0]), None);
    }
}
