//! How attempts start: files, cgroup, process, limits, and a moment later the report.

use std::io;
use std::process::Stdio;
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
use super::starters::{Arrival, Job, Starter};
use super::worker::Worker;
use crate::engine::AttemptId;

/// After so long a start is reported, and the outputs get their names. Nobody is quick enough to miss them
/// before, and what ends sooner needs no report of its own.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(10);

/// An attempt whose process is being started.
#[derive(Debug)]
pub(super) struct Starting {
    demand: Demand,
    bounds: Rc<WireBounds>,
    worker: Option<Worker>,
    /// Where the process will be, with its own starter, if it has one.
    pub(super) cgroup: Option<Cgroup>,
    /// It is to be ended as soon as it runs, and has so much time then.
    grace: Option<Duration>,
}

impl Starting {
    /// To be ended as soon as it runs.
    pub(super) fn end(&mut self, grace: Duration) {
        self.grace = Some(self.grace.map_or(grace, |before| before.min(grace)));
    }

    /// Who sits in its cgroup.
    fn starter(&self) -> Option<&Starter> {
        self.cgroup.as_ref()?.starter.as_ref()
    }

    /// Returns once nobody is starting it any more.
    pub(super) fn stop(mut self) -> Self {
        if let Some(cgroup) = &mut self.cgroup {
            cgroup.starter = None;
        }
        self
    }
}

/// With so many others that have begun just now, somebody else starts the next: the keeper has their ends to look after.
/// With fewer, to wake somebody takes longer than to do it.
const BUSY_MIN: usize = 2;

/// Starters don't tell of each process that runs. So long it may take until it is limited to its demand.
const LISTEN_EVERY: Duration = Duration::from_millis(2);

impl Keeper {
    /// Whether an attempt runs, or is being started.
    fn has(&self, attempt: WireAttempt) -> bool {
        self.attempts.contains_key(&attempt) || self.starting.contains_key(&attempt)
    }

    /// Starts an attempt.
    ///
    /// # Errors
    /// The keeper can't get out of the attempt's cgroup, and is of no use any more.
    pub(super) fn launch(&mut self, order: &LaunchOrder<'_>) -> io::Result<()> {
        if self.shutting_down || self.has(order.attempt) {
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
        self.start(order, prepared, bounds, None)
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

    /// Has a process started that is prepared, in a cgroup of its own where these are used. Its arrival tells what came of it.
    ///
    /// # Errors
    /// As [`Keeper::launch`].
    pub(super) fn start(
        &mut self,
        order: &LaunchOrder<'_>,
        prepared: Result<Prepared, (WireEnd, Outputs)>,
        bounds: Rc<WireBounds>,
        worker: Option<Worker>,
    ) -> io::Result<()> {
        let demand = Demand {
            cpu_milli: order.cpu_milli,
            mem_bytes: order.mem_bytes,
            processes: bounds.limits.processes,
        };
        let mut starting = Starting {
            demand,
            bounds,
            worker,
            cgroup: None,
            grace: None,
        };
        let id = order.attempt;
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err((end, outputs)) => {
                self.did_not_start(id, starting, &outputs, end);
                return Ok(());
            }
        };
        let job = Job {
            attempt: id,
            prepared,
            counts_processes: demand.processes.is_some(),
        };
        match self.take_cgroup() {
            Ok(cgroup) => starting.cgroup = cgroup,
            Err(error) => {
                let end = WireEnd::Failed(format!("cannot make a cgroup: {error}"));
                self.did_not_start(id, starting, &job.prepared.outputs, end);
                return Ok(());
            }
        }
        let left = match starting.starter().filter(|_| self.is_busy()) {
            Some(starter) => starter.give(job).err(),
            None => Some(Box::new(job)),
        };
        self.starting.insert(id, starting);
        match left {
            None => Ok(()),
            Some(job) => self.start_here(*job),
        }
    }

    /// Whether others have begun just now.
    fn is_busy(&self) -> bool {
        self.starting.len() + self.unannounced.len() >= BUSY_MIN
    }

    /// A cgroup for an attempt, where these are used, with a starter if it is needed and can be had.
    fn take_cgroup(&mut self) -> io::Result<Option<Cgroup>> {
        let is_busy = self.is_busy();
        let Limits::Cgroups(cgroups) = &mut self.limits else {
            return Ok(None);
        };
        let mut cgroup = cgroups.take()?;
        if is_busy
            && cgroup.starter.is_none()
            && let Ok(Some(seat)) = cgroups.seat(&cgroup)
        {
            cgroup.starter = self.starters.make(seat).ok();
        }
        Ok(Some(cgroup))
    }

    /// Starts a process without help. If it is in a cgroup, the keeper is still in there afterwards.
    fn start_here(&mut self, job: Job) -> io::Result<()> {
        let Job {
            attempt,
            prepared,
            counts_processes,
        } = job;
        let starting = self.starting.get(&attempt);
        let cgroup = starting.and_then(|starting| starting.cgroup.as_ref());
        let entered = match (&mut self.limits, cgroup) {
            (Limits::Cgroups(cgroups), Some(cgroup)) => cgroups.enter(cgroup, counts_processes),
            _ => Ok(()),
        };
        let (started, outputs) = match entered {
            Ok(()) => prepared.start(),
            Err(error) => {
                let end = WireEnd::Failed(format!("cannot enter a cgroup: {error}"));
                (Err(end), prepared.outputs)
            }
        };
        if started.is_err() {
            self.step_out()?;
        }
        let at = self.clock.elapsed();
        self.arrived(Arrival {
            attempt,
            started,
            outputs,
            at,
        });
        Ok(())
    }

    /// When to look at what the starters did, should nothing else come before.
    pub(super) fn listen_at(&self) -> Option<Duration> {
        (!self.starting.is_empty()).then(|| self.clock.elapsed() + LISTEN_EVERY)
    }

    /// Takes note of what the starters did.
    ///
    /// # Panics
    /// If one of them did: what became of its attempt isn't known, so everything ends as if the keeper had.
    pub(super) fn hear_starters(&mut self) {
        let is_gone = |starting: &Starting| starting.starter().is_some_and(Starter::is_gone);
        let any_gone = self.starting.values().any(is_gone);
        while let Some(arrival) = self.starters.next_arrival() {
            self.arrived(arrival);
        }
        assert!(!any_gone, "a thread that starts processes has panicked");
    }

    fn arrived(&mut self, arrival: Arrival) {
        let Arrival {
            attempt: id,
            started,
            outputs,
            at,
        } = arrival;
        let Some(starting) = self.starting.remove(&id) else {
            return;
        };
        let child = match started {
            Ok(child) => child,
            Err(end) => return self.did_not_start(id, starting, &outputs, end),
        };
        if starting.cgroup.is_some() {
            self.unlimited.push((id, starting.demand));
        }
        let grace = starting.grace;
        let mut attempt = Attempt::new(id, child, outputs, starting.bounds, at);
        attempt.mem_bytes = starting.demand.mem_bytes;
        attempt.cgroup = starting.cgroup;
        attempt.worker = starting.worker;
        self.launched(attempt);
        if let Some(grace) = grace {
            self.kill_all(&[id], grace, Cause::Ordered);
        }
    }

    /// There is no process.
    fn did_not_start(
        &mut self,
        id: WireAttempt,
        starting: Starting,
        outputs: &Outputs,
        end: WireEnd,
    ) {
        // Empty, for nobody wrote to them.
        let (dir, spares) = (&self.home.tasks_dir, &mut self.spares);
        let _ = outputs.settle(dir, spares, id.into());
        if let (Limits::Cgroups(cgroups), Some(cgroup)) = (&mut self.limits, starting.cgroup) {
            cgroups.give_back(cgroup);
        }
        if let Some(mut worker) = starting.worker {
            worker.clear_up();
        }
        self.refuse_launch(id, end);
    }

    /// Leaves the cgroup of the last attempt that was started without help. To be called before anything else is done with
    /// attempts: until then that cgroup holds the keeper as well.
    ///
    /// # Errors
    /// The keeper can't get out.
    pub(super) fn step_out(&mut self) -> io::Result<()> {
        match &mut self.limits {
            Limits::Cgroups(cgroups) => cgroups.leave(),
            Limits::Watch | Limits::Off => Ok(()),
        }
    }

    /// Sets the limits of attempts that have just been started. The keeper is in none of their cgroups.
    pub(super) fn limit_started(&mut self) {
        let Limits::Cgroups(cgroups) = &mut self.limits else {
            return;
        };
        for (id, demand) in self.unlimited.drain(..) {
            let attempt = self.attempts.get_mut(&id);
            // What has ended already needs none, and what it left behind is about to be ended.
            let attempt = attempt.filter(|attempt| attempt.exit.is_none());
            let Some(cgroup) = attempt.and_then(|attempt| attempt.cgroup.as_mut()) else {
                continue;
            };
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
        let too_large = std::mem::take(&mut self.too_large);
        self.kill_all(&too_large, Duration::ZERO, Cause::Memory);
    }

    /// Sends the reports, unless there is reason to wait a moment for more: each time the daemon hears something, it
    /// commits, decides and orders anew, which costs more than a short task. So as long as more of those that have
    /// begun just now go on than have ended, their ends are waited for. Where the keeper starts processes itself,
    /// ends gather meanwhile.
    ///
    /// # Errors
    /// The daemon has gone.
    pub(super) fn report(&mut self) -> io::Result<()> {
        let now = self.clock.elapsed();
        let may_wait = matches!(self.limits, Limits::Cgroups(_)) && !self.reports.is_due(now);
        if may_wait && self.n_young() > self.reports.n_ended() {
            self.reports.hold(now);
            return Ok(());
        }
        self.reports.flush()
    }

    /// How many have begun just now and go on.
    fn n_young(&self) -> usize {
        let goes_on = |(_, id): &&(Duration, WireAttempt)| self.attempts.contains_key(id);
        self.starting.len() + self.unannounced.iter().filter(goes_on).count()
    }

    /// Reports what has run for long enough, and gives its outputs their names.
    pub(super) fn announce(&mut self) {
        let now = self.clock.elapsed();
        while let Some((_, id)) = self
            .unannounced
            .pop_front_if(|(at, id)| *at <= now || !self.attempts.contains_key(id))
        {
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
