//! What the integration tests share: the real daemon as a process, its HTTP API, waiting, programs.

#![allow(
    dead_code,
    reason = "not every helper is used by every selection of tests"
)]

pub mod daemon;
pub mod http;
pub mod postgres;
pub mod programs;
pub mod wait;
