//! Which data directory is meant, for commands that work on one without the daemon.

use std::path::PathBuf;

use apportion_policies::Registry;

use super::CliError;
use crate::config;

/// What names a data directory.
#[derive(Debug, clap::Args)]
pub(super) struct DataDir {
    /// The daemon's configuration, which says where its data directory is.
    #[arg(
        long,
        short,
        global = true,
        value_name = "FILE",
        env = "APPORTION_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
    /// The data directory, where it isn't the one of the configuration.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl DataDir {
    /// The one that is named, or else that of the configuration.
    pub(super) fn find(&self, registry: &Registry) -> Result<PathBuf, CliError> {
        Ok(match &self.data_dir {
            Some(data_dir) => data_dir.clone(),
            None => {
                config::load(self.config.as_deref(), registry)?
                    .server
                    .data_dir
            }
        })
    }
}
