//! The requests' bodies.

use serde_json::{Value, json};

/// The most tasks that one call takes.
pub(crate) const BATCH_MAX: u32 = 10_000;

/// A task of ordinary size: a name, two demands, a command, a limit.
fn task(number: u64, run: &Value) -> Value {
    json!({
        "queue": "load",
        "name": format!("tile {}/{}", number / 1000, number % 1000),
        "demand": {"cpus": 1, "mem": "64MiB"},
        "run": run,
    })
}

/// A command that takes a while, of ordinary length.
fn render(number: u64) -> Value {
    json!({"command": format!("sleep 100000; render --tile {number}")})
}

/// One task object alone.
pub(crate) fn single(number: u64) -> Vec<u8> {
    task(number, &render(number)).to_string().into_bytes()
}

/// A call with `count` tasks.
pub(crate) fn batch(number: u64, count: u32) -> Vec<u8> {
    let tasks: Vec<_> = (number..number + u64::from(count))
        .map(|number| task(number, &render(number)))
        .collect();
    json!({ "tasks": tasks }).to_string().into_bytes()
}

/// An array of `count` tasks that take a while.
pub(crate) fn array(count: u32) -> Vec<u8> {
    array_in("load", count)
}

/// The same in this queue.
pub(crate) fn array_in(queue: &str, count: u32) -> Vec<u8> {
    let mut task = task(0, &render(0));
    task["queue"] = json!(queue);
    task["array"] = json!(format!("0-{}", count - 1));
    task.to_string().into_bytes()
}

/// An array of `count` times `true`.
pub(crate) fn array_of_true(count: u32) -> Vec<u8> {
    let mut task = task(0, &json!({"argv": ["true"]}));
    task["array"] = json!(format!("0-{}", count - 1));
    task.to_string().into_bytes()
}

/// `count` tasks that each run `true`.
pub(crate) fn batch_of_true(count: u32) -> Vec<u8> {
    let run = json!({"argv": ["true"]});
    let tasks: Vec<_> = (0..u64::from(count))
        .map(|number| task(number, &run))
        .collect();
    json!({ "tasks": tasks }).to_string().into_bytes()
}
