//! Numbers by shape, for the few shapes that a queue knows of all there are.

use crate::ids::ShapeId;

/// A number for each of some shapes. Looking one up costs counting the bits of a word; adding one costs those that are
/// in.
#[derive(Default)]
pub(super) struct ShapeMap {
    /// The shapes that are in.
    words: Vec<u64>,
    /// Per word, how many are in before it.
    n_before: Vec<u32>,
    /// In order of shapes.
    numbers: Vec<u32>,
}

/// How far the shapes of a set have been gone through.
#[derive(Default)]
pub(super) struct Cursor {
    n_words: usize,
    /// Of the last of these words.
    rest: u64,
}

impl ShapeMap {
    fn rank(&self, word: usize, bit: u32) -> usize {
        let before = self.words[word] & ((1 << bit) - 1);
        (self.n_before[word] + before.count_ones()) as usize
    }

    pub(super) fn get(&self, shape: ShapeId) -> Option<usize> {
        let (word, bit) = (shape.index() / 64, shape.index() as u32 % 64);
        let is_in = self.words.get(word)? & (1 << bit) != 0;
        is_in.then(|| self.numbers[self.rank(word, bit)] as usize)
    }

    /// Adds a shape that isn't in yet.
    pub(super) fn insert(&mut self, shape: ShapeId, number: u32) {
        let (word, bit) = (shape.index() / 64, shape.index() as u32 % 64);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
            self.n_before.resize(word + 1, self.numbers.len() as u32);
        }
        self.numbers.insert(self.rank(word, bit), number);
        self.words[word] |= 1 << bit;
        let after = self.n_before.iter_mut().skip(word + 1);
        after.for_each(|n_before| *n_before += 1);
    }

    /// How many shapes of a set are in.
    pub(super) fn n_common(&self, set: &[u64]) -> usize {
        let words = self.words.iter().zip(set);
        words
            .map(|(one, other)| (one & other).count_ones() as usize)
            .sum()
    }

    /// The numbers of the shapes of a set that are in, in order of shapes.
    pub(super) fn common<'a>(&'a self, set: &'a [u64]) -> impl Iterator<Item = usize> + 'a {
        let words = self.words.iter().zip(&self.n_before).zip(set);
        words.flat_map(move |((known, n_before), asked)| {
            let mut rest = known & asked;
            std::iter::from_fn(move || {
                let before = known & (rest.wrapping_sub(1) & !rest);
                let rank = n_before + before.count_ones();
                (rest != 0).then(|| {
                    rest &= rest - 1;
                    self.numbers[rank as usize] as usize
                })
            })
        })
    }

    /// The same, one by one.
    pub(super) fn next_common(&self, cursor: &mut Cursor, set: &[u64]) -> Option<usize> {
        while cursor.rest == 0 {
            cursor.rest = self.words.get(cursor.n_words)? & set.get(cursor.n_words)?;
            cursor.n_words += 1;
        }
        let bit = cursor.rest.trailing_zeros();
        cursor.rest &= cursor.rest - 1;
        Some(self.numbers[self.rank(cursor.n_words - 1, bit)] as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::super::bits;
    use super::*;

    #[test]
    fn numbers_are_found_by_shape_whatever_came_first() {
        let mut map = ShapeMap::default();
        let shapes = [200, 3, 64, 63, 0, 130, 199];
        for (number, shape) in shapes.into_iter().enumerate() {
            map.insert(ShapeId::new(shape), number as u32);
        }
        for shape in 0..300 {
            let number = shapes.iter().position(|known| *known == shape);
            assert_eq!(map.get(ShapeId::new(shape)), number);
        }
        let mut set = Vec::new();
        for shape in [0, 1, 63, 130, 131, 200, 500] {
            bits::insert(&mut set, ShapeId::new(shape));
        }
        assert_eq!(map.common(&set).collect::<Vec<_>>(), [4, 3, 5, 0]);
        assert_eq!(map.n_common(&set), 4);
        assert_eq!(map.common(&set[..1]).collect::<Vec<_>>(), [4, 3]);
        assert_eq!(map.n_common(&[]), 0);
    }
}
