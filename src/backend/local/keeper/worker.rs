//! A Python worker: what is told to it, what it says, and what it may be used for.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::environment::{GRANTED, INTERPRETER, MARK};
use super::super::layout;
use super::super::wire::{
    LaunchOrder, Lines, PythonOrder, WireAttempt, WireEnd, WirePython, WireUsage, WireValue,
};
use crate::backend::LogStream;
use crate::engine::AttemptId;

/// How long a worker may take to accept an order that is too long for the socket's buffer.
const ORDER_WAIT: Duration = Duration::from_secs(10);

/// What tasks have in common that may use the same worker. Demands are part of it, so that a worker's limits
/// hold from its start to its end; variables are, because libraries read them when they are imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) interpreter: String,
    queue: String,
    env: Vec<(String, String)>,
    cpu_milli: Option<u64>,
    mem_bytes: Option<u64>,
}

impl Key {
    pub(super) fn of(
        order: &LaunchOrder<'_>,
        python: &PythonOrder<'_>,
        settings: &WirePython,
    ) -> Self {
        let asked = order.env.iter().rev().find(|(name, _)| name == INTERPRETER);
        let mut env: Vec<(String, String)> = order
            .env
            .iter()
            .filter(|(name, _)| !is_granted(name))
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        env.sort_unstable();
        Self {
            interpreter: asked.map_or_else(
                || settings.interpreter.clone(),
                |(_, value)| value.to_string(),
            ),
            queue: python.queue.to_string(),
            env,
            cpu_milli: order.cpu_milli,
            mem_bytes: order.mem_bytes,
        }
    }
}

/// Whether a variable differs from task to task: it is set by the worker for each, and not part of the key.
pub(super) fn is_granted(name: &str) -> bool {
    name.starts_with(GRANTED) && name != MARK
}

/// What a worker is told of a task.
#[derive(Serialize)]
struct TaskOrder<'a> {
    attempt: WireAttempt,
    env: BTreeMap<&'a str, &'a str>,
    cwd: PathBuf,
    stdout: PathBuf,
    stderr: PathBuf,
    value: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_file: Option<PathBuf>,
}

/// What a worker says of a task that is done.
#[derive(Debug, Deserialize)]
pub(super) struct Done {
    attempt: WireAttempt,
    value: Option<String>,
    value_bytes: Option<u64>,
    raised: Option<String>,
    not_started: Option<String>,
    #[serde(default)]
    cpu_micros: u64,
    #[serde(default)]
    memory_peak_bytes: u64,
    /// Whether the worker ends now.
    pub(super) last: bool,
}

impl Done {
    /// Why the attempt ended.
    pub(super) fn end(&self) -> WireEnd {
        match (&self.not_started, &self.raised) {
            (Some(message), _) => WireEnd::NotStarted(message.clone()),
            (None, Some(message)) => WireEnd::Raised(message.clone()),
            (None, None) => WireEnd::Exited(0),
        }
    }

    /// What it has to show.
    pub(super) fn value(&self) -> WireValue {
        match (&self.value, self.value_bytes) {
            (Some(inline), _) => WireValue::Inline(inline.clone()),
            (None, Some(n_bytes)) => WireValue::File(n_bytes),
            (None, None) => WireValue::Nothing,
        }
    }

    /// What it used, as the worker measured it.
    pub(super) fn usage(&self, wall_micros: u64) -> WireUsage {
        WireUsage {
            wall_micros,
            cpu_micros: self.cpu_micros,
            memory_peak_bytes: self.memory_peak_bytes,
        }
    }
}

/// A worker, with what it is doing.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) key: Key,
    socket: UnixStream,
    lines: Lines,
    /// Nothing comes any more.
    is_closed: bool,
    /// Where the value of its task goes, and where what it runs may be.
    value: PathBuf,
    call_file: Option<PathBuf>,
    /// User and system time that it had used before its task.
    pub(super) cpu_before: Duration,
    /// What it said of its task, and when.
    pub(super) done: Option<(Done, Duration)>,
}

impl Worker {
    /// One whose process is yet to be started, with the socket that is to be its standard input.
    pub(super) fn new(key: Key) -> io::Result<(Self, Stdio)> {
        let (socket, its_end) = UnixStream::pair()?;
        socket.set_write_timeout(Some(ORDER_WAIT))?;
        let worker = Self {
            key,
            socket,
            lines: Lines::default(),
            is_closed: false,
            value: PathBuf::new(),
            call_file: None,
            cpu_before: Duration::ZERO,
            done: None,
        };
        Ok((worker, Stdio::from(OwnedFd::from(its_end))))
    }

    /// Tells it what to run.
    ///
    /// # Errors
    /// It is gone, or takes nothing.
    pub(super) fn order(
        &mut self,
        tasks_dir: &Path,
        order: &LaunchOrder<'_>,
        python: &PythonOrder<'_>,
    ) -> io::Result<()> {
        let attempt = AttemptId::from(order.attempt);
        let granted = order.env.iter().filter(|(name, _)| is_granted(name));
        let call_file = python
            .call
            .is_none()
            .then(|| layout::call_file(tasks_dir, attempt));
        let told = TaskOrder {
            attempt: order.attempt,
            env: granted.map(|(name, value)| (&**name, &**value)).collect(),
            cwd: layout::work_dir(tasks_dir, attempt),
            stdout: layout::output_file(tasks_dir, attempt, LogStream::Stdout),
            stderr: layout::output_file(tasks_dir, attempt, LogStream::Stderr),
            value: &python.value,
            call: python.call.as_deref(),
            call_file: call_file.clone(),
        };
        let mut line = serde_json::to_vec(&told)?;
        line.push(b'\n');
        self.value = PathBuf::from(&*python.value);
        self.call_file = call_file;
        self.done = None;
        self.socket.write_all(&line)
    }

    /// What to wait for while it runs a task; `None` once nothing can come.
    pub(super) fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        (!self.is_closed && self.done.is_none()).then(|| self.socket.as_fd())
    }

    /// Reads what it said. To be called when there is something. What makes no sense is passed over: the
    /// task can write there too, and then gets no answer of its own.
    pub(super) fn read(&mut self, attempt: WireAttempt, now: Duration) {
        if !matches!(self.lines.fill(&mut self.socket), Ok(true)) {
            self.is_closed = true;
        }
        while let Some(line) = self.lines.next_line() {
            if let Ok(done) = serde_json::from_slice::<Done>(line)
                && done.attempt == attempt
                && self.done.is_none()
            {
                self.done = Some((done, now));
            }
        }
    }

    /// Removes what its task left of files that are nobody's: a value of which it did not tell, what it was
    /// to run and never read.
    pub(super) fn clear_up(&mut self) {
        let told = self.done.as_ref().map(|(done, _)| done.value());
        if !matches!(told, Some(WireValue::File(_) | WireValue::Inline(_))) {
            let mut unfinished = self.value.clone().into_os_string();
            unfinished.push(".part");
            let _ = fs::remove_file(unfinished);
            let _ = fs::remove_file(&self.value);
        }
        if let Some(call_file) = self.call_file.take() {
            let _ = fs::remove_file(call_file);
        }
    }
}
