//! Finds the processes of a cluster, also those that have lost every parent.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{processes, wait};

/// A living process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its id.
    pub(crate) pid: i32,
    /// Its program and arguments, joined by spaces.
    pub(crate) command: String,
}

/// All processes that work in a folder or below, or whose environment names it, this one left out.
pub(super) fn processes_below(folder: &Path) -> Vec<Process> {
    let own = i32::try_from(std::process::id()).unwrap();
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let mut found: Vec<Process> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own && processes::is_alive(*pid) && belongs_to(*pid, folder))
        .map(|pid| Process {
            pid,
            command: command_of(pid),
        })
        .collect();
    found.sort_by_key(|process| process.pid);
    found
}

fn belongs_to(pid: i32, folder: &Path) -> bool {
    let proc = Path::new("/proc").join(pid.to_string());
    let works_there = fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
    let names_it = || {
        let environment = fs::read(proc.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| {
            let value = variable.splitn(2, |byte| *byte == b'=').nth(1);
            value.is_some_and(|value| Path::new(OsStr::from_bytes(value)).starts_with(folder))
        })
    };
    works_there || names_it()
}

fn command_of(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    words.collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

/// SIGKILLs all of them until none is left.
pub(super) fn end_all_below(folder: &Path) {
    wait::for_true("the processes of the cluster to end", || {
        let left = processes_below(folder);
        for process in &left {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        left.is_empty()
    });
}
