//! Which shapes fit an offer: demands by column, so that 64 shapes are compared in a few instructions
//! a resource.

use apportion_policies::{Amounts, Demand, ResourceId, ShapeId, ShapeSet};

/// Shapes in one word of a set.
const WORD_LEN: usize = 64;

/// So many shapes of a word are compared one by one; more than that, and all 64 are without a branch.
const FEW_SHAPES: u32 = 24;

/// Which shapes may go now on an agent where they couldn't go before, though the agent itself has not
/// changed. All others are known not to, so agents that haven't changed need not be asked about them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Widened {
    /// All of them: limits or capacities changed.
    all: bool,
    /// Those that demand one of these, of which something came free.
    resources: Vec<ResourceId>,
    /// Those that wait in a leaf where they didn't.
    pub(crate) shapes: ShapeSet,
}

impl Widened {
    /// Nothing is known of any agent.
    pub(crate) fn everything() -> Self {
        Self {
            all: true,
            ..Self::default()
        }
    }

    /// Nothing may go that couldn't before.
    pub(crate) fn clear(&mut self) {
        self.all = false;
        self.resources.clear();
        self.shapes.clear();
    }

    /// Something of a resource came free.
    pub(crate) fn resource(&mut self, resource: ResourceId) {
        if !self.resources.contains(&resource) {
            self.resources.push(resource);
        }
    }
}

/// Between which amounts the demands of one word's shapes lie, zeros left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    least: u64,
    largest: u64,
}

impl Span {
    const NOTHING: Self = Self {
        least: u64::MAX,
        largest: 0,
    };

    fn with(self, amount: u64) -> Self {
        if amount == 0 {
            return self;
        }
        Self {
            least: self.least.min(amount),
            largest: self.largest.max(amount),
        }
    }
}

/// The demands of all shapes in use, one column a resource, and which shapes wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct FitTable {
    /// By resource, then by shape: the demand in thousandths. As long as all words together.
    columns: Vec<Vec<u64>>,
    /// By resource, then by word: between which amounts its demands lie. Most words are told by that alone.
    spans: Vec<Vec<Span>>,
    /// By resource: the shapes that demand it.
    demanding: Vec<Vec<u64>>,
    /// The shapes that there ever was a row for.
    known: Vec<u64>,
    /// By shape: in how many leaves a task of it waits.
    n_heads: Vec<u32>,
    /// The shapes that wait.
    waiting: Vec<u64>,
    /// The shapes with constraints.
    constrained: Vec<u64>,
    /// Whether a row changed since this was asked last.
    has_new_rows: bool,
}

impl FitTable {
    /// A shape came into use. Costs 64 shapes of each resource.
    pub(crate) fn set_row(&mut self, shape: ShapeId, demand: &Demand, has_constraints: bool) {
        let (word, bit) = (shape.index() / WORD_LEN, shape.index() % WORD_LEN);
        let n_words = self.waiting.len().max(word + 1);
        self.waiting.resize(n_words, 0);
        self.constrained.resize(n_words, 0);
        self.known.resize(n_words, 0);
        self.has_new_rows |= self.known[word] & (1 << bit) == 0;
        self.known[word] |= 1 << bit;
        self.n_heads.resize(n_words * WORD_LEN, 0);
        let n_columns = demand.iter().map(|(id, _)| id.index() + 1);
        let n_columns = n_columns.fold(self.columns.len(), usize::max);
        self.columns.resize(n_columns, Vec::new());
        self.spans.resize(n_columns, Vec::new());
        self.demanding.resize(n_columns, Vec::new());
        let spans = self.columns.iter_mut().zip(&mut self.spans);
        let columns = spans.zip(&mut self.demanding);
        for (index, ((column, spans), demanding)) in columns.enumerate() {
            column.resize(n_words * WORD_LEN, 0);
            spans.resize(n_words, Span::NOTHING);
            let amount = demand.get(ResourceId::new(index)).milli();
            let before = std::mem::replace(&mut column[shape.index()], amount);
            self.has_new_rows |= before != amount;
            let rows = &column[word * WORD_LEN..(word + 1) * WORD_LEN];
            spans[word] = rows.iter().copied().fold(Span::NOTHING, Span::with);
            demanding.resize(n_words, 0);
            demanding[word] &= !(1 << bit);
            demanding[word] |= u64::from(amount > 0) << bit;
        }
        self.constrained[word] &= !(1 << bit);
        self.constrained[word] |= u64::from(has_constraints) << bit;
    }

    /// A task of this shape waits in one more leaf, or in one fewer.
    pub(crate) fn count_head(&mut self, shape: ShapeId, is_there: bool) {
        let count = &mut self.n_heads[shape.index()];
        *count = if is_there {
            *count + 1
        } else {
            count.checked_sub(1).expect("a head that goes was there")
        };
        let (word, bit) = (shape.index() / WORD_LEN, shape.index() % WORD_LEN);
        self.waiting[word] &= !(1 << bit);
        self.waiting[word] |= u64::from(*count > 0) << bit;
    }

    /// Whether nothing waits anywhere.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.iter().all(|word| *word == 0)
    }

    /// Whether a row changed since this was asked last.
    pub(crate) fn take_new_rows(&mut self) -> bool {
        std::mem::take(&mut self.has_new_rows)
    }

    /// All shapes, waiting or not, whose demand of these resources `free` holds. Rows that aren't in use
    /// any more may be among them.
    pub(crate) fn held(&self, free: &Amounts, resources: &[ResourceId], held: &mut Vec<u64>) {
        held.clear();
        let words = self.known.iter().enumerate();
        held.extend(words.map(|(index, known)| self.holding_of(index, *known, free, resources)));
    }

    /// All shapes that wait.
    pub(crate) fn waiting(&self) -> &[u64] {
        &self.waiting
    }

    /// The shapes that wait and may go where they couldn't before.
    pub(crate) fn widened(&self, widened: &Widened, among: &mut Vec<u64>) {
        among.clear();
        let words = self.waiting.iter().enumerate();
        among.extend(words.map(|(index, waiting)| {
            if widened.all {
                return *waiting;
            }
            let mut word = widened.shapes.words().get(index).copied().unwrap_or(0);
            for resource in &widened.resources {
                let demanding = self.demanding.get(resource.index());
                word |= demanding.map_or(0, |shapes| shapes[index]);
            }
            word & waiting
        }));
    }

    /// Those of the shapes `among` that still wait and whose demand of these resources `free` holds.
    pub(crate) fn retain(
        &self,
        among: &mut [u64],
        free: &Amounts,
        resources: &[ResourceId],
    ) -> bool {
        let mut any = false;
        for (index, word) in among.iter_mut().enumerate() {
            *word = self.holding_of(index, *word & self.waiting[index], free, resources);
            any |= *word != 0;
        }
        any
    }

    /// Those of the shapes `among` whose demand `free` holds. `meets` is asked for those with constraints.
    /// Costs the shapes times the resources, 64 shapes at a time.
    pub(crate) fn fitting(
        &self,
        among: &[u64],
        free: &Amounts,
        meets: impl Fn(ShapeId) -> bool,
        fits: &mut ShapeSet,
    ) {
        fits.clear();
        for (index, among) in among.iter().enumerate() {
            let mut word = self.holding(index, *among, free, 0..self.columns.len());
            let mut asked = word & self.constrained[index];
            while asked != 0 {
                let bit = asked.trailing_zeros() as usize;
                asked &= asked - 1;
                if !meets(ShapeId::new(index * WORD_LEN + bit)) {
                    word &= !(1 << bit);
                }
            }
            fits.push_word(word);
        }
    }

    /// Takes out of `fits` what no longer fits after `demand` was taken off `free`. False if nothing
    /// that waits is left.
    pub(crate) fn shrink(&self, free: &Amounts, demand: &Demand, fits: &mut ShapeSet) -> bool {
        let mut any = false;
        for (index, word) in fits.words_mut().iter_mut().enumerate() {
            if *word != 0 {
                let columns = demand.iter().map(|(id, _)| id.index());
                *word = self.holding(index, *word & self.waiting[index], free, columns);
                any |= *word != 0;
            }
        }
        any
    }

    /// Takes out of `fits` what `free` doesn't hold, or doesn't wait any more.
    pub(crate) fn retain_held(&self, free: &Amounts, fits: &mut ShapeSet) {
        for (index, word) in fits.words_mut().iter_mut().enumerate() {
            let columns = 0..self.columns.len();
            *word = self.holding(index, *word & self.waiting[index], free, columns);
        }
    }

    /// As [`FitTable::holding`], where some of the resources may be in no demand.
    fn holding_of(&self, index: usize, word: u64, free: &Amounts, resources: &[ResourceId]) -> u64 {
        let columns = resources.iter().map(|id| id.index());
        let columns = columns.filter(|column| *column < self.columns.len());
        self.holding(index, word, free, columns)
    }

    /// Those of the shapes of a word whose demand of these resources `free` holds.
    fn holding(
        &self,
        index: usize,
        word: u64,
        free: &Amounts,
        columns: impl Iterator<Item = usize>,
    ) -> u64 {
        let mut word = word;
        for column in columns {
            // What isn't demanded is held.
            let asked = word & self.demanding[column][index];
            if asked == 0 {
                continue;
            }
            let free = free.get(ResourceId::new(column)).milli();
            let span = self.spans[column][index];
            if span.largest <= free {
                continue;
            }
            if span.least > free {
                word &= !asked;
                continue;
            }
            let rows = &self.columns[column][index * WORD_LEN..(index + 1) * WORD_LEN];
            if asked.count_ones() <= FEW_SHAPES {
                let mut rest = asked;
                while rest != 0 {
                    let bit = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    word &= !(u64::from(rows[bit] > free) << bit);
                }
            } else {
                let mut holding = 0;
                for (bit, demand) in rows.iter().enumerate() {
                    holding |= u64::from(*demand <= free) << bit;
                }
                word &= holding;
            }
        }
        word
    }
}

#[cfg(test)]
mod tests {
    use apportion_policies::Amount;
    use proptest::prelude::*;

    use super::*;

    fn demand(pairs: &[(usize, u64)]) -> Demand {
        Demand::new(
            pairs
                .iter()
                .map(|(id, milli)| (ResourceId::new(*id), Amount::from_milli(*milli).unwrap())),
        )
    }

    fn free(milli: &[u64]) -> Amounts {
        let mut amounts = Amounts::default();
        for (id, milli) in milli.iter().enumerate() {
            amounts.set(ResourceId::new(id), Amount::from_milli(*milli).unwrap());
        }
        amounts
    }

    fn shapes(fits: &ShapeSet) -> Vec<usize> {
        (0..200)
            .filter(|shape| fits.contains(ShapeId::new(*shape)))
            .collect()
    }

    #[test]
    fn only_waiting_shapes_that_fit_and_whose_constraints_hold_are_found() {
        let mut table = FitTable::default();
        table.set_row(ShapeId::new(0), &demand(&[(0, 1)]), false);
        table.set_row(ShapeId::new(1), &demand(&[(0, 3), (1, 1)]), false);
        table.set_row(ShapeId::new(70), &demand(&[(2, 5)]), true);
        table.set_row(ShapeId::new(71), &demand(&[]), true);
        assert!(table.is_idle());
        for shape in [0, 1, 70, 71] {
            table.count_head(ShapeId::new(shape), true);
        }
        let mut fits = ShapeSet::default();
        let is_70 = |shape: ShapeId| shape.index() == 70;
        table.fitting(table.waiting(), &free(&[3, 1, 5]), is_70, &mut fits);
        assert_eq!(shapes(&fits), [0, 1, 70]);
        table.fitting(table.waiting(), &free(&[2, 1]), |_| true, &mut fits);
        assert_eq!(shapes(&fits), [0, 71]);
        table.fitting(table.waiting(), &free(&[3, 1, 5]), |_| true, &mut fits);
        assert!(table.shrink(&free(&[1, 1, 0]), &demand(&[(0, 2)]), &mut fits));
        assert_eq!(
            shapes(&fits),
            [0, 70, 71],
            "only what was taken is looked at"
        );
        for shape in [0, 70, 71] {
            table.count_head(ShapeId::new(shape), false);
        }
        assert!(!table.shrink(&free(&[1]), &demand(&[(0, 1)]), &mut fits));
        assert!(!table.is_idle());
    }

    #[test]
    fn each_shape_with_constraints_is_asked_for_them_and_no_other() {
        let mut table = FitTable::default();
        for shape in 0..4 {
            let has_constraints = shape != 1;
            table.set_row(ShapeId::new(shape), &demand(&[(0, 1)]), has_constraints);
            table.count_head(ShapeId::new(shape), true);
        }
        let mut fits = ShapeSet::default();
        table.fitting(table.waiting(), &free(&[1]), |_| false, &mut fits);
        assert_eq!(shapes(&fits), [1]);
        // The place of a shape that is used again.
        table.set_row(ShapeId::new(2), &demand(&[(0, 1)]), false);
        table.fitting(table.waiting(), &free(&[1]), |_| false, &mut fits);
        assert_eq!(shapes(&fits), [1, 2]);
    }

    #[test]
    fn what_is_not_held_or_does_not_wait_any_more_is_taken_out() {
        let mut table = FitTable::default();
        for shape in 0..4 {
            let amount = 1 + shape as u64;
            table.set_row(ShapeId::new(shape), &demand(&[(0, amount)]), false);
            table.count_head(ShapeId::new(shape), true);
        }
        let mut fits = ShapeSet::default();
        table.fitting(table.waiting(), &free(&[4]), |_| true, &mut fits);
        fits.remove(ShapeId::new(0));
        table.count_head(ShapeId::new(1), false);
        table.retain_held(&free(&[3]), &mut fits);
        assert_eq!(shapes(&fits), [2]);
    }

    #[test]
    fn a_row_is_new_once() {
        let mut table = FitTable::default();
        assert!(!table.take_new_rows());
        let mut is_new = |shape: usize, amount: u64| {
            table.set_row(ShapeId::new(shape), &demand(&[(0, amount)]), false);
            (table.take_new_rows(), table.take_new_rows())
        };
        for shape in [0, 3, 70] {
            for amount in [5, 6, 0] {
                assert_eq!(is_new(shape, amount), (true, false), "{shape} {amount}");
                assert_eq!(is_new(shape, amount), (false, false), "{shape} {amount}");
            }
        }
        // Even one that asks for as little as an unused place.
        assert_eq!(is_new(2, 0), (true, false));
    }

    #[test]
    fn many_shapes_of_one_resource_are_found_and_thinned_out_as_few_are() {
        const N_SHAPES: usize = 100;
        let mut table = FitTable::default();
        for shape in 0..N_SHAPES {
            let wanted = demand(&[(0, 1 + shape as u64), (1, 200 - shape as u64)]);
            table.set_row(ShapeId::new(shape), &wanted, false);
            table.count_head(ShapeId::new(shape), true);
        }
        let mut fits = ShapeSet::default();
        table.fitting(table.waiting(), &free(&[80, 150]), |_| true, &mut fits);
        assert_eq!(shapes(&fits), (50..80).collect::<Vec<usize>>());
        assert!(table.shrink(&free(&[60, 150]), &demand(&[(0, 20)]), &mut fits));
        assert_eq!(shapes(&fits), (50..60).collect::<Vec<usize>>());
        assert!(table.shrink(&free(&[60, 143]), &demand(&[(1, 7)]), &mut fits));
        assert_eq!(shapes(&fits), [57, 58, 59]);
    }

    proptest! {
        #[test]
        fn rows_used_again_are_found_as_a_look_at_each_finds_them(
            rows in proptest::collection::vec((0..70_usize, 0..6_u64, 0..6_u64), 1..200),
            milli in [0..7_u64, 0..7],
        ) {
            let mut table = FitTable::default();
            let mut plain = vec![None; 70];
            for (shape, cpus, mem) in rows {
                table.set_row(ShapeId::new(shape), &demand(&[(0, cpus), (1, mem)]), false);
                plain[shape] = Some([cpus, mem]);
            }
            let held = |row: &[u64; 2]| row.iter().zip(&milli).all(|(demand, free)| demand <= free);
            let mut found = Vec::new();
            table.held(&free(&milli), &[0, 1].map(ResourceId::new), &mut found);
            let is_found = |shape: usize| found.get(shape / 64).is_some_and(|word| word >> (shape % 64) & 1 == 1);
            for (shape, row) in plain.iter().enumerate() {
                prop_assert_eq!(is_found(shape), row.as_ref().is_some_and(held), "shape {}", shape);
            }
            for (resource, spans) in table.spans.iter().enumerate() {
                for (word, span) in spans.iter().enumerate() {
                    let rows = plain.iter().skip(word * WORD_LEN).take(WORD_LEN);
                    let amounts = rows.flatten().map(|row| row[resource]);
                    prop_assert_eq!(*span, amounts.fold(Span::NOTHING, Span::with));
                }
            }
        }
    }

    #[test]
    fn only_shapes_that_something_came_free_for_are_widened() {
        let mut table = FitTable::default();
        table.set_row(ShapeId::new(0), &demand(&[(0, 1)]), false);
        table.set_row(ShapeId::new(1), &demand(&[(1, 3)]), false);
        table.set_row(ShapeId::new(2), &demand(&[(1, 5)]), false);
        for shape in [0, 1, 2] {
            table.count_head(ShapeId::new(shape), true);
        }
        let mut among = Vec::new();
        table.widened(&Widened::everything(), &mut among);
        assert_eq!(among, [0b111]);
        let mut widened = Widened::default();
        table.widened(&widened, &mut among);
        assert_eq!(among, [0]);
        widened.resource(ResourceId::new(1));
        widened.resource(ResourceId::new(9));
        table.widened(&widened, &mut among);
        assert_eq!(among, [0b110]);
        let shared = [1, 9].map(ResourceId::new);
        assert!(table.retain(&mut among, &free(&[0, 3]), &shared));
        assert_eq!(among, [0b010]);
        assert!(!table.retain(&mut among, &free(&[9, 2]), &shared));
        widened.shapes.insert(ShapeId::new(0));
        table.widened(&widened, &mut among);
        assert_eq!(among, [0b111]);
        for widened in [&mut Widened::everything(), &mut widened] {
            widened.clear();
            table.widened(widened, &mut among);
            assert_eq!(among, [0]);
        }
    }
}
