//! The simulator: the daemon's own engine in virtual time, with simulated agents.
//!
//! It takes the place of the driver, the clock, the store and the backend, and keeps the driver's order: a
//! batch, the engine's turn, and only then its decisions. A [`scenario`] is scripted step by step; a
//! [`replay`] lets a workload run by itself. Reading files is not done here.

mod agents;
mod batch;
pub mod replay;
pub mod report;
pub mod scenario;
#[cfg(test)]
mod tests;
pub mod trace;

pub use agents::AgentSpec;
