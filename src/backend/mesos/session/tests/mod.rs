//! The session without a network: scripts of what Mesos says and the engine decides.

mod env;
mod life;
mod statuses;
mod work;
