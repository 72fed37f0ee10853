//! Whoever dies, nothing stays behind.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use apportion::backend::Backend as _;
use apportion::config::LimitMode;
use apportion::engine::AttemptEnd;
use apportion::engine::outcome::LossReason;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{APPORTION, LONG, MODES, Machine, start_in};
use crate::support::processes::{is_alive, until_gone};
use crate::support::wait::for_true;

const LOST: AttemptEnd = AttemptEnd::Lost {
    reason: LossReason::BackendFailed,
};

/// A task that tries hard to stay, and the pids of its two processes.
const STAYS: &str = "trap '' TERM HUP; setsid sh -c 'trap \"\" TERM HUP; echo $$; while :; do sleep 1000; done' & \
                     echo $$; while :; do sleep 1000; done";

fn sigkill(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

/// The children of a process.
fn children_of(pid: i32) -> Vec<i32> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let lists = entries
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .map(|pid| pid.parse().unwrap())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Guard and keeper of a machine in this process, which may have several.
fn guard_and_keeper(machine: &Machine) -> (i32, i32) {
    let own = i32::try_from(std::process::id()).unwrap();
    let tasks_dir = machine.tasks_dir().canonicalize().unwrap();
    let is_guard = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&*tasks_dir.to_string_lossy())
    };
    let guard = children_of(own)
        .into_iter()
        .find(is_guard)
        .expect("there is a guard");
    (guard, children_of(guard)[0])
}

#[test]
fn the_keeper_s_death_is_survived_by_no_task_and_by_the_daemon() {
    for mode in MODES {
        let mut machine = Machine::start(mode);
        for guard_dies in [false, true] {
            let attempt = machine.shell(STAYS);
            let pids = machine.numbers(attempt, 2);
            let (guard, keeper) = guard_and_keeper(&machine);
            sigkill(if guard_dies { guard } else { keeper });
            assert_eq!(
                machine.end_of(attempt).end,
                LOST,
                "{mode:?}, guard: {guard_dies}"
            );
            assert!(
                !pids.iter().any(|pid| is_alive(*pid)),
                "{mode:?}, guard: {guard_dies}"
            );
            machine.all_free();
            let attempt = machine.shell("echo again");
            let end = machine.end_of(attempt);
            assert_eq!(
                (end.end.clone(), end.text().as_str()),
                (AttemptEnd::Exited { code: 0 }, "again\n")
            );
        }
    }
}

#[test]
fn what_even_guard_and_keeper_could_not_end_is_found_at_the_next_start() {
    for mode in MODES {
        let mut machine = Machine::start(mode);
        let attempt = machine.shell(STAYS);
        let pids = machine.numbers(attempt, 2);
        let (guard, keeper) = guard_and_keeper(&machine);
        // Stopped, they can't see each other's death.
        kill(Pid::from_raw(guard), Signal::SIGSTOP).unwrap();
        kill(Pid::from_raw(keeper), Signal::SIGSTOP).unwrap();
        sigkill(guard);
        sigkill(keeper);
        // The daemon starts another keeper, which clears up before all else.
        assert_eq!(machine.end_of(attempt).end, LOST);
        let again = machine.shell("echo again");
        assert_eq!(machine.end_of(again).text(), "again\n");
        assert!(!pids.iter().any(|pid| is_alive(*pid)), "{mode:?}");
    }
}

#[test]
fn a_second_backend_on_a_directory_starts_clean() {
    let machine = Machine::start(LimitMode::Auto);
    let Machine {
        mut backend,
        dir,
        events,
        ..
    } = machine;
    backend.shut_down();
    drop((backend, events));
    let (mut backend, _events) = start_in(dir.path(), LimitMode::Auto).unwrap();
    backend.shut_down();
}

#[test]
fn a_program_that_is_no_keeper_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = apportion::backend::local::LocalOptions::new(dir.path());
    for (program, expected) in [
        ("/bin/true", "did not become ready"),
        ("/nowhere", "cannot start the keeper"),
    ] {
        options.keeper_program = Some(program.into());
        let error = apportion::backend::local::LocalBackend::start(
            &super::config(LimitMode::Off),
            &options,
            |_| true,
        )
        .err()
        .expect("this can't keep anything");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// A keeper driven by hand.
struct Keeper {
    child: Child,
    orders: Option<ChildStdin>,
    reports: BufReader<ChildStdout>,
    dir: tempfile::TempDir,
}

impl Keeper {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(APPORTION)
            .args(["keeper", "guard"])
            .arg(dir.path())
            .arg(format!("test{}", std::process::id()))
            .env("APPORTION_KEEPER", "another")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take();
        let reports = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            orders,
            reports,
            dir,
        }
    }

    fn say(&mut self, text: &str) {
        self.orders
            .as_mut()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.reports.read_line(&mut line).unwrap();
        line
    }

    /// Starts the task and waits for its two pids.
    fn start_task(&mut self) -> Vec<i32> {
        self.say(
            "{\"start\":{\"limits\":\"off\",\"daemon\":1,\"python\":{\"interpreter\":\"python3\",\"tasks_max\":1,\
             \"memory_growth_bytes\":0,\"idle_max\":0,\"idle_millis\":0}}}\n",
        );
        assert!(self.hear().contains("ready"));
        self.say("{\"contain\":{\"profile\":5,\"bounds\":{\"limits\":{\"core_dumps\":false}}}}\n");
        let line = serde_json::to_string(STAYS).unwrap();
        // In two pieces, as a pipe may deliver it.
        self.say(&format!(
            "{{\"launch\":{{\"attempt\":[1,1],\"argv\":[\"/bin/sh\",\"-c\",{line}],"
        ));
        self.say("\"env\":[],\"cpu_milli\":null,\"mem_bytes\":null,\"profile\":5}}\n");
        assert!(self.hear().contains("started"));
        let path = self.dir.path().join("0/00/1.1.stdout");
        let read = || std::fs::read_to_string(&path).unwrap_or_default();
        for_true("the task to write", || read().lines().count() == 2);
        read().lines().map(|pid| pid.parse().unwrap()).collect()
    }

    fn until_ended(&mut self) {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.reports, &mut rest).unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn when_the_daemon_dies_everything_dies() {
    let mut keeper = Keeper::start();
    let pids = keeper.start_task();
    // All that the keeper ever sees of a daemon that was killed.
    keeper.orders = None;
    keeper.until_ended();
    assert!(!pids.iter().any(|pid| is_alive(*pid)));
}

#[test]
fn half_an_order_is_none() {
    let mut keeper = Keeper::start();
    let pids = keeper.start_task();
    keeper.say("{\"launch\":{\"attempt\":[2,1],\"argv\":[\"touch\"");
    keeper.orders = None;
    keeper.until_ended();
    assert!(!pids.iter().any(|pid| is_alive(*pid)));
    assert!(!keeper.dir.path().join("0/00/2.1").exists());
}

#[test]
fn nonsense_ends_the_keeper_and_all_that_it_keeps() {
    let mut keeper = Keeper::start();
    let pids = keeper.start_task();
    keeper.say("nonsense\n");
    keeper.until_ended();
    assert!(!pids.iter().any(|pid| is_alive(*pid)));
}

#[test]
fn signals_that_stop_a_service_are_the_daemon_s_business() {
    let mut machine = Machine::start(LimitMode::Off);
    let attempt = machine.shell("echo $$; sleep 1000");
    let pids = machine.numbers(attempt, 1);
    let (guard, keeper) = guard_and_keeper(&machine);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        kill(Pid::from_raw(guard), signal).unwrap();
        kill(Pid::from_raw(keeper), signal).unwrap();
    }
    let other = machine.shell("echo alive");
    assert_eq!(machine.end_of(other).text(), "alive\n");
    assert!(is_alive(pids[0]));
    machine.kill(attempt, LONG);
    assert_eq!(machine.end_of(attempt).end, AttemptEnd::Killed);
    machine.backend.shut_down();
    until_gone(&[guard, keeper]);
}

#[test]
fn the_hidden_command_is_not_for_people() {
    let output = Command::new(APPORTION).arg("keeper").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("for the daemon's own use"));
}

/// In the place of an earlier keeper: `apportion keeper TASKS_DIR IDENTITY` that still moves things to the spares when
/// the next one starts, and ends then.
const CLEARS_UP: &str = r#"
spare="$1/spare"
for i in $(seq 500); do mkdir -p "$spare"; : >"$spare/$i"; done
"#;

#[test]
fn an_earlier_keeper_that_still_clears_up_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (mut backend, _events) = start_in(dir.path(), LimitMode::Off).unwrap();
    backend.shut_down();
    drop(backend);
    let tasks_dir = dir.path().join("tasks").canonicalize().unwrap();
    let identity = blake3::hash(tasks_dir.as_os_str().as_encoded_bytes()).to_hex();
    std::fs::write(dir.path().join("keeper"), CLEARS_UP).unwrap();
    let mut earlier = Command::new("bash")
        .arg0("apportion")
        .arg("keeper")
        .args([tasks_dir.as_os_str(), OsStr::new(&identity[..16])])
        .current_dir(dir.path())
        .spawn()
        .unwrap();
    let (mut backend, _events) = start_in(dir.path(), LimitMode::Off).expect("it starts");
    let mut left = std::fs::read_dir(tasks_dir.join("spare")).unwrap();
    assert!(left.next().is_none(), "what it left is among the spares");
    assert!(
        earlier.try_wait().unwrap().is_some(),
        "it was not waited for"
    );
    backend.shut_down();
}
