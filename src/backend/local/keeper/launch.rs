//! How attempts start: files, cgroup, process, limits, and a moment later the report.

use std::io;
use std::process::{Child, Stdio};
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;

use super::super::wire::{
    LaunchOrder, Report, WireAttempt, WireBounds, WireEnd, WireUsage, WireValue,
};
use super::attempt::{Attempt, Cause};
use super::cgroup::{Cgroup, Demand};
use super::run::{Keeper, Limits};
use super::spawn::{self, Outputs, Prepared, Program};
use crate::engine::AttemptId;

/// After so long a start is reported, and the outputs get their names. Nobody is quick enough to miss them
/// before, and what ends sooner needs no report of its own.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(10);

impl Keeper {
    /// Starts an attempt.
    ///
    /// # Errors
    /// The keeper can't get out of the attempt's cgroup, and is of no use any more.
    pub(super) fn launch(&mut self, order: &LaunchOrder<'_>) -> io::Result<()> {
        if self.shutting_down || self.attempts.contains_key(&order.attempt) {
            self.reports.warn(format!(
                "{:?} is not launched: it runs already, or all is ending",
                order.attempt
            ));
            return Ok(());
        }
        let Some(bounds) = self.bounds.get(&order.profile).map(Rc::clone) else {
            return Err(io::Error::other("a launch within unknown bounds"));
        };
        if let Some(python) = &order.python {
            return self.launch_python(order, python, bounds);
        }
        let user = bounds.user.as_ref();
        let (tasks_dir, attempt) = (&self.home.tasks_dir, order.attempt.into());
        let files = match spawn::make_files(tasks_dir, &mut self.spares, attempt, user) {
            Ok(files) => files,
            Err(end) => {
                self.refuse_launch(order.attempt, end);
                return Ok(());
            }
        };
        let program = Program {
            argv: &order.argv,
            env: &order.env,
            stdin: Stdio::null(),
            bounds: &bounds,
            counts_processes: self.limits.count_processes(),
        };
        let prepared = spawn::prepare(tasks_dir, attempt, program, files);
        match self.start_process(order, prepared, bounds)? {
            Ok(attempt) => self.launched(attempt),
            Err(end) => self.refuse_launch(order.attempt, end),
        }
        Ok(())
    }

    /// An attempt's process runs.
    pub(super) fn launched(&mut self, attempt: Attempt) {
        self.by_pid.insert(attempt.pid, attempt.id);
        self.looks.begin(&attempt);
        let announce_at = attempt.started_at + ANNOUNCE_AFTER;
        self.unannounced.push_back((announce_at, attempt.id));
        self.attempts.insert(attempt.id, attempt);
    }

    /// An attempt could not be started.
    pub(super) fn refuse_launch(&mut self, attempt: WireAttempt, end: WireEnd) {
        self.untidy.push(attempt);
        self.report_end(attempt, end, WireUsage::default(), WireValue::Nothing);
    }

    /// Starts what is prepared, in a cgroup of its own where these are used; then the keeper is still in there.
    ///
    /// # Errors
    /// As [`Keeper::launch`].
    pub(super) fn start_process(
        &mut self,
        order: &LaunchOrder<'_>,
        prepared: Result<Prepared, (WireEnd, Outputs)>,
        bounds: Rc<WireBounds>,
    ) -> io::Result<Result<Attempt, WireEnd>> {
        let started = match prepared {
            Ok(mut prepared) => match self.start_in_cgroup(order, &mut prepared, &bounds)? {
                Ok((child, cgroup)) => Ok((child, cgroup, prepared.outputs)),
                Err(end) => Err((end, prepared.outputs)),
            },
            Err(failed) => Err(failed),
        };
        let (child, cgroup, outputs) = match started {
            Ok(started) => started,
            Err((end, outputs)) => {
                // Empty, for nobody wrote to them.
                let (dir, spares) = (&self.home.tasks_dir, &mut self.spares);
                let _ = outputs.settle(dir, spares, order.attempt.into());
                return Ok(Err(end));
            }
        };
        let now = self.clock.elapsed();
        Ok(Ok(Attempt::new(order, child, cgroup, outputs, bounds, now)))
    }

    fn start_in_cgroup(
        &mut self,
        order: &LaunchOrder<'_>,
        prepared: &mut Prepared,
        bounds: &WireBounds,
    ) -> io::Result<Result<(Child, Option<Cgroup>), WireEnd>> {
        let Limits::Cgroups(cgroups) = &mut self.limits else {
            return Ok(prepared.start().map(|child| (child, None)));
        };
        let cgroup = match cgroups.take() {
            Ok(cgroup) => cgroup,
            Err(error) => {
                let message = format!("cannot make a cgroup: {error}");
                return Ok(Err(WireEnd::Failed(message)));
            }
        };
        let entered = cgroups.enter(&cgroup, bounds.limits.processes.is_some());
        // The keeper has left the cgroup of the attempt before.
        self.limit_started();
        let started = match entered {
            Ok(()) => prepared.start(),
            Err(error) => Err(WireEnd::Failed(format!("cannot enter a cgroup: {error}"))),
        };
        match started {
            Ok(child) => {
                let demand = Demand {
                    cpu_milli: order.cpu_milli,
                    mem_bytes: order.mem_bytes,
                    processes: bounds.limits.processes,
                };
                self.unlimited.push((order.attempt, demand));
                Ok(Ok((child, Some(cgroup))))
            }
            Err(end) => {
                self.step_out()?;
                if let Limits::Cgroups(cgroups) = &mut self.limits {
                    cgroups.give_back(cgroup);
                }
                Ok(Err(end))
            }
        }
    }

    /// Leaves the cgroup of the last attempt that was started. To be called before anything else is done with
    /// attempts: until then that cgroup holds the keeper as well.
    ///
    /// # Errors
    /// The keeper can't get out.
    pub(super) fn step_out(&mut self) -> io::Result<()> {
        if let Limits::Cgroups(cgroups) = &mut self.limits {
            cgroups.leave()?;
            self.limit_started();
            let too_large = std::mem::take(&mut self.too_large);
            self.kill_all(&too_large, Duration::ZERO, Cause::Memory);
        }
        Ok(())
    }

    /// Sets the limits of attempts that have just been started and whose cgroups the keeper has left.
    fn limit_started(&mut self) {
        let Limits::Cgroups(cgroups) = &mut self.limits else {
            return;
        };
        for (id, demand) in self.unlimited.drain(..) {
            let cgroup = self
                .attempts
                .get_mut(&id)
                .map(|attempt| &mut attempt.cgroup);
            let Some(Some(cgroup)) = cgroup else { continue };
            match cgroups.limit(cgroup, demand) {
                Ok(()) => {}
                // It has more than it may have, already.
                Err(error) if error.raw_os_error() == Some(Errno::EBUSY as i32) => {
                    self.too_large.push(id);
                }
                Err(error) => {
                    let id = AttemptId::from(id);
                    self.reports
                        .warn(format!("cannot limit attempt {id} to its demand: {error}"));
                }
            }
        }
    }

    /// Reports what has run for long enough, and gives its outputs their names.
    pub(super) fn announce(&mut self) {
        let now = self.clock.elapsed();
        while let Some((_, id)) = self.unannounced.pop_front_if(|(at, _)| *at <= now) {
            let Some(attempt) = self.attempts.get_mut(&id) else {
                continue;
            };
            attempt.is_announced = true;
            self.reports.push(&Report::Started { attempt: id });
            if let Err(error) =
                attempt
                    .outputs
                    .name(&self.home.tasks_dir, &mut self.spares, id.into())
            {
                let id = AttemptId::from(id);
                self.reports
                    .warn(format!("cannot name the outputs of attempt {id}: {error}"));
            }
        }
    }

    /// When there is something to report that has waited long enough.
    pub(super) fn announce_at(&self) -> Option<Duration> {
        self.unannounced.front().map(|(at, _)| *at)
    }
}
