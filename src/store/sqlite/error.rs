//! What SQLite says, in the words of [`StoreError`].

use std::path::Path;
use std::sync::Arc;

use rusqlite::ErrorCode;
use rusqlite::ffi;
use rusqlite::types::Type;

use crate::store::StoreError;

/// With less than this much room left, an I/O error is taken for a full disk: SQLite reports some of
/// the ways to run out of space (a sync, the shared memory file) only as an I/O error.
const FULL_BELOW_BYTES: u64 = 1 << 20;

/// A path as it stands in errors.
pub(super) fn shown(path: &Path) -> Arc<str> {
    path.display().to_string().into()
}

/// Says what an error of SQLite means to whoever runs the daemon.
pub(super) fn classify(path: &Path, error: &rusqlite::Error) -> StoreError {
    let corrupt = |message: String| StoreError::Corrupt {
        path: shown(path),
        message: message.into(),
    };
    let other = |message: String| StoreError::Other {
        path: shown(path),
        message: message.into(),
    };
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DiskFull => StoreError::Full { path: shown(path) },
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => corrupt(error.to_string()),
            ErrorCode::ConstraintViolation => {
                corrupt(format!("it contradicts the engine: {error}"))
            }
            ErrorCode::SystemIoFailure if failure.extended_code == ffi::SQLITE_IOERR_CORRUPTFS => {
                corrupt(error.to_string())
            }
            ErrorCode::SystemIoFailure if is_full(path) => StoreError::Full { path: shown(path) },
            ErrorCode::SystemIoFailure => other(format!("{error}; check the disk")),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => other(format!(
                "{error}; another program holds a lock on it, close that one"
            )),
            ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
                other(format!(
                    "{error}; make the file and its directory writable for the user that runs the daemon"
                ))
            }
            ErrorCode::InternalMalfunction
            | ErrorCode::OperationAborted
            | ErrorCode::OutOfMemory
            | ErrorCode::OperationInterrupted
            | ErrorCode::NotFound
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::SchemaChanged
            | ErrorCode::TooBig
            | ErrorCode::TypeMismatch
            | ErrorCode::ApiMisuse
            | ErrorCode::NoLargeFileSupport
            | ErrorCode::AuthorizationForStatementDenied
            | ErrorCode::ParameterOutOfRange
            | ErrorCode::Unknown
            | _ => other(error.to_string()),
        },
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => corrupt(error.to_string()),
        unexpected => other(unexpected.to_string()),
    }
}

/// Whether the disk that holds `path` has no room to speak of.
fn is_full(path: &Path) -> bool {
    nix::sys::statvfs::statvfs(path).is_ok_and(|disk| {
        disk.blocks_available().saturating_mul(disk.fragment_size()) < FULL_BELOW_BYTES
    })
}

/// What stands in a column is nothing that this program writes there.
#[derive(Debug, thiserror::Error)]
#[error("{what} is '{found}'")]
struct Unreadable {
    what: &'static str,
    found: String,
}

/// The error for a column whose text this program would never have written.
pub(super) fn unreadable(what: &'static str, found: impl Into<String>) -> rusqlite::Error {
    let error = Unreadable {
        what,
        found: found.into(),
    };
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error))
}
