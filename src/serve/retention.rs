//! Retention: tasks that ended long enough ago are forgotten, and their files removed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};

use crate::backend::local::layout;
use crate::backend::values::Values;
use crate::clock;
use crate::config::Config;
use crate::driver::Handle;
use crate::engine::{AttemptId, Fact, Request, TaskId, Time};
use crate::store::reader::Reader as _;
use crate::store::sqlite::SqliteReader;

/// Between two looks at what has become old, at most and at least. In between, a quarter of the
/// retention: what is to go after a minute shouldn't stay for two.
const PAUSE_MAX: Duration = Duration::from_secs(60);
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Where tasks left files.
pub(super) struct Files {
    pub(super) tasks_dir: PathBuf,
    pub(super) values: Values,
}

impl Files {
    /// Removes those of `count` consecutive tasks. What can't be removed is told and left.
    fn remove(&self, first: TaskId, count: u64) {
        for removed in [
            layout::remove_task_files(&self.tasks_dir, first, count),
            self.values.remove(first, count),
        ] {
            if let Err(error) = removed {
                tracing::warn!(%error, "files of forgotten tasks are left behind in {}", self.tasks_dir.display());
            }
        }
    }
}

/// Removes values of which no fact tells: a crash came between a value and the word of its attempt's end. Those of
/// attempts that are `alive` stay: on an agent they outlive the daemon, and the word may be on its way.
pub(super) fn remove_orphans(values: &Values, reader: &SqliteReader, alive: &[AttemptId]) {
    let alive: BTreeSet<AttemptId> = alive.iter().copied().collect();
    let is_wanted = |attempt| {
        if alive.contains(&attempt) {
            return Ok(true);
        }
        let wanted = reader.is_value_wanted(attempt);
        wanted.map_err(|error| std::io::Error::other(error.to_string()))
    };
    match values.remove_orphans(is_wanted) {
        Ok(0) => {}
        Ok(n_files) => tracing::info!(n_files, "removed values that a crash had left"),
        Err(error) => tracing::warn!(%error, "values that a crash may have left stay behind"),
    }
}

/// Forgets what is too old, again and again, until the driver is gone.
pub(super) async fn run(
    handle: Handle,
    reader: Arc<SqliteReader>,
    files: Files,
    config: watch::Receiver<Arc<Config>>,
) {
    let files = Arc::new(files);
    loop {
        let retention = config.borrow().server.retention;
        let ended_before = Time(clock::now().0.saturating_sub(Time(0).after(retention).0));
        let mut committed = handle.subscribe();
        match handle.request(Request::Forget { ended_before }).await {
            Ok(_) => remove_files(&forgotten(&mut committed), &reader, &files).await,
            Err(error) => tracing::debug!(%error, "nothing is forgotten for now"),
        }
        drop(committed);
        tokio::select! {
            () = tokio::time::sleep((retention / 4).clamp(PAUSE_MIN, PAUSE_MAX)) => {}
            () = handle.stopped() => return,
        }
    }
}

/// What the facts so far say was forgotten.
fn forgotten(committed: &mut broadcast::Receiver<Arc<[Fact]>>) -> Vec<TaskId> {
    let mut all = Vec::new();
    loop {
        match committed.try_recv() {
            Ok(facts) => {
                for fact in facts.iter() {
                    if let Fact::Forgotten { firsts, .. } = fact {
                        all.extend(firsts);
                    }
                }
            }
            // The answer came just now, so what led to it is among the newest.
            Err(broadcast::error::TryRecvError::Lagged(_)) => {}
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => {
                return all;
            }
        }
    }
}

/// Removes the files of forgotten submissions.
async fn remove_files(firsts: &[TaskId], reader: &Arc<SqliteReader>, files: &Arc<Files>) {
    if firsts.is_empty() {
        return;
    }
    let (mut firsts, reader, files) = (firsts.to_vec(), Arc::clone(reader), Arc::clone(files));
    let removed = tokio::task::spawn_blocking(move || {
        firsts.sort_unstable();
        let mut done = TaskId(0);
        for first in &firsts {
            // The range before may have held this one too.
            if *first < done {
                continue;
            }
            let count = match reader.count_unknown(*first) {
                Ok(count) => count,
                Err(error) => {
                    return tracing::warn!(%error, "files of forgotten tasks are left behind");
                }
            };
            done = TaskId(first.0.saturating_add(count));
            files.remove(*first, count);
        }
        tracing::debug!(n_submissions = firsts.len(), "forgotten");
    });
    if removed.await.is_err() {
        tracing::error!("removing files of forgotten tasks failed");
    }
}
