//! The load under which the daemon is killed: clients that submit, cancel, pop and never give up, and
//! what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http::{Answer, Http};
use crate::support::wait;

/// What the daemon told its clients. Only answers that arrived count.
#[derive(Default)]
pub(crate) struct Told {
    /// Acknowledged submissions: key to id.
    pub(crate) tasks: BTreeMap<String, u64>,
    /// Tasks that were answered as `cancelled`, with nothing of them running any more.
    pub(crate) cancelled: BTreeSet<u64>,
    /// Tasks seen as ended: how, and after how many attempts.
    pub(crate) ended: BTreeMap<u64, (String, u64)>,
    /// Tasks whose delivery was acknowledged, and the acknowledgement was answered.
    pub(crate) delivered: Vec<u64>,
}

/// The clients and what they share.
pub(crate) struct Load {
    url: Mutex<String>,
    stopping: AtomicBool,
    /// How many requests were answered.
    pub(crate) n_answers: AtomicU64,
    /// What the clients were told.
    pub(crate) told: Mutex<Told>,
    /// The file to which every attempt writes its start and its end.
    pub(crate) witness: PathBuf,
}

impl Load {
    /// No clients yet.
    pub(crate) fn new(folder: &Path) -> Arc<Self> {
        Arc::new(Self {
            url: Mutex::new(String::new()),
            stopping: AtomicBool::new(false),
            n_answers: AtomicU64::new(0),
            told: Mutex::default(),
            witness: folder.join("witness"),
        })
    }

    /// Where the daemon listens now.
    pub(crate) fn set_url(&self, url: &str) {
        url.clone_into(&mut self.url.lock().unwrap());
    }

    /// Lets the clients finish what they are at.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Asks until there is an answer, wherever the daemon listens by then.
    fn ask(&self, path: &str, body: &Value) -> Answer {
        wait::until(
            &format!("an answer to {path}"),
            Duration::from_secs(120),
            || {
                let url = self.url.lock().unwrap().clone();
                let answer = Http::new(&url).try_post(path, body).ok()?;
                self.n_answers.fetch_add(1, Ordering::SeqCst);
                Some(answer).filter(|answer| answer.status != 503)
            },
        )
    }

    fn task(&self, key: &str, random: &mut fastrand::Rng) -> Value {
        let pause = ["0", "0", "0.005", "0.02", "0.1"][random.usize(0..5)];
        let witness = self.witness.display();
        let line = "$APPORTION_TASK_ID.$APPORTION_ATTEMPT";
        let queue = ["a", "b/left", "b/right"][random.usize(0..3)];
        json!({
            "queue": queue,
            "key": key,
            "inbox": "all",
            "demand": {"cpus": 0.25, "licences": 1},
            "run": {"command": format!("echo start {line} >>{witness}; sleep {pause}; echo end {line} >>{witness}")},
        })
    }

    /// Submits until told to stop, single tasks and batches, each until it is acknowledged.
    pub(crate) fn submit(&self, client: u64) {
        let mut random = fastrand::Rng::with_seed(1000 + client);
        let mut number = 0;
        while !self.stopping.load(Ordering::SeqCst) {
            let keys: Vec<String> = (0..[1, 1, 3, 12][random.usize(0..4)])
                .map(|_| {
                    number += 1;
                    format!("{client}-{number}")
                })
                .collect();
            let tasks: Vec<Value> = keys.iter().map(|key| self.task(key, &mut random)).collect();
            let body = self.ask("/v1/tasks", &json!({ "tasks": tasks }));
            assert!(matches!(body.status, 200 | 201), "{}", body.text());
            let body = body.json();
            let mut told = self.told.lock().unwrap();
            for (key, accepted) in keys.into_iter().zip(body["tasks"].as_array().unwrap()) {
                told.tasks.insert(key, accepted["id"].as_u64().unwrap());
            }
        }
    }

    /// Cancels some of the acknowledged tasks.
    pub(crate) fn cancel(&self, client: u64) {
        let mut random = fastrand::Rng::with_seed(2000 + client);
        while !self.stopping.load(Ordering::SeqCst) {
            let ids: Vec<u64> = self.told.lock().unwrap().tasks.values().copied().collect();
            if ids.is_empty() {
                std::thread::yield_now();
                continue;
            }
            let newest = ids.iter().max().copied().unwrap_or_default();
            let id = newest - random.u64(0..newest.min(20));
            let answer = self.ask(
                &format!("/v1/tasks/{id}/cancel"),
                &json!({"reason": "test"}),
            );
            assert!(
                matches!(answer.status, 200 | 404 | 409),
                "{}",
                answer.text()
            );
            if answer.status == 200 && answer.json()["state"] == "cancelled" {
                self.told.lock().unwrap().cancelled.insert(id);
            }
        }
    }

    /// Pops until told to stop; a pop acknowledges what the one before gave.
    pub(crate) fn pop(&self) {
        let mut token = Value::Null;
        let mut unacknowledged: Vec<u64> = Vec::new();
        while !self.stopping.load(Ordering::SeqCst) {
            self.pop_once(&mut token, &mut unacknowledged, 1);
        }
        while !self.pop_once(&mut token, &mut unacknowledged, 0).is_empty() {}
    }

    /// One pop; gives what it delivered.
    pub(crate) fn pop_once(
        &self,
        token: &mut Value,
        unacknowledged: &mut Vec<u64>,
        wait_seconds: u64,
    ) -> Vec<u64> {
        let asked = json!({"max": 50, "wait_seconds": wait_seconds, "ack": *token});
        let body = self.ask("/v1/inboxes/all/pop", &asked).expect(200);
        let mut told = self.told.lock().unwrap();
        told.delivered.append(unacknowledged);
        for task in body["tasks"].as_array().unwrap() {
            let id = task["id"].as_u64().unwrap();
            let state = task["state"].as_str().unwrap().to_owned();
            told.ended
                .insert(id, (state, task["n_attempts"].as_u64().unwrap()));
            unacknowledged.push(id);
        }
        *token = body["token"].clone();
        unacknowledged.clone()
    }
}
