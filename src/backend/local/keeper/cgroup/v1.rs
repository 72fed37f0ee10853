//! Version 1: one hierarchy for each controller. Memory is needed, cpu and pids are taken where they may be.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::Files;
use super::{Cgroup, CgroupError, Demand, forbidden, make_dir, max_or_word, mounts, write_to};

/// What the kernel takes for "no limit".
const UNLIMITED: &str = "-1";

/// The file that tells the most memory that was in use; writing to it makes that what is in use now.
pub(super) const PEAK: &str = "memory.max_usage_in_bytes";

/// The directories, and the way back to the keeper's own cgroups.
#[derive(Debug)]
pub(super) struct Hierarchy {
    memory: PathBuf,
    /// Limits memory and swap together; only where the kernel counts swap.
    has_memsw: bool,
    cpu: Option<PathBuf>,
    pids: Option<PathBuf>,
    /// The `tasks` files of the keeper's own cgroups of memory and cpu, open for good.
    homes: Vec<Arc<File>>,
    /// That of pids, where it may be used.
    pids_home: Option<Arc<File>>,
    /// The keeper is in an attempt's cgroup of pids.
    is_counted: bool,
}

impl Hierarchy {
    /// Makes the directories. `None` where v1 has no memory controller.
    pub(super) fn prepare(own: &mounts::Own, name: &str) -> Option<Result<Self, CgroupError>> {
        let memory_home = own.v1("memory")?;
        let prepare = || {
            let memory = memory_home.join(name);
            make_dir(&memory)?;
            let open_home = |dir: &Path| {
                let path = dir.join("tasks");
                let opened = OpenOptions::new().write(true).open(&path);
                opened.map(Arc::new).map_err(forbidden("open", &path))
            };
            let mut homes = vec![open_home(memory_home)?];
            // Without another controller memory is limited all the same.
            let try_out = |controller: &str| {
                let home = own.v1(controller)?;
                let dir = home.join(name);
                make_dir(&dir).ok()?;
                let enter = || {
                    let way_back = open_home(home).ok()?;
                    // A process with realtime priority, for one, may not go where no realtime was set aside.
                    let entered = write_to(&dir.join("tasks"), "0");
                    (&*way_back).write_all(b"0").and(entered).ok()?;
                    Some(way_back)
                };
                let Some(way_back) = enter() else {
                    let _ = std::fs::remove_dir(&dir);
                    return None;
                };
                Some((dir, way_back))
            };
            let (cpu, cpu_home) = try_out("cpu").unzip();
            homes.extend(cpu_home);
            let (pids, pids_home) = try_out("pids").unzip();
            let has_memsw = memory.join("memory.memsw.limit_in_bytes").exists();
            Ok(Self {
                memory,
                has_memsw,
                cpu,
                pids,
                homes,
                pids_home,
                is_counted: false,
            })
        };
        Some(prepare())
    }

    /// Memory's first.
    pub(super) fn parents(&self) -> Vec<PathBuf> {
        std::iter::once(&self.memory)
            .chain(&self.cpu)
            .chain(&self.pids)
            .cloned()
            .collect()
    }

    pub(super) fn memory(&self) -> &Path {
        &self.memory
    }

    pub(super) fn cpu(&self) -> Option<&Path> {
        self.cpu.as_deref()
    }

    pub(super) fn pids(&self) -> Option<&Path> {
        self.pids.as_deref()
    }

    pub(super) fn count_processes(&self) -> bool {
        self.pids.is_some()
    }

    /// Into `tasks`, not `cgroup.procs`: the calling thread alone, which is cheaper. What it starts is where it is.
    pub(super) fn enter(&mut self, cgroup: &Cgroup, counts_processes: bool) -> io::Result<()> {
        std::iter::once(&cgroup.files)
            .chain(&cgroup.cpu_files)
            .try_for_each(|files| files.write("tasks", "0"))?;
        match &cgroup.pids_files {
            Some(pids) if counts_processes => {
                self.is_counted = true;
                pids.write("tasks", "0")
            }
            Some(_) | None => self.leave_pids(),
        }
    }

    /// A place in it for a thread.
    pub(super) fn seat(&self, cgroup: &Cgroup) -> io::Result<Seat> {
        let open = |files: &Files| files.writer("tasks");
        let places = std::iter::once(&cgroup.files).chain(&cgroup.cpu_files);
        let pids = cgroup.pids_files.as_ref().zip(self.pids_home.as_ref());
        let pids = pids.map(|(files, home)| Ok::<_, io::Error>((open(files)?, Arc::clone(home))));
        Ok(Seat {
            places: places.map(open).collect::<io::Result<_>>()?,
            homes: self.homes.clone(),
            pids: pids.transpose()?,
        })
    }

    fn leave_pids(&mut self) -> io::Result<()> {
        match &self.pids_home {
            Some(home) if std::mem::take(&mut self.is_counted) => (&**home).write_all(b"0"),
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn make(&self, name: &str) -> io::Result<()> {
        for parent in self.parents() {
            std::fs::create_dir(parent.join(name))?;
        }
        Ok(())
    }

    pub(super) fn leave(&mut self) -> io::Result<()> {
        for home in &self.homes {
            (&**home).write_all(b"0")?;
        }
        self.leave_pids()
    }

    pub(super) fn limit(&self, cgroup: &Cgroup, before: Demand, demand: Demand) -> io::Result<()> {
        if before.mem_bytes != demand.mem_bytes {
            let set = |file, value: &str| cgroup.files.write(file, value);
            // The limit of both may never be below that of memory alone, so lift it first.
            if self.has_memsw && before.mem_bytes.is_some() {
                set("memory.memsw.limit_in_bytes", UNLIMITED)?;
            }
            match demand.mem_bytes {
                Some(bytes) => {
                    let bytes = bytes.to_string();
                    set("memory.limit_in_bytes", &bytes)?;
                    if self.has_memsw {
                        set("memory.memsw.limit_in_bytes", &bytes)?;
                    }
                }
                None => set("memory.limit_in_bytes", UNLIMITED)?,
            }
        }
        if let Some(cpu) = cgroup
            .cpu_files
            .as_ref()
            .filter(|_| before.cpu_milli != demand.cpu_milli)
        {
            cpu.write("cpu.shares", &shares(demand.cpu_milli).to_string())?;
        }
        if let Some(pids) = cgroup
            .pids_files
            .as_ref()
            .filter(|_| before.processes != demand.processes)
        {
            pids.write("pids.max", &max_or_word(demand.processes))?;
        }
        Ok(())
    }
}

/// A place for a thread in an attempt's cgroups, and the way back. Only what that thread itself does is meant.
///
/// Of memory only what the kernel needs for the thread is counted there, and it is not what gets killed when the cgroup
/// runs out of memory: the keeper's memory belongs to its first thread, which never enters.
#[derive(Debug)]
pub(in super::super) struct Seat {
    /// The `tasks` files of the attempt's cgroups of memory and cpu, until the thread is there.
    places: Vec<File>,
    /// Those of the keeper's own.
    homes: Vec<Arc<File>>,
    /// Both for pids, where the thread would count: it is there only while it starts something that is bounded so.
    pids: Option<(File, Arc<File>)>,
}

impl Seat {
    /// Moves the thread there.
    ///
    /// # Errors
    /// What the system said; it may be there in part.
    pub(in super::super) fn enter(&mut self) -> io::Result<()> {
        std::mem::take(&mut self.places)
            .iter_mut()
            .try_for_each(|place| place.write_all(b"0"))
    }

    /// Moves the thread back.
    ///
    /// # Errors
    /// What the system said.
    pub(in super::super) fn leave(&self) -> io::Result<()> {
        self.homes
            .iter()
            .try_for_each(|home| (&**home).write_all(b"0"))
    }

    /// Moves the thread where what it starts is counted.
    ///
    /// # Errors
    /// What the system said.
    pub(in super::super) fn enter_pids(&mut self) -> io::Result<()> {
        match &mut self.pids {
            Some((place, _)) => place.write_all(b"0"),
            None => Ok(()),
        }
    }

    /// Moves the thread back from there.
    ///
    /// # Errors
    /// What the system said.
    pub(in super::super) fn leave_pids(&self) -> io::Result<()> {
        match &self.pids {
            Some((_, home)) => (&**home).write_all(b"0"),
            None => Ok(()),
        }
    }
}

/// 1024 for a cpu, as everyone counts; the kernel's least for an attempt that demands none.
fn shares(cpu_milli: Option<u64>) -> u64 {
    (cpu_milli.unwrap_or(0).saturating_mul(1024) / 1000).clamp(2, 1 << 18)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_the_demand_within_what_the_kernel_takes() {
        assert_eq!(shares(Some(1000)), 1024);
        assert_eq!(shares(Some(500)), 512);
        assert_eq!(shares(None), 2);
        assert_eq!(shares(Some(u64::MAX)), 1 << 18);
    }
}
