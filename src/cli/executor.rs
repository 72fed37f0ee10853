//! `apportion executor`: what a Mesos agent starts, never a person.

use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::{CliError, exit};
use crate::executor::environment::AgentEnvironment;
use crate::executor::{self, ExecutorOptions};

/// Run tasks for a Mesos agent. Agents start this; it reads their MESOS_* variables.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// End after so long without a task; without it, only when the agent wants so.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    idle_timeout: Option<Duration>,
    /// Keep what tasks write so long after their end.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "7days")]
    keep_outputs: Duration,
}

pub(super) fn execute(args: &Args) -> Result<u8, CliError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Into the sandbox's stderr, where agents show it.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let environment = AgentEnvironment::read(|name| std::env::var(name).ok())
        .map_err(|error| CliError::Usage(error.to_string()))?;
    let options = ExecutorOptions {
        idle_timeout: args.idle_timeout,
        keep_outputs: args.keep_outputs,
    };
    executor::run(&environment, &options).map_err(|error| CliError::Serve(Box::new(error)))?;
    Ok(exit::DONE)
}
