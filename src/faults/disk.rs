//! A disk that fills up, tears writes, and outlives the daemon that writes to it.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of facts, only a few kinds mean something here"
)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::request::StoredTask;
use crate::engine::{Fact, TaskId};
use crate::store::memory::MemoryStore;
use crate::store::{Store, StoreError};

use super::Defect;
use super::files::{RealDisk, told};

/// Where the daemon stops: nothing that it does from then on reaches anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    /// While it writes its next batch: nothing of it is kept.
    BeforeCommit,
    /// Once its next batch is kept, and before anything comes of it.
    AfterCommit,
    /// After it has acted on so many decisions, and answered nobody.
    Acting(u32),
    /// When it has acted, and answered nobody.
    BeforeAnswers,
}

/// What becomes of a daemon, shared by all that act for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Fate(Arc<Mutex<FateState>>);

#[derive(Debug, Default)]
struct FateState {
    crash: Option<Crash>,
    is_dead: bool,
    /// It dies once it has answered.
    is_dying: bool,
}

impl Fate {
    fn state(&self) -> MutexGuard<'_, FateState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It dies there.
    pub(super) fn doom(&self, crash: Crash) {
        self.state().crash = Some(crash);
    }

    /// Whether it has died.
    pub(super) fn is_dead(&self) -> bool {
        self.state().is_dead
    }

    /// Whether it dies now that it has answered.
    pub(super) fn is_dying(&self) -> bool {
        self.state().is_dying
    }

    /// It was to die sooner, and does so once it has answered.
    fn outlives_answers(&self) -> bool {
        let mut state = self.state();
        state.is_dying = state.crash.take().is_some();
        state.is_dying
    }

    fn dies(&self, crash: Crash) -> bool {
        let mut state = self.state();
        let dies = state.crash == Some(crash);
        state.is_dead |= dies;
        dies
    }

    /// Whether a decision still reaches the backend.
    pub(super) fn acts(&self) -> bool {
        let mut state = self.state();
        match &mut state.crash {
            Some(Crash::Acting(0)) => state.is_dead = true,
            Some(Crash::Acting(left)) => *left -= 1,
            Some(Crash::BeforeCommit | Crash::AfterCommit | Crash::BeforeAnswers) | None => {}
        }
        !state.is_dead
    }

    /// Whether answers still reach whoever asked.
    pub(super) fn answers(&self) -> bool {
        let mut state = self.state();
        state.is_dead |= matches!(state.crash, Some(Crash::BeforeAnswers | Crash::Acting(_)));
        !state.is_dead
    }
}

/// What is on the disk.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) memory: MemoryStore,
    state: Arc<Mutex<DiskState>>,
    /// Where the batches are kept in real files, too.
    real: Option<Arc<Mutex<RealDisk>>>,
}

#[derive(Default)]
struct DiskState {
    is_full: bool,
    /// Facts that were committed and not yet looked at by [`Disk::take_committed`], by batch.
    committed: Vec<Vec<Fact>>,
    defect: Option<Defect>,
    /// The tasks that ended in the last batch.
    just_ended: Vec<TaskId>,
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, DiskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps all in real files from now on, when it is still empty.
    pub(super) fn make_real(&mut self, seed: u64) {
        self.real = Some(Arc::new(Mutex::new(RealDisk::new(seed))));
    }

    fn real(&self) -> Option<MutexGuard<'_, RealDisk>> {
        let real = self.real.as_ref()?;
        Some(real.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The daemon is gone without a word.
    pub(super) fn kill(&self) {
        if let Some(mut real) = self.real() {
            real.kill();
        }
    }

    pub(super) fn set_full(&self, is_full: bool) {
        self.state().is_full = is_full;
    }

    pub(super) fn plant(&self, defect: Option<Defect>) {
        self.state().defect = defect;
    }

    /// What was committed since this was asked last, batch by batch.
    pub(super) fn take_committed(&self) -> Vec<Vec<Fact>> {
        std::mem::take(&mut self.state().committed)
    }

    /// The store that a daemon opens.
    pub(super) fn open(&self, fate: Fate) -> SimStore {
        SimStore {
            disk: self.clone(),
            fate,
        }
    }
}

/// One daemon's hold of the disk.
pub(super) struct SimStore {
    disk: Disk,
    fate: Fate,
}

impl SimStore {
    /// The daemon dies while it writes this. In memory nothing of it is kept. Of real files any part of it may be written:
    /// the next daemon must find all of it, or nothing.
    fn tear(&mut self, facts: &[Fact]) -> Result<(), StoreError> {
        let half = self.disk.state().defect == Some(Defect::HalfABatchIsKept);
        let Some(mut real) = self.disk.real() else {
            return match half {
                true => self.remember(&facts[..facts.len() / 2]),
                false => Ok(()),
            };
        };
        let (first, last) = facts.split_at(if half { facts.len() / 2 } else { 0 });
        if half {
            real.store().commit(first)?;
        }
        real.tear(last)?;
        let found = real.told();
        drop(real);
        if found != told(&mut self.disk.memory) {
            self.remember(facts)?;
            let whole = found == told(&mut self.disk.memory);
            assert!(
                whole,
                "a part of a batch is on the disk: {found:?} of {facts:?}"
            );
        }
        Ok(())
    }

    fn keep(&mut self, facts: &[Fact]) -> Result<(), StoreError> {
        if let Some(mut real) = self.disk.real() {
            real.store().commit(facts)?;
        }
        self.remember(facts)
    }

    /// What was kept is what is on the disk.
    fn remember(&mut self, facts: &[Fact]) -> Result<(), StoreError> {
        self.disk.memory.commit(facts)?;
        let ended = facts.iter().filter_map(|fact| match fact {
            Fact::Ended { task, .. } => Some(*task),
            _ => None,
        });
        let mut state = self.disk.state();
        state.just_ended = ended.collect();
        state.committed.push(facts.to_vec());
        Ok(())
    }
}

fn dead() -> StoreError {
    StoreError::Other {
        path: "disk".into(),
        message: "the daemon died".into(),
    }
}

impl Store for SimStore {
    fn commit(&mut self, facts: &[Fact]) -> Result<(), StoreError> {
        if self.fate.is_dead() {
            return Err(dead());
        }
        let defect = self.disk.state().defect;
        if self.fate.dies(Crash::BeforeCommit) {
            self.tear(facts)?;
            return Err(dead());
        }
        if self.disk.state().is_full {
            let path = "disk".into();
            return Err(StoreError::Full { path });
        }
        if defect == Some(Defect::CommitsAreForgotten) && self.fate.outlives_answers() {
            return Ok(());
        }
        self.keep(facts)?;
        if self.fate.dies(Crash::AfterCommit) {
            return Err(dead());
        }
        Ok(())
    }

    fn recover(&mut self, fold: &mut dyn FnMut(Fact)) -> Result<(), StoreError> {
        let Some(mut real) = self.disk.real() else {
            return self.disk.memory.recover(fold);
        };
        real.store().recover(fold)
    }

    fn find_ended(&mut self, task: TaskId) -> Result<Option<StoredTask>, StoreError> {
        let state = self.disk.state();
        let is_late = state.defect == Some(Defect::RetriesAreReadTooEarly);
        if is_late && state.just_ended.contains(&task) {
            return Ok(None);
        }
        drop(state);
        if let Some(mut real) = self.disk.real() {
            return real.store().find_ended(task);
        }
        self.disk.memory.find_ended(task)
    }
}
