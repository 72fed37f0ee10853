//! Watches what attempts take that nothing else bounds: memory and processes where no cgroup does, outputs, disk; and
//! where a cgroup bounds, what became of that.
//!
//! What a task takes between two looks isn't seen, and it may take more memory than its demand up to a margin:
//! this keeps a task that is far above from taking the machine down, and is no exact bound.

use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use super::super::layout;
use super::super::wire::WireAttempt;
use super::attempt::{Attempt, Cause, Stage};
use super::disk::Walk;
use super::process::{self, Process};
use super::run::{Keeper, Limits};
use super::tree::Look;
use crate::engine::outcome::TaskLimit;

/// Between two looks, at least.
const INTERVAL_MIN: Duration = Duration::from_millis(200);

/// A look may take this part of the time, one in so many.
const COST_DIVISOR: u32 = 20;

/// The least that an attempt may take beyond its demand.
const MARGIN_MIN_BYTES: u64 = 16 << 20;

/// How many files of working directories are looked at at once. It keeps the keeper from its other work for as long.
const FILES_PER_LOOK: usize = 2000;

/// When to look at one kind of thing next.
#[derive(Debug, Default)]
struct Pace {
    next_at: Duration,
}

impl Pace {
    /// After a look that took from one time to another.
    fn looked(&mut self, from: Duration, to: Duration) {
        self.next_at = to + (to.saturating_sub(from) * COST_DIVISOR).max(INTERVAL_MIN);
    }
}

/// When to look at what, and how many attempts there are for which that matters.
#[derive(Debug, Default)]
pub(super) struct Looks {
    members: Pace,
    outputs: Pace,
    disks: Pace,
    n_with_memory: usize,
    n_with_processes: usize,
    n_with_output: usize,
    n_with_disk: usize,
    /// Whose directory is being walked through.
    walk: Option<(WireAttempt, Walk)>,
    /// Whose was last.
    walked: Option<WireAttempt>,
}

impl Looks {
    /// An attempt begins.
    pub(super) fn begin(&mut self, attempt: &Attempt) {
        for (counts, n_with) in self.counts(attempt) {
            *n_with += usize::from(counts);
        }
    }

    /// An attempt has ended.
    pub(super) fn end(&mut self, attempt: &Attempt) {
        for (counts, n_with) in self.counts(attempt) {
            *n_with -= usize::from(counts);
        }
    }

    fn counts(&mut self, attempt: &Attempt) -> [(bool, &mut usize); 4] {
        let bounds = &attempt.bounds;
        [
            (attempt.mem_bytes.is_some(), &mut self.n_with_memory),
            (
                bounds.limits.processes.is_some(),
                &mut self.n_with_processes,
            ),
            (
                bounds.limits.output_bytes.is_some(),
                &mut self.n_with_output,
            ),
            (bounds.limits.disk_bytes.is_some(), &mut self.n_with_disk),
        ]
    }

    /// Whether the processes of attempts have to be looked at.
    fn wants_members(&self, limits: &Limits) -> bool {
        let counts_processes = limits.count_processes();
        let watches_memory = matches!(limits, Limits::Watch);
        watches_memory && self.n_with_memory > 0 || !counts_processes && self.n_with_processes > 0
    }

    /// When there is something to look at next, if at all.
    fn next_at(&self, limits: &Limits) -> Option<Duration> {
        let paces = [
            (self.wants_members(limits), &self.members),
            (self.n_with_output > 0, &self.outputs),
            (self.n_with_disk > 0, &self.disks),
        ];
        let wanted = paces.into_iter().filter(|(is_wanted, _)| *is_wanted);
        wanted.map(|(_, pace)| pace.next_at).min()
    }
}

/// The most that an attempt with this demand may take: a tenth more, and for small ones what any program needs.
fn allowed_bytes(demand_bytes: u64) -> u64 {
    demand_bytes.saturating_add((demand_bytes / 10).max(MARGIN_MIN_BYTES))
}

/// How much memory processes take; pages shared between them count for each.
fn resident_bytes(processes: &[Process]) -> u64 {
    let page_bytes = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    let page_bytes = page_bytes
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or(4096);
    processes
        .iter()
        .map(|process| process.resident_pages)
        .sum::<u64>()
        .saturating_mul(page_bytes)
}

/// The same with shared pages counted once, as far as the kernel tells. Costs the kernel a walk through all pages.
fn proportional_bytes(processes: &[Process]) -> u64 {
    processes
        .iter()
        .map(|process| {
            process::proportional_memory_bytes(process.pid)
                .unwrap_or_else(|| resident_bytes(std::slice::from_ref(process)))
        })
        .sum()
}

impl Keeper {
    /// What an attempt's cgroup says that it was kept from taking.
    pub(super) fn cgroup_says(&self, attempt: &Attempt) -> Option<Cause> {
        let (Limits::Cgroups(cgroups), Some(cgroup)) = (&self.limits, &attempt.cgroup) else {
            return None;
        };
        if attempt.mem_bytes.is_some() && cgroups.n_oom_kills(cgroup) > 0 {
            return Some(Cause::Memory);
        }
        let max = attempt.bounds.limits.processes?;
        let is_over = cgroups.n_refused_processes(cgroup) > 0;
        is_over.then_some(Cause::Limit(TaskLimit::Processes(max)))
    }

    /// Ends attempts that their cgroup kept from taking something: of memory, v1 kills one process only, and the others
    /// may wait for it for ever; of processes, those that there are may try for ever to start more.
    pub(super) fn end_those_at_their_bounds(&mut self) {
        let running = self.attempts.values();
        let running = running.filter(|attempt| attempt.stage != Stage::Killing);
        let found: Vec<(WireAttempt, Cause)> = running
            .filter_map(|attempt| Some((attempt.id, self.cgroup_says(attempt)?)))
            .collect();
        for (id, cause) in found {
            self.kill_all(&[id], Duration::ZERO, cause);
        }
    }

    /// When to look next, if at all.
    pub(super) fn watch_at(&self) -> Option<Duration> {
        self.looks.next_at(&self.limits)
    }

    /// Looks at what it is time for, and ends attempts that take too much.
    pub(super) fn watch(&mut self, now: Duration, look: &mut Look) {
        if self.watch_at().is_none_or(|at| at > now) {
            return;
        }
        if self.looks.wants_members(&self.limits) && self.looks.members.next_at <= now {
            self.watch_members(look);
            self.looks.members.looked(now, self.clock.elapsed());
        }
        if self.looks.n_with_output > 0 && self.looks.outputs.next_at <= now {
            let from = self.clock.elapsed();
            self.watch_outputs();
            self.looks.outputs.looked(from, self.clock.elapsed());
        }
        if self.looks.n_with_disk > 0 && self.looks.disks.next_at <= now {
            let from = self.clock.elapsed();
            self.watch_disks();
            self.looks.disks.looked(from, self.clock.elapsed());
        }
    }

    /// Memory and processes.
    fn watch_members(&mut self, look: &mut Look) {
        let watches_memory = matches!(self.limits, Limits::Watch);
        let counts_processes = self.limits.count_processes();
        let members = self.all_members(look);
        let mut over = Vec::new();
        for (id, processes) in members {
            let Some(attempt) = self.attempts.get_mut(id) else {
                continue;
            };
            let n_threads: u64 = processes.iter().map(|process| process.n_threads).sum();
            let processes_max = attempt.bounds.limits.processes;
            if let Some(max) = processes_max.filter(|max| !counts_processes && n_threads > *max) {
                over.push((*id, Cause::Limit(TaskLimit::Processes(max))));
            }
            if !watches_memory {
                continue;
            }
            let resident = resident_bytes(processes);
            attempt.memory_seen_bytes = attempt.memory_seen_bytes.max(resident);
            let Some(allowed) = attempt.mem_bytes.map(allowed_bytes) else {
                continue;
            };
            if resident > allowed && proportional_bytes(processes) > allowed {
                over.push((*id, Cause::Memory));
            }
        }
        for (id, cause) in over {
            self.kill_all(&[id], Duration::ZERO, cause);
        }
    }

    /// How long outputs have become.
    fn watch_outputs(&mut self) {
        let tasks_dir = &self.home.tasks_dir;
        let running = self.attempts.values().filter(|attempt| {
            attempt.bounds.limits.output_bytes.is_some() && attempt.stage != Stage::Killing
        });
        let over: Vec<(WireAttempt, TaskLimit)> = running
            .filter_map(|attempt| {
                let n_bytes = attempt.outputs.n_bytes(tasks_dir, attempt.id.into());
                Some((attempt.id, attempt.output_limit_hit(n_bytes)?))
            })
            .collect();
        for (id, limit) in over {
            self.kill_all(&[id], Duration::ZERO, Cause::Limit(limit));
        }
    }

    /// What working directories take, one attempt's after the other's.
    fn watch_disks(&mut self) {
        let mut n_files = FILES_PER_LOOK;
        // Each at most once, should all be small.
        for _ in 0..self.looks.n_with_disk {
            let walk = self.looks.walk.take();
            let Some((id, mut walk)) = walk.or_else(|| self.next_walk()) else {
                return;
            };
            n_files = walk.go_on(n_files);
            let n_bytes = walk.n_bytes();
            if n_files == 0 {
                self.looks.walk = Some((id, walk));
            }
            let attempt = self.attempts.get(&id);
            let max = attempt.and_then(|attempt| attempt.bounds.limits.disk_bytes);
            if let Some(max) = max.filter(|max| n_bytes > *max) {
                self.looks.walk = None;
                let cause = Cause::Limit(TaskLimit::DiskBytes(max));
                self.kill_all(&[id], Duration::ZERO, cause);
            }
            if n_files == 0 {
                return;
            }
        }
    }

    /// A walk through the directory of the attempt whose turn it is.
    fn next_walk(&mut self) -> Option<(WireAttempt, Walk)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let after = self.looks.walked.map_or(Unbounded, Excluded);
        let is_wanted = |attempt: &&Attempt| {
            attempt.bounds.limits.disk_bytes.is_some() && attempt.stage != Stage::Killing
        };
        let later = self.attempts.range((after, Unbounded));
        let mut in_turn = later.chain(&self.attempts).map(|(_, attempt)| attempt);
        let id = in_turn.find(is_wanted)?.id;
        self.looks.walked = Some(id);
        let dir = layout::work_dir(&self.home.tasks_dir, id.into());
        Some((id, Walk::new(&dir)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_suits_small_and_large_demands() {
        assert_eq!(allowed_bytes(0), 16 << 20);
        assert_eq!(allowed_bytes(64 << 20), 80 << 20);
        assert_eq!(allowed_bytes(10 << 30), 11 << 30);
        assert_eq!(allowed_bytes(u64::MAX), u64::MAX);
    }
}
