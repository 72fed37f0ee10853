//! Version 2: one hierarchy for everything.
//!
//! A cgroup that hands controllers to its children may hold no processes itself, except at the very root. So
//! the keeper, its guard and the daemon move into a leaf of their own if they are alone where they are.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::files::Files;
use super::{
    CgroupError, Demand, forbidden, make_dir, max_or_word, mounts, read_processes, write_to,
};

/// The leaf for the daemon and its keeper.
const LEAF: &str = "daemon";

/// The directories, and the way back to the keeper's own cgroup.
#[derive(Debug)]
pub(super) struct Hierarchy {
    dir: PathBuf,
    has_cpu: bool,
    has_pids: bool,
    has_swap: bool,
    /// `cgroup.procs` of the keeper's own cgroup, open for good.
    home: fs::File,
}

impl Hierarchy {
    /// Makes the directories and hands them the controllers.
    pub(super) fn prepare(own: &mounts::Own, name: &str, daemon: u32) -> Result<Self, CgroupError> {
        let home = own.v2().ok_or(CgroupError::NoMemoryController)?;
        let mut ours = vec![std::process::id(), daemon];
        ours.push(std::os::unix::process::parent_id());
        Self::prepare_in(home, name, &ours)
    }

    /// The same below a given cgroup; `ours` are the processes that may be moved.
    fn prepare_in(home: &Path, name: &str, ours: &[u32]) -> Result<Self, CgroupError> {
        // A keeper that follows another finds itself in the leaf already.
        let base = match home.parent() {
            Some(above)
                if home.file_name().is_some_and(|last| last == LEAF)
                    && above.join(name).is_dir() =>
            {
                above
            }
            _ => home,
        };
        let controllers = fs::read_to_string(base.join("cgroup.controllers"))
            .map_err(forbidden("read", &base.join("cgroup.controllers")))?;
        let has = |controller: &str| {
            controllers
                .split_ascii_whitespace()
                .any(|word| word == controller)
        };
        if !has("memory") {
            return Err(CgroupError::NoMemoryController);
        }
        let mut wanted = "+memory".to_owned();
        for controller in ["cpu", "pids"] {
            if has(controller) {
                wanted.push_str(" +");
                wanted.push_str(controller);
            }
        }
        let wanted = wanted.as_str();
        let dir = base.join(name);
        make_dir(&dir)?;
        let mut home = home.to_path_buf();
        let control = base.join("cgroup.subtree_control");
        if let Err(error) = write_to(&control, wanted) {
            if error.raw_os_error() != Some(nix::errno::Errno::EBUSY as i32) {
                return Err(forbidden("write", &control)(error));
            }
            home = move_to_leaf(base, ours)?;
            write_to(&control, wanted).map_err(forbidden("write", &control))?;
        }
        let own_control = dir.join("cgroup.subtree_control");
        write_to(&own_control, wanted).map_err(forbidden("write", &own_control))?;
        let processes = home.join("cgroup.procs");
        let home = fs::OpenOptions::new()
            .write(true)
            .open(&processes)
            .map_err(forbidden("open", &processes))?;
        let has_swap = fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1);
        Ok(Self {
            dir,
            has_cpu: has("cpu"),
            has_pids: has("pids"),
            has_swap,
            home,
        })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn count_processes(&self) -> bool {
        self.has_pids
    }

    pub(super) fn make(&self, name: &str) -> io::Result<()> {
        let dir = self.dir.join(name);
        fs::create_dir(&dir)?;
        // A task that lost a process for want of memory has failed; what waits for that process ends with it.
        // Older kernels don't know this.
        let _ = write_to(&dir.join("memory.oom.group"), "1");
        Ok(())
    }

    pub(super) fn leave(&mut self) -> io::Result<()> {
        self.home.write_all(b"0")
    }

    pub(super) fn limit(&self, files: &Files, before: Demand, demand: Demand) -> io::Result<()> {
        let set = |file, value: &str| files.write(file, value);
        if before.mem_bytes != demand.mem_bytes {
            if self.has_swap {
                set(
                    "memory.swap.max",
                    if demand.mem_bytes.is_some() {
                        "0"
                    } else {
                        "max"
                    },
                )?;
            }
            set("memory.max", &max_or_word(demand.mem_bytes))?;
        }
        if self.has_cpu && before.cpu_milli != demand.cpu_milli {
            set("cpu.weight", &weight(demand.cpu_milli).to_string())?;
        }
        if self.has_pids && before.processes != demand.processes {
            set("pids.max", &max_or_word(demand.processes))?;
        }
        Ok(())
    }
}

/// Moves what is in a cgroup into a leaf below, if it is all ours.
fn move_to_leaf(base: &Path, ours: &[u32]) -> Result<PathBuf, CgroupError> {
    let processes = read_processes(base);
    if !processes
        .iter()
        .all(|pid| u32::try_from(*pid).is_ok_and(|pid| ours.contains(&pid)))
    {
        return Err(CgroupError::NotAlone(base.to_path_buf()));
    }
    let leaf = base.join(LEAF);
    make_dir(&leaf)?;
    for pid in processes {
        let path = leaf.join("cgroup.procs");
        write_to(&path, &pid.to_string()).map_err(forbidden("write", &path))?;
    }
    Ok(leaf)
}

/// 100 for a cpu, the weight that a cgroup has from birth; the kernel's least for an attempt that demands none.
fn weight(cpu_milli: Option<u64>) -> u64 {
    (cpu_milli.unwrap_or(0) / 10).clamp(1, 10_000)
}

#[cfg(test)]
mod tests {
    use super::super::FRESH;
    use super::*;

    /// A directory that looks like a cgroup. Unlike a real one it makes no files in new directories.
    fn imitation(controllers: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("apportion-x")).unwrap();
        fs::write(dir.path().join("cgroup.controllers"), controllers).unwrap();
        for file in [
            "cgroup.procs",
            "cgroup.subtree_control",
            "apportion-x/cgroup.subtree_control",
        ] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        dir
    }

    #[test]
    fn hands_the_controllers_down() {
        let dir = imitation("cpuset cpu io memory pids\n");
        let hierarchy = Hierarchy::prepare_in(dir.path(), "apportion-x", &[]).unwrap();
        assert!(hierarchy.has_cpu);
        for file in [
            "cgroup.subtree_control",
            "apportion-x/cgroup.subtree_control",
        ] {
            assert_eq!(
                fs::read_to_string(dir.path().join(file)).unwrap(),
                "+memory +cpu +pids"
            );
        }
    }

    #[test]
    fn limits_are_written_as_the_kernel_reads_them() {
        let dir = imitation("cpu memory pids\n");
        let mut hierarchy = Hierarchy::prepare_in(dir.path(), "apportion-x", &[]).unwrap();
        hierarchy.has_swap = true;
        hierarchy.make("1").unwrap();
        let file = |name: &str| dir.path().join("apportion-x/1").join(name);
        let read = |name: &str| fs::read_to_string(file(name)).unwrap();
        for name in ["memory.max", "memory.swap.max", "cpu.weight", "pids.max"] {
            fs::write(file(name), "").unwrap();
        }
        let demand = Demand {
            cpu_milli: Some(2500),
            mem_bytes: Some(64 << 20),
            processes: Some(500),
        };
        let files = Files::new(dir.path().join("apportion-x/1"), true);
        hierarchy.limit(&files, FRESH, demand).unwrap();
        assert_eq!(read("memory.max"), "67108864");
        assert_eq!(read("memory.swap.max"), "0");
        assert_eq!(
            (read("cpu.weight"), read("pids.max")),
            ("250".into(), "500".into())
        );
        // An imitation doesn't forget what a longer number left behind.
        fs::write(file("memory.max"), "").unwrap();
        fs::write(file("memory.swap.max"), "").unwrap();
        hierarchy
            .limit(
                &files,
                demand,
                Demand {
                    mem_bytes: None,
                    ..demand
                },
            )
            .unwrap();
        assert_eq!(
            (read("memory.max"), read("memory.swap.max")),
            ("max".to_owned(), "max".to_owned())
        );
        assert_eq!(read("cpu.weight"), "250", "what stays is not written again");
    }

    #[test]
    fn without_the_memory_controller_it_says_so() {
        let dir = imitation("cpu\n");
        let error = Hierarchy::prepare_in(dir.path(), "apportion-x", &[]).unwrap_err();
        assert!(matches!(error, CgroupError::NoMemoryController));
    }

    #[test]
    fn strangers_are_not_moved() {
        let dir = imitation("memory\n");
        fs::write(dir.path().join("cgroup.procs"), "5\n6\n").unwrap();
        let error = move_to_leaf(dir.path(), &[5]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("start the daemon in a cgroup of its own"),
            "{error}"
        );
    }

    #[test]
    fn weights_follow_the_demand_within_what_the_kernel_takes() {
        assert_eq!(
            (weight(Some(1000)), weight(Some(500)), weight(None)),
            (100, 50, 1)
        );
        assert_eq!(weight(Some(u64::MAX)), 10_000);
    }
}
