//! What the integration tests share: the real daemon as a process, its HTTP API, a real Mesos, waiting, programs.

#![allow(
    dead_code,
    reason = "not everything here is used by every selection of tests"
)]

pub(crate) mod authority;
pub(crate) mod browser;
pub(crate) mod daemon;
pub(crate) mod http;
pub(crate) mod mesos;
pub(crate) mod postgres;
pub(crate) mod processes;
pub(crate) mod programs;
pub(crate) mod proxy;
pub(crate) mod tmux;
pub(crate) mod wait;
pub(crate) mod zookeeper;
