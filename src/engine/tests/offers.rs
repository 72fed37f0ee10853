//! Declining, suppressing and reviving: what a guest of a cluster does with offers.

use std::sync::Arc;

use super::env::*;
use crate::engine::event::OfferId;
use crate::engine::{Decision, Event, Request};

/// What the last step wanted of whoever offers.
fn wanted(env: &TestEnv) -> Vec<String> {
    let word = |decision: &Decision| match decision {
        Decision::Accept {
            offers, launches, ..
        } => format!("accept {} for {}", offers.len(), launches.len()),
        Decision::Decline { agent, offers } => format!("decline {} of {agent}", offers.len()),
        Decision::Suppress => "suppress".to_owned(),
        Decision::Revive => "revive".to_owned(),
        Decision::Acknowledge { receipt } => format!("acknowledge {receipt}"),
        Decision::Kill { attempt, .. } => format!("kill {attempt}"),
    };
    env.decisions.iter().map(word).collect()
}

/// An environment that declines, with two agents.
fn guest() -> TestEnv {
    let mut env = TestEnv::new(&["a", "b"]);
    env.decline_offers();
    env.agent("m", "cpus=8 mem=8");
    env.agent_with("n", "cpus=8 mem=8", "rack=r1");
    env
}

/// Others use so much of the database.
fn outside(used: u64) -> Request {
    Request::ReportOutside {
        resource: "db".into(),
        used: units(used),
    }
}

/// Suppressed, with nothing to do.
fn idle_guest() -> TestEnv {
    let mut env = guest();
    env.advance(5.0);
    assert_eq!(wanted(&env), ["suppress"]);
    env
}

#[test]
fn offers_are_kept_unless_they_are_to_be_declined() {
    let mut env = TestEnv::new(&["a"]);
    env.agent("m", "cpus=8 mem=8");
    env.offer("m", "cpus=8 mem=8");
    env.advance(100.0);
    assert!(wanted(&env).is_empty());
    env.submit(task("a").demand("cpus=8"));
    assert_eq!(wanted(&env), ["accept 1 for 1"]);
}

#[test]
fn nothing_waits_so_offers_are_declined_and_then_suppressed() {
    let mut env = guest();
    env.offer("m", "cpus=4 mem=4");
    assert_eq!(wanted(&env), ["decline 1 of m"]);
    env.advance(4.9);
    assert!(wanted(&env).is_empty());
    env.advance(0.1);
    assert_eq!(wanted(&env), ["suppress"]);
    env.advance(100.0);
    assert!(wanted(&env).is_empty());
    assert_eq!(env.engine.wake_at(), None);
}

#[test]
fn all_offers_of_an_agent_are_declined_together() {
    let mut env = guest();
    let offers = [("m", 1), ("n", 2), ("m", 3)];
    let mut out = crate::engine::Output::default();
    for (agent, number) in offers {
        let event = Event::OfferReceived {
            offer: OfferId(100 + number),
            agent: Arc::from(agent),
            free: amounts("cpus=1"),
        };
        env.engine.on_event(env.now, event, &mut out);
    }
    env.engine.turn(env.now, &mut out);
    env.decisions = out.decisions;
    assert_eq!(wanted(&env), ["decline 2 of m", "decline 1 of n"]);
}

#[test]
fn new_work_revives_at_once() {
    let mut env = idle_guest();
    env.submit(task("a").demand("cpus=1"));
    assert_eq!(wanted(&env), ["revive"]);
    env.advance(60.0);
    assert!(wanted(&env).is_empty(), "one revival is enough");
    env.offer("m", "cpus=8 mem=8");
    assert_eq!(wanted(&env), ["accept 1 for 1"]);
}

#[test]
fn what_fits_something_declined_revives_and_what_does_not_waits() {
    let mut env = guest();
    env.submit(task("a").demand("cpus=6"));
    env.offer("m", "cpus=4 mem=4");
    assert_eq!(wanted(&env), ["decline 1 of m"]);
    env.submit(task("a").demand("cpus=5"));
    assert!(wanted(&env).is_empty(), "it fits no better");
    env.submit(task("a").demand("cpus=1").constraints("rack=r1"));
    assert!(wanted(&env).is_empty(), "the other agent offered nothing");
    env.submit(task("b").demand("cpus=4"));
    assert_eq!(wanted(&env), ["revive"]);
    env.offer("m", "cpus=4 mem=4");
    assert_eq!(wanted(&env), ["accept 1 for 1"]);
}

#[test]
fn what_launches_leave_counts_as_declined() {
    let mut env = guest();
    env.submit(task("a").demand("cpus=3"));
    env.offer("m", "cpus=8 mem=8");
    assert_eq!(wanted(&env), ["accept 1 for 1"]);
    env.submit(task("a").demand("cpus=6"));
    assert!(wanted(&env).is_empty());
    env.submit(task("a").demand("cpus=5"));
    assert_eq!(wanted(&env), ["revive"]);
}

#[test]
fn a_cluster_resource_that_comes_free_revives_once_no_offer_is_expected() {
    let mut env = guest();
    env.submit(task("a").demand("cpus=1 db=10"));
    env.offer("m", "cpus=8 mem=8");
    assert_eq!(wanted(&env), ["accept 1 for 1"]);
    env.submit(task("a").demand("cpus=1 db=10"));
    assert!(wanted(&env).is_empty(), "the database is full");
    env.ends(attempt(1, 1), OK);
    assert!(wanted(&env).is_empty(), "what it held is offered anyway");
    env.advance(1.9);
    assert!(wanted(&env).is_empty());
    env.advance(0.2);
    assert_eq!(wanted(&env), ["revive"]);
}

#[test]
fn revivals_that_bring_nothing_become_rare() {
    let mut env = guest();
    env.submit(task("a").demand("cpus=1 db=1"));
    let mut pauses = Vec::new();
    for _ in 0..9 {
        // Others are always faster.
        env.request(outside(10)).unwrap();
        env.offer("m", "cpus=4 mem=4");
        assert_eq!(wanted(&env), ["decline 1 of m"]);
        let since = env.now;
        env.request(outside(0)).unwrap();
        while wanted(&env) != ["revive"] {
            let at = env.engine.wake_at().unwrap();
            env.advance(at.since(env.now).as_secs_f64());
        }
        pauses.push(env.now.since(since).as_secs());
    }
    assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
    env.offer("m", "cpus=4 mem=4");
    assert_eq!(wanted(&env), ["accept 1 for 1"]);
    env.submit(task("a").demand("cpus=3"));
    env.advance(1.0);
    assert_eq!(wanted(&env), ["revive"], "a launch makes it worth asking");
}

#[test]
fn a_new_session_forgets_what_was_declined() {
    let mut env = guest();
    env.offer("m", "cpus=4 mem=4");
    env.event(Event::OffersForgotten);
    env.submit(task("a").demand("cpus=1"));
    assert!(wanted(&env).is_empty(), "it comes by itself");
    env.offer("m", "cpus=4 mem=4");
    assert_eq!(wanted(&env), ["accept 1 for 1"]);
}

#[test]
fn an_agent_that_is_lost_takes_what_was_declined_along() {
    let mut env = guest();
    env.offer("m", "cpus=4 mem=4");
    env.event(Event::AgentLost { agent: "m".into() });
    env.submit(task("a").demand("cpus=1"));
    assert!(wanted(&env).is_empty());
}

#[test]
fn a_reload_while_nothing_waits_leaves_nobody_without_offers() {
    let mut env = guest();
    env.offer("m", "cpus=4 mem=4");
    assert_eq!(wanted(&env), ["decline 1 of m"]);
    env.reload(settings(&["a", "b"])).unwrap();
    assert!(wanted(&env).is_empty(), "nothing waits");
    env.submit(task("a").demand("cpus=1"));
    assert_eq!(wanted(&env), ["revive"]);
}

#[test]
fn a_reload_asks_again() {
    let mut env = TestEnv::new(&["a max:cpus=1", "b"]);
    env.decline_offers();
    env.agent("m", "cpus=8 mem=8");
    env.submit(task("a").demand("cpus=1").array(2));
    env.offer("m", "cpus=8 mem=8");
    assert_eq!(wanted(&env), ["accept 1 for 1"]);
    env.reload(settings(&["a", "b"])).unwrap();
    assert_eq!(wanted(&env), ["revive"]);
}

#[test]
fn a_receipt_comes_back_with_the_batch() {
    let mut env = guest();
    env.event(Event::ReceiptAsked { receipt: 7 });
    assert_eq!(wanted(&env), ["acknowledge 7"]);
    assert!(env.facts.is_empty());
}

#[test]
fn what_the_backend_notes_survives_a_crash() {
    let mut env = guest();
    let note = |value: Option<&str>| Event::BackendNoted {
        name: "id".into(),
        value: value.map(Arc::from),
    };
    env.event(note(Some("one")));
    env.event(note(Some("two")));
    env.crash();
    assert_eq!(&*env.engine.backend_notes()["id"], "two");
    env.event(note(None));
    env.crash();
    assert!(env.engine.backend_notes().is_empty());
}

#[test]
fn outside_use_that_ends_revives() {
    let mut env = guest();
    env.request(outside(10)).unwrap();
    env.submit(task("a").demand("cpus=1 db=1"));
    env.offer("m", "cpus=8 mem=8");
    assert_eq!(wanted(&env), ["decline 1 of m"]);
    env.request(outside(0)).unwrap();
    assert_eq!(wanted(&env), ["revive"]);
}

#[test]
fn an_offer_that_comes_ends_the_wait_for_it() {
    let mut env = guest();
    env.submit(task("a").demand("cpus=4"));
    env.offer("m", "cpus=8 mem=8");
    assert_eq!(wanted(&env), ["accept 1 for 1"]);
    env.advance(1.5);
    env.ends(attempt(1, 1), OK);
    env.submit(task("a").demand("cpus=4"));
    assert!(wanted(&env).is_empty(), "what ended is offered soon");
    env.offer("n", "cpus=1 mem=1");
    assert_eq!(wanted(&env), ["decline 1 of n", "revive"]);
}

#[test]
fn an_agent_that_is_lost_at_once_keeps_nobody_elses_offer_from_being_declined() {
    let mut env = guest();
    let offers = ["m", "n"].map(|agent| env.offer_of(agent, "cpus=1"));
    let mut batch = Vec::from(offers);
    batch.push(Event::AgentLost { agent: "m".into() });
    env.events(batch);
    assert_eq!(wanted(&env), ["decline 1 of n"]);
}

#[test]
fn what_was_held_for_a_claim_is_declined_when_the_claim_goes() {
    let mut env = TestEnv::new(&["small patience=100000", "big patience=60"]);
    env.decline_offers();
    env.agent("m", "cpus=8");
    env.submit(task("small").demand("cpus=4"));
    env.offer("m", "cpus=8");
    let big = env.submit(task("big").demand("cpus=8"));
    env.advance(60.0);
    env.offer("m", "cpus=2");
    assert!(wanted(&env).is_empty(), "it is held");
    env.offer("m", "cpus=1");
    assert!(wanted(&env).is_empty(), "and still");
    env.cancel(big);
    assert_eq!(wanted(&env), ["decline 2 of m"]);
}
