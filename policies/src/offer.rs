//! An offer as a policy sees it: which shapes fit what is left of it.

use crate::demand::Amounts;
use crate::ids::ShapeId;

/// A set of shapes, one bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShapeSet {
    words: Vec<u64>,
}

impl ShapeSet {
    /// Puts a shape in.
    pub fn insert(&mut self, shape: ShapeId) {
        let word = shape.index() / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (shape.index() % 64);
    }

    /// Takes a shape out.
    pub fn remove(&mut self, shape: ShapeId) {
        if let Some(word) = self.words.get_mut(shape.index() / 64) {
            *word &= !(1 << (shape.index() % 64));
        }
    }

    /// Whether a shape is in.
    #[must_use]
    pub fn contains(&self, shape: ShapeId) -> bool {
        self.words
            .get(shape.index() / 64)
            .is_some_and(|word| word & (1 << (shape.index() % 64)) != 0)
    }

    /// Whether no shape is in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The bits, 64 shapes a word, least id first.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The same, to take shapes out, 64 at a time.
    pub fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    /// Adds the next 64 shapes behind those that there is a word for.
    pub fn push_word(&mut self, word: u64) {
        self.words.push(word);
    }

    /// Makes this the shapes that are in one of two sets.
    pub fn set_union(&mut self, one: &Self, other: &Self) {
        self.words.clear();
        let n_words = one.words.len().max(other.words.len());
        let word = |set: &Self, index: usize| set.words.get(index).copied().unwrap_or(0);
        self.words
            .extend((0..n_words).map(|index| word(one, index) | word(other, index)));
    }

    /// Takes all shapes out.
    pub fn clear(&mut self) {
        self.words.clear();
    }
}

/// What is left of one agent's offer, together with what is free of the cluster's resources.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// What is free: of the agent for host resources, of the cluster for cluster resources.
    pub free: &'a Amounts,
    /// The shapes in use whose demand fits `free` and whose constraints the agent meets.
    /// Limits of queues (`max`) are not looked at here.
    pub fits: &'a ShapeSet,
}
