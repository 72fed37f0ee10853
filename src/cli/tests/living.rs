//! Submitting, running, waiting, following.

use std::io;

use super::*;

const ACCEPTED: &str = "POST /v1/tasks";

fn accepted(tasks: &[(u64, u64, bool)]) -> Value {
    let tasks = tasks
        .iter()
        .map(|(id, count, created)| json!({"id": id, "count": count, "created": created}));
    json!({"tasks": tasks.collect::<Vec<_>>()})
}

#[test]
fn submit_sends_everything_and_prints_the_id() {
    let server = Server::default().ok(ACCEPTED, accepted(&[(7, 1, true)]));
    let line = "submit --queue maps/render --name tile --cpus 0.5 --mem 4GiB --resource db_connections=3 \
                -r disk=1TiB --priority -2 --retries 2 --timeout 2h --kill-grace 5s --env STAGE=prod --env E= \
                --after 3 --after build --key k --inbox release --constraint rack=r1 --array 0-99:2 \
                -- render --tile 7 -x";
    let ran = server.run(&line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(ran.text(), "7\n");
    assert_eq!(
        server.posted(),
        [json!({
            "queue": "maps/render", "name": "tile", "key": "k", "inbox": "release", "priority": -2, "retries": 2,
            "demand": {"cpus": 0.5, "mem": "4GiB", "db_connections": 3, "disk": "1TiB"}, "timeout": "2h",
            "kill_grace": "5s", "env": {"STAGE": "prod", "E": ""}, "after": [3, "build"],
            "constraints": {"rack": "r1"}, "array": "0-99:2", "run": {"argv": ["render", "--tile", "7", "-x"]},
        })]
    );
}

#[test]
fn submit_leaves_to_the_daemon_what_is_not_said() {
    let server = Server::default().ok(ACCEPTED, accepted(&[(7, 100, false)]));
    let ran = server.run(&["submit", "make", "-j4"]);
    assert_eq!(
        ran.text(),
        "7-106\n--- stderr\napportion: task 7 had been submitted before with the same key\n"
    );
    assert_eq!(server.posted(), [json!({"run": {"argv": ["make", "-j4"]}})]);
}

fn file_of(lines: &[&str]) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tasks.jsonl");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let name = file.to_str().unwrap().to_owned();
    (dir, name)
}

#[test]
fn files_are_sent_in_calls_with_what_the_options_say() {
    let lines = vec![
        r#"{"run": {"command": "true"}, "queue": "b"}"#,
        "",
        r#"{"run": {"command": "true"}}"#,
    ];
    let (_dir, file) = file_of(&lines);
    let server = Server::default().ok(ACCEPTED, accepted(&[(1, 1, true), (2, 10, true)]));
    let ran = server.run(&["submit", "--queue", "a", "--file", &file]);
    assert_eq!(ran.text(), "1\n2-11\n");
    let run = json!({"command": "true"});
    assert_eq!(
        server.posted(),
        [json!({"tasks": [{"run": run, "queue": "b"}, {"run": run, "queue": "a"}]})]
    );
    let (_dir, file) = file_of(&vec![lines[0]; 10_001]);
    assert_eq!(server.run(&["submit", "--file", &file]).code, 0);
    let sizes: Vec<usize> = server
        .posted()
        .iter()
        .map(|body| body["tasks"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [2, 10_000, 1]);
}

#[test]
fn an_error_in_a_file_names_its_line() {
    let good = r#"{"run": {"command": "true"}}"#;
    let (_dir, file) = file_of(&[good, "", good, "{\"run\": "]);
    let server = Server::default().ok(ACCEPTED, accepted(&[(1, 1, true)]));
    let ran = server.run(&["submit", "--file", &file]);
    insta::assert_snapshot!(ran.text().replace(&file, "FILE"), @r#"
    --- stderr
    apportion: FILE:4: not a task object in JSON: EOF while parsing a value at column 8; nothing was submitted
    --- exit code 2
    "#);
    assert!(server.posted().is_empty());
    let (_dir, file) = file_of(&[good, "", good]);
    let detail = json!({"path": "tasks[1].queue"});
    let message = "tasks[1]: unknown queue 'default'; known leaf queues: maps/render";
    let server = Server::default().refuses(ACCEPTED, 422, "unknown_queue", message, detail);
    let ran = server.run(&["submit", "--file", &file]);
    insta::assert_snapshot!(ran.text().replace(&file, "FILE"), @r#"
    --- stderr
    apportion: FILE:3: unknown queue 'default'; known leaf queues: maps/render; nothing was submitted
    --- exit code 3
    "#);
    let (_dir, file) = file_of(&vec![good; 10_001]);
    let server = Server::default()
        .ok(ACCEPTED, accepted(&[(1, 1, true)]))
        .refuses(
            ACCEPTED,
            429,
            "too_many_tasks",
            "10 tasks are live",
            Value::Null,
        );
    let ran = server.run(&["submit", "--file", &file]);
    insta::assert_snapshot!(ran.text().replace(&file, "FILE"), @r#"
    1
    --- stderr
    apportion: FILE:10001: 10 tasks are live; lines 1 to 10000 were submitted, nothing behind them
    --- exit code 3
    "#);
}

#[test]
fn wait_tells_what_did_not_succeed() {
    let server = Server::default()
        .ok("GET /v1/tasks/7", task(7, "queued"))
        .ok("GET /v1/tasks/7", running(7))
        .ok("GET /v1/tasks/7", succeeded(7))
        .ok("GET /v1/tasks/8", failed(8, 3));
    assert_eq!(server.run(&["wait", "7"]).text(), "1 succeeded\n");
    insta::assert_snapshot!(server.run(&["wait", "7", "8"]).text(), @r#"
    1 succeeded, 1 failed
    --- stderr
    apportion: task 8 failed: exited with code 3
    --- exit code 1
    "#);
    let ran = server.run(&["wait", "7", "8", "--json"]);
    insta::assert_snapshot!(ran.text(), @r#"
    {
      "n_cancelled": 0,
      "n_failed": 1,
      "n_succeeded": 1,
      "not_succeeded": [
        {
          "cause": {
            "code": "exited",
            "message": "exited with code 3"
          },
          "id": 8,
          "state": "failed"
        }
      ]
    }
    --- exit code 1
    "#);
}

#[test]
fn wait_outlasts_a_restart_of_the_daemon() {
    let server = Server::default()
        .ok("GET /v1/tasks/7", running(7))
        .refuses(
            "GET /v1/tasks/7",
            503,
            "stopping",
            "the daemon is stopping",
            Value::Null,
        )
        .refuses(
            "GET /v1/tasks/7",
            503,
            "starting",
            "the daemon is starting",
            Value::Null,
        )
        .ok("GET /v1/tasks/7", succeeded(7));
    assert_eq!(server.run(&["wait", "7"]).text(), "1 succeeded\n");
}

#[test]
fn wait_reads_arrays_by_the_page() {
    let page = |ids: std::ops::Range<u64>| json!({"tasks": ids.map(succeeded).collect::<Vec<_>>()});
    let server = Server::default()
        .ok("GET /v1/tasks/10", succeeded(10))
        .ok("GET /v1/tasks", page(11..13))
        .ok("GET /v1/tasks", page(13..17))
        .ok("GET /v1/tasks", page(17..20));
    assert_eq!(server.run(&["wait", "10-19"]).text(), "10 succeeded\n");
    let calls = server.asked.lock().unwrap().len();
    assert_eq!(calls, 5, "the events and four pages");
}

#[test]
fn wait_for_a_task_that_is_not_known_is_refused() {
    let server = Server::default()
        .ok("GET /v1/tasks/1", succeeded(1))
        .ok("GET /v1/tasks", json!({"tasks": [succeeded(5)]}))
        .refuses(
            "GET /v1/tasks/2",
            404,
            "unknown_task",
            "unknown task 2",
            Value::Null,
        );
    let ran = server.run(&["wait", "1-5"]);
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (exit::REFUSED, "apportion: unknown task 2\n")
    );
}

/// A server with one task that is submitted, runs, writes, and ends as given.
fn server_of_run(end: Value) -> Server {
    Server::default()
        .ok(ACCEPTED, accepted(&[(7, 1, true)]))
        .ok("GET /v1/tasks/7", task(7, "queued"))
        .ok("GET /v1/tasks/7", running(7))
        .ok("GET /v1/tasks/7", end)
        .on("GET /v1/tasks/7/logs/stdout", Canned::Log("one\n", false))
        .on("GET /v1/tasks/7/logs/stdout", Canned::Log("two\n", true))
        .on("GET /v1/tasks/7/logs/stderr", Canned::Log("oops\n", true))
}

#[test]
fn run_shows_the_output_and_exits_as_the_task_did() {
    let cause = |code: &str, message: &str| json!({"code": code, "message": message});
    let ran = |end: Value| server_of_run(end).run(&["run", "--", "sh", "-c", "work"]);
    let done = ran(succeeded(7));
    assert_eq!(
        (done.code, done.stdout.as_str(), done.stderr.as_str()),
        (0, "one\ntwo\n", "oops\n")
    );
    let failed = ran(failed(7, 42));
    assert_eq!(
        (failed.code, failed.stdout.as_str(), failed.stderr.as_str()),
        (42, "one\ntwo\n", "oops\n")
    );
    let cause_of = |code, message, exit_code, signal| {
        ended(7, "failed", cause(code, message), exit_code, signal)
    };
    let signalled = ran(cause_of(
        "signalled",
        "ended by signal 9 (SIGKILL)",
        Value::Null,
        json!(9),
    ));
    insta::assert_snapshot!(signalled.text(), @r#"
    one
    two
    --- stderr
    oops
    apportion: task 7 failed: ended by signal 9 (SIGKILL)
    --- exit code 137
    "#);
    // A task may still exit with 0 when it is ended for taking too long.
    let timed_out = ran(cause_of(
        "timed_out",
        "ran longer than its timeout",
        json!(0),
        Value::Null,
    ));
    insta::assert_snapshot!(timed_out.text(), @r#"
    one
    two
    --- stderr
    oops
    apportion: task 7 failed: ran longer than its timeout
    --- exit code 1
    "#);
    let why = cause("cancelled", "cancelled: a typo");
    let cancelled = ran(ended(7, "cancelled", why, Value::Null, Value::Null));
    insta::assert_snapshot!(cancelled.text(), @r#"
    one
    two
    --- stderr
    oops
    apportion: task 7 cancelled: a typo
    --- exit code 1
    "#);
}

#[test]
fn run_shows_the_output_of_every_attempt() {
    let mut again = succeeded(7);
    let mut second = again["attempts"][0].clone();
    second["attempt"] = json!(2);
    again["attempts"].as_array_mut().unwrap().push(second);
    let server =
        server_of_run(again).on("GET /v1/tasks/7/logs/stdout", Canned::Log("again\n", true));
    let ran = server.run(&["run", "--", "work"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "one\ntwo\nagain\n"));
    let asked = server.asked.lock().unwrap();
    let last = asked
        .iter()
        .rfind(|(_, path, _)| path.contains("stdout"))
        .unwrap();
    assert!(last.1.contains("offset=0&attempt=2"), "{}", last.1);
}

#[test]
fn run_of_a_task_that_never_started_says_why() {
    let cause =
        json!({"code": "dependency_failed", "message": "task 3, named in after, ended as failed"});
    let mut end = task(7, "cancelled");
    end["outcome"] = json!({"cause": cause});
    let server = Server::default()
        .ok(ACCEPTED, accepted(&[(7, 1, true)]))
        .ok("GET /v1/tasks/7", end);
    insta::assert_snapshot!(server.run(&["run", "--after", "3", "--", "true"]).text(), @r#"
    --- stderr
    apportion: task 7 cancelled: task 3, named in after, ended as failed
    --- exit code 1
    "#);
}

#[test]
fn logs_are_printed_and_followed() {
    let server = server_of_run(succeeded(7));
    assert_eq!(server.run(&["logs", "7", "-f"]).text(), "one\ntwo\n");
    let server = Server::default()
        .on("GET /v1/tasks/7/logs/stdout", Canned::Log("one\n", false))
        .on("GET /v1/tasks/7/logs/stdout", Canned::Log("", true))
        .refuses(
            "GET /v1/tasks/7/logs/stderr",
            404,
            "no_output",
            "nothing is kept",
            Value::Null,
        )
        .ok("GET /v1/tasks/7", succeeded(7));
    assert_eq!(server.run(&["logs", "7"]).text(), "one\n");
    assert_eq!(server.run(&["logs", "7", "--stderr"]).text(), "");
}

#[test]
fn result_prints_the_value_and_tells_of_a_failure() {
    let mut cut = failed(8, 3);
    cut["outcome"]["value_truncated"] = json!(true);
    let server = Server::default()
        .on("GET /v1/tasks/7/result", Canned::Log("value\n", true))
        .ok("GET /v1/tasks/7", succeeded(7))
        .on("GET /v1/tasks/8/result", Canned::Log("partial", true))
        .ok("GET /v1/tasks/8", cut)
        .refuses(
            "GET /v1/tasks/9/result",
            409,
            "not_ended",
            "task 9 is running, so it has no result yet",
            Value::Null,
        );
    assert_eq!(server.run(&["result", "7"]).text(), "value\n");
    insta::assert_snapshot!(server.run(&["result", "8"]).text(), @r#"
    partial--- stderr
    apportion: the value was cut; `apportion logs 8` prints all of it
    apportion: task 8 failed: exited with code 3
    --- exit code 1
    "#);
    assert_eq!(server.run(&["result", "9"]).code, exit::REFUSED);
    let json: Value = serde_json::from_str(&server.run(&["result", "7", "--json"]).stdout).unwrap();
    assert_eq!(
        (&json["text"], &json["value_base64"]),
        (&json!("value\n"), &json!("dmFsdWUK"))
    );
}

#[test]
fn cancel_and_retry_print_the_states() {
    let server = Server::default()
        .ok(
            "POST /v1/tasks/7/cancel",
            json!({"id": 7, "state": "cancelling"}),
        )
        .refuses(
            "POST /v1/tasks/8/cancel",
            409,
            "already_ended",
            "task 8 has already ended: failed",
            Value::Null,
        )
        .ok(
            "POST /v1/tasks/8/retry",
            json!({"id": 8, "state": "queued"}),
        );
    let ran = server.run(&["cancel", "7-8", "--reason", "a typo"]);
    insta::assert_snapshot!(ran.text(), @r#"
    7 cancelling
    --- stderr
    apportion: task 8 has already ended: failed
    "#);
    assert_eq!(server.posted()[0], json!({"reason": "a typo"}));
    assert_eq!(server.run(&["cancel", "8"]).code, exit::REFUSED);
    assert_eq!(server.run(&["retry", "8"]).text(), "8 queued\n");
}

/// An output that nobody reads.
struct Gone;

impl io::Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn run_unread(arguments: &[&str]) -> (u8, String) {
    let mut stderr = Vec::new();
    let cli = Cli::try_parse_from([&["apportion"], arguments].concat()).unwrap();
    let mut gone = Gone;
    let mut out = Output::plain(&mut gone, &mut stderr);
    let code = execute(cli, &Registry::default(), &mut out, UNIX_EPOCH);
    (code, String::from_utf8(stderr).unwrap())
}

#[test]
fn who_stops_reading_is_not_told_of_errors() {
    assert_eq!(run_unread(&["check"]), (exit::DONE, String::new()));
}

#[test]
fn run_cancels_a_task_whose_output_nobody_reads() {
    let server = Server::default()
        .ok(ACCEPTED, accepted(&[(7, 1, true)]))
        .ok("GET /v1/tasks/7", running(7))
        .on("GET /v1/tasks/7/logs/stdout", Canned::Log("y\n", false))
        .on("GET /v1/tasks/7/logs/stderr", Canned::Log("", true))
        .ok(
            "POST /v1/tasks/7/cancel",
            json!({"id": 7, "state": "cancelling"}),
        );
    let ran = server.serve(|url| run_unread(&["--server", url, "run", "--", "yes"]));
    assert_eq!(ran, (exit::DONE, String::new()));
    assert_eq!(
        server.posted()[1],
        json!({"reason": "nobody reads its output"})
    );
}

#[test]
fn run_says_how_to_go_on_when_the_daemon_fails() {
    let server = Server::default()
        .ok(ACCEPTED, accepted(&[(7, 1, true)]))
        .refuses(
            "GET /v1/tasks/7",
            503,
            "store_failed",
            "the store failed",
            Value::Null,
        );
    insta::assert_snapshot!(server.run(&["run", "--", "true"]).text(), @r#"
    --- stderr
    apportion: task 7 was submitted; `apportion wait 7` waits for it
    apportion: the store failed
    --- exit code 3
    "#);
}
