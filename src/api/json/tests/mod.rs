//! Tests of the bodies: what is read, down to the text of each refusal.

mod shown;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::Amount;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::api::ApiError;
use crate::api::submit::{Understood, understand};
use crate::engine::request::After;
use crate::engine::spec::{ArrayRange, Run};
use crate::engine::{TaskId, TaskSpec};

fn amount(text: &str) -> Amount {
    text.parse().unwrap()
}

fn read(body: &str) -> Result<Understood, ApiError> {
    let defaults = BTreeMap::from([
        (Arc::from("cpus"), amount("1")),
        (Arc::from("mem"), amount("512")),
    ]);
    understand(body.as_bytes(), &defaults)
}

fn read_one(body: &str) -> crate::engine::request::NewTask {
    let understood = read(body).unwrap();
    assert!(understood.single);
    understood.tasks.into_iter().next().unwrap()
}

/// A task object with one more field, as text, so that numbers stay as they are written.
fn with(field: &str) -> String {
    format!(r#"{{"run": {{"command": "true"}}, {field}}}"#)
}

fn refused(body: &str) -> String {
    let error = read(body).unwrap_err();
    format!("{} {}: {error}", error.status().as_u16(), error.code())
}

#[test]
fn a_task_object_with_every_field() {
    let task = read_one(
        r#"{"queue": "maps/render", "name": "tile 7/3", "key": "tile-7-3", "inbox": "release",
            "demand": {"cpus": 0.25, "mem": "4GiB", "db_connections": 3},
            "run": {"command": "render --tile 7/3"},
            "env": {"STAGE": "prod"}, "priority": -3, "retries": 2, "timeout": "2h", "kill_grace": 1.5,
            "after": [7, "build"], "constraints": {"rack": "r1"}, "array": "0-99:2"}"#,
    );
    let spec = TaskSpec {
        queue: "maps/render".into(),
        name: "tile 7/3".into(),
        key: Some("tile-7-3".into()),
        inbox: Some("release".into()),
        demand: Arc::new(BTreeMap::from([
            ("cpus".into(), amount("0.25")),
            ("db_connections".into(), amount("3")),
            ("mem".into(), amount("4096")),
        ])),
        run: Run::Command("render --tile 7/3".into()),
        env: BTreeMap::from([("STAGE".into(), "prod".into())]),
        priority: -3,
        retries: 2,
        timeout: Some(Duration::from_secs(7200)),
        kill_grace: Some(Duration::from_millis(1500)),
        constraints: Arc::new(BTreeMap::from([("rack".into(), "r1".into())])),
        array: Some(ArrayRange {
            first: 0,
            last: 98,
            step: 2,
        }),
    };
    assert_eq!(task.spec, spec);
    let after = vec![After::Task(TaskId(7)), After::Key("build".into())];
    assert_eq!(task.after, after);
}

#[test]
fn what_a_task_leaves_out_is_filled_in() {
    let spec = read_one(r#"{"run": {"argv": ["true"]}}"#).spec;
    assert_eq!(&*spec.queue, "default");
    assert_eq!(spec.run, Run::Argv(Box::new(["true".into()])));
    assert_eq!(
        spec.demand.get("cpus"),
        Some(&amount("1")),
        "from the configuration"
    );
    assert_eq!((spec.key, spec.timeout, spec.array), (None, None, None));
    let spec = read_one(&with(
        r#""demand": {"cpus": 0, "gpus": "0.5"}, "key": null, "timeout": null"#,
    ))
    .spec;
    let demand = BTreeMap::from([
        ("gpus".into(), amount("0.5")),
        ("mem".into(), amount("512")),
    ]);
    assert_eq!(*spec.demand, demand, "entry by entry, zeros left out");
}

#[test]
fn amounts_are_read_to_the_last_digit() {
    for (written, meant) in [
        ("2", "2"),
        ("0.001", "0.001"),
        ("281474976710.655", "281474976710.655"),
        ("\"1.5\"", "1.5"),
        ("2.5000", "2.5"),
    ] {
        let spec = read_one(&with(&format!(r#""demand": {{"cpus": {written}}}"#))).spec;
        assert_eq!(spec.demand["cpus"], amount(meant), "{written}");
    }
    for (written, message) in [
        (
            "0.1000000000000000000001",
            "has more than three digits behind the point",
        ),
        ("281474976710.656", "is too large"),
        ("1e3", "is not a number such as 2 or 0.5"),
        ("-1", "is negative"),
        ("\"2 cores\"", "is not a number such as 2 or 0.5"),
    ] {
        let refused = refused(&with(&format!(r#""demand": {{"cpus": {written}}}"#)));
        let expected = format!(
            "422 invalid_field: demand.cpus: '{}' {message}",
            written.trim_matches('"')
        );
        assert_eq!(refused, expected);
    }
}

/// One more field of a task object, and what is said about it.
const WRONG_FIELDS: &[(&str, &str)] = &[
    (
        r#""quue": "a""#,
        "quue: unknown field `quue`, expected one of `queue`, `name`, `key`, `inbox`, `demand`, `run`, `env`, `priority`, `retries`, `timeout`, `kill_grace`, `after`, `constraints`, `array`",
    ),
    (r#""queue": """#, "queue: may not be empty"),
    (
        r#""queue": 7"#,
        "queue: invalid type: integer `7`, expected a string",
    ),
    (
        r#""name": "a\nb""#,
        "name: the control character '\\n' may not stand here",
    ),
    (r#""key": """#, "key: may not be empty"),
    (r#""inbox": "a/b""#, "inbox: an inbox's name has no '/'"),
    (
        r#""demand": {"mem": "4GB"}"#,
        "demand.mem: unknown unit 'GB'; write GiB (powers of 1024), such as \"4GiB\"",
    ),
    (
        r#""demand": {"mem": true}"#,
        "demand.mem: expected a number or a text, not a boolean",
    ),
    (
        r#""demand": {"mem": null}"#,
        "demand.mem: expected a number or a text, not null",
    ),
    (
        r#""demand": [1]"#,
        "demand: invalid type: sequence, expected an object of amounts by resource, such as {\"cpus\": 2, \"mem\": \"4GiB\"}",
    ),
    (
        r#""demand": {"cpus": 1, "cpus": 2}"#,
        "demand: 'cpus' stands here twice",
    ),
    (
        r#""env": {"A=B": "c"}"#,
        "env: the variable name \"A=B\" may not contain '='",
    ),
    (r#""env": {"": "c"}"#, "env: a variable needs a name"),
    (
        r#""env": {"A": "b\u0000c"}"#,
        "env.A: the character NUL can't be passed to a program",
    ),
    (
        r#""env": {"A": 1}"#,
        "env.A: invalid type: integer `1`, expected a string",
    ),
    (
        r#""priority": 2147483648"#,
        "priority: invalid value: integer `2147483648`, expected i32",
    ),
    (
        r#""priority": 1.5"#,
        "priority: invalid type: floating point `1.5`, expected i32",
    ),
    (
        r#""retries": -1"#,
        "retries: invalid value: integer `-1`, expected u32",
    ),
    (
        r#""retries": 1001"#,
        "retries: 1001 are too many; at most 1000",
    ),
    (
        r#""timeout": "2 parsecs""#,
        "timeout: '2 parsecs' is not a duration; write a number with ms, s, m, h or d, such as \"10s\" or \"1h 30m\"",
    ),
    (
        r#""timeout": "10""#,
        "timeout: '10' has no unit; write one of ms, s, m, h, d, such as \"10s\"",
    ),
    (
        r#""timeout": 0"#,
        "timeout: a timeout must be above 0; leave it out for none",
    ),
    (r#""timeout": -5"#, "timeout: '-5' is negative"),
    (
        r#""timeout": [1]"#,
        "timeout: expected a duration such as \"2h\" or a number of seconds, not an array",
    ),
    (
        r#""timeout": 99999999999"#,
        "timeout: '99999999999' is longer than 100 years",
    ),
    (
        r#""kill_grace": "2d""#,
        "kill_grace: a kill_grace is at most 24h",
    ),
    (
        r#""after": [0]"#,
        "after[0]: invalid value: integer `0`, expected the id of a task (a positive integer) or the key of one (a text)",
    ),
    (
        r#""after": [1, {}]"#,
        "after[1]: invalid type: map, expected the id of a task (a positive integer) or the key of one (a text)",
    ),
    (
        r#""constraints": {"rack": "a\tb"}"#,
        "constraints.rack: the control character '\\t' may not stand here",
    ),
    (
        r#""array": "9""#,
        "array: '9' is no array; write FIRST-LAST or FIRST-LAST:STEP, such as \"0-99\" or \"0-98:2\"",
    ),
    (
        r#""array": "9-0""#,
        "array: '9-0': the first index lies behind the last",
    ),
    (
        r#""array": "0-9:0""#,
        "array: '0-9:0': the step must be above 0",
    ),
    (
        r#""array": "0-4294967295""#,
        "array: '0-4294967295': an array has at most 10000000 tasks",
    ),
    (
        r#""array": "+1-2""#,
        "array: '+1-2' is no array; write FIRST-LAST or FIRST-LAST:STEP, such as \"0-99\" or \"0-98:2\"",
    ),
];

#[test]
fn every_wrong_field_is_named() {
    for (field, expected) in WRONG_FIELDS {
        assert_eq!(
            refused(&with(field)),
            format!("422 invalid_field: {expected}"),
            "{field}"
        );
    }
    let long = "x".repeat(257);
    let message = "257 bytes are too long; at most 256";
    for field in ["name", "key", "inbox"] {
        let refused = refused(&with(&format!(r#""{field}": "{long}""#)));
        assert_eq!(refused, format!("422 invalid_field: {field}: {message}"));
    }
}

#[test]
fn what_runs_is_exactly_one_thing() {
    for (run, expected) in [
        (
            "{}",
            "422 invalid_field: run: name exactly one of command, argv and python, not 0",
        ),
        (
            r#"{"command": "a", "argv": ["b"]}"#,
            "422 invalid_field: run: name exactly one of command, argv and python, not 2",
        ),
        (
            r#"{"command": " "}"#,
            "422 invalid_field: run.command: an empty command runs nothing; give a shell line",
        ),
        (
            r#"{"command": "a\u0000b"}"#,
            "422 invalid_field: run.command: the character NUL can't be passed to a program",
        ),
        (
            r#"{"argv": []}"#,
            "422 invalid_field: run.argv: the first entry names the program and may not be missing or empty",
        ),
        (
            r#"{"argv": [""]}"#,
            "422 invalid_field: run.argv: the first entry names the program and may not be missing or empty",
        ),
        (
            r#"{"argv": ["a", "b\u0000"]}"#,
            "422 invalid_field: run.argv[1]: the character NUL can't be passed to a program",
        ),
        (
            r#"{"argv": "a b"}"#,
            "422 invalid_field: run.argv: invalid type: string \"a b\", expected an array of texts",
        ),
        (
            r#"{"comand": "a"}"#,
            "422 invalid_field: run.comand: unknown field `comand`, expected one of `command`, `argv`, `python`",
        ),
        (
            r#""true""#,
            "422 invalid_field: run: invalid type: string \"true\", expected an object",
        ),
        (
            r#"{"python": "gASV", "argv": ["true"]}"#,
            "422 invalid_field: run: name exactly one of command, argv and python, not 2",
        ),
        (
            r#"{"python": ""}"#,
            "422 invalid_field: run.python: an empty pickle runs nothing; give a pickled object with a method run()",
        ),
    ] {
        assert_eq!(refused(&format!(r#"{{"run": {run}}}"#)), expected, "{run}");
    }
    assert_eq!(
        refused("{}"),
        "422 invalid_field: the body: missing field `run`"
    );
    let long = "x".repeat(128 * 1024);
    assert_eq!(
        refused(&format!(r#"{{"run": {{"command": "{long}"}}}}"#)),
        "422 invalid_field: run.command: 131072 bytes are too long for the system, which takes 131071; put them into a file"
    );
    let env: BTreeMap<String, &str> = (0..9)
        .map(|index| (format!("V{index}"), &long[..120_000]))
        .collect();
    let body = json!({"run": {"command": "true"}, "env": env}).to_string();
    assert_eq!(
        refused(&body),
        "422 invalid_field: run: command and environment have 1080040 bytes together, at most 1048576 are possible; \
         put the rest into a file"
    );
}

#[test]
fn a_pickle_is_what_a_task_runs_and_part_of_its_digest() {
    let digest = |pickle: &[u8]| {
        let body = json!({"run": {"python": STANDARD.encode(pickle)}}).to_string();
        let task = read_one(&body);
        assert_eq!(task.spec.run, Run::Python(pickle.into()));
        task.digest
    };
    assert_eq!(digest(b"\x80\x05a"), digest(b"\x80\x05a"));
    assert_ne!(digest(b"\x80\x05a"), digest(b"\x80\x05b"));
    // Larger than any command line, and no command line.
    digest(&vec![7; 3 << 20]);
}

#[test]
fn many_tasks_are_named_by_their_place() {
    let body = r#"{"tasks": [{"run": {"command": "a"}}, {"run": {"command": "b"}, "demand": {"mem": "1G"}}]}"#;
    let error = read(body).unwrap_err();
    assert_eq!(
        error.body().error.detail,
        Some(json!({"path": "tasks[1].demand.mem", "line": 1, "column": 87}))
    );
    assert_eq!(
        refused(r#"{"tasks": [{"run": {"python": "x_"}}]}"#),
        "422 invalid_field: tasks[0].run.python: is not base64: Invalid symbol 95, offset 1."
    );
    assert_eq!(
        refused(r#"{"tasks": [], "queue": "a"}"#),
        "422 invalid_field: queue: unknown field `queue`, expected `tasks`"
    );
    assert_eq!(
        refused(r#"{"tasks": {}}"#),
        "422 invalid_field: tasks: invalid type: map, expected a sequence"
    );
    let understood = read(r#"{"tasks": [{"run": {"command": "a"}}]}"#).unwrap();
    assert!(!understood.single);
    assert!(read(r#"{"tasks": []}"#).unwrap().tasks.is_empty());
}

#[test]
fn the_ten_thousand_and_first_task_is_too_much() {
    let task = r#"{"run": {"command": "a"}}"#;
    let batch = |n_tasks| format!(r#"{{"tasks": [{}]}}"#, vec![task; n_tasks].join(","));
    assert_eq!(read(&batch(10_000)).unwrap().tasks.len(), 10_000);
    assert_eq!(
        refused(&batch(10_001)),
        "422 too_many_in_call: 10001 tasks in one call; send at most 10000 at a time, or an array"
    );
}

#[test]
fn what_is_no_json_is_found_by_line_and_column() {
    for (body, expected) in [
        (
            "{\"run\":\n {,}}",
            "400 invalid_json: the body is not valid JSON: key must be a string at line 2, column 3",
        ),
        (
            "{\"run\": {\"command\": \"a\"}",
            "400 invalid_json: the body is not valid JSON: EOF while parsing an object at line 1, column 24",
        ),
        (
            "{} {}",
            "400 invalid_json: the body is not valid JSON: trailing characters at line 1, column 4",
        ),
        (
            "queue=a",
            "400 invalid_json: the body is not valid JSON: expected value at line 1, column 1",
        ),
        (
            "",
            "422 invalid_field: the body: is empty; send a task object or {\"tasks\": [...]}",
        ),
        (
            "[]",
            "422 invalid_field: the body: invalid type: sequence, expected an object",
        ),
        (
            "\"\\ud800\"",
            "400 invalid_json: the body is not valid JSON: unexpected end of hex escape at line 1, column 8",
        ),
    ] {
        assert_eq!(refused(body), expected, "{body}");
    }
    let error =
        understand(b"{\"run\":\n {\"command\": \"caf\xe9\"}}", &BTreeMap::new()).unwrap_err();
    assert_eq!(
        format!("{} {error}", error.status().as_u16()),
        "400 the body is not valid UTF-8 at line 2, column 18"
    );
    assert_eq!(error.code(), "invalid_utf8");
    let deep = format!("{{\"demand\": {}", "[".repeat(100_000));
    assert!(
        refused(&deep).starts_with("400 invalid_json"),
        "no stack overflow"
    );
}

#[test]
fn the_digest_sees_what_is_meant_and_not_how_it_is_written() {
    let digest = |body: &str| read_one(body).digest;
    let one = digest(
        r#"{"run": {"command": "a"}, "demand": {"mem": "4GiB", "cpus": 2}, "timeout": "1h 30m", "key": "k", "after": [1, 2]}"#,
    );
    let same = digest(
        r#"{"after": [2, 1, 1], "timeout": 5400, "demand": {"cpus": "2.0", "mem": 4096}, "queue": "default", "run": {"command": "a"}}"#,
    );
    assert_eq!(one, same);
    for other in [
        r#"{"run": {"command": "b"}, "demand": {"mem": "4GiB", "cpus": 2}, "timeout": 5400, "after": [1, 2]}"#,
        r#"{"run": {"command": "a"}, "demand": {"mem": "4GiB", "cpus": 2}, "timeout": 5400, "after": [1]}"#,
        r#"{"run": {"command": "a"}, "demand": {"mem": "4GiB", "cpus": 2}, "timeout": 5400, "after": ["1", "2"]}"#,
        r#"{"run": {"argv": ["a"]}, "demand": {"mem": "4GiB", "cpus": 2}, "timeout": 5400, "after": [1, 2]}"#,
        r#"{"run": {"command": "a"}, "demand": {"mem": "4GiB"}, "timeout": 5400, "after": [1, 2]}"#,
    ] {
        assert_ne!(one, digest(other), "{other}");
    }
    // The form is kept in databases: where this value changes, repeated keys of older tasks would be refused.
    let kept = blake3::Hash::from_bytes(
        [digest(r#"{"run": {"command": "true"}}"#), [0; 16]]
            .concat()
            .try_into()
            .unwrap(),
    );
    assert_eq!(&kept.to_hex()[..32], "d56355f8d4bc1b915e94685ceac24d8d");
}
