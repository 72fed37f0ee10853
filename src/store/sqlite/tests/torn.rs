//! A power cut while a batch is written, at every place that matters: the next daemon finds all of the batch or nothing
//! of it, and can go on.
//!
//! The files are kept as they were before and after each commit, and whatever may lie between the two is made of them.
//! Pages are moved from the log into the file only while the log has them, too; that is cut as well.

use std::slice::from_ref;

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use super::super::torn::{Files, HEAD, Rest, SECTOR, is_new_head, some_sectors, torn};
use super::*;
use crate::store::memory::MemoryStore;
use crate::store::sim::{Choice, N_KINDS, Sim};

/// What a frame takes in the log: its head, and a page.
const FRAME_HEAD: usize = 24;
const FRAME: usize = FRAME_HEAD + 4096;

/// All that a daemon finds: each row of each table.
type Rows = Vec<String>;

impl Files {
    /// The store that a daemon opens on them, in a directory of its own.
    fn open(&self) -> Result<(tempfile::TempDir, SqliteStore), StoreError> {
        let directory = tempfile::tempdir().unwrap();
        self.lay(directory.path()).unwrap();
        open(directory.path()).map(|(store, _)| (directory, store))
    }

    fn rows(&self) -> Rows {
        let (_directory, store) = self.open().unwrap();
        rows(&store)
    }
}

fn rows(store: &SqliteStore) -> Rows {
    let connection = &store.connection;
    let mut tables = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .unwrap();
    let tables = tables.query_map([], |row| row.get(0)).unwrap();
    let mut all = Vec::new();
    for table in tables.collect::<Result<Vec<String>, _>>().unwrap() {
        let mut rows = connection
            .prepare(&format!("SELECT * FROM {table}"))
            .unwrap();
        let n_columns = rows.column_count();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values = (0..n_columns).map(|column| row.get_ref_unwrap(column));
            all.push(format!("{table}: {:?}", values.collect::<Vec<_>>()));
        }
    }
    all
}

/// One commit: what was on the disk before it and is after it.
struct Commit {
    before: Files,
    after: Files,
    facts: Vec<Fact>,
}

/// A store that is told batches, and the plainest one, which is told the same.
struct Story {
    directory: tempfile::TempDir,
    store: SqliteStore,
    memory: MemoryStore,
    sim: Sim,
    choices: TestRunner,
}

impl Story {
    fn begin() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = open(directory.path()).unwrap();
        let mut story = Self {
            directory,
            store,
            memory: MemoryStore::default(),
            sim: Sim::default(),
            choices: TestRunner::deterministic(),
        };
        for _ in 0..4 {
            story.commit();
        }
        story
    }

    /// A batch that changes something.
    fn batch(&mut self) -> Vec<Fact> {
        let choices = proptest::collection::vec((0..N_KINDS, proptest::num::u16::ANY), 4..12);
        let submits = |fact: &Fact| matches!(fact, Fact::Submitted { .. });
        let mut facts: Vec<Fact> = Vec::new();
        while facts.len() < 4 || !facts.iter().any(submits) {
            let choices: Vec<Choice> = choices.new_tree(&mut self.choices).unwrap().current();
            let new = choices.into_iter().map(|choice| self.sim.act(choice));
            facts.extend(new.flatten());
        }
        facts
    }

    fn commit(&mut self) -> Commit {
        let facts = self.batch();
        let before = Files::of(self.directory.path()).unwrap();
        self.store.commit(&facts).unwrap();
        self.memory.commit(&facts).unwrap();
        let after = Files::of(self.directory.path()).unwrap();
        // The file is written at checkpoints alone.
        assert!(before.database == after.database && before.log != after.log);
        Commit {
            before,
            after,
            facts,
        }
    }

    /// Moves the log's pages into the file, so that the next commit begins the log anew.
    fn checkpoint(&self) {
        let moved = self
            .store
            .connection
            .query_row("PRAGMA wal_checkpoint", [], |row| {
                Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
            });
        let (in_log, moved) = moved.unwrap();
        assert!(in_log > 0 && in_log == moved);
    }
}

/// Where a log is cut: around the head of each frame, and anywhere.
fn cuts(commit: &Commit, dice: &mut fastrand::Rng) -> Vec<usize> {
    let (old, new) = (&commit.before.log, &commit.after.log);
    let first = (0..new.len()).find(|at| old.get(*at) != new.get(*at));
    let (first, end) = (first.unwrap(), new.len());
    let frames = (HEAD..=end).step_by(FRAME);
    let heads = frames.flat_map(|frame| {
        [0, 4, 8, 16, 23, FRAME_HEAD]
            .map(|more| frame + more)
            .into_iter()
            .chain([frame.saturating_sub(1)])
    });
    let anywhere = (0..30).map(|_| dice.usize(first..=end)).collect::<Vec<_>>();
    let all = heads.chain(anywhere);
    all.filter(|at| (first..=end).contains(at)).collect()
}

/// What a daemon makes of files that a power cut left while a batch was written. Says what is
/// wrong with it. `again`: whether it is also told the batch again.
fn judged(
    left: &Files,
    commit: &Commit,
    before: &Rows,
    after: &Rows,
    again: bool,
) -> Result<(), String> {
    let told = |error: StoreError| error.to_string();
    let (_directory, mut store) = left.open().map_err(told)?;
    let found = rows(&store);
    if found != *before && found != *after {
        return Err(format!("a third state: {found:#?}"));
    }
    if left.log == commit.after.log && found != *after {
        return Err("what was written wholly is lost".to_owned());
    }
    if found == *before && again {
        // Whoever was not answered asks again.
        store.commit(&commit.facts).map_err(told)?;
        if rows(&store) != *after {
            return Err("the same batch again leads elsewhere".to_owned());
        }
    }
    Ok(())
}

/// Judges all that a power cut may leave of a commit; how many ways that is.
fn judge_all(commit: &Commit, seed: u64) -> Result<usize, String> {
    let (before, after) = (commit.before.rows(), commit.after.rows());
    assert!(before != after, "the batch changes something");
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut n_ways = 0;
    let mut judge = |what: String, log: Vec<u8>| {
        n_ways += 1;
        let left = commit.before.with_log(log);
        judged(&left, commit, &before, &after, n_ways % 8 == 0)
            .map_err(|wrong| format!("{what}: {wrong}"))
    };
    let (mut starts, end) = (0, commit.after.log.len());
    if is_new_head(&commit.before, &commit.after) {
        // The log begins anew: its head is on the disk before the first frame is written.
        for cut in 0..HEAD {
            judge(
                format!("{cut} bytes of the head"),
                torn(
                    &commit.before,
                    &commit.after,
                    Rest::Old,
                    from_ref(&(cut..end)),
                ),
            )?;
        }
        starts = HEAD;
    }
    for cut in cuts(commit, &mut dice) {
        for rest in [Rest::Old, Rest::Zeros, Rest::Noise] {
            let log = torn(
                &commit.before,
                &commit.after,
                rest,
                from_ref(&(cut.max(starts)..end)),
            );
            judge(format!("{cut} bytes, then {rest:?}"), log)?;
        }
    }
    for number in 0..30 {
        let likely = dice.u32(1..16);
        let unwritten = some_sectors(starts, &commit.after, likely, &mut dice);
        for rest in [Rest::Old, Rest::Zeros, Rest::Noise] {
            let log = torn(&commit.before, &commit.after, rest, &unwritten);
            judge(format!("sectors {number}, elsewhere {rest:?}"), log)?;
        }
    }
    let first = cuts(commit, &mut dice).into_iter().min();
    let first = first.unwrap_or(end).max(starts);
    for _ in 0..30 {
        let (at, bit) = (dice.usize(first..end), dice.u8(0..8));
        let mut log = commit.after.log.clone();
        log[at] ^= 1 << bit;
        judge(format!("bit {bit} of byte {at} is another"), log)?;
    }
    Ok(n_ways)
}

#[test]
fn whatever_of_a_batch_was_written_it_is_there_wholly_or_not_at_all() {
    let mut story = Story::begin();
    for seed in 0..2 {
        let commit = story.commit();
        let mut kept = Vec::new();
        story.memory.recover(&mut |fact| kept.push(fact)).unwrap();
        let (_directory, mut store) = commit.after.open().unwrap();
        assert_eq!(format!("{:?}", recovered(&mut store)), format!("{kept:?}"));
        let n_ways = judge_all(&commit, seed).unwrap();
        assert!(n_ways > 200, "{n_ways}");
    }
}

#[test]
fn whatever_of_the_first_batch_after_a_checkpoint_was_written_too() {
    let mut story = Story::begin();
    for seed in 0..2 {
        story.checkpoint();
        let commit = story.commit();
        assert!(is_new_head(&commit.before, &commit.after));
        judge_all(&commit, seed).unwrap();
    }
}

#[test]
fn a_checkpoint_that_is_cut_loses_nothing() {
    let mut story = Story::begin();
    let mut dice = fastrand::Rng::with_seed(1);
    for _ in 0..3 {
        let last = story.commit();
        story.checkpoint();
        let (old, new) = (&last.after, Files::of(story.directory.path()).unwrap());
        assert!(old.log == new.log && old.database != new.database);
        let expected = old.rows();
        for _ in 0..100 {
            let often = dice.u64(0..=16);
            let mut database = new.database.clone();
            for (place, sector) in database.chunks_mut(SECTOR).enumerate() {
                if dice.u64(0..16) < often {
                    let old = old.database.get(place * SECTOR..(place + 1) * SECTOR);
                    sector.copy_from_slice(old.unwrap_or(&[0; SECTOR]));
                }
            }
            let log = new.log.clone();
            assert_eq!(Files { database, log }.rows(), expected);
        }
    }
}

/// What the disk itself damages later is no power cut: batches that were acknowledged may be lost then, as SQLite takes
/// the damage for the end of the log. But never a part of one.
#[test]
fn a_damaged_log_ends_between_two_batches() {
    let mut story = Story::begin();
    story.checkpoint();
    let commits: Vec<Commit> = (0..6).map(|_| story.commit()).collect();
    let mut known: Vec<Rows> = vec![commits[0].before.rows()];
    known.extend(commits.iter().map(|commit| commit.after.rows()));
    let last = &commits[5].after;
    let mut dice = fastrand::Rng::with_seed(2);
    let mut met = std::collections::BTreeSet::new();
    for _ in 0..300 {
        let mut log = last.log.clone();
        let at = dice.usize(0..log.len());
        log[at] ^= 1 << dice.u8(0..8);
        let found = last.with_log(log).rows();
        let place = known.iter().position(|rows| *rows == found);
        met.insert(
            place.unwrap_or_else(|| panic!("byte {at}: a state that never was: {found:#?}")),
        );
    }
    assert!(met.len() > 3, "{met:?}");
}

/// The same judge finds a store that makes two transactions of a batch.
#[test]
fn half_a_batch_is_found() {
    let mut story = Story::begin();
    let facts = story.batch();
    let before = Files::of(story.directory.path()).unwrap();
    let (first, second) = facts.split_at(facts.len() / 2);
    story.store.commit(first).unwrap();
    story.store.commit(second).unwrap();
    let after = Files::of(story.directory.path()).unwrap();
    let commit = Commit {
        before,
        after,
        facts,
    };
    let wrong = judge_all(&commit, 0).unwrap_err();
    assert!(wrong.contains("a third state"), "{wrong}");
}

/// And a log whose head is not on the disk before its frames: old frames would stand before new ones.
#[test]
fn a_log_that_begins_anew_without_its_head_is_found() {
    let mut story = Story::begin();
    story.checkpoint();
    let commit = story.commit();
    let (before, after) = (commit.before.rows(), commit.after.rows());
    let n_frames = commit.after.log.len() / FRAME;
    let mut wrong = (1..n_frames).filter(|first| {
        let log = torn(
            &commit.before,
            &commit.after,
            Rest::Old,
            from_ref(&(0..HEAD + first * FRAME)),
        );
        let left = commit.before.with_log(log);
        judged(&left, &commit, &before, &after, true).is_err()
    });
    assert!(wrong.next().is_some());
}

/// A commit is on the disk when it is answered, and the log's head before its frames, only with this.
#[test]
fn every_commit_is_synced() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path()).unwrap();
    let pragma = |name: &str| -> String {
        let read = |row: &rusqlite::Row<'_>| row.get::<_, rusqlite::types::Value>(0);
        let value = store
            .connection
            .query_row(&format!("PRAGMA {name}"), [], read);
        format!("{:?}", value.unwrap())
    };
    assert_eq!(pragma("journal_mode"), "Text(\"wal\")");
    assert_eq!(pragma("synchronous"), "Integer(2)");
}
