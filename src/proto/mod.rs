//! The messages of `proto/` as Rust types, and the framing in which Mesos streams them.
//!
//! An enum's field is an `i32`. The accessor that prost makes for it answers a default where the number is
//! unknown or absent, which for `TaskStatus.reason` and `TaskStatus.state` means something: convert with
//! `try_from` and treat the unknown number as its own case. Fields that a message requires are plain, and
//! absent ones decode to their default: check what must be there.

#[cfg(test)]
mod golden;
pub mod recordio;

pub use self::messages::*;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated; the .proto files say what each field means"
)]
mod messages {
    include!(concat!(env!("OUT_DIR"), "/messages.rs"));
}
