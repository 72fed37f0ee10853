//! The session without a network: scripts of what Mesos says and the engine decides.

mod env;
mod garbled;
mod life;
mod statuses;
mod work;

#[path = "../../../../../tests/fuzz/mutation.rs"]
mod mutation;
