//! The account afterwards: every acknowledged task, held against what its attempts themselves wrote.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::load::{Load, Told};
use crate::support::http::Http;

/// What the attempts wrote: for each task the starts and ends of its attempts, in order of time.
fn read_witness(load: &Load) -> BTreeMap<u64, Vec<(bool, u64)>> {
    let mut seen: BTreeMap<u64, Vec<(bool, u64)>> = BTreeMap::new();
    for line in std::fs::read_to_string(&load.witness).unwrap().lines() {
        let (word, attempt) = line.split_once(' ').unwrap();
        let (task, number) = attempt.split_once('.').unwrap();
        seen.entry(task.parse().unwrap())
            .or_default()
            .push((word == "start", number.parse().unwrap()));
    }
    seen
}

/// Holds everything that was told against what is there now. Gives the number of tasks.
pub(crate) fn check(http: &Http, load: &Load, n_kills: u64) -> usize {
    let told = load.told.lock().unwrap();
    let witness = read_witness(load);
    let ids: BTreeSet<u64> = told.tasks.values().copied().collect();
    assert_eq!(ids.len(), told.tasks.len(), "two keys share an id");
    for id in &ids {
        check_task(
            &http.task(*id),
            *id,
            witness.get(id).map_or(&[], Vec::as_slice),
            &told,
            n_kills,
        );
    }
    check_nothing_else(http, &ids);
    let mut delivered = told.delivered.clone();
    delivered.sort_unstable();
    assert_eq!(
        delivered,
        ids.iter().copied().collect::<Vec<_>>(),
        "each task once in the inbox"
    );
    ids.len()
}

fn check_task(task: &Value, id: u64, witness: &[(bool, u64)], told: &Told, n_kills: u64) {
    let state = task["state"].as_str().unwrap();
    let n_attempts = task["n_attempts"].as_u64().unwrap();
    assert!(
        matches!(state, "succeeded" | "cancelled"),
        "task {id} ended otherwise: {task}"
    );
    assert!(
        n_attempts <= n_kills + 1,
        "task {id} had more attempts than the daemon had lives: {task}"
    );
    if let Some((state_seen, n_seen)) = told.ended.get(&id) {
        assert_eq!(
            (state, n_attempts),
            (state_seen.as_str(), *n_seen),
            "task {id} went on after its end"
        );
    }
    if told.cancelled.contains(&id) {
        assert_eq!(state, "cancelled", "task {id} was answered as cancelled");
    }
    let attempts = task["attempts"].as_array().unwrap();
    assert_eq!(attempts.len() as u64, n_attempts, "{task}");
    for (place, attempt) in attempts.iter().enumerate() {
        assert_eq!(
            attempt["attempt"].as_u64(),
            Some(place as u64 + 1),
            "{task}"
        );
        let lost = attempt["end"]["code"] == "daemon_restarted";
        assert!(
            lost || place + 1 == attempts.len(),
            "an attempt follows one that was not lost: {task}"
        );
    }
    check_witness(id, n_attempts, state, witness);
}

/// Each attempt starts at most once, in order, and says nothing more once the next one has started.
fn check_witness(id: u64, n_attempts: u64, state: &str, witness: &[(bool, u64)]) {
    let mut current = 0;
    for (is_start, number) in witness {
        if *is_start {
            assert!(
                *number > current,
                "task {id}: attempt {number} started twice or late: {witness:?}"
            );
            current = *number;
        } else {
            assert_eq!(
                *number, current,
                "task {id}: two attempts at the same time: {witness:?}"
            );
        }
    }
    assert!(
        current <= n_attempts,
        "task {id}: an attempt ran that nobody knows: {witness:?}"
    );
    if state == "succeeded" {
        assert_eq!(
            witness.last(),
            Some(&(false, n_attempts)),
            "task {id} did not run to its end"
        );
    }
}

/// No task is there that no client knows of: a repeated submission was not taken twice.
fn check_nothing_else(http: &Http, ids: &BTreeSet<u64>) {
    let mut after = 0;
    loop {
        let page = http
            .get(&format!("/v1/tasks?after={after}&limit=1000"))
            .expect(200);
        let tasks = page["tasks"].as_array().unwrap();
        for task in tasks {
            after = task["id"].as_u64().unwrap();
            assert!(ids.contains(&after), "nobody was told of this task: {task}");
        }
        if tasks.is_empty() {
            return;
        }
    }
}
