//! What ends a command early, and the exit code that tells it.

use std::io;

use super::client::ClientError;
use crate::config::ConfigErrors;

/// The exit codes that every command shares. `run` ends with its task's own code instead, where the task
/// exited by itself, and with 128 and the signal's number where a signal ended it.
pub(super) mod exit {
    /// Everything that was asked for is done.
    pub(crate) const DONE: u8 = 0;
    /// A task failed or was cancelled.
    pub(crate) const TASK_FAILED: u8 = 1;
    /// The command line, a file named there, or the configuration is wrong.
    pub(crate) const USAGE: u8 = 2;
    /// The daemon refused, can't be reached, or can't start.
    pub(crate) const REFUSED: u8 = 3;
    /// `run` was interrupted, by SIGINT or SIGTERM, and cancelled its task.
    pub(crate) const INTERRUPTED: u8 = 130;
}

/// Why a command ends early. The text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum CliError {
    /// Something on the command line that the parser alone couldn't see.
    #[error("{0}")]
    Usage(String),
    /// A file or standard input can't be read.
    #[error("can't read {name}: {source}")]
    Input {
        /// The file.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// A line of a file of tasks is wrong.
    #[error("{name}:{line}: {message}{}", submitted(*.line_submitted))]
    Line {
        /// The file.
        name: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
        /// The last line that was submitted before; 0 for none.
        line_submitted: usize,
        /// Whether the daemon refused it, rather than this program.
        refused: bool,
    },
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// The daemon refused or can't be reached.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// Standard output can't be written.
    #[error("can't write the output: {0}")]
    Output(#[from] io::Error),
    /// The daemon or the executor can't start or had to end.
    #[error("{0}")]
    Serve(Box<dyn std::error::Error + Send + Sync>),
}

impl CliError {
    /// Whether whoever read the output has gone away: nothing is wrong then, and nobody is left to tell.
    pub(super) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The exit code that tells it.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Output(_) if self.is_broken_pipe() => exit::DONE,
            Self::Line { refused: true, .. }
            | Self::Client(_)
            | Self::Output(_)
            | Self::Serve(_) => exit::REFUSED,
            Self::Usage(_) | Self::Input { .. } | Self::Line { .. } | Self::Config(_) => {
                exit::USAGE
            }
        }
    }
}

fn submitted(line: usize) -> String {
    match line {
        0 => "; nothing was submitted".to_owned(),
        1 => "; line 1 was submitted, nothing behind it".to_owned(),
        _ => format!("; lines 1 to {line} were submitted, nothing behind them"),
    }
}
