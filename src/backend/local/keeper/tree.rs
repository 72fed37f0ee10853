//! Which attempt a process belongs to, where no cgroup tells.
//!
//! Processes below an attempt's first process are its own. One that lost its parent falls to the keeper.
//! Then its process group tells whose it is; else its environment, where it has its attempt's variables;
//! else its working directory. One that has cut all these ties can't be accounted for, and is SIGKILLed.

use std::collections::BTreeMap;
use std::io;

use nix::sys::signal::Signal;

use super::super::environment::{ATTEMPT, MARK, TASK_ID};
use super::super::layout;
use super::super::wire::WireAttempt;
use super::process::{self, Process};
use super::run::{Keeper, Limits};

/// What was seen of the processes within one turn; each part is looked at when first needed.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Children of the keeper that aren't first processes of attempts.
    orphans: Option<Vec<i32>>,
    /// All processes of all attempts.
    members: Option<BTreeMap<WireAttempt, Vec<Process>>>,
}

impl Keeper {
    /// The living processes of an attempt, by kinship.
    pub(super) fn members(&mut self, id: WireAttempt, look: &mut Look) -> Vec<i32> {
        let Some(attempt) = self.attempts.get(&id) else {
            return Vec::new();
        };
        // The usual case, cheaply: the first process has ended, and there was nobody else.
        let (pid, is_running) = (attempt.pid, attempt.child.is_some());
        if !is_running
            && !process::group_has_members(pid)
            && self
                .orphans(look)
                .is_ok_and(|orphans| !orphans.iter().any(|orphan| self.is_adopted_by(*orphan, id)))
        {
            return Vec::new();
        }
        let members = self.all_members(look);
        members
            .get(&id)
            .map(|processes| processes.iter().map(|process| process.pid).collect())
            .unwrap_or_default()
    }

    fn is_adopted_by(&self, orphan: i32, id: WireAttempt) -> bool {
        self.adopted
            .get(&orphan)
            .is_some_and(|owner| *owner == Some(id))
    }

    /// The living processes of all attempts.
    pub(super) fn all_members<'a>(
        &mut self,
        look: &'a mut Look,
    ) -> &'a BTreeMap<WireAttempt, Vec<Process>> {
        if look.members.is_none() {
            // Processes first: an orphan that comes later has then been seen below its first process.
            let processes = process::all();
            look.orphans = None;
            let orphans = self.orphans(look).unwrap_or_default();
            let firsts = self
                .attempts
                .values()
                .filter(|attempt| attempt.child.is_some());
            let firsts = firsts.map(|attempt| (attempt.pid, attempt.id));
            let roots: Vec<(i32, WireAttempt)> = orphans
                .iter()
                .filter_map(|orphan| Some((*orphan, (*self.adopted.get(orphan)?)?)))
                .chain(firsts)
                .collect();
            look.members = Some(group_by_root(&roots, &processes));
        }
        look.members.get_or_insert_default()
    }

    /// Children of the keeper that aren't first processes of attempts, each with an owner found or SIGKILLed.
    pub(super) fn orphans(&mut self, look: &mut Look) -> io::Result<Vec<i32>> {
        if let Some(orphans) = &look.orphans {
            return Ok(orphans.clone());
        }
        let mut orphans = process::own_children()?;
        orphans.retain(|pid| {
            let first_of = self.by_pid.get(pid).and_then(|id| self.attempts.get(id));
            first_of.is_none_or(|attempt| attempt.child.is_none()) && !self.workers.holds(*pid)
        });
        for orphan in &orphans {
            if !self.adopted.contains_key(orphan) {
                let owner = self.find_owner(*orphan);
                self.adopted.insert(*orphan, owner);
                if owner.is_none() && !matches!(self.limits, Limits::Cgroups(_)) {
                    self.end_stray(*orphan);
                }
            }
        }
        look.orphans = Some(orphans.clone());
        Ok(orphans)
    }

    /// The attempt that a process belongs to which fell to the keeper.
    fn find_owner(&self, pid: i32) -> Option<WireAttempt> {
        let is_live = |id: &WireAttempt| self.attempts.contains_key(id);
        let group = Process::read(pid)?.group;
        if let Some(id) = self.by_pid.get(&group) {
            return Some(*id);
        }
        let env = process::environment_of(pid).unwrap_or_default();
        if env.get(MARK) == Some(&self.home.identity) {
            let number = |name: &str| env.get(name)?.parse::<u64>().ok();
            let task = number(TASK_ID);
            let attempt = number(ATTEMPT).and_then(|number| u32::try_from(number).ok());
            if let Some(id) = task
                .zip(attempt)
                .map(|(task, attempt)| WireAttempt(task, attempt))
                .filter(is_live)
            {
                return Some(id);
            }
        }
        let tasks_dir = &self.home.tasks_dir;
        self.attempts
            .keys()
            .copied()
            .find(|id| process::runs_under(pid, &layout::work_dir(tasks_dir, (*id).into())))
    }

    /// Ends a process that is nobody's.
    fn end_stray(&mut self, pid: i32) {
        if Process::read(pid).is_some_and(|process| !process.is_zombie) {
            process::send(pid, Signal::SIGKILL);
            self.reports.warn(format!(
                "ended process {pid}: it had cut all ties to the task that started it"
            ));
        }
    }
}

/// What descends from each root, together with the root itself, dead ones left out.
fn group_by_root(
    roots: &[(i32, WireAttempt)],
    processes: &BTreeMap<i32, Process>,
) -> BTreeMap<WireAttempt, Vec<Process>> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for process in processes.values() {
        children
            .entry(process.parent)
            .or_default()
            .push(process.pid);
    }
    let mut members: BTreeMap<WireAttempt, Vec<Process>> = BTreeMap::new();
    for (root, id) in roots {
        let mut open = vec![*root];
        while let Some(pid) = open.pop() {
            open.extend(children.remove(&pid).unwrap_or_default());
            if let Some(process) = processes.get(&pid).filter(|process| !process.is_zombie) {
                members.entry(*id).or_default().push(process.clone());
            }
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_what_descends_from_the_roots() {
        let process = |pid, parent| {
            let process = Process {
                pid,
                parent,
                group: 0,
                is_zombie: pid == 11,
                cpu_ticks: 0,
                n_threads: 1,
                resident_pages: 0,
            };
            (pid, process)
        };
        let processes = [
            process(1, 0),
            process(10, 1),
            process(11, 10),
            process(12, 11),
            process(20, 1),
            process(21, 20),
        ];
        let (first, second) = (WireAttempt(1, 1), WireAttempt(2, 1));
        let members = group_by_root(
            &[(10, first), (21, second), (99, second)],
            &processes.into(),
        );
        let pids = |id| {
            members[&id]
                .iter()
                .map(|process| process.pid)
                .collect::<Vec<_>>()
        };
        assert_eq!(pids(first), [10, 12]);
        assert_eq!(pids(second), [21]);
    }
}
