//! All integration tests in one binary: one link, and helpers that are shared without being shipped.

mod bad_input;
mod database;
mod durability;
mod life;
mod metrics;
mod reload;
mod support;
mod terminal;
mod tidy;
