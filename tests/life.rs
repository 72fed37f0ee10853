//! A task's life on the real daemon: success, failure, retries, timeout, cancel, dependencies, arrays,
//! priorities, keys and inboxes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::{processes, wait};

/// Short pauses, so that tests of retries are quick; otherwise the defaults.
const CONFIG: &str = r#"
[tasks]
retry_pause = "100ms"
[queues.default]
[queues.narrow]
max = { cpus = 1 }
[backend]
kind = "local"
resources = { cpus = 4 }
"#;

struct Life {
    folder: tempfile::TempDir,
    daemon: Daemon,
}

impl Life {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(folder.path(), CONFIG);
        Self { folder, daemon }
    }

    fn submit(&self, mut task: Value) -> u64 {
        if task.get("queue").is_none() {
            task["queue"] = "default".into();
        }
        self.daemon.http.submit(&task)
    }

    fn command(&self, line: &str) -> u64 {
        self.submit(json!({"run": {"command": line}}))
    }

    fn ended(&self, id: u64) -> Value {
        self.daemon.http.wait_ended(id)
    }

    /// A file that tests and tasks share.
    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn wait_file(&self, name: &str) {
        wait::for_true(&format!("the task to write {name}"), || {
            self.read(name).ends_with('\n')
        });
    }
}

#[test]
fn a_command_succeeds_with_its_output_as_value() {
    let life = Life::start();
    let id = life.command("echo out; echo err >&2");
    let task = life.ended(id);
    assert_eq!(task["state"], "succeeded");
    assert_eq!(task["outcome"]["exit_code"], 0);
    assert_eq!(task["outcome"]["value_truncated"], false);
    let http = &life.daemon.http;
    assert_eq!(http.get(&format!("/v1/tasks/{id}/result")).body, b"out\n");
    assert_eq!(
        http.get(&format!("/v1/tasks/{id}/logs/stdout")).body,
        b"out\n"
    );
    assert_eq!(
        http.get(&format!("/v1/tasks/{id}/logs/stderr?offset=1"))
            .body,
        b"rr\n"
    );
}

#[test]
fn a_long_output_is_cut_in_the_value_and_whole_in_the_log() {
    let life = Life::start();
    let id = life.command("head -c 100000 /dev/zero | tr '\\0' x");
    let task = life.ended(id);
    assert_eq!(task["outcome"]["value_truncated"], true);
    let http = &life.daemon.http;
    assert_eq!(
        http.get(&format!("/v1/tasks/{id}/result")).body,
        vec![b'x'; 65_536]
    );
    let mut log = Vec::new();
    while log.len() < 100_000 {
        let piece = http
            .get(&format!("/v1/tasks/{id}/logs/stdout?offset={}", log.len()))
            .body;
        assert!(!piece.is_empty());
        log.extend(piece);
    }
    assert_eq!(log, vec![b'x'; 100_000]);
}

#[test]
fn a_failure_keeps_its_exit_code_and_output() {
    let life = Life::start();
    let task = life.ended(life.command("echo so far; exit 7"));
    assert_eq!(task["state"], "failed");
    assert_eq!(task["outcome"]["exit_code"], 7);
    assert_eq!(task["n_attempts"], 1);
    let id = task["id"].as_u64().unwrap();
    assert_eq!(
        life.daemon.http.get(&format!("/v1/tasks/{id}/result")).body,
        b"so far\n"
    );
}

#[test]
fn what_a_task_really_used_is_kept() {
    let life = Life::start();
    let line = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; head -c 30000000 /dev/zero | sort >/dev/null";
    let outcome = life.ended(life.command(line))["outcome"].clone();
    assert!(outcome["cpu_seconds"].as_f64().unwrap() > 0.02, "{outcome}");
    assert!(
        outcome["wall_seconds"].as_f64().unwrap() > 0.02,
        "{outcome}"
    );
    assert!(
        outcome["memory_peak_bytes"].as_u64().unwrap() > 5_000_000,
        "{outcome}"
    );
}

#[test]
fn the_environment_tells_a_task_its_grant() {
    let life = Life::start();
    let id = life.submit(json!({
        "run": {"command": "env"}, "env": {"STAGE": "prod"}, "demand": {"cpus": 0.5, "mem": "64MiB"},
    }));
    life.ended(id);
    let body = life
        .daemon
        .http
        .get(&format!("/v1/tasks/{id}/result"))
        .text();
    let expected = [
        "STAGE=prod".to_owned(),
        format!("APPORTION_TASK_ID={id}"),
        "APPORTION_ATTEMPT=1".to_owned(),
        "APPORTION_QUEUE=default".to_owned(),
        "APPORTION_CPUS=0.5".to_owned(),
        "APPORTION_MEM_MIB=64".to_owned(),
        "APPORTION_RESOURCE_CPUS=0.5".to_owned(),
    ];
    for line in &expected {
        assert!(
            body.lines().any(|one| one == line),
            "{line} is missing in:\n{body}"
        );
    }
}

#[test]
fn own_failures_are_retried_with_growing_pauses() {
    let life = Life::start();
    let counter = life.file("counter");
    let line = format!("echo x >>{counter}; [ $(wc -l <{counter}) = 3 ] && echo third");
    let id = life.submit(json!({"run": {"command": line}, "retries": 5}));
    let task = life.ended(id);
    assert_eq!(
        (&task["state"], &task["n_attempts"]),
        (&"succeeded".into(), &3.into()),
        "{task}"
    );
    let at = |place: usize, key: &str| {
        let time = task["attempts"][place][key].as_str().unwrap();
        humantime::parse_rfc3339(time).unwrap()
    };
    let pause = |place: usize| {
        at(place, "launched_at")
            .duration_since(at(place - 1, "ended_at"))
            .unwrap()
    };
    assert!(pause(1) >= Duration::from_millis(100), "{task}");
    assert!(pause(2) >= Duration::from_millis(200), "{task}");
}

#[test]
fn retries_run_out() {
    let life = Life::start();
    let task = life.ended(life.submit(json!({"run": {"argv": ["false"]}, "retries": 1})));
    assert_eq!(
        (&task["state"], &task["n_attempts"]),
        (&"failed".into(), &2.into()),
        "{task}"
    );
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let life = Life::start();
    let task = life.ended(life.submit(json!({"run": {"argv": ["/no/such/program"]}})));
    assert_eq!(task["state"], "failed");
    let message = task["outcome"]["cause"]["message"].as_str().unwrap();
    assert!(
        message.contains("/no/such/program") || message.contains("No such file"),
        "{task}"
    );
}

#[test]
fn a_timeout_ends_the_whole_group() {
    let life = Life::start();
    let pids = life.file("pids");
    let line = format!("sleep 1000 & echo $! >>{pids}; setsid sleep 1000 & echo $! >>{pids}; wait");
    let id =
        life.submit(json!({"run": {"command": line}, "timeout": "500ms", "kill_grace": "100ms"}));
    let task = life.ended(id);
    assert_eq!(task["state"], "failed");
    assert_eq!(task["outcome"]["cause"]["code"], "timed_out", "{task}");
    for pid in life.read("pids").lines() {
        assert!(!is_alive(pid), "process {pid} outlived its task");
    }
}

/// Whether the process is there whose id a task has written.
fn is_alive(pid: &str) -> bool {
    processes::is_alive(pid.parse().unwrap())
}

#[test]
fn cancel_answers_at_once_and_kills_after_the_grace() {
    let life = Life::start();
    let ready = life.file("ready");
    let line = format!("trap '' TERM; echo $$ >{ready}; while :; do sleep 0.05; done");
    let id = life.submit(json!({"run": {"command": line}, "kill_grace": "300ms"}));
    life.wait_file("ready");
    let http = &life.daemon.http;
    let answer = http.post(
        &format!("/v1/tasks/{id}/cancel"),
        &json!({"reason": "no longer needed"}),
    );
    assert_eq!(answer.expect(200)["state"], "cancelling");
    let task = life.ended(id);
    assert_eq!(task["state"], "cancelled");
    assert!(
        task["outcome"]["cause"]["message"]
            .as_str()
            .unwrap()
            .contains("no longer needed"),
        "{task}"
    );
    assert!(
        !is_alive(life.read("ready").trim()),
        "the process outlived its task"
    );
}

#[test]
fn a_cancelled_task_is_retried_at_once_beside_its_dying_attempt() {
    let life = Life::start();
    let (first, second) = (life.file("first"), life.file("second"));
    let line = format!(
        "if [ $APPORTION_ATTEMPT = 1 ]; then trap '' TERM; echo $$ >{first}; while :; do sleep 0.05; done; fi; \
         ps -o pid= -p $(cat {first}) >{second}; echo from the second"
    );
    let id = life.submit(json!({"run": {"command": line}, "kill_grace": "2s"}));
    life.wait_file("first");
    let http = &life.daemon.http;
    let cancelled = http
        .post(&format!("/v1/tasks/{id}/cancel"), &json!({}))
        .expect(200);
    assert_eq!(cancelled["state"], "cancelling");
    let retried = http
        .post(&format!("/v1/tasks/{id}/retry"), &json!({}))
        .expect(200);
    assert_eq!(retried["state"], "queued");
    let task = http.wait_state(id, "succeeded");
    assert_eq!(task["n_attempts"], 2, "{task}");
    assert_eq!(
        life.read("second").trim(),
        life.read("first").trim(),
        "the first was still dying meanwhile"
    );
    assert_eq!(
        http.get(&format!("/v1/tasks/{id}/result")).body,
        b"from the second\n"
    );
    wait::for_true("the first attempt to be gone", || {
        !is_alive(life.read("first").trim())
    });
    let attempts = wait::until("the first attempt's end", Duration::from_secs(30), || {
        let attempts = http.task(id)["attempts"].clone();
        (!attempts[0]["ended_at"].is_null()).then_some(attempts)
    });
    assert_eq!(
        http.task(id)["state"],
        "succeeded",
        "the old attempt's end changes nothing: {attempts}"
    );
}

#[test]
fn a_failed_task_is_retried_by_hand_and_a_succeeded_one_is_not() {
    let life = Life::start();
    let flag = life.file("flag");
    let id = life.command(&format!("[ -e {flag} ]"));
    assert_eq!(life.ended(id)["state"], "failed");
    std::fs::write(&flag, "").unwrap();
    let http = &life.daemon.http;
    let _ = http
        .post(&format!("/v1/tasks/{id}/retry"), &json!({}))
        .expect(200);
    assert_eq!(http.wait_state(id, "succeeded")["n_attempts"], 2);
    let message = http
        .post(&format!("/v1/tasks/{id}/retry"), &json!({}))
        .expect_error(409, "not_retryable");
    assert!(message.contains("succeeded"), "{message}");
}

#[test]
fn a_task_waits_for_those_it_comes_after() {
    let life = Life::start();
    let log = life.file("log");
    let go = life.file("go");
    let first = life.command(&format!(
        "until [ -e {go} ]; do sleep 0.02; done; echo first >>{log}"
    ));
    let second =
        life.submit(json!({"run": {"command": format!("echo second >>{log}")}, "after": [first]}));
    assert_eq!(life.daemon.http.task(second)["state"], "waiting");
    std::fs::write(&go, "").unwrap();
    assert_eq!(life.ended(second)["state"], "succeeded");
    assert_eq!(life.read("log"), "first\nsecond\n");
}

#[test]
fn a_failure_cancels_what_comes_after_it_and_says_so() {
    let life = Life::start();
    let body = json!({"tasks": [
        {"queue": "default", "key": "last", "run": {"argv": ["true"]}, "after": ["middle"]},
        {"queue": "default", "key": "middle", "run": {"argv": ["true"]}, "after": ["first"]},
        {"queue": "default", "key": "first", "run": {"argv": ["false"]}},
    ]});
    let ids = life.daemon.http.post("/v1/tasks", &body).expect(201)["tasks"].clone();
    let [last, middle, first] = [0, 1, 2].map(|place: usize| ids[place]["id"].as_u64().unwrap());
    assert_eq!(life.ended(first)["state"], "failed");
    for (id, culprit) in [(middle, first), (last, middle)] {
        let task = life.ended(id);
        assert_eq!(
            (&task["state"], &task["n_attempts"]),
            (&"cancelled".into(), &0.into()),
            "{task}"
        );
        let message = task["outcome"]["cause"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("task {culprit},")), "{task}");
    }
}

#[test]
fn an_array_runs_each_of_its_indexes_once() {
    let life = Life::start();
    let log = life.file("log");
    let body = json!({"queue": "default", "array": "10-28:2", "key": "all",
                      "run": {"command": format!("echo $APPORTION_ARRAY_INDEX >>{log}")}});
    let accepted = life.daemon.http.post("/v1/tasks", &body).expect(201)["tasks"][0].clone();
    assert_eq!(accepted["count"], 10);
    let after = life.submit(json!({"run": {"argv": ["true"]}, "after": ["all"]}));
    assert_eq!(life.ended(after)["state"], "succeeded");
    let mut seen: Vec<u32> = life
        .read("log")
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, (10..=28).step_by(2).collect::<Vec<u32>>());
}

#[test]
fn priority_goes_before_age_within_a_queue() {
    let life = Life::start();
    let (log, go) = (life.file("log"), life.file("go"));
    let blocker = format!("until [ -e {go} ]; do sleep 0.02; done");
    let first = life.submit(json!({"queue": "narrow", "run": {"command": blocker}}));
    life.daemon.http.wait_state(first, "running");
    let task = |name: &str, priority: i32| {
        life.submit(json!({"queue": "narrow", "priority": priority,
                           "run": {"command": format!("echo {name} >>{log}")}}))
    };
    let ids = [
        task("low", -5),
        task("old", 0),
        task("young", 0),
        task("high", 9),
    ];
    std::fs::write(&go, "").unwrap();
    ids.into_iter()
        .for_each(|id| assert_eq!(life.ended(id)["state"], "succeeded"));
    assert_eq!(life.read("log"), "high\nold\nyoung\nlow\n");
}

#[test]
fn a_key_makes_submission_idempotent() {
    let life = Life::start();
    let task = json!({"queue": "default", "key": "tile-7", "run": {"argv": ["true"]}});
    let http = &life.daemon.http;
    let first = http.post("/v1/tasks", &task).expect(201)["tasks"][0].clone();
    assert_eq!(first["created"], true);
    let again = http.post("/v1/tasks", &task).json()["tasks"][0].clone();
    assert_eq!(
        (&again["id"], &again["created"]),
        (&first["id"], &false.into())
    );
    let other = json!({"queue": "default", "key": "tile-7", "run": {"argv": ["false"]}});
    let message = http
        .post("/v1/tasks", &other)
        .expect_error(409, "key_reused");
    assert!(message.contains("tile-7"), "{message}");
    life.ended(first["id"].as_u64().unwrap());
    let much_later = http.post("/v1/tasks", &task).json()["tasks"][0].clone();
    assert_eq!(
        (&much_later["id"], &much_later["created"]),
        (&first["id"], &false.into())
    );
}

#[test]
fn an_inbox_delivers_again_until_it_is_acknowledged() {
    let life = Life::start();
    let ids: Vec<u64> = (0..3)
        .map(|number| {
            life.submit(json!({"inbox": "me", "run": {"command": format!("echo {number}")}}))
        })
        .collect();
    ids.iter().for_each(|id| drop(life.ended(*id)));
    let http = &life.daemon.http;
    let pop = |body: Value| http.post("/v1/inboxes/me/pop", &body).expect(200);
    let names = |body: &Value| -> Vec<u64> {
        body["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|task| task["id"].as_u64().unwrap())
            .collect()
    };
    let first = pop(json!({"max": 2}));
    assert_eq!(names(&first).len(), 2);
    assert_eq!(
        names(&pop(json!({"max": 2}))),
        names(&first),
        "unacknowledged ones come again"
    );
    let rest = pop(json!({"max": 2, "ack": first["token"]}));
    assert_eq!(names(&rest).len(), 1);
    let mut all = [names(&first), names(&rest)].concat();
    all.sort_unstable();
    assert_eq!(all, ids);
    assert_eq!(
        names(&pop(json!({"ack": rest["token"], "wait_seconds": 0}))),
        Vec::<u64>::new()
    );
}
