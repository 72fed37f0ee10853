//! Places for calls that last: as many as the configuration says at the moment when one is taken, also after a reload.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many places are taken. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<AtomicUsize>);

/// One place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Places {
    /// Takes a place, if fewer than `max` are taken.
    pub(super) fn take(&self, max: usize) -> Option<Place> {
        let one_more = |taken| (taken < max).then_some(taken + 1);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()
            .map(|_| Place(Arc::clone(&self.0)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_places_as_asked_for_at_the_time() {
        let places = Places::default();
        let first = places.take(2).unwrap();
        let second = places.take(2).unwrap();
        assert!(places.take(2).is_none());
        assert!(places.take(3).is_some(), "given back at once");
        drop(first);
        assert!(places.take(1).is_none(), "fewer than before");
        drop(second);
        assert!(places.take(1).is_some());
        assert!(places.take(0).is_none());
    }
}
