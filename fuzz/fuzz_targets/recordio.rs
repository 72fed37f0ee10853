//! Fuzzes `entries/recordio.rs`.
#![no_main]

#[path = "../entries/recordio.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::run(bytes));
