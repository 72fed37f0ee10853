//! Fuzzes `entries/database.rs`.
#![no_main]

#[path = "../entries/database.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(
    init: {
        // A file that contradicts itself makes the engine's assertions fail while it recovers, which the store turns into
        // an error. The hook of libfuzzer-sys would take that for the end. What is not caught still ends the run; `cargo
        // test` says what it was.
        std::panic::set_hook(Box::new(|_| ()));
    },
    |bytes: &[u8]| entry::run(bytes)
);
