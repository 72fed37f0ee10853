//! Tasks that take too much, each beside one that does its work: the first is ended and its cause named, the second
//! doesn't notice.

use serde_json::{Value, json};

use super::{USERS, folder, has_users, output_of, shell};
use crate::support::daemon::Daemon;
use crate::support::programs::missing;
use crate::support::wait;

/// What a neighbour does meanwhile: starts processes, writes files, takes memory.
const WORK: &str = "i=0; while [ $i -lt 20 ]; do i=$((i+1)); echo $i > f$i; sleep 0.05; done; cat f* | wc -l; \
                    head -c 10000000 /dev/zero | tail -c 10000000 | wc -c";

const WORKED: &str = "20\n10000000\n";

/// A daemon whose demands are enforced this way; `None` where it may not.
fn start(folder: &tempfile::TempDir, mode: &str, queues: &str) -> Option<Daemon> {
    let config = format!("{queues}[queues.good]\n[backend]\nlimits = \"{mode}\"\n");
    match Daemon::try_start(folder.path(), &config) {
        Ok(daemon) => Some(daemon),
        Err(error) if mode == "cgroup" && error.contains("cgroup") => {
            missing("cgroup", "run as root, where cgroups may be made");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Runs `bad` beside a neighbour in each of these modes; gives the cause of its end, and insists on this code.
fn beside_a_neighbour(modes: &[&str], queue: &str, bad: &Value, code: &str, message: &str) {
    for mode in modes {
        let folder = folder();
        let Some(daemon) = start(&folder, mode, queue) else {
            continue;
        };
        let good = daemon.http.submit(&shell("good", WORK));
        daemon.http.wait_state(good, "running");
        let bad = daemon.http.submit(bad);
        let ended = daemon.http.wait_ended(bad);
        assert_eq!(ended["state"], "failed", "{mode}: {ended}");
        let cause = &ended["outcome"]["cause"];
        assert_eq!(cause["code"], code, "{mode}: {ended}");
        let said = cause["message"].as_str().unwrap();
        assert!(said.contains(message), "{mode}: {said}");
        // A person reads the same.
        for command in ["task", "explain"] {
            let shown = daemon.cli(&[command, &bad.to_string()], 0);
            assert!(shown.contains(message), "{mode}: {shown}");
        }
        let good = daemon.http.wait_ended(good);
        assert_eq!(good["state"], "succeeded", "{mode}: {good}");
        let output = daemon.http.get(&format!("/v1/tasks/{}/result", good["id"]));
        assert_eq!(output.text(), WORKED, "{mode}");
        nothing_left(&daemon);
    }
}

/// What was ended is gone, the last process of it.
fn nothing_left(daemon: &Daemon) {
    wait::for_true("all attempts to be gone", || {
        let queues = daemon.http.get("/v1/queues").expect(200);
        let queues = queues["queues"].as_array().unwrap();
        queues
            .iter()
            .all(|queue| queue["tasks"]["running"].as_u64().unwrap_or(0) == 0)
    });
}

fn bad(line: &str) -> Value {
    shell("bad", line)
}

#[test]
fn a_fork_bomb() {
    let queue = "[queues.bad]\nlimits = { processes = 100 }\n";
    let message = "more than 100 processes and threads at once";
    // Doubling itself, where the kernel stops it; where it is only watched, as fast as one shell can.
    let bomb = bad("b() { b | b & }; b; sleep 1000");
    beside_a_neighbour(&["cgroup"], queue, &bomb, "too_many_processes", message);
    let bomb = bad("while :; do sleep 1000 & done");
    let modes = ["cgroup", "watch", "off"];
    beside_a_neighbour(&modes, queue, &bomb, "too_many_processes", message);
    // Out of its process group, too.
    let bomb = bad("while :; do setsid sleep 1000 & done");
    beside_a_neighbour(&["cgroup"], queue, &bomb, "too_many_processes", message);
}

#[test]
fn a_fork_bomb_of_a_user_of_its_own_without_cgroups() {
    if !has_users() {
        return;
    }
    let (user, _) = USERS[0];
    let queue = format!("[queues.bad]\nuser = \"{user}\"\nlimits = {{ processes = 100 }}\n");
    // One that goes on when it is refused another process: a shell gives up.
    let bomb = bad("perl -e 'fork while 1'");
    let message = "more than 100 processes and threads at once";
    beside_a_neighbour(&["watch"], &queue, &bomb, "too_many_processes", message);
}

#[test]
fn a_disk_filler() {
    let queue = "[queues.bad]\nlimits = { disk = \"8MiB\" }\n";
    let line = "mkdir -p a/b; while :; do i=$((i+1)); head -c 1000000 /dev/zero > a/b/$i; sleep 0.05; done";
    let modes = ["cgroup", "off"];
    beside_a_neighbour(
        &modes,
        queue,
        &bad(line),
        "too_much_disk",
        "disk use over 8MiB",
    );
}

#[test]
fn an_output_flood_is_cut() {
    let queue = "[queues.bad]\nlimits = { output = \"1MiB\" }\n";
    let modes = ["cgroup", "off"];
    for line in ["yes", "yes >&2", "yes & sleep 1000"] {
        beside_a_neighbour(
            &modes,
            queue,
            &bad(line),
            "too_much_output",
            "output over 1MiB",
        );
    }
    let folder = folder();
    let daemon = Daemon::start(folder.path(), queue);
    // Both count, and what is over so quickly that nobody saw it running.
    let line = "head -c 700000 /dev/zero; head -c 700000 /dev/zero >&2";
    let id = daemon.http.submit(&bad(line));
    let ended = daemon.http.wait_ended(id);
    assert_eq!(
        ended["outcome"]["cause"]["code"], "too_much_output",
        "{ended}"
    );
    let length = |stream: &str| {
        let file = folder
            .path()
            .join(format!("data/tasks/0/00/{id}.1.{stream}"));
        file.metadata().unwrap().len()
    };
    assert_eq!(
        (length("stdout"), length("stderr")),
        (700_000, (1 << 20) - 700_000)
    );
    // As much as is allowed is no flood.
    let said = output_of(&daemon, "bad", "head -c 1048576 /dev/zero | tr '\\0' x");
    assert!(!said.is_empty());
}

#[test]
fn a_file_that_grows_and_grows() {
    let queue = "[queues.bad]\nlimits = { file_size = \"1MiB\" }\n";
    for line in [
        "exec head -c 100000000 /dev/zero > big",
        "yes > big; exit $?",
    ] {
        let message = "a file over 1MiB";
        beside_a_neighbour(&["off"], queue, &bad(line), "file_too_large", message);
    }
}

#[test]
fn a_memory_hog() {
    let queue = "[queues.bad]\n";
    let hog = json!({"queue": "bad", "demand": {"cpus": 0.01, "mem": "40MiB"},
        "run": {"command": "head -c 300000000 /dev/zero | tail -c 300000000 | sleep 1000"}});
    let modes = ["cgroup", "watch"];
    beside_a_neighbour(&modes, queue, &hog, "out_of_memory", "used more memory");
}

#[test]
fn open_files_and_core_dumps() {
    let folder = folder();
    let config = "[tasks.limits]\nopen_files = 100\n[queues.a]\n[queues.\"a/b\"]\nlimits = { open_files = 50 }\n\
                  [queues.c]\nlimits = { open_files = \"unlimited\", core_dumps = true }\n";
    let daemon = Daemon::start(folder.path(), config);
    let line = "ulimit -Sn; ulimit -Hn; ulimit -Sc";
    assert_eq!(output_of(&daemon, "a/b", line), "50\n50\n0\n");
    let hard = output_of(&daemon, "c", "ulimit -Hn; ulimit -Hc");
    let (open_files, core) = hard.trim().split_once('\n').unwrap();
    assert!(
        open_files.parse::<u64>().unwrap_or(u64::MAX) > 100,
        "{hard}"
    );
    assert_eq!(output_of(&daemon, "c", "ulimit -Sc"), format!("{core}\n"));
    let many = "exec 3</dev/null; i=0; for f in $(seq 60); do sleep 0 & done; wait; ls /proc/self/fd | wc -l";
    let _ = output_of(&daemon, "a/b", many);
}

#[test]
fn what_bounds_itself_does_not_wait_for_what_starts_beside_it() {
    const N_EACH: usize = 40;
    let folder = folder();
    let config = "[queues.bounded]\nlimits = { open_files = 50 }\n[queues.free]\n";
    let daemon = Daemon::start(folder.path(), config);
    // At once, so that several of both are being started at the same time; none may inherit what another is to become
    // its task by.
    let task = |queue: &str, line: &str| {
        let mut task = shell(queue, line);
        task["demand"] = json!({"cpus": 0.001});
        task
    };
    let tasks: Vec<Value> = (0..N_EACH)
        .flat_map(|_| [task("free", "exec sleep 1000"), task("bounded", "true")])
        .collect();
    let answer = daemon
        .http
        .post("/v1/tasks", &json!({"tasks": tasks}))
        .expect(201);
    let ids = answer["tasks"].as_array().unwrap().iter();
    let ids: Vec<u64> = ids.map(|task| task["id"].as_u64().unwrap()).collect();
    for pair in ids.chunks(2) {
        assert_eq!(daemon.http.wait_ended(pair[1])["state"], "succeeded");
    }
    for pair in ids.chunks(2) {
        assert_eq!(daemon.http.task(pair[0])["state"], "running");
    }
}
