//! Starts the first process of an attempt.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use super::super::wire::{WireBounds, WireEnd, WireUser};
use super::super::{layout, logs};
use super::spares::Spares;
use super::stub::{self, Stub};
use crate::backend::LogStream;
use crate::engine::AttemptId;

/// Held while a process is started: by one alone while something stands open that only its own process is to inherit.
static STARTS: RwLock<()> = RwLock::new(());

/// What is ready for the start.
#[derive(Debug)]
pub(super) struct Prepared {
    command: Command,
    stub: Option<Stub>,
    program: String,
    /// Where the outputs go.
    pub(super) outputs: Outputs,
}

/// The files of an attempt, open.
pub(super) struct Files {
    pub(super) outputs: Outputs,
    stdout: File,
    stderr: File,
}

/// Where an attempt's outputs go. They get the names by which they are looked for when it has run for a
/// moment, or when it ends and something is in them.
#[derive(Debug)]
pub(super) enum Outputs {
    /// Still among the spare files.
    Spare { stdout: PathBuf, stderr: PathBuf },
    /// Where [`layout::output_file`] says.
    Named,
}

impl Outputs {
    /// Gives them their names.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn name(
        &mut self,
        tasks_dir: &Path,
        spares: &mut Spares,
        attempt: AttemptId,
    ) -> io::Result<()> {
        if let Self::Spare { stdout, stderr } = self {
            for (spare, stream) in [(stdout, LogStream::Stdout), (stderr, LogStream::Stderr)] {
                spares.move_to(spare, &layout::output_file(tasks_dir, attempt, stream))?;
            }
            *self = Self::Named;
        }
        Ok(())
    }

    /// Where they are.
    fn path(&self, tasks_dir: &Path, attempt: AttemptId, stream: LogStream) -> PathBuf {
        match (self, stream) {
            (Self::Named, _) => layout::output_file(tasks_dir, attempt, stream),
            (Self::Spare { stdout, .. }, LogStream::Stdout) => stdout.clone(),
            (Self::Spare { stderr, .. }, LogStream::Stderr) => stderr.clone(),
        }
    }

    /// How long both are together.
    pub(super) fn n_bytes(&self, tasks_dir: &Path, attempt: AttemptId) -> u64 {
        let lengths = [LogStream::Stdout, LogStream::Stderr].map(|stream| {
            let found = std::fs::symlink_metadata(self.path(tasks_dir, attempt, stream));
            found.map_or(0, |found| found.len())
        });
        lengths
            .iter()
            .fold(0, |sum, n_bytes| sum.saturating_add(*n_bytes))
    }

    /// Takes away what is empty and gives the rest its name. Says what is in them.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn settle(
        &self,
        tasks_dir: &Path,
        spares: &mut Spares,
        attempt: AttemptId,
    ) -> io::Result<Written> {
        let mut written = Written::default();
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let named = layout::output_file(tasks_dir, attempt, stream);
            let place = self.path(tasks_dir, attempt, stream);
            let spare = matches!(self, Self::Spare { .. }).then_some(&place);
            let left = spares.take_file_if_empty(&place)?;
            match (left, spare) {
                (Some(_), Some(spare)) => spares.move_to(spare, &named)?,
                // Where the database is gone and the files are not, numbers come again, and nobody's outputs may be found.
                (None, Some(_)) => spares.clear(&named),
                (_, None) => {}
            }
            let n_bytes = left.unwrap_or(0);
            match stream {
                LogStream::Stdout => written.stdout_bytes = n_bytes,
                LogStream::Stderr => written.stderr_bytes = n_bytes,
            }
        }
        Ok(written)
    }
}

/// What is in an attempt's outputs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    pub(super) stdout_bytes: u64,
    pub(super) stderr_bytes: u64,
}

impl Written {
    /// In both together.
    pub(super) fn n_bytes(self) -> u64 {
        self.stdout_bytes.saturating_add(self.stderr_bytes)
    }

    /// Cuts outputs that have their names down to so much, standard error first.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn cut(
        self,
        tasks_dir: &Path,
        attempt: AttemptId,
        max_bytes: u64,
    ) -> io::Result<()> {
        let stdout_max = self.stdout_bytes.min(max_bytes);
        let stderr_max = self.stderr_bytes.min(max_bytes - stdout_max);
        for (stream, is, max) in [
            (LogStream::Stdout, self.stdout_bytes, stdout_max),
            (LogStream::Stderr, self.stderr_bytes, stderr_max),
        ] {
            if is > max {
                let path = layout::output_file(tasks_dir, attempt, stream);
                logs::open_output(&path, File::options().write(true))?.set_len(max)?;
            }
        }
        Ok(())
    }
}

/// What to start.
pub(super) struct Program<'a> {
    /// The program and its arguments.
    pub(super) argv: &'a [Cow<'a, str>],
    /// Added to the keeper's own environment.
    pub(super) env: &'a [(Cow<'a, str>, Cow<'a, str>)],
    /// Its standard input.
    pub(super) stdin: Stdio,
    /// What it may do to its neighbours.
    pub(super) bounds: &'a WireBounds,
    /// Whether its cgroup counts its processes.
    pub(super) counts_processes: bool,
}

/// Makes the working directory and the files for the outputs, and opens these.
///
/// # Errors
/// The disk is full, or the like: the machine's trouble, not the task's.
pub(super) fn make_files(
    tasks_dir: &Path,
    spares: &mut Spares,
    attempt: AttemptId,
    user: Option<&WireUser>,
) -> Result<Files, WireEnd> {
    let failed = |what: &Path, error: io::Error| {
        WireEnd::Failed(format!("cannot make {}: {error}", what.display()))
    };
    let work_dir = layout::work_dir(tasks_dir, attempt);
    let made = match user {
        None => spares.put_dir(&work_dir),
        Some(user) => Spares::make_dir_for(&work_dir, user),
    };
    made.map_err(|error| failed(&work_dir, error))?;
    let mut output = || {
        let given = match user {
            None => spares.give_file(),
            Some(user) => spares.make_file_for(user),
        };
        given.map_err(|error| failed(Path::new("a file for an output"), error))
    };
    let (stdout, stderr) = (output()?, output()?);
    Ok(Files {
        outputs: Outputs::Spare {
            stdout: stdout.0,
            stderr: stderr.0,
        },
        stdout: stdout.1,
        stderr: stderr.1,
    })
}

/// Puts together what is to be started in the attempt's directory.
///
/// # Errors
/// The machine's trouble; then the files are back in the hands of the caller.
pub(super) fn prepare(
    tasks_dir: &Path,
    attempt: AttemptId,
    what: Program<'_>,
    files: Files,
) -> Result<Prepared, (WireEnd, Outputs)> {
    let work_dir = layout::work_dir(tasks_dir, attempt);
    let program = what
        .argv
        .first()
        .map(|program| program.to_string())
        .unwrap_or_default();
    let found = find_program(&program, what.env, &work_dir);
    let (counts, arguments) = (what.counts_processes, what.argv.iter().skip(1));
    let (mut command, stub) = match stub::command(what.bounds, counts, found, &program, arguments) {
        Ok(made) => made,
        Err(error) => {
            let end = WireEnd::Failed(format!("cannot prepare a process: {error}"));
            return Err((end, files.outputs));
        }
    };
    if let Some(user) = &what.bounds.user {
        command
            .env("HOME", &user.home)
            .env("USER", &user.name)
            .env("LOGNAME", &user.name)
            .env("SHELL", &user.shell)
            // The daemon's own may be closed to others.
            .env_remove("TMPDIR");
    }
    command
        .envs(what.env.iter().map(|(name, value)| (&**name, &**value)))
        .current_dir(&work_dir)
        .process_group(0)
        .stdin(what.stdin)
        .stdout(files.stdout)
        .stderr(files.stderr);
    Ok(Prepared {
        command,
        stub,
        program,
        outputs: files.outputs,
    })
}

impl Prepared {
    /// Starts the process, in whatever cgroups the calling thread is. Returns it, or whose fault it is that there is
    /// none, and where its outputs go, which the keeper has not open any more.
    pub(super) fn start(mut self) -> (Result<Child, WireEnd>, Outputs) {
        let started = match &mut self.stub {
            None => {
                let _others_may_too = STARTS.read().unwrap_or_else(PoisonError::into_inner);
                self.command.spawn()
            }
            Some(stub) => Self::start_stub(&mut self.command, stub),
        };
        let started = started.map_err(|error| {
            let message = format!("cannot start '{}': {error}", self.program);
            if is_own_fault(&error) {
                WireEnd::NotStarted(message)
            } else {
                WireEnd::Failed(message)
            }
        });
        (started, self.outputs)
    }

    fn start_stub(command: &mut Command, stub: &mut Stub) -> io::Result<Child> {
        let alone = STARTS.write().unwrap_or_else(PoisonError::into_inner);
        stub.let_inherit()?;
        let spawned = command.spawn();
        stub.close();
        drop(alone);
        let mut child = spawned?;
        // If it became nothing, it has ended, or is about to.
        stub.became().inspect_err(|_| drop(child.wait()))?;
        Ok(child)
    }
}

/// Whether it is the task's fault that it can't be started, and it would not start the next time either.
fn is_own_fault(error: &io::Error) -> bool {
    let Some(code) = error.raw_os_error() else {
        // A zero byte in an argument, found before the system was asked.
        return error.kind() == io::ErrorKind::InvalidInput;
    };
    [
        Errno::ENOENT,
        Errno::EACCES,
        Errno::EPERM,
        Errno::ENOEXEC,
        Errno::ENOTDIR,
        Errno::EISDIR,
        Errno::ELOOP,
        Errno::ENAMETOOLONG,
        Errno::E2BIG,
        Errno::ELIBBAD,
        Errno::EINVAL,
    ]
    .contains(&Errno::from_raw(code))
}

/// Takes away the working directory of an attempt that has ended, if it is empty.
pub(super) fn tidy_up(tasks_dir: &Path, spares: &mut Spares, attempt: AttemptId, now: Duration) {
    spares.take_dir_if_empty(&layout::work_dir(tasks_dir, attempt), now);
}

/// The file to execute. A name without a slash is looked up in the task's own `PATH` where it has one;
/// otherwise the system does the same with the keeper's.
fn find_program(
    program: &str,
    env: &[(impl AsRef<str>, impl AsRef<str>)],
    work_dir: &Path,
) -> OsString {
    let path = env.iter().rev().find(|(name, _)| name.as_ref() == "PATH");
    let (Some((_, path)), false) = (path, program.contains('/')) else {
        return program.into();
    };
    let mut found = path
        .as_ref()
        .as_bytes()
        .split(|byte| *byte == b':')
        .map(|dir| work_dir.join(OsStr::from_bytes(dir)).join(program))
        .filter(|file| file.is_file() && access(file, AccessFlags::X_OK).is_ok());
    // With a slash in it, the name is not looked up again, and the error names what was wanted.
    found
        .next()
        .unwrap_or_else(|| PathBuf::from("/nonexistent").join(program))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_the_path_of_the_task() {
        let dir = tempfile::tempdir().unwrap();
        let find = |name: &str, path: &str| {
            find_program(name, &[("PATH", "/wrong"), ("PATH", path)], dir.path())
        };
        assert_eq!(find("sh", "/nowhere:/bin"), "/bin/sh");
        assert_eq!(find("bin/sh", "/"), "bin/sh");
        assert_eq!(find("sh", "/nowhere"), "/nonexistent/sh");
        assert_eq!(
            find_program("sh", &[("HOME", "/")], dir.path()),
            "sh",
            "the system looks it up"
        );
    }

    #[test]
    fn a_fault_of_the_machine_is_not_the_task_s() {
        let error = |code: Errno| io::Error::from_raw_os_error(code as i32);
        for code in [
            Errno::EAGAIN,
            Errno::ENOMEM,
            Errno::EMFILE,
            Errno::ENOSPC,
            Errno::EIO,
        ] {
            assert!(!is_own_fault(&error(code)), "{code}");
        }
        assert!(is_own_fault(&error(Errno::ENOENT)));
    }
}
