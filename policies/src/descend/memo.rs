//! What was found below an inner queue, remembered until something changes there.

use super::queue::Found;

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

    /// What was found for these shapes, if that was asked before.
    pub(super) fn find(&self, going: &[u64]) -> Option<Option<Found>> {
        let place = match going {
            // One word is the rule.
            [word] if self.width == 1 => self.sets.iter().position(|set| set == word),
            _ if going.len() != self.width || going.is_empty() => None,
            _ => self.sets.chunks(self.width).position(|set| set == going),
        };
        Some(self.answers[place?])
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
