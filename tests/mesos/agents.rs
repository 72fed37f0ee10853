//! Agents and executors that fail while the daemon has tasks on them; and what people see of their tasks there.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::support::{executor_pid, executor_pids, wait_runs};
use crate::support::daemon::{Daemon, write_config};
use crate::support::mesos::{Mesos, Part, Setup};
use crate::support::{processes, wait};

/// How long anything may take that Mesos has to find out by itself.
const DEADLINE: Duration = Duration::from_secs(120);

fn start_daemon(mesos: &Mesos, folder: &Path) -> Daemon {
    Daemon::start(folder, &settings(mesos))
}

fn settings(mesos: &Mesos) -> String {
    format!(
        "[tasks]\ndemand = {{ cpus = 0.1, mem = \"32MiB\" }}\n\
         [queues.default]\n[queues.alone]\nisolation = \"task\"\n\
         [backend]\nkind = \"mesos\"\n\
         [backend.mesos]\nmasters = [\"{}\"]\nunreachable_for = \"1s\"\n",
        mesos.url(Part::Master)
    )
}

/// A task whose first attempt says that it runs and goes on for ever, and whose second one ends at once.
fn second_time_lucky(folder: &Path, sleep: &str) -> Value {
    let once = folder.join("once").display().to_string();
    let line = format!("if mkdir {once}; then echo first; {sleep}; else echo second; fi");
    json!({"run": {"command": line}, "retries": 0})
}

fn value(daemon: &Daemon, task: u64) -> String {
    let answer = daemon.http.get(&format!("/v1/tasks/{task}/result"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

fn wait_ended(daemon: &Daemon, task: u64) -> Value {
    wait::until(&format!("task {task} to end"), DEADLINE, || {
        let task = daemon.http.task(task);
        (!task["outcome"].is_null()).then_some(task)
    })
}

/// The index of the agent that has the task's latest attempt.
fn agent_of(mesos: &Mesos, task: &Value) -> usize {
    let attempts = task["attempts"].as_array().unwrap();
    let agent = attempts.last().unwrap()["agent"].as_str().unwrap();
    let is_it = |index: &usize| mesos.agent_id(*index) == agent;
    (0..2).find(is_it).expect("one of the two agents")
}

#[test]
fn a_restart_of_an_agent_is_not_noticed_by_tasks() {
    let Some(mut mesos) = Setup::agents(1).start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let daemon = start_daemon(&mesos, folder.path());
    let gate = folder.path().join("gate");
    let shown = gate.display();
    let line = format!("while [ ! -e {shown} ]; do sleep 0.05; done; echo through");
    let task = daemon.http.submit(&json!({"run": {"command": line}}));
    daemon.http.wait_state(task, "running");
    mesos.kill(Part::Agent(0));
    std::fs::write(&gate, "").unwrap();
    mesos.start(Part::Agent(0));
    let ended = wait_ended(&daemon, task);
    assert_eq!(ended["state"], "succeeded", "{ended}");
    assert_eq!(ended["n_attempts"], 1, "{ended}");
    assert_eq!(value(&daemon, task), "through\n");
}

#[test]
fn an_agent_that_comes_back_too_late_has_no_say() {
    let Some(mesos) = Setup::agents(2)
        .flag("MESOS_AGENT_PING_TIMEOUT", "1secs")
        .start()
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let daemon = start_daemon(&mesos, folder.path());
    let task = daemon
        .http
        .submit(&second_time_lucky(folder.path(), "sleep 4731"));
    let running = daemon.http.wait_state(task, "running");
    let sleeper = wait_runs(&mesos, "sleep 4731");
    let agent = Part::Agent(agent_of(&mesos, &running));
    mesos.freeze(agent);
    let ended = wait_ended(&daemon, task);
    assert_eq!(ended["state"], "succeeded", "it ran elsewhere: {ended}");
    assert_eq!(value(&daemon, task), "second\n");
    assert_eq!(ended["n_attempts"], 2, "{ended}");
    assert!(
        processes::is_alive(sleeper),
        "nobody could end the first one"
    );
    mesos.thaw(agent);
    processes::until_gone(&[sleeper]);
    mesos.wait_for_agents(2);
    let after = daemon.http.task(task);
    assert_eq!(after["outcome"], ended["outcome"]);
    assert_eq!(after["n_attempts"], 2);
}

#[test]
fn the_tasks_of_a_killed_executor_run_again() {
    let Some(mesos) = Setup::agents(1).start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let daemon = start_daemon(&mesos, folder.path());
    let task = daemon
        .http
        .submit(&second_time_lucky(folder.path(), "setsid sleep 4732"));
    daemon.http.wait_state(task, "running");
    let sleeper = wait_runs(&mesos, "sleep 4732");
    kill(Pid::from_raw(executor_pid(&mesos)), Signal::SIGKILL).unwrap();
    let ended = wait_ended(&daemon, task);
    assert_eq!(ended["state"], "succeeded", "{ended}");
    assert_eq!(ended["n_attempts"], 2, "{ended}");
    assert_eq!(value(&daemon, task), "second\n");
    processes::until_gone(&[sleeper]);
}

#[test]
fn tasks_are_cancelled_in_every_state() {
    let Some(mesos) = Setup::agents(1).start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let daemon = start_daemon(&mesos, folder.path());
    let submit = |task: Value| daemon.http.submit(&task);
    let cancel = |task: u64| {
        daemon
            .http
            .post(&format!("/v1/tasks/{task}/cancel"), &json!({}))
    };
    let running =
        submit(json!({"run": {"command": "trap '' TERM; sleep 4733"}, "kill_grace": "60s"}));
    daemon.http.wait_state(running, "running");
    let sleeper = wait_runs(&mesos, "sleep 4733");
    let queued = submit(json!({"run": {"command": "true"}, "demand": {"cpus": 4, "mem": 32}}));
    daemon.http.wait_state(queued, "queued");
    let waiting = submit(json!({"run": {"command": "true"}, "after": [queued]}));
    daemon.http.wait_state(waiting, "waiting");
    for task in [waiting, queued] {
        let _ = cancel(task).expect(200);
        assert_eq!(daemon.http.task(task)["state"], "cancelled");
    }
    // What an agent that hangs is told to launch doesn't start.
    mesos.freeze(Part::Agent(0));
    let launching = submit(json!({"run": {"command": "sleep 4734"}}));
    daemon.http.wait_state(launching, "launching");
    let _ = cancel(launching).expect(200);
    daemon.http.wait_state(launching, "cancelling");
    mesos.thaw(Part::Agent(0));
    assert_eq!(wait_ended(&daemon, launching)["state"], "cancelled");
    // Twice; and retried while the first attempt is dying.
    let _ = cancel(running).expect(200);
    daemon.http.wait_state(running, "cancelling");
    let _ = cancel(running);
    assert!(
        processes::is_alive(sleeper),
        "it has a grace and doesn't listen"
    );
    kill(Pid::from_raw(sleeper), Signal::SIGKILL).unwrap();
    assert_eq!(wait_ended(&daemon, running)["state"], "cancelled");
    assert_eq!(cancel(running).status, 200, "to cancel twice is no error");
    wait::for_true("no process of a task to be left", || {
        mesos
            .processes()
            .iter()
            .all(|process| !process.command.starts_with("sleep"))
    });
}

#[test]
fn outputs_are_followed_from_afar() {
    let Some(mesos) = Setup::agents(1).start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let daemon = start_daemon(&mesos, folder.path());
    let gate = folder.path().join("gate");
    let shown = gate.display();
    let line =
        format!("echo one; echo wrong >&2; while [ ! -e {shown} ]; do sleep 0.05; done; echo two");
    let task = daemon.http.submit(&json!({"run": {"command": line}}));
    let mut follower = daemon
        .command(&["logs", &task.to_string(), "-f"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "one", "while it runs");
    // What it writes may be seen sooner than that it has started.
    daemon.http.wait_state(task, "running");
    std::fs::write(&gate, "").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "two");
    assert!(lines.next().is_none(), "it ends when the task has");
    assert!(follower.wait().unwrap().success());
    let id = task.to_string();
    assert_eq!(daemon.cli(&["logs", &id], 0), "one\ntwo\n");
    assert_eq!(daemon.cli(&["logs", &id, "--stderr"], 0), "wrong\n");
    // Another daemon on the same data finds them again.
    daemon.kill();
    let daemon = start_daemon(&mesos, folder.path());
    wait::until("the outputs after a restart", DEADLINE, || {
        let answer = daemon.http.get(&format!("/v1/tasks/{task}/logs/stdout"));
        (answer.status == 200).then(|| assert_eq!(answer.text(), "one\ntwo\n"))
    });
}

#[test]
fn outputs_of_all_executors_outlive_a_restart_of_their_agent() {
    let Some(mut mesos) = Setup::agents(1).start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let daemon = start_daemon(&mesos, folder.path());
    let tasks = ["one", "two"].map(|word| {
        let run = json!({"command": format!("echo {word}; echo $PPID >&2")});
        let task = daemon.http.submit(&json!({"run": run}));
        assert_eq!(wait_ended(&daemon, task)["state"], "succeeded");
        // With the next task comes the next executor.
        let pid = executor_pid(&mesos);
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
        processes::until_gone(&[pid]);
        (task, word)
    });
    mesos.kill(Part::Agent(0));
    mesos.start(Part::Agent(0));
    for (task, word) in tasks {
        wait::until("the outputs after the restart", DEADLINE, || {
            let answer = daemon.http.get(&format!("/v1/tasks/{task}/logs/stdout"));
            (answer.status == 200 && answer.text() == format!("{word}\n")).then_some(())
        });
    }
}

#[test]
fn a_reload_changes_which_tasks_are_isolated() {
    let Some(mesos) = Setup::agents(1).start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &settings(&mesos));
    let submit = |sleep: &str| {
        let run = json!({"command": format!("exec {sleep}")});
        let task = daemon.http.submit(&json!({"run": run}));
        daemon.http.wait_state(task, "running");
    };
    submit("sleep 4741");
    submit("sleep 4742");
    assert_eq!(executor_pids(&mesos).len(), 1);
    let isolated =
        settings(&mesos).replace("[queues.default]", "[queues.default]\nisolation = \"task\"");
    let _ = write_config(folder.path(), &isolated);
    daemon.signal(Signal::SIGHUP);
    wait::until("the reload", DEADLINE, || {
        daemon.log().contains("is in effect").then_some(())
    });
    assert!(
        !daemon.log().contains("restart the daemon"),
        "{}",
        daemon.log()
    );
    submit("sleep 4743");
    assert_eq!(executor_pids(&mesos).len(), 2);
}

#[test]
fn isolated_tasks_have_executors_of_their_own() {
    let Some(mesos) = Setup::agents(1).start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let daemon = start_daemon(&mesos, folder.path());
    let submit = |queue: &str, sleep: &str| {
        let run = json!({"command": format!("echo ours; exec {sleep}")});
        daemon.http.submit(&json!({"queue": queue, "run": run}))
    };
    let shared = [
        submit("default", "sleep 4735"),
        submit("default", "sleep 4736"),
    ];
    for task in shared {
        daemon.http.wait_state(task, "running");
    }
    assert_eq!(executor_pids(&mesos).len(), 1);
    let alone = [submit("alone", "sleep 4737"), submit("alone", "sleep 4738")];
    for task in alone {
        daemon.http.wait_state(task, "running");
    }
    assert_eq!(executor_pids(&mesos).len(), 3);
    for task in alone {
        let cancelled = daemon
            .http
            .post(&format!("/v1/tasks/{task}/cancel"), &json!({}));
        let _ = cancelled.expect(200);
        assert_eq!(wait_ended(&daemon, task)["state"], "cancelled");
        // The sandbox stays when its executor has ended.
        let answer = daemon.http.get(&format!("/v1/tasks/{task}/logs/stdout"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "ours\n"));
    }
    wait::for_true("the executors of isolated tasks to end", || {
        executor_pids(&mesos).len() == 1
    });
}
