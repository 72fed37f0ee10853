//! Makes a backup, also while the daemon runs.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tar::{Builder, Header};

use super::{BackupError, FORMAT, Hashing, Listed, MANIFEST, Manifest, SECRETS, Step, Watch, at};
use crate::backend::values::{VALUES_DIR, Values};
use crate::engine::Time;
use crate::store::sqlite::{self, DATABASE_FILE};

/// Between two words about progress.
const TOLD_BYTES: u64 = 4 << 20;

/// Makes a backup of a data directory, as it is `now`, in the file `to`, which must not be there yet. Beside it there
/// is, for as long as this takes, a second copy of the database. The backup appears under its name only when it is
/// whole and on disk; only the user who made it can read it, for it holds what tasks were told.
///
/// The database is as one commit left it. Values are copied after it: one that was forgotten meanwhile is of a task that
/// whoever restores the backup forgets at once, too.
///
/// # Errors
/// See [`BackupError`]. Nothing is left behind then.
pub fn make(
    data_dir: &Path,
    to: &Path,
    now: Time,
    watch: Watch<'_>,
) -> Result<Manifest, BackupError> {
    if to.exists() {
        return Err(BackupError::Exists {
            path: to.to_owned(),
        });
    }
    let database = Unfinished::new(to, ".part-db")?;
    let archive = Unfinished::new(to, ".part")?;
    private(&database.0).map_err(at(&database.0))?;
    let schema = sqlite::copy(data_dir, &database.0, &mut |done, all| {
        watch(Step::Copying, done, all);
    })?;
    let file = private(&archive.0).map_err(at(&archive.0))?;
    let mut writer = Writer {
        tar: Builder::new(BufWriter::new(file)),
        to: archive.0.clone(),
        made_at_s: now.0 / 1000,
        files: Vec::new(),
    };
    writer.add_database(&database.0, watch)?;
    for name in SECRETS {
        writer.add(data_dir, Path::new(name), 0o600)?;
    }
    let values = Values::new(data_dir.join(VALUES_DIR));
    values.each(|path| match path.strip_prefix(data_dir) {
        Ok(path) => writer.add(data_dir, path, 0o644),
        Err(_) => Ok(()),
    })?;
    let manifest = writer.finish(schema, now)?;
    fs::rename(&archive.0, to).map_err(at(to))?;
    sync_parent(to).map_err(at(to))?;
    Ok(manifest)
}

/// Makes durable that a file has its name.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// A file that is removed when this is dropped.
struct Unfinished(PathBuf);

impl Unfinished {
    /// Beside `to`, private, and empty so far: what an earlier attempt left is removed.
    fn new(to: &Path, ending: &str) -> Result<Self, BackupError> {
        let mut name = to.as_os_str().to_owned();
        name.push(ending);
        let unfinished = Self(name.into());
        unfinished.remove().map_err(at(&unfinished.0))?;
        Ok(unfinished)
    }

    fn remove(&self) -> io::Result<()> {
        let mut journal: OsString = self.0.clone().into();
        journal.push("-journal");
        for path in [self.0.as_os_str(), &journal] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // What can't be removed now is removed by the next backup of this name.
        let _ = self.remove();
    }
}

struct Writer {
    tar: Builder<BufWriter<File>>,
    to: PathBuf,
    made_at_s: u64,
    files: Vec<Listed>,
}

impl Writer {
    fn add_database(&mut self, copy: &Path, watch: Watch<'_>) -> Result<(), BackupError> {
        let file = File::open(copy).map_err(at(copy))?;
        let all = file.metadata().map_err(at(copy))?.len();
        let (mut done, mut told) = (0, 0);
        let watched = Watched(file, |n_bytes| {
            done += n_bytes;
            if done - told >= TOLD_BYTES || done == all {
                told = done;
                watch(Step::Writing, done, all);
            }
        });
        self.append(Path::new(DATABASE_FILE), all, 0o600, watched)
    }

    /// Adds a file of the data directory, if it is there.
    fn add(&mut self, data_dir: &Path, path: &Path, mode: u32) -> Result<(), BackupError> {
        let full = data_dir.join(path);
        let file = match File::open(&full) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(at(&full)(error)),
        };
        let n_bytes = file.metadata().map_err(at(&full))?.len();
        self.append(path, n_bytes, mode, file)
    }

    fn append(
        &mut self,
        path: &Path,
        n_bytes: u64,
        mode: u32,
        from: impl io::Read,
    ) -> Result<(), BackupError> {
        let mut header = Header::new_gnu();
        header.set_size(n_bytes);
        header.set_mode(mode);
        header.set_mtime(self.made_at_s);
        let mut hashing = Hashing::new(from.take(n_bytes));
        self.tar
            .append_data(&mut header, path, &mut hashing)
            .map_err(at(&self.to))?;
        self.files.push(hashing.listed(path.to_owned()));
        Ok(())
    }

    fn finish(mut self, schema: i64, now: Time) -> Result<Manifest, BackupError> {
        let manifest = Manifest {
            format: FORMAT,
            program: format!("apportion {}", env!("CARGO_PKG_VERSION")),
            schema,
            made_at_ms: now.0,
            files: std::mem::take(&mut self.files),
        };
        let text = serde_json::to_vec(&manifest).map_err(|error| at(&self.to)(error.into()))?;
        self.append(Path::new(MANIFEST), text.len() as u64, 0o600, &*text)?;
        let finished = self.tar.into_inner().and_then(|mut writer| {
            writer.flush()?;
            writer.get_ref().sync_all()
        });
        finished.map_err(at(&self.to))?;
        Ok(manifest)
    }
}

/// Tells of each read how many bytes it gave.
struct Watched<R, F>(R, F);

impl<R: io::Read, F: FnMut(u64)> io::Read for Watched<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.0.read(buffer)?;
        (self.1)(n_bytes as u64);
        Ok(n_bytes)
    }
}
