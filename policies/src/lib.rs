//! Scheduling policies of Apportion: which waiting task consumes an offer.
//!
//! The crate is pure: no clock, no I/O, no async, no randomness, no order taken from a hash map.
//! The engine keeps the books in a [`QueueTree`] and shows them to a [`Policy`], which only chooses.
//!
//! Reading order: [`amount`] (integers), [`demand`] (what a task consumes), [`share`] (exact
//! comparison), [`shapes`] and [`tree`] (the books), [`policy`] and [`ranking`] (the traits), then one
//! file per policy, [`registry`] (their names) and [`descend`] (from a ranking to a policy).

pub mod amount;
mod decay;
pub mod demand;
pub mod descend;
pub mod drf;
pub mod entitlement;
pub mod explain;
pub mod fifo;
mod fixed;
pub mod ids;
pub mod offer;
pub mod policy;
pub mod ranking;
pub mod registry;
pub mod shapes;
pub mod share;
pub mod tree;
pub mod weighted;

pub use amount::{Amount, Weight};
pub use demand::{Amounts, Demand};
pub use descend::{Bounds, Descend};
pub use drf::Drf;
pub use explain::{Contender, Fraction, ShownKey, Step};
pub use fifo::Fifo;
pub use ids::{QueueId, ResourceId, ShapeId};
pub use offer::{Offer, ShapeSet};
pub use policy::{Choice, Policy};
pub use ranking::{Key, Ranking};
pub use registry::{Registry, UnknownPolicy};
pub use share::Share;
pub use tree::{PolicySpec, QueueSettings, QueueTree, Shape, TaskRank};
pub use weighted::Weighted;

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
