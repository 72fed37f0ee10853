//! What was found below an inner queue, remembered until something changes there.

use super::bits;
use super::queue::Found;

/// The most answers that are remembered: a few kinds of offers, compared one after the other.
const ANSWERS_MAX: usize = 8;

/// What was found below a queue since something changed there, by the shapes that could go. Offers of a
/// busy cluster are much alike, and most queues don't change between two of them.
#[derive(Default)]
pub(super) struct Memo {
    /// Words of bits per set.
    width: usize,
    /// The sets, one after the other.
    sets: Vec<u64>,
    answers: Vec<Option<Found>>,
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

    /// What was found for the shapes that are in both sets, if that was asked before.
    pub(super) fn find(&self, one: &[u64], other: &[u64]) -> Option<Option<Found>> {
        let is_known = |number: &usize| {
            bits::is_common(&self.sets[number * self.width..][..self.width], one, other)
        };
        Some(self.answers[(0..self.answers.len()).find(is_known)?])
    }

    /// Remembers what was found for these shapes.
    pub(super) fn put(&mut self, going: &[u64], found: Option<Found>) {
        if going.len() != self.width {
            self.clear();
            self.width = going.len();
        }
        if self.answers.len() < ANSWERS_MAX {
            self.sets.extend_from_slice(going);
            self.answers.push(found);
        } else {
            self.sets[self.next * self.width..][..self.width].copy_from_slice(going);
            self.answers[self.next] = found;
            self.next = (self.next + 1) % ANSWERS_MAX;
        }
    }
}
