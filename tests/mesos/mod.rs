//! Against a real Mesos: master and agents as processes on this machine.

mod agents;
mod cluster;
mod executor;
mod logs;
mod scheduler;
mod support;
