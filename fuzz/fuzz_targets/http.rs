//! Fuzzes `entries/http.rs`.
#![no_main]

use std::sync::Mutex;

use self::entry::Daemon;

#[path = "../entries/http.rs"]
mod entry;

/// So many calls a daemon gets before the next one takes its place.
const CALLS_MAX: u32 = 500;

/// Not of a thread: what ends with a thread ends after the runtime that it needs.
static DAEMON: Mutex<Option<(Daemon, u32)>> = Mutex::new(None);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut kept = DAEMON.lock().expect("a panic ends the run");
    let (daemon, n_calls) = kept.get_or_insert_with(|| (Daemon::start(), 0));
    daemon.call(bytes);
    *n_calls += 1;
    if *n_calls >= CALLS_MAX {
        *kept = None;
    }
});
