//! Watches how much memory each attempt takes where no cgroup bounds it, and where one does, what became of that.
//!
//! What a task takes between two looks isn't seen, and taking more than the demand is allowed up to a margin:
//! this keeps a task that is far above its demand from taking the machine down, and is no exact bound.

use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use super::attempt::{Attempt, Cause, Stage};
use super::process::{self, Process};
use super::run::{Keeper, Limits};
use super::tree::Look;

/// Between two looks, at least.
const INTERVAL_MIN: Duration = Duration::from_millis(200);

/// A look may take this part of the time, one in so many.
const COST_DIVISOR: u32 = 20;

/// The least that an attempt may take beyond its demand.
const MARGIN_MIN_BYTES: u64 = 16 << 20;

/// When to look next.
#[derive(Debug, Default)]
pub(super) struct Watch {
    next_at: Duration,
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
    /// Ends attempts in whose cgroup the kernel killed a process for want of memory: in v1 it kills one only, and
    /// the others may wait for it for ever.
    pub(super) fn end_those_out_of_memory(&mut self) {
        let Limits::Cgroups(cgroups) = &self.limits else {
            return;
        };
        let is_out_of_memory = |attempt: &&Attempt| {
            attempt.mem_bytes.is_some()
                && attempt.stage != Stage::Killing
                && attempt
                    .cgroup
                    .as_ref()
                    .is_some_and(|cgroup| cgroups.n_oom_kills(cgroup) > 0)
        };
        let ids: Vec<_> = self
            .attempts
            .values()
            .filter(is_out_of_memory)
            .map(|attempt| attempt.id)
            .collect();
        self.kill_all(&ids, Duration::ZERO, Cause::Memory);
    }

    /// When to look next, if at all.
    pub(super) fn watch_at(&self) -> Option<Duration> {
        match &self.limits {
            Limits::Watch(watch) => self
                .attempts
                .values()
                .any(|attempt| attempt.mem_bytes.is_some())
                .then_some(watch.next_at),
            Limits::Cgroups(_) | Limits::Off => None,
        }
    }

    /// Looks if it is time, and ends attempts that take too much.
    pub(super) fn watch(&mut self, now: Duration, look: &mut Look) {
        if self.watch_at().is_none_or(|at| at > now) {
            return;
        }
        let members = self.all_members(look);
        let mut too_large = Vec::new();
        for (id, processes) in members {
            let Some(attempt) = self.attempts.get_mut(id) else {
                continue;
            };
            let resident = resident_bytes(processes);
            attempt.memory_seen_bytes = attempt.memory_seen_bytes.max(resident);
            let Some(allowed) = attempt.mem_bytes.map(allowed_bytes) else {
                continue;
            };
            if resident > allowed && proportional_bytes(processes) > allowed {
                too_large.push(*id);
            }
        }
        self.kill_all(&too_large, Duration::ZERO, Cause::Memory);
        let done = self.clock.elapsed();
        if let Limits::Watch(watch) = &mut self.limits {
            watch.next_at = done + (done.saturating_sub(now) * COST_DIVISOR).max(INTERVAL_MIN);
        }
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
