//! Whatever others do, what could run on an empty cluster runs one day.

use std::time::Duration;

use proptest::prelude::*;

use super::claims::{ends, is_running, offer_rest};
use super::env::*;
use crate::engine::AttemptId;

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
