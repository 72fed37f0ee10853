//! Fuzzes `entries/config.rs`.
#![no_main]

#[path = "../entries/config.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::run(bytes));
