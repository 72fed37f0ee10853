//! Fuzzes `entries/keeper.rs`.
#![no_main]

#[path = "../entries/keeper.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::run(bytes));
