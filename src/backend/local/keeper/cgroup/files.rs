//! The files of one cgroup's directory, read and written often.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::rc::Rc;

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

/// More than any file says that tells a few numbers.
const SHORT_BYTES_MAX: usize = 1024;

/// Which of the files, and for what.
type Key = (&'static str, bool);

/// See the module's text. Where asked to, it keeps open what was used: to find and open such a file costs
/// several times what it costs to read or write it.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    /// The directory, where files are kept open.
    dir_file: Option<File>,
    opened: RefCell<Vec<(Key, Rc<File>)>>,
}

impl Files {
    /// The files in this directory.
    pub(super) fn new(dir: PathBuf, keeps_open: bool) -> Self {
        let dir_file = keeps_open.then(|| File::open(&dir).ok()).flatten();
        Self {
            dir,
            dir_file,
            opened: RefCell::default(),
        }
    }

    /// Writes to one that is there. The files of cgroups are neither made nor emptied, and take each text
    /// as a whole.
    pub(super) fn write(&self, name: &'static str, text: &str) -> io::Result<()> {
        self.find((name, true))?.write_all_at(text.as_bytes(), 0)
    }

    /// Opens one to write to, for good.
    pub(super) fn writer(&self, name: &'static str) -> io::Result<File> {
        self.open(name, OFlag::O_WRONLY)
    }

    /// Reads one that may be long, and has to be opened to say what is so now: the lists of processes of v1 may
    /// go on showing for a second what they showed before.
    pub(super) fn read_anew(&self, name: &'static str) -> io::Result<String> {
        let mut text = String::new();
        self.open(name, OFlag::O_RDONLY)?
            .read_to_string(&mut text)?;
        Ok(text)
    }

    /// Reads one whose text is short, at once.
    fn read_short(&self, name: &'static str) -> Option<String> {
        let mut bytes = [0; SHORT_BYTES_MAX];
        let n_bytes = self.find((name, false)).ok()?.read_at(&mut bytes, 0).ok()?;
        Some(std::str::from_utf8(bytes.get(..n_bytes)?).ok()?.to_owned())
    }

    fn open(&self, name: &str, flags: OFlag) -> io::Result<File> {
        let flags = flags | OFlag::O_CLOEXEC;
        Ok(match &self.dir_file {
            Some(dir) => openat(dir, name, flags, Mode::empty()),
            None => open(&self.dir.join(name), flags, Mode::empty()),
        }?
        .into())
    }

    /// Reads one that says a number.
    pub(super) fn read_number(&self, name: &'static str) -> Option<u64> {
        self.read_short(name)?.trim().parse().ok()
    }

    /// Reads the number behind a word at the beginning of a line.
    pub(super) fn read_keyed(&self, name: &'static str, key: &str) -> Option<u64> {
        self.read_short(name)?.lines().find_map(|line| {
            line.strip_prefix(key)?
                .strip_prefix(' ')?
                .trim()
                .parse()
                .ok()
        })
    }

    fn find(&self, key: Key) -> io::Result<Rc<File>> {
        let mut opened = self.opened.borrow_mut();
        if let Some((_, file)) = opened.iter().find(|(known, _)| *known == key) {
            return Ok(Rc::clone(file));
        }
        let (name, writes) = key;
        let flags = if writes {
            OFlag::O_WRONLY
        } else {
            OFlag::O_RDONLY
        };
        let file = Rc::new(self.open(name, flags)?);
        if self.dir_file.is_some() {
            opened.push((key, Rc::clone(&file)));
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_open_is_read_from_the_start_each_time() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("procs"), "1\n2\n").unwrap();
        std::fs::write(dir.path().join("events"), "oom 7\noom_kill 3\n").unwrap();
        for keeps_open in [true, false] {
            let files = Files::new(dir.path().to_path_buf(), keeps_open);
            for _ in 0..2 {
                assert_eq!(files.read_anew("procs").unwrap(), "1\n2\n");
                assert_eq!(files.read_keyed("events", "oom_kill"), Some(3));
            }
            assert_eq!(files.read_number("events"), None);
            assert!(files.write("nothing", "0").is_err());
        }
    }
}
