//! Makes a data directory of a backup: beside its place first, checked there, and then put in its place at once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use tar::{Archive, Entry, EntryType};

use super::make::sync_parent;
use super::{
    BackupError, DATABASE_FILE, FORMAT, Hashing, Listed, MANIFEST, MANIFEST_BYTES_MAX, Manifest,
    SECRETS, Step, Watch, at, is_part,
};
use crate::engine::Time;
use crate::store::StoreError;
use crate::store::sqlite;

/// What a data directory is called while it is made.
const UNFINISHED: &str = ".restoring";

/// What came of restoring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What the backup says of itself.
    pub manifest: Manifest,
    /// Where what was in the data directory is now.
    pub moved_aside: Option<PathBuf>,
}

/// Makes `data_dir` of the backup in `file`. A directory that is not empty is moved aside with `force`, and refused
/// without. Whenever this is cut short, `data_dir` is as it was, or whole; `now` names what is moved aside.
///
/// # Errors
/// See [`BackupError`]. Nothing has changed then.
pub fn restore(
    file: &Path,
    data_dir: &Path,
    force: bool,
    now: Time,
    watch: Watch<'_>,
) -> Result<Restored, BackupError> {
    let archive = File::open(file).map_err(at(file))?;
    let in_the_way = held_aside(data_dir, force)?;
    let unfinished = Unfinished::new(data_dir)?;
    let manifest = unpack(file, archive, &unfinished.path, watch)?;
    watch(Step::Checking, 0, 0);
    let database = unfinished.path.join(DATABASE_FILE);
    sqlite::check(&database).map_err(|error| {
        if matches!(error, StoreError::TooNew { .. }) {
            error.into()
        } else {
            damaged(file, error.to_string())
        }
    })?;
    sync_all(&unfinished.path).map_err(at(&unfinished.path))?;
    let moved_aside = match in_the_way {
        Some(lock) => Some(swap(&unfinished.path, data_dir, now, lock)?),
        None => {
            fs::rename(&unfinished.path, data_dir).map_err(at(data_dir))?;
            None
        }
    };
    sync_parent(data_dir).map_err(at(data_dir))?;
    Ok(Restored {
        manifest,
        moved_aside,
    })
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.components().as_path().into();
    name.push(ending);
    name.into()
}

/// Looks whether something is in the way. What may be moved aside is held against daemons until the lock is dropped.
fn held_aside(data_dir: &Path, force: bool) -> Result<Option<File>, BackupError> {
    let mut entries = match fs::read_dir(data_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(at(data_dir))?,
    };
    if entries.next().is_none() {
        return Ok(None);
    }
    if data_dir.join(sqlite::LOCK_FILE).exists() {
        // Whether a daemon runs is what matters most, whatever else is asked for.
        let lock = sqlite::lock(data_dir)?;
        return match force {
            true => Ok(Some(lock)),
            false => Err(not_empty(data_dir)),
        };
    }
    match force {
        true => Ok(Some(sqlite::lock(data_dir)?)),
        false => Err(not_empty(data_dir)),
    }
}

fn not_empty(data_dir: &Path) -> BackupError {
    BackupError::NotEmpty {
        path: data_dir.to_owned(),
    }
}

fn damaged(file: &Path, message: impl Into<String>) -> BackupError {
    BackupError::Damaged {
        path: file.to_owned(),
        message: message.into(),
    }
}

/// The directory in which the data directory is made. Removed when this is dropped, if it is still there.
struct Unfinished {
    path: PathBuf,
    /// Held against others that restore to the same place.
    _lock: File,
}

impl Unfinished {
    fn new(data_dir: &Path) -> Result<Self, BackupError> {
        let path = with_ending(data_dir, UNFINISHED);
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent {
            fs::create_dir_all(parent).map_err(at(parent))?;
        }
        // What an attempt left that was cut short goes, unless another one is at it.
        drop(sqlite::lock(&path)?);
        fs::remove_dir_all(&path).map_err(at(&path))?;
        let lock = sqlite::lock(&path)?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // What can't be removed now is removed by whoever restores to this place next.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Unpacks all files and holds them against the manifest, which is the last of them.
fn unpack(
    file: &Path,
    archive: File,
    into: &Path,
    watch: Watch<'_>,
) -> Result<Manifest, BackupError> {
    let all = archive.metadata().map_err(at(file))?.len();
    let broken = |error: io::Error| damaged(file, error.to_string());
    let mut found = BTreeMap::new();
    let mut manifest = None;
    let mut archive = Archive::new(BufReader::new(archive));
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.into_owned();
        if manifest.is_some() || entry.header().entry_type() != EntryType::Regular {
            return Err(damaged(file, format!("it holds '{}'", path.display())));
        }
        watch(Step::Reading, entry.raw_file_position(), all);
        if path == Path::new(MANIFEST) {
            manifest = Some(read_manifest(file, &mut entry)?);
            continue;
        }
        if !is_part(&path) || found.contains_key(&path) {
            return Err(damaged(file, format!("it holds '{}'", path.display())));
        }
        let listed = write(file, &mut entry, &path, into, &mut |done| {
            watch(Step::Reading, done, all);
        })?;
        found.insert(path, listed);
    }
    let manifest = manifest.ok_or_else(|| damaged(file, "its end is missing"))?;
    let listed: BTreeMap<PathBuf, Listed> = manifest
        .files
        .iter()
        .map(|file| (file.path.clone(), file.clone()))
        .collect();
    if listed != found || !found.contains_key(Path::new(DATABASE_FILE)) {
        return Err(damaged(file, "its files are not those that were put in"));
    }
    Ok(manifest)
}

/// Only this is read of a manifest of whatever form.
#[derive(serde::Deserialize)]
struct AnyManifest {
    format: u32,
    program: String,
}

fn read_manifest(file: &Path, from: &mut impl Read) -> Result<Manifest, BackupError> {
    let wrong = |error: serde_json::Error| damaged(file, format!("its {MANIFEST}: {error}"));
    let mut text = Vec::new();
    from.take(MANIFEST_BYTES_MAX)
        .read_to_end(&mut text)
        .map_err(|error| damaged(file, error.to_string()))?;
    let any: AnyManifest = serde_json::from_slice(&text).map_err(wrong)?;
    if any.format > FORMAT {
        return Err(BackupError::TooNew {
            path: file.to_owned(),
            program: any.program,
        });
    }
    serde_json::from_slice(&text).map_err(wrong)
}

/// Writes one file of the backup; it is on disk only after [`sync_all`].
fn write(
    file: &Path,
    entry: &mut Entry<'_, impl Read>,
    path: &Path,
    into: &Path,
    done: &mut dyn FnMut(u64),
) -> Result<Listed, BackupError> {
    /// Between two words about progress.
    const TOLD_BYTES: u64 = 4 << 20;
    let target = into.join(path);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(at(parent))?;
    }
    let is_secret = SECRETS.iter().any(|secret| path == Path::new(secret));
    let mut output = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(if is_secret { 0o600 } else { 0o666 })
        .open(&target)
        .map_err(at(&target))?;
    let start = entry.raw_file_position();
    let n_bytes = entry.size();
    let mut from = Hashing::new(entry);
    loop {
        let copied = io::copy(&mut Read::by_ref(&mut from).take(TOLD_BYTES), &mut output);
        match copied {
            Ok(0) => break,
            Ok(_) => done(start + from.bytes),
            // Of the two it is the file system that can be full.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                return Err(at(&target)(error));
            }
            Err(error) => return Err(damaged(file, error.to_string())),
        }
    }
    if from.bytes != n_bytes {
        return Err(damaged(file, "it is cut short"));
    }
    Ok(from.listed(path.to_owned()))
}

/// Makes everything below a directory durable.
fn sync_all(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match path.is_dir() {
            true => sync_all(&path)?,
            false => File::open(&path)?.sync_all()?,
        }
    }
    File::open(directory)?.sync_all()
}

/// Puts the new directory in the place of the old one, which is kept under another name, returned. `lock` holds the
/// old one until then.
fn swap(new: &Path, data_dir: &Path, now: Time, lock: File) -> Result<PathBuf, BackupError> {
    let aside = with_ending(data_dir, &format!(".before-restore-{}", now.0));
    match renameat2(
        AT_FDCWD,
        new,
        AT_FDCWD,
        data_dir,
        RenameFlags::RENAME_EXCHANGE,
    ) {
        Ok(()) => fs::rename(new, &aside).map_err(at(&aside))?,
        // Not every file system exchanges two names; without that there is none for a moment.
        Err(Errno::EINVAL | Errno::ENOSYS | Errno::ENOTSUP) => {
            fs::rename(data_dir, &aside).map_err(at(data_dir))?;
            fs::rename(new, data_dir).map_err(at(data_dir))?;
        }
        Err(error) => return Err(at(data_dir)(error.into())),
    }
    drop(lock);
    Ok(aside)
}
