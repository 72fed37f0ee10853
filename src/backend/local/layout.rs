//! Where the files of attempts are. Nobody else knows.
//!
//! ```text
//! tasks/<id / 10,000>/<id / 100 mod 100>/<id>.<attempt>/         the working directory
//!                                        <id>.<attempt>.stdout   what it wrote
//!                                        <id>.<attempt>.stderr
//!                                        <id>.<attempt>.call     a long pickle on its way to the worker
//! tasks/<…>/<id>.<attempt>/.apportion-value     a long value, where the task has another user than the daemon
//! tasks/spare/                           empty files and directories to use again, and the outputs of what
//!                                        has only just been started
//! tasks/cgroups                          where the cgroups are
//! ```
//!
//! One directory holds the attempts of at most 100 tasks, so that neither finding nor forgetting a task
//! slows down with their number. What is empty when its attempt ends, file or directory, is taken away:
//! an attempt that wrote nothing has no file.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::backend::LogStream;
use crate::engine::{AttemptId, TaskId};

/// Where what is empty waits to be used again, under the directory of all tasks.
pub(super) const SPARE_DIR: &str = "spare";

/// The file that remembers where the cgroups are, there too.
pub(super) const CGROUPS_RECORD: &str = "cgroups";

/// The permissions of directories through which others can pass, and no more.
pub(super) const PASSABLE: u32 = 0o711;

/// How many tasks share a directory.
const SHARD_TASKS: u64 = 100;

/// How many such directories share one above.
const SHARD_DIRS: u64 = 100;

/// The directory in which a task's attempts are.
#[must_use]
pub fn shard_dir(tasks_dir: &Path, task: TaskId) -> PathBuf {
    let shard = task.0 / SHARD_TASKS;
    tasks_dir
        .join((shard / SHARD_DIRS).to_string())
        .join(format!("{:02}", shard % SHARD_DIRS))
}

/// The directory in which an attempt runs.
#[must_use]
pub fn work_dir(tasks_dir: &Path, attempt: AttemptId) -> PathBuf {
    shard_dir(tasks_dir, attempt.task).join(attempt.to_string())
}

/// The file that takes one of an attempt's outputs.
#[must_use]
pub fn output_file(tasks_dir: &Path, attempt: AttemptId, stream: LogStream) -> PathBuf {
    let ending = match stream {
        LogStream::Stdout => "stdout",
        LogStream::Stderr => "stderr",
    };
    shard_dir(tasks_dir, attempt.task).join(format!("{attempt}.{ending}"))
}

/// Removes all files of one attempt, but not their directory: another attempt may be about to begin there. What
/// isn't there is no error.
///
/// # Errors
/// The first thing that could not be removed; the rest has been tried all the same.
pub fn remove_attempt_files(tasks_dir: &Path, attempt: AttemptId) -> io::Result<()> {
    let outputs = [LogStream::Stdout, LogStream::Stderr]
        .map(|stream| or_not_there(fs::remove_file(output_file(tasks_dir, attempt, stream))));
    let dir = or_not_there(fs::remove_dir_all(work_dir(tasks_dir, attempt)));
    outputs.into_iter().fold(dir, Result::and)
}

/// The file that brings a long pickle to the worker that runs it.
#[must_use]
pub(super) fn call_file(tasks_dir: &Path, attempt: AttemptId) -> PathBuf {
    shard_dir(tasks_dir, attempt.task).join(format!("{attempt}.call"))
}

/// The file in which a Python task that runs as somebody else leaves a long value; the daemon takes it from there.
#[must_use]
pub(super) fn left_value(tasks_dir: &Path, attempt: AttemptId) -> PathBuf {
    work_dir(tasks_dir, attempt).join(".apportion-value")
}

/// Makes a directory and those above it that are missing, so that others can pass through, and no more.
///
/// # Errors
/// What the file system says.
pub(super) fn make_passable_dirs(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(PASSABLE)
        .create(path)
}

/// Removes all files of `count` consecutive tasks, from `first` on, and the directories that this
/// empties. What isn't there is no error. Costs one listing for each 100 tasks.
///
/// # Errors
/// The first thing that could not be removed; the rest has been tried all the same.
pub fn remove_task_files(tasks_dir: &Path, first: TaskId, count: u64) -> io::Result<()> {
    let end = first.0.saturating_add(count);
    let mut result = Ok(());
    let mut upper_dirs = BTreeSet::new();
    let mut id = first.0;
    while id < end {
        let dir = shard_dir(tasks_dir, TaskId(id));
        result = result.and(remove_from_shard(&dir, first.0..end));
        upper_dirs.extend(dir.parent().map(Path::to_path_buf));
        id = (id / SHARD_TASKS + 1).saturating_mul(SHARD_TASKS);
    }
    for dir in upper_dirs {
        result = result.and(remove_if_empty(&dir));
    }
    result
}

/// Shows `each` the tasks that have files, a hundred at a time and in order within these. What comes or goes meanwhile may
/// be shown or not. Costs one look at each file.
///
/// # Errors
/// A directory could not be read, or `each` said so.
pub fn each_task(
    tasks_dir: &Path,
    mut each: impl FnMut(TaskId) -> io::Result<()>,
) -> io::Result<()> {
    for upper in numbered_dirs(tasks_dir)? {
        for shard in numbered_dirs(&upper)? {
            let entries = fs::read_dir(shard).into_iter().flatten().flatten();
            let ids: BTreeSet<u64> = entries.filter_map(|entry| task_of(&entry)).collect();
            ids.into_iter().try_for_each(|id| each(TaskId(id)))?;
        }
    }
    Ok(())
}

/// The directories below one that have numbers for names; none where there is no directory.
fn numbered_dirs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let is_number = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        name.to_str()
            .is_some_and(|name| name.parse::<u64>().is_ok())
    };
    let numbered = entries.filter(|entry| entry.as_ref().is_ok_and(is_number));
    numbered.map(|entry| Ok(entry?.path())).collect()
}

/// The task that a file or directory is of, by its name.
fn task_of(entry: &fs::DirEntry) -> Option<u64> {
    entry.file_name().to_str()?.split('.').next()?.parse().ok()
}

/// Removes from one directory what belongs to these tasks.
fn remove_from_shard(dir: &Path, ids: std::ops::Range<u64>) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let mut result = Ok(());
    for entry in entries {
        let entry = entry?;
        if task_of(&entry).is_some_and(|id| ids.contains(&id)) {
            let removed = if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())
            } else {
                fs::remove_file(entry.path())
            };
            result = result.and(or_not_there(removed));
        }
    }
    result.and(remove_if_empty(dir))
}

/// Removes a directory unless something is in it.
fn remove_if_empty(dir: &Path) -> io::Result<()> {
    match or_not_there(fs::remove_dir(dir)) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        result => result,
    }
}

/// It is no error that something isn't there.
fn or_not_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(task: u64, number: u32) -> AttemptId {
        AttemptId {
            task: TaskId(task),
            number,
        }
    }

    fn make_attempt(tasks_dir: &Path, id: AttemptId) {
        fs::create_dir_all(work_dir(tasks_dir, id)).unwrap();
        fs::write(work_dir(tasks_dir, id).join("left-over"), "x").unwrap();
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            fs::write(output_file(tasks_dir, id, stream), "x").unwrap();
        }
    }

    #[test]
    fn a_hundred_tasks_share_a_directory() {
        let dir = Path::new("tasks");
        assert_eq!(work_dir(dir, attempt(7, 1)), Path::new("tasks/0/00/7.1"));
        assert_eq!(
            output_file(dir, attempt(1_234_567, 3), LogStream::Stdout),
            Path::new("tasks/123/45/1234567.3.stdout")
        );
    }

    #[test]
    fn forgetting_takes_these_tasks_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        for task in [8, 9, 10, 11, 99, 100, 199, 200, 10_000] {
            make_attempt(dir.path(), attempt(task, 1));
            make_attempt(dir.path(), attempt(task, 12));
        }
        remove_task_files(dir.path(), TaskId(10), 190).unwrap();
        for task in [8, 9, 200, 10_000] {
            assert!(
                work_dir(dir.path(), attempt(task, 12)).exists(),
                "{task} stays"
            );
        }
        for task in [10, 11, 99, 100, 199] {
            assert!(
                !work_dir(dir.path(), attempt(task, 1)).exists(),
                "{task} is gone"
            );
            assert!(!output_file(dir.path(), attempt(task, 12), LogStream::Stderr).exists());
        }
        assert!(
            !dir.path().join("0/01").exists(),
            "an emptied directory goes too"
        );
        remove_task_files(dir.path(), TaskId(1), 20_000).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_attempt_can_be_forgotten_alone() {
        let dir = tempfile::tempdir().unwrap();
        for number in [1, 2] {
            make_attempt(dir.path(), attempt(7, number));
        }
        remove_attempt_files(dir.path(), attempt(7, 1)).unwrap();
        assert!(!work_dir(dir.path(), attempt(7, 1)).exists());
        assert!(work_dir(dir.path(), attempt(7, 2)).exists());
        assert!(output_file(dir.path(), attempt(7, 2), LogStream::Stdout).exists());
        remove_attempt_files(dir.path(), attempt(7, 1)).unwrap();
        remove_attempt_files(dir.path(), attempt(7, 2)).unwrap();
        assert_eq!(
            fs::read_dir(shard_dir(dir.path(), TaskId(7)))
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn what_is_not_there_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        remove_task_files(dir.path(), TaskId(5), 3).unwrap();
        remove_task_files(&dir.path().join("nowhere"), TaskId(5), 3).unwrap();
        remove_task_files(dir.path(), TaskId(u64::MAX - 1), 10).unwrap();
    }
}
