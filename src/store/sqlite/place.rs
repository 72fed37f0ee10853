//! Whether the database still stands where it was opened. A file that was removed or replaced can be written
//! on for as long as it is open, and everything is lost when it is closed: such a write must not count.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::StoreError;

/// A file's device and number, which it keeps until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    device: u64,
    number: u64,
}

impl Place {
    /// That of the file that is now at `path`.
    ///
    /// # Errors
    /// There is none, or it can't be looked at.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        Self::find(path).map_err(|error| refused(path, &format!("can't be looked at: {error}")))
    }

    /// Looks whether this very file is still at `path`. Costs one system call.
    ///
    /// # Errors
    /// It was removed, moved away or replaced.
    pub(super) fn check(self, path: &Path) -> Result<(), StoreError> {
        let said = match Self::find(path) {
            Ok(found) if found == self => return Ok(()),
            Ok(_) => "was replaced by another file".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                "was removed or moved away".to_owned()
            }
            Err(error) => format!("can't be looked at: {error}"),
        };
        Err(refused(path, &said))
    }

    fn find(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        Ok(Self {
            device: found.dev(),
            number: found.ino(),
        })
    }
}

fn refused(path: &Path, said: &str) -> StoreError {
    StoreError::Other {
        path: path.to_string_lossy().into(),
        message: format!("the database {said}; put it back, or restart the daemon to start anew")
            .into(),
    }
}
