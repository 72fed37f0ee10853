//! For simulated faults and for tests: what a power cut leaves on the disk of a commit that was under way.
//!
//! A commit appends its pages to the write-ahead log as frames, the last of which is marked, and then syncs the log. Until
//! then any part of what was appended may have reached the disk, in any order; what was synced before is there. A log
//! that begins anew gets its head first, which is synced before the frames. Source: "WAL-mode file format" of SQLite's
//! documentation, and `walWriteOneFrame` and `sqlite3WalFrames` of its code.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::slice::from_ref;

use super::DATABASE_FILE;

/// How long the head of a log is.
pub(super) const HEAD: usize = 32;

/// What a disk writes as one.
pub(super) const SECTOR: usize = 512;

/// The database and its log.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Files {
    pub(super) database: Vec<u8>,
    /// Empty where there is none.
    pub(super) log: Vec<u8>,
}

/// What stands where nothing was written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rest {
    /// What was there before, or the end of the file.
    Old,
    /// The file is as long as it was to be, and empty.
    Zeros,
    /// Anything.
    Noise,
}

impl Files {
    /// As they are now in a data directory.
    ///
    /// # Errors
    /// They can't be read.
    pub(crate) fn of(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(DATABASE_FILE);
        let log = match fs::read(path.with_extension("db-wal")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        Ok(Self {
            database: fs::read(&path)?,
            log,
        })
    }

    /// Puts them into a data directory that nobody uses, in place of what is there.
    ///
    /// # Errors
    /// They can't be written.
    pub(crate) fn lay(&self, data_dir: &Path) -> io::Result<()> {
        let path = data_dir.join(DATABASE_FILE);
        fs::write(&path, &self.database)?;
        for (ending, bytes) in [("db-wal", self.log.as_slice()), ("db-shm", &[])] {
            let path = path.with_extension(ending);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            if !bytes.is_empty() {
                fs::write(&path, bytes)?;
            }
        }
        Ok(())
    }

    /// The same database with another log.
    pub(super) fn with_log(&self, log: Vec<u8>) -> Self {
        let database = self.database.clone();
        Self { database, log }
    }

    /// What a power cut may leave, somewhere between these and those `after` a commit.
    pub(crate) fn torn_before(&self, after: &Self, dice: &mut fastrand::Rng) -> Self {
        let rest = [Rest::Old, Rest::Zeros, Rest::Noise][dice.usize(0..3)];
        let end = after.log.len();
        let log = match dice.u32(0..8) {
            // Nothing, all of it, or a part of the head where that is new.
            0 => self.log.clone(),
            1 => after.log.clone(),
            2 if is_new_head(self, after) => {
                let cut = dice.usize(0..HEAD);
                torn(self, after, Rest::Old, from_ref(&(cut..end)))
            }
            2..5 => {
                let cut = dice.usize(HEAD.min(end)..=end);
                torn(self, after, rest, from_ref(&(cut..end)))
            }
            _ => {
                let likely = dice.u32(1..16);
                torn(self, after, rest, &some_sectors(HEAD, after, likely, dice))
            }
        };
        self.with_log(log)
    }
}

/// Some of the sectors of a log from `start` on, each so many sixteenths likely.
pub(super) fn some_sectors(
    start: usize,
    after: &Files,
    likely: u32,
    dice: &mut fastrand::Rng,
) -> Vec<Range<usize>> {
    let sectors = (start..after.log.len()).step_by(SECTOR);
    let sectors = sectors.map(|at| at..(at + SECTOR).min(after.log.len()));
    sectors.filter(|_| dice.u32(0..16) < likely).collect()
}

/// Whether the log begins anew with a commit.
pub(super) fn is_new_head(before: &Files, after: &Files) -> bool {
    before.log.get(..HEAD) != after.log.get(..HEAD)
}

/// The log after a commit of which these bytes, in order, were not written.
pub(super) fn torn(
    before: &Files,
    after: &Files,
    rest: Rest,
    unwritten: &[Range<usize>],
) -> Vec<u8> {
    let (old, mut log) = (&before.log, after.log.clone());
    for range in unwritten {
        let there = range.start.min(old.len())..range.end.min(old.len());
        match rest {
            Rest::Noise => fastrand::Rng::with_seed(7).fill(&mut log[range.clone()]),
            Rest::Zeros | Rest::Old => log[range.clone()].fill(0),
        }
        // What the commit doesn't write, or wrote again as it was, is there either way.
        match rest {
            Rest::Old => log[there.clone()].copy_from_slice(&old[there]),
            Rest::Zeros | Rest::Noise => there
                .filter(|at| old[*at] == after.log[*at])
                .for_each(|at| log[at] = old[at]),
        }
    }
    let mut end = log.len();
    for range in unwritten.iter().rev().filter(|_| matches!(rest, Rest::Old)) {
        if range.end < end {
            break;
        }
        end = range.start;
    }
    log.truncate(end.max(old.len()));
    log
}
