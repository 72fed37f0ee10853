//! Claims: who gets one, what it keeps, when it goes.

use std::time::Duration;

use proptest::prelude::*;

use super::env::*;
use crate::engine::event::OfferId;
use crate::engine::settings::Deadline;
use crate::engine::{AttemptId, EngineSettings, Event, Request, TaskId};

/// An end, after which what it held is offered again.
fn ends(env: &mut TestEnv, attempt: AttemptId) {
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
fn offer_rest(env: &mut TestEnv, name: &str) {
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
fn claims(env: &TestEnv, resource: &str) -> Vec<(u64, u64)> {
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

fn is_running(env: &TestEnv, task: u64) -> bool {
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
    for agent in ["m1", "m2"] {
        env.agent(agent, "cpus=4");
        env.offer(agent, "cpus=4");
    }
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
    for agent in ["m1", "m2"] {
        env.agent(agent, "cpus=4");
        env.offer(agent, "cpus=4");
    }
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
    env.advance(60.0);
    ends(&mut env, attempt(1, 1));
    env.advance(99.0);
    assert_eq!(claims(&env, "db"), [(201, 1)], "what came free renewed it");
    env.advance(1.0);
    assert_eq!(claims(&env, "db"), []);
    assert_eq!(env.launched().len(), 1, "what it kept went to others");
    env.advance(60.0);
    ends(&mut env, attempt(2, 1));
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
    ]);
    settings.claims.max = 1;
    let mut env = TestEnv::with(settings.clone());
    env.agent("m", "cpus=100");
    env.offer("m", "cpus=100");
    env.submit(task("y").demand("db=2 cpus=1").array(3));
    env.submit(task("small").demand("db=1 cpus=1").array(200));
    env.submit(task("x").demand("db=8 cpus=1"));
    offer_rest(&mut env, "m");
    env.advance(10.0);
    ends(&mut env, attempt(4, 1));
    let one = [(204, 1)];
    assert_eq!(claims(&env, "db"), one, "y's third task would pass its max");
    settings.claims.max = 0;
    env.reload(settings).unwrap();
    env.cancel(204);
    assert_eq!(claims(&env, "db"), [], "a task that is gone claims nothing");
    env.submit(task("x").demand("db=8 cpus=1"));
    env.advance(100.0);
    ends(&mut env, attempt(5, 1));
    assert_eq!(claims(&env, "db"), []);
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
}

#[derive(Clone, Debug)]
struct Busy {
    agents: Vec<u64>,
    policy: &'static str,
    streams: Vec<(u64, u64)>,
    big: (u64, u64),
    choices: Vec<usize>,
    /// Whether the others want the worst: see [`next_end`].
    is_spiteful: bool,
}

/// Whoever is spiteful lets a task run so long where its end would help.
const SPITE: Duration = Duration::from_secs(140);

/// What ends next: any, or, among the spiteful, first what runs where no claim waits. But all end one day.
fn next_end(env: &TestEnv, choice: usize, is_spiteful: bool) -> AttemptId {
    let state = &env.engine.state;
    let running = state.live_attempts();
    assert!(!running.is_empty(), "something runs, or the big one could");
    if !is_spiteful {
        return running[choice % running.len()];
    }
    let since = |attempt: &AttemptId| state.attempts[attempt].launched_at;
    let oldest = *running.iter().min_by_key(|attempt| since(attempt)).unwrap();
    let claims = env.engine.claims();
    let helps = |attempt: &AttemptId| {
        let agent = &state.agents.get(state.attempts[attempt].agent).name;
        claims.iter().any(|claim| claim.agent == *agent)
    };
    let other = running.iter().find(|attempt| !helps(attempt)).copied();
    let must_end = env.now.since(since(&oldest)) >= SPITE;
    other.filter(|_| !must_end).unwrap_or(oldest)
}

fn busy() -> impl Strategy<Value = Busy> {
    let agents = proptest::collection::vec(4..9_u64, 1..4);
    let policy = prop_oneof![Just("drf"), Just("fifo"), Just("weighted")];
    let streams = proptest::collection::vec((1..3_u64, 0..3_u64), 1..4);
    let choices = proptest::collection::vec(any::<usize>(), 150);
    let big = (1..=100_u64, 0..=10_u64);
    (agents, policy, streams, big, choices, any::<bool>()).prop_map(
        |(agents, policy, streams, (part, db), choices, is_spiteful)| {
            let most = *agents.iter().max().unwrap();
            let big = ((most * part).div_ceil(100).max(1), db);
            Busy {
                agents,
                policy,
                streams,
                big,
                choices,
                is_spiteful,
            }
        },
    )
}

/// Others always have more waiting than fits. How many tasks end until the big one runs.
fn n_ends_until_it_runs(busy: &Busy) -> Option<usize> {
    let paths: Vec<String> = (0..busy.streams.len())
        .map(|n| format!("s{n} patience=500"))
        .collect();
    let mut queues: Vec<&str> = paths.iter().map(String::as_str).collect();
    queues.push("big patience=60");
    let mut settings = settings(&queues);
    settings.policy = crate::engine::settings::PolicyConfig::new(busy.policy.into());
    let mut env = TestEnv::with(settings);
    for (number, (cpus, db)) in busy.streams.iter().enumerate() {
        let demand = format!("cpus={cpus} db={db}");
        env.submit(task(&format!("s{number}")).demand(&demand).array(12));
    }
    for (number, cpus) in busy.agents.iter().enumerate() {
        let name = format!("m{number}");
        env.agent(&name, &format!("cpus={cpus}"));
        env.offer(&name, &format!("cpus={cpus}"));
        offer_rest(&mut env, &name);
    }
    let (cpus, db) = busy.big;
    let big = env.submit(task("big").demand(&format!("cpus={cpus} db={db}")));
    // Nobody is older from here on, so what comes later can't win a tie.
    for (number, (cpus, db)) in busy.streams.iter().enumerate() {
        let demand = format!("cpus={cpus} db={db}");
        let stream = format!("s{number}");
        env.submit(task(&stream).demand(&demand).array(160));
    }
    for (n_ends, choice) in busy.choices.iter().enumerate() {
        if is_running(&env, big) {
            return Some(n_ends);
        }
        let end = next_end(&env, *choice, busy.is_spiteful);
        ends(&mut env, end);
        for agent in 0..busy.agents.len() {
            offer_rest(&mut env, &format!("m{agent}"));
        }
        env.advance(7.0);
    }
    is_running(&env, big).then_some(busy.choices.len())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the others do, also where they want the worst: within 150 ends, where at most 27 tasks run at once. The
    /// invariants are checked at each step, and that nobody is kept from what no claim keeps.
    #[test]
    fn what_could_run_on_an_empty_cluster_runs_after_a_bounded_number_of_ends(busy in busy()) {
        prop_assert!(n_ends_until_it_runs(&busy).is_some());
    }
}

#[test]
fn a_claim_keeps_what_is_free_of_the_cluster_from_the_next_agent_of_its_turn() {
    let mut env = TestEnv::new(&["big patience=60", "small patience=100000"]);
    for agent in ["m1", "m2"] {
        env.agent(agent, "cpus=4");
    }
    let (resource, used) = ("db".into(), units(5));
    env.request(Request::ReportOutside { resource, used })
        .unwrap();
    env.submit(task("big").demand("db=8 cpus=1"));
    env.advance(60.0);
    env.submit(task("small").demand("db=1 cpus=1").array(10));
    let offers = ["m1", "m2"].map(|agent| env.offer_of(agent, "cpus=4"));
    env.events(offers.into());
    assert_eq!(claims(&env, "db"), [(1, 5)]);
    assert_eq!(env.launched(), []);
}
