//! The command line against the real daemon: what people type, what they see, what scripts can trust.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::daemon::{self, Daemon};
use crate::support::wait;

const CONFIG: &str = "[resources.licences]\nscope = \"cluster\"\ncapacity = 3\n[queues.default]\n[queues.\"maps/render\"]\nweight = 2\n";

fn start() -> (tempfile::TempDir, Daemon) {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), CONFIG);
    (folder, daemon)
}

#[test]
fn run_prints_the_output_and_exits_with_the_tasks_exit_code() {
    let (_folder, daemon) = start();
    let on_default = |code: i32, arguments: &[&str]| {
        daemon.cli(
            &[&["run", "--queue", "default", "--"], arguments].concat(),
            code,
        )
    };
    assert_eq!(on_default(0, &["echo", "hello", "world"]), "hello world\n");
    assert_eq!(on_default(42, &["sh", "-c", "echo out; exit 42"]), "out\n");
    let output = daemon
        .command(&[
            "run",
            "--queue",
            "default",
            "--",
            "sh",
            "-c",
            "echo err >&2",
        ])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "err\n",
        "only the task's own words off a terminal"
    );
}

#[test]
fn submit_wait_result_logs() {
    let (folder, daemon) = start();
    let id = daemon.cli(
        &[
            "submit",
            "--queue",
            "maps/render",
            "--name",
            "tile 7/3",
            "--cpus",
            "0.5",
            "--mem",
            "64MiB",
            "--resource",
            "licences=1",
            "--env",
            "STAGE=prod",
            "--",
            "sh",
            "-c",
            "echo $STAGE; echo oops >&2",
        ],
        0,
    );
    let id = id.trim();
    assert!(id.parse::<u64>().is_ok(), "{id}");
    let _ = daemon.cli(&["wait", id], 0);
    assert_eq!(daemon.cli(&["result", id], 0), "prod\n");
    assert_eq!(daemon.cli(&["logs", id], 0), "prod\n");
    assert_eq!(daemon.cli(&["logs", id, "--stderr"], 0), "oops\n");
    let shown: Value = serde_json::from_str(&daemon.cli(&["task", id, "--json"], 0)).unwrap();
    assert_eq!(
        (&shown["state"], &shown["name"]),
        (&"succeeded".into(), &"tile 7/3".into())
    );
    let table = daemon.cli(&["tasks"], 0);
    assert!(
        table.contains("tile 7/3") && table.contains("succeeded") && table.contains("maps/render"),
        "{table}"
    );
    assert!(
        !table.contains('\u{1b}'),
        "no colour off a terminal: {table:?}"
    );
    drop(folder);
}

#[test]
fn a_failed_task_makes_wait_exit_with_1() {
    let (_folder, daemon) = start();
    let id = daemon.cli(&["submit", "--queue", "default", "--", "false"], 0);
    let _ = daemon.cli(&["wait", id.trim()], 1);
    let again = daemon.cli(&["retry", id.trim()], 0);
    assert!(again.contains(id.trim()), "{again}");
    let _ = daemon.cli(&["wait", id.trim()], 1);
}

#[test]
fn tables_show_queues_agents_and_resources() {
    let (_folder, daemon) = start();
    let queues = daemon.cli(&["queues"], 0);
    for word in ["maps", "render", "default", "2"] {
        assert!(queues.contains(word), "{queues}");
    }
    let agents = daemon.cli(&["agents"], 0);
    assert!(agents.contains("cpus"), "{agents}");
    let resources = daemon.cli(&["resources"], 0);
    assert!(
        resources.contains("licences") && resources.contains("cluster"),
        "{resources}"
    );
    for command in ["queues", "agents", "resources", "tasks"] {
        let text = daemon.cli(&[command, "--json"], 0);
        assert!(
            serde_json::from_str::<Value>(&text).is_ok(),
            "{command}: {text}"
        );
    }
}

#[test]
fn cancel_and_explain() {
    let (_folder, daemon) = start();
    let hungry = ["--queue", "default", "--cpus", "5000", "--", "true"];
    let id = daemon.cli(&[&["submit"], &hungry[..]].concat(), 0);
    let id = id.trim();
    let said = daemon.cli(&["explain", id], 0);
    assert!(
        said.contains("never") && said.contains("cpus") && said.contains("5000"),
        "{said}"
    );
    let _ = daemon.cli(&["cancel", id, "--reason", "a typo"], 0);
    let shown = daemon.cli(&["task", id], 0);
    assert!(
        shown.contains("cancelled") && shown.contains("a typo"),
        "{shown}"
    );
}

#[test]
fn files_and_standard_input_are_submitted_line_by_line() {
    let (folder, daemon) = start();
    let file = folder.path().join("tasks.jsonl");
    let line = r#"{"queue": "default", "run": {"command": "echo from a file"}}"#;
    std::fs::write(&file, format!("{line}\n{line}\n")).unwrap();
    let ids = daemon.cli(&["submit", "--file", file.to_str().unwrap()], 0);
    assert_eq!(ids.lines().count(), 2, "{ids}");
    let mut arguments = vec!["wait"];
    arguments.extend(ids.lines());
    let _ = daemon.cli(&arguments, 0);
    std::fs::write(&file, format!("{line}\n{{\"queue\": \n")).unwrap();
    let output = daemon
        .command(&["submit", "--file", file.to_str().unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("line 2") || said.contains(":2"), "{said}");
}

#[test]
fn logs_follow_a_running_task() {
    let (folder, daemon) = start();
    let go = folder.path().join("go");
    let line = format!(
        "echo one; until [ -e {} ]; do sleep 0.02; done; echo two",
        go.display()
    );
    let id = daemon.cli(
        &["submit", "--queue", "default", "--", "sh", "-c", &line],
        0,
    );
    let file = folder.path().join("followed");
    let mut follower = daemon
        .command(&["logs", id.trim(), "-f"])
        .stdout(std::fs::File::create(&file).unwrap())
        .spawn()
        .unwrap();
    wait::for_true("the first line", || {
        std::fs::read_to_string(&file).unwrap() == "one\n"
    });
    std::fs::write(&go, "").unwrap();
    let status = wait::until("the follower to end", Duration::from_secs(30), || {
        follower.try_wait().unwrap()
    });
    assert!(status.success());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "one\ntwo\n");
}

#[test]
fn usage_refusal_and_absence_have_their_exit_codes() {
    let (_folder, daemon) = start();
    let _ = daemon.cli(&["tasks", "--state", "happy"], 2);
    let _ = daemon.cli(&["submit", "--queue", "default"], 2);
    // An option that isn't known is no command, not even without another behind it; one behind a command is its own.
    for command in ["submit", "run"] {
        let _ = daemon.cli(&[command, "--qeue", "default", "--", "true"], 2);
        let _ = daemon.cli(&[command, "-q", "default", "--qeue"], 2);
        let _ = daemon.cli(&[command, "-q", "default", "sh", "-c", "true"], 0);
    }
    let _ = daemon.cli(&["task", "99"], 3);
    let output = daemon
        .command(&["submit", "--queue", "mops", "--", "true"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("maps/render"), "{said}");
    let mut away = std::process::Command::new(daemon::program());
    let output = away
        .args(["--server", "http://127.0.0.1:1", "tasks"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("127.0.0.1:1") && said.contains("apportion serve"),
        "{said}"
    );
}

#[test]
fn check_prints_the_tree_or_every_error() {
    let folder = tempfile::tempdir().unwrap();
    let check = |config: &str| {
        let file = folder.path().join("a.toml");
        std::fs::write(&file, config).unwrap();
        std::process::Command::new(daemon::program())
            .args(["check", "--config"])
            .arg(&file)
            .output()
            .unwrap()
    };
    let output = check(CONFIG);
    let tree = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    assert!(tree.contains("render") && tree.contains('2'), "{tree}");
    let output = check("[sever]\n[queues.a]\nweight = 0\n[queues.b]\nmax = { wings = 2 }\n");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for word in ["sever", "queues.a.weight", "wings", "server"] {
        assert!(said.contains(word), "{word} is missing in: {said}");
    }
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = std::process::Command::new(daemon::program())
            .args(["completions", shell])
            .output()
            .unwrap();
        assert!(output.status.success());
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("apportion"),
            "{shell}"
        );
    }
}

#[test]
fn an_interrupt_cancels_the_task_and_says_so() {
    let (_folder, daemon) = start();
    let line = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    let run = daemon
        .command(&["run", "--", "sh", "-c", line])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait::for_true("the task to be up", || {
        daemon.http.get("/v1/tasks/1/logs/stdout").body == b"up\n"
    });
    let pid = Pid::from_raw(i32::try_from(run.id()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    let output = run.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("cancelling task 1"), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "up\nbye\n");
    let task = daemon.http.task(1);
    assert_eq!(task["state"], "cancelled");
    assert!(
        task["outcome"].to_string().contains("interrupted"),
        "{task}"
    );
}
