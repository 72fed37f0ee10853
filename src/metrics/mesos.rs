//! What the Mesos backend does, counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Metrics;
use super::catalogue as name;
use crate::backend::mesos::Watcher;
use crate::clock::Stopwatch;

/// What is remembered between two words of the backend.
#[derive(Default)]
pub(super) struct MesosSeen {
    is_connected: AtomicBool,
    was_connected: AtomicBool,
    heard: Mutex<Option<Stopwatch>>,
}

impl Watcher for Metrics {
    fn offer_ended(&self, result: &'static str, held: Duration) {
        self.count(&name::OFFERS_TOTAL, &[result], 1);
        self.observe(&name::OFFER_AGE_SECONDS, &[], held.as_secs_f64());
    }

    fn offers_held(&self, count: usize) {
        self.registry
            .gauge(&name::OFFERS_HELD, &[])
            .set(count as f64);
    }

    fn called(&self, call: &'static str, code: u16) {
        self.count(&name::MESOS_CALLS_TOTAL, &[call, &code.to_string()], 1);
    }

    fn connected(&self, is_connected: bool) {
        let seen = &self.mesos;
        let before = seen.is_connected.swap(is_connected, Ordering::Relaxed);
        self.registry
            .gauge(&name::MESOS_CONNECTED, &[])
            .set(f64::from(u8::from(is_connected)));
        if is_connected && !before && seen.was_connected.swap(true, Ordering::Relaxed) {
            self.count(&name::MESOS_RECONNECTS_TOTAL, &[], 1);
        }
    }

    fn heard(&self) {
        let mut heard = self
            .mesos
            .heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *heard = Some(Stopwatch::start());
    }
}

impl Metrics {
    /// Brings the age of the last word up to date, where there was one.
    pub(super) fn show_heartbeat_age(&self) {
        let heard = self.mesos.heard.lock();
        if let Some(heard) = *heard.unwrap_or_else(PoisonError::into_inner) {
            self.registry
                .gauge(&name::MESOS_HEARTBEAT_AGE_SECONDS, &[])
                .set(heard.elapsed().as_secs_f64());
        }
    }
}
