//! A disk of real files: the daemon's own store on a database that loses its power while a batch is written.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, fs, process};

use crate::engine::Fact;
use crate::store::sqlite::torn::Files;
use crate::store::sqlite::{self, SqliteStore};
use crate::store::{Store, StoreError};

/// Distinguishes the worlds of a process.
static N_WORLDS: AtomicU64 = AtomicU64::new(0);

/// A data directory, gone with the world. At any time one store has it open: that of the daemon that lives, or, between
/// two, the one that the next will have.
pub(super) struct RealDisk {
    directory: PathBuf,
    store: Option<SqliteStore>,
    dice: fastrand::Rng,
}

impl RealDisk {
    /// An empty one, in the directory for temporary files.
    ///
    /// # Panics
    /// It can't be made: then there is nothing to try.
    pub(super) fn new(seed: u64) -> Self {
        let number = N_WORLDS.fetch_add(1, Ordering::Relaxed);
        let name = format!("apportion-faults-{}-{number}", process::id());
        let directory = env::temp_dir().join(name);
        let mut disk = Self {
            directory,
            store: None,
            dice: fastrand::Rng::with_seed(seed),
        };
        disk.open();
        disk
    }

    fn open(&mut self) {
        let opened = sqlite::open(&self.directory);
        let (store, _) = opened.unwrap_or_else(|error| panic!("after a crash: {error}"));
        self.store = Some(store);
    }

    /// The store.
    pub(super) fn store(&mut self) -> &mut SqliteStore {
        self.store.as_mut().expect("it is always open again")
    }

    /// The power fails while facts are written.
    pub(super) fn tear(&mut self, facts: &[Fact]) -> Result<(), StoreError> {
        let before = files(&self.directory);
        self.store().commit(facts)?;
        let after = files(&self.directory);
        let left = before.torn_before(&after, &mut self.dice);
        self.leave(&left);
        Ok(())
    }

    /// The daemon is gone, and has closed nothing.
    pub(super) fn kill(&mut self) {
        self.leave(&files(&self.directory));
    }

    /// The next daemon finds these.
    fn leave(&mut self, left: &Files) {
        // To close it moves the log into the file, so it must be over before.
        self.store = None;
        left.lay(&self.directory)
            .unwrap_or_else(|error| panic!("{}: {error}", self.directory.display()));
        self.open();
    }

    /// All that the store tells a daemon that starts, in words.
    pub(super) fn told(&mut self) -> Vec<String> {
        told(self.store())
    }
}

impl Drop for RealDisk {
    fn drop(&mut self) {
        self.store = None;
        // Nobody needs it; what is left lies where such things are cleared away.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// What a store tells a daemon that starts, in words.
///
/// # Panics
/// It can't be read.
pub(super) fn told(store: &mut dyn Store) -> Vec<String> {
    let mut facts = Vec::new();
    let read = store.recover(&mut |fact| facts.push(format!("{fact:?}")));
    read.unwrap_or_else(|error| panic!("after a crash: {error}"));
    facts
}

fn files(directory: &Path) -> Files {
    Files::of(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
}
