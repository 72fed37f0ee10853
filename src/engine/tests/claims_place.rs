//! Claims where there are several agents: on which one is, what it keeps there, and what it leaves to others.

use super::claims::{claims, ends, offer_rest};
use super::env::*;
use crate::engine::{Event, Request};

/// The agents of the claims, in their order.
fn agents_of(env: &TestEnv) -> Vec<String> {
    let claims = env.engine.claims();
    claims.iter().map(|claim| claim.agent.to_string()).collect()
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

#[test]
fn what_a_new_claim_leaves_of_its_agent_goes_on_in_the_same_turn() {
    let mut env = TestEnv::new(&["small patience=100000", "big patience=60"]);
    env.agent("m", "cpus=4 mem=4");
    env.offer("m", "cpus=4 mem=4");
    env.submit(task("small").array(4));
    env.submit(task("big").demand("cpus=3 mem=1"));
    offer_rest(&mut env, "m");
    env.launched();
    env.advance(60.0);
    assert_eq!(claims(&env, "mem"), [], "it is passed over by nobody");
    env.submit(task("small").demand("mem=1").array(9));
    assert_eq!(env.launched(), [(6, 1), (7, 1), (8, 1)]);
    offer_rest(&mut env, "m");
    assert_eq!(claims(&env, "mem"), [(5, 1)]);
    assert_eq!(env.launched(), []);
}

#[test]
fn what_a_claim_takes_of_another_agent_is_not_given_twice() {
    let mut env = TestEnv::new(&["small patience=100000", "big patience=60"]);
    env.offering(&["m1", "m2"], "cpus=4");
    env.submit(task("small").array(100));
    env.submit(task("big").demand("cpus=3"));
    env.advance(60.0);
    ends(&mut env, attempt(1, 1));
    assert_eq!(&*env.engine.claims()[0].agent, "m1");
    env.launched();
    let mut batch: Vec<Event> = (5..8)
        .map(|ended| TestEnv::end_of(attempt(ended, 1)))
        .collect();
    batch.push(env.offer_of("m2", "cpus=3"));
    env.events(batch);
    let launched = env.launched();
    assert_eq!(launched, [(101, 1), (9, 1)], "and what was kept is free");
}

#[test]
fn a_claim_is_where_least_is_missing_and_others_go_on_where_it_was_made() {
    let mut env = TestEnv::new(&["small patience=100000", "big patience=60"]);
    for (agent, total) in [
        ("m1", "cpus=4 mem=4"),
        ("m2", "cpus=4 mem=1"),
        ("m3", "cpus=3"),
    ] {
        env.agent(agent, total);
        env.offer(agent, total);
    }
    env.submit(task("small").demand("cpus=1 mem=1").array(100));
    env.submit(task("big").demand("cpus=4"));
    offer_rest(&mut env, "m2");
    assert_eq!(env.launched().len(), 5);
    env.advance(60.0);
    ends(&mut env, attempt(1, 1));
    assert_eq!(agents_of(&env), ["m2"], "m3 could never hold it");
    assert_eq!(claims(&env, "cpus"), [(101, 3)]);
    assert_eq!(env.launched(), [(6, 1)]);
}

#[test]
fn a_second_claim_counts_what_the_first_will_take() {
    let mut env = TestEnv::new(&["small patience=100000", "x patience=60", "y patience=60"]);
    env.offering(&["m1", "m2"], "cpus=4");
    env.submit(task("small").array(100));
    env.submit(task("x").demand("cpus=4"));
    env.submit(task("y").demand("cpus=3"));
    env.advance(60.0);
    let mut batch = Vec::from([1, 5].map(|task| TestEnv::end_of(attempt(task, 1))));
    batch.extend(["m1", "m2"].map(|agent| env.offer_of(agent, "cpus=1")));
    env.events(batch);
    assert_eq!(agents_of(&env), ["m1", "m2"]);
    assert_eq!(claims(&env, "cpus"), [(101, 1), (102, 1)]);
}

#[test]
fn what_is_kept_of_the_cluster_counts_on_any_agent() {
    let mut env = TestEnv::new(&["small patience=100000", "big patience=60"]);
    env.offering(&["m1", "m2"], "cpus=4");
    env.submit(task("small").demand("db=1 cpus=1").array(100));
    env.submit(task("big").demand("db=6 cpus=2"));
    env.advance(60.0);
    ends(&mut env, attempt(1, 1));
    assert_eq!(
        (agents_of(&env), claims(&env, "db")),
        (vec!["m1".to_owned()], vec![(101, 3)])
    );
    for ended in 5..9 {
        env.ends(attempt(ended, 1), OK);
    }
    assert_eq!(claims(&env, "db"), [(101, 6)]);
    env.launched();
    env.offer("m2", "cpus=4");
    assert_eq!(
        env.launched(),
        [(101, 1), (9, 1)],
        "one connection was left"
    );
}

#[test]
fn an_agent_that_could_never_hold_it_gets_no_claim_though_least_is_missing_there() {
    let mut env = TestEnv::new(&["small patience=100000", "big patience=60"]);
    env.agent_with("m1", "cpus=8", "rack=r1");
    env.offer("m1", "cpus=8");
    env.submit(task("small").array(8));
    env.submit(task("big").demand("cpus=4").constraints("rack=r1"));
    // Idle, one too small and the other in another place.
    env.agent_with("m2", "cpus=3", "rack=r1");
    env.agent_with("m3", "cpus=8", "rack=r2");
    env.advance(60.0);
    env.submit(task("small").array(20));
    ends(&mut env, attempt(1, 1));
    assert_eq!(agents_of(&env), ["m1"]);
}

#[test]
fn what_an_offer_has_beyond_a_claim_goes_to_others_in_the_turn_that_starts_it() {
    let mut env = TestEnv::new(&["small patience=100000", "big patience=60"]);
    env.agent("m", "cpus=4");
    env.offer("m", "cpus=4");
    env.submit(task("small").array(4));
    env.submit(task("big").demand("cpus=2 db=4"));
    env.advance(60.0);
    env.submit(task("small").demand("cpus=1 db=6").array(9));
    ends(&mut env, attempt(1, 1));
    assert_eq!(claims(&env, "cpus"), [(5, 1)]);
    env.launched();
    for ended in 2..=4 {
        env.ends(attempt(ended, 1), OK);
    }
    env.offer("m", "cpus=3");
    assert_eq!(env.launched(), [(5, 1), (6, 1)], "all connections are used");
}
