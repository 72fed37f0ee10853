//! The executor on a real agent, driven by a bare framework.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apportion::backend::remote::command::{ExecutorOptions, to_command_info};
use apportion::backend::remote::ended::{self, Ended, Shown};
use apportion::backend::remote::launch::{self, Upload};
use apportion::engine::decision::Launch;
use apportion::engine::spec::{Run, Submission, TaskSpec};
use apportion::engine::{AttemptEnd, Time};
use apportion::policies::Amount;
use apportion::proto::mesos::v1::{
    DurationInfo, ExecutorId, ExecutorInfo, TaskState, TaskStatus, executor_info, task_status,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::mesos::framework::{Framework, Task};
use crate::support::mesos::{Mesos, Part, Setup};
use crate::support::{daemon, processes, wait};

/// What an executor takes for itself.
const OWN_RESOURCES: [(&str, f64); 2] = [("cpus", 0.1), ("mem", 64.0)];

fn executor(id: &str, idle_timeout: Option<Duration>) -> ExecutorInfo {
    let options = ExecutorOptions {
        idle_timeout,
        keep_outputs: Duration::from_secs(3600),
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
fn task(id: &str, line: &str) -> Task {
    let attempt = launch::parse_attempt(id).unwrap();
    let amount = |milli| Amount::from_milli(milli).unwrap();
    let demand = [("cpus", 100), ("mem", 32_000), ("db_connections", 2000)];
    let spec = TaskSpec {
        queue: "maps".into(),
        name: "".into(),
        key: None,
        inbox: None,
        demand: Arc::new(
            demand
                .map(|(name, milli)| (name.into(), amount(milli)))
                .into(),
        ),
        run: Run::Command(line.into()),
        env: BTreeMap::from([("STAGE".into(), "test".into())]),
        priority: 0,
        retries: 0,
        timeout: None,
        kill_grace: None,
        constraints: Arc::default(),
        array: None,
    };
    let launch = Launch {
        attempt,
        submission: Arc::new(Submission {
            first: attempt.task,
            spec,
            after: Vec::new(),
            digest: [0; 16],
            submitted_at: Time::default(),
        }),
    };
    let upload = Upload {
        url: String::new(),
        token: String::new(),
    };
    Task {
        id: id.to_owned(),
        resources: vec![("cpus", 0.1), ("mem", 32.0)],
        data: launch::to_bytes(&launch, &upload),
    }
}

fn told(status: &TaskStatus) -> Ended {
    ended::from_bytes(status.data.as_deref().expect("an end has data")).unwrap()
}

fn text(ended: &Ended) -> String {
    let Shown::Inline(value) = &ended.shown else {
        panic!("{ended:?} has no value in it");
    };
    String::from_utf8_lossy(&value.bytes).into_owned()
}

/// The executor's own process on a cluster that has one.
fn executor_pid(mesos: &Mesos) -> i32 {
    let is_executor = |command: &str| command.contains("apportion executor");
    wait::until("the executor's process", Duration::from_secs(60), || {
        let mut found = mesos.processes().into_iter();
        let found = found.find(|process| {
            is_executor(&process.command) && !process.command.contains("mesos-containerizer")
        });
        found.map(|process| process.pid)
    })
}

/// Waits until no task runs a program with this argument.
fn wait_gone(mesos: &Mesos, argument: &str) {
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

fn wait_runs(mesos: &Mesos, argument: &str) -> i32 {
    wait::until("the process of a task", Duration::from_secs(60), || {
        let mut running = mesos.processes().into_iter();
        let found = running.find(|process| process.command.ends_with(argument));
        found.map(|process| process.pid)
    })
}

#[test]
fn tasks_run_side_by_side_in_one_executor() {
    let Some(mesos) = Setup::agents(1).start() else {
        return;
    };
    let framework = Framework::subscribe(&mesos, "bare");
    let executor = executor("shared", Some(Duration::from_secs(3)));
    let environment = "echo $STAGE $APPORTION_TASK_ID $APPORTION_ATTEMPT $APPORTION_QUEUE $APPORTION_RESOURCE_DB_CONNECTIONS ${MESOS_EXECUTOR_ID:-clean}";
    let tasks = vec![
        task("1.1", environment),
        task("2.7", "echo no >&2; exit 3"),
        task("3.1", "kill -SEGV $$"),
        task("4.1", "head -c 100000 /dev/zero"),
        Task {
            data: b"\xff".to_vec(),
            ..task("5.1", "true")
        },
        task("6.1", "tail -c +1 </dev/zero | tail"),
    ];
    framework.launch(None, &executor, &OWN_RESOURCES, tasks);
    let running = framework.wait_state("1.1", TaskState::TaskRunning);
    assert_eq!(running.source, Some(task_status::Source::Executor.into()));
    let finished = told(&framework.wait_state("1.1", TaskState::TaskFinished));
    assert_eq!(finished.end, AttemptEnd::Exited { code: 0 });
    assert_eq!(text(&finished), "test 1 1 maps 2 clean\n");
    let failed = framework.wait_state("2.7", TaskState::TaskFailed);
    assert_eq!(failed.message.as_deref(), Some("exited with code 3"));
    assert_eq!(told(&failed).end, AttemptEnd::Exited { code: 3 });
    let signalled = told(&framework.wait_ended("3.1"));
    assert_eq!(signalled.end, AttemptEnd::Signalled { signal: 11 });
    let Shown::Inline(cut) = told(&framework.wait_ended("4.1")).shown else {
        panic!("a command's value is never a file");
    };
    assert_eq!((cut.bytes.len(), cut.truncated), (64 << 10, true));
    let garbled = told(&framework.wait_ended("5.1"));
    assert!(
        matches!(garbled.end, AttemptEnd::NotStarted { .. }),
        "{garbled:?}"
    );
    let greedy = told(&framework.wait_ended("6.1"));
    assert_eq!(greedy.end, AttemptEnd::OutOfMemory, "{greedy:?}");
    let pid = executor_pid(&mesos);
    // Another one joins them, and then the executor has nothing to do.
    framework.launch(
        None,
        &executor,
        &OWN_RESOURCES,
        vec![task("7.1", "echo late")],
    );
    assert_eq!(text(&told(&framework.wait_ended("7.1"))), "late\n");
    processes::until_gone(&[pid]);
    wait::for_true("nothing to be left", || mesos.processes().is_empty());
    assert_eq!(framework.updates("1.1").len(), 2, "each update comes once");
}

#[test]
fn tasks_survive_a_restart_of_their_agent() {
    let Some(mut mesos) = Setup::agents(1).start() else {
        return;
    };
    let framework = Framework::subscribe(&mesos, "bare");
    let folder = mesos.folder().to_owned();
    let gate = folder.join("gate");
    let shown = gate.display();
    let line =
        format!("echo $$ >{shown}.pid; while [ ! -e {shown} ]; do sleep 0.05; done; echo through");
    let tasks = vec![
        task("1.1", &line),
        task(
            "2.1",
            &format!("while [ ! -e {shown}.soon ]; do sleep 0.05; done; echo meanwhile"),
        ),
    ];
    framework.launch(None, &executor("shared", None), &OWN_RESOURCES, tasks);
    framework.wait_state("1.1", TaskState::TaskRunning);
    framework.wait_state("2.1", TaskState::TaskRunning);
    let pid = executor_pid(&mesos);
    mesos.kill(Part::Agent(0));
    // One ends while nobody can be told.
    std::fs::write(folder.join("gate.soon"), "").unwrap();
    wait_gone(&mesos, "gate.soon ]; do sleep 0.05; done; echo meanwhile");
    mesos.start(Part::Agent(0));
    let meanwhile = framework.wait_state("2.1", TaskState::TaskFinished);
    assert_eq!(text(&told(&meanwhile)), "meanwhile\n");
    assert!(processes::is_alive(pid), "it is the same executor");
    std::fs::write(&gate, "").unwrap();
    let finished = framework.wait_state("1.1", TaskState::TaskFinished);
    assert_eq!(text(&told(&finished)), "through\n");
    for id in ["1.1", "2.1"] {
        let ends = framework.updates(id);
        assert!(
            ends.iter()
                .all(|status| status.state() != TaskState::TaskFailed),
            "{ends:?}"
        );
    }
}

#[test]
fn an_agent_that_stays_away_takes_its_tasks_with_it() {
    let Some(mut mesos) = Setup::agents(1)
        .flag("MESOS_RECOVERY_TIMEOUT", "3secs")
        .start()
    else {
        return;
    };
    let framework = Framework::subscribe(&mesos, "bare");
    let tasks = vec![task("1.1", "trap '' TERM; sleep 4711")];
    framework.launch(None, &executor("shared", None), &OWN_RESOURCES, tasks);
    framework.wait_state("1.1", TaskState::TaskRunning);
    let (executor, sleeper) = (executor_pid(&mesos), wait_runs(&mesos, "sleep 4711"));
    mesos.kill(Part::Agent(0));
    processes::until_gone(&[executor, sleeper]);
    wait::for_true("nothing to be left", || mesos.processes().is_empty());
}

#[test]
fn a_killed_executor_leaves_no_process_behind() {
    let Some(mesos) = Setup::agents(1).start() else {
        return;
    };
    let framework = Framework::subscribe(&mesos, "bare");
    let tasks = vec![
        task("1.1", "setsid sleep 4712 & sleep 4713"),
        task(
            "2.1",
            "trap '' TERM; setsid setsid sleep 4714 & setsid sleep 4715",
        ),
    ];
    framework.launch(None, &executor("shared", None), &OWN_RESOURCES, tasks);
    let sleepers: Vec<i32> = ["sleep 4712", "sleep 4713", "sleep 4714", "sleep 4715"]
        .map(|argument| wait_runs(&mesos, argument))
        .into();
    kill(Pid::from_raw(executor_pid(&mesos)), Signal::SIGKILL).unwrap();
    for id in ["1.1", "2.1"] {
        let status = framework.wait_ended(id);
        assert_eq!(
            status.source,
            Some(task_status::Source::Agent.into()),
            "{status:?}"
        );
        let reason = task_status::Reason::ExecutorTerminated;
        assert_eq!(status.reason, Some(reason.into()), "{status:?}");
    }
    processes::until_gone(&sleepers);
    wait::for_true("nothing to be left", || mesos.processes().is_empty());
}

#[test]
fn kills_are_obeyed_with_their_grace() {
    let Some(mesos) = Setup::agents(1).start() else {
        return;
    };
    let framework = Framework::subscribe(&mesos, "bare");
    let executor = executor("shared", None);
    let tasks = vec![
        task("1.1", "trap 'echo bye; exit 0' TERM; sleep 4716 & wait"),
        task("2.1", "trap '' TERM; sleep 4717 & sleep 4718"),
        task("3.1", "sleep 4719"),
    ];
    let agent = framework.launch(None, &executor, &OWN_RESOURCES, tasks);
    let sleepers: Vec<i32> = ["sleep 4716", "sleep 4717", "sleep 4718", "sleep 4719"]
        .map(|argument| wait_runs(&mesos, argument))
        .into();
    let pid = executor_pid(&mesos);
    framework.kill("1.1", Duration::from_secs(60));
    framework.wait_state("1.1", TaskState::TaskKilling);
    let polite = told(&framework.wait_state("1.1", TaskState::TaskKilled));
    assert_eq!(polite.end, AttemptEnd::Killed);
    assert_eq!(text(&polite), "bye\n");
    // Whoever doesn't listen has little time; and less when told again.
    framework.kill("2.1", Duration::from_secs(3600));
    framework.wait_state("2.1", TaskState::TaskKilling);
    framework.kill("2.1", Duration::from_millis(100));
    framework.wait_state("2.1", TaskState::TaskKilled);
    processes::until_gone(&sleepers[..3]);
    assert!(
        processes::is_alive(sleepers[3]),
        "nobody wanted that one killed"
    );
    framework.shut_down(&executor, &agent);
    let told = told(&framework.wait_state("3.1", TaskState::TaskKilled));
    assert_eq!(told.end, AttemptEnd::Killed);
    processes::until_gone(&[sleepers[3], pid]);
    wait::for_true("nothing to be left", || mesos.processes().is_empty());
}
