//! The pool of Python workers that wait for a task.

use std::borrow::Cow;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::super::wire::{LaunchOrder, PythonOrder, WireEnd, WirePython};
use super::cgroup::{Cgroup, Cgroups};
use super::process;
use super::worker::{Key, Worker, is_granted};

/// The program that a worker runs.
const WORKER: &str = include_str!("../../../../python/src/apportion/_worker.py");

/// A worker that waits for a task.
#[derive(Debug)]
pub(super) struct Idle {
    pub(super) worker: Worker,
    pub(super) child: Child,
    pub(super) pid: i32,
    pub(super) cgroup: Option<Cgroup>,
    /// Since then.
    since: Duration,
}

/// All workers that wait.
#[derive(Debug)]
pub(super) struct Workers {
    pub(super) settings: WirePython,
    /// The one that waited longest first.
    idle: Vec<Idle>,
    /// Those that were ended and are not yet waited for, with their cgroups.
    ended: Vec<(i32, Option<Cgroup>)>,
}

impl Workers {
    pub(super) fn new(settings: WirePython) -> Self {
        Self {
            settings,
            idle: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// Gives a task to a worker that waits for one of its kind; `None` where there is none.
    pub(super) fn reuse(
        &mut self,
        tasks_dir: &Path,
        order: &LaunchOrder<'_>,
        python: &PythonOrder<'_>,
    ) -> Option<Idle> {
        let key = Key::of(order, python, &self.settings);
        // The one that worked last: its memory is warm, and the others may come of age.
        while let Some(place) = self.idle.iter().rposition(|idle| idle.worker.key == key) {
            let mut idle = self.idle.remove(place);
            if idle.worker.order(tasks_dir, order, python).is_ok() {
                idle.worker.cpu_before =
                    process::Process::read(idle.pid).map_or(Duration::ZERO, |found| found.cpu());
                return Some(idle);
            }
            self.end(idle);
        }
        None
    }

    /// A new worker with its first order, and the command that starts it.
    ///
    /// # Errors
    /// The machine's trouble.
    pub(super) fn prepare(
        &self,
        tasks_dir: &Path,
        order: &LaunchOrder<'_>,
        python: &PythonOrder<'_>,
    ) -> Result<(Worker, Vec<Cow<'static, str>>, Stdio), WireEnd> {
        let key = Key::of(order, python, &self.settings);
        let argv = vec![
            Cow::Owned(key.interpreter.clone()),
            "-c".into(),
            WORKER.into(),
            self.settings.tasks_max.to_string().into(),
            self.settings.memory_growth_bytes.to_string().into(),
        ];
        let failed = |error| WireEnd::Failed(format!("cannot reach a Python worker: {error}"));
        let (mut worker, stdin) = Worker::new(key).map_err(failed)?;
        worker.order(tasks_dir, order, python).map_err(failed)?;
        Ok((worker, argv, stdin))
    }

    /// The variables with which a worker is started: all that don't differ from task to task.
    pub(super) fn start_env<'a>(order: &'a LaunchOrder<'_>) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
        let lasting = order.env.iter().filter(|(name, _)| !is_granted(name));
        lasting
            .map(|(name, value)| (Cow::Borrowed(&**name), Cow::Borrowed(&**value)))
            .collect()
    }

    /// Takes a worker back that is done with its task.
    pub(super) fn keep(
        &mut self,
        worker: Worker,
        child: Child,
        pid: i32,
        cgroup: Option<Cgroup>,
        now: Duration,
    ) {
        self.idle.push(Idle {
            worker,
            child,
            pid,
            cgroup,
            since: now,
        });
        while self.idle.len() > self.settings.idle_max {
            let oldest = self.idle.remove(0);
            self.end(oldest);
        }
    }

    /// Ends those that have waited too long.
    pub(super) fn expire(&mut self, now: Duration) {
        while self.expire_at().is_some_and(|at| at <= now) {
            let oldest = self.idle.remove(0);
            self.end(oldest);
        }
    }

    /// When the next one has waited too long.
    pub(super) fn expire_at(&self) -> Option<Duration> {
        let longest = Duration::from_millis(self.settings.idle_millis);
        self.idle
            .first()
            .map(|oldest| oldest.since.saturating_add(longest))
    }

    fn end(&mut self, idle: Idle) {
        // The group, though nothing but the worker is in it: what its last task left was looked for.
        process::send(-idle.pid, Signal::SIGKILL);
        self.ended.push((idle.pid, idle.cgroup));
    }

    /// Whether this process is one of the workers here.
    pub(super) fn holds(&self, pid: i32) -> bool {
        self.idle.iter().any(|idle| idle.pid == pid)
            || self.ended.iter().any(|(ended, _)| *ended == pid)
    }

    /// A process was waited for. If it was a worker, its cgroup is given back.
    pub(super) fn on_reaped(&mut self, pid: i32, cgroups: Option<&mut Cgroups>) {
        let mut cgroup = None;
        if let Some(place) = self.ended.iter().position(|(ended, _)| *ended == pid) {
            cgroup = self.ended.remove(place).1;
        } else if let Some(place) = self.idle.iter().position(|idle| idle.pid == pid) {
            // Somebody else ended it, such as the kernel for want of memory.
            cgroup = self.idle.remove(place).cgroup;
        }
        if let (Some(cgroup), Some(cgroups)) = (cgroup, cgroups) {
            cgroups.give_back(cgroup);
        }
    }

    /// The cgroups of all of them, when no process is left.
    pub(super) fn into_cgroups(self) -> impl Iterator<Item = Cgroup> {
        let idle = self.idle.into_iter().filter_map(|idle| idle.cgroup);
        idle.chain(self.ended.into_iter().filter_map(|(_, cgroup)| cgroup))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use super::super::worker::tests::{key, order, python, settings};
    use super::*;

    /// A process that stays, in a group of its own, as that of a worker. It reads nothing, and holds its end of the
    /// socket.
    fn worker() -> (Worker, Child, i32) {
        let (worker, stdin) = Worker::new(key()).unwrap();
        let mut command = Command::new("sleep");
        let child = command
            .arg("1000")
            .stdin(stdin)
            .process_group(0)
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        (worker, child, pid)
    }

    fn keep(workers: &mut Workers, since_secs: u64) -> i32 {
        let (worker, child, pid) = worker();
        workers.keep(worker, child, pid, None, Duration::from_secs(since_secs));
        pid
    }

    fn reuse(workers: &mut Workers, queue: &'static str) -> Option<Idle> {
        workers.reuse(Path::new("/tasks"), &order(&[]), &python(queue))
    }

    /// Ends a process that is nobody's any more.
    fn end(mut idle: Idle) {
        idle.child.kill().unwrap();
        idle.child.wait().unwrap();
    }

    #[test]
    fn the_one_that_worked_last_is_used_again_and_only_for_its_own_kind() {
        let mut workers = Workers::new(settings());
        let (first, second) = (keep(&mut workers, 1), keep(&mut workers, 2));
        assert!(reuse(&mut workers, "search").is_none());
        let again = reuse(&mut workers, "maps").unwrap();
        assert_eq!(again.pid, second);
        let other = reuse(&mut workers, "maps").unwrap();
        assert_eq!(other.pid, first);
        assert!(reuse(&mut workers, "maps").is_none());
        end(again);
        end(other);
    }

    #[test]
    fn one_that_is_gone_is_passed_over() {
        let mut workers = Workers::new(settings());
        let (first, second) = (keep(&mut workers, 1), keep(&mut workers, 2));
        let gone = workers.idle.last_mut().unwrap();
        gone.child.kill().unwrap();
        gone.child.wait().unwrap();
        let used = reuse(&mut workers, "maps").unwrap();
        assert_eq!(used.pid, first);
        assert!(workers.holds(second), "until it is waited for");
        workers.on_reaped(second, None);
        assert!(!workers.holds(second));
        end(used);
    }

    #[test]
    fn those_that_waited_longest_end_first_when_they_are_too_many_or_too_old() {
        let mut workers = Workers::new(settings());
        let pids: Vec<i32> = (1..=3).map(|at| keep(&mut workers, at)).collect();
        assert_eq!(workers.idle.len(), 2, "as many as may wait");
        assert_eq!(workers.ended[0].0, pids[0]);
        assert_eq!(workers.expire_at(), Some(Duration::from_secs(3)));
        workers.expire(Duration::from_millis(2999));
        assert_eq!(workers.idle.len(), 2);
        workers.expire(Duration::from_secs(3));
        assert_eq!(
            workers.idle.iter().map(|idle| idle.pid).collect::<Vec<_>>(),
            [pids[2]]
        );
        workers.expire(Duration::from_secs(100));
        assert_eq!(workers.expire_at(), None);
        for pid in pids {
            let pid = nix::unistd::Pid::from_raw(pid);
            assert!(nix::sys::wait::waitpid(pid, None).is_ok(), "it was ended");
        }
    }
}
