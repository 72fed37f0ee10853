//! All integration tests in one binary: one link, and helpers that are shared without being shipped.

mod database;
mod durability;
mod support;
mod tidy;
