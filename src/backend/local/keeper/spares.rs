//! Files and directories that attempts left empty, for attempts to come.
//!
//! Most attempts write nothing to standard error and leave nothing in their working directory. What is empty
//! at the end of an attempt is used again: so a million small tasks neither take three million inodes nor make
//! the file system find and free them. A directory is moved to where it is needed: mostly from where the attempt
//! before left it, for it stays there for a moment, and else from among the spares. A file is written
//! to where it is, and only moved (see [`super::spawn::Outputs`]) when something is in it or somebody may look.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::layout;
use super::super::wire::WireUser;

/// How many of each kind are kept.
const SPARES_MAX: usize = 256;

/// For so long an empty directory stays where its attempt was. Where one attempt follows another, the next takes it
/// from there: a move within a directory costs a fraction of two between directories.
const LINGER: Duration = Duration::from_millis(20);

/// The spare files and directories of one keeper.
#[derive(Debug)]
pub(super) struct Spares {
    dir: PathBuf,
    files: Vec<PathBuf>,
    dirs: Vec<PathBuf>,
    /// Empty directories that are still where their attempts were.
    lingering: Vec<PathBuf>,
    /// When these are to be moved to the others.
    gather_at: Option<Duration>,
    /// The last directory that had to be made for what is moved away from the spares: whatever is in there came from here.
    own_parent: Option<PathBuf>,
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
            lingering: Vec::new(),
            gather_at: None,
            own_parent: None,
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
        self.lingering.retain(|left| left != path);
        let left = self.lingering.pop();
        if self.lingering.is_empty() {
            self.gather_at = None;
        }
        // What lingers may have been removed with all else of its task.
        if left.is_some_and(|left| self.move_to(&left, path).is_ok()) {
            return Ok(());
        }
        let spare = self.dirs.pop();
        if spare.is_some_and(|spare| self.move_to(&spare, path).is_ok()) {
            return Ok(());
        }
        make_dir(path)
    }

    /// Moves what is among the spares, in place of what is there, and makes the directory where it goes if need be.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn move_to(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        match fs::rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(parent) = to.parent()
                    && make_parent(parent)?
                {
                    self.own_parent = Some(parent.to_path_buf());
                }
                fs::rename(from, to)
            }
            result => result,
        }
    }

    /// Removes the file that something before this keeper may have left there.
    pub(super) fn clear(&self, path: &Path) {
        if path.parent() != self.own_parent.as_deref() {
            let _ = fs::remove_file(path);
        }
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

    /// Takes a directory away if it is empty, now or in a moment; see [`Spares::gather_at`].
    pub(super) fn take_dir_if_empty(&mut self, path: &Path, now: Duration) {
        let is_empty = || fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
        let metadata = fs::symlink_metadata(path);
        if !metadata.as_ref().is_ok_and(Metadata::is_dir) || !is_empty() {
            return;
        }
        if metadata.is_ok_and(|metadata| is_as_made(&metadata, 0o777)) {
            self.lingering.push(path.to_path_buf());
            self.gather_at.get_or_insert(now + LINGER);
        } else {
            let _ = fs::remove_dir(path);
        }
    }

    /// When to [`Spares::gather`].
    pub(super) fn gather_at(&self) -> Option<Duration> {
        self.gather_at
    }

    /// Takes the directories away that have lingered for long enough by now.
    pub(super) fn gather(&mut self, now: Duration) {
        if self.gather_at.is_some_and(|at| at <= now) {
            self.gather_at = None;
            for path in std::mem::take(&mut self.lingering) {
                self.take(&path, Kind::Dir);
            }
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

/// Makes a directory in which attempts are, and those above it. False if it was there.
///
/// # Errors
/// What the file system says.
fn make_parent(dir: &Path) -> io::Result<bool> {
    dir.parent().map_or(Ok(()), layout::make_passable_dirs)?;
    match DirBuilder::new().mode(layout::PASSABLE).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        made => made.map(|()| true),
    }
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
            path.parent().map_or(Ok(false), make_parent)?;
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
        spares.move_to(&name, &moved).unwrap();
        assert_ne!(inode(&spares.give_file().unwrap().0), file_inode);
        assert_eq!(spares.take_file_if_empty(&moved).unwrap(), None);
        assert!(!moved.exists());
        assert_eq!(inode(&spares.give_file().unwrap().0), file_inode);
        let work = dir.path().join("a/work");
        spares.put_dir(&work).unwrap();
        let dir_inode = inode(&work);
        spares.take_dir_if_empty(&work, Duration::ZERO);
        spares.gather(LINGER);
        assert!(!work.exists());
        spares.put_dir(&work).unwrap();
        assert_eq!(inode(&work), dir_inode);
    }

    #[test]
    fn an_empty_directory_lingers_for_the_next_attempt() {
        let dir = tempfile::tempdir().unwrap();
        let mut spares = Spares::new(dir.path().join("spare")).unwrap();
        let places = ["a/1", "a/2", "a/3"].map(|name| dir.path().join(name));
        let [first, second, third] = &places;
        spares.put_dir(first).unwrap();
        let dir_inode = inode(first);
        spares.take_dir_if_empty(first, Duration::ZERO);
        assert_eq!(spares.gather_at(), Some(LINGER));
        spares.gather(LINGER / 2);
        assert!(first.exists(), "not yet");
        spares.put_dir(second).unwrap();
        assert!(!first.exists());
        assert_eq!(inode(second), dir_inode);
        assert_eq!(spares.gather_at(), None);
        // What lingers is no spare any more once somebody has removed it, or has got a directory in its place.
        spares.take_dir_if_empty(second, Duration::ZERO);
        fs::remove_dir(second).unwrap();
        spares.put_dir(third).unwrap();
        spares.take_dir_if_empty(third, Duration::ZERO);
        spares.put_dir(third).unwrap();
        spares.put_dir(first).unwrap();
        assert!(first.exists() && third.exists());
    }

    #[test]
    fn what_something_before_has_left_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let mut spares = Spares::new(dir.path().join("spare")).unwrap();
        let [made, found] = ["made", "found"].map(|name| dir.path().join(name).join("7.1.stdout"));
        fs::create_dir(found.parent().unwrap()).unwrap();
        fs::write(&found, "old").unwrap();
        for place in [&made, &found] {
            let (file, _) = spares.give_file().unwrap();
            spares
                .move_to(&file, &place.with_extension("moved"))
                .unwrap();
            spares.clear(place);
        }
        assert!(!found.exists());
        fs::write(&made, "new").unwrap();
        spares.clear(&made);
        assert!(
            made.exists(),
            "nothing can be left there, so it isn't looked for"
        );
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
        spares.take_dir_if_empty(&work, Duration::ZERO);
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
        spares.take_dir_if_empty(&work, Duration::ZERO);
        assert!(!work.exists(), "it takes a block, so it goes");
        assert!(spares.files.is_empty() && spares.dirs.is_empty() && spares.lingering.is_empty());
        fs::write(dir.path().join("spare/old"), "").unwrap();
        Spares::new(dir.path().join("spare")).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("spare")).unwrap().count(), 0);
    }
}
