//! Tests of the command line against a server in the test that speaks canned JSON.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use clap::{CommandFactory, FromArgMatches, Parser};
use serde_json::{Value, json};

use super::*;

/// An answer of the server.
#[derive(Clone)]
enum Canned {
    Json(u16, Value),
    /// A piece of an output, and whether it is the last.
    Log(&'static str, bool),
}

/// The answers to each call, such as `GET /v1/tasks/7`.
type Answers = Vec<(String, VecDeque<Canned>)>;

/// A server that answers each path with its answers in turn, the last one again and again.
#[derive(Clone, Default)]
struct Server {
    answers: Arc<Mutex<Answers>>,
    /// What was asked: method, path with query, body.
    asked: Arc<Mutex<Vec<(String, String, Value)>>>,
}

impl Server {
    /// Adds an answer to a call such as `GET /v1/tasks/7`, after those that it has.
    fn on(self, call: &str, answer: Canned) -> Self {
        let mut answers = self.answers.lock().unwrap();
        match answers.iter_mut().find(|(known, _)| known == call) {
            Some((_, answers)) => answers.push_back(answer),
            None => answers.push((call.to_owned(), VecDeque::from([answer]))),
        }
        drop(answers);
        self
    }

    fn ok(self, call: &str, answer: Value) -> Self {
        self.on(call, Canned::Json(200, answer))
    }

    fn refuses(self, call: &str, status: u16, code: &str, message: &str, detail: Value) -> Self {
        let error = json!({"error": {"code": code, "message": message, "detail": detail}});
        self.on(call, Canned::Json(status, error))
    }

    async fn answer(State(server): State<Self>, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let call = format!("{} {}", parts.method, parts.uri.path());
        server
            .asked
            .lock()
            .unwrap()
            .push((parts.method.to_string(), parts.uri.to_string(), body));
        let mut answers = server.answers.lock().unwrap();
        let found = answers.iter_mut().find(|(known, _)| *known == call);
        let answer = found.map(|(_, answers)| match answers.len() {
            1 => answers[0].clone(),
            _ => answers.pop_front().unwrap(),
        });
        match answer {
            Some(Canned::Json(status, body)) => {
                (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
            }
            Some(Canned::Log(text, is_last)) => {
                let mut headers = HeaderMap::new();
                headers.insert("apportion-log-ended", is_last.to_string().parse().unwrap());
                (headers, text).into_response()
            }
            None => {
                let error = json!({"error": {"code": "not_found", "message": format!("nothing at {call}")}});
                (StatusCode::NOT_FOUND, axum::Json(error)).into_response()
            }
        }
    }

    /// Runs a command line against it.
    fn run(&self, arguments: &[&str]) -> Ran {
        self.serve(|url| run(&[&["--server", url], arguments].concat()))
    }

    /// Answers calls as long as the function runs, which is given the URL.
    fn serve<T>(&self, call: impl FnOnce(&str) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new()
            .fallback(Self::answer)
            .with_state(self.clone());
        runtime.spawn(async { axum::serve(listener, router).await });
        let called = call(&url);
        runtime.shutdown_background();
        called
    }

    /// The bodies that were posted.
    fn posted(&self) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|(method, ..)| method == "POST")
            .map(|(.., body)| body.clone())
            .collect()
    }
}

/// What came of a command.
struct Ran {
    code: u8,
    stdout: String,
    stderr: String,
}

impl Ran {
    /// Everything in one text, for golden tests.
    fn text(&self) -> String {
        let mut text = self.stdout.clone();
        if !self.stderr.is_empty() {
            text.push_str(&format!("--- stderr\n{}", self.stderr));
        }
        if self.code != 0 {
            text.push_str(&format!("--- exit code {}\n", self.code));
        }
        text
    }
}

/// Runs a command line as a process would, at a fixed time.
fn run(arguments: &[&str]) -> Ran {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    // The width is fixed, or texts would wrap as wide as the terminal that the tests run in.
    let command = Cli::command().term_width(100);
    let matches = command.try_get_matches_from([&["apportion"], arguments].concat());
    let code = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => {
            let mut out = Output::plain(&mut stdout, &mut stderr);
            execute(
                cli,
                &Registry::default(),
                &mut out,
                format::time("2026-11-22T13:10:00Z").unwrap(),
            )
        }
        Err(error) => {
            stderr.extend(error.to_string().bytes());
            exit::USAGE
        }
    };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran {
        code,
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

fn task(id: u64, state: &str) -> Value {
    json!({
        "id": id, "queue": "maps/render", "name": "", "state": state, "key": null, "inbox": null,
        "demand": {"cpus": 2, "mem": 4096, "db_connections": 1.5}, "run": {"argv": ["render", "7"]},
        "env": {}, "priority": 0, "retries": 2, "timeout_seconds": null, "kill_grace_seconds": null,
        "after": [], "constraints": {}, "array": null, "array_index": null,
        "submitted_at": "2026-11-22T13:05:00.000Z", "n_attempts": 0, "not_before": null,
        "ended_at": null, "outcome": null, "attempts": [], "what_later_versions_say": true,
    })
}

fn running(id: u64) -> Value {
    let mut task = task(id, "running");
    task["n_attempts"] = json!(1);
    task["attempts"] = json!([{
        "attempt": 1, "agent": "m1", "launched_at": "2026-11-22T13:06:00.000Z",
        "started_at": "2026-11-22T13:06:00.010Z", "ended_at": null, "end": null,
        "wall_seconds": null, "cpu_seconds": null, "memory_peak_bytes": null,
    }]);
    task
}

fn ended(id: u64, state: &str, cause: Value, exit_code: Value, signal: Value) -> Value {
    let mut task = running(id);
    task["state"] = json!(state);
    task["ended_at"] = json!("2026-11-22T13:07:02.500Z");
    let usage = json!({"wall_seconds": 62.5, "cpu_seconds": 118.25, "memory_peak_bytes": 3_500_000_000_u64});
    task["attempts"][0]["ended_at"] = task["ended_at"].clone();
    task["attempts"][0]["end"] = json!({"code": "exited", "message": "exited with code 0"});
    task["outcome"] = json!({
        "kind": state, "cause": cause, "exit_code": exit_code, "signal": signal,
        "value_truncated": false, "value_bytes": 6,
    });
    for (key, value) in usage.as_object().unwrap() {
        task["outcome"][key] = value.clone();
        task["attempts"][0][key] = value.clone();
    }
    task
}

fn succeeded(id: u64) -> Value {
    ended(id, "succeeded", Value::Null, json!(0), Value::Null)
}

fn failed(id: u64, exit_code: i32) -> Value {
    let cause = json!({"code": "exited", "message": format!("exited with code {exit_code}")});
    ended(id, "failed", cause, json!(exit_code), Value::Null)
}

mod golden;
mod living;
