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
    profile: u32,
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
            profile: order.profile,
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
        let (worker, its_end) = Self::pair(key)?;
        Ok((worker, Stdio::from(OwnedFd::from(its_end))))
    }

    /// The same, with its end of the socket as it is.
    fn pair(key: Key) -> io::Result<(Self, UnixStream)> {
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
        Ok((worker, its_end))
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

    /// Reads all that is left of what it said, once its process has ended: its end may be seen before its word.
    /// Doesn't wait, should somebody else hold its end of the socket.
    pub(super) fn read_last_word(&mut self, attempt: WireAttempt, now: Duration) {
        self.is_closed |= self.socket.set_nonblocking(true).is_err();
        while !self.is_closed && self.done.is_none() {
            self.read(attempt, now);
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

#[cfg(test)]
pub(super) mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::thread;

    use super::*;

    pub(in super::super) const ID: WireAttempt = WireAttempt(7, 2);

    pub(in super::super) fn settings() -> WirePython {
        WirePython {
            interpreter: "python3".into(),
            tasks_max: 100,
            memory_growth_bytes: 1 << 30,
            idle_max: 2,
            idle_millis: 1000,
        }
    }

    /// A task of a queue with these variables.
    pub(in super::super) fn order(env: &[(&'static str, &'static str)]) -> LaunchOrder<'static> {
        let env = env
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        LaunchOrder {
            attempt: ID,
            argv: Vec::new(),
            env: env.collect(),
            cpu_milli: Some(1000),
            mem_bytes: None,
            profile: 0,
            python: None,
        }
    }

    pub(in super::super) fn python(queue: &'static str) -> PythonOrder<'static> {
        PythonOrder {
            call: Some("Y2FsbA==".into()),
            value: "/nowhere/7.2".into(),
            queue: queue.into(),
        }
    }

    pub(in super::super) fn key() -> Key {
        Key::of(&order(&[]), &python("maps"), &settings())
    }

    #[test]
    fn tasks_share_a_worker_only_where_nothing_but_the_grant_differs() {
        let of = |order: &LaunchOrder<'_>, queue| Key::of(order, &python(queue), &settings());
        let one = of(
            &order(&[("A", "1"), ("B", "2"), ("APPORTION_TASK_ID", "7")]),
            "maps",
        );
        let same = [("B", "2"), ("APPORTION_TASK_ID", "8"), ("A", "1")];
        assert_eq!(of(&order(&same), "maps"), one);
        let mut big = order(&same);
        big.mem_bytes = Some(1 << 30);
        let mut bound = order(&same);
        bound.profile = 1;
        let others = [
            of(&order(&same), "search"),
            of(&order(&[("A", "1")]), "maps"),
            of(&order(&[("A", "1"), ("B", "3")]), "maps"),
            of(
                &order(&[("A", "1"), ("B", "2"), (INTERPRETER, "/usr/bin/pypy3")]),
                "maps",
            ),
            of(&big, "maps"),
            of(&bound, "maps"),
        ];
        for other in others {
            assert_ne!(other, one);
        }
        assert_eq!(
            of(&order(&[(INTERPRETER, "pypy3")]), "maps").interpreter,
            "pypy3"
        );
    }

    #[test]
    fn it_is_told_what_to_run_and_only_its_grant_of_the_environment() {
        let (mut worker, its_end) = Worker::pair(key()).unwrap();
        let mut order = order(&[("A", "1"), ("APPORTION_TASK_ID", "7")]);
        worker
            .order(Path::new("/tasks"), &order, &python("maps"))
            .unwrap();
        let mut long = python("maps");
        long.call = None;
        order.attempt = WireAttempt(8, 1);
        worker.order(Path::new("/tasks"), &order, &long).unwrap();
        drop(worker);
        let told: Vec<serde_json::Value> = BufReader::new(its_end)
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect();
        assert_eq!(told[0]["attempt"], serde_json::json!([7, 2]));
        assert_eq!(
            told[0]["env"],
            serde_json::json!({"APPORTION_TASK_ID": "7"})
        );
        assert_eq!(told[0]["call"], "Y2FsbA==");
        assert!(told[1]["call"].is_null());
        assert!(
            told[1]["call_file"]
                .as_str()
                .unwrap()
                .starts_with("/tasks/"),
            "{told:?}"
        );
    }

    #[test]
    fn only_the_first_word_about_its_own_task_counts() {
        let (mut worker, mut its_end) = Worker::pair(key()).unwrap();
        let said = concat!(
            "no JSON\n",
            "{\"attempt\": [7, 1], \"value\": \"b2xk\", \"last\": false}\n",
            "{\"attempt\": [7, 2], \"raised\": \"ValueError\", \"last\": true}\n",
            "{\"attempt\": [7, 2], \"value\": \"bmV3\", \"last\": false}\n",
        );
        its_end.write_all(said.as_bytes()).unwrap();
        assert!(worker.poll_fd().is_some());
        worker.read(ID, Duration::from_secs(1));
        let (done, at) = worker.done.as_ref().unwrap();
        assert_eq!(done.end(), WireEnd::Raised("ValueError".into()));
        assert_eq!((done.value(), done.last), (WireValue::Nothing, true));
        assert_eq!(*at, Duration::from_secs(1));
        assert!(worker.poll_fd().is_none(), "nothing more is asked for");
    }

    #[test]
    fn a_last_word_is_read_whole_though_it_comes_in_pieces() {
        let (mut worker, mut its_end) = Worker::pair(key()).unwrap();
        let value = "x".repeat(90_000);
        let said = format!("{{\"attempt\": [7, 2], \"value\": \"{value}\", \"last\": true}}\n");
        let said = said.into_bytes();
        its_end.write_all(&said).unwrap();
        drop(its_end);
        worker.read_last_word(ID, Duration::ZERO);
        let (done, _) = worker.done.as_ref().unwrap();
        assert_eq!(done.value(), WireValue::Inline(value));
    }

    #[test]
    fn a_last_word_that_never_comes_is_not_waited_for() {
        let (mut worker, its_end) = Worker::pair(key()).unwrap();
        // Somebody still holds its end, such as a process that left its attempt.
        worker.read_last_word(ID, Duration::ZERO);
        assert!(worker.done.is_none());
        drop(its_end);
    }

    #[test]
    fn what_nobody_will_read_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut worker, its_end) = Worker::pair(key()).unwrap();
        let reader = thread::spawn(move || BufReader::new(its_end).lines().count());
        let value = dir.path().join("7.2").to_str().unwrap().to_owned();
        let mut python = python("maps");
        (python.value, python.call) = (value.clone().into(), None);
        worker.order(dir.path(), &order(&[]), &python).unwrap();
        let call_file = layout::call_file(dir.path(), AttemptId::from(ID));
        fs::create_dir_all(call_file.parent().unwrap()).unwrap();
        let left = [
            PathBuf::from(&value),
            format!("{value}.part").into(),
            call_file,
        ];
        for file in &left {
            fs::write(file, "left").unwrap();
        }
        worker.clear_up();
        assert!(left.iter().all(|file| !file.exists()), "{left:?}");
        drop(worker);
        assert_eq!(reader.join().unwrap(), 1);
    }
}
