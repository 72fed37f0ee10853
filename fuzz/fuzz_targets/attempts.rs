//! Fuzzes `entries/attempts.rs`.
#![no_main]

#[path = "../entries/attempts.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::run(bytes));
