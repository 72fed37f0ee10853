//! What backends are told by the configuration, already validated.

use std::collections::BTreeMap;
use std::sync::Arc;

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
