//! `apportion backup`: saves a data directory, also of a running daemon, in one file.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use apportion_policies::Registry;
use serde_json::{Value, json};

use super::data_dir::DataDir;
use super::output::Output;
use super::{CliError, exit, format};
use crate::backup::{self, BackupError, Manifest, Step};
use crate::clock;

/// How many bytes progress counts in.
const MIB: u64 = 1 << 20;

/// Save a data directory in one file, also while its daemon runs, which goes on meanwhile. Run it on the daemon's
/// machine, as its user.
///
/// In it are the tasks with their outcomes and values, keys, inboxes, the audit trail and the hashes of tokens, as they
/// were when it began. Not in it are what tasks wrote into their directories and outputs, the configuration, and
/// certificates. It is a tar archive, which only its owner can read.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file to make, or a directory to make one in that is named by the time.
    #[arg(long, value_name = "FILE|DIR")]
    to: PathBuf,
    #[command(flatten)]
    of: DataDir,
}

pub(super) fn execute(
    args: &Args,
    registry: &Registry,
    json: bool,
    out: &mut Output<'_>,
    now: SystemTime,
) -> Result<u8, CliError> {
    let data_dir = args.of.find(registry)?;
    let to = match args.to.is_dir() {
        true => args.to.join(file_name(now)),
        false => args.to.clone(),
    };
    let manifest = backup::make(&data_dir, &to, clock::now(), &mut watch(out))?;
    out.end_progress();
    if json {
        out.json(&manifest_json(&to, &manifest))?;
    } else {
        let held = held(&manifest);
        out.line(format_args!("{}: {held}", to.display()))?;
    }
    Ok(exit::DONE)
}

/// Such as `apportion-2026-11-28T00-43-48Z.tar`: no character in it that some file system or shell minds.
fn file_name(now: SystemTime) -> String {
    let time = humantime::format_rfc3339_seconds(now).to_string();
    format!("apportion-{}.tar", time.replace(':', "-"))
}

/// Shows a person how far it is.
pub(super) fn watch(out: &mut Output<'_>) -> impl FnMut(Step, u64, u64) {
    let mut shown = None;
    move |step, done, all| {
        // Each step has a length of its own.
        if shown.replace(step) != Some(step) {
            out.end_progress();
        }
        let doing = match step {
            Step::Copying => "copying the database, MiB",
            Step::Writing => "writing the backup, MiB",
            Step::Reading => "reading the backup, MiB",
            Step::Checking => "checking the database",
        };
        let all = Some(all.div_ceil(MIB)).filter(|all| *all > 0);
        out.progress(doing.to_owned(), done.div_ceil(MIB), all);
    }
}

/// What is in a backup, for people.
pub(super) fn held(manifest: &Manifest) -> String {
    let made_at = format::point(Some(&made_at(manifest)));
    let values = match manifest.n_values() {
        0 => String::new(),
        1 => ", 1 large value".to_owned(),
        n_values => format!(", {n_values} large values"),
    };
    let tokens = match manifest.has_tokens() {
        true => ", tokens",
        false => "",
    };
    format!(
        "all as of {made_at}, {} MiB (schema {}{values}{tokens})",
        manifest.n_bytes().div_ceil(MIB),
        manifest.schema,
    )
}

fn made_at(manifest: &Manifest) -> String {
    format::rfc3339(manifest.made_at_ms)
}

/// The same for programs.
pub(super) fn manifest_json(file: &Path, manifest: &Manifest) -> Value {
    json!({
        "file": file,
        "made_at": made_at(manifest),
        "program": manifest.program,
        "schema": manifest.schema,
        "bytes": manifest.n_bytes(),
        "n_values": manifest.n_values(),
        "has_tokens": manifest.has_tokens(),
    })
}

impl From<BackupError> for CliError {
    fn from(error: BackupError) -> Self {
        Self::Serve(Box::new(error))
    }
}
