//! Other settings while tasks live.

use super::env::*;
use crate::engine::settings::{ResourceSettings, Scope};
use crate::engine::{EngineSettings, Refusal, TaskState};

fn with_capacity(mut settings: EngineSettings, capacity: u64) -> EngineSettings {
    let capacity = units(capacity);
    settings.resources[1].scope = Scope::Cluster { capacity };
    settings
}

#[test]
fn weights_limits_and_policies_change_without_losing_a_task() {
    let mut env = TestEnv::new(&["a", "b"]);
    env.agent("m", "cpus=4");
    env.offer("m", "cpus=4");
    env.try_submit(&[
        task("a").array(9).retries(1),
        task("b").array(9).timeout(60),
    ])
    .unwrap();
    env.ends(attempt(1, 1), FAIL);
    env.reload(settings(&["c", "b weight=3 max:cpus=2", "a policy=fifo"]))
        .unwrap();
    assert_eq!(env.engine.state.n_live, 18);
    env.launched();
    env.offer("m", "cpus=4");
    assert_eq!(env.launched(), [(3, 1)], "b is at its new max");
    env.advance(1.0);
    env.ends(attempt(3, 1), OK);
    env.offer("m", "cpus=4");
    assert_eq!(env.launched(), [(1, 2)], "the pause went on");
    assert_eq!(env.engine.queues()[0].path, "c".into());
}

#[test]
fn a_queue_with_tasks_stays_a_leaf() {
    let mut env = TestEnv::new(&["a", "b"]);
    env.submit(task("a"));
    for queues in [&["b"][..], &["a", "a/x", "b"]] {
        let (queue, n_tasks) = ("a".into(), 1);
        assert_eq!(
            env.reload(settings(queues)),
            Err(Refusal::QueueInUse { queue, n_tasks })
        );
    }
    assert_eq!(env.state(1), Some(TaskState::Queued));
    env.cancel(1);
    env.reload(settings(&["a", "a/x"])).unwrap();
    env.submit(task("a/x"));
    assert!(matches!(
        env.refused(task("b")),
        Refusal::UnknownQueue { .. }
    ));
}

#[test]
fn a_dying_attempt_keeps_its_queue() {
    let mut env = TestEnv::new(&["a", "b"]);
    env.run(task("b"));
    env.cancel(1);
    env.retry(1);
    env.offer("m", "cpus=1");
    env.ends(attempt(1, 2), OK);
    assert_eq!(env.state(1), Some(TaskState::Succeeded));
    assert!(matches!(
        env.reload(settings(&["a"])),
        Err(Refusal::QueueInUse { n_tasks: 1, .. })
    ));
    env.ends(attempt(1, 1), OK);
    env.reload(settings(&["a"])).unwrap();
}

#[test]
fn resources_come_and_go() {
    let mut env = TestEnv::new(&["a"]);
    env.agent("m", "cpus=4 gpus=2");
    env.offer("m", "cpus=4 gpus=2");
    let mut more = settings(&["a"]);
    let gpus = ResourceSettings {
        name: "gpus".into(),
        scope: Scope::Host,
    };
    more.resources.insert(2, gpus);
    env.reload(more).unwrap();
    env.try_submit(&[task("a").demand("gpus=1 db=2"), task("a").demand("gpus=2")])
        .unwrap();
    assert_eq!(
        env.launched(),
        [(1, 1)],
        "what was offered before is known now"
    );
    let (resource, n_tasks) = ("gpus".into(), 2);
    assert_eq!(
        env.reload(settings(&["a"])),
        Err(Refusal::ResourceInUse { resource, n_tasks })
    );
    env.cancel(2);
    env.ends(attempt(1, 1), OK);
    env.reload(settings(&["a"])).unwrap();
    assert!(matches!(
        env.refused(task("a").demand("gpus=1")),
        Refusal::UnknownResource { .. }
    ));
}

#[test]
fn a_capacity_below_use_lets_nothing_new_go_until_it_fits() {
    let mut env = TestEnv::new(&["a"]);
    env.agent("m", "cpus=1");
    env.offer("m", "cpus=1");
    env.submit(task("a").demand("db=2").array(8));
    assert_eq!(env.launched().len(), 5);
    env.reload(with_capacity(settings(&["a"]), 5)).unwrap();
    env.offer("m", "cpus=1");
    for number in 1..=3 {
        env.ends(attempt(number, 1), OK);
    }
    assert_eq!(env.launched(), [], "4 of 5 are in use");
    env.ends(attempt(4, 1), OK);
    assert_eq!(env.launched(), [(6, 1)]);
    env.reload(with_capacity(settings(&["a"]), 1)).unwrap();
    assert_eq!(env.engine.queues()[0].n_unsatisfiable, 2);
    env.reload(with_capacity(settings(&["a"]), 9)).unwrap();
    env.offer("m", "cpus=1");
    assert_eq!(env.launched(), [(7, 1), (8, 1)]);
}

#[test]
fn outside_use_and_shapes_outlive_a_reload() {
    let mut env = TestEnv::new(&["a"]);
    let (resource, used) = ("db".into(), units(9));
    env.request(crate::engine::Request::ReportOutside { resource, used })
        .unwrap();
    env.agent_with("m", "cpus=9", "rack=r1");
    env.submit(task("a").demand("db=1").constraints("rack=r1").array(2));
    env.reload(settings(&["a max:db=5"])).unwrap();
    env.offer("m", "cpus=1");
    assert_eq!(env.launched(), [(1, 1)]);
}

#[test]
fn a_first_task_that_a_reload_lets_never_run_is_not_waited_for() {
    let queues = ["a patience=1", "b"];
    let mut env = TestEnv::new(&queues);
    env.submit(task("a").demand("cpus=2 db=1").constraints("rack=r1"));
    env.submit(task("b").demand("cpus=1"));
    env.reload(with_capacity(settings(&queues), 0)).unwrap();
    env.cancel(1);
    env.advance(1.0);
    env.agent_with("m", "cpus=9", "rack=r1");
    env.offer("m", "cpus=9");
    assert_eq!(env.launched(), [(2, 1)]);
}

#[test]
fn constraints_outlive_a_reload() {
    let mut env = TestEnv::new(&["a"]);
    env.submit(task("a").constraints("rack=r1"));
    env.submit(task("a"));
    env.reload(settings(&["a"])).unwrap();
    env.agent("m", "cpus=4");
    env.agent_with("n", "cpus=4", "rack=r1");
    env.offer("m", "cpus=4");
    assert_eq!(env.launched(), [(2, 1)]);
    env.offer("n", "cpus=4");
    assert_eq!(env.launched(), [(1, 1)]);
}

#[test]
fn patience_that_a_reload_gives_begins_with_it() {
    let queues = ["a patience=60"];
    let mut without = settings(&queues);
    without.claims.max = 0;
    let mut env = TestEnv::with(without);
    env.submit(task("a"));
    env.advance(100.0);
    env.reload(settings(&queues)).unwrap();
    let end = env.now.after(std::time::Duration::from_secs(60));
    assert_eq!(env.engine.wake_at(), Some(end));
}

#[test]
fn what_others_used_of_a_cluster_resource_is_nobodys_of_a_host() {
    let mut env = TestEnv::new(&["a"]);
    let (resource, used) = ("db".into(), units(3));
    env.request(crate::engine::Request::ReportOutside { resource, used })
        .unwrap();
    let mut of_host = settings(&["a"]);
    of_host.resources[1].scope = Scope::Host;
    env.reload(of_host).unwrap();
    let db = &env.engine.resources()[1];
    assert_eq!((&*db.name, db.scope, db.outside), ("db", "host", units(0)));
}
