//! Fuzzes `entries/database.rs`.
#![no_main]

#[path = "../entries/database.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::run(bytes));
