//! Apportion: a fair-share, multi-queue batch scheduler.
//!
//! Imports go one way: `apportion-policies` ← [`engine`] ← {[`store`], [`backend`]} ← [`driver`] ←
//! [`metrics`] ← [`api`] ← [`serve`] ← [`cli`]; [`executor`] is [`backend`] on
//! another machine; [`proto`] imports nothing. ARCHITECTURE.md tells the flow and the order in which to
//! read the files. A program with policies of its own hands them to [`main_with`].

use std::process::ExitCode;

pub use apportion_policies as policies;

use policies::Registry;

pub mod access;
pub mod api;
pub mod backend;
pub mod backup;
pub mod cli;
pub mod clock;
pub mod config;
pub mod driver;
pub mod engine;
pub mod executor;
pub mod faults;
pub mod http_client;
pub mod metrics;
pub mod proto;
pub mod serve;
pub mod sim;
pub mod store;

/// The whole program, daemon and command line, with these policies: what a program of one's own calls in
/// its `main`, after it has registered its rankings in a [`Registry`]. `policies/README.md` shows it.
///
/// Call it before anything else: the local backend starts this very program again as its keeper, which is
/// small, without a runtime, and none of the program's business.
#[must_use]
pub fn main_with(registry: Registry) -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|command| command == "keeper")
    {
        return backend::local::keeper::main();
    }
    cli::main(&registry)
}
