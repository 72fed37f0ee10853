//! The file that remembers where a keeper's cgroups are: the next daemon may live in another cgroup and would not find
//! them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{CgroupError, forbidden, read_processes};

/// Writes down these directories, and those that an earlier keeper left and that can't be removed yet.
pub(super) fn write(
    record: &Path,
    mut stuck: BTreeSet<PathBuf>,
    parents: Vec<PathBuf>,
) -> Result<(), CgroupError> {
    stuck.extend(parents);
    let lines: Vec<String> = stuck
        .iter()
        .map(|dir| format!("{}\n", dir.display()))
        .collect();
    fs::write(record, lines.concat()).map_err(forbidden("write", record))
}

/// Removes the cgroups that an earlier keeper wrote down, with all processes in them. Only directories of
/// the expected name are touched, whatever the file says. Returns those that can't be removed yet.
pub(super) fn clear(record: &Path, name: &str) -> BTreeSet<PathBuf> {
    let dirs: BTreeSet<PathBuf> = fs::read_to_string(record)
        .unwrap_or_default()
        .lines()
        .map(PathBuf::from)
        .filter(|dir| dir.file_name().is_some_and(|last| last == name))
        .collect();
    for dir in &dirs {
        let children = fs::read_dir(dir)
            .into_iter()
            .flatten()
            .filter_map(Result::ok);
        for child in children.filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir())) {
            end_processes(&child.path());
            let _ = fs::remove_dir(child.path());
        }
        let _ = fs::remove_dir(dir);
    }
    dirs.into_iter().filter(|dir| dir.exists()).collect()
}

/// SIGKILLs what is in a cgroup until nothing is left, or gives up on what can't be killed.
fn end_processes(dir: &Path) {
    const ROUNDS_MAX: usize = 200;
    for _ in 0..ROUNDS_MAX {
        let left = read_processes(dir);
        if left.is_empty() {
            return;
        }
        for pid in left {
            super::super::process::send(pid, nix::sys::signal::Signal::SIGKILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
