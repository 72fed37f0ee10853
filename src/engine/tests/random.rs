//! Random lives: after each step the invariants hold, and an engine that recovers stands where this one
//! stands (see [`TestEnv`]); whatever happened, everything can be brought to an end.

use std::time::Duration;

use proptest::prelude::*;

use super::env::*;
use crate::engine::event::OfferId;
use crate::engine::outcome::{AttemptEnd, LossReason};
use crate::engine::settings::{Deadline, Scope};
use crate::engine::{AttemptId, Decision, EngineSettings, Event, Request, TaskId, TaskState};

/// Something that happens. Numbers choose among what is there.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Submit(Vec<NewTask>),
    Agent { name: u8, total: u8, rack: bool },
    AgentLost { name: u8 },
    Offer { name: u8, cpus: u8 },
    Rescind { back: u8 },
    OffersForgotten,
    Started { choice: u16 },
    Ended { choice: u16, end: u8 },
    Stale { task: u8, number: u8, end: u8 },
    Cancel { choice: u16 },
    Retry { choice: u16 },
    Outside { used: u8 },
    Reload { queues: u8, capacity: u8 },
    Advance { milli: u32 },
    Forget { seconds_ago: u8 },
    Crash,
}

/// A task to submit.
#[derive(Clone, Debug)]
pub(super) struct NewTask {
    queue: u8,
    demand: u8,
    array: u8,
    retries: u8,
    timeout: bool,
    priority: i8,
    key: Option<u8>,
    after: Option<u16>,
    after_key: Option<u8>,
    rack: bool,
}

const QUEUES: [&str; 4] = ["a", "b/x", "b/y", "c"];
const DEMANDS: [&str; 6] = [
    "cpus=1",
    "cpus=2 mem=1",
    "db=3",
    "cpus=1 db=1",
    "cpus=5",
    "",
];
const SETTINGS: [&[&str]; 5] = [
    &["a", "b log=true", "b/x", "b/y", "c"],
    &[
        "a weight=2 max:cpus=3 log=true",
        "b max:db=4 log=true",
        "b/x",
        "b/y weight=3",
        "c",
    ],
    &["c", "b policy=fifo log=true", "b/y", "b/x max:cpus=1", "a"],
    &["a", "b", "b/x", "b/y"],
    &["a", "b", "b/x", "b/y", "c", "c/z"],
];

pub(super) fn reloaded(queues: u8, capacity: u8) -> EngineSettings {
    let mut settings = settings(SETTINGS[queues as usize % SETTINGS.len()]);
    let capacity = units(u64::from(capacity % 12));
    settings.resources[1].scope = Scope::Cluster { capacity };
    settings.live_max = 200;
    if queues >= 128 {
        settings.claims.patience = Deadline::After(Duration::from_secs(1));
        settings.claims.max = 2;
    }
    settings
}

fn end(choice: u8) -> AttemptEnd {
    match choice % 7 {
        0 => FAIL,
        1 => AttemptEnd::OutOfMemory,
        2 => AttemptEnd::Killed,
        3 => LOST,
        4 => AttemptEnd::Lost {
            reason: LossReason::LaunchDropped,
        },
        _ => OK,
    }
}

fn new_task() -> impl Strategy<Value = NewTask> {
    let shape = (0..4_u8, 0..6_u8, prop_oneof![3 => Just(1_u8), 1 => 2..6_u8]);
    let life = (0..3_u8, prop::bool::weighted(0.3), -1..2_i8);
    let links = (
        prop::option::weighted(0.3, 0..6_u8),
        prop::option::weighted(0.3, any::<u16>()),
        prop::option::weighted(0.2, 0..6_u8),
        prop::bool::weighted(0.2),
    );
    (shape, life, links).prop_map(|(shape, life, links)| NewTask {
        queue: shape.0,
        demand: shape.1,
        array: shape.2,
        retries: life.0,
        timeout: life.1,
        priority: life.2,
        key: links.0,
        after: links.1,
        after_key: links.2,
        rack: links.3,
    })
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(new_task(), 1..4).prop_map(Step::Submit),
        2 => (0..3_u8, 0..8_u8, any::<bool>()).prop_map(|(name, total, rack)| Step::Agent { name, total, rack }),
        1 => (0..3_u8).prop_map(|name| Step::AgentLost { name }),
        8 => (0..3_u8, 0..9_u8).prop_map(|(name, cpus)| Step::Offer { name, cpus }),
        1 => (0..4_u8).prop_map(|back| Step::Rescind { back }),
        1 => Just(Step::OffersForgotten),
        4 => any::<u16>().prop_map(|choice| Step::Started { choice }),
        8 => (any::<u16>(), any::<u8>()).prop_map(|(choice, end)| Step::Ended { choice, end }),
        1 => (any::<u8>(), 0..4_u8, any::<u8>()).prop_map(|(task, number, end)| Step::Stale { task, number, end }),
        4 => any::<u16>().prop_map(|choice| Step::Cancel { choice }),
        4 => any::<u16>().prop_map(|choice| Step::Retry { choice }),
        1 => (0..12_u8).prop_map(|used| Step::Outside { used }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(queues, capacity)| Step::Reload { queues, capacity }),
        4 => (0..8000_u32).prop_map(|milli| Step::Advance { milli }),
        1 => (0..20_u8).prop_map(|seconds_ago| Step::Forget { seconds_ago }),
        1 => Just(Step::Crash),
    ]
}

/// One of the tasks that there ever were.
fn any_task(env: &TestEnv, choice: u16) -> u64 {
    let n_tasks = env.engine.state.next_id.0;
    u64::from(choice) % n_tasks + 1
}

fn live_attempt(env: &TestEnv, choice: u16) -> Option<AttemptId> {
    let attempts = env.engine.state.live_attempts();
    let place = usize::from(choice).checked_rem(attempts.len())?;
    Some(attempts[place])
}

fn build(env: &TestEnv, new: &NewTask) -> Builder {
    let mut builder = task(QUEUES[new.queue as usize % QUEUES.len()])
        .demand(DEMANDS[new.demand as usize % DEMANDS.len()])
        .retries(u32::from(new.retries))
        .priority(i32::from(new.priority));
    if new.array > 1 {
        builder = builder.array(u32::from(new.array));
    }
    if new.timeout {
        builder = builder.timeout(5);
    }
    if new.rack {
        builder = builder.constraints("rack=r1");
    }
    if let Some(key) = new.key {
        builder = builder.key(&key.to_string()).digest(key / 3);
    }
    if let Some(after) = new.after {
        builder = builder.after(any_task(env, after));
    }
    if let Some(key) = new.after_key {
        builder = builder.after_key(&key.to_string());
    }
    builder
}

fn name(number: u8) -> String {
    format!("m{number}")
}

/// What attempts say.
#[allow(clippy::wildcard_enum_match_arm, reason = "the caller chose")]
fn say(env: &mut TestEnv, step: &Step) {
    match step {
        Step::Started { choice } => {
            if let Some(attempt) = live_attempt(env, *choice) {
                env.started(attempt);
            }
        }
        Step::Ended { choice, end: kind } => {
            if let Some(attempt) = live_attempt(env, *choice) {
                env.ends(attempt, end(*kind));
                env.ends(attempt, end(kind.wrapping_add(1)));
            }
        }
        Step::Stale {
            task,
            number,
            end: kind,
        } => {
            let said = attempt(u64::from(*task), u32::from(*number));
            if !env.engine.state.attempts.contains_key(&said) {
                env.started(said);
                env.ends(said, end(*kind));
                let is_about_attempts = |decision: &Decision| {
                    matches!(decision, Decision::Accept { .. } | Decision::Kill { .. })
                };
                assert!(
                    !env.decisions.iter().any(is_about_attempts),
                    "nothing comes of what isn't known"
                );
            }
        }
        _ => panic!("nothing that attempts say"),
    }
}

pub(super) fn take(env: &mut TestEnv, step: &Step) {
    match step {
        Step::Submit(tasks) => {
            let tasks: Vec<Builder> = tasks.iter().map(|new| build(env, new)).collect();
            // Refused or not: a refusal changes nothing, which the environment checks.
            let _ = env.try_submit(&tasks);
        }
        Step::Agent {
            name: number,
            total,
            rack,
        } => {
            let attributes = if *rack { "rack=r1" } else { "" };
            env.agent_with(&name(*number), &format!("cpus={total} mem=3"), attributes);
        }
        Step::AgentLost { name: number } => {
            let agent = name(*number).into();
            env.event(Event::AgentLost { agent });
        }
        Step::Offer { name: number, cpus } => {
            env.offer(&name(*number), &format!("cpus={cpus} mem=2"));
        }
        Step::Rescind { back } => {
            let offer = OfferId(env.n_offers().saturating_sub(u64::from(*back)));
            env.event(Event::OfferRescinded { offer });
        }
        Step::OffersForgotten => env.event(Event::OffersForgotten),
        Step::Started { .. } | Step::Ended { .. } | Step::Stale { .. } => say(env, step),
        Step::Cancel { choice } => {
            let _ = env.try_cancel(any_task(env, *choice));
        }
        Step::Retry { choice } => {
            let _ = env.try_retry(any_task(env, *choice));
        }
        Step::Outside { used } => {
            let (resource, used) = ("db".into(), units(u64::from(*used)));
            env.request(Request::ReportOutside { resource, used })
                .unwrap();
        }
        Step::Reload { queues, capacity } => {
            let _ = env.reload(reloaded(*queues, *capacity));
        }
        Step::Advance { milli } => env.advance(f64::from(*milli) / 1000.0),
        Step::Forget { seconds_ago } => {
            let ended_before = crate::engine::Time(env.now.0 - u64::from(*seconds_ago) * 1000);
            env.request(Request::Forget { ended_before }).unwrap();
        }
        Step::Crash => {
            env.crash();
        }
    }
    for id in 1..env.engine.state.next_id.0 {
        let explained = env.engine.explain(TaskId(id));
        assert_eq!(explained.is_some(), env.engine.is_live(TaskId(id)));
    }
}

/// Everything can be brought to an end: with room for all and nothing that fails, all tasks succeed or
/// were cancelled, and nothing is left.
fn finish(env: &mut TestEnv) {
    for number in 0..3 {
        env.agent_with(&name(number), "cpus=100 mem=100", "rack=r1");
    }
    let mut generous = settings(SETTINGS[0]);
    if !env
        .engine
        .queues()
        .iter()
        .any(|queue| &*queue.path == "c/z" && queue.tasks.iter().any(|(_, n)| *n > 0))
    {
        generous.live_max = 200;
        env.reload(generous).unwrap();
    }
    let (resource, used) = ("db".into(), units(0));
    env.request(Request::ReportOutside { resource, used })
        .unwrap();
    for _ in 0..1000 {
        let attempts = env.engine.state.live_attempts();
        if attempts.is_empty() && env.engine.state.n_live == 0 {
            break;
        }
        for attempt in attempts {
            env.ends(attempt, OK);
        }
        env.advance(10.0);
        for number in 0..3 {
            env.offer(&name(number), "cpus=100 mem=100");
        }
    }
    assert_eq!(env.engine.state.n_live, 0, "everything ends");
    assert!(env.engine.state.attempts.is_empty());
    // Where offers are declined, none are wanted in the end.
    env.advance(100.0);
    assert_eq!(env.engine.wake_at(), None);
    assert_eq!(env.engine.state.queues.groups().count(), 0);
    let is_ended = |(_, state): (TaskId, TaskState)| state.is_ended();
    assert!(env.ledger.states().all(is_ended));
}

fn run(steps: &[Step], declines: bool) {
    let mut env = TestEnv::with(reloaded(0, 10));
    if declines {
        env.decline_offers();
    }
    for step in steps {
        take(&mut env, step);
    }
    finish(&mut env);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_invariants_hold(steps in prop::collection::vec(step(), 1..80)) {
        run(&steps, false);
    }

    #[test]
    fn they_hold_where_offers_are_declined(steps in prop::collection::vec(step(), 1..80)) {
        run(&steps, true);
    }
}
