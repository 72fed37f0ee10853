//! Backups: what of a data directory is state, as one file, and back.
//!
//! A backup is a tar archive that any tool can list and unpack:
//!
//! ```text
//! apportion.db           the database as one commit left it: tasks, outcomes, inboxes, keys, the audit trail
//! values/…               the values that are kept as files
//! tokens.json            the tokens' hashes, where there are tokens
//! attempts.key           what the secrets of attempts are made from, where executors were started
//! backup.json            last: the version, when, and a BLAKE3 hash of each of the files above
//! ```
//! Not in it: what tasks wrote (`tasks/`), which can be large and is no state, the configuration, certificates, and the
//! secrets that the configuration names.

mod make;
mod restore;

use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::access::TOKENS_FILE;
use crate::backend::remote::service::KEY_FILE;
use crate::backend::values::VALUES_DIR;
use crate::store::StoreError;
use crate::store::sqlite::DATABASE_FILE;

pub use make::make;
pub use restore::{Restored, restore};

/// The version of the archive's form. It is another thing than the version of the tables in the database.
const FORMAT: u32 = 1;

/// The entry that says what the others are.
const MANIFEST: &str = "backup.json";

/// The most bytes of a manifest that are read; one has about 150 for each value that is a file.
const MANIFEST_BYTES_MAX: u64 = 4 << 30;

/// The files whose content lets somebody in.
const SECRETS: [&str; 2] = [TOKENS_FILE, KEY_FILE];

/// What is being done, for whoever watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The database is copied.
    Copying,
    /// The archive is written.
    Writing,
    /// The archive is read.
    Reading,
    /// The database is checked; how far, nobody knows.
    Checking,
}

/// Hears what is being done, and how many bytes of how many; 0 of 0 where that isn't known.
pub type Watch<'a> = &'a mut dyn FnMut(Step, u64, u64);

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// The program that made it.
    pub program: String,
    /// The version of the tables in the database.
    pub schema: i64,
    /// When it was begun, in milliseconds since the Unix epoch. What was acknowledged before is in it.
    pub made_at_ms: u64,
    files: Vec<Listed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    path: PathBuf,
    bytes: u64,
    blake3: String,
}

impl Manifest {
    /// How many values are kept as files.
    #[must_use]
    pub fn n_values(&self) -> usize {
        let is_value = |file: &&Listed| file.path.starts_with(VALUES_DIR);
        self.files.iter().filter(is_value).count()
    }

    /// Whether there are tokens in it.
    #[must_use]
    pub fn has_tokens(&self) -> bool {
        self.files
            .iter()
            .any(|file| file.path == Path::new(TOKENS_FILE))
    }

    /// The bytes of all files in it.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// Whether a backup may hold a file of this name. Nothing that leads out of the data directory is one.
fn is_part(path: &Path) -> bool {
    let is_plain = path
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    let is_known = [DATABASE_FILE, TOKENS_FILE, KEY_FILE]
        .iter()
        .any(|name| path == Path::new(name));
    is_plain && (is_known || (path.starts_with(VALUES_DIR) && path != Path::new(VALUES_DIR)))
}

/// Why there is no backup, or nothing restored. The text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The database, or a daemon that uses it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is a file already.
    #[error("{path} exists already; name another file, or a directory in which one is made")]
    Exists {
        /// Its path.
        path: PathBuf,
    },
    /// The directory holds something.
    #[error(
        "{path} is not empty; name another directory, or take --force, which moves what is there aside and keeps it"
    )]
    NotEmpty {
        /// Its path.
        path: PathBuf,
    },
    /// It is no backup, or not all of it.
    #[error("{path} is no whole backup: {message}; nothing was restored, take another one")]
    Damaged {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A later program made it.
    #[error(
        "{path} was made by a later version ({program}), in a form that this one doesn't know; restore it with that version"
    )]
    TooNew {
        /// Its path.
        path: PathBuf,
        /// The program.
        program: String,
    },
    /// The files of values can't be listed.
    #[error("the values can't be read: {0}; run this as the user that runs the daemon")]
    Values(#[from] io::Error),
    /// What the file system says.
    #[error(
        "{path}: {source}; run this as the user that runs the daemon, and see that there is room"
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// An error of the file system about this path.
fn at(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io { path, source }
}

/// Hashes and counts what is read through it.
struct Hashing<R> {
    from: R,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<R> Hashing<R> {
    fn new(from: R) -> Self {
        Self {
            from,
            hasher: blake3::Hasher::new(),
            bytes: 0,
        }
    }

    /// What the manifest says of the file that was read.
    fn listed(&self, path: PathBuf) -> Listed {
        Listed {
            path,
            bytes: self.bytes,
            blake3: self.hasher.finalize().to_hex().to_string(),
        }
    }
}

impl<R: io::Read> io::Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.from.read(buffer)?;
        self.hasher.update(&buffer[..n_bytes]);
        self.bytes += n_bytes as u64;
        Ok(n_bytes)
    }
}

#[cfg(test)]
mod tests;
