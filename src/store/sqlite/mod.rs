//! The embedded default: one SQLite file in the data directory, written by one connection and read by
//! others. Write-ahead log, `synchronous=FULL`, one transaction per commit.
//!
//! Read `schema.rs` first, then `writer.rs` (facts to rows) and `recover.rs` (rows to facts).

mod audit;
mod codec;
mod copy;
mod error;
mod forget;
mod listing;
mod open;
mod place;
mod reader;
mod recover;
mod schema;
mod search;
pub(crate) mod torn;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

pub use copy::{check, copy};
pub use reader::SqliteReader;

use super::{Store, StoreError};
use crate::engine::request::StoredTask;
use crate::engine::{Fact, PastUse, TaskId, Time};

/// The name of the database in the data directory. SQLite keeps `-wal` and `-shm` files beside it.
pub const DATABASE_FILE: &str = "apportion.db";

/// The version of the tables that this program writes. A file of an earlier one becomes one of this on opening; a file
/// of a later one is refused.
pub const SCHEMA_VERSION: i64 = schema::VERSION;

/// The name of the file in the data directory that a running daemon holds a lock on.
pub const LOCK_FILE: &str = "daemon.lock";

/// The writer of the database. There is one per data directory, held so by a file lock.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
    /// Which file the connection writes.
    place: place::Place,
    /// Whether ranges of forgotten ids may be left to sweep.
    sweeping: bool,
    /// Locked as long as the store lives.
    _lock: File,
}

/// Opens the database of a data directory, and makes both where they don't exist yet.
///
/// # Errors
/// The directory is in use, or can't be used; the file is damaged, no database of ours, or newer than
/// this program. Then nothing was changed.
pub fn open(data_dir: &Path) -> Result<(SqliteStore, SqliteReader), StoreError> {
    let lock = lock(data_dir)?;
    let path = data_dir.join(DATABASE_FILE);
    let connection = open::open(&path)?;
    let place = place::Place::of(&path)?;
    let reader = SqliteReader::new(path.clone());
    Ok((
        SqliteStore {
            connection,
            path,
            place,
            sweeping: true,
            _lock: lock,
        },
        reader,
    ))
}

/// Holds a data directory, which is made where it isn't there, against daemons for as long as the file lives.
///
/// # Errors
/// A daemon uses it, or it can't be used.
pub fn lock(data_dir: &Path) -> Result<File, StoreError> {
    open::lock(data_dir)
}

impl Store for SqliteStore {
    fn commit(&mut self, facts: &[Fact]) -> Result<(), StoreError> {
        self.place.check(&self.path)?;
        let sweeping = self.sweeping
            || facts
                .iter()
                .any(|fact| matches!(fact, Fact::Forgotten { .. }));
        let done = writer::commit(&mut self.connection, facts, sweeping);
        self.sweeping = match done {
            Ok(left) => left,
            Err(_) => true,
        };
        done.map(drop)
            .map_err(|error| error::classify(&self.path, &error))
    }

    fn recover(&mut self, fold: &mut dyn FnMut(Fact)) -> Result<(), StoreError> {
        recover::recover(&self.connection, fold)
            .map_err(|error| error::classify(&self.path, &error))
    }

    fn past_use(&mut self, since: Time, tell: &mut dyn FnMut(PastUse)) -> Result<(), StoreError> {
        recover::past_use(&self.connection, since, tell)
            .map_err(|error| error::classify(&self.path, &error))
    }

    fn find_ended(&mut self, task: TaskId) -> Result<Option<StoredTask>, StoreError> {
        reader::find_ended(&self.connection, task)
            .map_err(|error| error::classify(&self.path, &error))
    }
}

#[cfg(test)]
mod tests;
