//! All integration tests in one binary: one link, and what they share is not shipped.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod access;
mod bad_input;
mod containment;
mod database;
mod decision_log;
mod durability;
mod fuzz;
mod life;
mod local_backend;
mod mesos;
mod metrics;
mod openapi;
mod outside;
mod prometheus;
mod python;
mod reload;
mod replay;
mod scenarios;
mod service;
mod soak;
mod support;
mod terminal;
mod tidy;
mod top;
mod traces;
mod upgrades;
mod web_page;
