//! Bad input over HTTP: each a clear error that names the field and what to do, and nothing lost.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;

const CONFIG: &str = r#"
[resources.licences]
scope = "cluster"
capacity = 10
[queues.default]
[queues."maps/render"]
max = { licences = 4 }
"#;

/// A daemon with one task in it, which must be there unharmed at the end.
struct Server {
    daemon: Daemon,
    kept: u64,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        Self::with("")
    }

    fn with(server_keys: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(folder.path(), &format!("{server_keys}\n{CONFIG}"));
        let kept = daemon.http.submit(
            &json!({"queue": "default", "demand": {"cpus": 5000}, "run": {"argv": ["true"]}}),
        );
        Self {
            daemon,
            kept,
            _folder: folder,
        }
    }

    /// Posts one task and insists on an error; gives its message.
    #[track_caller]
    fn refused(&self, task: &Value, status: u16, code: &str) -> String {
        self.daemon
            .http
            .post("/v1/tasks", task)
            .expect_error(status, code)
    }

    /// Insists that nothing but the first task is there, and that the daemon goes on.
    #[track_caller]
    fn nothing_changed(&self) {
        let tasks = self.daemon.http.get("/v1/tasks").expect(200)["tasks"].clone();
        assert_eq!(tasks.as_array().unwrap().len(), 1, "{tasks}");
        assert_eq!(tasks[0]["id"], self.kept);
        assert_eq!(self.daemon.http.get("/readyz").status, 200);
    }
}

#[test]
fn what_names_something_unknown_is_told_what_is_known() {
    let server = Server::start();
    let run = json!({"argv": ["true"]});
    let message = server.refused(&json!({"queue": "mops", "run": run}), 422, "unknown_queue");
    assert!(
        message.contains("mops") && message.contains("maps/render"),
        "{message}"
    );
    let message = server.refused(&json!({"queue": "maps", "run": run}), 422, "not_a_leaf");
    assert!(message.contains("maps/render"), "{message}");
    let task = json!({"queue": "default", "demand": {"licenses": 1}, "run": run});
    let message = server.refused(&task, 422, "unknown_resource");
    assert!(
        message.contains("licenses") && message.contains("licences"),
        "{message}"
    );
    let task = json!({"queue": "default", "after": [4711], "run": run});
    let message = server.refused(&task, 422, "unknown_dependency");
    assert!(message.contains("4711"), "{message}");
    server.nothing_changed();
}

#[test]
fn a_demand_above_capacity_or_max_is_refused() {
    let server = Server::start();
    let task = |queue: &str, n: u32| json!({"queue": queue, "demand": {"licences": n}, "run": {"argv": ["true"]}});
    let message = server.refused(&task("default", 11), 422, "never_fits");
    assert!(
        message.contains("11") && message.contains("10") && message.contains("licences"),
        "{message}"
    );
    let message = server.refused(&task("maps/render", 5), 422, "never_fits");
    assert!(message.contains("maps/render"), "{message}");
    server.nothing_changed();
}

#[test]
fn a_task_that_demands_nothing_is_refused() {
    let server = Server::start();
    let task = json!({"queue": "default", "demand": {"cpus": 0}, "array": "0-999999", "run": {"argv": ["true"]}});
    let message = server.refused(&task, 422, "no_demand");
    assert!(message.contains("cpus"), "{message}");
    server.nothing_changed();
}

#[test]
fn a_demand_above_every_agent_is_taken_and_reported_unsatisfiable() {
    let server = Server::start();
    let task = server.daemon.http.task(server.kept);
    assert_eq!(task["state"], "queued");
    let explanation = server
        .daemon
        .http
        .get(&format!("/v1/tasks/{}/explain", server.kept))
        .expect(200);
    let text = explanation.to_string();
    assert!(
        text.contains("never_fits") && text.contains("cpus") && text.contains("5000"),
        "{text}"
    );
    let queues = server.daemon.http.get("/v1/queues").expect(200);
    let default = queues["queues"]
        .as_array()
        .unwrap()
        .iter()
        .find(|queue| queue["path"] == "default")
        .unwrap();
    assert_eq!(default["n_unsatisfiable"], 1, "{default}");
}

#[test]
fn a_circle_in_after_is_refused_whole() {
    let server = Server::start();
    let task = |key: &str, after: &str| json!({"queue": "default", "key": key, "after": [after], "run": {"argv": ["true"]}});
    let body = json!({"tasks": [task("a", "b"), task("b", "c"), task("c", "a")]});
    let message = server.refused(&body, 422, "dependency_cycle");
    assert!(message.contains("a -> b -> c -> a"), "{message}");
    let message = server.refused(&task("self", "self"), 422, "dependency_cycle");
    assert!(message.contains("self -> self"), "{message}");
    server.nothing_changed();
}

#[test]
fn one_bad_task_refuses_the_whole_call_and_is_named() {
    let server = Server::start();
    let good = json!({"queue": "default", "run": {"argv": ["true"]}});
    let body = json!({"tasks": [good, good, {"queue": "nowhere", "run": {"argv": ["true"]}}]});
    let message = server.refused(&body, 422, "unknown_queue");
    assert!(message.contains("tasks[2]"), "{message}");
    server.nothing_changed();
}

#[test]
fn wrong_fields_are_named_with_their_path() {
    let server = Server::start();
    let run = json!({"argv": ["true"]});
    let cases = [
        (
            json!({"queue": "default", "run": run, "prioritty": 1}),
            "prioritty",
        ),
        (
            json!({"queue": "default", "run": run, "priority": "high"}),
            "priority",
        ),
        (
            json!({"queue": "default", "run": run, "demand": {"mem": "4 gigs"}}),
            "demand.mem",
        ),
        (
            json!({"queue": "default", "run": run, "demand": {"cpus": -1}}),
            "demand.cpus",
        ),
        (
            json!({"queue": "default", "run": run, "demand": {"cpus": 0.0001}}),
            "demand.cpus",
        ),
        (
            json!({"queue": "default", "run": run, "timeout": "2 fortnights"}),
            "timeout",
        ),
        (json!({"queue": "default", "run": {}}), "run"),
        (json!({"queue": "default", "run": {"argv": []}}), "run.argv"),
        (
            json!({"queue": "default", "run": {"command": "a", "argv": ["b"]}}),
            "run",
        ),
        (
            json!({"queue": "default", "run": run, "env": {"A=B": "1"}}),
            "env",
        ),
        (
            json!({"queue": "default", "run": run, "array": "9-0"}),
            "array",
        ),
        (json!({"queue": "default"}), "run"),
    ];
    for (task, field) in cases {
        let body = server
            .daemon
            .http
            .post("/v1/tasks", &json!({"tasks": [task]}));
        assert_eq!(body.status, 422, "{task}: {}", body.text());
        let message = body.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(field), "{task}: {message}");
    }
    server.nothing_changed();
}

#[test]
fn more_tasks_than_one_call_takes_are_refused() {
    let server = Server::start();
    let tasks = vec![json!({"queue": "default", "run": {"argv": ["true"]}}); 10_001];
    let answer = server
        .daemon
        .http
        .post("/v1/tasks", &json!({ "tasks": tasks }));
    assert!(matches!(answer.status, 413 | 422), "{}", answer.text());
    assert!(
        answer.text().contains("10000") || answer.text().contains("10,000"),
        "{}",
        answer.text()
    );
    server.nothing_changed();
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let server = Server::with("body_max = \"100KiB\"");
    let line = "x".repeat(200_000);
    let body = json!({"queue": "default", "run": {"command": line}});
    let message = server.refused(&body, 413, "body_too_large");
    assert!(message.contains("body_max"), "{message}");
    server.nothing_changed();
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    let server = Server::start();
    let post = |content_type: &str, body: &[u8]| {
        server
            .daemon
            .http
            .post_bytes("/v1/tasks", content_type, body.to_vec())
    };
    let message = post("application/json", b"{\"queue\": \"default\",\n nonsense}")
        .expect_error(400, "invalid_json");
    assert!(message.contains("line 2"), "{message}");
    let _ =
        post("application/json", b"{\"queue\": \"\xff\xfe\"}").expect_error(400, "invalid_utf8");
    let message = post("application/json", b"").expect_error(422, "invalid_field");
    assert!(message.contains("is empty"), "{message}");
    let _ = post("application/json", &[b'['; 100_000]).expect_error(422, "invalid_field");
    let nested = format!("{{\"run\": {}", "{\"argv\": ".repeat(100_000));
    assert!(matches!(
        post("application/json", nested.as_bytes()).status,
        400 | 422
    ));
    assert_eq!(post("text/plain", b"{}").status, 415);
    server.nothing_changed();
}

#[test]
fn unknown_places_and_tasks_answer_in_json() {
    let server = Server::start();
    let http = &server.daemon.http;
    let _ = http.get("/v1/nothing").expect_error(404, "not_found");
    let _ = http.get("/v1/tasks/99").expect_error(404, "unknown_task");
    assert!(matches!(
        http.get("/v1/tasks/minus-one").status,
        400 | 404 | 422
    ));
    let _ = http
        .post("/v1/tasks/99/cancel", &json!({}))
        .expect_error(404, "unknown_task");
    let _ = http
        .post("/v1/tasks/99/retry", &json!({}))
        .expect_error(404, "unknown_task");
    assert_eq!(http.post("/v1/queues", &json!({})).status, 405);
    assert!(matches!(
        http.get("/v1/tasks?state=happy").status,
        400 | 422
    ));
    assert!(matches!(
        http.post("/v1/inboxes/x/pop", &json!({"ack": "nonsense"}))
            .status,
        400 | 422
    ));
    let _ = http
        .post("/v1/resources/cpus/outside", &json!({"used": 1}))
        .expect_error(422, "not_cluster_scope");
    server.nothing_changed();
}

#[test]
fn a_port_in_use_is_named() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let address = server.daemon.url.trim_start_matches("http://");
    let file = folder.path().join("a.toml");
    let config = format!(
        "[server]\nlisten = \"{address}\"\ndata_dir = \"{}/data\"\n",
        folder.path().display()
    );
    std::fs::write(&file, config).unwrap();
    let mut command = std::process::Command::new(crate::support::daemon::program());
    let output = command
        .args(["serve", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains(address) && said.contains("server.listen"),
        "{said}"
    );
}
