//! Reads what attempts wrote, from their files, also while they run.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::layout;
use crate::backend::{LogChunk, LogError, LogStream, Logs};
use crate::engine::AttemptId;
use crate::engine::outcome::{VALUE_BYTES_MAX, Value};

/// The outputs under one directory of tasks.
#[derive(Clone, Debug)]
pub struct LocalLogs {
    tasks_dir: PathBuf,
}

impl LocalLogs {
    /// Of the tasks whose files are here. Needs no backend that runs.
    #[must_use]
    pub fn new(tasks_dir: impl Into<PathBuf>) -> Self {
        Self {
            tasks_dir: tasks_dir.into(),
        }
    }
}

impl Logs for LocalLogs {
    fn read(
        &self,
        attempt: AttemptId,
        _agent: Arc<str>,
        stream: LogStream,
        offset: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<LogChunk>, LogError>> {
        let path = layout::output_file(&self.tasks_dir, attempt, stream);
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || read_chunk(&path, offset, limit));
            Ok(read.await.map_err(io::Error::other)??)
        })
    }
}

/// A piece of a file. Where there is none, it is empty if its directory is there (an attempt that wrote
/// nothing has no file), and otherwise `None`.
fn read_chunk(path: &Path, offset: u64, limit: usize) -> io::Result<Option<LogChunk>> {
    let nothing = || {
        path.parent()
            .is_some_and(Path::is_dir)
            .then(LogChunk::default)
    };
    let file = match open_output(path, File::options().read(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(nothing()),
        file => file?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(nothing());
    }
    let total_bytes = metadata.len();
    let n_left = usize::try_from(total_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; limit.min(n_left)];
    let mut n_read = 0;
    // The task may cut its own output short while it is read.
    while n_read < bytes.len() {
        match file.read_at(&mut bytes[n_read..], offset + n_read as u64) {
            Ok(0) => break,
            Ok(n_bytes) => n_read += n_bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(n_read);
    // If the attempt has ended meanwhile and its file was empty, that may now be another attempt's.
    if !fs::symlink_metadata(path).is_ok_and(|now| now.ino() == metadata.ino()) {
        return Ok(nothing());
    }
    Ok(Some(LogChunk { bytes, total_bytes }))
}

/// Opens an output. A task may have put a link to somebody else's file in its place, or a pipe on which opening would
/// wait forever.
pub(super) fn open_output(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let opened = options.custom_flags(flags.bits()).open(path);
    opened.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ELOOP | Errno::ENXIO) => io::ErrorKind::NotFound.into(),
        _ => error,
    })
}

/// The value of a command that has ended: the first [`VALUE_BYTES_MAX`] of its standard output. Empty
/// where there is no file.
///
/// # Errors
/// What the file system says.
pub(super) fn read_value(tasks_dir: &Path, attempt: AttemptId) -> io::Result<Value> {
    let path = layout::output_file(tasks_dir, attempt, LogStream::Stdout);
    let Some(chunk) = read_chunk(&path, 0, VALUE_BYTES_MAX)? else {
        return Ok(Value::default());
    };
    let truncated = chunk.total_bytes > chunk.bytes.len() as u64;
    Ok(Value {
        bytes: chunk.bytes.into(),
        truncated,
        file: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::AGENT;
    use super::*;
    use crate::engine::TaskId;

    const ATTEMPT: AttemptId = AttemptId {
        task: TaskId(3),
        number: 1,
    };

    fn with_stdout(bytes: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(layout::shard_dir(dir.path(), ATTEMPT.task)).unwrap();
        std::fs::write(
            layout::output_file(dir.path(), ATTEMPT, LogStream::Stdout),
            bytes,
        )
        .unwrap();
        dir
    }

    #[tokio::test]
    async fn reads_from_any_offset_and_no_more_than_asked_for() {
        let dir = with_stdout(b"0123456789");
        let logs = LocalLogs::new(dir.path());
        let read = async |offset, limit| {
            let chunk = logs
                .read(ATTEMPT, AGENT.into(), LogStream::Stdout, offset, limit)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(chunk.total_bytes, 10);
            String::from_utf8(chunk.bytes).unwrap()
        };
        assert_eq!(read(0, 100).await, "0123456789");
        assert_eq!(read(3, 4).await, "3456");
        assert_eq!(read(10, 4).await, "");
        assert_eq!(read(u64::MAX, 4).await, "");
        assert_eq!(read(0, 0).await, "");
        // It wrote nothing there. Of tasks beyond the directory nothing is known.
        let nothing = logs
            .read(ATTEMPT, AGENT.into(), LogStream::Stderr, 0, 9)
            .await
            .unwrap();
        assert_eq!(nothing, Some(LogChunk::default()));
        let unknown = AttemptId {
            task: TaskId(1000),
            number: 1,
        };
        assert_eq!(
            logs.read(unknown, AGENT.into(), LogStream::Stdout, 0, 9)
                .await
                .unwrap(),
            None
        );
    }

    #[test]
    fn the_value_is_cut_at_its_bound() {
        const KIB_64: usize = 65_536;
        for (length, truncated) in [(0, false), (KIB_64, false), (KIB_64 + 1, true)] {
            let dir = with_stdout(&vec![b'x'; length]);
            let value = read_value(dir.path(), ATTEMPT).unwrap();
            assert_eq!(value.bytes.len(), length.min(KIB_64));
            assert_eq!(value.truncated, truncated);
        }
    }

    #[test]
    fn neither_a_link_nor_a_pipe_in_the_place_of_an_output_is_followed() {
        let dir = with_stdout(b"");
        let path = layout::output_file(dir.path(), ATTEMPT, LogStream::Stdout);
        let secret = dir.path().join("secret");
        fs::write(&secret, "secret").unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&secret, &path).unwrap();
        assert_eq!(read_value(dir.path(), ATTEMPT).unwrap(), Value::default());
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(read_value(dir.path(), ATTEMPT).unwrap(), Value::default());
    }
}
