//! Claims: who gets one, what it keeps, when it goes.

use std::time::Duration;

use super::env::*;
use crate::engine::event::OfferId;
use crate::engine::settings::Deadline;
use crate::engine::{AttemptId, EngineSettings, Event, Request, TaskId};

/// An end, after which what it held is offered again.
pub(super) fn ends(env: &mut TestEnv, attempt: AttemptId) {
    let record = &env.engine.state.attempts[&attempt];
    let state = &env.engine.state;
    let shape = state.queues.get(record.group).shape;
    let demand = state.queues.tree.shape(shape).demand.iter();
    let host = demand.filter(|(id, _)| state.resources.is_host(*id));
    let freed: Vec<String> = host
        .map(|(id, amount)| format!("{}={amount}", state.resources.name(id)))
        .collect();
    let agent = state.agents.get(record.agent).name.clone();
    env.ends(attempt, OK);
    env.offer(&agent, &freed.join(" "));
}

/// What is left of an agent is offered again, as the local backend does.
pub(super) fn offer_rest(env: &mut TestEnv, name: &str) {
    let report = env
        .engine
        .agents()
        .into_iter()
        .find(|agent| *agent.name == *name);
    let report = report.unwrap();
    let rest = report.total.iter().map(|(resource, total)| {
        let taken = report.used[resource].saturating_add(report.offered[resource]);
        format!("{resource}={}", total.saturating_sub(taken))
    });
    let rest: Vec<String> = rest.collect();
    env.offer(name, &rest.join(" "));
}

/// The tasks with claims, with what is kept of `resource`.
pub(super) fn claims(env: &TestEnv, resource: &str) -> Vec<(u64, u64)> {
    let claims = env.engine.claims();
    let kept = |claim: &crate::engine::report::ClaimReport| {
        claim
            .kept
            .get(resource)
            .map_or(0, |amount| amount.milli() / 1000)
    };
    claims
        .iter()
        .map(|claim| (claim.task.0, kept(claim)))
        .collect()
}

pub(super) fn is_running(env: &TestEnv, task: u64) -> bool {
    env.engine
        .state
        .live
        .get(&TaskId(task))
        .is_some_and(|live| live.current.is_some())
}

/// Ten small tasks hold all connections, more wait, and a task that wants eight of them is the oldest.
fn starving(queues: &[&str]) -> TestEnv {
    let mut env = TestEnv::new(queues);
    env.agent("m", "cpus=100");
    env.offer("m", "cpus=100");
    env.submit(task("small").demand("db=1 cpus=1").array(200));
    env.submit(task("big").demand("db=8 cpus=1"));
    env.launched();
    offer_rest(&mut env, "m");
    env
}

#[test]
fn who_wants_most_connections_is_not_starved_by_those_that_want_one() {
    let mut env = starving(&["small patience=100000", "big patience=60"]);
    ends(&mut env, attempt(1, 1));
    assert_eq!(
        env.launched().len(),
        1,
        "before its patience ends it is passed over"
    );
    env.advance(60.0);
    for ended in 2..=8 {
        ends(&mut env, attempt(ended, 1));
        assert_eq!(env.launched(), [], "what comes free is kept");
    }
    assert_eq!(claims(&env, "db"), [(201, 7)]);
    ends(&mut env, attempt(9, 1));
    assert_eq!(env.launched(), [(201, 1)]);
    assert_eq!(claims(&env, "db"), []);
    offer_rest(&mut env, "m");
    ends(&mut env, attempt(10, 1));
    assert_eq!(env.launched(), [(12, 1)], "then others go on");
}

#[test]
fn a_host_is_kept_as_it_comes_free_and_the_others_use_the_rest() {
    let mut env = TestEnv::new(&["small patience=100000", "big patience=60"]);
    env.offering(&["m1", "m2"], "cpus=4");
    env.submit(task("small").array(100));
    env.submit(task("big").demand("cpus=3"));
    env.launched();
    env.advance(60.0);
    ends(&mut env, attempt(1, 1));
    assert_eq!(&*env.engine.claims()[0].agent, "m1");
    ends(&mut env, attempt(5, 1));
    assert_eq!(env.launched().len(), 1, "the other agent goes on");
    ends(&mut env, attempt(2, 1));
    assert_eq!(
        (env.launched(), claims(&env, "cpus")),
        (vec![], vec![(101, 2)])
    );
    ends(&mut env, attempt(3, 1));
    assert_eq!(env.launched(), [(101, 1)]);
    ends(&mut env, attempt(4, 1));
    assert_eq!(env.launched().len(), 1);
}

#[test]
fn a_claim_does_not_change_whose_turn_it_is() {
    let mut env = TestEnv::new(&["heavy weight=9 patience=1", "light patience=1"]);
    env.agent("m", "cpus=10");
    env.offer("m", "cpus=10");
    env.try_submit(&[task("heavy").array(100), task("light").array(100)])
        .unwrap();
    let mut running: Vec<u64> = env.launched().iter().map(|(task, _)| *task).collect();
    for _ in 0..40 {
        env.advance(30.0);
        let ended = running.remove(0);
        ends(&mut env, attempt(ended, 1));
        running.extend(env.launched().iter().map(|(task, _)| *task));
        let n_light = running.iter().filter(|task| **task > 100).count();
        assert_eq!(
            n_light, 1,
            "both wait beyond their patience, and the weights hold"
        );
    }
}

#[test]
fn later_claims_keep_nothing_that_earlier_ones_need() {
    let mut env = TestEnv::new(&["small patience=100000", "x patience=60", "y patience=70"]);
    env.offering(&["m1", "m2"], "cpus=4");
    env.submit(task("small").demand("db=1 cpus=1").array(50));
    env.submit(task("x").demand("db=6 cpus=3"));
    env.submit(task("y").demand("db=6 cpus=3"));
    let running: Vec<u64> = env.launched().iter().map(|(task, _)| *task).collect();
    env.advance(60.0);
    env.advance(10.0);
    let mut order = Vec::new();
    for ended in running {
        ends(&mut env, attempt(ended, 1));
        let claims = claims(&env, "db");
        if let [(51, first), (52, second)] = claims[..] {
            assert!(second == 0 || first == 6, "{claims:?}");
        }
        order.extend(
            env.launched()
                .iter()
                .map(|(task, _)| *task)
                .filter(|task| *task > 50),
        );
    }
    assert_eq!(
        order,
        [51],
        "the first has started; the second waits for what it holds"
    );
    ends(&mut env, attempt(51, 1));
    assert!(is_running(&env, 52));
}

fn with_expiry(queues: &[&str], seconds: u64) -> EngineSettings {
    let mut settings = settings(queues);
    settings.claims.expiry = Deadline::After(Duration::from_secs(seconds));
    settings
}

#[test]
fn a_claim_for_which_nothing_comes_free_expires_and_is_returned() {
    let queues = ["small patience=100000", "big patience=60"];
    let mut env = TestEnv::with(with_expiry(&queues, 100));
    env.agent("m", "cpus=100");
    env.offer("m", "cpus=100");
    env.submit(task("small").demand("db=1 cpus=1").array(200));
    env.submit(task("big").demand("db=8 cpus=1"));
    env.launched();
    offer_rest(&mut env, "m");
    let woken_within = |env: &TestEnv, seconds| {
        let latest = env.now.after(Duration::from_secs(seconds));
        env.engine.wake_at().is_some_and(|at| at <= latest)
    };
    assert!(woken_within(&env, 60), "when its patience ends");
    env.advance(60.0);
    ends(&mut env, attempt(1, 1));
    assert!(woken_within(&env, 100), "when its claim ends");
    env.advance(50.0);
    ends(&mut env, attempt(2, 1));
    env.advance(99.0);
    assert_eq!(claims(&env, "db"), [(201, 2)], "what came free renewed it");
    env.advance(1.0);
    assert_eq!(claims(&env, "db"), []);
    assert_eq!(env.launched().len(), 2, "what it kept went to others");
    env.advance(60.0);
    ends(&mut env, attempt(3, 1));
    let second = [(201, 1)];
    assert_eq!(
        claims(&env, "db"),
        second,
        "after its patience it gets another"
    );
    env.advance(199.0);
    assert_eq!(claims(&env, "db"), second, "for twice as long");
    env.advance(1.0);
    assert_eq!(claims(&env, "db"), []);
}

#[test]
fn only_so_many_claims_and_none_for_whom_a_max_stops() {
    let mut settings = settings(&[
        "small patience=100000",
        "x patience=1",
        "y patience=1 max:db=5",
        "z patience=1",
    ]);
    settings.claims.max = 1;
    let mut env = TestEnv::with(settings.clone());
    env.agent("m", "cpus=100");
    env.offer("m", "cpus=100");
    env.submit(task("y").demand("db=2 cpus=1").array(3));
    env.submit(task("small").demand("db=1 cpus=1").array(200));
    env.submit(task("x").demand("db=8"));
    env.submit(task("z").demand("db=7"));
    // They go on while connections are kept, so the others are still looked at.
    env.submit(task("small").array(200));
    offer_rest(&mut env, "m");
    env.advance(10.0);
    ends(&mut env, attempt(4, 1));
    let one = [(204, 1)];
    assert_eq!(
        claims(&env, "db"),
        one,
        "y's third task would pass its max, and z's is one too many"
    );
    settings.claims.max = 0;
    env.reload(settings.clone()).unwrap();
    env.cancel(204);
    assert_eq!(claims(&env, "db"), [], "a task that is gone claims nothing");
    env.submit(task("x").demand("db=8 cpus=1"));
    env.advance(100.0);
    ends(&mut env, attempt(5, 1));
    assert_eq!(claims(&env, "db"), []);
    settings.claims.max = 2;
    env.reload(settings).unwrap();
    env.advance(100.0);
    ends(&mut env, attempt(6, 1));
    let mut claiming: Vec<u64> = claims(&env, "db").iter().map(|(task, _)| *task).collect();
    claiming.sort_unstable();
    assert_eq!(claiming, [205, 406], "as many as there may be now");
}

#[test]
fn patience_and_claims_outlive_a_reload_but_not_a_restart() {
    let queues = ["small patience=100000", "big patience=60"];
    let mut env = starving(&queues);
    env.advance(50.0);
    env.reload(settings(&[
        "big patience=60",
        "small patience=100000",
        "more",
    ]))
    .unwrap();
    env.advance(10.0);
    ends(&mut env, attempt(1, 1));
    assert_eq!(claims(&env, "db"), [(201, 1)]);
    env.reload(settings(&queues)).unwrap();
    assert_eq!(claims(&env, "db"), [(201, 1)]);
    env.crash();
    assert_eq!(claims(&env, "db"), []);
    env.agent("m", "cpus=100");
    offer_rest(&mut env, "m");
    ends(&mut env, attempt(2, 1));
    assert_eq!(claims(&env, "db"), [], "its patience began anew");
    env.advance(60.0);
    ends(&mut env, attempt(3, 1));
    assert_eq!(claims(&env, "db"), [(201, 1)]);
}

#[test]
fn the_agent_of_a_claim_may_go() {
    let mut env = TestEnv::new(&["small patience=100000", "big patience=60"]);
    env.agent("m1", "cpus=4");
    env.offer("m1", "cpus=4");
    env.submit(task("small").array(100));
    env.submit(task("big").demand("cpus=4"));
    env.advance(60.0);
    ends(&mut env, attempt(1, 1));
    assert_eq!(&*env.engine.claims()[0].agent, "m1");
    env.agent("m2", "cpus=4");
    env.event(Event::AgentLost { agent: "m1".into() });
    assert_eq!(&*env.engine.claims()[0].agent, "m2");
    env.event(Event::AgentLost { agent: "m2".into() });
    assert_eq!(
        claims(&env, "cpus"),
        [],
        "nothing is kept for what can't run"
    );
    env.event(Event::OfferRescinded { offer: OfferId(1) });
}

/// Found by simulated faults.
#[test]
fn the_agent_of_two_claims_may_go() {
    let mut env = TestEnv::new(&["small patience=100000", "x patience=60", "y patience=60"]);
    env.decline_offers();
    env.agent("m", "cpus=4");
    env.submit(task("x"));
    env.submit(task("small").array(3));
    env.offer("m", "cpus=4");
    env.submit(task("x").demand("cpus=2"));
    env.submit(task("y").demand("cpus=2"));
    env.advance(60.0);
    assert_eq!(claims(&env, "cpus"), [(6, 0)]);
    env.ends(attempt(1, 1), OK);
    assert_eq!(claims(&env, "cpus"), [(6, 0), (5, 0)]);
    for ended in 2..=4 {
        env.ends(attempt(ended, 1), OK);
    }
    env.event(Event::AgentLost { agent: "m".into() });
    assert_eq!(claims(&env, "cpus"), []);
}

#[test]
fn others_use_counts_before_claims_keep() {
    let mut env = starving(&["small patience=100000", "big patience=60"]);
    env.advance(60.0);
    for ended in 1..=4 {
        ends(&mut env, attempt(ended, 1));
    }
    assert_eq!(claims(&env, "db"), [(201, 4)]);
    let (resource, used) = ("db".into(), units(3));
    env.request(Request::ReportOutside { resource, used })
        .unwrap();
    assert_eq!(claims(&env, "db"), [(201, 1)]);
    let (resource, used) = ("db".into(), units(20));
    env.request(Request::ReportOutside { resource, used })
        .unwrap();
    assert_eq!(claims(&env, "db"), [(201, 0)]);
    assert_eq!(env.launched(), []);
}

#[test]
fn what_was_declined_is_no_longer_kept_once_it_is_asked_for() {
    let mut env = TestEnv::new(&["small patience=100000", "big patience=60"]);
    env.decline_offers();
    env.agent("m", "cpus=8");
    env.submit(task("small").demand("cpus=4"));
    let big = env.submit(task("big").demand("cpus=8"));
    env.offer("m", "cpus=8");
    assert_eq!(env.launched(), [(1, 1)]);
    for _ in 0..30 {
        env.advance(10.0);
    }
    // Asked for, and nothing came.
    assert_eq!(claims(&env, "cpus"), [(big, 0)]);
    env.offer("m", "cpus=4");
    assert_eq!(claims(&env, "cpus"), [(big, 4)]);
    assert!(env.decisions.is_empty(), "what a claim keeps is held");
    env.launched();
    env.ends(attempt(1, 1), OK);
    env.offer("m", "cpus=4");
    assert_eq!(env.launched(), [(big, 1)], "of both offers together");
}

#[test]
fn who_is_not_overdue_is_in_nobodys_way_to_a_claim() {
    let patient: Vec<String> = (0..9).map(|n| format!("p{n} patience=100000")).collect();
    let mut queues: Vec<&str> = patient.iter().map(String::as_str).collect();
    queues.extend(["small patience=100000", "big patience=60"]);
    let mut env = TestEnv::new(&queues);
    env.agent("m", "cpus=100");
    env.offer("m", "cpus=100");
    env.submit(task("small").demand("db=1 cpus=1").array(100));
    for number in 0..9 {
        let demand = format!("db=9 cpus={}", number + 1);
        env.submit(task(&format!("p{number}")).demand(&demand));
    }
    let big = env.submit(task("big").demand("db=8 cpus=1"));
    offer_rest(&mut env, "m");
    env.advance(60.0);
    ends(&mut env, attempt(1, 1));
    assert_eq!(claims(&env, "db"), [(big, 1)]);
}
