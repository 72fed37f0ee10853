//! Offers, agents, and what is launched.

use std::collections::{BTreeMap, BTreeSet};

use super::env::*;
use crate::backend::mesos::session::{AgentTotal, CallEnd};
use crate::backend::settings::Placement;
use crate::engine::Decision;
use crate::proto::mesos::v1::scheduler::{self, event};
use crate::proto::mesos::v1::{AgentId, ExecutorId, OfferId as MesosOfferId, TaskInfo};

/// The descriptions of the tasks that were launched since this was asked last.
fn tasks(env: &mut Env) -> Vec<TaskInfo> {
    let calls = env.calls();
    let accepts = calls.iter().filter_map(|call| call.body.accept.as_ref());
    let operations = accepts.flat_map(|accept| &accept.operations);
    let launches = operations.filter_map(|operation| operation.launch.as_ref());
    launches
        .flat_map(|launch| launch.task_infos.clone())
        .collect()
}

fn shown(task: &TaskInfo) -> String {
    let resources = task.resources.iter();
    let pairs = resources.map(|it| format!("{}={}", it.name, it.scalar.unwrap().value));
    pairs.collect::<Vec<String>>().join(" ")
}

#[test]
fn the_first_offer_of_an_agent_keeps_room_for_the_executor() {
    let mut env = Env::subscribed();
    env.offer("A", "cpus=4 mem=1024 db=9");
    let expected = [
        "agent A cpus=4 db=9 mem=960",
        "offer of A cpus=4 db=9 mem=960",
    ];
    assert_eq!(env.wanted(), expected);
    env.offer("A", "cpus=1 mem=10");
    assert_eq!(env.wanted(), ["offer of A cpus=1 mem=10"]);
    env.offer("B", "cpus=1 mem=10");
    let expected = ["agent B cpus=1 mem=0", "offer of B "];
    assert_eq!(env.wanted(), expected, "not even the executor fits");
}

#[test]
fn an_executor_that_lives_costs_nothing() {
    let mut env = Env::subscribed();
    let offer = env.offer("A", "cpus=4 mem=1024");
    env.accept("A", &[offer], vec![launch(1, "q", "cpus=1")]);
    let first = tasks(&mut env).remove(0).executor.unwrap();
    let id = first.executor_id.value.clone();
    assert!(id.starts_with("apportion-"));
    assert_eq!(first.resources.len(), 1);
    let offer = env.offer_with("A", "cpus=3 mem=32", &[id]);
    assert_eq!(env.wanted(), ["offer of A cpus=3 mem=32"]);
    env.accept("A", &[offer], vec![launch(2, "q", "cpus=3 mem=32")]);
    let task = tasks(&mut env).remove(0);
    assert_eq!(task.executor, Some(first), "to the letter");
    assert_eq!(shown(&task), "cpus=3 mem=32");
}

#[test]
fn each_executor_of_an_agent_has_an_id_of_its_own_and_another_daemon_knows_it_again() {
    let mut env = Env::subscribed();
    let mut executors = Vec::new();
    for task_id in [1, 2] {
        let offer = env.offer("A", "cpus=4 mem=1024");
        env.accept("A", &[offer], vec![launch(task_id, "q", "cpus=1")]);
        executors.push(tasks(&mut env).remove(0).executor.unwrap());
        // The first one ends.
        env.advance(1);
    }
    let ids = [0, 1].map(|place: usize| executors[place].executor_id.value.clone());
    assert_ne!(ids[0], ids[1]);
    let mut env = Env::subscribed();
    let offer = env.offer_with("A", "cpus=3 mem=32", &ids[1..]);
    let expected = ["agent A cpus=3 mem=0", "offer of A cpus=3 mem=32"];
    assert_eq!(env.wanted(), expected);
    env.accept("A", &[offer], vec![launch(3, "q", "cpus=1 mem=32")]);
    assert_eq!(tasks(&mut env)[0].executor.as_ref(), Some(&executors[1]));
    // One of another program can't be used again, so room is kept for one that can.
    env.offer_with("B", "cpus=3 mem=128", &["apportion-0-1".to_owned()]);
    assert_eq!(env.wanted().pop().unwrap(), "offer of B cpus=3 mem=64");
}

#[test]
fn a_reload_says_how_tasks_are_launched_from_now_on() {
    let mut env = Env::subscribed();
    let offer = env.offer("A", "cpus=4 mem=1024 db=7");
    env.session.on_placement(Placement {
        isolated_queues: BTreeSet::from(["q".into()]),
        cluster_resources: BTreeSet::new(),
        ..Placement::default()
    });
    env.accept("A", &[offer], vec![launch(1, "q", "cpus=1 db=2")]);
    let task = tasks(&mut env).remove(0);
    assert_eq!(task.executor.as_ref().unwrap().executor_id.value, "1.1");
    assert_eq!(shown(&task), "cpus=1 db=2");
}

#[test]
fn offers_of_one_agent_are_accepted_together_with_an_operation_for_each_task() {
    let mut env = Env::subscribed();
    let offers = [
        env.offer("A", "cpus=1 mem=128"),
        env.offer("A", "cpus=2 mem=128 licences=1"),
    ];
    env.actions.clear();
    let launches = vec![
        launch(1, "q", "cpus=2 mem=100 db=5"),
        launch(2, "q", "cpus=1 licences=1"),
    ];
    env.accept("A", &offers, launches);
    assert_eq!(env.wanted(), ["accept 2 for 1.1 2.1"]);
    let offers = [
        env.offer("B", "cpus=1 mem=128"),
        env.offer("B", "cpus=1 licences=2"),
    ];
    env.actions.clear();
    env.accept("B", &offers, vec![launch(3, "q", "cpus=2 db=1 licences=2")]);
    let task = tasks(&mut env).remove(0);
    assert_eq!(
        shown(&task),
        "cpus=1 cpus=1 licences=2",
        "db is of the cluster"
    );
    assert_eq!(task.agent_id.value, "B");
    let grace = task.kill_policy.unwrap().grace_period.unwrap();
    assert_eq!(grace.nanoseconds, 3_000_000_000);
}

#[test]
fn an_isolated_queue_has_an_executor_for_each_task() {
    let mut env = Env::subscribed();
    let offer = env.offer("A", "cpus=4 mem=1024");
    env.accept(
        "A",
        &[offer],
        vec![launch(1, "alone", "cpus=1"), launch(2, "alone", "cpus=1")],
    );
    let ids = tasks(&mut env).into_iter();
    let ids: Vec<String> = ids
        .map(|task| task.executor.unwrap().executor_id.value)
        .collect();
    assert_eq!(ids, ["1.1", "2.1"]);
}

#[test]
fn a_task_without_host_resources_gets_the_least() {
    let mut env = Env::subscribed();
    let offer = env.offer("A", "cpus=4 mem=1024");
    env.accept("A", &[offer], vec![launch(1, "q", "db=5")]);
    assert_eq!(shown(&tasks(&mut env)[0]), "cpus=0.001");
}

#[test]
fn a_launch_with_an_offer_that_was_rescinded_is_dropped() {
    let mut env = Env::subscribed();
    let offers = [
        env.offer("A", "cpus=1 mem=128"),
        env.offer("A", "cpus=2 mem=128"),
    ];
    env.actions.clear();
    let rescind = |id: &str| scheduler::Event {
        rescind: Some(event::Rescind {
            offer_id: MesosOfferId {
                value: id.to_owned(),
            },
        }),
        ..kind(event::Type::Rescind)
    };
    env.event(rescind("O1"));
    env.event(rescind("O99"));
    assert_eq!(env.wanted(), ["rescinded 1"]);
    env.accept(
        "A",
        &offers,
        vec![launch(1, "q", "cpus=2"), launch(2, "q", "cpus=1")],
    );
    assert_eq!(
        env.wanted(),
        ["1.1 lost: launch_dropped", "accept 1 for 2.1"]
    );
    env.accept("A", &offers, vec![launch(3, "q", "cpus=1")]);
    assert_eq!(env.wanted(), ["3.1 lost: launch_dropped"]);
}

#[test]
fn a_launch_that_was_never_sent_is_dropped_and_one_without_answer_is_asked_about() {
    let silence = [
        "offers forgotten",
        "close",
        "trouble: no answer to a call to Mesos: timed out",
    ];
    let ends = [
        (CallEnd::NotSent, vec!["1.1 lost: launch_dropped"]),
        (CallEnd::Unknown("timed out".to_owned()), silence.to_vec()),
        (CallEnd::Accepted, vec![]),
    ];
    for (end, expected) in ends {
        let mut env = Env::subscribed();
        let offer = env.offer("A", "cpus=1 mem=128");
        env.actions.clear();
        env.accept("A", &[offer], vec![launch(1, "q", "cpus=1")]);
        let call = env.calls().pop().unwrap();
        env.session
            .on_call_done(env.now, call.id, call.generation, end);
        env.take();
        assert_eq!(env.wanted(), expected);
    }
}

#[test]
fn a_call_without_answer_is_settled_by_a_new_subscription() {
    let mut env = Env::subscribed();
    env.launched(1);
    let offer = env.offer("B", "cpus=1 mem=128");
    env.actions.clear();
    env.decide(Decision::Decline {
        agent: "B".into(),
        offers: vec![offer],
    });
    let call = env.calls().pop().unwrap();
    let unknown = CallEnd::Unknown("timed out".to_owned());
    (env.session).on_call_done(env.now, call.id, call.generation, unknown.clone());
    env.take();
    env.actions.clear();
    env.advance(1);
    assert_eq!(env.wanted(), ["subscribe http://m1:5050 as F"]);
    env.subscribe();
    let expected = ["healthy", "ask agents", "reconcile 1.1", "reconcile"];
    assert_eq!(env.wanted(), expected);
    // What an older subscription still hears is nothing to the new one.
    (env.session).on_call_done(env.now, call.id, call.generation, unknown);
    env.take();
    assert!(env.wanted().is_empty());
}

#[test]
fn a_launch_between_two_subscriptions_is_dropped() {
    let mut env = Env::subscribed();
    let offer = env.offer("A", "cpus=1 mem=128");
    env.session
        .on_stream_closed(env.now, env.generation, "gone");
    env.take();
    env.actions.clear();
    env.accept("A", &[offer], vec![launch(1, "q", "cpus=1")]);
    assert_eq!(env.wanted(), ["1.1 lost: launch_dropped"]);
}

#[test]
fn declined_offers_are_not_wanted_soon() {
    let mut env = Env::subscribed();
    let offers = vec![env.offer("A", "cpus=1 mem=128"), env.offer("A", "cpus=1")];
    env.actions.clear();
    env.decide(Decision::Decline {
        agent: "A".into(),
        offers: offers.clone(),
    });
    let call = env.calls().pop().unwrap();
    let decline = call.body.decline.unwrap();
    assert_eq!(decline.offer_ids.len(), 2);
    assert_eq!(decline.filters.unwrap().refuse_seconds, Some(300.0));
    env.decide(Decision::Decline {
        agent: "A".into(),
        offers,
    });
    assert!(env.wanted().is_empty(), "they are spent");
}

#[test]
fn totals_come_from_the_master_where_it_tells() {
    let mut env = Env::subscribed();
    env.offer("A", "cpus=2 mem=128");
    env.actions.clear();
    let total = |agent: &str| AgentTotal {
        agent: agent.into(),
        hostname: "h".to_owned(),
        total: amounts("cpus=8 mem=1024"),
        attributes: BTreeMap::from([("rack".into(), "r1".into())]),
    };
    env.session.on_agents(vec![total("A"), total("B")]);
    env.take();
    assert_eq!(
        env.wanted(),
        ["agent A cpus=8 mem=960", "agent B cpus=8 mem=960"]
    );
    env.session.on_agents(vec![total("A")]);
    env.take();
    assert_eq!(env.wanted(), ["agent B lost"]);
}

#[test]
fn otherwise_what_was_seen_of_an_agent_is_its_total() {
    let mut env = Env::subscribed();
    let offer = env.offer("A", "cpus=4 mem=128");
    env.accept("A", &[offer], vec![launch(1, "q", "cpus=3")]);
    env.actions.clear();
    env.offer("A", "cpus=5 mem=64");
    assert_eq!(env.wanted()[0], "agent A cpus=8 mem=64");
}

#[test]
fn an_agent_that_failed_is_gone_and_its_tasks_are_asked_about() {
    let mut env = Env::subscribed();
    env.launched(1);
    env.offer("A", "cpus=1");
    env.actions.clear();
    let agent_id = Some(AgentId {
        value: "A".to_owned(),
    });
    let failure = |executor: Option<&str>| scheduler::Event {
        failure: Some(event::Failure {
            agent_id: agent_id.clone(),
            executor_id: executor.map(|id| ExecutorId {
                value: id.to_owned(),
            }),
            ..event::Failure::default()
        }),
        ..kind(event::Type::Failure)
    };
    env.event(failure(Some("apportion-x")));
    assert!(env.wanted().is_empty());
    env.event(failure(None));
    env.advance(0);
    assert_eq!(env.wanted(), ["agent A lost", "reconcile 1.1"]);
}
