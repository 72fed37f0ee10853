//! How much an attempt's working directory takes on disk, added up bit by bit: the keeper has other things to do, and
//! somebody may have made a million files.
//!
//! What is elsewhere, or has no name any more, isn't counted; nor what is made behind the back of a walk, before the next.

use std::fs::{self, ReadDir};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// How many directories may wait to be walked. What is beyond isn't counted, so that nobody can fill the keeper's memory.
const WAITING_MAX: usize = 10_000;

/// What `st_blocks` counts in.
const BLOCK_BYTES: u64 = 512;

/// One walk through a directory and all below it.
#[derive(Debug)]
pub(super) struct Walk {
    waiting: Vec<PathBuf>,
    open: Option<ReadDir>,
    n_bytes: u64,
}

impl Walk {
    /// One that begins here.
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            waiting: vec![dir.to_path_buf()],
            open: None,
            n_bytes: 0,
        }
    }

    /// What was found so far.
    pub(super) fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Looks at so many more files. Says how many of them are left to look at, which is none while there is more to find.
    pub(super) fn go_on(&mut self, mut n_files: usize) -> usize {
        while n_files > 0 {
            let Some(open) = &mut self.open else {
                let Some(next) = self.waiting.pop() else {
                    return n_files;
                };
                n_files -= 1;
                // It may be gone by now.
                self.open = fs::read_dir(next).ok();
                continue;
            };
            let Some(Ok(entry)) = open.next() else {
                self.open = None;
                continue;
            };
            n_files -= 1;
            // Of the entry itself, where that is a link.
            let Ok(found) = entry.metadata() else {
                continue;
            };
            if found.is_dir() {
                self.n_bytes += found.blocks() * BLOCK_BYTES;
                if self.waiting.len() < WAITING_MAX {
                    self.waiting.push(entry.path());
                }
            } else {
                // One with several names is found under each.
                self.n_bytes += found.blocks() * BLOCK_BYTES / found.nlink().max(1);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_below_counts_once_however_the_walk_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        for name in ["one", "a/two", "a/b/three"] {
            fs::write(dir.path().join(name), vec![1; 100_000]).unwrap();
        }
        fs::hard_link(dir.path().join("one"), dir.path().join("a/again")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("a/elsewhere")).unwrap();
        let mut whole = Walk::new(dir.path());
        assert!(whole.go_on(1000) > 0);
        assert!((300_000..400_000).contains(&whole.n_bytes()), "{whole:?}");
        let mut cut = Walk::new(dir.path());
        let mut n_steps = 0;
        while cut.go_on(2) == 0 {
            n_steps += 1;
        }
        assert!(n_steps >= 4);
        assert_eq!(cut.n_bytes(), whole.n_bytes());
    }

    #[test]
    fn what_is_gone_is_nothing() {
        let mut walk = Walk::new(Path::new("/nonexistent/dir"));
        assert_eq!(walk.go_on(10), 9);
        assert_eq!(walk.n_bytes(), 0);
    }
}
