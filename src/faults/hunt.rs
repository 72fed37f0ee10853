//! Many seeds, on all processors.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use super::{Failure, Trial};

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// What became of many worlds.
#[derive(Debug)]
pub struct Tried {
    /// How many were tried.
    pub n_seeds: u64,
    /// How many steps they took in all.
    pub n_steps: u64,
    /// The first one found that failed, cut short. No more were begun after it.
    pub failure: Option<Box<Failure>>,
}

/// Tries `n_seeds` worlds from `first` on, until one fails; `on_progress` is told again and again how many were tried.
#[must_use]
pub fn hunt(
    first: u64,
    n_seeds: u64,
    trial: &(impl Fn(u64) -> Trial + Sync),
    on_progress: &mut dyn FnMut(u64),
) -> Tried {
    let n_threads = thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let (next, n_tried, n_steps) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let is_over = AtomicBool::new(false);
    let failure: Mutex<Option<Box<Failure>>> = Mutex::new(None);
    let work = || {
        while !is_over.load(Ordering::Relaxed) {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= n_seeds {
                return;
            }
            let trial = trial(first.wrapping_add(place));
            let outcome = trial.run(false);
            n_tried.fetch_add(1, Ordering::Relaxed);
            n_steps.fetch_add(outcome.n_steps, Ordering::Relaxed);
            if let Some(violation) = outcome.violation {
                is_over.store(true, Ordering::Relaxed);
                let found = Box::new(trial.shrink(violation));
                let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(found);
            }
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(work)).collect();
        while !threads.iter().all(ScopedJoinHandle::is_finished) {
            on_progress(n_tried.load(Ordering::Relaxed));
            thread::park_timeout(TELL_EVERY);
        }
    });
    Tried {
        n_seeds: n_tried.into_inner(),
        n_steps: n_steps.into_inner(),
        failure: failure.into_inner().unwrap_or_else(PoisonError::into_inner),
    }
}
