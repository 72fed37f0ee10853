//! What a scheduler and the executors that it has started on agents agree on: how an executor is started
//! ([`command`]), what it is given to run ([`launch`]), what it reports ([`ended`]), what the scheduler's HTTP server
//! does for it ([`service`]), and where an attempt's files are in its sandbox ([`TASKS_DIR`]).
//!
//! Between the two is Mesos, which carries these bytes and doesn't look inside. The messages are those of
//! `proto/apportion/v1`; here they become what engine and backends work with, and the other way round.

pub mod command;
pub mod ended;
pub mod launch;
pub mod service;

/// The directory in an executor's sandbox that is laid out as [`super::local::layout`] says.
pub const TASKS_DIR: &str = "tasks";
