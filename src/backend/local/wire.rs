//! What the daemon and its keeper say to each other: one JSON object a line, orders one way, reports the other.
//!
//! A line ends with a line feed and has no length in front, so nothing has to be trusted: a line
//! longer than [`LINE_MAX_BYTES`] is an error, and so is the rest of a line when the other side goes away.

use std::borrow::Cow;
use std::io::{self, Read};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::settings::TaskLimits;
use crate::engine::{AttemptId, TaskId};

/// The longest line either side takes. No program can be started with arguments and environment of that size.
pub(super) const LINE_MAX_BYTES: usize = 8 << 20;

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;

/// An attempt, as both sides write it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(super) struct WireAttempt(pub(super) u64, pub(super) u32);

impl From<AttemptId> for WireAttempt {
    fn from(id: AttemptId) -> Self {
        Self(id.task.0, id.number)
    }
}

impl From<WireAttempt> for AttemptId {
    fn from(wire: WireAttempt) -> Self {
        Self {
            task: TaskId(wire.0),
            number: wire.1,
        }
    }
}

/// How demands are to be enforced; [`crate::backend::settings::LimitMode`] on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WireLimits {
    /// Cgroups where possible, otherwise by watching.
    Auto,
    /// Cgroups or not at all.
    Cgroup,
    /// By watching.
    Watch,
    /// Not.
    Off,
}

/// From the daemon to the keeper.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order<'a> {
    /// The first of all: clear away what an earlier keeper left, then answer [`Report::Ready`].
    Start {
        /// How demands are enforced.
        limits: WireLimits,
        /// The daemon's own process, which may share a cgroup with the keeper.
        daemon: u32,
        /// How Python tasks run.
        python: WirePython,
    },
    /// What some of the attempts to come may do to their neighbours.
    Contain {
        /// The number by which launches name it; none is used twice.
        profile: u32,
        /// What they may do.
        bounds: WireBounds,
    },
    /// Start an attempt.
    Launch(LaunchOrder<'a>),
    /// End an attempt.
    Kill {
        /// Which.
        attempt: WireAttempt,
        /// Between the two signals.
        grace_millis: u64,
    },
    /// End all attempts, then the keeper.
    ShutDown {
        /// Between the two signals.
        grace_millis: u64,
    },
}

/// One attempt to start.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LaunchOrder<'a> {
    /// Which.
    pub(super) attempt: WireAttempt,
    /// The program and its arguments.
    pub(super) argv: Vec<Cow<'a, str>>,
    /// Added to the keeper's own environment, which is the base of all tasks.
    pub(super) env: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The demand for cpus, in thousandths.
    pub(super) cpu_milli: Option<u64>,
    /// The demand for memory.
    pub(super) mem_bytes: Option<u64>,
    /// What it may do to its neighbours: the number of an earlier [`Order::Contain`].
    pub(super) profile: u32,
    /// What runs instead of `argv`.
    pub(super) python: Option<PythonOrder<'a>>,
}

/// What an attempt may do to its neighbours; [`crate::backend::settings::Containment`] on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WireBounds {
    /// Who runs it; `None` for the keeper's own user.
    pub(super) user: Option<WireUser>,
    /// What it may take.
    pub(super) limits: TaskLimits,
}

/// Somebody else than the keeper's own user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WireUser {
    /// The name.
    pub(super) name: String,
    /// The number.
    pub(super) uid: u32,
    /// The primary group.
    pub(super) gid: u32,
    /// All groups, the primary one among them.
    pub(super) groups: Vec<u32>,
    /// Where it is at home.
    pub(super) home: String,
    /// Its shell.
    pub(super) shell: String,
}

/// A Python task.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PythonOrder<'a> {
    /// What to run, in base64; `None` where it is so long that it is in a file, see [`super::layout::call_file`].
    pub(super) call: Option<Cow<'a, str>>,
    /// The file for a value that is too long for a report. Its directory is there.
    pub(super) value: Cow<'a, str>,
    /// The task's queue.
    pub(super) queue: Cow<'a, str>,
}

/// How Python tasks run; [`crate::backend::settings::PythonConfig`] on the wire.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WirePython {
    /// The interpreter.
    pub(super) interpreter: String,
    /// So many tasks a worker runs at most.
    pub(super) tasks_max: u32,
    /// So much more memory than after its first task a worker may hold.
    pub(super) memory_growth_bytes: u64,
    /// So many workers wait at most.
    pub(super) idle_max: usize,
    /// So long they wait.
    pub(super) idle_millis: u64,
}

/// From the keeper to the daemon.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// Nothing of an earlier keeper is left, and orders are welcome.
    Ready {
        /// How demands are enforced, for people.
        limits: String,
        /// Why not otherwise, where that isn't what one would want.
        instead_because: Option<String>,
    },
    /// The keeper can't do what [`Order::Start`] asks, and ends.
    Refused {
        /// Why.
        message: String,
    },
    /// An attempt's process runs.
    Started {
        /// Which.
        attempt: WireAttempt,
    },
    /// An attempt has ended: none of its processes is left.
    Ended {
        /// Which.
        attempt: WireAttempt,
        /// Why.
        end: WireEnd,
        /// What it used.
        usage: WireUsage,
        /// What it has to show.
        value: WireValue,
    },
    /// Something that people should know.
    Warning {
        /// What.
        message: String,
    },
}

/// Why an attempt ended, as the keeper saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WireEnd {
    /// With this exit code.
    Exited(i32),
    /// By this signal, which nobody here sent.
    Signalled(i32),
    /// It took more memory than its demand.
    OutOfMemory,
    /// It took more of something than its bounds allow: the word for it, and how much they allow.
    OverLimit(String, u64),
    /// On [`Order::Kill`].
    Killed,
    /// It could not be started, by its own fault.
    NotStarted(String),
    /// It could not be started, by no fault of its own.
    Failed(String),
    /// Python code raised an exception, or left without a value.
    Raised(String),
}

/// What an attempt has to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WireValue {
    /// What it wrote to its standard output.
    Output,
    /// Nothing.
    Nothing,
    /// This, in base64.
    Inline(String),
    /// So many bytes in the file that the order named.
    File(u64),
}

/// What an attempt used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WireUsage {
    /// From start to end of its first process, in microseconds.
    pub(super) wall_micros: u64,
    /// User and system time, in microseconds.
    pub(super) cpu_micros: u64,
    /// The most memory, in bytes.
    pub(super) memory_peak_bytes: u64,
}

/// A duration in whole milliseconds, for the wire.
pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Appends one line.
///
/// # Errors
/// The line would be longer than [`LINE_MAX_BYTES`]; then `into` is as it was.
pub(super) fn write_line(into: &mut Vec<u8>, message: &impl Serialize) -> io::Result<()> {
    let start = into.len();
    serde_json::to_writer(&mut *into, message)?;
    if into.len() - start >= LINE_MAX_BYTES {
        into.truncate(start);
        return Err(io::Error::other(format!(
            "a message of more than {LINE_MAX_BYTES} bytes"
        )));
    }
    into.push(b'\n');
    Ok(())
}

/// Cuts what is read into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Room, used again: to clear it for each read would cost more than the read.
    bytes: Vec<u8>,
    /// How much of it has been read into.
    end: usize,
    /// Where the first line not yet taken begins.
    start: usize,
    /// Up to here no line feed was found.
    searched: usize,
}

impl Lines {
    /// Reads once. False at the end of the stream.
    ///
    /// # Errors
    /// What the stream says, or a line that is too long.
    pub(super) fn fill(&mut self, from: &mut impl Read) -> io::Result<bool> {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.searched -= self.start;
            self.end -= self.start;
            self.start = 0;
        }
        if self.end >= LINE_MAX_BYTES {
            return Err(io::Error::other(format!(
                "a line of more than {LINE_MAX_BYTES} bytes"
            )));
        }
        let room = self.end + READ_BYTES;
        if self.bytes.len() < room {
            self.bytes.resize(room, 0);
        }
        loop {
            match from.read(&mut self.bytes[self.end..room]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(n_read) => {
                    self.end += n_read;
                    return Ok(n_read > 0);
                }
            }
        }
    }

    /// The next whole line, if there is one, without its line feed.
    pub(super) fn next_line(&mut self) -> Option<&[u8]> {
        let Some(at) = self.bytes[self.searched..self.end]
            .iter()
            .position(|byte| *byte == b'\n')
        else {
            self.searched = self.end;
            return None;
        };
        let (start, end) = (self.start, self.searched + at);
        self.start = end + 1;
        self.searched = end + 1;
        Some(&self.bytes[start..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of the given size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let n_bytes = self.1.min(self.0.len()).min(into.len());
            into[..n_bytes].copy_from_slice(&self.0[..n_bytes]);
            self.0 = &self.0[n_bytes..];
            Ok(n_bytes)
        }
    }

    #[test]
    fn lines_survive_any_cutting() {
        let text = b"one\n\ntwo three\nfour\nhalf";
        for size in 1..text.len() + 1 {
            let mut lines = Lines::default();
            let mut stream = Pieces(text, size);
            let mut found = Vec::new();
            while lines.fill(&mut stream).unwrap() {
                while let Some(line) = lines.next_line() {
                    found.push(String::from_utf8(line.to_vec()).unwrap());
                }
            }
            assert_eq!(
                found,
                ["one", "", "two three", "four"],
                "in pieces of {size}"
            );
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut lines = Lines::default();
        let error = loop {
            match lines.fill(&mut io::repeat(b'x')) {
                Ok(true) => assert!(lines.next_line().is_none()),
                Ok(false) => panic!("the stream has no end"),
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("a line of more than"));
    }

    #[test]
    fn orders_come_back_as_they_were_written() {
        let order = Order::Launch(LaunchOrder {
            attempt: WireAttempt(7, 2),
            argv: vec!["/bin/sh".into(), "-c".into(), "echo \"ü\n\"".into()],
            env: vec![("A".into(), "b=c".into())],
            cpu_milli: Some(500),
            mem_bytes: None,
            profile: 3,
            python: Some(PythonOrder {
                call: None,
                value: "/values/7.2".into(),
                queue: "maps".into(),
            }),
        });
        let mut bytes = Vec::new();
        write_line(&mut bytes, &order).unwrap();
        assert_eq!(
            bytes.iter().filter(|byte| **byte == b'\n').count(),
            1,
            "one line"
        );
        let back: Order<'_> = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(format!("{back:?}"), format!("{order:?}"));
    }

    #[test]
    fn a_message_that_is_too_long_leaves_no_trace() {
        let mut bytes = b"before\n".to_vec();
        let report = Report::Warning {
            message: "x".repeat(LINE_MAX_BYTES),
        };
        assert!(write_line(&mut bytes, &report).is_err());
        assert_eq!(bytes, b"before\n");
    }
}
