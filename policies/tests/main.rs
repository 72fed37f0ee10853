//! The tests of the policies, in one binary.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    unreachable_pub,
    missing_docs,
    reason = "tests fail by panicking and have no readers outside"
)]

mod books;
mod clauses;
mod entitlement;
mod explain;
mod fairness;
mod filling;
mod guarantees;
mod hierarchy;
mod numbers;
mod order;
mod properties;
mod reference;
mod registry;
mod reuse;
mod rows;
mod sim;
mod wrong;
