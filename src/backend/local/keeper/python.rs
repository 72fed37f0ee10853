//! Python tasks run in workers: interpreters that stay warm from one task to the next.
//!
//! A worker is the first process of the attempt that it runs, with a process group and a cgroup of its own,
//! so limits, kills and leftovers are the same as for a command. What is different is the end: the worker
//! says over its socket that the task is done, and unless the task left threads or processes behind, it
//! waits for the next one instead of ending. Workers are shared only among tasks of the same queue with the
//! same environment, interpreter and demand; see [`super::worker::Key`].

use std::fs;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::super::wire::{
    LaunchOrder, PythonOrder, Report, WireAttempt, WireBounds, WireEnd, WireUsage, WireValue,
};
use super::attempt::{Attempt, Stage, over_limit};
use super::run::{Keeper, Limits};
use super::spawn::{self, Outputs, Program};
use super::tree::Look;
use super::workers::{Idle, Workers};

impl Keeper {
    /// Starts an attempt of a Python task, in a worker that waits or in a new one.
    ///
    /// # Errors
    /// As [`Keeper::launch`].
    pub(super) fn launch_python(
        &mut self,
        order: &LaunchOrder<'_>,
        python: &PythonOrder<'_>,
        bounds: Rc<WireBounds>,
    ) -> io::Result<()> {
        let user = bounds.user.as_ref();
        let tasks_dir = &self.home.tasks_dir;
        let attempt = order.attempt.into();
        let made = spawn::make_files(tasks_dir, &mut self.spares, attempt, user);
        let made = made.and_then(|mut files| {
            // The worker opens them by their names.
            let named = files.outputs.name(tasks_dir, &mut self.spares, attempt);
            named.map_err(|error| WireEnd::Failed(format!("cannot name an output: {error}")))?;
            Ok(files)
        });
        let files = match made {
            Ok(files) => files,
            Err(end) => {
                self.refuse_launch(order.attempt, end);
                return Ok(());
            }
        };
        if let Some(idle) = self.workers.reuse(tasks_dir, order, python) {
            let started_at = self.clock.elapsed();
            self.launched(reused(order, idle, files.outputs, started_at, bounds));
            return Ok(());
        }
        let prepared = self.workers.prepare(tasks_dir, order, python);
        let (worker, argv, stdin) = match prepared {
            Ok(prepared) => prepared,
            Err(end) => {
                let _ = files.outputs.settle(tasks_dir, &mut self.spares, attempt);
                self.refuse_launch(order.attempt, end);
                return Ok(());
            }
        };
        let program = Program {
            argv: &argv,
            env: &Workers::start_env(order),
            stdin,
            bounds: &bounds,
            counts_processes: self.limits.count_processes(),
        };
        let prepared = spawn::prepare(tasks_dir, attempt, program, files);
        self.start(order, prepared, bounds, Some(worker))
    }

    /// Reads what the workers of these attempts said.
    pub(super) fn hear_workers(&mut self, ready: &[WireAttempt]) {
        let now = self.clock.elapsed();
        for id in ready {
            if let Some(worker) = self
                .attempts
                .get_mut(id)
                .and_then(|attempt| attempt.worker.as_mut())
            {
                worker.read(*id, now);
                if worker.done.is_some() {
                    self.done.insert(*id);
                }
            }
        }
    }

    /// Ends attempts whose worker said that they are done.
    pub(super) fn settle_workers(&mut self) {
        let mut look = Look::default();
        for id in std::mem::take(&mut self.done) {
            let Some(attempt) = self.attempts.get(&id) else {
                continue;
            };
            let Some((done, _)) = attempt.worker.as_ref().and_then(|it| it.done.as_ref()) else {
                continue;
            };
            let (pid, is_last, stage) = (attempt.pid, done.last, attempt.stage);
            if attempt.exit.is_some() {
                continue;
            }
            if stage == Stage::Running && is_last {
                // It ends by itself, and what is then left is killed as that of any first process.
                continue;
            }
            let is_clean = stage == Stage::Running
                && !self.is_beyond_limits(id)
                && !self.has_left_something(id, pid, &mut look);
            if is_clean {
                self.finish_warm(id);
            } else {
                self.kill_with_worker(id, &mut look);
            }
        }
    }

    /// Whether something of the attempt is left besides its worker. A worker that is done has one thread, so
    /// all its children are that thread's.
    fn has_left_something(&mut self, id: WireAttempt, pid: i32, look: &mut Look) -> bool {
        if let Limits::Cgroups(_) = self.limits {
            return self.left_of(id, look).iter().any(|left| *left != pid);
        }
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        if !children.is_ok_and(|children| children.trim().is_empty()) {
            return true;
        }
        let orphans = self.orphans(look).unwrap_or_default();
        orphans
            .iter()
            .any(|orphan| self.adopted.get(orphan) == Some(&Some(id)))
    }

    fn is_beyond_limits(&self, id: WireAttempt) -> bool {
        let attempt = self.attempts.get(&id);
        attempt.is_some_and(|attempt| self.cgroup_says(attempt).is_some())
    }

    /// The attempt has ended, and its worker waits for the next one.
    fn finish_warm(&mut self, id: WireAttempt) {
        let Some(mut attempt) = self.attempts.remove(&id) else {
            return;
        };
        if self.by_pid.get(&attempt.pid) == Some(&id) {
            self.by_pid.remove(&attempt.pid);
        }
        let (Some(mut worker), Some(child)) = (attempt.worker.take(), attempt.child.take()) else {
            return;
        };
        worker.clear_up();
        let written = self.let_go(&attempt);
        self.looks.end(&attempt);
        if let Some((done, at)) = &worker.done {
            let over = attempt.output_limit_hit(written.n_bytes());
            let report = Report::Ended {
                attempt: id,
                end: over.map_or_else(|| done.end(), over_limit),
                usage: done.usage(micros(at.saturating_sub(attempt.started_at))),
                value: done.value(),
            };
            self.reports.push(&report);
        }
        let now = self.clock.elapsed();
        self.workers
            .keep(worker, child, attempt.pid, attempt.cgroup.take(), now);
    }

    /// Lets go of what a worker that ended had, and tells what it said.
    pub(super) fn last_words(attempt: &mut Attempt) -> WireValue {
        let Some(worker) = &mut attempt.worker else {
            return WireValue::Output;
        };
        worker.clear_up();
        match &worker.done {
            // Whoever was ended for another reason has nothing to show.
            Some((done, _)) if attempt.cause.is_none() => done.value(),
            Some(_) | None => WireValue::Nothing,
        }
    }
}

/// An attempt in a worker that had waited.
fn reused(
    order: &LaunchOrder<'_>,
    idle: Idle,
    outputs: Outputs,
    now: Duration,
    bounds: Rc<WireBounds>,
) -> Attempt {
    Attempt {
        worker: Some(idle.worker),
        cgroup: idle.cgroup,
        mem_bytes: order.mem_bytes,
        ..Attempt::new(order.attempt, idle.child, outputs, bounds, now)
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// What an attempt used that ended with its worker, of which other tasks had a part before.
pub(super) fn usage_with_worker(attempt: &Attempt, mut usage: WireUsage) -> WireUsage {
    let Some(worker) = &attempt.worker else {
        return usage;
    };
    if let Some((done, at)) = &worker.done {
        return done.usage(micros(at.saturating_sub(attempt.started_at)));
    }
    usage.cpu_micros = usage.cpu_micros.saturating_sub(micros(worker.cpu_before));
    usage
}
