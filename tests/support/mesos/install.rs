//! Has Mesos installed, once for all test processes that share a target directory.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::programs;

/// The folder with the programs, installed by the first who asks; others wait meanwhile.
#[track_caller]
pub(super) fn find() -> Option<PathBuf> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match FOUND.get_or_init(install) {
        Ok(folder) => Some(folder.clone()),
        Err(reason) => {
            programs::missing("mesos", reason);
            None
        }
    }
}

fn install() -> Result<PathBuf, String> {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = cache.join("mesos");
    let lock = File::create(cache.join("mesos.lock")).map_err(|error| error.to_string())?;
    // Held until this function returns. The script does nothing where its work is done.
    lock.lock().map_err(|error| error.to_string())?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mesos/box/install.py");
    let output = Command::new("python3")
        .arg(script)
        .arg(&folder)
        .output()
        .map_err(|error| format!("install Python 3 ({error})"))?;
    if output.status.success() {
        Ok(folder)
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(said.lines().last().unwrap_or_default().to_owned())
    }
}
