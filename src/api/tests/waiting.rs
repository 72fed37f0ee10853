//! Calls that wait: pops, logs that are followed, events. None of them polls a clock to be right.

use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use base64::Engine as _;
use futures::StreamExt;
use serde_json::{Value as Json, json};

use super::env::{Daemon, attempt, within, without_times};

fn task(inbox: &str) -> Json {
    json!({"inbox": inbox, "run": {"command": "true"}})
}

/// Calls, and is sure that the call waits: its future was polled and had nothing to say.
macro_rules! begin {
    ($call:expr) => {{
        let mut call = Box::pin($call);
        // Reads go through other threads, so waiting shows only in that nothing comes.
        let early = tokio::time::timeout(std::time::Duration::from_millis(50), &mut call).await;
        assert!(early.is_err(), "it waits");
        call
    }};
}

#[tokio::test]
async fn finished_tasks_come_again_until_they_are_acknowledged() {
    let daemon = Daemon::start();
    daemon.submit(&task("release")).await;
    daemon.submit(&task("release")).await;
    daemon.submit(&task("nightly")).await;
    daemon.add_agent().await;
    for task in 1..=3 {
        daemon.ended(task, 1, 0, &format!("value {task}")).await;
    }
    let pop = async |body: Json| {
        daemon
            .post("/v1/inboxes/release/pop", body.to_string())
            .await
            .json()
    };
    let ids = |answer: &Json| -> Vec<u64> {
        let tasks = answer["tasks"].as_array().unwrap().iter();
        tasks.map(|task| task["id"].as_u64().unwrap()).collect()
    };
    let first = pop(json!({"max": 1})).await;
    assert_eq!(ids(&first), [1]);
    insta::assert_json_snapshot!("popped", without_times(first.clone()));
    let value = first["tasks"][0]["value"].as_str().unwrap();
    let value = base64::engine::general_purpose::STANDARD
        .decode(value)
        .unwrap();
    assert_eq!(value, b"value 1");
    assert_eq!(ids(&pop(json!({})).await), [1, 2], "not yet acknowledged");
    let second = pop(json!({"ack": first["token"]})).await;
    assert_eq!(ids(&second), [2]);
    let none = pop(json!({"ack": second["token"]})).await;
    assert_eq!(none, json!({"tasks": [], "token": null}));
    let again = pop(json!({"ack": second["token"]})).await;
    assert_eq!(
        again,
        json!({"tasks": [], "token": null}),
        "acknowledging twice is no error"
    );
    let other = daemon.post("/v1/inboxes/nightly/pop", "").await.json();
    assert_eq!(ids(&other), [3], "another inbox, and no body");
    daemon.stop().await;
}

#[tokio::test]
async fn a_pop_waits_for_the_first_finished_task() {
    let daemon = Daemon::start();
    daemon.submit(&task("nightly")).await;
    daemon.submit(&task("release")).await;
    daemon.add_agent().await;
    let body = json!({"wait_seconds": 60}).to_string();
    let pop = begin!(daemon.post("/v1/inboxes/release/pop", body));
    daemon.ended(1, 1, 0, "of another inbox").await;
    daemon.ended(2, 1, 0, "awaited").await;
    let answer = within(pop).await.json();
    assert_eq!(answer["tasks"][0]["id"], 2);
    daemon.stop().await;
}

#[tokio::test]
async fn a_pop_gives_up_when_its_time_is_over_or_the_daemon_stops() {
    let daemon = Arc::new(Daemon::start());
    let nothing = json!({"tasks": [], "token": null});
    let body = json!({"wait_seconds": 0.02}).to_string();
    assert_eq!(
        daemon.post("/v1/inboxes/release/pop", body).await.json(),
        nothing
    );
    let body = json!({"wait_seconds": 3600}).to_string();
    let pop = begin!(daemon.post("/v1/inboxes/release/pop", body));
    daemon.stop().await;
    assert_eq!(within(pop).await.json(), nothing);
}

#[tokio::test]
async fn an_output_is_followed_from_before_the_start_to_the_end() {
    let daemon = Daemon::start();
    daemon.submit(&json!({"run": {"command": "true"}})).await;
    let path = |offset| format!("/v1/tasks/1/logs/stdout?wait_seconds=60&offset={offset}");
    let first = path(0);
    let first = begin!(daemon.get(&first));
    daemon.add_agent().await;
    daemon.logs.write(attempt(1, 1), "half ");
    let answer = within(first).await;
    assert_eq!(answer.bytes, b"half ");
    assert_eq!(answer.header("apportion-log-ended"), "false");
    let second = path(5);
    let second = begin!(daemon.get(&second));
    daemon.logs.write(attempt(1, 1), "a map");
    assert_eq!(within(second).await.bytes, b"a map");
    let third = path(10);
    let third = begin!(daemon.get(&third));
    daemon.ended(1, 1, 0, "").await;
    let answer = within(third).await;
    assert_eq!(
        (answer.bytes.len(), answer.header("apportion-log-ended")),
        (0, "true")
    );
    daemon.stop().await;
}

#[tokio::test]
async fn an_output_that_never_comes_is_not_waited_for() {
    let daemon = Daemon::start();
    daemon.submit(&json!({"run": {"command": "true"}})).await;
    let wait = begin!(daemon.get("/v1/tasks/1/logs/stdout?wait_seconds=60"));
    daemon.post("/v1/tasks/1/cancel", "").await;
    assert_eq!(
        within(wait).await.error(),
        "404 no_output: task 1: it has had no attempt yet"
    );
    daemon.stop().await;
}

/// Server-sent events, as `name data`.
pub(super) struct Events {
    stream: BodyDataStream,
    text: String,
}

impl Events {
    async fn open(daemon: &Daemon, path: &str) -> Self {
        Self::open_as(daemon, path, None).await
    }

    pub(super) async fn open_as(daemon: &Daemon, path: &str, token: Option<&str>) -> Self {
        let mut request = Request::get(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Body::empty()).unwrap();
        let response = daemon.respond(request).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            stream: response.into_body().into_data_stream(),
            text: String::new(),
        }
    }

    /// The next event; `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> Option<(String, Json)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines
                        .find_map(|line| line.strip_prefix(name))
                        .map(ToOwned::to_owned)
                };
                let found = (field("event: ").unwrap(), field("data: ").unwrap());
                self.text = rest.to_owned();
                return Some((found.0, serde_json::from_str(&found.1).unwrap()));
            }
            let bytes = within(self.stream.next()).await?.unwrap();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }
}

#[tokio::test]
async fn every_change_of_a_state_is_streamed() {
    let daemon = Daemon::start();
    let mut events = Events::open(&daemon, "/v1/events").await;
    let submit = json!({"tasks": [
        {"key": "a", "retries": 1, "run": {"command": "true"}},
        {"after": ["a"], "array": "0-2", "run": {"command": "true"}},
    ]});
    daemon.post("/v1/tasks", submit.to_string()).await;
    daemon.add_agent().await;
    daemon.started(1, 1).await;
    daemon.ended(1, 1, 0, "").await;
    let mut seen = Vec::new();
    while seen.len() < 6 {
        let (name, data) = events.next().await.unwrap();
        assert_eq!(name, "task");
        seen.push(without_times(data));
    }
    insta::assert_json_snapshot!("events", seen);
    daemon.stop().await;
    while events.next().await.is_some() {}
}

#[tokio::test]
async fn only_changes_in_a_queue_are_streamed_where_it_is_named() {
    let daemon = Daemon::start();
    let submit = async |queue: &str| {
        // One launch uses a whole offer up.
        daemon.add_agent().await;
        let task = json!({"queue": queue, "demand": {"cpus": 0.1}, "run": {"command": "true"}});
        daemon.submit(&task).await
    };
    let early = submit("maps/render").await;
    let mut events = Events::open(&daemon, "/v1/events?queue=maps").await;
    let mut others = Events::open(&daemon, "/v1/events?queue=map").await;
    let (other, late) = (submit("default").await, submit("maps/render").await);
    for task in [early, other, late] {
        daemon.started(task, 1).await;
        daemon.ended(task, 1, 0, "").await;
    }
    let mut seen = Vec::new();
    while seen.last() != Some(&(late, json!("succeeded"))) {
        let (_, data) = events.next().await.unwrap();
        seen.push((data["task"].as_u64().unwrap(), data["state"].clone()));
    }
    seen.sort_by_key(|(task, _)| *task);
    let state = |task: u64, state: &str| (task, json!(state));
    let expected = [
        state(early, "running"),
        state(early, "succeeded"),
        state(late, "queued"),
        state(late, "launching"),
        state(late, "running"),
        state(late, "succeeded"),
    ];
    assert_eq!(seen, expected);
    daemon.stop().await;
    assert_eq!(
        others.next().await,
        None,
        "no queue begins with a part of a name"
    );
}

#[tokio::test]
async fn who_reads_events_too_slowly_is_told() {
    let daemon = Daemon::start();
    let mut events = Events::open(&daemon, "/v1/events").await;
    daemon.submit(&json!({"run": {"command": "true"}})).await;
    for n in 0..1000 {
        let body = json!({"used": f64::from(n % 4)}).to_string();
        daemon.post("/v1/resources/db/outside", body).await;
    }
    let (name, data) = events.next().await.unwrap();
    assert_eq!(name, "lagged");
    assert!(data["n_batches"].as_u64().unwrap() > 0);
    daemon.submit(&json!({"run": {"command": "true"}})).await;
    loop {
        let (name, data) = events.next().await.unwrap();
        if name == "task" {
            assert_eq!(data["task"], 2, "after the gap the stream goes on");
            break;
        }
    }
    daemon.stop().await;
}
