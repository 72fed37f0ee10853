//! What `/proc` says about processes, and ending all that descend from this one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::clock::Stopwatch;

/// Between two looks at processes that are about to end.
const PAUSE: Duration = Duration::from_millis(10);

/// A process, as `/proc/<pid>/stat` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    /// Dead, and not yet waited for.
    pub(super) is_zombie: bool,
    /// User and system time of its own and of the children it waited for, in clock ticks.
    pub(super) cpu_ticks: u64,
    /// How many threads it has, the first one included.
    pub(super) n_threads: u64,
    /// Resident memory, shared pages included, in pages.
    pub(super) resident_pages: u64,
}

impl Process {
    /// Reads one; `None` if there is no such process (any more).
    pub(super) fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Takes the line apart. The program's name stands in parentheses and may contain anything.
    fn parse(line: &str) -> Option<Self> {
        let (pid, rest) = line.split_once(' ')?;
        let (_, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |index: usize| fields.get(index)?.trim().parse::<i64>().ok();
        let unsigned = |index: usize| u64::try_from(number(index)?).ok();
        Some(Self {
            pid: pid.parse().ok()?,
            parent: number(1)?.try_into().ok()?,
            group: number(2)?.try_into().ok()?,
            is_zombie: matches!(fields.first()?, &"Z" | &"X" | &"x"),
            cpu_ticks: unsigned(11)? + unsigned(12)? + unsigned(13)? + unsigned(14)?,
            n_threads: unsigned(17)?,
            resident_pages: unsigned(21)?,
        })
    }

    /// User and system time.
    pub(super) fn cpu(&self) -> Duration {
        let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
        let per_second = u64::try_from(per_second).unwrap_or(100).max(1);
        Duration::from_micros(self.cpu_ticks.saturating_mul(1_000_000) / per_second)
    }
}

/// All processes, by their ids.
pub(super) fn all() -> BTreeMap<i32, Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| Some((pid, Process::read(pid)?)))
        .collect()
}

/// The children of this thread, dead ones that nobody waited for included. Exact, because only this thread waits for them.
/// What loses its parent falls to the keeper's first thread; what the others start is not among them.
///
/// # Errors
/// The kernel was built without `CONFIG_PROC_CHILDREN`.
pub(super) fn own_children() -> io::Result<Vec<i32>> {
    let text = fs::read_to_string("/proc/thread-self/children")?;
    Ok(text
        .split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect())
}

/// All that descend from `root`, in no particular order, dead ones left out.
pub(super) fn descendants(root: i32, processes: &BTreeMap<i32, Process>) -> Vec<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for process in processes.values() {
        children
            .entry(process.parent)
            .or_default()
            .push(process.pid);
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            open.push(child);
            if processes
                .get(&child)
                .is_some_and(|process| !process.is_zombie)
            {
                found.push(child);
            }
        }
    }
    found
}

/// The value of a variable in the environment with which a process was started.
pub(super) fn environment_of(pid: i32) -> Option<BTreeMap<String, String>> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let pairs = bytes.split(|byte| *byte == 0).filter_map(|pair| {
        let (name, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
        name.starts_with("APPORTION_")
            .then(|| (name.to_owned(), value.to_owned()))
    });
    Some(pairs.collect())
}

/// Whether a process runs somewhere under this directory.
pub(super) fn runs_under(pid: i32, dir: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir))
}

/// The memory of a process with shared pages divided among those that share them, in bytes.
pub(super) fn proportional_memory_bytes(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// Sends a signal; that there is no such process (any more) is fine.
pub(super) fn send(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}

/// Whether a process group has members, dead ones that nobody waited for included.
pub(super) fn group_has_members(group: i32) -> bool {
    kill(Pid::from_raw(-group), None) != Err(Errno::ESRCH)
}

/// SIGKILLs everything that descends from this process, and returns when none of it is left. This
/// process must be a subreaper, so that whatever loses its parent comes here.
pub(super) fn end_all_descendants() {
    let own = Pid::this().as_raw();
    loop {
        for pid in descendants(own, &all()) {
            send(pid, Signal::SIGKILL);
        }
        // All children have been sent SIGKILL, so one of them ends soon. What was born since is found next time.
        if waitpid(None, None) == Err(Errno::ECHILD) {
            return;
        }
        while !matches!(
            waitpid(None, Some(WaitPidFlag::WNOHANG)),
            Err(Errno::ECHILD) | Ok(nix::sys::wait::WaitStatus::StillAlive)
        ) {}
    }
}

/// SIGKILLs all processes in whose environment `variable` has this value, and which are neither this
/// process nor above it: what an earlier keeper of the same tasks left, should it have been killed
/// together with its guard. Returns how many there were, once none of them is left, or when they take longer than
/// `patience`: a process that waits for a disk doesn't hear even SIGKILL.
pub(super) fn end_marked(variable: &str, value: &str, patience: Duration) -> usize {
    let ended = kill_marked(variable, value);
    let since = Stopwatch::start();
    // What was killed gives its memory back before it is gone, and tells of no environment meanwhile.
    let is_left = |pid: &i32| Process::read(*pid).is_some_and(|process| !process.is_zombie);
    while ended.iter().any(is_left) && since.elapsed() < patience {
        std::thread::sleep(PAUSE);
    }
    ended.len()
}

/// Sends SIGKILL to what is marked so, until a look finds nothing new.
fn kill_marked(variable: &str, value: &str) -> BTreeSet<i32> {
    let mut ended = BTreeSet::new();
    loop {
        let processes = all();
        let above = ancestors(Pid::this().as_raw(), &processes);
        let marked: Vec<i32> = processes
            .values()
            .filter(|process| !process.is_zombie && !above.contains(&process.pid))
            .map(|process| process.pid)
            .filter(|pid| {
                environment_of(*pid)
                    .is_some_and(|own| own.get(variable).map(String::as_str) == Some(value))
            })
            .collect();
        // One that was sent SIGKILL may take a moment to go.
        let n_known = ended.len();
        for pid in marked {
            send(pid, Signal::SIGKILL);
            ended.insert(pid);
        }
        if ended.len() == n_known {
            return ended;
        }
    }
}

/// Waits until all other processes of this program that have `args` in their command lines, and are not above
/// this one, have ended; SIGKILLs them when they take longer than `patience`.
pub(super) fn outlast(args: &[u8], patience: Duration) {
    let since = Stopwatch::start();
    loop {
        let processes = all();
        let above = ancestors(Pid::this().as_raw(), &processes);
        let others: Vec<i32> = processes
            .values()
            .filter(|process| !process.is_zombie && !above.contains(&process.pid))
            .map(|process| process.pid)
            .filter(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.starts_with(b"apportion\0keeper\0")
                    && line.windows(args.len()).any(|part| part == args)
            })
            .collect();
        if others.is_empty() || since.elapsed() > patience + PAUSE * 100 {
            return;
        }
        if since.elapsed() > patience {
            for pid in others {
                send(pid, Signal::SIGKILL);
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// A process, its parent, and so on.
fn ancestors(pid: i32, processes: &BTreeMap<i32, Process>) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    let mut next = Some(pid);
    while let Some(pid) = next {
        next = processes
            .get(&pid)
            .map(|process| process.parent)
            .filter(|_| found.insert(pid));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_named_like_the_rest_of_the_line() {
        let line = "42 (a) R 1 (b c) S 7 40 39 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 555 4096 12 18446744073709551615 1\n";
        let process = Process::parse(line).unwrap();
        assert_eq!((process.pid, process.parent, process.group), (42, 7, 40));
        assert_eq!(
            (process.cpu_ticks, process.n_threads, process.resident_pages),
            (100, 1, 12)
        );
        assert!(!process.is_zombie);
        assert_eq!(Process::parse("nonsense"), None);
        assert_eq!(Process::parse("1 (x) Z"), None);
    }

    #[test]
    fn descendants_are_found_at_any_depth() {
        let process = |pid, parent| {
            let process = Process {
                pid,
                parent,
                group: 1,
                is_zombie: pid == 4,
                cpu_ticks: 0,
                n_threads: 1,
                resident_pages: 0,
            };
            (pid, process)
        };
        let processes = [
            process(1, 0),
            process(2, 1),
            process(3, 2),
            process(4, 2),
            process(5, 4),
            process(6, 1),
        ];
        let mut found = descendants(2, &processes.into());
        found.sort_unstable();
        assert_eq!(found, [3, 5], "4 is dead, but what descends from it is not");
    }

    #[test]
    fn what_is_marked_is_gone_once_it_was_ended() {
        use std::io::BufRead as _;
        use std::process::{Command, Stdio};

        let mark = format!("{}", std::process::id());
        // The more memory it has, the longer it takes to go.
        let script =
            "x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo ready; sleep 1000; echo \"$x\"";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .env("APPORTION_TEST_MARK", &mark)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let pid = i32::try_from(child.id()).unwrap();
        let patience = Duration::from_secs(60);
        assert!(end_marked("APPORTION_TEST_MARK", &mark, patience) >= 1);
        assert!(
            Process::read(pid).unwrap().is_zombie,
            "only to be waited for"
        );
        child.wait().unwrap();
        assert_eq!(end_marked("APPORTION_TEST_MARK", &mark, patience), 0);
    }

    #[test]
    fn this_process_is_found() {
        let own = i32::try_from(std::process::id()).unwrap();
        let processes = all();
        assert!(processes[&own].resident_pages > 0);
        assert!(ancestors(own, &processes).contains(&processes[&own].parent));
        assert!(proportional_memory_bytes(own).is_none_or(|bytes| bytes > 0));
    }
}
