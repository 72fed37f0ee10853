//! One cluster, several guests: what an idle daemon leaves to others, how soon it is back, and tasks that no agent holds.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::{self, OWN_RESOURCES, metric, runs, start, wait_all};
use crate::support::mesos::framework::{Framework, is_end};
use crate::support::mesos::{Mesos, Part, Setup};
use crate::support::wait;

/// A loaded machine takes its time.
const DEADLINE: Duration = Duration::from_secs(120);

/// A number among the master's own metrics: of the only one whose name begins and ends so.
fn master_metric(mesos: &Mesos, begin: &str, end: &str) -> u64 {
    let all = mesos.try_get(Part::Master, "/metrics/snapshot").unwrap();
    let all = all.as_object().unwrap();
    let mut found = (all.iter()).filter(|(name, _)| name.starts_with(begin) && name.ends_with(end));
    let (_, value) = found
        .next()
        .unwrap_or_else(|| panic!("no {begin}…{end} in {all:#?}"));
    value.as_f64().unwrap() as u64
}

fn n_allocations(mesos: &Mesos) -> u64 {
    master_metric(mesos, "allocator/mesos/allocation_runs", "")
}

fn n_offers_sent(mesos: &Mesos, framework: &str) -> u64 {
    master_metric(
        mesos,
        &format!("master/frameworks/{framework}"),
        "/offers/sent",
    )
}

fn offered(mesos: &Mesos, framework: &str) -> Option<f64> {
    mesos.find_framework(framework)?["offered_resources"]["cpus"].as_f64()
}

#[test]
fn an_idle_scheduler_gets_no_offers_and_starts_new_work_within_two_allocations() {
    let setup = Setup::agents(1).flag("MESOS_ALLOCATION_INTERVAL", "4secs");
    let Some(mesos) = setup.start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path(), &mesos, "");
    // Its executor is fetched once, so that later only the scheduling takes time.
    let first = daemon.http.submit(&json!({"run": {"command": "true"}}));
    daemon.http.wait_state(first, "succeeded");
    wait::until("the idle daemon to suppress", DEADLINE, || {
        let suppressed = "apportion_mesos_calls_total{call=\"suppress\",code=\"202\"} ";
        (metric(&daemon, suppressed) > 0).then_some(())
    });
    // A second framework has all of the cluster now, for as long as it likes.
    let greedy = Framework::subscribe(&mesos, "greedy");
    wait::until("the greedy one to be offered all", DEADLINE, || {
        (offered(&mesos, "greedy")? > 3.9).then_some(())
    });
    let (n_before, n_sent) = (n_allocations(&mesos), n_offers_sent(&mesos, "apportion"));
    wait::until("three more allocations", DEADLINE, || {
        assert_eq!(offered(&mesos, "apportion"), Some(0.0));
        (n_allocations(&mesos) >= n_before + 3).then_some(())
    });
    assert_eq!(n_offers_sent(&mesos, "apportion"), n_sent);
    drop(greedy);
    wait::until("the greedy one to be gone", DEADLINE, || {
        let framework = mesos.find_framework("greedy");
        framework
            .is_none_or(|it| it["active"] == false)
            .then_some(())
    });
    let n_before = n_allocations(&mesos);
    let id = daemon.http.submit(&json!({"run": {"command": "true"}}));
    wait::until("the task to be launched", DEADLINE, || {
        (daemon.http.task(id)["state"] != "queued").then_some(())
    });
    // The one that asking for offers sets off, and the next that is due anyway.
    let n_passed = n_allocations(&mesos) - n_before;
    assert!(n_passed <= 2, "{n_passed} allocations passed");
    daemon.http.wait_state(id, "succeeded");
    assert_eq!(metric(&daemon, "apportion_offers_held "), 0);
}

#[test]
fn a_greedy_framework_neither_starves_nor_is_starved() {
    let Some(mesos) = Setup::agents(2).start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path(), &mesos, "");
    let greedy = Framework::subscribe(&mesos, "greedy");
    // More than the cluster holds at once, from both, and none ends before both have had some of it.
    let (ran, go) = (folder.path().join("ran"), folder.path().join("go"));
    let line = |who: &str| {
        format!(
            "echo {who} >> {}; while [ ! -e {} ]; do sleep 0.1; done",
            ran.display(),
            go.display()
        )
    };
    let run = json!({"command": line("ours")});
    let task = json!({"array": "0-15", "run": run, "demand": {"cpus": 0.5}});
    let _ = daemon.http.submit(&task);
    let executor = support::executor("greedy", None);
    let n_running = || {
        let runs = runs(&ran);
        ["ours", "greedy"].map(|who| runs.get(who).copied().unwrap_or(0))
    };
    let mut n_launched = 0;
    // It takes all that it is offered, as long as it is offered anything.
    let launch_all = |n_launched: &mut u64| {
        while greedy.has_offer() {
            let mut task = support::task(&format!("{}.1", *n_launched + 1), &line("greedy"));
            task.resources = vec![("cpus", 0.5), ("mem", 32.0)];
            let launched = greedy.try_launch(None, &executor, &OWN_RESOURCES, &[task]);
            *n_launched += u64::from(launched.is_some());
        }
    };
    wait::until("both to have some of the cluster", DEADLINE, || {
        launch_all(&mut n_launched);
        let n_running = n_running();
        (n_running.iter().all(|n| *n >= 2)).then_some(())
    });
    std::fs::write(&go, "").unwrap();
    // While the greedy one goes on with all it gets.
    wait::until("all of ours to succeed", DEADLINE, || {
        launch_all(&mut n_launched);
        let [ours, _] = n_running();
        (ours == 16).then_some(())
    });
    wait_all(&daemon, "default", 16);
    wait::until("the greedy one's tasks to end", DEADLINE, || {
        launch_all(&mut n_launched);
        let first = greedy.updates("1.1");
        (first.iter().any(|status| is_end(status.state()))).then_some(())
    });
}

#[test]
fn a_task_that_no_agent_holds_waits_for_one_that_does_and_hinders_nobody() {
    let mut setup = Setup::agents(2);
    setup.agents[1].resources = "cpus:9;mem:4096;disk:10000".to_owned();
    let Some(mut mesos) = setup.start_with(1) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path(), &mesos, "");
    let task = |cpus: u32| json!({"run": {"command": "true"}, "demand": {"cpus": cpus}});
    let small = daemon.http.submit(&task(4));
    daemon.http.wait_state(small, "succeeded");
    let big = daemon.http.submit(&task(8));
    let why = |id: u64| {
        let explained = daemon.http.get(&format!("/v1/tasks/{id}/explain"));
        explained.expect(200)["reasons"].clone()
    };
    wait::until("the task to be told apart", DEADLINE, || {
        let is_told = why(big).to_string().contains("never");
        (is_told && metric(&daemon, "apportion_unsatisfiable_tasks ") == 1).then_some(())
    });
    let small = daemon.http.submit(&task(4));
    daemon.http.wait_state(small, "succeeded");
    assert_eq!(daemon.http.task(big)["state"], "queued");
    mesos.start(Part::Agent(1));
    daemon.http.wait_state(big, "succeeded");
    assert_eq!(metric(&daemon, "apportion_unsatisfiable_tasks "), 0);
    let state: Value = daemon.http.task(big);
    assert_eq!(state["n_attempts"], 1);
}
