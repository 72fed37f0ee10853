//! Programs and rights that some tests need, and what happens where they are missing.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Says loudly that a test can't show what it is for, or fails where `APPORTION_REQUIRE` (names joined by
/// commas, or `all`) insists on it.
#[track_caller]
pub(crate) fn missing(need: &str, how_to_get_it: &str) {
    let required = std::env::var("APPORTION_REQUIRE").unwrap_or_default();
    let insisted = required
        .split(',')
        .any(|name| name.trim() == need || name.trim() == "all");
    assert!(
        !insisted,
        "APPORTION_REQUIRE names {need}, which is missing: {how_to_get_it}"
    );
    eprintln!("NOT TESTED: {need} is missing; {how_to_get_it}");
}

/// The folder with PostgreSQL's server programs, the newest installed.
#[track_caller]
pub(crate) fn find_postgres() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|folder| folder.join("postgres").exists())
        .collect();
    found.sort();
    let newest = found.pop();
    if newest.is_none() {
        missing("postgres", "install the package postgresql");
    }
    newest
}

/// Whether a program is on the path.
#[track_caller]
pub(crate) fn find(program: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.exists());
    if found.is_none() {
        missing(program, &format!("install the package {package}"));
    }
    found
}

/// A small file system in memory at a folder; unmounted on drop.
pub(crate) struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts `size_kib` KiB at `folder`; `None` where that needs more rights.
    #[track_caller]
    pub(crate) fn mount(folder: &Path, size_kib: u32) -> Option<Self> {
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size_kib}k"), "tmpfs"])
            .arg(folder)
            .output();
        if done.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder.to_owned()));
        }
        missing("tmpfs", "run as root, where file systems may be mounted");
        None
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
