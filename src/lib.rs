//! Apportion: a fair-share, multi-queue batch scheduler.
//!
//! Imports go one way: `apportion-policies` ← [`engine`] ← {[`store`], [`backend`]} ← [`driver`] ←
//! [`metrics`] ← [`api`] ← [`serve`] ← [`cli`]; [`proto`] imports nothing. ARCHITECTURE.md tells the flow and the order in which to
//! read the files.

pub mod api;
pub mod backend;
pub mod cli;
pub mod clock;
pub mod config;
pub mod driver;
pub mod engine;
pub mod metrics;
pub mod proto;
pub mod serve;
pub mod store;
