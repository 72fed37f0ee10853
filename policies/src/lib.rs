//! Scheduling policies of Apportion: which waiting task consumes an offer.
//!
//! The crate is pure: no clock, no I/O, no async, no randomness, no order taken from a hash map.
//! The engine keeps the books in a [`QueueTree`] and shows them to a [`Policy`], which only chooses.
//!
//! Reading order: [`amount`] (integers), [`demand`] (what a task consumes), [`share`] (exact
//! comparison), [`tree`] (the books), [`policy`] (the traits), then one file per policy.

pub mod amount;
pub mod demand;
pub mod ids;
pub mod offer;
pub mod policy;
pub mod share;
pub mod tree;

pub use amount::{Amount, Weight};
pub use demand::{Amounts, Demand};
pub use ids::{QueueId, ResourceId, ShapeId};
pub use offer::{Offer, ShapeSet};
pub use policy::{Choice, Policy};
pub use share::Share;
pub use tree::{QueueSettings, QueueTree, Shape, TaskRank};
