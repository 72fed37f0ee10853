//! Opening: the directory, its lock, the file, its checks. On any doubt nothing is written.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::{classify, shown};
use super::{LOCK_FILE, schema};
use crate::store::StoreError;

/// Up to this size the whole file is checked on opening (a few tenths of a second). Beyond, the
/// check would hold up the restart, and damage shows when what it hit is read: recovery reads all that is live.
const CHECK_MAX_BYTES: u64 = 64 << 20;

/// How many prepared statements a connection keeps; there are fewer than this.
pub(super) const STATEMENTS_MAX: usize = 64;

/// How long to wait for another program's lock, such as that of a person with an SQLite tool.
pub(super) const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Pages in the write-ahead log before they are moved into the file (16 MiB). A commit that passes it
/// pays for the move, so it is larger than SQLite's default, which big batches would pass each time.
const CHECKPOINT_PAGES: i64 = 4096;

/// The writer's page cache, in KiB as SQLite wants it: negative.
const CACHE_KIB: i64 = -65_536;

fn other(path: &Path, message: impl Into<String>) -> StoreError {
    StoreError::Other {
        path: shown(path),
        message: message.into().into(),
    }
}

/// Makes the data directory if it isn't there, and locks it against other daemons.
pub(super) fn lock(data_dir: &Path) -> Result<File, StoreError> {
    let unusable = |what: &str, error: &io::Error| {
        other(
            data_dir,
            format!(
                "{what}: {error}; make it writable for the user that runs the daemon, or set another server.data_dir"
            ),
        )
    };
    // Nobody else's, from the first moment on.
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(data_dir);
    made.map_err(|error| unusable("the data directory can't be made", &error))?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(data_dir.join(LOCK_FILE))
        .map_err(|error| {
            no_space(data_dir, &error)
                .unwrap_or_else(|| unusable("the lock file can't be opened", &error))
        })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
            path: shown(data_dir),
        }),
        Err(TryLockError::Error(error)) => Err(unusable("the lock file can't be locked", &error)),
    }
}

fn no_space(path: &Path, error: &io::Error) -> Option<StoreError> {
    (error.kind() == io::ErrorKind::StorageFull).then(|| StoreError::Full { path: shown(path) })
}

/// Opens the file, makes it first if there is none, and brings it to the present version.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let size = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create(path)?;
            return open(path);
        }
        Err(error) => {
            return Err(other(
                path,
                format!("can't be looked at: {error}; check its permissions"),
            ));
        }
    };
    if size == 0 {
        return Err(StoreError::Corrupt {
            path: shown(path),
            message: "the file is empty".into(),
        });
    }
    let sql = |error| classify(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(sql)?;
    connection.busy_timeout(BUSY_WAIT).map_err(sql)?;
    // Until the file has passed its checks, even closing it must not change it.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(sql)?;
    let version = check_header(path, &connection)?;
    check_content(path, &connection, size)?;
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
        .map_err(sql)?;
    configure(path, &connection)?;
    schema::migrate(&mut connection, version).map_err(sql)?;
    Ok(connection)
}

/// Makes the file under another name and then gives it its own: where the file is, it is whole.
fn create(path: &Path) -> Result<(), StoreError> {
    let wal = path.with_extension("db-wal");
    if fs::metadata(&wal).is_ok_and(|metadata| metadata.len() > 0) {
        let message = "the file is missing, but its write-ahead log is there";
        return Err(StoreError::Corrupt {
            path: shown(path),
            message: message.into(),
        });
    }
    let file_error = |error: io::Error| {
        no_space(path, &error).unwrap_or_else(|| {
            other(
                path,
                format!("can't be made: {error}; check the directory's permissions"),
            )
        })
    };
    let unfinished = path.with_extension("db-new");
    for leftover in [unfinished.clone(), path.with_extension("db-new-journal")] {
        match fs::remove_file(&leftover) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(file_error(error)),
        }
    }
    let sql = |error| classify(path, &error);
    let mut connection = Connection::open(&unfinished).map_err(sql)?;
    connection
        .pragma_update(None, "synchronous", "FULL")
        .map_err(sql)?;
    schema::migrate(&mut connection, 0).map_err(sql)?;
    connection.close().map_err(|(_, error)| sql(error))?;
    fs::rename(&unfinished, path).map_err(file_error)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(file_error)
}

/// Looks whether the file is one of ours and of a version that this program knows; returns the version.
pub(super) fn check_header(path: &Path, connection: &Connection) -> Result<i64, StoreError> {
    let sql = |error| classify(path, &error);
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application_id = pragma("application_id").map_err(sql)?;
    if application_id != schema::APPLICATION_ID {
        return Err(other(
            path,
            format!(
                "is a database of another program (application id {application_id}); \
                 move it away, or set another server.data_dir"
            ),
        ));
    }
    let found = pragma("user_version").map_err(sql)?;
    if found > schema::VERSION {
        return Err(StoreError::TooNew {
            path: shown(path),
            found,
            known: schema::VERSION,
        });
    }
    Ok(found)
}

/// Checks the structure of the whole file where that doesn't take long.
fn check_content(path: &Path, connection: &Connection, size: u64) -> Result<(), StoreError> {
    if size > CHECK_MAX_BYTES {
        tracing::info!(path = %path.display(), size, "a large database: only what is read is checked");
        return Ok(());
    }
    check_pages(path, connection)
}

/// Checks the structure of the whole file.
pub(super) fn check_pages(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let answer: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| classify(path, &error))?;
    if answer == "ok" {
        return Ok(());
    }
    Err(StoreError::Corrupt {
        path: shown(path),
        message: answer.replace('\n', " ").into(),
    })
}

/// Sets what makes a commit durable, and what makes it quick.
fn configure(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let sql = |error| classify(path, &error);
    let mode: String = connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .map_err(sql)?;
    if mode != "wal" {
        return Err(other(
            path,
            format!(
                "the file system allows no write-ahead log (mode {mode}); set server.data_dir on a local disk"
            ),
        ));
    }
    let set = |name: &str, value: i64| connection.pragma_update(None, name, value).map_err(sql);
    connection
        .pragma_update(None, "synchronous", "FULL")
        .map_err(sql)?;
    set("wal_autocheckpoint", CHECKPOINT_PAGES)?;
    set("journal_size_limit", CHECKPOINT_PAGES * 4096)?;
    set("cache_size", CACHE_KIB)?;
    connection
        .pragma_update(None, "cell_size_check", true)
        .map_err(sql)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(())
}
