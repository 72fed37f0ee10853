//! What the integration tests share: the real daemon as a process, its HTTP API, waiting, programs.

#![allow(
    dead_code,
    reason = "not every helper is used by every selection of tests"
)]

pub(crate) mod daemon;
pub(crate) mod http;
pub(crate) mod postgres;
pub(crate) mod programs;
pub(crate) mod wait;
