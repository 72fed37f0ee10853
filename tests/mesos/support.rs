//! What the tests against Mesos share: executors, tasks and what they tell; daemons and what ran under them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apportion::backend::remote::command::{ExecutorOptions, to_command_info};
use apportion::backend::remote::ended::{self, Ended, Shown};
use apportion::backend::settings::PythonConfig;
use apportion::engine::spec::{Run, TaskSpec};
use apportion::policies::Amount;
use apportion::proto::mesos::v1::{
    DurationInfo, ExecutorId, ExecutorInfo, TaskStatus, executor_info,
};

use crate::support::daemon::Daemon;
use crate::support::mesos::framework::{Task, launch_data, plain};
use crate::support::mesos::{Mesos, Part};
use crate::support::{daemon, wait};

/// A loaded machine takes its time.
const DEADLINE: Duration = Duration::from_secs(120);

/// What an executor takes for itself.
pub(super) const OWN_RESOURCES: [(&str, f64); 2] = [("cpus", 0.1), ("mem", 64.0)];

pub(super) fn executor(id: &str, idle_timeout: Option<Duration>) -> ExecutorInfo {
    let options = ExecutorOptions {
        idle_timeout,
        keep_outputs: Duration::from_secs(3600),
        python: PythonConfig::default(),
        daemon_ca: None,
    };
    let program = format!("file://{}", daemon::program());
    ExecutorInfo {
        executor_id: ExecutorId {
            value: id.to_owned(),
        },
        command: Some(to_command_info(&program, &options)),
        name: Some("apportion".to_owned()),
        shutdown_grace_period: Some(DurationInfo {
            nanoseconds: 20_000_000_000,
        }),
        r#type: Some(executor_info::Type::Custom.into()),
        ..ExecutorInfo::default()
    }
}

/// A task that runs a shell line, with 0.1 cpus and 32 MiB.
pub(super) fn task(id: &str, line: &str) -> Task {
    let amount = |milli| Amount::from_milli(milli).unwrap();
    let demand = [("cpus", 100), ("mem", 32_000), ("db_connections", 2000)];
    let demand = demand.map(|(name, milli)| (name.into(), amount(milli)));
    let spec = TaskSpec {
        queue: "maps".into(),
        demand: Arc::new(demand.into()),
        env: BTreeMap::from([("STAGE".into(), "test".into())]),
        ..plain(Run::Command(line.into()))
    };
    Task {
        id: id.to_owned(),
        resources: vec![("cpus", 0.1), ("mem", 32.0)],
        data: launch_data(id, spec),
    }
}

pub(super) fn told(status: &TaskStatus) -> Ended {
    ended::from_bytes(status.data.as_deref().expect("an end has data")).unwrap()
}

pub(super) fn text(ended: &Ended) -> String {
    let Shown::Inline(value) = &ended.shown else {
        panic!("{ended:?} has no value in it");
    };
    String::from_utf8_lossy(&value.bytes).into_owned()
}

/// The processes of all executors, without what starts them.
pub(super) fn executor_pids(mesos: &Mesos) -> Vec<i32> {
    let is_executor = |command: &str| {
        command.contains("apportion executor") && !command.contains("mesos-containerizer")
    };
    let processes = mesos.processes().into_iter();
    let executors = processes.filter(|process| is_executor(&process.command));
    executors.map(|process| process.pid).collect()
}

/// The executor's own process on a cluster that has one.
pub(super) fn executor_pid(mesos: &Mesos) -> i32 {
    let deadline = Duration::from_secs(60);
    wait::until("the executor's process", deadline, || {
        executor_pids(mesos).pop()
    })
}

/// Waits until no task runs a program with this argument.
pub(super) fn wait_gone(mesos: &Mesos, argument: &str) {
    wait::until(
        "the processes of tasks to be gone",
        Duration::from_secs(60),
        || {
            let left = mesos.processes();
            let is_left = left
                .iter()
                .any(|process| process.command.ends_with(argument));
            (!is_left).then_some(())
        },
    );
}

pub(super) fn wait_runs(mesos: &Mesos, argument: &str) -> i32 {
    wait::until("the process of a task", Duration::from_secs(60), || {
        let mut running = mesos.processes().into_iter();
        let found = running.find(|process| process.command == argument);
        found.map(|process| process.pid)
    })
}

/// A configuration for this cluster; `mesos` goes on with keys of `[backend.mesos]`, `rest` with other sections.
pub(super) fn config(master: &str, mesos: &str, rest: &str) -> String {
    format!(
        "{rest}\n[backend]\nkind = \"mesos\"\n[backend.mesos]\nmasters = [\"{master}\"]\nunreachable_for = \"1s\"\n{mesos}\n"
    )
}

pub(super) fn start(folder: &Path, mesos: &Mesos, rest: &str) -> Daemon {
    let daemon = Daemon::start(folder, &config(&mesos.url(Part::Master), "", rest));
    wait_ready(&daemon);
    daemon
}

pub(super) fn wait_ready(daemon: &Daemon) {
    wait::until("the daemon to be subscribed", DEADLINE, || {
        (daemon.http.get("/readyz").status == 200).then_some(())
    });
}

/// Waits until all of these have succeeded.
pub(super) fn wait_all(daemon: &Daemon, queue: &str, n_tasks: u64) {
    wait::until("all tasks to succeed", DEADLINE * 2, || {
        let path = format!("/v1/tasks?queue={queue}&state=succeeded&limit=1000");
        let answer = daemon.http.get(&path).expect(200);
        let n_done = answer["tasks"].as_array().unwrap().len() as u64;
        (n_done == n_tasks).then_some(())
    });
}

/// How often each task ran, by what they wrote.
pub(super) fn runs(file: &Path) -> BTreeMap<String, usize> {
    let mut runs = BTreeMap::new();
    for line in fs::read_to_string(file).unwrap_or_default().lines() {
        *runs.entry(line.to_owned()).or_insert(0) += 1;
    }
    runs
}

/// The value of the line of the daemon's metrics that begins so; 0 where there is none.
pub(super) fn metric(daemon: &Daemon, line: &str) -> u64 {
    let page = daemon.http.get("/metrics").text();
    let found = page.lines().find_map(|it| it.strip_prefix(line));
    found.map_or(0, |value| value.trim().parse().unwrap())
}
