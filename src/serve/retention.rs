//! Retention: tasks that ended long enough ago are forgotten, and their files removed, also those that a crash left in between.

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

/// Removes files of tasks that are not known any more: a crash came between the commit that forgot them and this.
fn remove_left_over(reader: &SqliteReader, files: &Files) {
    let mut n_tasks = 0;
    let looked = layout::each_task(&files.tasks_dir, |task| {
        let found = reader.find(task);
        if found.map_err(std::io::Error::other)?.is_none() {
            files.remove(task, 1);
            n_tasks += 1;
        }
        Ok(())
    });
    match looked {
        Ok(()) if n_tasks == 0 => {}
        Ok(()) => tracing::info!(
            n_tasks,
            "removed files of forgotten tasks that a crash had left"
        ),
        Err(error) => tracing::warn!(%error, "files that a crash may have left stay behind"),
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
    let (seen, left_over) = (Arc::clone(&reader), Arc::clone(&files));
    // Nobody waits for it: a task has files only once it is known.
    let removed = tokio::task::spawn_blocking(move || remove_left_over(&seen, &left_over));
    if removed.await.is_err() {
        tracing::error!("looking for files of forgotten tasks failed");
    }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::backend::LogStream;
    use crate::store::Store as _;
    use crate::store::sim::{spec, submission};
    use crate::store::sqlite;

    #[test]
    fn files_of_tasks_that_a_crash_left_forgotten_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, reader) = sqlite::open(folder.path()).unwrap();
        let known = Fact::Submitted {
            submission: submission(101, spec("maps", 3)),
            waiting: false,
        };
        store.commit(&[known]).unwrap();
        let files = Files {
            tasks_dir: folder.path().join("tasks"),
            values: Values::new(folder.path().join("values")),
        };
        let file = |task: u64| {
            let task = TaskId(task);
            let attempt = AttemptId { task, number: 1 };
            layout::output_file(&files.tasks_dir, attempt, LogStream::Stdout)
        };
        for task in [7, 100, 101, 103, 104] {
            fs::create_dir_all(file(task).parent().unwrap()).unwrap();
            fs::write(file(task), "x").unwrap();
        }
        fs::create_dir(files.tasks_dir.join("spare")).unwrap();
        fs::write(files.tasks_dir.join("spare/7.1.stdout"), "x").unwrap();
        remove_left_over(&reader, &files);
        let left = [7, 100, 101, 103, 104].map(|task| file(task).exists());
        assert_eq!(left, [false, false, true, true, false]);
        assert!(files.tasks_dir.join("spare/7.1.stdout").exists());
        assert!(!layout::shard_dir(&files.tasks_dir, TaskId(7)).exists());
    }
}
