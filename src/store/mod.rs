//! Where facts are kept: the trait that the driver writes to, and its implementations.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::engine::request::StoredTask;
use crate::engine::{AttemptId, Engine, Fact, PastUse, TaskId, Time};

pub(crate) mod memory;
pub mod reader;
pub mod sqlite;

/// Durable memory. One owner writes; readers go their own way (see [`reader`]).
pub trait Store: Send {
    /// Makes a batch of facts durable, all or none: on `Ok` they survive a power cut.
    ///
    /// # Errors
    /// Nothing of the batch is kept then; it may be committed again later.
    fn commit(&mut self, facts: &[Fact]) -> Result<(), StoreError>;

    /// Gives the facts that bring a new engine to where the last commit left it. Order: ended tasks and
    /// keys first, then live submissions in order of ids, then what became of their tasks, then the attempts that
    /// outlive theirs.
    ///
    /// # Errors
    /// The database is damaged or can't be read.
    fn recover(&mut self, fold: &mut dyn FnMut(Fact)) -> Result<(), StoreError>;

    /// Gives what attempts held that ended after a time and are still kept, in no order, for policies that count
    /// past use. Costs all attempts that are kept. A store that keeps none has nothing to tell.
    ///
    /// # Errors
    /// The database is damaged or can't be read.
    fn past_use(&mut self, since: Time, tell: &mut dyn FnMut(PastUse)) -> Result<(), StoreError> {
        let (_, _) = (since, tell);
        Ok(())
    }

    /// What is kept of a task that has ended.
    ///
    /// # Errors
    /// The database can't be read.
    fn find_ended(&mut self, task: TaskId) -> Result<Option<StoredTask>, StoreError>;
}

/// Brings a new engine to where the last commit left it; `path` names the store to people. Returns the attempts that
/// lived, in order.
///
/// # Errors
/// The database is damaged or can't be read, or what it holds contradicts itself.
pub fn recover(
    store: &mut dyn Store,
    engine: &mut Engine,
    now: Time,
    path: &str,
) -> Result<Vec<AttemptId>, StoreError> {
    // The engine asserts what it folds. Facts that it never told can't be believed, so they end the daemon, too;
    // but they are the file's fault. Nothing of the engine is used after that.
    let folded = catch_unwind(AssertUnwindSafe(|| {
        store.recover(&mut |fact| engine.apply(&fact))?;
        let attempts = engine.recovered(now);
        if let Some(since) = engine.past_counts_since(now) {
            store.past_use(since, &mut |past| engine.remember(&past))?;
        }
        Ok(attempts)
    }));
    folded.unwrap_or_else(|_| {
        Err(StoreError::Corrupt {
            path: path.into(),
            message: "what it holds contradicts itself".into(),
        })
    })
}

/// What goes wrong with a store. The text says what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No space is left.
    #[error("no space left for {path}; free some and the daemon goes on by itself")]
    Full {
        /// The file.
        path: Arc<str>,
    },
    /// The file is damaged.
    #[error(
        "{path} is damaged: {message}; nothing was changed, restore it from a backup or move it away to start anew"
    )]
    Corrupt {
        /// The file.
        path: Arc<str>,
        /// What the database said.
        message: Arc<str>,
    },
    /// Written by a later version.
    #[error(
        "{path} was written by a newer version (schema {found}, this one knows {known}); nothing was changed: use that version, or restore a backup from before the upgrade"
    )]
    TooNew {
        /// The file.
        path: Arc<str>,
        /// Its schema.
        found: i64,
        /// The newest schema known.
        known: i64,
    },
    /// Another daemon uses the directory.
    #[error("{path} is in use by another daemon; stop that one, or set another server.data_dir")]
    InUse {
        /// The directory.
        path: Arc<str>,
    },
    /// Anything else.
    #[error("{path}: {message}")]
    Other {
        /// The file.
        path: Arc<str>,
        /// What was said.
        message: Arc<str>,
    },
}

#[cfg(test)]
pub(crate) mod sim;
#[cfg(test)]
mod tests;
