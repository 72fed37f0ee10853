//! The executor on a real agent, driven by a bare framework.

use std::time::Duration;

use apportion::backend::remote::ended::Shown;
use apportion::engine::AttemptEnd;
use apportion::proto::mesos::v1::{TaskState, task_status};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::support::{
    OWN_RESOURCES, executor, executor_pid, task, text, told, wait_gone, wait_runs,
};
use crate::support::mesos::framework::{Framework, Task};
use crate::support::mesos::{Part, Setup};
use crate::support::{processes, wait};

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
    framework.launch(None, &executor, &OWN_RESOURCES, &tasks);
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
    framework.launch(None, &executor, &OWN_RESOURCES, &[task("7.1", "echo late")]);
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
    framework.launch(None, &executor("shared", None), &OWN_RESOURCES, &tasks);
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
    framework.launch(None, &executor("shared", None), &OWN_RESOURCES, &tasks);
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
    framework.launch(None, &executor("shared", None), &OWN_RESOURCES, &tasks);
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
    let agent = framework.launch(None, &executor, &OWN_RESOURCES, &tasks);
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
