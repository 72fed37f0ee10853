//! `apportion completions`: what a shell needs to complete the command line.

use clap::CommandFactory;
use clap_complete::Shell;

use super::output::Output;
use super::{Cli, CliError, exit};

/// Print completions for a shell, such as `source <(apportion completions bash)`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell.
    shell: Shell,
}

pub(super) fn execute(args: &Args, out: &mut Output<'_>) -> Result<u8, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "apportion", &mut script);
    out.stdout(&script)?;
    Ok(exit::DONE)
}
