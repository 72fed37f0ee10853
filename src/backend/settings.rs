//! What backends are told by the configuration, already validated.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::Amount;
use serde::{Deserialize, Serialize};

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
    /// What tasks may do to their neighbours. A reload may change it.
    pub containments: Containments,
}

/// `user` and `limits`, of `[tasks]` and of queues: what a task may do to its neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Containment {
    /// The account under which tasks run, by its name or its number; `None` for the daemon's own.
    pub user: Option<Arc<str>>,
    /// What a task may take at most, beside its demand.
    pub limits: TaskLimits,
}

/// `limits`: what a task may take at most of what it shares with its neighbours, beside its demand. `None` is no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLimits {
    /// `processes`: processes and threads at once.
    pub processes: Option<u64>,
    /// `open_files`: files that each of its processes may have open.
    pub open_files: Option<u64>,
    /// `file_size`: the length of a file that it writes, in bytes.
    pub file_size_bytes: Option<u64>,
    /// `output`: what it writes to standard output and standard error together, in bytes.
    pub output_bytes: Option<u64>,
    /// `disk`: what is in its working directory, in bytes on disk.
    pub disk_bytes: Option<u64>,
    /// `core_dumps`: whether processes that crash leave a core file.
    pub core_dumps: bool,
}

impl TaskLimits {
    /// No limits at all, beside that there are no core files.
    pub const NONE: Self = Self {
        processes: None,
        open_files: None,
        file_size_bytes: None,
        output_bytes: None,
        disk_bytes: None,
        core_dumps: false,
    };
}

impl Default for TaskLimits {
    fn default() -> Self {
        Self {
            output_bytes: Some(1 << 30),
            ..Self::NONE
        }
    }
}

/// What tasks of each queue may do to their neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Containments {
    /// What `[tasks]` says, for queues that say nothing, and neither does one above them.
    pub default: Containment,
    /// Queues for which something else holds, by path.
    pub queues: BTreeMap<Arc<str>, Containment>,
}

impl Containments {
    /// What holds for tasks of this queue. One that the configuration doesn't know is like the nearest above it.
    #[must_use]
    pub fn of(&self, queue: &str) -> &Containment {
        let above = queue.rmatch_indices('/').map(|(end, _)| &queue[..end]);
        let mut paths = [queue].into_iter().chain(above);
        paths
            .find_map(|path| self.queues.get(path))
            .unwrap_or(&self.default)
    }

    /// The users that tasks run as, each with the path of the first queue that has it; `None` where all have.
    #[must_use]
    pub fn users(&self) -> BTreeMap<Arc<str>, Option<Arc<str>>> {
        let mut users = BTreeMap::new();
        let queues = self.queues.iter();
        let named = std::iter::once((None, &self.default))
            .chain(queues.map(|(path, own)| (Some(Arc::clone(path)), own)));
        for (path, containment) in named {
            if let Some(user) = &containment.user {
                users.entry(Arc::clone(user)).or_insert(path);
            }
        }
        users
    }
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

/// `[backend]` with `kind = "mesos"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MesosConfig {
    /// `masters` or `zk`: where the leading master is found.
    pub masters: Masters,
    /// `role`: the role for which resources are offered.
    pub role: Arc<str>,
    /// `user`: the account on the agents under which tasks run.
    pub user: String,
    /// `name`: how the scheduler is shown by Mesos.
    pub name: String,
    /// `hostname`: this scheduler's host, as it is shown by Mesos.
    pub hostname: Option<String>,
    /// `advertise`: the URL under which agents reach this daemon's HTTP server, without a slash at its end;
    /// `None` where it is the address listened on.
    pub advertise: Option<String>,
    /// `principal` and `secret_file`.
    pub credentials: Option<Credentials>,
    /// `ca_file`: certificates, in PEM, of the authorities that are trusted beside the usual ones.
    pub ca_file: Option<PathBuf>,
    /// `executor_ca_file`: certificates, in PEM, of the authorities of this daemon's own, for executors that bring values
    /// to it; `None` for those that their machines trust.
    pub executor_ca_file: Option<PathBuf>,
    /// `failover_timeout`: Mesos keeps the tasks of a scheduler that is gone for so long.
    pub failover_timeout: Duration,
    /// `heartbeat_timeout`: a master that says nothing for so long is left.
    pub heartbeat_timeout: Duration,
    /// `decline_for`: for how long declined resources need not be offered again.
    pub decline_for: Duration,
    /// `unreachable_for`: a task whose agent is out of contact may come back for so long.
    pub unreachable_for: Duration,
    /// `executor.cpus` and `executor.mem`: what a shared executor takes itself.
    pub executor: BTreeMap<Arc<str>, Amount>,
    /// `executor_idle`: a shared executor without tasks ends after so long.
    pub executor_idle: Duration,
    /// What may change while the daemon runs.
    pub placement: Placement,
    /// `[python]`, for executors.
    pub python: PythonConfig,
}

impl Default for MesosConfig {
    /// What holds where nothing is said; of masters there are none.
    fn default() -> Self {
        let mib = |units| Amount::from_units(units).unwrap_or_default();
        Self {
            masters: Masters::Urls(Vec::new()),
            role: "apportion".into(),
            user: "root".to_owned(),
            name: "apportion".to_owned(),
            hostname: None,
            advertise: None,
            credentials: None,
            ca_file: None,
            executor_ca_file: None,
            failover_timeout: Duration::from_secs(7 * 24 * 60 * 60),
            heartbeat_timeout: Duration::from_secs(75),
            decline_for: Duration::from_secs(5 * 60),
            unreachable_for: Duration::from_secs(60),
            executor: BTreeMap::from([("cpus".into(), Amount::default()), ("mem".into(), mib(64))]),
            executor_idle: Duration::from_secs(5 * 60),
            placement: Placement::default(),
            python: PythonConfig::default(),
        }
    }
}

/// What of queues and resources decides how a task is launched on Mesos. A reload may change it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Queues with `isolation = "task"`: each of their tasks has an executor and a container of its own.
    pub isolated_queues: BTreeSet<Arc<str>>,
    /// The names of resources of cluster scope, which agents aren't asked for.
    pub cluster_resources: BTreeSet<Arc<str>>,
    /// What tasks may take of what they share with their neighbours; without users, for all of an executor's tasks run as its own.
    pub containments: Containments,
}

/// Where the leading master is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Masters {
    /// One of these, by their URLs without a slash at the end.
    Urls(Vec<String>),
    /// The one that ZooKeeper names: `host:port` of its servers, joined by commas; the path of the masters; and
    /// `user:password`, where the path is guarded. Masters found so are spoken to by this scheme.
    ZooKeeper {
        /// Its servers.
        hosts: String,
        /// The path.
        path: String,
        /// Who asks.
        auth: Option<String>,
        /// `http` or `https`.
        scheme: String,
    },
}

/// Who the scheduler is, for masters that ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// `principal`
    pub principal: String,
    /// `secret_file`: the file with the secret; read on each start. `None` for a principal that nobody checks.
    pub secret_file: Option<PathBuf>,
}
