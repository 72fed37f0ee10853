//! How attempts end: by themselves, by order, or because something of them is left over.
//!
//! An attempt has ended when none of its processes is left. If its first process ends by itself, the
//! others are SIGKILLed at once: whoever wants to wait for them does so in the task, and batch systems do
//! the same. If it is ended, all get SIGTERM, and SIGKILL after the grace.

use std::io;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use wait4::Wait4 as _;

use super::super::wire::{Report, WireAttempt, WireValue};
use super::attempt::{Attempt, Cause, Exit, RECHECK, Stage};
use super::process::{self, Process};
use super::python;
use super::run::{Keeper, Limits};
use super::spawn::Written;
use super::tree::Look;
use crate::engine::AttemptId;

/// How often to look for processes that fell to the keeper, and for what the kernel killed.
const ADOPT_EVERY: Duration = Duration::from_secs(1);

impl Keeper {
    /// Waits for all children that have ended.
    pub(super) fn reap(&mut self) {
        // First those of this thread, to which what lost its parent falls, then those that starters started.
        self.reap_those(WaitPidFlag::__WNOTHREAD);
        self.reap_those(WaitPidFlag::empty());
    }

    fn reap_those(&mut self, which: WaitPidFlag) {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT | which;
        loop {
            match waitid(Id::All, flags) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(status) => {
                    let Some(pid) = status.pid().map(Pid::as_raw) else {
                        continue;
                    };
                    if which.is_empty() && !self.starting.is_empty() && !self.knows(pid) {
                        // Its starter is about to tell whose it is, and is listened to again in a moment.
                        return;
                    }
                    self.reap_one(pid);
                }
                Err(Errno::EINTR) => {}
                // The status of a child that a realtime signal ended can't be told by this call.
                Err(_) => {
                    if !self.reap_by_listing() {
                        return;
                    }
                }
            }
        }
    }

    /// Waits for all children that have ended, found the long way. False if there were none.
    fn reap_by_listing(&mut self) -> bool {
        let firsts = self
            .attempts
            .values()
            .filter(|attempt| attempt.child.is_some());
        let ended: Vec<i32> = process::own_children()
            .unwrap_or_default()
            .into_iter()
            .chain(firsts.map(|attempt| attempt.pid))
            .filter(|pid| Process::read(*pid).is_some_and(|process| process.is_zombie))
            .collect();
        for pid in &ended {
            self.reap_one(*pid);
        }
        !ended.is_empty()
    }

    /// Whether a child is the first process of an attempt, or a worker.
    fn knows(&self, pid: i32) -> bool {
        let attempt = self.by_pid.get(&pid).and_then(|id| self.attempts.get(id));
        attempt.is_some_and(|attempt| attempt.child.is_some()) || self.workers.holds(pid)
    }

    /// Waits for one child, which has ended.
    fn reap_one(&mut self, pid: i32) {
        let attempt = self
            .by_pid
            .get(&pid)
            .and_then(|id| self.attempts.get_mut(id));
        let Some((attempt, child)) = attempt.and_then(|attempt| {
            let child = attempt.child.take()?;
            Some((attempt, child))
        }) else {
            self.reap_orphan(pid);
            return;
        };
        let wall = self.clock.elapsed().saturating_sub(attempt.started_at);
        let exit = child.wait4().map(|used| Exit {
            status: used.status,
            wall,
            cpu: used.rusage.utime + used.rusage.stime,
            memory_peak_bytes: used.rusage.maxrss,
        });
        // It can't fail: the child has ended, and nobody else waits for it.
        attempt.exit = Some(exit.expect("a child of this thread that has ended can be waited for"));
        self.exited.insert(attempt.id);
    }

    /// Waits for a process that lost its parent, and counts what it used.
    fn reap_orphan(&mut self, pid: i32) {
        if let Some(process) = Process::read(pid) {
            let owner = self.adopted.get(&pid).copied().flatten();
            let owner = owner.or_else(|| self.by_pid.get(&process.group).copied());
            if let Some(attempt) = owner.and_then(|owner| self.attempts.get_mut(&owner)) {
                attempt.orphans_cpu += process.cpu();
            }
        }
        self.adopted.remove(&pid);
        if self.workers.holds(pid) {
            let cgroups = match &mut self.limits {
                Limits::Cgroups(cgroups) => Some(cgroups),
                Limits::Watch | Limits::Off => None,
            };
            // Its cgroup can be used again only when it is really gone.
            let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
            self.workers.on_reaped(pid, cgroups);
            return;
        }
        let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
    }

    /// Ends attempts whose first process has ended, or what is left of them.
    pub(super) fn settle(&mut self) {
        let mut look = Look::default();
        for id in self.exited.clone() {
            let left = self.left_of(id, &mut look);
            if left.is_empty() {
                self.finish(id);
                continue;
            }
            let Some(attempt) = self.attempts.get_mut(&id) else {
                continue;
            };
            if attempt.stage == Stage::Running {
                attempt.stage = Stage::Killing;
                self.ending.insert(id);
            }
            if attempt.stage == Stage::Killing {
                for pid in left {
                    process::send(pid, Signal::SIGKILL);
                }
            }
            self.recheck_soon();
        }
    }

    /// The attempt has ended.
    fn finish(&mut self, id: WireAttempt) {
        self.exited.remove(&id);
        self.ending.remove(&id);
        let Some(mut attempt) = self.attempts.remove(&id) else {
            return;
        };
        if self.by_pid.get(&attempt.pid) == Some(&id) {
            self.by_pid.remove(&attempt.pid);
        }
        self.looks.end(&attempt);
        let (n_oom_kills, over) = match self.cgroup_says(&attempt) {
            Some(Cause::Memory) => (1, None),
            Some(Cause::Limit(limit)) => (0, Some(limit)),
            Some(Cause::Ordered) | None => (0, None),
        };
        let mut peak = None;
        if let (Limits::Cgroups(cgroups), Some(cgroup)) = (&mut self.limits, attempt.cgroup.take())
        {
            peak = cgroups.memory_peak_bytes(&cgroup);
            cgroups.give_back(cgroup);
        }
        if let Some(worker) = &mut attempt.worker {
            worker.read_last_word(id, self.clock.elapsed());
        }
        let written = self.let_go(&attempt);
        let over = over.or_else(|| attempt.output_limit_hit(written.n_bytes()));
        let end = attempt.end(n_oom_kills, over);
        let usage = python::usage_with_worker(&attempt, attempt.usage(peak));
        let mut value = Self::last_words(&mut attempt);
        if value == WireValue::Output && written.stdout_bytes == 0 {
            value = WireValue::Nothing;
        }
        self.report_end(id, end, usage, value);
    }

    /// Gives the outputs of an attempt that has ended their names, or takes them away, and reports its start if
    /// that has not been done. Says what was in its outputs; of what is beyond its bounds the rest is cut off.
    pub(super) fn let_go(&mut self, attempt: &Attempt) -> Written {
        let (dir, spares) = (&self.home.tasks_dir, &mut self.spares);
        let id = AttemptId::from(attempt.id);
        let settled = attempt.outputs.settle(dir, spares, id);
        let settled = settled.and_then(|written| {
            if let Some(max) = attempt.output_max_passed(written.n_bytes()) {
                written.cut(dir, id, max)?;
            }
            Ok(written)
        });
        let written = settled.unwrap_or_else(|error| {
            self.reports
                .warn(format!("cannot keep the outputs of attempt {id}: {error}"));
            Written {
                stdout_bytes: 1,
                stderr_bytes: 0,
            }
        });
        self.untidy.push(attempt.id);
        if !attempt.is_announced {
            self.reports.push(&Report::Started {
                attempt: attempt.id,
            });
        }
        written
    }

    /// Begins to end attempts. Those that are being ended already have no more time than they had.
    pub(super) fn kill_all(&mut self, ids: &[WireAttempt], grace: Duration, cause: Cause) {
        let now = self.clock.elapsed();
        let wanted = if grace.is_zero() {
            Stage::Killing
        } else {
            Stage::Terminating(now.saturating_add(grace))
        };
        let mut look = Look::default();
        for id in ids {
            let Some(attempt) = self.attempts.get_mut(id) else {
                continue;
            };
            if attempt.exit.is_none() {
                attempt.cause.get_or_insert(cause);
            }
            let stage = attempt.stage;
            attempt.stage = match (stage, wanted) {
                (Stage::Terminating(before), Stage::Terminating(after)) => {
                    Stage::Terminating(before.min(after))
                }
                (before, wanted) => before.max(wanted),
            };
            let signal = match (stage, attempt.stage) {
                (_, Stage::Killing) => Some(Signal::SIGKILL),
                (Stage::Running, _) => Some(Signal::SIGTERM),
                (Stage::Terminating(_) | Stage::Killing, _) => None,
            };
            self.ending.insert(*id);
            if let Some(signal) = signal {
                self.signal(*id, signal, &mut look);
            }
        }
    }

    /// Kills what is left of an attempt that is done, its worker included. Its end stays as the worker told it.
    pub(super) fn kill_with_worker(&mut self, id: WireAttempt, look: &mut Look) {
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.stage = Stage::Killing;
            self.ending.insert(id);
            self.signal(id, Signal::SIGKILL, look);
            self.recheck_soon();
        }
    }

    /// Signals all processes of an attempt.
    fn signal(&mut self, id: WireAttempt, signal: Signal, look: &mut Look) {
        let mut targets = self.left_of(id, look);
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        if attempt.child.is_some() {
            // The whole group in one blow, so that none of it can answer by starting another.
            targets.insert(0, -attempt.pid);
        }
        for pid in targets
            .iter()
            .copied()
            .filter(|pid| *pid < 0 || signal == Signal::SIGKILL)
        {
            process::send(pid, signal);
        }
        if signal == Signal::SIGKILL {
            return;
        }
        // Those of the group have it already, and SIGTERM twice may mean something else than once.
        let others = targets.iter().copied().filter(|pid| *pid > 0);
        let others: Vec<i32> = match attempt.child {
            Some(_) => others
                .filter(|pid| {
                    Process::read(*pid).is_some_and(|process| process.group != attempt.pid)
                })
                .collect(),
            None => others.collect(),
        };
        for pid in others {
            process::send(pid, signal);
        }
        // What is stopped hears nothing else.
        for pid in targets {
            process::send(pid, Signal::SIGCONT);
        }
    }

    /// Does what is due.
    pub(super) fn on_time(&mut self) {
        let now = self.clock.elapsed();
        self.workers.expire(now);
        if self.attempts.is_empty() {
            return;
        }
        let mut look = Look::default();
        let is_recheck = self.recheck_at.is_some_and(|at| at <= now);
        if is_recheck {
            self.recheck_at = None;
        }
        for id in self.ending.clone() {
            let Some(attempt) = self.attempts.get_mut(&id) else {
                continue;
            };
            let is_due = match attempt.stage {
                Stage::Running => false,
                Stage::Terminating(at) => at <= now,
                Stage::Killing => is_recheck,
            };
            if is_due {
                attempt.stage = Stage::Killing;
                self.signal(id, Signal::SIGKILL, &mut look);
            }
            if self
                .attempts
                .get(&id)
                .is_some_and(|attempt| attempt.stage == Stage::Killing)
            {
                self.recheck_soon();
            }
        }
        if self.adopt_at <= now {
            self.adopt_at = now + ADOPT_EVERY;
            self.adopt(&mut look);
            self.end_those_at_their_bounds();
        }
        self.watch(now, &mut look);
    }

    /// How long at most to wait for something to happen.
    pub(super) fn wait_max(&self) -> Option<Duration> {
        let always = self
            .workers
            .expire_at()
            .into_iter()
            .chain(self.spares.gather_at())
            .chain(self.reports.due_at())
            .chain(self.listen_at());
        if self.attempts.is_empty() {
            let next = always.min();
            return next.map(|at| at.saturating_sub(self.clock.elapsed()));
        }
        let deadlines = self
            .ending
            .iter()
            .filter_map(|id| match self.attempts.get(id)?.stage {
                Stage::Terminating(at) => Some(at),
                Stage::Running | Stage::Killing => None,
            });
        let next = deadlines
            .chain([self.adopt_at])
            .chain(self.recheck_at)
            .chain(self.announce_at())
            .chain(self.watch_at())
            .chain(always)
            .min();
        next.map(|at| at.saturating_sub(self.clock.elapsed()))
    }

    fn recheck_soon(&mut self) {
        let at = self.clock.elapsed() + RECHECK;
        self.recheck_at.get_or_insert(at);
    }

    /// The living processes of an attempt.
    pub(super) fn left_of(&mut self, id: WireAttempt, look: &mut Look) -> Vec<i32> {
        if let (Limits::Cgroups(cgroups), Some(attempt)) = (&self.limits, self.attempts.get(&id))
            && let Some(cgroup) = &attempt.cgroup
        {
            return cgroups.processes(cgroup);
        }
        self.members(id, look)
    }

    /// Finds the owners of processes that have fallen to the keeper since the last look.
    fn adopt(&mut self, look: &mut Look) {
        let orphans: io::Result<Vec<i32>> = self.orphans(look);
        if let Err(error) = orphans {
            self.reports
                .warn(format!("cannot list own children: {error}"));
        }
    }
}
