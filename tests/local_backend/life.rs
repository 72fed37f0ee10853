//! What a task finds when it runs, and what is told of its end.

use std::collections::BTreeMap;
use std::time::Duration;

use apportion::backend::local::{AGENT, LocalLogs};
use apportion::backend::{Backend as _, LogStream, Logs as _};
use apportion::config::LimitMode;
use apportion::engine::outcome::{LossReason, VALUE_BYTES_MAX};
use apportion::engine::spec::Run;
use apportion::engine::{AttemptEnd, AttemptId, Decision, TaskId};

use super::{LONG, MODES, Machine, argv, spec};
use crate::support::wait::for_true;

#[test]
fn exit_codes_and_signals_are_told_apart() {
    for mode in MODES {
        let mut machine = Machine::start(mode);
        let cases = [
            ("true", AttemptEnd::Exited { code: 0 }),
            ("exit 3", AttemptEnd::Exited { code: 3 }),
            ("kill -TERM $$", AttemptEnd::Signalled { signal: 15 }),
            ("kill -KILL $$", AttemptEnd::Signalled { signal: 9 }),
            // A realtime signal, which has no name.
            ("kill -40 $$", AttemptEnd::Signalled { signal: 40 }),
            ("exit 255", AttemptEnd::Exited { code: 255 }),
        ];
        for (line, expected) in cases {
            let attempt = machine.shell(line);
            assert_eq!(
                machine.end_of(attempt).end,
                expected,
                "{line} with {mode:?}"
            );
            assert_eq!(
                machine.started.pop_front(),
                Some(attempt),
                "the start was told before the end"
            );
        }
        machine.all_free();
    }
}

#[test]
fn a_task_runs_in_a_directory_and_an_environment_of_its_own() {
    let mut machine = Machine::start(LimitMode::Auto);
    let mut task = spec(
        Run::Command("pwd; env; echo oops >&2; touch kept".into()),
        &[("cpus", 500)],
    );
    task.env = [("STAGE".into(), "prod".into())].into();
    let attempt = machine.launch_spec(task);
    let end = machine.end_of(attempt);
    let text = end.text();
    let (pwd, env) = text.split_once('\n').unwrap();
    assert!(pwd.ends_with(&format!("/{attempt}")), "{pwd}");
    assert!(
        std::path::Path::new(pwd).join("kept").exists(),
        "what a task leaves stays"
    );
    let env: BTreeMap<&str, &str> = env
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    assert_eq!(env["APPORTION_TASK_ID"], "1");
    assert_eq!(env["APPORTION_CPUS"], "0.5");
    assert_eq!(env["STAGE"], "prod");
    assert!(env.contains_key("PATH"));
    assert!(
        !env.contains_key("CARGO_MANIFEST_DIR"),
        "the daemon's own variables stay with it"
    );
    assert_eq!(machine.stdout(attempt), text);
    let stderr = apportion::backend::local::layout::output_file(
        &machine.tasks_dir(),
        attempt,
        LogStream::Stderr,
    );
    assert_eq!(std::fs::read_to_string(stderr).unwrap(), "oops\n");
}

#[test]
fn a_task_inherits_nothing_of_the_keeper() {
    let mut machine = Machine::start(LimitMode::Auto);
    // The listing itself opens the directory as 3.
    let attempt = machine.shell("ls -l /proc/self/fd; grep -E '^Sig(Blk|Ign)' /proc/self/status; tty; ps -o pgid= -p $$; echo $$");
    let text = machine.end_of(attempt).text();
    let fds: Vec<&str> = text.lines().filter(|line| line.contains(" -> ")).collect();
    assert_eq!(fds.len(), 4, "{text}");
    assert!(fds[0].ends_with("0 -> /dev/null"), "{text}");
    // Files of its own, whatever they are called by now.
    let target = |line: &str| line.rsplit_once(" -> ").unwrap().1.to_owned();
    let (stdout, stderr) = (target(fds[1]), target(fds[2]));
    let tasks_dir = machine.tasks_dir().display().to_string();
    assert!(
        stdout.starts_with(&tasks_dir) && stderr.starts_with(&tasks_dir) && stdout != stderr,
        "{text}"
    );
    assert!(text.contains("SigBlk:\t0000000000000000"), "{text}");
    // 32 and 33 are the C library's own, which it leaves so in whatever it spawns.
    let ignored = text
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:\t"))
        .unwrap();
    assert_eq!(
        u64::from_str_radix(ignored, 16).unwrap() & 0x7fff_ffff,
        0,
        "{text}"
    );
    assert!(text.contains("not a tty"), "{text}");
    let ids: Vec<&str> = text.lines().rev().take(2).map(str::trim).collect();
    assert_eq!(ids[0], ids[1], "the first process leads its group");
}

#[tokio::test]
async fn the_value_is_cut_and_the_log_is_whole() {
    let mut machine = Machine::start(LimitMode::Auto);
    let n_bytes = VALUE_BYTES_MAX + 1000;
    let attempt = machine.shell(&format!("head -c {n_bytes} /dev/zero"));
    let end = machine.end_of(attempt);
    assert_eq!(
        (end.value.bytes.len(), end.value.truncated),
        (VALUE_BYTES_MAX, true)
    );
    let logs = LocalLogs::new(machine.tasks_dir());
    let chunk = logs
        .read(attempt, AGENT.into(), LogStream::Stdout, 0, usize::MAX >> 1)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(chunk.bytes.len(), n_bytes);
    let attempt = machine.shell("echo done");
    let end = machine.end_of(attempt);
    assert_eq!(
        (end.text().as_str(), end.value.truncated),
        ("done\n", false)
    );
    let silent = logs
        .read(attempt, AGENT.into(), LogStream::Stderr, 0, 1)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((silent.bytes.len(), silent.total_bytes), (0, 0));
    let unknown = AttemptId {
        task: TaskId(1000),
        number: 1,
    };
    assert_eq!(
        logs.read(unknown, AGENT.into(), LogStream::Stdout, 0, 1)
            .await
            .unwrap(),
        None
    );
}

#[test]
fn what_cannot_be_started_says_why() {
    let mut machine = Machine::start(LimitMode::Auto);
    let mut with_path = spec(argv(["true"]), &[]);
    with_path.env = [("PATH".into(), "/nowhere".into())].into();
    let cases = [
        (
            spec(argv(["no-such-program-anywhere"]), &[]),
            "cannot start 'no-such-program-anywhere': No such file",
        ),
        (
            spec(argv(["/etc/passwd"]), &[]),
            "cannot start '/etc/passwd': Permission denied",
        ),
        (
            spec(argv(["/"]), &[]),
            "cannot start '/': Permission denied",
        ),
        (spec(argv(["echo", "a\0b"]), &[]), "nul byte"),
        (with_path, "cannot start 'true': No such file"),
        (
            spec(
                Run::Argv(["echo".into(), "x".repeat(200_000).into()].into()),
                &[],
            ),
            "Argument list too long",
        ),
    ];
    for (task, expected) in cases {
        let attempt = machine.launch_spec(task);
        match machine.end_of(attempt).end {
            AttemptEnd::NotStarted { message } => assert!(message.contains(expected), "{message}"),
            end @ (AttemptEnd::Exited { .. }
            | AttemptEnd::Signalled { .. }
            | AttemptEnd::OutOfMemory
            | AttemptEnd::OverLimit { .. }
            | AttemptEnd::Killed
            | AttemptEnd::Raised { .. }
            | AttemptEnd::Lost { .. }) => panic!("{end:?} instead of {expected}"),
        }
    }
    machine.all_free();
}

#[test]
fn two_hundred_run_at_once() {
    for mode in MODES {
        let mut machine = Machine::start(mode);
        // Each waits for a file that comes only once all run.
        let (gate, wait) = machine.gate();
        let line = format!("{wait}; echo $APPORTION_TASK_ID");
        let tasks = (0..200)
            .map(|_| spec(Run::Command(line.as_str().into()), &[("cpus", 100)]))
            .collect();
        let attempts = machine.launch_all(tasks);
        machine.take_in_until("the start of all", |machine| machine.started.len() == 200);
        std::fs::write(gate, "").unwrap();
        for attempt in attempts {
            let end = machine.end_of(attempt);
            assert_eq!(end.end, AttemptEnd::Exited { code: 0 });
            assert_eq!(end.text(), format!("{}\n", attempt.task));
        }
        machine.all_free();
    }
}

#[test]
fn the_usage_is_what_was_used() {
    for mode in MODES {
        let mut machine = Machine::start(mode);
        // 64 MiB held, and a child that burns some cpu and is waited for.
        let line = "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; head -c 67108864 /dev/zero | tail -c 67108864 | wc -c";
        let attempt = machine.shell(line);
        let end = machine.end_of(attempt);
        assert_eq!(end.text().trim(), "67108864");
        assert!(
            end.usage.cpu > Duration::from_millis(20),
            "{:?} with {mode:?}",
            end.usage
        );
        assert!(
            end.usage.wall > Duration::from_millis(20),
            "{:?}",
            end.usage
        );
        let peak_mib = end.usage.memory_peak_bytes >> 20;
        assert!(
            (64..200).contains(&peak_mib),
            "{peak_mib} MiB with {mode:?}"
        );
        let attempt = machine.shell("true");
        let end = machine.end_of(attempt);
        assert!(
            end.usage.memory_peak_bytes < 32 << 20,
            "{:?} with {mode:?}",
            end.usage
        );
        assert!(end.usage.cpu < Duration::from_secs(2) && end.usage.wall < Duration::from_secs(20));
    }
}

#[test]
fn offers_follow_what_is_held() {
    let mut machine = Machine::start(LimitMode::Off);
    let sleep = || argv(["sleep", "1000"]);
    let attempts = machine.launch_all(vec![
        spec(sleep(), &[("cpus", 60_000), ("db_connections", 5000)]),
        // One cpu too many: no offer bears it.
        spec(sleep(), &[("cpus", 5000)]),
        spec(sleep(), &[("cpus", 4000), ("mem", 1000)]),
    ]);
    let dropped = AttemptEnd::Lost {
        reason: LossReason::LaunchDropped,
    };
    assert_eq!(machine.end_of(attempts[1]).end, dropped);
    assert_eq!(machine.free.get("cpus"), None, "all cpus are taken");
    machine.kill(attempts[0], LONG);
    assert_eq!(machine.end_of(attempts[0]).end, AttemptEnd::Killed);
    machine.take_in_until("60 cpus", |machine| {
        machine.free.get("cpus") == Some(&super::units(60))
    });
    machine.kill(attempts[2], LONG);
    machine.end_of(attempts[2]);
    machine.all_free();
    // Offers that are used up hold nothing.
    let stale = Decision::Accept {
        agent: "local".into(),
        offers: Vec::new(),
        launches: Vec::new(),
    };
    machine.backend.act(stale);
    let attempt = machine.shell("true");
    machine.end_of(attempt);
    machine.all_free();
}

#[test]
fn attempts_of_an_earlier_daemon_are_lost() {
    let mut machine = Machine::start(LimitMode::Off);
    let attempt = AttemptId {
        task: TaskId(77),
        number: 2,
    };
    machine.backend.reconcile(vec![attempt]);
    let expected = AttemptEnd::Lost {
        reason: LossReason::DaemonRestarted,
    };
    assert_eq!(machine.end_of(attempt).end, expected);
}

#[test]
fn a_full_or_broken_disk_is_the_machine_s_trouble() {
    let mut machine = Machine::start(LimitMode::Auto);
    // A file where the directory for the tasks from 100 on should be.
    std::fs::create_dir_all(machine.tasks_dir().join("0")).unwrap();
    std::fs::write(machine.tasks_dir().join("0/01"), "").unwrap();
    machine.n_tasks = 99;
    let attempt = machine.shell("true");
    let expected = AttemptEnd::Lost {
        reason: LossReason::BackendFailed,
    };
    assert_eq!(machine.end_of(attempt).end, expected);
    machine.all_free();
    machine.n_tasks = 0;
    let attempt = machine.shell("true");
    assert_eq!(machine.end_of(attempt).end, AttemptEnd::Exited { code: 0 });
}

#[test]
fn an_empty_working_directory_does_not_stay() {
    let mut machine = Machine::start(LimitMode::Auto);
    let attempt = machine.shell("true");
    machine.end_of(attempt);
    let dir = apportion::backend::local::layout::work_dir(&machine.tasks_dir(), attempt);
    for_true("the directory to go", || !dir.exists());
}
