//! A copy of the database as one commit left it, made beside a daemon that goes on writing; and a look at whether a
//! copy is whole.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::error::{classify, shown};
use super::open::{self, BUSY_WAIT};
use super::{DATABASE_FILE, StoreError};

/// How many pages are copied between two words about progress: 4 MiB.
const STEP_PAGES: i32 = 1024;

/// The pause where another program holds a lock on the file that reading needs.
const LOCKED_PAUSE: Duration = Duration::from_millis(50);

/// Copies the database of a data directory into a new file, and returns the version of its tables. `progress` hears
/// how many bytes of how many are done. The daemon's commits don't wait for it; its write-ahead log grows meanwhile,
/// since nothing is taken out of it that the copy may still read.
///
/// # Errors
/// There is no database of ours, it is newer than this program, or damaged; or the copy can't be written.
pub fn copy(
    data_dir: &Path,
    to: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<i64, StoreError> {
    let path = data_dir.join(DATABASE_FILE);
    if !path.exists() {
        return Err(StoreError::Other {
            path: shown(&path),
            message: "there is no such file; name the data directory of a daemon".into(),
        });
    }
    let from = read_only(&path)?;
    let version = open::check_header(&path, &from)?;
    let sql = |error| classify(&path, &error);
    // As long as this transaction lives, all that is read is what one commit left. Without it the copy would begin
    // anew after each commit, and never end under load.
    from.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")
        .map_err(sql)?;
    let copied = copy_pages(&from, to, progress).map_err(|error| match error {
        Failed::Reading(error) => classify(&path, &error),
        Failed::Writing(error) => classify(to, &error),
    });
    copied?;
    check(to)?;
    let synced = File::open(to).and_then(|file| file.sync_all());
    synced.map_err(|error| StoreError::Other {
        path: shown(to),
        message: error.to_string().into(),
    })?;
    Ok(version)
}

enum Failed {
    Reading(rusqlite::Error),
    Writing(rusqlite::Error),
}

fn copy_pages(
    from: &Connection,
    to: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), Failed> {
    let page_bytes: i64 = from
        .pragma_query_value(None, "page_size", |row| row.get(0))
        .map_err(Failed::Reading)?;
    let bytes = |pages: i32| u64::try_from(i64::from(pages) * page_bytes).unwrap_or(0);
    let mut copy = Connection::open(to).map_err(Failed::Writing)?;
    let backup = Backup::new(from, &mut copy).map_err(Failed::Writing)?;
    loop {
        let step = backup.step(STEP_PAGES).map_err(|error| {
            // Of the two files only the one that is read can be damaged.
            if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt) {
                Failed::Reading(error)
            } else {
                Failed::Writing(error)
            }
        })?;
        let now = backup.progress();
        progress(bytes(now.pagecount - now.remaining), bytes(now.pagecount));
        match step {
            StepResult::Done => break,
            StepResult::Busy | StepResult::Locked => std::thread::sleep(LOCKED_PAUSE),
            StepResult::More | _ => {}
        }
    }
    drop(backup);
    // One file, without a log beside it.
    copy.pragma_update(None, "journal_mode", "DELETE")
        .map_err(Failed::Writing)?;
    copy.close().map_err(|(_, error)| Failed::Writing(error))
}

/// Looks whether a file is a database of ours that this program knows, and whether all of it is whole. Reads the whole
/// file. Returns the version of its tables.
///
/// # Errors
/// It is not.
pub fn check(path: &Path) -> Result<i64, StoreError> {
    let connection = read_only(path)?;
    let version = open::check_header(path, &connection)?;
    open::check_pages(path, &connection)?;
    Ok(version)
}

fn read_only(path: &Path) -> Result<Connection, StoreError> {
    let sql = |error| classify(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sql)?;
    connection.busy_timeout(BUSY_WAIT).map_err(sql)?;
    Ok(connection)
}
