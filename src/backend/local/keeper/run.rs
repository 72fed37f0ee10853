//! The keeper's loop: take orders, start attempts, notice their ends, report.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use super::super::layout;
use super::super::link::timeout;
use super::super::wire::{
    Lines, Order, Report, WireAttempt, WireBounds, WireEnd, WireLimits, WirePython, WireUsage,
    WireValue, write_line,
};
use super::attempt::{Attempt, Cause};
use super::cgroup::{CgroupError, Cgroups, Demand};
use super::launch::Starting;
use super::spares::Spares;
use super::spawn;
use super::starters::Starters;
use super::watch::Looks;
use super::workers::Workers;
use super::{Home, process};
use crate::clock::Stopwatch;

/// How demands are enforced.
#[derive(Debug)]
pub(super) enum Limits {
    Cgroups(Cgroups),
    Watch,
    Off,
}

/// What the keeper knows.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) home: Home,
    pub(super) clock: Stopwatch,
    pub(super) limits: Limits,
    pub(super) spares: Spares,
    /// What attempts may do to their neighbours, by the numbers that launches name.
    pub(super) bounds: BTreeMap<u32, Rc<WireBounds>>,
    /// When to look at what attempts take.
    pub(super) looks: Looks,
    pub(super) attempts: BTreeMap<WireAttempt, Attempt>,
    /// Attempts whose first process is being started.
    pub(super) starting: BTreeMap<WireAttempt, Starting>,
    pub(super) starters: Starters,
    /// Attempts by the id of their first process. Of two with the same id, the older of which has
    /// leftovers only, the newer.
    pub(super) by_pid: BTreeMap<i32, WireAttempt>,
    /// Attempts by the time when their start is to be reported, some of which may have ended.
    pub(super) unannounced: VecDeque<(Duration, WireAttempt)>,
    /// Just started, to be limited. Not at once: the keeper may still be in that cgroup.
    pub(super) unlimited: Vec<(WireAttempt, Demand)>,
    /// Attempts that have more memory in use than they may have, from the start.
    pub(super) too_large: Vec<WireAttempt>,
    /// Attempts that have ended and whose directories have not been looked at yet.
    pub(super) untidy: Vec<WireAttempt>,
    /// Attempts whose first process has ended.
    pub(super) exited: BTreeSet<WireAttempt>,
    /// Attempts that are being ended.
    pub(super) ending: BTreeSet<WireAttempt>,
    /// Processes that fell to the keeper, with the attempt that they belong to.
    pub(super) adopted: BTreeMap<i32, Option<WireAttempt>>,
    /// When to look for new ones of these.
    pub(super) adopt_at: Duration,
    /// When to look again at attempts that are being ended.
    pub(super) recheck_at: Option<Duration>,
    /// Python workers that wait.
    pub(super) workers: Workers,
    /// Attempts whose worker said that they are done.
    pub(super) done: BTreeSet<WireAttempt>,
    pub(super) reports: Reports,
    pub(super) shutting_down: bool,
}

/// Reports on their way to the daemon.
#[derive(Debug)]
pub(super) struct Reports {
    out: File,
    bytes: Vec<u8>,
    /// How many ends are among them.
    n_ended: usize,
    /// When they are to be sent, if they wait for more.
    due_at: Option<Duration>,
}

/// So long reports of ends may wait for more.
const HOLD_MAX: Duration = Duration::from_millis(2);

impl Reports {
    pub(super) fn push(&mut self, report: &Report) {
        self.n_ended += usize::from(matches!(report, Report::Ended { .. }));
        // Only a message for people could be too long, and none is.
        let _ = write_line(&mut self.bytes, report);
    }

    pub(super) fn warn(&mut self, message: String) {
        self.push(&Report::Warning { message });
    }

    fn warn_of_leftovers(&mut self, n_processes: usize) {
        if n_processes > 0 {
            self.warn(format!(
                "ended {n_processes} processes that an earlier daemon had left behind"
            ));
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.bytes)?;
        self.bytes.clear();
        self.n_ended = 0;
        self.due_at = None;
        Ok(())
    }

    /// How many ends are not sent yet.
    pub(super) fn n_ended(&self) -> usize {
        self.n_ended
    }

    /// Keeps what there is for a moment.
    pub(super) fn hold(&mut self, now: Duration) {
        if !self.bytes.is_empty() {
            self.due_at.get_or_insert(now + HOLD_MAX);
        }
    }

    /// Whether the moment is over.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.due_at.is_some_and(|at| at <= now)
    }

    /// When it is over, if there is one.
    pub(super) fn due_at(&self) -> Option<Duration> {
        self.due_at
    }
}

/// Lets signals end the wait for orders.
#[derive(Debug)]
pub(super) struct Wake {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Wake {
    /// Listens for the ends of children and for that of the guard.
    pub(super) fn on_signals(guard_died: &Arc<AtomicBool>) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        signal_hook::flag::register(nix::libc::SIGUSR1, Arc::clone(guard_died))?;
        signal_hook::low_level::pipe::register(nix::libc::SIGUSR1, writer.try_clone()?)?;
        signal_hook::low_level::pipe::register(nix::libc::SIGCHLD, writer.try_clone()?)?;
        Ok(Self { reader, writer })
    }

    /// Forgets the signals so far. Call only when there are some.
    fn clear(&mut self) -> io::Result<()> {
        let mut bytes = [0; 512];
        match self.reader.read(&mut bytes) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            Err(_) | Ok(_) => Ok(()),
        }
    }
}

/// Keeps until the daemon is gone or wants no more. What is then left is the caller's to end.
///
/// # Errors
/// The pipes fail, or what comes through them is no order.
pub(super) fn run(home: Home, mut wake: Wake, guard_died: &AtomicBool) -> io::Result<()> {
    let mut orders = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut lines = Lines::default();
    let Some(mut keeper) = Keeper::begin(home, &mut orders, &mut lines, &wake)? else {
        return Ok(());
    };
    let result = loop {
        match keeper.turn(&mut lines) {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            // The daemon has gone.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break Ok(()),
            Err(error) => break Err(error),
        }
        let (has_orders, has_signals, heard) = wait(&orders, &wake, &keeper)?;
        keeper.hear_workers(&heard);
        if has_signals {
            wake.clear()?;
        }
        if guard_died.load(Ordering::Relaxed) {
            break Ok(());
        }
        match if has_orders {
            lines.fill(&mut orders)
        } else {
            Ok(true)
        } {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    process::end_all_descendants();
    // What was just being started came after that.
    let starting: Vec<Starting> = std::mem::take(&mut keeper.starting)
        .into_values()
        .map(Starting::stop)
        .collect();
    process::end_all_descendants();
    keeper.spares.gather(Duration::MAX);
    if let Limits::Cgroups(cgroups) = &mut keeper.limits {
        let running = keeper.attempts.into_values().map(|attempt| attempt.cgroup);
        let cgroups_left = running.chain(starting.into_iter().map(|starting| starting.cgroup));
        for cgroup in cgroups_left.flatten() {
            cgroups.give_back(cgroup);
        }
        for cgroup in keeper.workers.into_cgroups() {
            cgroups.give_back(cgroup);
        }
        cgroups.remove_all();
    }
    result
}

/// Waits for orders, signals, workers, or the time. Tells whether there are any of the first two, and which
/// attempts' workers have something to say.
fn wait(orders: &File, wake: &Wake, keeper: &Keeper) -> io::Result<(bool, bool, Vec<WireAttempt>)> {
    let timeout = timeout(keeper.wait_max());
    let workers = keeper.attempts.values().filter_map(|attempt| {
        let fd = attempt.worker.as_ref()?.poll_fd()?;
        Some((attempt.id, fd))
    });
    let (ids, worker_fds): (Vec<WireAttempt>, Vec<BorrowedFd<'_>>) = workers.unzip();
    let mut fds: Vec<PollFd<'_>> = [orders.as_fd(), wake.reader.as_fd()]
        .into_iter()
        .chain(worker_fds)
        .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
        .collect();
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let any = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
    let heard = ids.into_iter().zip(&fds[2..]);
    let heard = heard.filter(|(_, fd)| any(fd)).map(|(id, _)| id).collect();
    Ok((any(&fds[0]), any(&fds[1]), heard))
}

/// Waits for the order to start, and takes it apart. `None` where none comes.
fn first_order(
    orders: &mut File,
    lines: &mut Lines,
) -> io::Result<Option<(WireLimits, u32, WirePython)>> {
    loop {
        if let Some(line) = lines.next_line() {
            return match parse(line)? {
                Order::Start {
                    limits,
                    daemon,
                    python,
                } => Ok(Some((limits, daemon, python))),
                order @ (Order::Contain { .. }
                | Order::Launch(_)
                | Order::Kill { .. }
                | Order::ShutDown { .. }) => Err(io::Error::other(format!(
                    "{order:?} comes before the start"
                ))),
            };
        }
        if !lines.fill(orders)? {
            return Ok(None);
        }
    }
}

impl Keeper {
    /// Waits for the first order and does it. `None` where there is nothing to keep.
    fn begin(
        home: Home,
        orders: &mut File,
        lines: &mut Lines,
        wake: &Wake,
    ) -> io::Result<Option<Self>> {
        let Some((limits, daemon, python)) = first_order(orders, lines)? else {
            return Ok(None);
        };
        let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let mut reports = Reports {
            out,
            bytes: Vec::new(),
            n_ended: 0,
            due_at: None,
        };
        reports.warn_of_leftovers(super::end_leftovers(&home));
        // Not before: an earlier keeper that still clears up moves what it has to the spares.
        let spares = Spares::new(home.tasks_dir.join(layout::SPARE_DIR))?;
        let (limits, instead_because) = match Limits::choose(limits, &home, daemon) {
            Ok(chosen) => chosen,
            Err(error) => {
                reports.push(&Report::Refused {
                    message: error.to_string(),
                });
                reports.flush()?;
                return Ok(None);
            }
        };
        reports.push(&Report::Ready {
            limits: limits.to_string(),
            instead_because,
        });
        let clock = Stopwatch::start();
        Ok(Some(Self {
            home,
            clock,
            limits,
            spares,
            bounds: BTreeMap::new(),
            looks: Looks::default(),
            attempts: BTreeMap::new(),
            starting: BTreeMap::new(),
            starters: Starters::new(clock, wake.writer.try_clone()?),
            by_pid: BTreeMap::new(),
            unannounced: VecDeque::new(),
            unlimited: Vec::new(),
            too_large: Vec::new(),
            untidy: Vec::new(),
            exited: BTreeSet::new(),
            ending: BTreeSet::new(),
            adopted: BTreeMap::new(),
            adopt_at: Duration::ZERO,
            recheck_at: None,
            workers: Workers::new(python),
            done: BTreeSet::new(),
            reports,
            shutting_down: false,
        }))
    }

    /// Does all there is to do now. False once the keeper is no longer needed.
    fn turn(&mut self, lines: &mut Lines) -> io::Result<bool> {
        while let Some(line) = lines.next_line() {
            match parse(line)? {
                Order::Start { .. } => return Err(io::Error::other("a second start")),
                Order::Contain { profile, bounds } => {
                    self.bounds.insert(profile, Rc::new(bounds));
                }
                Order::Launch(launch) => self.launch(&launch)?,
                Order::Kill {
                    attempt,
                    grace_millis,
                } => {
                    self.step_out()?;
                    self.on_kill(attempt, grace_millis);
                }
                Order::ShutDown { grace_millis } => {
                    self.step_out()?;
                    self.shutting_down = true;
                    let grace = Duration::from_millis(grace_millis);
                    let all: Vec<_> = self.attempts.keys().copied().collect();
                    self.kill_all(&all, grace, Cause::Ordered);
                    for starting in self.starting.values_mut() {
                        starting.end(grace);
                    }
                }
            }
        }
        self.step_out()?;
        self.hear_starters();
        self.settle_workers();
        self.reap();
        self.limit_started();
        self.on_time();
        self.settle();
        self.announce();
        self.report()?;
        // While the daemon decides what comes next.
        let now = self.clock.elapsed();
        self.spares.gather(now);
        for attempt in std::mem::take(&mut self.untidy) {
            spawn::tidy_up(&self.home.tasks_dir, &mut self.spares, attempt.into(), now);
        }
        let is_busy = !self.attempts.is_empty() || !self.starting.is_empty();
        Ok(is_busy || !self.shutting_down)
    }

    fn on_kill(&mut self, attempt: WireAttempt, grace_millis: u64) {
        let grace = Duration::from_millis(grace_millis);
        if self.attempts.contains_key(&attempt) {
            self.kill_all(&[attempt], grace, Cause::Ordered);
        } else if let Some(starting) = self.starting.get_mut(&attempt) {
            starting.end(grace);
        } else {
            self.report_end(
                attempt,
                WireEnd::Killed,
                WireUsage::default(),
                WireValue::Nothing,
            );
        }
    }

    pub(super) fn report_end(
        &mut self,
        attempt: WireAttempt,
        end: WireEnd,
        usage: WireUsage,
        value: WireValue,
    ) {
        self.reports.push(&Report::Ended {
            attempt,
            end,
            usage,
            value,
        });
    }
}

impl Limits {
    /// Whether cgroups bound how many processes attempts have.
    pub(super) fn count_processes(&self) -> bool {
        matches!(self, Self::Cgroups(cgroups) if cgroups.count_processes())
    }

    /// What to do on this machine, and where it isn't cgroups, why.
    fn choose(
        wanted: WireLimits,
        home: &Home,
        daemon: u32,
    ) -> Result<(Self, Option<String>), CgroupError> {
        let find = || {
            Cgroups::find(
                &home.identity,
                &home.tasks_dir.join(layout::CGROUPS_RECORD),
                daemon,
            )
        };
        match wanted {
            WireLimits::Off => Ok((Self::Off, None)),
            WireLimits::Watch => Ok((Self::Watch, None)),
            WireLimits::Cgroup => find().map(|cgroups| (Self::Cgroups(cgroups), None)),
            WireLimits::Auto => Ok(match find() {
                Ok(cgroups) => (Self::Cgroups(cgroups), None),
                Err(error) => (Self::Watch, Some(error.to_string())),
            }),
        }
    }
}

impl std::fmt::Display for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cgroups(cgroups) => cgroups.version(),
            Self::Watch => "watch",
            Self::Off => "off",
        })
    }
}

fn parse(line: &[u8]) -> io::Result<Order<'static>> {
    serde_json::from_slice(line).map_err(|error| io::Error::other(format!("not an order: {error}")))
}
