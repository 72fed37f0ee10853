//! Fuzzes `entries/scheduler.rs`.
#![no_main]

#[path = "../entries/scheduler.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::run(bytes));
