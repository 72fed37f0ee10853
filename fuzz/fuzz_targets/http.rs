//! Fuzzes `entries/http.rs`.
#![no_main]

use std::cell::RefCell;

use self::entry::Daemon;

#[path = "../entries/http.rs"]
mod entry;

/// So many calls a daemon gets before the next one takes its place.
const CALLS_MAX: u32 = 500;

thread_local! {
    static DAEMON: RefCell<Option<(Daemon, u32)>> = const { RefCell::new(None) };
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    DAEMON.with_borrow_mut(|kept| {
        let (daemon, n_calls) = kept.get_or_insert_with(|| (Daemon::start(), 0));
        daemon.call(bytes);
        *n_calls += 1;
        if *n_calls >= CALLS_MAX {
            *kept = None;
        }
    });
});
