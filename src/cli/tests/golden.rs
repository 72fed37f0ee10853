//! What people see: tables, errors, help.

use super::*;

#[test]
fn tasks_are_a_table() {
    let mut named = task(12, "queued");
    named["name"] = json!("tile 7/3\nof a map with a rather long name");
    named["array_index"] = json!(3);
    named["attempts"] = failed(12, 1)["attempts"].clone();
    named["n_attempts"] = json!(1);
    named["not_before"] = json!("2026-11-22T13:10:02.500Z");
    let tasks = json!({"tasks": [succeeded(3), running(7), failed(8, 2), named], "next_after": 12});
    let server = Server::default().ok("GET /v1/tasks", tasks);
    let ran = server.run(&[
        "tasks",
        "--queue",
        "maps",
        "--state",
        "running,failed",
        "--limit",
        "4",
    ]);
    insta::assert_snapshot!(ran.text(), @r#"
    ID  NAME                                  QUEUE        STATE      DEMAND                                AGE     RAN  REMARK
     3  render 7                              maps/render  succeeded  cpus=2 db_connections=1.5 mem=4GiB  5m 0s   1m 2s  -
     7  render 7                              maps/render  running    cpus=2 db_connections=1.5 mem=4GiB  5m 0s  3m 59s  on m1
     8  render 7                              maps/render  failed     cpus=2 db_connections=1.5 mem=4GiB  5m 0s   1m 2s  exited with code 2
    12  tile 7/3 of a map with a rather …[3]  maps/render  queued     cpus=2 db_connections=1.5 mem=4GiB  5m 0s   1m 2s  pauses 2.50s after attempt 1
    --- stderr
    apportion: there are more tasks: add --after 12, or a larger --limit
    "#);
    let asked = server.asked.lock().unwrap()[0].1.clone();
    assert_eq!(asked, "/v1/tasks?queue=maps&state=running%2Cfailed&limit=4");
}

#[test]
fn many_tasks_are_fetched_page_by_page() {
    let page = |ids: std::ops::RangeInclusive<u64>, next: Option<u64>| json!({"tasks": ids.map(|id| task(id, "queued")).collect::<Vec<_>>(), "next_after": next});
    let server = Server::default()
        .ok("GET /v1/tasks", page(1..=1000, Some(1000)))
        .ok("GET /v1/tasks", page(1001..=1200, None));
    let ran = server.run(&["tasks", "--limit", "5000", "--json"]);
    let all: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(all["tasks"].as_array().unwrap().len(), 1200);
    assert_eq!(all["next_after"], Value::Null);
    assert!(server.asked.lock().unwrap()[1].1.contains("after=1000"));
}

#[test]
fn a_task_shows_all_that_is_known() {
    let mut all = failed(7, 2);
    all["name"] = json!("tile 7/3");
    all["key"] = json!("tile-7-3");
    all["inbox"] = json!("release");
    all["priority"] = json!(-5);
    all["timeout_seconds"] = json!(7200.0);
    all["after"] = json!([{"task": 3, "count": 1}, {"task": 4, "count": 10}]);
    all["constraints"] = json!({"rack": "r1"});
    all["env"] = json!({"STAGE": "prod", "TILE": "7"});
    all["outcome"]["value_truncated"] = json!(true);
    all["outcome"]["value_bytes"] = json!(65536);
    let server = Server::default().ok("GET /v1/tasks/7", all);
    insta::assert_snapshot!(server.run(&["task", "7"]).text(), @r#"
    task         7
    state        failed
    why          exited with code 2
    exit code    2
    name         tile 7/3
    queue        maps/render
    runs         render 7
    demand       cpus=2 db_connections=1.5 mem=4GiB
    environment  STAGE=prod TILE=7
    constraints  rack=r1
    after        3 4-13
    priority     -5
    retries      2
    timeout      2h 0m
    key          tile-7-3
    inbox        release
    submitted    2026-11-22 13:05:00 UTC
    ended        2026-11-22 13:07:02 UTC
    value        64.0KiB, cut
    used         1m 2s wall, 1m 58s cpu, 3.3GiB memory at most

    ATTEMPT  AGENT  LAUNCHED                  WALL     CPU  MEMORY  END
          1  m1     2026-11-22 13:06:00 UTC  1m 2s  1m 58s  3.3GiB  exited with code 0
    "#);
}

#[test]
fn queues_are_a_tree() {
    let queue = |path: &str, is_leaf: bool, weight: f64, used: Value, share: f64| {
        json!({
            "path": path, "is_leaf": is_leaf, "weight": weight, "policy": "drf", "used": used,
            "max": match path {
                "maps/render" => json!({"db_connections": 20, "mem": 1_048_576}),
                "search" => json!({"cpus": 0}),
                _ => json!({}),
            },
            "share": {}, "dominant_share": {"fraction": "1/3", "decimal": share},
            "dominant_resource": if share > 0.0 { json!("cpus") } else { Value::Null },
            "tasks": {"waiting": 1, "queued": 12, "launching": 1, "running": 3, "cancelling": 0},
            "n_unsatisfiable": u64::from(path == "search"),
        })
    };
    let used = json!({"cpus": 3.5, "mem": 6144, "db_connections": 0});
    let queues = json!({"queues": [
        queue("maps", false, 3.0, used.clone(), 0.333_333),
        queue("search", true, 0.5, json!({}), 0.0),
        queue("maps/render", true, 1.0, used, 0.333_333),
        queue("maps/print", true, 1.0, json!({}), 0.0),
    ]});
    let server = Server::default().ok("GET /v1/queues", queues);
    insta::assert_snapshot!(server.run(&["queues"]).text(), @r#"
    QUEUE     WEIGHT  WAITING  QUEUED  RUNNING  SHARE   DUE  OF    USED               MAX                         REMARK
    maps           3        1      12        4  33.3%  0.0%  cpus  cpus=3.5 mem=6GiB  -                           drf
      render       1        1      12        4  33.3%  0.0%  cpus  cpus=3.5 mem=6GiB  db_connections=20 mem=1TiB
      print        1        1      12        4   0.0%  0.0%  -     -                  -
    search       0.5        1      12        4   0.0%  0.0%  -     -                  cpus=0                      1 task can never run as things are
    "#);
}

#[test]
fn agents_and_resources_are_tables() {
    let server = Server::default()
        .ok("GET /v1/agents", json!({"agents": [{
            "name": "m1", "total": {"cpus": 8, "mem": 31_947.5}, "used": {"cpus": 3.5, "mem": 6144},
            "offered": {}, "attributes": {"rack": "r1", "room": "b"}, "attempts": ["7.1", "8.2"],
        }]}))
        .ok("GET /v1/resources", json!({"resources": [
            {"name": "cpus", "scope": "host", "capacity": 8, "used": 3.5, "outside": 0, "free": 4.5},
            {"name": "db_connections", "scope": "cluster", "capacity": 40, "used": 12, "outside": 8, "free": 20},
            {"name": "mem", "scope": "host", "capacity": 32_768, "used": 6144, "outside": 0, "free": 26_624},
        ]}));
    insta::assert_snapshot!(server.run(&["agents"]).text(), @r#"
    AGENT  TASKS  USED / TOTAL                  ATTRIBUTES
    m1         2  cpus 3.5/8, mem 6GiB/31.2GiB  rack=r1 room=b
    "#);
    insta::assert_snapshot!(server.run(&["resources"]).text(), @r#"
    RESOURCE        SCOPE    CAPACITY  USED  OUTSIDE   FREE
    cpus            host            8   3.5        0    4.5
    db_connections  cluster        40    12        8     20
    mem             host        32GiB  6GiB        0  26GiB
    "#);
    let json = server.run(&["resources", "--json"]).stdout;
    assert_eq!(
        serde_json::from_str::<Value>(&json).unwrap()["resources"][1]["free"],
        20
    );
}

#[test]
fn explain_says_what_a_task_waits_for() {
    let reason =
        |code: &str, message: &str| json!({"code": code, "message": message, "detail": null});
    let server = Server::default()
        .ok("GET /v1/tasks/7/explain", json!({
            "id": 7, "state": "queued", "queue": "maps/render", "n_ahead": 12, "ahead": [4, 5, 6],
            "reasons": [reason("lacks", "lacks cpus: demands 4, and 1.5 are free on m1, where least is missing")],
            "attempts": [],
        }))
        .ok("GET /v1/tasks/8/explain", json!({
            "id": 8, "state": "running", "queue": "maps/render", "n_ahead": 0, "ahead": [], "reasons": [],
            "attempts": [{"attempt": 2, "agent": "m1", "launched_at": "2026-11-22T13:06:00.000Z", "waited_seconds": 3,
                "cause": "turn", "keys": [
                    {"queue": "maps", "kind": "use", "fraction": "1/8", "decimal": 0.125},
                    {"queue": "maps/render", "kind": "order", "fraction": null, "decimal": null},
                ]}],
        }));
    insta::assert_snapshot!(server.run(&["explain", "7"]).text(), @r#"
    task 7 is queued in queue maps/render
    12 tasks of its queue go before it: 4, 5, 6, …
    - lacks cpus: demands 4, and 1.5 are free on m1, where least is missing
    "#);
    insta::assert_snapshot!(server.run(&["explain", "8"]).text(), @r#"
    task 8 is running in queue maps/render
    attempt 2 is on m1: launched on its offer at 2026-11-22 13:06:00 UTC, after it could have run for 3s; it was the turn of maps 1/8 (0.1250), in it of maps/render
    "#);
}

#[test]
fn check_prints_the_tree_or_every_error() {
    for file in ["team", "db_connections"] {
        let path = format!("{}/config/examples/{file}.toml", env!("CARGO_MANIFEST_DIR"));
        let ran = run(&["check", "--config", &path]);
        insta::assert_snapshot!(file, ran.text().replace(env!("CARGO_MANIFEST_DIR"), "."));
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wrong.toml");
    std::fs::write(&file, "[queues.a]\nweight = 0\n[sever]\n").unwrap();
    let file = file.to_str().unwrap();
    let ran = run(&["check", "--config", file]);
    insta::assert_snapshot!(ran.text().replace(file, "wrong.toml"), @r#"
    --- stderr
    wrong.toml:2:10: queues.a.weight: must be above 0 and at most 4294967, with at most three digits behind the point, but is 0
    wrong.toml:3:2: sever: unknown key; did you mean 'server'?; known here: server, policy, tasks, resources, queues, backend, metrics, traces, python
    --- exit code 2
    "#);
    let ran = run(&["check", "--config", file, "--json"]);
    assert_eq!(ran.code, exit::USAGE);
    let errors: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&errors["valid"], &errors["errors"][0]["line"]),
        (&json!(false), &json!(2))
    );
}

#[test]
fn errors_say_what_to_do() {
    let server = Server::default().refuses(
        "GET /v1/tasks/9",
        404,
        "unknown_task",
        "unknown task 9",
        Value::Null,
    );
    insta::assert_snapshot!(server.run(&["task", "9"]).text(), @r#"
    --- stderr
    apportion: unknown task 9
    --- exit code 3
    "#);
    // Nothing listens on the port that is known to be reserved.
    insta::assert_snapshot!(run(&["--server", "http://127.0.0.1:1", "tasks"]).text(), @r#"
    --- stderr
    apportion: can't reach http://127.0.0.1:1: connection refused; is the daemon running? start one with `apportion serve`, or set --server
    --- exit code 3
    "#);
    insta::assert_snapshot!(run(&["--server", "ftp://x", "tasks"]).text(), @r#"
    --- stderr
    apportion: 'ftp://x' is no URL of a daemon: only http:// and https:// are spoken; write it such as http://127.0.0.1:7070
    --- exit code 2
    "#);
    insta::assert_snapshot!(run(&["--server", "localhost", "tasks"]).text(), @r#"
    --- stderr
    apportion: 'localhost' is no URL of a daemon: relative URL without a base; write it such as http://127.0.0.1:7070
    --- exit code 2
    "#);
    let other = Server::default().on("GET /v1/queues", Canned::Json(418, json!("a teapot")));
    let said = other.run(&["queues"]);
    assert_eq!(said.code, exit::REFUSED);
    assert!(
        said.stderr.contains("not as an Apportion daemon") && said.stderr.contains("418"),
        "{}",
        said.stderr
    );
}

#[test]
fn usage_errors_say_what_is_known() {
    insta::assert_snapshot!(run(&["tasks", "--state", "happy"]).text(), @r#"
    --- stderr
    error: invalid value 'happy' for '--state <STATE>'
      [possible values: waiting, queued, launching, running, cancelling, succeeded, failed, cancelled]

    For more information, try '--help'.
    --- exit code 2
    "#);
    insta::assert_snapshot!(run(&["submit", "--mem", "4GB", "--", "true"]).text(), @r#"
    --- stderr
    error: invalid value '4GB' for '--mem <SIZE>': unknown unit 'GB'; write GiB (powers of 1024), such as "4GiB"

    For more information, try '--help'.
    --- exit code 2
    "#);
    insta::assert_snapshot!(run(&["submit", "--timeout", "10", "--", "true"]).text(), @r#"
    --- stderr
    error: invalid value '10' for '--timeout <DURATION>': '10' has no unit; write one of ms, s, m, h, d, such as "10s"

    For more information, try '--help'.
    --- exit code 2
    "#);
    insta::assert_snapshot!(run(&["wait", "9-7"]).text(), @r#"
    --- stderr
    error: invalid value '9-7' for '<ID>...': write a task's id such as 7, or those of an array such as 7-106

    For more information, try '--help'.
    --- exit code 2
    "#);
    assert_eq!(run(&["submit", "--queue", "a"]).code, exit::USAGE);
    assert_eq!(
        run(&["submit", "--file", "/nonexistent/tasks.jsonl"]).code,
        exit::USAGE
    );
    assert_eq!(
        run(&["serve", "--config", "/nonexistent/a.toml"]).code,
        exit::USAGE
    );
}

#[test]
fn help_has_examples_and_exit_codes() {
    insta::assert_snapshot!(run(&["--help"]).text());
    insta::assert_snapshot!("help_of_submit", run(&["submit", "-h"]).text());
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(&["completions", shell]);
        assert!(ran.stdout.contains("submit") && ran.code == 0, "{shell}");
    }
}
