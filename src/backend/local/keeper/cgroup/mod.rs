//! A cgroup for each attempt: what holds its processes together, bounds its memory, and weighs its cpu time.
//!
//! Cgroups are kept and used again: to make and remove one costs more than all else that is done for an attempt.
//! A process is started inside its cgroup by a thread that sits there ([`Cgroups::seat`]), or by moving the keeper
//! there for the moment of the start ([`Cgroups::enter`], [`Cgroups::leave`]); so not even its first instruction runs
//! outside, and no child escapes. The limit is set as soon as the keeper has left, for it must not be in a cgroup that can run out of
//! memory; and it must have left before anything is killed by what a cgroup holds.

mod files;
mod mounts;
mod record;
mod v1;
mod v2;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::Pid;

use self::files::Files;
pub(super) use self::v1::Seat;
use super::starters::Starter;

/// What a cgroup may still hold in memory (cached files, mostly) and be used again. More would be counted
/// as the next attempt's.
const REUSE_MAX_BYTES: u64 = 1 << 20;

/// So many cgroups keep their files open at most.
const OPEN_MAX: u64 = 64;

/// One of so many file descriptors that the keeper may have goes to a cgroup that keeps its files open, which
/// takes fewer, with its starter.
const FDS_PER_OPEN: u64 = 20;

/// How many unused cgroups are kept.
const POOL_MAX: usize = 256;

/// The directories' names begin so; the rest says whose they are.
const PREFIX: &str = "apportion-";

/// Why cgroups can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CgroupError {
    /// Neither version offers a controller for memory.
    #[error("no cgroup hierarchy with the memory controller is mounted")]
    NoMemoryController,
    /// The kernel's list of mounts or of own cgroups can't be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something may not be done.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Forbidden {
        /// What.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// In v2 only leaves hold processes, and others are in the way.
    #[error(
        "the cgroup {} holds other processes too; start the daemon in a cgroup of its own (systemd: Delegate=yes)",
        .0.display()
    )]
    NotAlone(PathBuf),
}

/// What the files of a new cgroup say.
const FRESH: Demand = Demand {
    cpu_milli: Some(1000),
    mem_bytes: None,
    processes: None,
};

/// What of an attempt's demand is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Demand {
    /// Cpus, in thousandths.
    pub(super) cpu_milli: Option<u64>,
    /// Memory.
    pub(super) mem_bytes: Option<u64>,
    /// The most processes and threads.
    pub(super) processes: Option<u64>,
}

/// The two versions of the interface, each with its directories.
#[derive(Debug)]
enum Hierarchy {
    V1(v1::Hierarchy),
    V2(v2::Hierarchy),
}

/// One attempt's cgroup.
#[derive(Debug)]
pub(super) struct Cgroup {
    /// The name of its directories.
    name: String,
    /// In v1 those of memory.
    files: Files,
    /// In v1 those of cpu, where that controller may be used.
    cpu_files: Option<Files>,
    /// In v1 those of pids, where that controller may be used.
    pids_files: Option<Files>,
    keeps_open: bool,
    /// Who sits in it and starts what runs there.
    pub(super) starter: Option<Starter>,
    /// What its files say now.
    demand: Demand,
    /// How many processes had been killed in it for want of memory before this attempt.
    n_oom_kills_before: u64,
    /// How many processes it had refused before.
    n_refused_before: u64,
}

/// All cgroups of one keeper.
#[derive(Debug)]
pub(super) struct Cgroups {
    hierarchy: Hierarchy,
    unused: Vec<Cgroup>,
    n_made: u64,
    /// How many of them keep their files open, and how many may.
    n_open: u64,
    n_open_max: u64,
    /// The keeper is in one of them.
    is_inside: bool,
}

impl Cgroups {
    /// Finds out which version serves, makes the directories, and removes what an earlier keeper with the
    /// same `identity` left, its processes included. `record` is a file that remembers where they were.
    ///
    /// # Errors
    /// Why cgroups can't be used here.
    pub(super) fn find(identity: &str, record: &Path, daemon: u32) -> Result<Self, CgroupError> {
        let name = format!("{PREFIX}{identity}");
        let stuck = record::clear(record, &name);
        let own = mounts::Own::read()?;
        let hierarchy = match v1::Hierarchy::prepare(&own, &name) {
            Some(v1) => Hierarchy::V1(v1?),
            None => Hierarchy::V2(v2::Hierarchy::prepare(&own, &name, daemon)?),
        };
        let mut cgroups = Self {
            hierarchy,
            unused: Vec::new(),
            n_made: 0,
            n_open: 0,
            n_open_max: n_open_max(),
            is_inside: false,
        };
        record::write(record, stuck, cgroups.parents())?;
        cgroups.try_out()?;
        Ok(cgroups)
    }

    /// Goes into a cgroup and out again, so that it is known now whether that can be done.
    fn try_out(&mut self) -> Result<(), CgroupError> {
        let parent = self.parents().into_iter().next().unwrap_or_default();
        let cgroup = self
            .take()
            .map_err(forbidden("make a cgroup in", &parent))?;
        let entered = self.enter(&cgroup, true);
        let left = self.leave();
        let result = entered
            .and(left)
            .map_err(forbidden("move a process to", &parent.join(&cgroup.name)));
        self.give_back(cgroup);
        if result.is_err() {
            self.remove_all();
        }
        result
    }

    /// For people.
    pub(super) fn version(&self) -> &'static str {
        match &self.hierarchy {
            Hierarchy::V1(_) => "cgroup v1",
            Hierarchy::V2(_) => "cgroup v2",
        }
    }

    /// Whether the number of processes can be limited.
    pub(super) fn count_processes(&self) -> bool {
        match &self.hierarchy {
            Hierarchy::V1(v1) => v1.count_processes(),
            Hierarchy::V2(v2) => v2.count_processes(),
        }
    }

    /// A cgroup without processes and limits.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn take(&mut self) -> io::Result<Cgroup> {
        if let Some(cgroup) = self.unused.pop() {
            return Ok(cgroup);
        }
        self.n_made += 1;
        let name = self.n_made.to_string();
        match &self.hierarchy {
            Hierarchy::V1(v1) => v1.make(&name)?,
            Hierarchy::V2(v2) => v2.make(&name)?,
        }
        let keeps_open = self.n_open < self.n_open_max;
        self.n_open += u64::from(keeps_open);
        let files = |parent: &Path| Files::new(parent.join(&name), keeps_open);
        let (main, cpu, pids) = match &self.hierarchy {
            Hierarchy::V1(v1) => (v1.memory(), v1.cpu(), v1.pids()),
            Hierarchy::V2(v2) => (v2.dir(), None, None),
        };
        Ok(Cgroup {
            files: files(main),
            cpu_files: cpu.map(files),
            pids_files: pids.map(files),
            name,
            keeps_open,
            starter: None,
            demand: FRESH,
            n_oom_kills_before: 0,
            n_refused_before: 0,
        })
    }

    /// A place in the cgroup for a thread, to start from there what runs in it; `None` where threads can't be in another
    /// cgroup than their process, or too many sit somewhere already.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn seat(&self, cgroup: &Cgroup) -> io::Result<Option<Seat>> {
        match &self.hierarchy {
            Hierarchy::V1(v1) if cgroup.keeps_open => v1.seat(cgroup).map(Some),
            Hierarchy::V1(_) | Hierarchy::V2(_) => Ok(None),
        }
    }

    /// Moves this process into the cgroup, from wherever it is. What it starts is born there. In v1 that of pids is
    /// left out where processes aren't to be counted: each move costs.
    ///
    /// # Errors
    /// What the system said; it may be there in part. [`Cgroups::leave`] all the same.
    pub(super) fn enter(&mut self, cgroup: &Cgroup, counts_processes: bool) -> io::Result<()> {
        self.is_inside = true;
        match &mut self.hierarchy {
            Hierarchy::V1(v1) => v1.enter(cgroup, counts_processes),
            Hierarchy::V2(_) => cgroup.files.write("cgroup.procs", "0"),
        }
    }

    /// Moves this process back, if it is in a cgroup of these.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn leave(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.is_inside) {
            return Ok(());
        }
        match &mut self.hierarchy {
            Hierarchy::V1(v1) => v1.leave(),
            Hierarchy::V2(v2) => v2.leave(),
        }
    }

    /// Enforces a demand.
    ///
    /// # Errors
    /// What the system said; for one, that more memory is in use already.
    pub(super) fn limit(&self, cgroup: &mut Cgroup, demand: Demand) -> io::Result<()> {
        if cgroup.demand == demand {
            return Ok(());
        }
        let before = cgroup.demand;
        // Should this fail half way, it is not known what holds; then nothing is taken for granted later.
        cgroup.demand = Demand {
            cpu_milli: Some(u64::MAX),
            mem_bytes: Some(u64::MAX),
            processes: Some(u64::MAX),
        };
        match &self.hierarchy {
            Hierarchy::V1(v1) => v1.limit(cgroup, before, demand)?,
            Hierarchy::V2(v2) => v2.limit(&cgroup.files, before, demand)?,
        }
        cgroup.demand = demand;
        Ok(())
    }

    /// The processes in the cgroup, dead ones left out, and the keeper, of which a thread may sit there.
    pub(super) fn processes(&self, cgroup: &Cgroup) -> Vec<i32> {
        debug_assert!(!self.is_inside, "it might run out of memory");
        let own = Pid::this().as_raw();
        let mut found =
            parse_processes(&cgroup.files.read_anew("cgroup.procs").unwrap_or_default());
        found.retain(|pid| *pid != own);
        found
    }

    /// How many of the attempt's processes were killed because its memory was used up.
    pub(super) fn n_oom_kills(&self, cgroup: &Cgroup) -> u64 {
        self.n_oom_kills_ever(cgroup)
            .saturating_sub(cgroup.n_oom_kills_before)
    }

    /// How many processes the attempt was refused because it had as many as it may have.
    pub(super) fn n_refused_processes(&self, cgroup: &Cgroup) -> u64 {
        n_refused_ever(cgroup).saturating_sub(cgroup.n_refused_before)
    }

    /// The most memory that was in use, in bytes, cached files included; `None` where the kernel doesn't tell.
    pub(super) fn memory_peak_bytes(&self, cgroup: &Cgroup) -> Option<u64> {
        match &self.hierarchy {
            Hierarchy::V1(_) => cgroup.files.read_number(v1::PEAK),
            Hierarchy::V2(_) => cgroup.files.read_number("memory.peak"),
        }
    }

    /// Takes back a cgroup in which no process is left.
    pub(super) fn give_back(&mut self, mut cgroup: Cgroup) {
        if self.unused.len() >= POOL_MAX || !self.make_as_new(&mut cgroup) {
            self.remove(cgroup);
            return;
        }
        self.unused.push(cgroup);
    }

    /// Removes all that is not in use.
    pub(super) fn remove_all(&mut self) {
        for cgroup in std::mem::take(&mut self.unused) {
            self.remove(cgroup);
        }
        for dir in self.parents() {
            let _ = fs::remove_dir(dir);
        }
    }

    fn remove(&mut self, mut cgroup: Cgroup) {
        cgroup.starter = None;
        self.n_open -= u64::from(cgroup.keeps_open);
        for parent in self.parents() {
            // One that can't be removed (the kernel is still busy with it) is removed at the next start.
            let _ = fs::remove_dir(parent.join(&cgroup.name));
        }
    }

    /// Lifts limits and resets counters. False if the cgroup had better not be used again.
    fn make_as_new(&self, cgroup: &mut Cgroup) -> bool {
        match &self.hierarchy {
            // A peak that was reset is what is in use now.
            Hierarchy::V1(_) => {
                let in_use = cgroup
                    .files
                    .write(v1::PEAK, "0")
                    .map(|()| self.memory_peak_bytes(cgroup));
                if in_use
                    .ok()
                    .flatten()
                    .is_none_or(|bytes| bytes > REUSE_MAX_BYTES)
                {
                    return false;
                }
            }
            // Before Linux 6.12 the peak can't be reset, and the cgroup would tell that of an earlier attempt.
            Hierarchy::V2(_) => return false,
        }
        let lifted = Demand {
            mem_bytes: None,
            processes: None,
            ..cgroup.demand
        };
        let was_limited = cgroup.demand.mem_bytes.is_some();
        let was_counted = cgroup.demand.processes.is_some();
        if self.limit(cgroup, lifted).is_err() {
            return false;
        }
        if was_limited {
            cgroup.n_oom_kills_before = self.n_oom_kills_ever(cgroup);
        }
        if was_counted {
            cgroup.n_refused_before = n_refused_ever(cgroup);
        }
        true
    }

    fn n_oom_kills_ever(&self, cgroup: &Cgroup) -> u64 {
        let file = match &self.hierarchy {
            Hierarchy::V1(_) => "memory.oom_control",
            Hierarchy::V2(_) => "memory.events",
        };
        cgroup.files.read_keyed(file, "oom_kill").unwrap_or(0)
    }

    /// The directories above the cgroups, one in each hierarchy.
    fn parents(&self) -> Vec<PathBuf> {
        match &self.hierarchy {
            Hierarchy::V1(v1) => v1.parents(),
            Hierarchy::V2(v2) => vec![v2.dir().to_path_buf()],
        }
    }
}

fn n_refused_ever(cgroup: &Cgroup) -> u64 {
    let files = cgroup.pids_files.as_ref().unwrap_or(&cgroup.files);
    files.read_keyed("pids.events", "max").unwrap_or(0)
}

fn read_processes(dir: &Path) -> Vec<i32> {
    parse_processes(&fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default())
}

fn parse_processes(text: &str) -> Vec<i32> {
    // A 0 stands for a process of another pid namespace, and signal 0's target would be this group.
    text.lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| *pid > 0)
        .collect()
}

/// How many cgroups may keep their files open, by how many files this process may have open.
fn n_open_max() -> u64 {
    let n_fds_max = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    (n_fds_max / FDS_PER_OPEN).min(OPEN_MAX)
}

/// Writes to a file that is there. Unlike [`fs::write`] it neither makes nor empties it: the files of cgroups know neither.
fn write_to(path: &Path, text: &str) -> io::Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(text.as_bytes())
}

/// A limit as v2 and the pids of v1 read it.
fn max_or_word(limit: Option<u64>) -> String {
    limit.map_or("max".to_owned(), |max| max.to_string())
}

/// The error for a step of the preparation.
fn forbidden(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CgroupError {
    let path = path.to_path_buf();
    move |source| CgroupError::Forbidden {
        doing,
        path,
        source,
    }
}

/// Makes a directory, or takes the one that is there.
fn make_dir(path: &Path) -> Result<(), CgroupError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.map_err(forbidden("make the directory", path)),
    }
}
