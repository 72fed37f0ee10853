//! Files and directories that attempts left empty, for attempts to come.
//!
//! Most attempts write nothing to standard error and leave nothing in their working directory. What is empty
//! at the end of an attempt is used again: so a million small tasks neither take three million inodes nor make
//! the file system find and free them. A directory is moved to where it is needed and back; a file is written
//! to where it is, and only moved (see [`super::spawn::Outputs`]) when something is in it or somebody may look.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown, fchown};
use std::path::{Path, PathBuf};

use super::super::layout;
use super::super::wire::WireUser;

/// How many of each kind are kept.
const SPARES_MAX: usize = 256;

/// The spare files and directories of one keeper.
#[derive(Debug)]
pub(super) struct Spares {
    dir: PathBuf,
    files: Vec<PathBuf>,
    dirs: Vec<PathBuf>,
    n_made: u64,
}

/// What it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Dir,
}

impl Spares {
    /// Keeps them in this directory, which is emptied.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn new(dir: PathBuf) -> io::Result<Self> {
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) | Ok(()) => {}
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Ok(Self {
            dir,
            files: Vec::new(),
            dirs: Vec::new(),
            n_made: 0,
        })
    }

    /// Gives an empty file, with its name among the spares, and opens it for writing.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn give_file(&mut self) -> io::Result<(PathBuf, File)> {
        if let Some(spare) = self.files.pop()
            // It is empty, so there is nothing to cut off, which would cost more than all else.
            && let Ok(file) = OpenOptions::new().write(true).open(&spare)
        {
            return Ok((spare, file));
        }
        self.n_made += 1;
        let name = self.dir.join(self.n_made.to_string());
        let file = new_file(&name)?;
        Ok((name, file))
    }

    /// Makes a file that belongs to somebody else, who could have left more about it than its content; so it is always
    /// a new one.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn make_file_for(&mut self, user: &WireUser) -> io::Result<(PathBuf, File)> {
        self.n_made += 1;
        let name = self.dir.join(self.n_made.to_string());
        let file = new_file(&name)?;
        fchown(&file, Some(user.uid), Some(user.gid))?;
        Ok((name, file))
    }

    /// Makes a directory that belongs to somebody else, in place of any other; as [`Spares::make_file_for`].
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn make_dir_for(path: &Path, user: &WireUser) -> io::Result<()> {
        make_dir(path)?;
        chown(path, Some(user.uid), Some(user.gid))
    }

    /// Puts an empty directory there, in place of any other.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn put_dir(&mut self, path: &Path) -> io::Result<()> {
        if let Some(spare) = self.dirs.pop()
            && rename_into(&spare, path).is_ok()
        {
            return Ok(());
        }
        make_dir(path)
    }

    /// Takes a file away if it is empty. Where it stays, says how long it is.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn take_file_if_empty(&mut self, path: &Path) -> io::Result<Option<u64>> {
        let metadata = fs::symlink_metadata(path)?;
        let is_empty = metadata.is_file() && metadata.len() == 0 && metadata.nlink() == 1;
        if !is_empty {
            return Ok(Some(metadata.len()));
        }
        if is_as_made(&metadata, 0o666) {
            self.take(path, Kind::File);
        } else {
            fs::remove_file(path)?;
        }
        Ok(None)
    }

    /// Takes a directory away if it is empty.
    pub(super) fn take_dir_if_empty(&mut self, path: &Path) {
        let is_empty = || fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
        let metadata = fs::symlink_metadata(path);
        if !metadata.as_ref().is_ok_and(Metadata::is_dir) || !is_empty() {
            return;
        }
        if metadata.is_ok_and(|metadata| is_as_made(&metadata, 0o777)) {
            self.take(path, Kind::Dir);
        } else {
            let _ = fs::remove_dir(path);
        }
    }

    fn take(&mut self, path: &Path, kind: Kind) {
        let kept = if kind == Kind::File {
            &mut self.files
        } else {
            &mut self.dirs
        };
        if kept.len() >= SPARES_MAX {
            let _ = if kind == Kind::File {
                fs::remove_file(path)
            } else {
                fs::remove_dir(path)
            };
            return;
        }
        if path.parent() == Some(&self.dir) {
            kept.push(path.to_path_buf());
            return;
        }
        self.n_made += 1;
        let spare = self.dir.join(self.n_made.to_string());
        if fs::rename(path, &spare).is_ok() {
            kept.push(spare);
        }
    }
}

/// Whether owner and permissions may still be what this process gives to what it makes.
fn is_as_made(metadata: &Metadata, mode_max: u32) -> bool {
    let mode = metadata.mode() & 0o7777;
    metadata.uid() == nix::unistd::geteuid().as_raw()
        && mode & !mode_max == 0
        && mode & 0o700 == mode_max & 0o700
}

/// Moves, in place of what is there, and makes the directory where it goes if need be.
///
/// # Errors
/// What the file system says.
pub(super) fn rename_into(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_parent(to)?;
            fs::rename(from, to)
        }
        result => result,
    }
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), layout::make_passable_dirs)
}

/// Makes an empty file that only its owner can read.
fn new_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}

/// Makes a directory that only its owner can read, in place of any other.
fn make_dir(path: &Path) -> io::Result<()> {
    let create = || DirBuilder::new().mode(0o700).create(path);
    match create() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_parent(path)?;
            create()
        }
        // Left from a data directory whose database is gone: numbers start again, and nobody's files may be found.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_dir_all(path)?;
            create()
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn inode(path: &Path) -> u64 {
        fs::metadata(path).unwrap().ino()
    }

    #[test]
    fn what_is_empty_is_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut spares = Spares::new(dir.path().join("spare")).unwrap();
        let (name, _) = spares.give_file().unwrap();
        let file_inode = inode(&name);
        assert_eq!(spares.take_file_if_empty(&name).unwrap(), None);
        let (name, _) = spares.give_file().unwrap();
        assert_eq!(inode(&name), file_inode);
        let moved = dir.path().join("a/b/moved");
        rename_into(&name, &moved).unwrap();
        assert_ne!(inode(&spares.give_file().unwrap().0), file_inode);
        assert_eq!(spares.take_file_if_empty(&moved).unwrap(), None);
        assert!(!moved.exists());
        assert_eq!(inode(&spares.give_file().unwrap().0), file_inode);
        let work = dir.path().join("a/work");
        spares.put_dir(&work).unwrap();
        let dir_inode = inode(&work);
        spares.take_dir_if_empty(&work);
        spares.put_dir(&work).unwrap();
        assert_eq!(inode(&work), dir_inode);
    }

    #[test]
    fn what_is_not_empty_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut spares = Spares::new(dir.path().join("spare")).unwrap();
        let work = dir.path().join("work");
        let (file, _) = spares.give_file().unwrap();
        fs::write(&file, "xy").unwrap();
        assert_eq!(spares.take_file_if_empty(&file).unwrap(), Some(2));
        assert!(file.exists());
        assert_ne!(spares.give_file().unwrap().0, file);
        spares.put_dir(&work).unwrap();
        fs::write(work.join("x"), "").unwrap();
        spares.take_dir_if_empty(&work);
        assert!(work.exists());
        // Put in place of what is there.
        spares.put_dir(&work).unwrap();
        assert_eq!(fs::read_dir(&work).unwrap().count(), 0);
    }

    #[test]
    fn what_was_made_different_is_not_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut spares = Spares::new(dir.path().join("spare")).unwrap();
        let work = dir.path().join("work");
        let (file, _) = spares.give_file().unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(spares.take_file_if_empty(&file).unwrap(), None);
        assert!(!file.exists(), "it takes an inode, so it goes");
        spares.put_dir(&work).unwrap();
        fs::set_permissions(&work, fs::Permissions::from_mode(0o1777)).unwrap();
        spares.take_dir_if_empty(&work);
        assert!(!work.exists(), "it takes a block, so it goes");
        assert!(spares.files.is_empty() && spares.dirs.is_empty());
        fs::write(dir.path().join("spare/old"), "").unwrap();
        Spares::new(dir.path().join("spare")).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("spare")).unwrap().count(), 0);
    }
}
