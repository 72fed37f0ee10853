//! A real Mesos cluster on this machine: a master and agents, each a process that can be killed, frozen and
//! started again. See `tests/mesos/box/` for what the processes are.
//!
//! Each cluster has an address of its own in 127.0.0.0/8, so that clusters never meet: its master listens on
//! port 5050, agent 0 on 5051, and so on, also after a restart.

pub(crate) mod framework;
mod install;
pub(crate) mod meddler;
mod remains;

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::http::Http;
use super::wait;

/// How long a part may take to be there. A loaded machine takes its time.
const START_MAX: Duration = Duration::from_secs(60);

/// Where the master listens. Agents follow.
const MASTER_PORT: u16 = 5050;

/// What holds for every cluster unless its [`Setup`] says otherwise. Mesos is made quicker than it is in the field, but
/// not so quick that a busy machine looks like a lost one.
const FLAGS: &[(&str, &str)] = &[
    ("MESOS_AGENT_PING_TIMEOUT", "2secs"),
    ("MESOS_MAX_AGENT_PING_TIMEOUTS", "5"),
    ("MESOS_ALLOCATION_INTERVAL", "200ms"),
    ("MESOS_REGISTRATION_BACKOFF_FACTOR", "200ms"),
    ("MESOS_EXECUTOR_REREGISTRATION_TIMEOUT", "15secs"),
    ("MESOS_RECOVERY_TIMEOUT", "2mins"),
    ("MESOS_LAUNCHER", "posix"),
    ("MESOS_ISOLATION", "posix/cpu,posix/mem"),
    ("MESOS_SYSTEMD_ENABLE_SUPPORT", "false"),
    ("MESOS_SWITCH_USER", "false"),
];

/// One process of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The master.
    Master,
    /// The agent with this index.
    Agent(usize),
}

/// What one agent has.
#[derive(Clone, Debug)]
pub(crate) struct AgentSetup {
    /// As `--resources` takes it.
    pub(crate) resources: String,
    /// As `--attributes` takes it.
    pub(crate) attributes: String,
}

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// One for each agent.
    pub(crate) agents: Vec<AgentSetup>,
    /// Flags of Mesos as environment variables, `MESOS_<FLAG>`, for all parts.
    pub(crate) flags: Vec<(String, String)>,
}

impl Setup {
    /// So many agents with 4 cpus, 4 GiB and 10 database connections each, and an attribute `rack` of `r0`, `r1`, …
    #[must_use]
    pub(crate) fn agents(n_agents: usize) -> Self {
        let agent = |index| AgentSetup {
            resources: "cpus:4;mem:4096;disk:10000;db_connections:10".to_owned(),
            attributes: format!("rack:r{index}"),
        };
        Self {
            agents: (0..n_agents).map(agent).collect(),
            flags: Vec::new(),
        }
    }

    /// The same with other resources on every agent.
    #[must_use]
    pub(crate) fn resources(mut self, resources: &str) -> Self {
        for agent in &mut self.agents {
            resources.clone_into(&mut agent.resources);
        }
        self
    }

    /// The same with one more flag, such as `MESOS_ALLOCATION_INTERVAL`.
    #[must_use]
    pub(crate) fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts all parts and waits until every agent is known to the master; `None` where there is no Mesos to be had.
    #[track_caller]
    #[must_use]
    pub(crate) fn start(self) -> Option<Mesos> {
        let n_agents = self.agents.len();
        self.start_with(n_agents)
    }

    /// The same with the first `n_started` agents only; the others may be started later.
    #[track_caller]
    #[must_use]
    pub(crate) fn start_with(self, n_started: usize) -> Option<Mesos> {
        let programs = install::find()?;
        let n_agents = self.agents.len();
        let mut mesos = Mesos {
            programs,
            setup: self,
            address: free_address(n_agents),
            running: (0..=n_agents).map(|_| None).collect(),
            folder: tempfile::Builder::new().prefix("mesos-").tempdir().unwrap(),
        };
        mesos.start(Part::Master);
        for index in 0..n_started {
            mesos.start(Part::Agent(index));
        }
        mesos.wait_for_agents(n_started);
        Some(mesos)
    }
}

/// A cluster that runs. On drop everything of it ends: parts, executors, and their tasks.
pub(crate) struct Mesos {
    programs: PathBuf,
    setup: Setup,
    address: Ipv4Addr,
    /// By place: master, agents.
    running: Vec<Option<Child>>,
    folder: tempfile::TempDir,
}

impl Part {
    fn place(self) -> usize {
        match self {
            Self::Master => 0,
            Self::Agent(index) => index + 1,
        }
    }

    fn name(self) -> String {
        match self {
            Self::Master => "master".to_owned(),
            Self::Agent(index) => format!("agent{index}"),
        }
    }

    fn port(self) -> u16 {
        MASTER_PORT + u16::try_from(self.place()).unwrap()
    }
}

impl Mesos {
    /// Starts a part that isn't running. What it had on disk is there still; an agent so keeps its id.
    pub(crate) fn start(&mut self, part: Part) {
        assert!(self.running[part.place()].is_none(), "{part:?} runs");
        let home = self.home(part);
        fs::create_dir_all(&home).unwrap();
        let log = File::options()
            .create(true)
            .append(true)
            .open(home.join("log"))
            .unwrap();
        let mut command = Command::new(self.programs.join("box"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LIBPROCESS_IP", self.address.to_string())
            .env("LIBPROCESS_PORT", part.port().to_string())
            .env("MESOS_HOSTNAME", self.address.to_string())
            .env("MESOS_LAUNCHER_DIR", self.programs.join("libexec"))
            .env("BOX_WORK_DIR", home.join("work"))
            .envs(FLAGS.iter().copied());
        match part {
            Part::Master => command.arg("master"),
            Part::Agent(index) => {
                let agent = &self.setup.agents[index];
                command
                    .arg("agent")
                    .env("BOX_MASTER", self.master_address())
                    .env("MESOS_RESOURCES", &agent.resources)
                    .env("MESOS_ATTRIBUTES", &agent.attributes)
            }
        };
        let child = command
            .envs(self.setup.flags.iter().map(|(name, value)| (name, value)))
            .current_dir(&home)
            // The part ends when this pipe closes, so also when this process dies.
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.running[part.place()] = Some(child);
    }

    /// SIGKILLs a part. An agent's executors and tasks live on.
    pub(crate) fn kill(&mut self, part: Part) {
        let mut child = self.running[part.place()].take().expect("the part runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Lets a part hang: to the others it looks as if the network had gone.
    pub(crate) fn freeze(&self, part: Part) {
        kill(self.pid(part), Signal::SIGSTOP).unwrap();
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self, part: Part) {
        kill(self.pid(part), Signal::SIGCONT).unwrap();
    }

    fn pid(&self, part: Part) -> Pid {
        let child = self.running[part.place()].as_ref().expect("the part runs");
        Pid::from_raw(i32::try_from(child.id()).unwrap())
    }

    /// `ip:port` of the master.
    #[must_use]
    pub(crate) fn master_address(&self) -> String {
        format!("{}:{}", self.address, Part::Master.port())
    }

    /// `http://ip:port` of a part.
    #[must_use]
    pub(crate) fn url(&self, part: Part) -> String {
        format!("http://{}:{}", self.address, part.port())
    }

    /// What a part logged.
    #[must_use]
    pub(crate) fn log(&self, part: Part) -> String {
        fs::read_to_string(self.home(part).join("log")).unwrap_or_default()
    }

    fn home(&self, part: Part) -> PathBuf {
        self.folder.path().join(part.name())
    }

    /// Where all files of the cluster are; every process of it has its working directory below.
    #[must_use]
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path of the part's HTTP server, as JSON; `None` where it doesn't answer.
    #[must_use]
    pub(crate) fn try_get(&self, part: Part, path: &str) -> Option<Value> {
        let answer = Http::new(&self.url(part)).try_get(path).ok()?;
        (answer.status == 200).then(|| answer.json())
    }

    /// The master's `/state`: frameworks with their tasks and offers, agents with their resources.
    #[track_caller]
    #[must_use]
    pub(crate) fn state(&self) -> Value {
        self.try_get(Part::Master, "/state")
            .expect("the master answers")
    }

    /// The framework of this name in the master's state.
    #[must_use]
    pub(crate) fn find_framework(&self, name: &str) -> Option<Value> {
        let state = self.state();
        let mut frameworks = state["frameworks"].as_array()?.iter();
        frameworks
            .find(|framework| framework["name"] == name)
            .cloned()
    }

    /// The id that the master gave the agent with this index.
    #[track_caller]
    #[must_use]
    pub(crate) fn agent_id(&self, index: usize) -> String {
        let state = self.state();
        let port = i64::from(Part::Agent(index).port());
        let mut agents = state["slaves"].as_array().unwrap().iter();
        let agent = agents.find(|agent| agent["port"] == port);
        let id = agent.and_then(|agent| agent["id"].as_str());
        id.expect("the master knows the agent").to_owned()
    }

    /// Waits until so many agents are registered and active.
    #[track_caller]
    pub(crate) fn wait_for_agents(&self, n_agents: usize) {
        wait::until(&format!("{n_agents} agents to register"), START_MAX, || {
            let state = self.try_get(Part::Master, "/state")?;
            let agents = state["slaves"].as_array()?;
            let n_active = agents
                .iter()
                .filter(|agent| agent["active"] == true)
                .count();
            (n_active == n_agents).then_some(())
        });
    }

    /// Processes that belong to the cluster, without its parts: container launchers, executors, tasks.
    #[must_use]
    pub(crate) fn processes(&self) -> Vec<remains::Process> {
        let parts: Vec<u32> = self.running.iter().flatten().map(Child::id).collect();
        let mut found = remains::processes_below(self.folder.path());
        found.retain(|process| !parts.contains(&process.pid.unsigned_abs()));
        found
    }
}

impl Drop for Mesos {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        remains::end_all_below(self.folder.path());
        if std::thread::panicking() {
            for part in (0..self.setup.agents.len())
                .map(Part::Agent)
                .chain([Part::Master])
            {
                let log = self.log(part);
                let last: Vec<&str> = log.lines().rev().take(40).collect();
                eprintln!("the last lines that {part:?} logged:");
                last.iter().rev().for_each(|line| eprintln!("  {line}"));
            }
        }
    }
}

/// An address of the loopback network on which all ports of a cluster are free.
fn free_address(n_agents: usize) -> Ipv4Addr {
    loop {
        let [a, b, c] = [0; 3].map(|_: u8| fastrand::u8(2..254));
        let address = Ipv4Addr::new(127, a, b, c);
        let is_free = (0..=n_agents).all(|place| {
            let port = MASTER_PORT + u16::try_from(place).unwrap();
            TcpListener::bind((address, port)).is_ok()
        });
        if is_free {
            return address;
        }
    }
}
