//! `apportion restore`: makes a data directory of a backup.

use std::path::PathBuf;

use apportion_policies::Registry;
use serde_json::json;

use super::backup::{held, manifest_json, watch};
use super::data_dir::DataDir;
use super::output::Output;
use super::{CliError, exit};
use crate::backup::{self, Restored};
use crate::clock;

/// Make a data directory of a backup. Run it as the daemon's user, while no daemon uses the directory. It appears whole
/// or not at all.
///
/// What happened after the backup is not known then: tasks that were submitted since are gone, and those that ended
/// since run again. Tasks that ran are treated as after a crash.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The backup.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    to: DataDir,
    /// Also where the data directory holds something, which is moved aside and kept.
    #[arg(long)]
    force: bool,
}

pub(super) fn execute(
    args: &Args,
    registry: &Registry,
    json: bool,
    out: &mut Output<'_>,
) -> Result<u8, CliError> {
    let data_dir = args.to.find(registry)?;
    let Restored {
        manifest,
        moved_aside,
    } = backup::restore(
        &args.file,
        &data_dir,
        args.force,
        clock::now(),
        &mut watch(out),
    )?;
    out.end_progress();
    if json {
        let mut shown = manifest_json(&args.file, &manifest);
        shown["data_dir"] = json!(data_dir);
        shown["moved_aside"] = json!(moved_aside);
        out.json(&shown)?;
        return Ok(exit::DONE);
    }
    out.line(format_args!("{}: {}", data_dir.display(), held(&manifest)))?;
    if let Some(aside) = moved_aside {
        let aside = aside.display();
        out.note(format_args!(
            "what was there is in {aside}; remove it when it is needed no more"
        ))?;
    }
    Ok(exit::DONE)
}
