//! What backends are told by the configuration, already validated.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::Amount;

/// `[backend]` with `kind = "local"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalConfig {
    /// `backend.resources`: what this machine offers of host resources, by name. `cpus` and `mem` are found
    /// out where they aren't named.
    pub resources: BTreeMap<Arc<str>, Amount>,
    /// `backend.attributes`: what constraints are compared with.
    pub attributes: BTreeMap<Arc<str>, Arc<str>>,
    /// `backend.limits`: how memory and cpu demands are enforced.
    pub limits: LimitMode,
    /// `[python]`
    pub python: PythonConfig,
}

/// `[python]`: how Python tasks run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonConfig {
    /// `python.interpreter`: a program on the tasks' path, or a path.
    pub interpreter: Box<str>,
    /// `python.tasks_max`: so many tasks a worker runs before another takes its place.
    pub tasks_max: u32,
    /// `python.memory_growth`: so much more than after its first task a worker may hold, in bytes.
    pub memory_growth_bytes: u64,
    /// `python.idle_max`: so many workers wait for tasks at most.
    pub idle_max: u32,
    /// `python.idle_time`: so long they wait before they end.
    pub idle_time: Duration,
}

impl Default for PythonConfig {
    fn default() -> Self {
        Self {
            interpreter: "python3".into(),
            tasks_max: 1000,
            memory_growth_bytes: 256 << 20,
            idle_max: 8,
            idle_time: Duration::from_secs(60),
        }
    }
}

/// How the local backend enforces demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitMode {
    /// `auto`: cgroups where the daemon may, otherwise `watch`, and says once which.
    Auto,
    /// `cgroup`: cgroups, v2 or v1; the daemon doesn't start where it may not.
    Cgroup,
    /// `watch`: the memory of each process group is watched.
    Watch,
    /// `off`: demands only count, nothing is enforced.
    Off,
}
