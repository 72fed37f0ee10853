//! The file of tokens in the data directory: JSON that only the daemon's user can read, replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::token::{Kept, Tokens};

/// Its name in the data directory.
pub const TOKENS_FILE: &str = "tokens.json";

/// Held while the file is changed, so that of two changes at once none is lost.
const LOCK_FILE: &str = "tokens.lock";

/// The version of the format.
const VERSION: u32 = 1;

/// Why the tokens can't be read or changed. The text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileError {
    /// What the file system says.
    #[error("{path}: {source}; run this as the user that runs the daemon, on its machine")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// It is not as this program writes it.
    #[error("{path} is no file of tokens: {message}; put a backup of it in its place")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// The file as written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    tokens: Vec<Kept>,
}

/// Reads the tokens of a data directory; `None` where none was ever made.
///
/// # Errors
/// The file is there, and can't be read or isn't as this program writes it.
pub fn load(data_dir: &Path) -> Result<Option<Tokens>, TokenFileError> {
    let path = data_dir.join(TOKENS_FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(TokenFileError::Io { path, source }),
    };
    let written: Result<Written, _> = serde_json::from_slice(&text);
    match written {
        Ok(written) if written.version == VERSION => Ok(Some(Tokens::new(written.tokens))),
        Ok(written) => Err(TokenFileError::Damaged {
            path,
            message: format!(
                "its version is {}, this program knows {VERSION}",
                written.version
            ),
        }),
        Err(error) => Err(TokenFileError::Damaged {
            path,
            message: error.to_string(),
        }),
    }
}

/// Changes the tokens of a data directory, which is made where it isn't there; they are on disk on return. Nothing
/// is written where `with` fails.
///
/// # Errors
/// What `with` says, and what reading and writing say.
pub fn change<T, E: From<TokenFileError>>(
    data_dir: &Path,
    with: impl FnOnce(&mut Vec<Kept>) -> Result<T, E>,
) -> Result<T, E> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| E::from(TokenFileError::Io { path, source })
    };
    fs::create_dir_all(data_dir).map_err(at(data_dir))?;
    let lock_path = data_dir.join(LOCK_FILE);
    let lock = private(&lock_path).map_err(at(&lock_path))?;
    lock.lock().map_err(at(&lock_path))?;
    let mut tokens: Vec<Kept> = load(data_dir)?
        .unwrap_or_default()
        .iter()
        .cloned()
        .collect();
    let changed = with(&mut tokens)?;
    let path = data_dir.join(TOKENS_FILE);
    write(&path, tokens).map_err(at(&path))?;
    Ok(changed)
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// Writes it under another name first, so that whoever reads finds the old or the new one whole.
fn write(path: &Path, mut tokens: Vec<Kept>) -> io::Result<()> {
    tokens.sort_by(|a, b| (a.made_at_ms, &a.id).cmp(&(b.made_at_ms, &b.id)));
    let written = Written {
        version: VERSION,
        tokens,
    };
    let unfinished = path.with_extension("json-new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = private(&unfinished)?;
    serde_json::to_writer_pretty(&mut file, &written)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::access::{Queues, Right, Secret};
    use crate::engine::Time;

    fn kept(name: &str) -> Kept {
        let secret = Secret::generate().unwrap();
        let queues = Queues::new(["maps/*".parse().unwrap()]);
        Kept::of(&secret, name, queues, &[Right::Read], Time(5))
    }

    fn add(data_dir: &Path, name: &str) -> Result<(), TokenFileError> {
        change(data_dir, |tokens| {
            tokens.push(kept(name));
            Ok(())
        })
    }

    #[test]
    fn what_is_written_is_read_again_and_nobody_else_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        assert_eq!(load(&data_dir).unwrap(), None);
        add(&data_dir, "ci").unwrap();
        add(&data_dir, "page").unwrap();
        let tokens = load(&data_dir).unwrap().unwrap();
        let mut names: Vec<_> = tokens.iter().map(|kept| &*kept.name).collect();
        names.sort_unstable();
        assert_eq!(names, ["ci", "page"]);
        let file = data_dir.join(TOKENS_FILE).metadata().unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
        let failed: Result<(), TokenFileError> = change(&data_dir, |tokens| {
            tokens.clear();
            Err(TokenFileError::Damaged {
                path: PathBuf::new(),
                message: String::new(),
            })
        });
        assert!(failed.is_err());
        assert_eq!(load(&data_dir).unwrap().unwrap(), tokens);
    }

    #[test]
    fn a_damaged_file_is_told_and_never_taken_for_none() {
        let folder = tempfile::tempdir().unwrap();
        add(folder.path(), "ci").unwrap();
        let path = folder.path().join(TOKENS_FILE);
        for text in [
            "",
            "{",
            "[]",
            r#"{"version": 2, "tokens": []}"#,
            r#"{"version": 1, "tokens": [{}]}"#,
        ] {
            fs::write(&path, text).unwrap();
            let error = load(folder.path()).unwrap_err();
            assert!(
                matches!(error, TokenFileError::Damaged { .. }),
                "{text}: {error}"
            );
            assert!(add(folder.path(), "other").is_err(), "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
