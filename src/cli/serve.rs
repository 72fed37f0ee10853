//! `apportion serve`: the daemon.

use std::io::IsTerminal;
use std::path::PathBuf;

use apportion_policies::Registry;
use tracing_subscriber::EnvFilter;

use super::{CliError, exit};
use crate::config;

/// Start the daemon. SIGHUP makes it read its configuration again, SIGTERM and Ctrl-C end it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration; without one, one queue named default, and this machine.
    #[arg(
        long,
        short,
        value_name = "FILE",
        env = "APPORTION_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
    /// How much to log: error, warn, info, debug, trace, or a filter as of RUST_LOG [default: RUST_LOG, or info].
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// How to log, to standard error.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

pub(super) fn execute(args: &Args, registry: &Registry) -> Result<u8, CliError> {
    let config = config::load_for_daemon(args.config.as_deref(), registry)?;
    start_logging(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(crate::serve::run(config, args.config.clone(), registry));
    served.map_err(|error| CliError::Serve(Box::new(error)))?;
    Ok(exit::DONE)
}

fn start_logging(args: &Args) -> Result<(), CliError> {
    let from_environment = || {
        std::env::var(EnvFilter::DEFAULT_ENV)
            .ok()
            .filter(|it| !it.is_empty())
    };
    let filter = args
        .log_level
        .clone()
        .or_else(from_environment)
        .unwrap_or_else(|| "info".into());
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        let levels = "write error, warn, info, debug or trace";
        CliError::Usage(format!(
            "'{filter}' is no filter of logs: {error}; {levels}"
        ))
    })?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => logs.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}
