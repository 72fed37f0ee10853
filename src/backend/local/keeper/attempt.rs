//! What the keeper knows of an attempt.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::rc::Rc;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::super::wire::{WireAttempt, WireBounds, WireEnd, WireUsage};
use super::cgroup::Cgroup;
use super::spawn::Outputs;
use super::worker::Worker;
use crate::engine::outcome::TaskLimit;

/// Between looks at an attempt that is being ended, should no signal tell of a change.
pub(super) const RECHECK: Duration = Duration::from_millis(50);

/// What is said of a Python task that ended its process with success, but without a value.
const LEFT: &str =
    "the process ended before run() returned, with exit code 0: by os._exit(0) or the like";

/// An attempt whose first process was started and of which something is left.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) id: WireAttempt,
    /// The first process's id, which is also that of its group.
    pub(super) pid: i32,
    /// To wait for it with; `None` once it has been.
    pub(super) child: Option<Child>,
    /// What runs in it, where that is Python.
    pub(super) worker: Option<Worker>,
    /// On the keeper's stopwatch.
    pub(super) started_at: Duration,
    /// Where its outputs go.
    pub(super) outputs: Outputs,
    /// Its start has been reported.
    pub(super) is_announced: bool,
    /// What holds its processes, where cgroups are used.
    pub(super) cgroup: Option<Cgroup>,
    /// The demand for memory.
    pub(super) mem_bytes: Option<u64>,
    /// What it may do to its neighbours.
    pub(super) bounds: Rc<WireBounds>,
    /// How its first process ended.
    pub(super) exit: Option<Exit>,
    /// Whether and how it is being ended.
    pub(super) stage: Stage,
    /// Why it is being ended, if it didn't end by itself.
    pub(super) cause: Option<Cause>,
    /// User and system time of processes that fell to the keeper.
    pub(super) orphans_cpu: Duration,
    /// The most memory seen by watching.
    pub(super) memory_seen_bytes: u64,
}

/// How an attempt's first process ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exit {
    pub(super) status: ExitStatus,
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
    pub(super) memory_peak_bytes: u64,
}

/// How far the end of an attempt has come. It only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Nobody ends it.
    Running,
    /// It was sent SIGTERM, and SIGKILL follows at this time.
    Terminating(Duration),
    /// It is sent SIGKILL until nothing is left.
    Killing,
}

/// Why an attempt is being ended by the keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The daemon wants it.
    Ordered,
    /// It takes too much memory.
    Memory,
    /// It takes too much of what it shares with its neighbours.
    Limit(TaskLimit),
}

impl Attempt {
    /// One whose first process runs since `started_at`, without cgroup, worker, and demand for memory.
    ///
    /// # Panics
    /// If the process has no id that a system gives.
    pub(super) fn new(
        id: WireAttempt,
        child: Child,
        outputs: Outputs,
        bounds: Rc<WireBounds>,
        started_at: Duration,
    ) -> Self {
        Self {
            id,
            pid: i32::try_from(child.id()).expect("ids of processes are below 2^22"),
            child: Some(child),
            worker: None,
            started_at,
            outputs,
            is_announced: false,
            cgroup: None,
            mem_bytes: None,
            bounds,
            exit: None,
            stage: Stage::Running,
            cause: None,
            orphans_cpu: Duration::ZERO,
            memory_seen_bytes: 0,
        }
    }

    /// Why it ended. `over` is a limit that it has been found beyond, now that it has ended.
    ///
    /// # Panics
    /// If its first process has not been waited for.
    pub(super) fn end(&self, n_oom_kills: u64, over: Option<TaskLimit>) -> WireEnd {
        let exit = self.exit.expect("an attempt ends after its first process");
        match self.cause {
            Some(Cause::Memory) => return WireEnd::OutOfMemory,
            Some(Cause::Limit(limit)) => return over_limit(limit),
            Some(Cause::Ordered) => return WireEnd::Killed,
            None => {}
        }
        // Whatever it made of that, part of its work is missing.
        if n_oom_kills > 0 {
            return WireEnd::OutOfMemory;
        }
        if let Some(limit) = over.or_else(|| self.file_limit_hit(exit.status)) {
            return over_limit(limit);
        }
        if let Some(worker) = &self.worker {
            match &worker.done {
                Some((done, _)) => return done.end(),
                None if exit.status.code() == Some(0) => return WireEnd::Raised(LEFT.to_owned()),
                None => {}
            }
        }
        match (exit.status.code(), exit.status.signal()) {
            (Some(code), _) => WireEnd::Exited(code),
            (None, signal) => WireEnd::Signalled(signal.unwrap_or(0)),
        }
    }

    /// The limit of a file's length, where the kernel's signal for it ended the first process, or one that a shell
    /// waited for: they tell of it so.
    fn file_limit_hit(&self, status: ExitStatus) -> Option<TaskLimit> {
        let signal = Signal::SIGXFSZ as i32;
        let is_hit = status.signal() == Some(signal) || status.code() == Some(128 + signal);
        let max = self.bounds.limits.file_size_bytes.filter(|_| is_hit)?;
        Some(TaskLimit::FileBytes(max))
    }

    /// The limit of its outputs, where they are longer.
    pub(super) fn output_limit_hit(&self, n_bytes: u64) -> Option<TaskLimit> {
        self.output_max_passed(n_bytes).map(TaskLimit::OutputBytes)
    }

    /// How long its outputs may be, where they are longer.
    pub(super) fn output_max_passed(&self, n_bytes: u64) -> Option<u64> {
        self.bounds.limits.output_bytes.filter(|max| n_bytes > *max)
    }

    /// What it used.
    pub(super) fn usage(&self, cgroup_peak_bytes: Option<u64>) -> WireUsage {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let Some(exit) = self.exit else {
            return WireUsage::default();
        };
        WireUsage {
            wall_micros: micros(exit.wall),
            cpu_micros: micros(exit.cpu + self.orphans_cpu),
            memory_peak_bytes: cgroup_peak_bytes
                .unwrap_or_else(|| exit.memory_peak_bytes.max(self.memory_seen_bytes)),
        }
    }
}

/// On the wire.
pub(super) fn over_limit(limit: TaskLimit) -> WireEnd {
    WireEnd::OverLimit(limit.as_str().to_owned(), limit.most())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::settings::TaskLimits;

    fn ended(raw_status: i32, cause: Option<Cause>) -> Attempt {
        Attempt {
            id: WireAttempt(1, 1),
            pid: 2,
            child: None,
            worker: None,
            started_at: Duration::ZERO,
            outputs: Outputs::Named,
            is_announced: true,
            cgroup: None,
            mem_bytes: None,
            bounds: Rc::new(WireBounds {
                user: None,
                limits: TaskLimits {
                    file_size_bytes: Some(7),
                    output_bytes: Some(8),
                    ..TaskLimits::NONE
                },
            }),
            exit: Some(Exit {
                status: ExitStatus::from_raw(raw_status),
                wall: Duration::from_millis(5),
                cpu: Duration::from_millis(3),
                memory_peak_bytes: 100,
            }),
            stage: Stage::Running,
            cause,
            orphans_cpu: Duration::from_millis(1),
            memory_seen_bytes: 200,
        }
    }

    #[test]
    fn the_end_tells_who_wanted_it() {
        let (failed, killed) = (1 << 8, 9);
        assert_eq!(ended(0, None).end(0, None), WireEnd::Exited(0));
        assert_eq!(ended(failed, None).end(0, None), WireEnd::Exited(1));
        assert_eq!(ended(killed, None).end(0, None), WireEnd::Signalled(9));
        assert_eq!(ended(killed, None).end(1, None), WireEnd::OutOfMemory);
        assert_eq!(ended(failed, None).end(2, None), WireEnd::OutOfMemory);
        assert_eq!(ended(0, None).end(1, None), WireEnd::OutOfMemory);
        assert_eq!(ended(0, Some(Cause::Ordered)).end(0, None), WireEnd::Killed);
        assert_eq!(
            ended(killed, Some(Cause::Memory)).end(0, None),
            WireEnd::OutOfMemory
        );
    }

    #[test]
    fn the_end_names_the_limit() {
        let over = |limit: TaskLimit| over_limit(limit);
        let (full, processes) = (TaskLimit::FileBytes(7), TaskLimit::Processes(5));
        for status in [25, 153 << 8] {
            assert_eq!(
                ended(status, None).end(0, None),
                over(full),
                "SIGXFSZ, {status}"
            );
        }
        assert_eq!(ended(0, None).end(0, Some(processes)), over(processes));
        assert_eq!(ended(0, None).end(1, Some(processes)), WireEnd::OutOfMemory);
        let cause = Some(Cause::Limit(processes));
        assert_eq!(ended(9, cause).end(0, None), over(processes));
        let attempt = ended(0, None);
        assert_eq!(attempt.output_limit_hit(8), None);
        assert_eq!(attempt.output_limit_hit(9), Some(TaskLimit::OutputBytes(8)));
    }

    #[test]
    fn the_usage_counts_what_fell_to_the_keeper() {
        let attempt = ended(0, None);
        assert_eq!(attempt.usage(None).cpu_micros, 4000);
        assert_eq!(attempt.usage(None).memory_peak_bytes, 200);
        assert_eq!(attempt.usage(Some(50)).memory_peak_bytes, 50);
    }
}
