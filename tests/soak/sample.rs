//! What the daemon, its keeper and the disk hold at one moment.

use std::fs;
use std::path::Path;

use super::{Third, shown};
use crate::support::daemon::Daemon;

/// Memory may grow by so much of what it was, and by as much more: allocators keep what came free.
const MEMORY_GROWTH: f64 = 0.25;
const MEMORY_SLACK_KIB: u64 = 16 << 10;

/// A few connections may not be closed yet.
const FILES_SLACK: u64 = 16;

/// The keeper keeps a cgroup for each attempt that there was at once, and the files of it open: so many in each of its
/// directories. As many attempts fit here, and others may be dying.
const FILES_PER_CGROUP_DIR: u64 = 6;
const CGROUP_DIRS_MAX: u64 = 3 * 40;

/// Threads for blocking work come and go.
const THREADS_SLACK: u64 = 8;

/// The write-ahead log is as long as it once had to be.
const DISK_SLACK_KIB: u64 = 32 << 10;

/// The daemon, its guard and its keeper.
const PROCESSES: u64 = 3;

pub(super) const HEADER: &str = "round  killed       daemon: KiB files  threads  keeper: KiB files  threads  processes  \
                                 data KiB  files of tasks  cgroups";

/// What one process holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    pub(super) memory_kib: u64,
    /// Without those of cgroups.
    pub(super) n_files: u64,
    n_cgroup_files: u64,
    pub(super) n_threads: u64,
}

/// All of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) daemon: Held,
    pub(super) keeper: Held,
    n_processes: u64,
    data_kib: u64,
    n_task_files: u64,
    n_cgroups: u64,
}

impl Sample {
    pub(super) fn take(daemon: &Daemon, folder: &Path) -> Self {
        let own = daemon.pid().as_raw();
        let below = descendants(own);
        let data = folder.join("data");
        Self {
            daemon: held(own),
            keeper: below.get(1).copied().map(held).unwrap_or_default(),
            n_processes: 1 + below.len() as u64,
            data_kib: walk(&data).1 >> 10,
            n_task_files: n_task_files(&data),
            n_cgroups: n_cgroups(&data),
        }
    }

    pub(super) fn line(&self, round: u32, third: Third) -> String {
        format!(
            "{round:>5}  {:<8}  {}      {}  {:>9}  {:>8}  {:>14}  {:>7}",
            format!("{third:?}").to_lowercase(),
            shown(self.daemon),
            shown(self.keeper),
            self.n_processes,
            self.data_kib,
            self.n_task_files,
            self.n_cgroups,
        )
    }
}

/// What a process holds at the end more than at the beginning of its samples.
pub(super) fn grown(who: &str, samples: &[&Sample], of: fn(&Sample) -> Held) -> Vec<String> {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return vec![format!("there is no sample of {who}")];
    };
    let (first, last) = (of(first), of(last));
    let memory_max = first.memory_kib + (first.memory_kib as f64 * MEMORY_GROWTH) as u64;
    let bounds = [
        (
            "KiB of memory",
            first.memory_kib,
            last.memory_kib,
            memory_max + MEMORY_SLACK_KIB,
        ),
        (
            "open files",
            first.n_files,
            last.n_files,
            first.n_files + FILES_SLACK,
        ),
        (
            "threads",
            first.n_threads,
            last.n_threads,
            first.n_threads + THREADS_SLACK,
        ),
    ];
    let over = bounds.into_iter().filter(|(_, _, last, max)| last > max);
    over.map(|(what, first, last, max)| {
        format!("{who} holds {last} {what} after {first}; {max} would be flat")
    })
    .collect()
}

/// What should have gone by the end of each rest, and the disk.
pub(super) fn left_over(samples: &[&Sample]) -> Vec<String> {
    let mut findings = Vec::new();
    for (place, sample) in samples.iter().enumerate() {
        let round = place + 1;
        if sample.n_processes != PROCESSES {
            let n = sample.n_processes;
            findings.push(format!("after round {round} there are {n} processes"));
        }
        if sample.n_task_files > 0 {
            let n = sample.n_task_files;
            findings.push(format!(
                "after round {round} {n} files of forgotten tasks are left"
            ));
        }
    }
    for (place, sample) in samples.iter().enumerate() {
        let (n_dirs, n_files) = (sample.n_cgroups, sample.keeper.n_cgroup_files);
        if n_dirs > CGROUP_DIRS_MAX || n_files > n_dirs * FILES_PER_CGROUP_DIR {
            let round = place + 1;
            findings.push(format!(
                "after round {round} the keeper has {n_dirs} directories of cgroups, and {n_files} files in them open"
            ));
        }
    }
    // The first two thirds show how large files become under this load.
    let (early, late) = samples.split_at(samples.len() / 2);
    let most = |samples: &[&Sample]| samples.iter().map(|sample| sample.data_kib).max();
    let (early, late) = (most(early).unwrap_or(0), most(late).unwrap_or(0));
    if late > early + early / 4 + DISK_SLACK_KIB {
        findings.push(format!(
            "the data directory grew from {early} KiB to {late} KiB"
        ));
    }
    findings
}

fn held(pid: i32) -> Held {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let open = fs::read_dir(format!("/proc/{pid}/fd"));
    let open = open.into_iter().flatten().flatten();
    let (of_cgroups, others): (Vec<bool>, Vec<bool>) = open
        .map(|fd| fs::read_link(fd.path()).is_ok_and(|file| file.starts_with("/sys/fs/cgroup")))
        .partition(|is_of_cgroup| *is_of_cgroup);
    Held {
        memory_kib: number("VmRSS:").unwrap_or(0),
        n_files: others.len() as u64,
        n_cgroup_files: of_cgroups.len() as u64,
        n_threads: number("Threads:").unwrap_or(0),
    }
}

/// The processes below one, parents first: of an idle daemon its guard and its keeper.
pub(super) fn descendants(root: i32) -> Vec<i32> {
    let mut found = vec![root];
    let mut place = 0;
    while let Some(pid) = found.get(place) {
        let threads = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten();
        let lists = threads
            .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
        let children: Vec<i32> = lists
            .flat_map(|list| {
                let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
                pids.collect::<Vec<i32>>()
            })
            .collect();
        found.extend(children);
        place += 1;
    }
    found.split_off(1)
}

/// How many files there are below, and how many bytes they take.
fn walk(dir: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    let (mut n_files, mut n_bytes) = (0, 0);
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(found) = entry.metadata() else {
            continue;
        };
        if found.is_dir() {
            let below = walk(&entry.path());
            n_files += below.0;
            n_bytes += below.1;
        } else {
            n_files += 1;
            n_bytes += found.blocks() * 512;
        }
    }
    (n_files, n_bytes)
}

/// Files of attempts and values, without those that are kept to be used again.
pub(super) fn n_task_files(data: &Path) -> u64 {
    let tasks = data.join("tasks");
    let shards = fs::read_dir(tasks).into_iter().flatten().flatten();
    let shards = shards.filter(|entry| entry.file_name() != "spare" && entry.path().is_dir());
    let of_tasks: u64 = shards.map(|shard| walk(&shard.path()).0).sum();
    of_tasks + walk(&data.join("values")).0
}

/// Cgroups of this daemon's tasks, in all hierarchies.
fn n_cgroups(data: &Path) -> u64 {
    let record = fs::read_to_string(data.join("tasks/cgroups")).unwrap_or_default();
    let dirs = record.lines().map(|dir| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().is_dir()).count() as u64
    });
    dirs.sum()
}
