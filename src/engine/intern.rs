//! One copy of what many tasks have in common, so that a queued task stays small.

use std::collections::BTreeSet;
use std::sync::Arc;

use apportion_policies::Amount;

use super::request::ByName;
use super::spec::Submission;

/// How many different values are held before those that nobody needs any more are dropped.
const SWEEP_LEN: usize = 1024;

/// Values seen before. Only for memory: dropping one costs nothing but a second copy.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    names: Pool<str>,
    demands: Pool<ByName<Amount>>,
    constraints: Pool<ByName<Arc<str>>>,
}

/// The values of one type.
#[derive(Debug)]
struct Pool<T: ?Sized + Ord> {
    values: BTreeSet<Arc<T>>,
    sweep_at: usize,
}

impl<T: ?Sized + Ord> Default for Pool<T> {
    fn default() -> Self {
        Self {
            values: BTreeSet::new(),
            sweep_at: SWEEP_LEN,
        }
    }
}

impl<T: ?Sized + Ord> Pool<T> {
    /// The first value that was equal to this one.
    fn get(&mut self, value: &Arc<T>) -> Arc<T> {
        if let Some(known) = self.values.get(value) {
            return Arc::clone(known);
        }
        if self.values.len() >= self.sweep_at {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.sweep_at = SWEEP_LEN.max(2 * self.values.len());
        }
        self.values.insert(Arc::clone(value));
        Arc::clone(value)
    }
}

impl Interner {
    /// The name that was seen first.
    pub(crate) fn name(&mut self, name: &Arc<str>) -> Arc<str> {
        self.names.get(name)
    }

    /// The equal demand that was seen first.
    pub(crate) fn demand(&mut self, demand: &Arc<ByName<Amount>>) -> Arc<ByName<Amount>> {
        self.demands.get(demand)
    }

    /// The equal constraints that were seen first.
    pub(crate) fn constraints(
        &mut self,
        constraints: &Arc<ByName<Arc<str>>>,
    ) -> Arc<ByName<Arc<str>>> {
        self.constraints.get(constraints)
    }

    /// An equal submission with shared parts.
    pub(crate) fn submission(&mut self, submission: &Submission) -> Arc<Submission> {
        let mut submission = submission.clone();
        let spec = &mut submission.spec;
        spec.queue = self.name(&spec.queue);
        spec.inbox = spec.inbox.as_ref().map(|inbox| self.name(inbox));
        spec.demand = self.demand(&spec.demand);
        spec.constraints = self.constraints(&spec.constraints);
        Arc::new(submission)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> Arc<str> {
        Arc::from(number.to_string())
    }

    #[test]
    fn equal_values_are_one_while_somebody_needs_them() {
        let mut pool = Pool::default();
        let first: Arc<str> = pool.get(&name(1));
        for number in 2..5000 {
            pool.get(&name(number));
        }
        assert!(Arc::ptr_eq(&first, &pool.get(&name(1))));
    }

    #[test]
    fn what_nobody_needs_goes_once_there_is_much_of_it() {
        let mut pool = Pool::default();
        for number in 0..SWEEP_LEN {
            pool.get(&name(number));
        }
        assert_eq!(pool.values.len(), SWEEP_LEN);
        // From here on it is kept.
        let needed: Vec<Arc<str>> = (SWEEP_LEN..SWEEP_LEN + 2000)
            .map(|number| pool.get(&name(number)))
            .collect();
        assert_eq!(pool.values.len(), needed.len());
        // The last time that all was looked through, 1024 were needed: it is done again at twice as many.
        for number in 0..48 {
            pool.get(&name(number));
        }
        assert_eq!(pool.values.len(), 2048);
        pool.get(&name(48));
        assert_eq!(pool.values.len(), 2001);
    }
}
