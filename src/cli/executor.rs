//! `apportion executor`: what a Mesos agent starts, never a person.

use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::{CliError, exit};
use crate::config::PythonConfig;
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
    /// Whom to trust when values are brought to the daemon over https: certificates in PEM, themselves and not their file.
    #[arg(long, value_name = "PEM")]
    daemon_ca: Option<String>,
    #[command(flatten)]
    python: PythonArgs,
}

/// The section `[python]` of the daemon's configuration. The same defaults hold.
#[derive(Debug, clap::Args)]
struct PythonArgs {
    /// The interpreter of Python tasks: a program on the path, or a path.
    #[arg(long, value_name = "PROGRAM")]
    python: Option<Box<str>>,
    /// So many tasks a worker runs before another takes its place.
    #[arg(long, value_name = "COUNT")]
    python_tasks_max: Option<u32>,
    /// So much more than after its first task a worker may hold.
    #[arg(long, value_name = "BYTES")]
    python_memory_growth: Option<u64>,
    /// So many workers wait for tasks at most.
    #[arg(long, value_name = "COUNT")]
    python_idle_max: Option<u32>,
    /// So long they wait before they end.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    python_idle_time: Option<Duration>,
}

impl PythonArgs {
    fn config(&self) -> PythonConfig {
        let default = PythonConfig::default();
        PythonConfig {
            interpreter: self.python.clone().unwrap_or(default.interpreter),
            tasks_max: self.python_tasks_max.unwrap_or(default.tasks_max),
            memory_growth_bytes: (self.python_memory_growth).unwrap_or(default.memory_growth_bytes),
            idle_max: self.python_idle_max.unwrap_or(default.idle_max),
            idle_time: self.python_idle_time.unwrap_or(default.idle_time),
        }
    }
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
        python: args.python.config(),
        daemon_ca: args.daemon_ca.clone(),
    };
    executor::run(&environment, &options).map_err(|error| CliError::Serve(Box::new(error)))?;
    Ok(exit::DONE)
}
