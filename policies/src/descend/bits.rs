//! Sets of shapes as words of bits, and sets that count how often each shape was put in.

use crate::ids::ShapeId;

/// The shapes of a bit set, least first.
pub(super) fn shapes_of(words: &[u64]) -> impl Iterator<Item = ShapeId> + '_ {
    words.iter().enumerate().flat_map(|(index, word)| {
        let mut rest = *word;
        std::iter::from_fn(move || {
            let bit = rest.trailing_zeros() as usize;
            (rest != 0).then(|| {
                rest &= rest - 1;
                ShapeId::new(index * 64 + bit)
            })
        })
    })
}

pub(super) fn contains(words: &[u64], shape: ShapeId) -> bool {
    words
        .get(shape.index() / 64)
        .is_some_and(|word| word & (1 << (shape.index() % 64)) != 0)
}

pub(super) fn insert(words: &mut Vec<u64>, shape: ShapeId) {
    let index = shape.index() / 64;
    if index >= words.len() {
        words.resize(index + 1, 0);
    }
    words[index] |= 1 << (shape.index() % 64);
}

pub(super) fn remove(words: &mut [u64], shape: ShapeId) {
    if let Some(word) = words.get_mut(shape.index() / 64) {
        *word &= !(1 << (shape.index() % 64));
    }
}

/// Whether two sets have a shape in common.
pub(super) fn intersect(one: &[u64], other: &[u64]) -> bool {
    one.iter().zip(other).any(|(one, other)| one & other != 0)
}

/// Makes `into` the shapes that are in both sets.
pub(super) fn set_common(into: &mut Vec<u64>, one: &[u64], other: &[u64]) {
    into.clear();
    into.extend(one.iter().zip(other).map(|(one, other)| one & other));
}

/// Keeps the shapes that are in the other set, too.
pub(super) fn keep_common(words: &mut Vec<u64>, other: &[u64]) {
    words.truncate(other.len());
    words
        .iter_mut()
        .zip(other)
        .for_each(|(word, other)| *word &= other);
}

/// Shapes with how many children have them.
#[derive(Default)]
pub(super) struct Counted {
    counts: Vec<(ShapeId, u32)>,
    words: Vec<u64>,
}

impl Counted {
    /// One child more; tells whether it is the first.
    pub(super) fn add(&mut self, shape: ShapeId) -> bool {
        match self.counts.binary_search_by_key(&shape, |(id, _)| *id) {
            Ok(index) => {
                self.counts[index].1 += 1;
                false
            }
            Err(index) => {
                self.counts.insert(index, (shape, 1));
                insert(&mut self.words, shape);
                true
            }
        }
    }

    /// One child fewer; tells whether it was the last.
    ///
    /// # Panics
    /// If no child has the shape.
    pub(super) fn remove(&mut self, shape: ShapeId) -> bool {
        let index = self.counts.binary_search_by_key(&shape, |(id, _)| *id);
        let index = index.expect("a shape leaves where it came in");
        self.counts[index].1 -= 1;
        if self.counts[index].1 > 0 {
            return false;
        }
        self.counts.remove(index);
        remove(&mut self.words, shape);
        true
    }

    /// The set as bits.
    pub(super) fn words(&self) -> &[u64] {
        &self.words
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The shapes, least first.
    pub(super) fn iter(&self) -> impl Iterator<Item = ShapeId> + '_ {
        self.counts.iter().map(|(shape, _)| *shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_back_in_order() {
        let shapes = [0, 63, 64, 200].map(ShapeId::new);
        let mut words = Vec::new();
        for shape in shapes {
            insert(&mut words, shape);
        }
        assert_eq!(shapes_of(&words).collect::<Vec<_>>(), shapes);
        remove(&mut words, shapes[1]);
        assert!(!contains(&words, shapes[1]) && contains(&words, shapes[3]));
    }

    #[test]
    fn common_shapes() {
        let mut into = vec![7, 7];
        set_common(&mut into, &[6, 1], &[3]);
        assert_eq!(into, [2]);
        into = vec![6, 1];
        keep_common(&mut into, &[3]);
        assert_eq!(into, [2]);
        assert!(intersect(&[6, 1], &[3]) && !intersect(&[6, 1], &[1, 2]));
    }

    #[test]
    fn the_first_comes_and_the_last_goes() {
        let shape = ShapeId::new(70);
        let mut counted = Counted::default();
        assert!(counted.add(shape));
        assert!(!counted.add(shape));
        assert!(!counted.remove(shape));
        assert!(contains(counted.words(), shape));
        assert!(counted.remove(shape));
        assert!(counted.is_empty() && !contains(counted.words(), shape));
    }
}
