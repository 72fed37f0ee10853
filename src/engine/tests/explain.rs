//! Why a task stands where it does, for every state.

use apportion_policies::ShownKey;

use super::env::*;
use crate::engine::report::{Explanation, LaunchCause, WaitReason};
use crate::engine::{Request, TaskId, TaskState};

fn explain(env: &TestEnv, task: u64) -> Explanation {
    env.engine.explain(TaskId(task)).unwrap()
}

fn lacks(resource: &str, demand: u64, free: u64, agent: Option<&str>) -> WaitReason {
    WaitReason::Lacks {
        resource: resource.into(),
        demand: units(demand),
        free: units(free),
        agent: agent.map(Into::into),
    }
}

#[test]
fn nobody_there() {
    let mut env = TestEnv::new(&["a"]);
    env.submit(task("a"));
    assert_eq!(explain(&env, 1).reasons, [WaitReason::NoAgents]);
}

#[test]
fn unknown_and_ended_tasks_are_not_explained() {
    let mut env = TestEnv::new(&["a"]);
    env.submit(task("a"));
    env.cancel(1);
    assert!(env.engine.explain(TaskId(1)).is_none());
    assert!(env.engine.explain(TaskId(2)).is_none());
}

#[test]
fn place_in_the_queue() {
    let mut env = TestEnv::new(&["a", "b"]);
    env.try_submit(&[
        task("a").array(20),
        task("a").demand("cpus=2").priority(1).array(2),
        task("b"),
        task("a"),
    ])
    .unwrap();
    let explained = explain(&env, 24);
    assert_eq!(explained.n_ahead, 22);
    assert_eq!(explained.ahead[..4], [21, 22, 1, 2].map(TaskId));
    assert_eq!(explained.ahead.len(), 10);
    assert_eq!(explain(&env, 5).n_ahead, 6);
    assert_eq!(explain(&env, 21).n_ahead, 0);
}

/// Why a task's latest attempt was launched.
fn launched_by(env: &TestEnv, task: u64) -> LaunchCause {
    explain(env, task).attempts.last().unwrap().cause.clone()
}

/// The queues on the way to a task, with their keys when it was launched.
fn turn(env: &TestEnv, task: u64) -> Vec<String> {
    let attempts = explain(env, task).attempts;
    let live = attempts.last().unwrap();
    let LaunchCause::Turn(keys) = &live.cause else {
        panic!("{:?}", live.cause);
    };
    assert_eq!(keys.len(), live.way.len());
    let way = live.way.iter().zip(keys);
    way.map(|(queue, key)| match key {
        ShownKey::Guarantee(fraction) => format!("{queue} {fraction} of min"),
        ShownKey::Use(fraction) => format!("{queue} {fraction}"),
        ShownKey::Order(rank) => format!("{queue} task {}", rank.seq),
    })
    .collect()
}

#[test]
fn why_a_running_task_was_launched() {
    let queues = [
        "maps weight=3 policy=weighted",
        "maps/a",
        "maps/b",
        "search min:cpus=4",
        "rest policy=fifo",
        "rest/x",
    ];
    let mut env = TestEnv::new(&queues);
    env.agent("m1", "cpus=8 mem=8");
    let mut launch = |queue: &str| {
        let id = env.submit(task(queue).demand("cpus=1"));
        env.offer("m1", "cpus=1 mem=8");
        turn(&env, id)
    };
    assert_eq!(launch("maps/a"), ["maps 0", "maps/a 0"]);
    assert_eq!(launch("maps/a"), ["maps 1/24", "maps/a 1"]);
    assert_eq!(launch("maps/b"), ["maps 1/12", "maps/b 0"]);
    assert_eq!(launch("search"), ["search 0 of min"]);
    assert_eq!(launch("search"), ["search 1/4 of min"]);
    assert_eq!(launch("rest/x"), ["rest 0", "rest/x task 6"]);
    env.crash();
    assert_eq!(launched_by(&env, 6), LaunchCause::Unknown);
}

#[test]
fn a_claim_says_whose_it_is_to_those_in_whose_way_it_is() {
    let mut env = TestEnv::new(&["big patience=1", "small"]);
    env.agent("m1", "cpus=4 mem=8");
    env.submit(task("small").demand("cpus=2"));
    env.offer("m1", "cpus=4 mem=8");
    let big = env.submit(task("big").demand("cpus=4"));
    env.advance(2.0);
    let more = env.submit(task("small").demand("cpus=1"));
    env.offer("m1", "cpus=2 mem=8");
    assert_eq!(explain(&env, big).reasons[0].code(), "claim");
    assert_eq!(explain(&env, more).reasons, [kept_for(big, "big")]);
    env.ends(attempt(1, 1), OK);
    env.offer("m1", "cpus=2 mem=8");
    assert_eq!(launched_by(&env, big), LaunchCause::Claim);
}

fn kept_for(task: u64, queue: &str) -> WaitReason {
    WaitReason::KeptForOther {
        task: TaskId(task),
        queue: queue.into(),
    }
}

#[test]
fn a_claim_is_in_the_way_of_those_for_whom_it_leaves_too_little() {
    let mut env = TestEnv::new(&["small patience=100000", "big patience=60"]);
    let (resource, used) = ("db".into(), units(7));
    env.request(Request::ReportOutside { resource, used })
        .unwrap();
    env.agent("m1", "cpus=4");
    env.submit(task("small").demand("cpus=1").array(3));
    env.offer("m1", "cpus=4");
    let big = env.submit(task("big").demand("cpus=4 db=2"));
    env.advance(60.0);
    env.submit(task("small").demand("cpus=1").array(9));
    env.offer("m1", "cpus=1");
    assert_eq!(explain(&env, big).reasons[0].code(), "claim");
    // Three are free, and two of them kept.
    let one = env.submit(task("small").demand("cpus=2 db=1"));
    let two = env.submit(task("small").demand("cpus=2 db=2"));
    let cpus = lacks("cpus", 2, 1, Some("m1"));
    assert_eq!(explain(&env, one).reasons, std::slice::from_ref(&cpus));
    let both = [cpus, kept_for(big, "big")];
    assert_eq!(explain(&env, two).reasons, both);
}

#[test]
fn only_a_claim_on_an_agent_that_would_do_is_in_the_way() {
    let mut env = TestEnv::new(&["small patience=100000", "x patience=60", "y patience=60"]);
    env.offering(&["m1"], "cpus=4");
    env.agent_with("m2", "cpus=4", "rack=r2");
    env.offer("m2", "cpus=4");
    env.submit(task("small").array(100));
    env.submit(task("x").demand("cpus=4"));
    let second = env.submit(task("y").demand("cpus=3"));
    env.advance(60.0);
    let mut batch = Vec::from([1, 5].map(|task| TestEnv::end_of(attempt(task, 1))));
    batch.extend(["m1", "m2"].map(|agent| env.offer_of(agent, "cpus=1")));
    env.events(batch);
    let bound = env.submit(task("small").constraints("rack=r2"));
    assert_eq!(explain(&env, bound).reasons, [kept_for(second, "y")]);
}

#[test]
fn a_max_is_in_the_way_only_of_what_would_exceed_it() {
    let mut env = TestEnv::new(&["a max:db=8"]);
    env.agent("m1", "cpus=4");
    env.offer("m1", "cpus=4");
    env.submit(task("a").demand("cpus=3 db=7"));
    let exact = env.submit(task("a").demand("cpus=2 db=1"));
    let beyond = env.submit(task("a").demand("cpus=2 db=2"));
    let cpus = lacks("cpus", 2, 1, Some("m1"));
    assert_eq!(explain(&env, exact).reasons, std::slice::from_ref(&cpus));
    assert_eq!(explain(&env, beyond).reasons.len(), 2);
    assert_eq!(explain(&env, beyond).reasons[0].code(), "queue_at_max");
}

#[test]
fn waiting_and_pausing() {
    let mut env = TestEnv::new(&["a"]);
    env.run(task("a").array(3).key("k").retries(1));
    env.submit(task("a").after_key("k"));
    env.ends(attempt(2, 1), OK);
    let (n_left, tasks) = (2, vec![TaskId(1), TaskId(3)]);
    assert_eq!(explain(&env, 4).state, TaskState::Waiting);
    assert_eq!(
        explain(&env, 4).reasons,
        [WaitReason::After { n_left, tasks }]
    );
    env.ends(attempt(1, 1), FAIL);
    let until = env.now.after(std::time::Duration::from_secs(1));
    assert_eq!(
        explain(&env, 1).reasons,
        [WaitReason::Pause { until }, WaitReason::OthersFirst][..1]
    );
}

#[test]
fn what_is_lacking() {
    let mut env = TestEnv::new(&["a max:db=8", "b"]);
    env.agent("m1", "cpus=4 mem=4");
    env.agent("m2", "cpus=4 mem=8");
    env.offer("m1", "cpus=4 mem=4");
    env.submit(task("a").demand("cpus=3 mem=1 db=7"));
    env.submit(task("a").demand("cpus=4 db=3"));
    let at_max = WaitReason::QueueAtMax {
        queue: "a".into(),
        resource: "db".into(),
        max: units(8),
        used: units(7),
    };
    assert_eq!(explain(&env, 2).reasons, [at_max]);
    let (resource, used) = ("db".into(), units(2));
    env.request(Request::ReportOutside { resource, used })
        .unwrap();
    env.submit(task("b").demand("db=2"));
    assert_eq!(explain(&env, 3).reasons, [lacks("db", 2, 1, None)]);
    env.offer("m2", "cpus=4");
    env.submit(task("b").demand("cpus=3"));
    env.submit(task("b").demand("cpus=2 mem=2"));
    assert_eq!(explain(&env, 5).reasons, [lacks("cpus", 2, 1, Some("m1"))]);
    let attempts = explain(&env, 4).attempts;
    assert_eq!(attempts.len(), 1);
    assert_eq!(
        (attempts[0].attempt, &*attempts[0].agent),
        (attempt(4, 1), "m2")
    );
    assert!(attempts[0].waited.is_some());
    assert_eq!(
        (explain(&env, 4).state, explain(&env, 4).reasons.len()),
        (TaskState::Launching, 0)
    );
}

#[test]
fn what_never_fits() {
    let mut env = TestEnv::new(&["a"]);
    env.agent_with("m1", "cpus=8 mem=1", "rack=r1");
    env.agent_with("m2", "cpus=1 mem=8", "rack=r2");
    let never = |resource: &str, demand, most, limit: &str| WaitReason::NeverFits {
        resource: resource.into(),
        demand: units(demand),
        most: units(most),
        limit: limit.into(),
    };
    env.submit(task("a").demand("cpus=9"));
    assert_eq!(explain(&env, 1).reasons, [never("cpus", 9, 8, "agent m1")]);
    env.submit(task("a").demand("cpus=2 mem=2"));
    assert_eq!(explain(&env, 2).reasons, [never("mem", 2, 1, "agent m1")]);
    env.submit(task("a").demand("cpus=2").constraints("rack=r2"));
    assert_eq!(explain(&env, 3).reasons, [never("cpus", 2, 1, "agent m2")]);
    env.submit(task("a").constraints("rack=r3"));
    let (attribute, value) = ("rack".into(), "r3".into());
    assert_eq!(
        explain(&env, 4).reasons,
        [WaitReason::NoAgentMatches { attribute, value }]
    );
    assert_eq!(env.engine.queues()[0].n_unsatisfiable, 4);
    let mut smaller = settings(&["a max:cpus=1"]);
    smaller.live_max = 100;
    env.reload(smaller).unwrap();
    assert_eq!(explain(&env, 1).reasons, [never("cpus", 9, 1, "queue a")]);
}

#[test]
fn where_each_agent_lacks_another_resource_one_that_is_lacking_is_named() {
    let mut env = TestEnv::new(&["a"]);
    env.agent_with("m1", "cpus=8 mem=1", "disk=fast");
    env.agent_with("m2", "cpus=1 mem=8", "rack=r1");
    let never = env.submit(task("a").demand("cpus=8 mem=2"));
    assert_eq!(
        explain(&env, never).reasons,
        [WaitReason::NeverFits {
            resource: "mem".into(),
            demand: units(2),
            most: units(1),
            limit: "agent m1".into(),
        }]
    );
    let mut unmatched = |constraints: &str| {
        let never = env.submit(task("a").constraints(constraints));
        match &explain(&env, never).reasons[..] {
            [WaitReason::NoAgentMatches { attribute, value }] => format!("{attribute}={value}"),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(unmatched("disk=fast rack=r2"), "rack=r2");
    // Each is met, but not both by one agent.
    assert_eq!(unmatched("disk=fast rack=r1"), "disk=fast");
}

#[test]
fn what_pauses_and_can_not_run_any_more_counts_until_it_is_cancelled() {
    let mut env = TestEnv::new(&["a"]);
    env.agent("m", "cpus=4");
    env.offer("m", "cpus=4");
    env.submit(task("a").demand("cpus=3").retries(1).array(2));
    env.ends(attempt(1, 1), FAIL);
    env.agent("m", "cpus=2");
    let n_unsatisfiable = |env: &TestEnv| env.engine.queues()[0].n_unsatisfiable;
    assert_eq!(n_unsatisfiable(&env), 2);
    env.cancel(1);
    assert_eq!(n_unsatisfiable(&env), 1);
}

#[test]
fn what_a_lower_max_lets_never_run_counts_as_such() {
    let mut env = TestEnv::new(&["a"]);
    env.agent("m", "cpus=4");
    env.submit(task("a").demand("cpus=2"));
    env.submit(task("a").demand("cpus=1"));
    env.reload(settings(&["a max:cpus=1"])).unwrap();
    assert_eq!(env.engine.queues()[0].n_unsatisfiable, 1);
}

#[test]
fn what_no_agent_has_at_all() {
    let mut env = TestEnv::new(&["a"]);
    env.agent("m1", "cpus=8");
    env.submit(task("a").demand("cpus=1 mem=2"));
    assert_eq!(
        explain(&env, 1).reasons,
        [WaitReason::NeverFits {
            resource: "mem".into(),
            demand: units(2),
            most: units(0),
            limit: "each agent".into(),
        }]
    );
}

#[test]
fn enough_is_free_but_nobody_offers_it() {
    let mut env = TestEnv::new(&["a", "b"]);
    env.agent("m", "cpus=2 mem=2");
    env.try_submit(&[task("a"), task("b").array(2)]).unwrap();
    env.offer("m", "cpus=1");
    assert_eq!(env.launched(), [(1, 1)]);
    assert_eq!(explain(&env, 2).reasons, [WaitReason::NoOffer]);
}

#[test]
fn reports_of_agents_and_resources() {
    let mut env = TestEnv::new(&["a", "b"]);
    env.agent_with("m", "cpus=4 mem=4 gpus=1", "rack=r1");
    env.offer("m", "cpus=2 mem=4");
    env.submit(task("b").demand("cpus=2 db=5"));
    env.offer("m", "cpus=1");
    let agents = env.engine.agents();
    assert_eq!(agents[0].total, amounts("cpus=4 mem=4"));
    assert_eq!(agents[0].used, amounts("cpus=2 mem=0"));
    assert_eq!(agents[0].offered, amounts("cpus=1 mem=0"));
    assert_eq!(
        (&agents[0].attributes, &agents[0].attempts[..]),
        (&words("rack=r1"), &[attempt(1, 1)][..])
    );
    let resources = env.engine.resources();
    let db = &resources[1];
    assert_eq!(
        (&*db.name, db.scope, db.capacity, db.used),
        ("db", "cluster", units(10), units(5))
    );
    assert_eq!(
        (resources[0].scope, resources[0].capacity),
        ("host", units(4))
    );
    let queue = &env.engine.queues()[1];
    assert_eq!(queue.dominant_share.to_string(), "1/2");
    assert_eq!(queue.tasks[2], (TaskState::Launching, 1));
    assert_eq!(queue.share.len(), 3);
    assert_eq!(&*env.engine.policy_name(), "drf");
}
