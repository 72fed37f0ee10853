//! What a daemon does for the executors that it has agents start: it hands out its own program, and knows by their
//! secrets who may bring an attempt's value.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::engine::AttemptId;

/// The file in the data directory that holds the key of all secrets.
pub const KEY_FILE: &str = "attempts.key";

/// The program that runs, under whatever name.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// See the module's text.
#[derive(Debug)]
pub struct Service {
    program: File,
    program_name: String,
    key: [u8; blake3::KEY_LEN],
}

impl Service {
    /// Opens the own program and the key, which is made where there is none. Reads the program once, to name it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        // Kept open: whatever takes the program's name later, this is the one that fits this daemon.
        let program = File::open(OWN_PROGRAM)?;
        let key = read_or_make_key(&data_dir.join(KEY_FILE))?;
        let mut hasher = blake3::Hasher::new_keyed(&key);
        hasher.update_reader(&program)?;
        Ok(Self {
            program_name: hasher.finalize().to_hex().to_string(),
            program,
            key,
        })
    }

    /// What names the program's content, in hexadecimal digits: another program has another name, so that agents may
    /// keep it. Nobody can guess it, so whoever names it was told by a launch.
    #[must_use]
    pub fn program_name(&self) -> &str {
        &self.program_name
    }

    /// The program, to be read with `read_at`, since its own place is everybody's, and its length in bytes.
    ///
    /// # Errors
    /// What the file system says.
    pub fn program(&self) -> io::Result<(File, u64)> {
        Ok((self.program.try_clone()?, self.program.metadata()?.len()))
    }

    /// An attempt's secret. The same after a restart of the daemon.
    #[must_use]
    pub fn token(&self, attempt: AttemptId) -> String {
        self.hash(attempt).to_hex().to_string()
    }

    /// Whether this is the attempt's secret. Takes the same time whatever is wrong with it.
    #[must_use]
    pub fn is_token(&self, attempt: AttemptId, token: &str) -> bool {
        blake3::Hash::from_hex(token).is_ok_and(|given| given == self.hash(attempt))
    }

    fn hash(&self, attempt: AttemptId) -> blake3::Hash {
        blake3::keyed_hash(&self.key, attempt.to_string().as_bytes())
    }
}

/// Reads the key, or makes one that nobody else can read.
fn read_or_make_key(path: &Path) -> io::Result<[u8; blake3::KEY_LEN]> {
    let mut key = [0; blake3::KEY_LEN];
    match File::open(path).and_then(|mut file| file.read_exact(&mut key)) {
        Ok(()) => return Ok(key),
        // A file that is too short was left by a crash, and no secret was made with it.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
            ) => {}
        Err(error) => return Err(error),
    }
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&key)?;
    file.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

    use super::*;
    use crate::engine::TaskId;

    fn attempt(task: u64, number: u32) -> AttemptId {
        AttemptId {
            task: TaskId(task),
            number,
        }
    }

    #[test]
    fn each_attempt_has_a_secret_that_lasts() {
        let dir = tempfile::tempdir().unwrap();
        let service = Service::open(dir.path()).unwrap();
        let token = service.token(attempt(7, 1));
        assert!(service.is_token(attempt(7, 1), &token));
        for (other, given) in [
            (attempt(7, 2), token.as_str()),
            (attempt(71, 1), &token),
            (attempt(7, 1), ""),
            (attempt(7, 1), &token[1..]),
            (attempt(7, 1), &"0".repeat(64)),
        ] {
            assert!(!service.is_token(other, given), "{other} {given}");
        }
        let again = Service::open(dir.path()).unwrap();
        assert_eq!(again.token(attempt(7, 1)), token);
        let key = dir.path().join(KEY_FILE);
        assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let elsewhere = tempfile::tempdir().unwrap();
        let other = Service::open(elsewhere.path()).unwrap();
        assert!(!other.is_token(attempt(7, 1), &token));
        // A key that was cut short is made anew.
        std::fs::write(&key, "short").unwrap();
        assert_ne!(
            Service::open(dir.path()).unwrap().token(attempt(7, 1)),
            token
        );
    }

    #[test]
    fn the_program_is_the_one_that_runs() {
        let dir = tempfile::tempdir().unwrap();
        let service = Service::open(dir.path()).unwrap();
        let (file, n_bytes) = service.program().unwrap();
        let mut bytes = vec![0; usize::try_from(n_bytes).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes.starts_with(b"\x7fELF"));
        let again = Service::open(dir.path()).unwrap();
        assert_eq!(again.program_name(), service.program_name());
        // Who has the program only can't name it.
        assert_ne!(
            blake3::hash(&bytes).to_hex().as_str(),
            service.program_name()
        );
    }
}
