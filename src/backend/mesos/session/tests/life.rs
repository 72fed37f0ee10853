//! The life of a subscription: found, lost, taken over, removed.

use super::env::*;
use crate::backend::mesos::session::{CallEnd, Recovered};
use crate::engine::{Decision, Time};
use crate::proto::mesos::v1::scheduler::{self, event};
use crate::proto::mesos::v1::{self, FrameworkInfo};

fn error(message: &str) -> scheduler::Event {
    scheduler::Event {
        error: Some(event::Error {
            message: message.to_owned(),
        }),
        ..kind(event::Type::Error)
    }
}

#[test]
fn the_first_subscription_notes_the_id_before_anything_else() {
    let mut env = Env::new(None, Vec::new());
    assert_eq!(env.wanted(), ["subscribe http://m1:5050"]);
    env.heartbeat();
    env.offer("A", "cpus=1");
    assert!(env.wanted().is_empty(), "nothing counts before SUBSCRIBED");
    env.subscribe();
    let expected = [
        "note mesos.framework_id F",
        "healthy",
        "ask agents",
        "reconcile",
    ];
    assert_eq!(env.wanted(), expected);
}

#[test]
fn the_framework_is_described_as_a_good_guest() {
    let info: FrameworkInfo =
        crate::backend::mesos::framework::framework_info(&config(), Some("F"), "http://s");
    assert_eq!(info.checkpoint, Some(true));
    assert_eq!(info.failover_timeout, Some(3600.0));
    assert_eq!(info.roles, ["eng"]);
    use v1::framework_info::capability::Type;
    let has = |kind: Type| info.capabilities.iter().any(|it| it.r#type() == kind);
    assert!(has(Type::PartitionAware) && has(Type::MultiRole) && has(Type::ReservationRefinement));
    assert!(!has(Type::GpuResources) && !has(Type::RevocableResources));
}

#[test]
fn a_restart_asks_for_its_tasks_under_the_same_id() {
    let recovered = Recovered {
        attempt: attempt(3, 2),
        agent: "A".into(),
        demand: std::sync::Arc::new(amounts("cpus=1")),
    };
    let mut env = Env::new(Some("F"), vec![recovered]);
    assert_eq!(env.wanted(), ["subscribe http://m1:5050 as F"]);
    env.subscribe();
    let expected = ["healthy", "ask agents", "reconcile 3.2", "reconcile"];
    assert_eq!(env.wanted(), expected);
}

#[test]
fn a_silent_master_is_left_and_offers_with_it() {
    let mut env = Env::subscribed();
    env.offer("A", "cpus=2 mem=128");
    env.wanted();
    env.advance(74);
    env.heartbeat();
    env.advance(74);
    assert_eq!(env.wanted(), Vec::<String>::new());
    env.advance(1);
    let expected = [
        "offers forgotten",
        "close",
        "trouble: the Mesos master http://m1:5050 has fallen silent: no heartbeats",
    ];
    assert_eq!(env.wanted(), expected);
    env.advance(1);
    assert_eq!(env.wanted(), ["subscribe http://m1:5050 as F"]);
}

#[test]
fn waits_between_tries_grow_and_start_anew_after_a_success() {
    let mut env = Env::new(None, Vec::new());
    let mut waits = Vec::new();
    for _ in 0..9 {
        let generation = env.generation;
        env.session
            .on_stream_closed(env.now, generation, "connection refused");
        let since = env.now;
        while env.generation == generation {
            let at = env.session.wake_at().unwrap();
            env.now = at;
            env.session.tick(at);
            env.take();
        }
        waits.push(env.now.since(since).as_millis());
    }
    assert!((250..=500).contains(&waits[0]), "{waits:?}");
    assert!((7500..=15_000).contains(&waits[8]), "{waits:?}");
    env.subscribe();
    env.session
        .on_stream_closed(env.now, env.generation, "gone");
    let wait = env.session.wake_at().unwrap().since(env.now).as_millis();
    assert!((250..=500).contains(&wait), "{wait}");
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let mut env = Env::new(None, Vec::new());
    env.actions.clear();
    for leader in ["http://m2:5050", "http://m3:5050", "http://m4:5050"] {
        let to = Some(leader.into());
        env.session
            .on_stream_refused(env.now, env.generation, 307, to, "");
        env.take();
        assert_eq!(env.wanted(), [format!("subscribe {leader}")]);
    }
    let to = Some("http://m5:5050".into());
    env.session
        .on_stream_refused(env.now, env.generation, 307, to, "");
    env.take();
    assert!(env.wanted()[1].starts_with("trouble: "));
}

#[test]
fn several_masters_are_tried_in_turn() {
    let mut env = Env::new(None, Vec::new());
    env.masters(&["http://m1:5050", "http://m2:5050"]);
    env.actions.clear();
    for master in ["http://m1:5050", "http://m2:5050", "http://m1:5050"] {
        env.session
            .on_stream_closed(env.now, env.generation, "refused");
        env.take();
        env.actions.clear();
        env.advance(20);
        assert_eq!(env.wanted().first(), Some(&format!("subscribe {master}")));
    }
}

#[test]
fn a_new_leader_in_zookeeper_is_followed_and_none_is_waited_for() {
    let mut env = Env::subscribed();
    env.masters(&[]);
    assert!(
        env.wanted().is_empty(),
        "trouble with ZooKeeper is none with the master"
    );
    env.masters(&["http://m2:5050"]);
    assert_eq!(
        env.wanted().last().unwrap(),
        "trouble: another Mesos master leads now"
    );
    env.advance(1);
    assert_eq!(env.wanted(), ["subscribe http://m2:5050 as F"]);
    env.session
        .on_stream_closed(env.now, env.generation, "gone");
    env.masters(&[]);
    let trouble = "trouble: no Mesos master is leading; waiting for one";
    assert_eq!(env.wanted().last().unwrap(), trouble);
}

#[test]
fn what_an_older_stream_says_is_ignored() {
    let mut env = Env::subscribed();
    let old = env.generation;
    env.session.on_stream_closed(env.now, old, "gone");
    env.advance(1);
    env.subscribe();
    env.actions.clear();
    env.session
        .on_event(env.now, old, error("Framework failed over"));
    env.session.on_stream_closed(env.now, old, "gone");
    env.take();
    assert!(env.wanted().is_empty());
}

#[test]
fn refusals_say_what_to_do() {
    let cases = [
        (
            401,
            "refuses the credentials (401): go away; see backend.mesos.principal",
        ),
        (503, "does not lead yet"),
        (415, "refuses us (415): go away"),
    ];
    for (code, expected) in cases {
        let mut env = Env::new(None, Vec::new());
        env.session
            .on_stream_refused(env.now, env.generation, code, None, "go away\nat once");
        env.take();
        let trouble = env.wanted().pop().unwrap();
        assert!(trouble.contains(expected), "{trouble}");
        env.advance(15);
        assert_eq!(
            env.wanted(),
            ["subscribe http://m1:5050"],
            "it goes on trying"
        );
    }
}

#[test]
fn an_unknown_role_is_told_and_tried_again_slowly() {
    let mut env = Env::new(None, Vec::new());
    env.session.on_stream_opened(env.now, env.generation, "s");
    env.actions.clear();
    env.event(error("Role 'eng' is not in the master's --roles"));
    let trouble =
        "trouble: Mesos refuses the subscription: Role 'eng' is not in the master's --roles";
    assert_eq!(env.wanted(), ["close", trouble]);
    env.advance(6);
    assert!(env.wanted().is_empty());
    env.advance(10);
    assert_eq!(env.wanted(), ["subscribe http://m1:5050"]);
}

#[test]
fn a_removed_framework_registers_anew_and_loses_its_attempts() {
    let mut env = Env::subscribed();
    env.launched(1);
    env.event(error("Framework has been removed"));
    let wanted = env.wanted();
    assert_eq!(
        wanted[..2],
        ["note mesos.framework_id nothing", "1.1 lost: executor_lost"]
    );
    env.advance(1);
    assert_eq!(env.wanted(), ["subscribe http://m1:5050"]);
}

#[test]
fn whoever_took_over_is_left_alone() {
    let mut env = Env::subscribed();
    env.event(error("Framework failed over"));
    env.actions.clear();
    env.advance(299);
    assert!(env.wanted().is_empty());
    env.advance(1);
    assert_eq!(env.wanted(), ["subscribe http://m1:5050 as F"]);
}

#[test]
fn suppression_survives_a_new_subscription() {
    let mut env = Env::subscribed();
    env.decide(Decision::Suppress);
    assert_eq!(env.wanted(), ["suppress"]);
    env.session
        .on_stream_closed(env.now, env.generation, "gone");
    env.advance(1);
    assert_eq!(
        env.wanted().pop().unwrap(),
        "subscribe http://m1:5050 as F suppressed"
    );
    env.decide(Decision::Revive);
    assert!(env.wanted().is_empty(), "there is nobody to tell");
    env.session
        .on_stream_closed(env.now, env.generation, "gone");
    env.advance(2);
    assert_eq!(env.wanted().pop().unwrap(), "subscribe http://m1:5050 as F");
}

#[test]
fn a_refused_call_ends_the_subscription() {
    let mut env = Env::subscribed();
    env.decide(Decision::Revive);
    let call = env.calls().pop().unwrap();
    let refused = CallEnd::Refused {
        code: 403,
        text: "Framework is not subscribed".to_owned(),
    };
    env.session
        .on_call_done(env.now, call.id, call.generation, refused);
    env.take();
    let trouble = "trouble: Mesos refused a call (403): Framework is not subscribed";
    assert_eq!(env.wanted(), ["offers forgotten", "close", trouble]);
}

#[test]
fn nothing_is_due_without_a_master() {
    let mut env = Env::new(None, Vec::new());
    env.session
        .on_stream_closed(env.now, env.generation, "gone");
    env.masters(&[]);
    assert_eq!(env.session.wake_at(), None::<Time>);
}

#[test]
fn what_changes_while_a_subscription_is_under_way_is_told_after_it() {
    let mut env = Env::subscribed();
    env.decide(Decision::Suppress);
    env.session
        .on_stream_closed(env.now, env.generation, "gone");
    env.advance(1);
    let subscribe = env.wanted().pop().unwrap();
    assert_eq!(subscribe, "subscribe http://m1:5050 as F suppressed");
    env.decide(Decision::Revive);
    assert!(env.wanted().is_empty(), "there is nobody to tell");
    env.subscribe();
    let wanted = env.wanted();
    assert!(wanted.contains(&"revive".to_owned()), "{wanted:?}");
}
