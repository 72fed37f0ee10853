//! Values that are too large to travel with the facts: one file each, in the data directory.
//!
//! ```text
//! values/<id / 10,000>/<id / 100 mod 100>/<id>.<attempt>        the bytes
//!                                         <id>.<attempt>.part   while they are written
//! ```
//! Whoever runs an attempt writes its value before it tells of the attempt's end: bytes, sync, rename. So a
//! value that a fact tells of is there, and a file of which no fact tells was left by a crash.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::local::layout;
use crate::engine::{AttemptId, TaskId};

/// The name of the directory in the data directory.
pub const VALUES_DIR: &str = "values";

/// What is added to the name of a file that is not yet whole. The Python worker uses the same.
const UNFINISHED: &str = ".part";

/// The values under one directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Values {
    dir: PathBuf,
}

impl Values {
    /// Those in this directory, which need not be there yet.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where the value of an attempt is, if it has one that is kept as a file.
    #[must_use]
    pub fn path(&self, attempt: AttemptId) -> PathBuf {
        layout::shard_dir(&self.dir, attempt.task).join(attempt.to_string())
    }

    /// Makes the directory in which the value of an attempt will be; gives [`Values::path`].
    ///
    /// # Errors
    /// What the file system says.
    pub fn prepare(&self, attempt: AttemptId) -> io::Result<PathBuf> {
        let path = self.path(attempt);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        Ok(path)
    }

    /// Writes a value, in place of an earlier one of the same attempt, and returns its length once it would
    /// survive a power cut.
    ///
    /// # Errors
    /// What `from` or the file system says. Then nothing is there that looks like a value.
    pub fn write(&self, attempt: AttemptId, from: &mut impl Read) -> io::Result<u64> {
        let path = self.prepare(attempt)?;
        let mut unfinished = path.clone().into_os_string();
        unfinished.push(UNFINISHED);
        let written = File::create(&unfinished).and_then(|mut file| {
            let n_bytes = io::copy(from, &mut file)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            path.parent()
                .map_or(Ok(()), |parent| File::open(parent)?.sync_all())?;
            Ok(n_bytes)
        });
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    /// Takes a file that an attempt left as its value, in place of an earlier one, and returns its length; `None` where
    /// there is no such file. Whoever wrote it may have put something else in its place: only a plain file that has no
    /// other name is taken.
    ///
    /// # Errors
    /// It is no such file, or what the file system says. Then it is gone.
    pub fn adopt(&self, attempt: AttemptId, left: &Path) -> io::Result<Option<u64>> {
        if fs::symlink_metadata(left).is_err() {
            return Ok(None);
        }
        let path = self.prepare(attempt)?;
        let taken = fs::rename(left, &path).and_then(|()| {
            let found = fs::symlink_metadata(&path)?;
            if !found.is_file() || found.nlink() != 1 {
                return Err(io::Error::other(
                    "what was left as a value is no file of its own",
                ));
            }
            let own = (
                nix::unistd::geteuid().as_raw(),
                nix::unistd::getegid().as_raw(),
            );
            std::os::unix::fs::chown(&path, Some(own.0), Some(own.1))?;
            Ok(found.len())
        });
        if taken.is_err() {
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        }
        taken.map(Some)
    }

    /// Removes the values of `count` consecutive tasks, from `first` on. What isn't there is no error.
    ///
    /// # Errors
    /// The first thing that could not be removed; the rest has been tried all the same.
    pub fn remove(&self, first: TaskId, count: u64) -> io::Result<()> {
        layout::remove_task_files(&self.dir, first, count)
    }

    /// Removes what a crash left: files that are not whole, and values that `is_wanted` denies. Returns how
    /// many there were. To be called while nothing writes. Costs one look at each file.
    ///
    /// # Errors
    /// A directory or the answer could not be read; what is left is tried again next time.
    pub fn remove_orphans<E: From<io::Error>>(
        &self,
        mut is_wanted: impl FnMut(AttemptId) -> Result<bool, E>,
    ) -> Result<usize, E> {
        let mut n_removed = 0;
        self.visit(|path, name| {
            let is_orphan = match parse_attempt(name) {
                Some(attempt) => !is_wanted(attempt)?,
                None => name.ends_with(UNFINISHED),
            };
            if is_orphan {
                fs::remove_file(path)?;
                n_removed += 1;
            }
            Ok::<_, E>(())
        })?;
        Ok(n_removed)
    }

    /// Shows `each` where the values are that are whole, one after the other, in no order. What comes or goes
    /// meanwhile may be shown or not.
    ///
    /// # Errors
    /// A directory could not be read, or `each` said so.
    pub fn each<E: From<io::Error>>(
        &self,
        mut each: impl FnMut(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        self.visit(|path, name| match parse_attempt(name) {
            Some(_) => each(path),
            None => Ok(()),
        })
    }

    /// Visits all files with their names. What is in a directory that is removed meanwhile is not visited.
    fn visit<E: From<io::Error>>(
        &self,
        mut visit: impl FnMut(&Path, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        for upper in subdirs(&self.dir)? {
            for shard in subdirs(&upper)? {
                for path in entries(&shard)? {
                    let path = path?.path();
                    if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
                        visit(&path, name)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The entries of a directory; none where there is no directory.
fn entries(dir: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

fn subdirs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let dirs = entries(dir)?.filter_map(|entry| match entry {
        Ok(entry) => entry.path().is_dir().then(|| Ok(entry.path())),
        Err(error) => Some(Err(error)),
    });
    dirs.collect()
}

fn parse_attempt(name: &str) -> Option<AttemptId> {
    let (task, number) = name.split_once('.')?;
    Some(AttemptId {
        task: TaskId(task.parse().ok()?),
        number: number.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(task: u64, number: u32) -> AttemptId {
        AttemptId {
            task: TaskId(task),
            number,
        }
    }

    #[test]
    fn a_value_is_whole_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let values = Values::new(dir.path().join("values"));
        let id = attempt(123, 2);
        assert_eq!(values.write(id, &mut &b"first"[..]).unwrap(), 5);
        assert_eq!(values.write(id, &mut &b"second"[..]).unwrap(), 6);
        assert_eq!(fs::read(values.path(id)).unwrap(), b"second");
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let other = attempt(123, 3);
        assert!(values.write(other, &mut Broken).is_err());
        let shard = values.path(id).parent().unwrap().to_owned();
        assert_eq!(
            fs::read_dir(shard).unwrap().count(),
            1,
            "only the whole one"
        );
        values.remove(TaskId(120), 10).unwrap();
        assert!(!values.path(id).exists());
    }

    #[test]
    fn only_a_plain_file_is_taken_as_a_value() {
        let dir = tempfile::tempdir().unwrap();
        let values = Values::new(dir.path().join("values"));
        let (id, left) = (attempt(7, 1), dir.path().join("left"));
        assert_eq!(values.adopt(id, &left).unwrap(), None);
        fs::write(&left, "value").unwrap();
        assert_eq!(values.adopt(id, &left).unwrap(), Some(5));
        assert_eq!(fs::read(values.path(id)).unwrap(), b"value");
        let secret = dir.path().join("secret");
        fs::write(&secret, "secret").unwrap();
        for attack in [0, 1, 2] {
            match attack {
                0 => std::os::unix::fs::symlink(&secret, &left).unwrap(),
                1 => fs::hard_link(&secret, &left).unwrap(),
                _ => fs::create_dir(&left).unwrap(),
            }
            assert!(values.adopt(attempt(8, 1), &left).is_err(), "{attack}");
            assert!(!left.exists() && !values.path(attempt(8, 1)).exists());
        }
        assert_eq!(fs::read(secret).unwrap(), b"secret");
    }

    #[test]
    fn what_a_crash_left_goes() {
        let dir = tempfile::tempdir().unwrap();
        let values = Values::new(dir.path().join("values"));
        let never = |_| -> io::Result<bool> { panic!("there is nothing yet") };
        assert_eq!(values.remove_orphans(never).unwrap(), 0);
        let (wanted, orphan) = (attempt(7, 1), attempt(1_000_007, 1));
        for id in [wanted, orphan] {
            values.write(id, &mut &b"x"[..]).unwrap();
        }
        let unfinished = values.prepare(attempt(7, 2)).unwrap();
        fs::write(unfinished.with_extension("2.part"), "half").unwrap();
        let is_wanted = |id| -> io::Result<bool> { Ok(id == wanted) };
        assert_eq!(values.remove_orphans(is_wanted).unwrap(), 2);
        assert!(values.path(wanted).exists());
        assert!(!values.path(orphan).exists());
    }
}
