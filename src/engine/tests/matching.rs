//! Who consumes an offer, and what an offer is.

use proptest::prelude::*;

use super::env::*;
use crate::engine::event::OfferId;
use crate::engine::outcome::AttemptEnd;
use crate::engine::{Decision, Event, Refusal, Reply, Request};

fn report_outside(env: &mut TestEnv, used: u64) -> Result<Reply, Refusal> {
    let (resource, used) = ("db".into(), units(used));
    env.request(Request::ReportOutside { resource, used })
}

#[test]
fn weighted_queues_share_a_cluster_resource() {
    let mut env = TestEnv::new(&["a weight=2", "b"]);
    env.try_submit(&[
        task("a").demand("db=1").array(20),
        task("b").demand("db=1").array(20),
    ])
    .unwrap();
    env.agent("m", "cpus=1");
    env.offer("m", "cpus=1");
    let n_of_a = env
        .launched()
        .iter()
        .filter(|(task, _)| *task <= 20)
        .count();
    assert_eq!(n_of_a, 7, "of 10, two thirds and the tie");
}

#[test]
fn one_decision_an_agent_and_turn_uses_up_all_its_offers() {
    let mut env = TestEnv::new(&["a"]);
    env.agent("m", "cpus=4");
    let offers = [env.offer("m", "cpus=1"), env.offer("m", "cpus=2")];
    env.submit(task("a").demand("cpus=3"));
    let [
        Decision::Accept {
            agent,
            offers: used,
            launches,
        },
    ] = &env.decisions[..]
    else {
        panic!("one decision");
    };
    assert_eq!((&**agent, &used[..], launches.len()), ("m", &offers[..], 1));
    env.submit(task("a"));
    assert_eq!(
        env.launched().len(),
        1,
        "what was left of the offers is offered again by the backend"
    );
}

#[test]
fn offers_are_taken_in_the_order_they_came() {
    let mut env = TestEnv::new(&["a"]);
    for agent in ["m1", "m2", "m3"] {
        env.agent(agent, "cpus=1");
    }
    for agent in ["m3", "m1", "m2"] {
        env.offer(agent, "cpus=1");
    }
    env.submit(task("a").array(3));
    let agents = env.decisions.iter().map(|decision| match decision {
        Decision::Accept { agent, .. } => &**agent,
        Decision::Decline { .. }
        | Decision::Suppress
        | Decision::Revive
        | Decision::Acknowledge { .. }
        | Decision::Kill { .. } => panic!("{decision:?} instead of a launch"),
    });
    assert_eq!(agents.collect::<Vec<_>>(), ["m3", "m1", "m2"]);
}

#[test]
fn a_task_that_does_not_fit_lets_a_later_one_go_first() {
    let mut env = TestEnv::new(&["a"]);
    env.agent("m", "cpus=4");
    env.try_submit(&[
        task("a").demand("cpus=4"),
        task("a").demand("cpus=2"),
        task("a").priority(-1),
    ])
    .unwrap();
    env.offer("m", "cpus=3");
    assert_eq!(env.launched(), [(2, 1), (3, 1)]);
}

#[test]
fn higher_priority_goes_first_within_a_queue() {
    let mut env = TestEnv::new(&["a"]);
    env.try_submit(&[
        task("a"),
        task("a").priority(5),
        task("a").priority(5),
        task("a").priority(-1),
    ])
    .unwrap();
    env.agent("m", "cpus=4");
    env.offer("m", "cpus=4");
    assert_eq!(env.launched(), [(2, 1), (3, 1), (1, 1), (4, 1)]);
}

#[test]
fn a_max_holds_for_the_whole_subtree() {
    let mut env = TestEnv::new(&["a max:db=3", "a/x", "a/y max:db=2", "b"]);
    env.try_submit(&[
        task("a/x").demand("db=1").array(9),
        task("a/y").demand("db=1").array(9),
        task("b").demand("db=1").array(9),
    ])
    .unwrap();
    env.agent("m", "cpus=1");
    env.offer("m", "cpus=1");
    let reports = env.engine.queues();
    let used: Vec<_> = reports
        .iter()
        .map(|report| (&*report.path, report.used["db"]))
        .collect();
    assert_eq!(
        used,
        [
            ("a", units(3)),
            ("a/x", units(2)),
            ("a/y", units(1)),
            ("b", units(7))
        ]
    );
    let launched = env.launched();
    env.offer("m", "cpus=1");
    env.ends(attempt(launched[0].0, 1), OK);
    assert_eq!(
        env.launched().len(),
        1,
        "what the end gave back is used by an offer that was at hand"
    );
}

#[test]
fn constraints_hold() {
    let mut env = TestEnv::new(&["a"]);
    env.agent_with("m1", "cpus=4", "rack=r1 disk=ssd");
    env.agent_with("m2", "cpus=4", "rack=r2");
    env.offer("m1", "cpus=4");
    env.submit(task("a").constraints("rack=r2"));
    assert_eq!(env.launched(), []);
    env.offer("m2", "cpus=4");
    assert_eq!(env.launched(), [(1, 1)]);
    env.submit(task("a").constraints("disk=ssd rack=r2"));
    assert_eq!(env.engine.queues()[0].n_unsatisfiable, 1);
    env.agent_with("m1", "cpus=4", "rack=r2 disk=ssd");
    assert_eq!(
        env.launched(),
        [(2, 1)],
        "the agent changed, its offer holds"
    );
}

#[test]
fn what_others_use_lessens_what_is_free() {
    let mut env = TestEnv::new(&["a"]);
    env.agent("m", "cpus=1");
    assert_eq!(report_outside(&mut env, 8), Ok(Reply::Done));
    env.submit(task("a").demand("db=1").array(5));
    env.offer("m", "cpus=1");
    assert_eq!(env.launched().len(), 2);
    report_outside(&mut env, 20).unwrap();
    env.offer("m", "cpus=1");
    assert_eq!(env.launched(), []);
    report_outside(&mut env, 7).unwrap();
    assert_eq!(env.launched().len(), 1);
    let (used, resource) = (units(1), "cpus".into());
    let reply = env.request(Request::ReportOutside { resource, used });
    assert!(matches!(reply, Err(Refusal::NotClusterScope { .. })));
    let resource = "nothing".into();
    let refusal = env
        .request(Request::ReportOutside { resource, used })
        .unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "unknown resource 'nothing'; known: cpus, db, mem"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever others report, and however tasks come and go: nothing is launched beyond what is left.
    #[test]
    fn never_is_more_granted_than_others_leave(steps in prop::collection::vec((0..3_u8, 0..14_u64), 1..60)) {
        let mut env = TestEnv::new(&["a", "b"]);
        env.agent("m", "cpus=1");
        let db = |env: &TestEnv| {
            let reports = env.engine.resources().into_iter();
            let mut db = reports.filter(|report| &*report.name == "db");
            db.next().unwrap()
        };
        for (kind, number) in steps {
            match kind {
                0 => {
                    report_outside(&mut env, number).unwrap();
                }
                1 => {
                    let running = env.engine.state.live_attempts();
                    if let Some(attempt) = running.get(number as usize % running.len().max(1)) {
                        env.ends(*attempt, OK);
                    }
                }
                _ => {
                    env.submit(task("a").demand(&format!("db={}", 1 + number % 4)));
                }
            }
            let before = db(&env);
            env.launched();
            env.offer("m", "cpus=1");
            let (n_launched, after) = (env.launched().len(), db(&env));
            prop_assert!(n_launched == 0 || after.used.saturating_add(after.outside) <= after.capacity);
            prop_assert!(n_launched > 0 || before.used == after.used);
        }
    }
}

#[test]
fn offers_that_are_rescinded_repeated_or_of_nobody_count_for_nothing() {
    let mut env = TestEnv::new(&["a"]);
    let unknown = env.offer("nobody", "cpus=9");
    env.agent("m", "cpus=4");
    let offer = env.offer("m", "cpus=4");
    env.event(Event::OfferRescinded { offer });
    env.event(Event::OfferRescinded { offer });
    env.event(Event::OfferRescinded { offer: unknown });
    env.submit(task("a").demand("cpus=2"));
    assert_eq!(env.launched(), []);
    let first = env.offer("m", "cpus=1");
    let repeated = Event::OfferReceived {
        offer: first,
        agent: "m".into(),
        free: amounts("cpus=4"),
    };
    env.event(repeated);
    assert_eq!(env.launched(), []);
    env.offer("m", "cpus=1");
    assert_eq!(env.launched(), [(1, 1)]);
    env.event(Event::OfferRescinded { offer: OfferId(99) });
}

#[test]
fn an_agent_that_is_lost_takes_its_offers_along_but_not_its_attempts() {
    let mut env = TestEnv::new(&["a"]);
    env.agent("m", "cpus=4");
    env.offer("m", "cpus=4");
    env.submit(task("a").demand("cpus=4"));
    env.offer("m", "mem=1");
    env.event(Event::AgentLost { agent: "m".into() });
    env.event(Event::AgentLost { agent: "m".into() });
    assert_eq!(env.engine.agents().len(), 1, "an attempt is still on it");
    env.agent("m2", "cpus=4");
    env.ends(attempt(1, 1), LOST);
    assert_eq!(env.engine.agents().len(), 1);
    env.offer("m2", "cpus=4");
    assert_eq!(env.launched(), [(1, 1), (1, 2)]);
}

#[test]
fn more_than_the_cluster_or_the_queue_ever_has_is_refused_more_than_agents_have_is_not() {
    let mut env = TestEnv::new(&["a max:mem=8", "a/x"]);
    let never = |refusal: Refusal, wanted: &str, most_wanted: u64| {
        let Refusal::NeverFits { most, limit, .. } = refusal else {
            panic!("another refusal: {refusal}");
        };
        assert_eq!((&*limit, most), (wanted, units(most_wanted)));
    };
    never(env.refused(task("a/x").demand("db=11")), "the cluster", 10);
    never(env.refused(task("a/x").demand("mem=9")), "queue a", 8);
    env.submit(task("a/x").demand("cpus=100").array(3));
    assert_eq!(
        env.engine.queues()[0].n_unsatisfiable,
        0,
        "no agent is known as yet"
    );
    env.agent("m", "cpus=4");
    assert_eq!(env.engine.queues()[0].n_unsatisfiable, 3);
    env.offer("m", "cpus=4");
    env.submit(task("a/x"));
    assert_eq!(env.launched(), [(4, 1)]);
    env.agent("m", "cpus=100");
    assert_eq!(env.engine.queues()[0].n_unsatisfiable, 0);
    env.ends(attempt(4, 1), AttemptEnd::OutOfMemory);
    env.offer("m", "cpus=100");
    assert_eq!(env.launched(), [(1, 1)]);
}

#[test]
fn bad_submissions_are_refused_with_their_place() {
    let mut env = TestEnv::new(&["a", "b", "b/x"]);
    let unknown = env.try_submit(&[task("a"), task("c")]).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "tasks[1]: unknown queue 'c'; known leaf queues: a, b/x"
    );
    let inner = env.refused(task("b"));
    assert!(
        matches!(&inner, Refusal::NotALeaf { leaves, .. } if *leaves == ["b/x".into()]),
        "{inner}"
    );
    let resource = env.refused(task("a").demand("gpus=1"));
    assert_eq!(
        resource.to_string(),
        "tasks[0]: unknown resource 'gpus'; known: cpus, db, mem"
    );
    assert_eq!(env.submit(task("a")), 1);
}

#[test]
fn an_agent_s_offers_never_count_for_more_than_it_has_left() {
    let mut env = TestEnv::new(&["a"]);
    env.agent("m", "cpus=4");
    env.submit(task("a").array(10));
    env.offer("m", "cpus=100");
    assert_eq!(env.launched().len(), 4);
    env.offer("m", "cpus=100");
    assert_eq!(env.launched(), []);
    env.agent("m", "cpus=2");
    env.ends(attempt(1, 1), OK);
    env.ends(attempt(2, 1), OK);
    assert_eq!(env.launched(), [], "two of two are in use");
    env.ends(attempt(3, 1), OK);
    assert_eq!(env.launched(), [(5, 1)]);
}

#[test]
fn a_task_that_demands_nothing_is_refused_since_nothing_would_bound_it() {
    let mut env = TestEnv::new(&["a"]);
    let refusal = env.try_submit(&[task("a"), task("a").demand("").array(50)]);
    assert_eq!(refusal.unwrap_err(), Refusal::NoDemand { place: 1 });
}

#[test]
fn new_offers_and_those_that_something_fits_again_are_taken_in_one_order() {
    let mut env = TestEnv::new(&["a"]);
    for agent in ["m0", "m1", "m2", "m3"] {
        env.agent(agent, "cpus=1 mem=1");
    }
    let holder = env.submit(task("a").demand("cpus=1 db=10"));
    env.offer("m0", "cpus=1");
    env.offer("m1", "cpus=1");
    env.offer("m2", "mem=1");
    env.offer("m3", "cpus=1");
    env.submit(task("a").demand("cpus=1 db=5").array(2));
    env.launched();
    let rest = env.offer_of("m2", "cpus=1");
    env.events(vec![TestEnv::end_of(attempt(holder, 1)), rest]);
    let agents = env.decisions.iter().filter_map(|decision| match decision {
        Decision::Accept { agent, .. } => Some(&**agent),
        Decision::Decline { .. }
        | Decision::Suppress
        | Decision::Revive
        | Decision::Acknowledge { .. }
        | Decision::Kill { .. } => None,
    });
    assert_eq!(agents.collect::<Vec<_>>(), ["m1", "m2"]);
}

#[test]
fn what_comes_free_of_the_cluster_is_used_on_any_agent() {
    let mut env = TestEnv::new(&["a"]);
    env.offering(&["m", "n"], "cpus=2");
    env.submit(task("a").demand("db=10").array(2));
    assert_eq!(env.launched(), [(1, 1)]);
    env.ends(attempt(1, 1), OK);
    assert_eq!(env.launched(), [(2, 1)], "on what the other still offers");
}

#[test]
fn an_end_below_a_max_makes_room_on_any_agent() {
    let mut env = TestEnv::new(&["a max:cpus=2"]);
    env.offering(&["m", "n"], "cpus=2");
    env.submit(task("a").array(3));
    assert_eq!(env.launched(), [(1, 1), (2, 1)]);
    env.ends(attempt(1, 1), OK);
    assert_eq!(env.launched(), [(3, 1)], "on what the other still offers");
}

#[test]
fn without_an_offer_of_its_agent_a_claim_brings_nobody_a_launch() {
    let mut env = TestEnv::new(&["small patience=100000", "big patience=60"]);
    env.agent("m", "cpus=4");
    env.submit(task("small").array(3));
    env.offer("m", "cpus=4");
    env.submit(task("big").demand("cpus=4"));
    env.advance(60.0);
    env.submit(task("small").array(9));
    env.offer("m", "cpus=1");
    assert_eq!(env.engine.claims().len(), 1);
    env.launched();
    env.event(Event::OffersForgotten);
    env.submit(task("small").demand("db=1"));
    assert_eq!(env.launched(), [], "there is nothing to launch it on");
    assert_eq!(env.engine.claims().len(), 1);
}
