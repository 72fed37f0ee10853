//! What the system says of processes: their memory, their processor time, their descendants.

use std::collections::BTreeMap;
use std::fs;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::{SysconfVar, sysconf};

/// The memory that a process has in use now (resident), in bytes.
pub(crate) fn memory_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    kib.expect("the system tells the memory of a process")
        .trim()
        .parse::<u64>()
        .expect("memory is a number")
        * 1024
}

/// Parent and processor time (own user and system, in ticks) of a process.
fn stat(pid: u32) -> Option<(u32, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name stands in parentheses and may hold anything; the rest is in order.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    let parent = u32::try_from(number(1)?).ok()?;
    Some((parent, number(11)? + number(12)?))
}

/// The processor time of these processes so far, in seconds, without that of their children.
pub(crate) fn cpu_seconds(pids: &[u32]) -> f64 {
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK)
        .ok()
        .flatten()
        .expect("the system tells its tick");
    let ticks: u64 = pids
        .iter()
        .filter_map(|pid| stat(*pid))
        .map(|(_, ticks)| ticks)
        .sum();
    ticks as f64 / ticks_per_second as f64
}

/// The processor time so far of a process's thread with this name, in seconds, to the nanosecond.
pub(crate) fn thread_seconds(pid: u32, name: &str) -> f64 {
    let folder = format!("/proc/{pid}/task");
    let threads = fs::read_dir(folder).expect("the process runs");
    let mut named = threads.filter_map(|entry| {
        let path = entry.ok()?.path();
        let is_it = fs::read_to_string(path.join("comm")).ok()?.trim() == name;
        is_it.then_some(path)
    });
    let path = named.next().expect("the process has such a thread");
    let text = fs::read_to_string(path.join("schedstat")).expect("the system counts its time");
    let nanos = text
        .split_whitespace()
        .next()
        .and_then(|it| it.parse().ok());
    let nanos: f64 = nanos.expect("time is a number");
    nanos / 1e9
}

/// This process's own processor time so far, in seconds.
pub(crate) fn own_cpu_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("the system tells what was used");
    (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6
}

/// A process and all below it.
pub(crate) fn with_descendants(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let entries = fs::read_dir("/proc").expect("the system lists its processes");
    for pid in entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()) {
        if let Some((parent, _)) = stat(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut place = 0;
    while let Some(pid) = found.get(place) {
        found.extend(children.get(pid).into_iter().flatten());
        place += 1;
    }
    found
}
