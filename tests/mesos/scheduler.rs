//! The daemon as a scheduler of a real Mesos: what ran, how often, and what the caller got.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{config, runs, start, wait_all, wait_ready};
use crate::support::daemon::Daemon;
use crate::support::mesos::{Part, Setup};
use crate::support::wait;

/// A loaded machine takes its time.
const DEADLINE: Duration = Duration::from_secs(120);

/// The sums of what the master says is used are never above what agents have.
fn assert_within(state: &Value) {
    for agent in state["slaves"].as_array().unwrap() {
        for name in ["cpus", "mem", "licences"] {
            let (used, total) = (&agent["used_resources"][name], &agent["resources"][name]);
            assert!(used.as_f64() <= total.as_f64(), "{name}: {used} of {total}");
        }
    }
}

/// What the queues of [`SHARED`] are due of its connections while all want more.
const DUE: [u64; 3] = [6, 4, 2];

/// The connections that a queue's tasks hold.
fn connections(queue: &Value) -> u64 {
    let used = &queue["used"]["db_connections"];
    used.as_u64().unwrap_or(0)
}

const SHARED: &str = r#"
[resources.db_connections]
scope = "cluster"
capacity = 12
[resources.licences]
scope = "host"
[queues.a]
weight = 3
[queues.b]
weight = 2
[queues.c]
weight = 1
"#;

#[test]
fn a_thousand_tasks_share_the_cluster_by_weight_and_each_runs_once() {
    let Some(mesos) = Setup::agents(2)
        .resources("cpus:4;mem:2048;disk:100;licences:10")
        .start()
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path(), &mesos, SHARED);
    let ran = folder.path().join("ran");
    let line = format!(
        "echo $APPORTION_TASK_ID >> {}; sleep 0.2; echo $((APPORTION_ARRAY_INDEX * 2))",
        ran.display()
    );
    let sizes = [("a", 500_u64), ("b", 333), ("c", 167)];
    let tasks = sizes.map(|(queue, count)| {
        json!({
            "queue": queue, "array": format!("0-{}", count - 1), "run": {"command": line},
            "demand": {"cpus": 0.1, "mem": 16, "db_connections": 1, "licences": 1},
        })
    });
    // Together, or the first queue has all connections for as long as its first tasks run.
    let accepted = daemon.http.post("/v1/tasks", &json!({"tasks": tasks}));
    let accepted = accepted.expect(201);
    let mut n_full = 0;
    wait::until("two queues to have started all", DEADLINE * 2, || {
        assert_within(&mesos.state());
        let queues = daemon.http.get("/v1/queues").expect(200);
        let queues = queues["queues"].as_array().unwrap();
        let used: Vec<u64> = (queues.iter()).map(connections).collect();
        assert!(used.iter().sum::<u64>() <= 12, "{used:?}");
        let n_queued = |queue: &Value| queue["tasks"]["queued"].as_u64().unwrap_or(0);
        if queues.iter().all(|queue| n_queued(queue) > 12) {
            // Whoever is furthest below its due goes first, so nobody is ever above it while all want more.
            let is_within = used.iter().zip(DUE).all(|(used, due)| *used <= due);
            assert!(is_within, "{used:?}, due {DUE:?}");
            n_full += u32::from(used == DUE);
        }
        let n_over = queues.iter().filter(|queue| n_queued(queue) == 0).count();
        (n_over >= 2).then_some(())
    });
    for (queue, count) in sizes {
        wait_all(&daemon, queue, count);
    }
    assert!(n_full > 3, "all was in use {n_full} times only");
    let runs = runs(&ran);
    assert_eq!(runs.len(), 1000);
    assert!(runs.values().all(|n| *n == 1));
    let first_of_b = accepted["tasks"][1]["id"].as_u64().unwrap();
    let value = daemon
        .http
        .get(&format!("/v1/tasks/{}/result", first_of_b + 332));
    assert_eq!(value.text(), "664\n");
}

#[test]
fn a_scheduler_that_is_killed_finds_its_tasks_again() {
    let Some(mesos) = Setup::agents(2).start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path(), &mesos, "");
    let (ran, go) = (folder.path().join("ran"), folder.path().join("go"));
    let line = format!(
        "echo $APPORTION_TASK_ID.$APPORTION_ATTEMPT >> {}; while [ ! -e {} ]; do sleep 0.1; done; echo done",
        ran.display(),
        go.display()
    );
    let first = daemon.http.submit(&json!({
        "array": "0-19", "run": {"command": line}, "demand": {"cpus": 1},
    }));
    wait::until("the cluster to be full", DEADLINE, || {
        (runs(&ran).len() >= 8).then_some(())
    });
    let framework = mesos.find_framework("apportion").unwrap()["id"].clone();
    daemon.kill();
    let daemon = start(folder.path(), &mesos, "");
    assert_eq!(mesos.find_framework("apportion").unwrap()["id"], framework);
    fs::write(&go, "").unwrap();
    wait_all(&daemon, "default", 20);
    let runs = runs(&ran);
    let expected: Vec<String> = (first..first + 20).map(|id| format!("{id}.1")).collect();
    assert!(
        expected.iter().all(|attempt| runs.get(attempt) == Some(&1)),
        "{runs:?}"
    );
    assert_eq!(runs.len(), 20, "nothing ran a second time");
}

#[test]
fn a_master_that_is_killed_is_waited_for() {
    let Some(mut mesos) = Setup::agents(1).start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path(), &mesos, "");
    let (ran, go) = (folder.path().join("ran"), folder.path().join("go"));
    let line = format!(
        "echo $APPORTION_TASK_ID >> {}; while [ ! -e {} ]; do sleep 0.1; done",
        ran.display(),
        go.display()
    );
    let _ = daemon.http.submit(&json!({
        "array": "0-5", "run": {"command": line}, "demand": {"cpus": 1},
    }));
    wait::until("four to run", DEADLINE, || {
        (runs(&ran).len() == 4).then_some(())
    });
    mesos.kill(Part::Master);
    wait::until("the daemon to notice", DEADLINE, || {
        let answer = daemon.http.get("/readyz");
        (answer.status == 503).then(|| answer.expect_error(503, "not_connected"))
    });
    mesos.start(Part::Master);
    wait_ready(&daemon);
    fs::write(&go, "").unwrap();
    wait_all(&daemon, "default", 6);
    assert!(runs(&ran).values().all(|n| *n == 1));
}

#[test]
fn without_a_master_or_a_right_to_its_role_readyz_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &config("http://127.0.0.1:1", "", ""));
    let why = daemon
        .http
        .get("/readyz")
        .expect_error(503, "not_connected");
    assert!(why.contains("Mesos"), "{why}");
    let id = daemon.http.submit(&json!({"run": {"command": "true"}}));
    assert_eq!(
        daemon.http.task(id)["state"],
        "queued",
        "tasks are taken in all the same"
    );
    drop(daemon);
    let Some(mesos) = Setup::agents(1).flag("MESOS_ROLES", "other").start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &config(&mesos.url(Part::Master), "", ""));
    let why = wait::until("the master to refuse the role", DEADLINE, || {
        let why = daemon
            .http
            .get("/readyz")
            .expect_error(503, "not_connected");
        why.contains("refuses the subscription").then_some(why)
    });
    assert!(why.contains("apportion"), "{why}");
}

#[test]
fn wrong_credentials_are_told_and_right_ones_work() {
    let folder = tempfile::tempdir().unwrap();
    let credentials = folder.path().join("credentials");
    fs::write(
        &credentials,
        r#"{"credentials": [{"principal": "me", "secret": "right"}]}"#,
    )
    .unwrap();
    let Some(mesos) = Setup::agents(1)
        .flag("MESOS_AUTHENTICATE_HTTP_FRAMEWORKS", "true")
        .flag("MESOS_HTTP_FRAMEWORK_AUTHENTICATORS", "basic")
        .flag("MESOS_CREDENTIALS", &credentials.display().to_string())
        .start()
    else {
        return;
    };
    let secret = folder.path().join("secret");
    fs::write(&secret, "wrong\n").unwrap();
    let keys = format!("principal = \"me\"\nsecret_file = \"{}\"", secret.display());
    let text = config(&mesos.url(Part::Master), &keys, "");
    let daemon = Daemon::start(folder.path(), &text);
    wait::until("the master to refuse", DEADLINE, || {
        let why = daemon
            .http
            .get("/readyz")
            .expect_error(503, "not_connected");
        why.contains("refuses the credentials (401)").then_some(())
    });
    daemon.kill();
    fs::write(&secret, "right\n").unwrap();
    let daemon = Daemon::start(folder.path(), &text);
    wait_ready(&daemon);
    let id = daemon.http.submit(&json!({"run": {"command": "echo yes"}}));
    daemon.http.wait_state(id, "succeeded");
    assert_eq!(
        daemon.http.get(&format!("/v1/tasks/{id}/result")).text(),
        "yes\n"
    );
}

#[test]
fn a_framework_that_was_removed_registers_anew_and_loses_no_task() {
    let Some(mesos) = Setup::agents(1).start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let text = config(&mesos.url(Part::Master), "failover_timeout = \"1s\"", "");
    let daemon = Daemon::start(folder.path(), &text);
    wait_ready(&daemon);
    let id = daemon
        .http
        .submit(&json!({"run": {"command": "sleep 1; echo $APPORTION_ATTEMPT"}}));
    daemon.http.wait_state(id, "running");
    let before = mesos.find_framework("apportion").unwrap()["id"].clone();
    daemon.kill();
    wait::until("the master to remove the framework", DEADLINE, || {
        mesos.find_framework("apportion").is_none().then_some(())
    });
    let daemon = Daemon::start(folder.path(), &text);
    wait_ready(&daemon);
    daemon.http.wait_state(id, "succeeded");
    assert_eq!(
        daemon.http.get(&format!("/v1/tasks/{id}/result")).text(),
        "2\n"
    );
    assert_ne!(mesos.find_framework("apportion").unwrap()["id"], before);
}
