//! Against a real Mesos: master and agents as processes on this machine.

mod agents;
mod cluster;
mod discovery;
mod executor;
mod guests;
mod logs;
mod network;
mod scheduler;
mod support;
