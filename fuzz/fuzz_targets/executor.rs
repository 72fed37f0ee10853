//! Fuzzes `entries/executor.rs`.
#![no_main]

#[path = "../entries/executor.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::run(bytes));
