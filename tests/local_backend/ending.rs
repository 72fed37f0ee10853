//! An attempt has ended when nothing of it is left, however it tried to stay.

use std::time::Duration;

use apportion::backend::Backend as _;
use apportion::config::LimitMode;
use apportion::engine::{AttemptEnd, AttemptId, TaskId};

use super::{LONG, MODES, Machine};
use crate::support::processes::{is_alive, until_gone};
use crate::support::wait::for_true;

/// Ways for a child to get away, each writing its pid. The last has nothing left that tells whose it is
/// but its parent, which is soon gone.
const ESCAPES: [&str; 5] = [
    "sleep 1000 & echo $!",
    "nohup sleep 1000 >/dev/null 2>&1 & echo $!",
    "setsid sh -c 'echo $$; exec sleep 1000' &",
    "(setsid sh -c 'echo $$; cd /; sleep 1000; true' >&1 2>/dev/null &) &",
    "(setsid env -i sh -c 'echo $$; exec sleep 1000' &)",
];

#[test]
fn a_kill_reaches_the_whole_group_and_is_told_as_such() {
    for mode in MODES {
        let mut machine = Machine::start(mode);
        let attempt = machine.shell("sleep 1000 & echo $!; echo $$; sleep 1000");
        let pids = machine.numbers(attempt, 2);
        machine.kill(attempt, LONG);
        assert_eq!(machine.end_of(attempt).end, AttemptEnd::Killed, "{mode:?}");
        assert!(
            !pids.iter().any(|pid| is_alive(*pid)),
            "ended, but alive: {pids:?} with {mode:?}"
        );
    }
}

#[test]
fn one_that_ignores_sigterm_is_killed_after_the_grace() {
    for mode in MODES {
        let mut machine = Machine::start(mode);
        let attempt = machine.shell("trap '' TERM; echo $$; while :; do sleep 1000; done");
        let pids = machine.numbers(attempt, 1);
        machine.kill(attempt, Duration::from_millis(300));
        let end = machine.end_of(attempt);
        assert_eq!(end.end, AttemptEnd::Killed, "{mode:?}");
        assert!(
            end.usage.wall >= Duration::from_millis(300),
            "{:?} with {mode:?}",
            end.usage
        );
        assert!(!is_alive(pids[0]));
    }
}

#[test]
fn the_grace_is_used_to_clean_up() {
    let mut machine = Machine::start(LimitMode::Auto);
    let attempt =
        machine.shell("trap 'echo cleaned; exit 0' TERM; echo 1; while :; do sleep 0.01; done");
    machine.numbers(attempt, 1);
    machine.kill(attempt, LONG);
    let end = machine.end_of(attempt);
    assert_eq!(
        (end.end.clone(), end.text().as_str()),
        (AttemptEnd::Killed, "1\ncleaned\n")
    );
}

#[test]
fn a_stopped_task_hears_sigterm_too() {
    let mut machine = Machine::start(LimitMode::Auto);
    let attempt = machine.shell("echo $$; kill -STOP $$; sleep 1000");
    machine.numbers(attempt, 1);
    machine.kill(attempt, LONG);
    assert_eq!(machine.end_of(attempt).end, AttemptEnd::Killed);
}

#[test]
fn a_second_order_may_shorten_the_grace() {
    let mut machine = Machine::start(LimitMode::Auto);
    let attempt = machine.shell("trap '' TERM; echo 1; while :; do sleep 0.01; done");
    machine.numbers(attempt, 1);
    machine.kill(attempt, LONG);
    machine.kill(attempt, Duration::ZERO);
    assert_eq!(machine.end_of(attempt).end, AttemptEnd::Killed);
}

#[test]
fn what_is_left_when_the_task_ends_ends_with_it() {
    for mode in MODES {
        let mut machine = Machine::start(mode);
        for escape in ESCAPES {
            // The task ends once its child has written.
            let line = format!(
                "trap '' TERM; {escape}\nwhile ! grep -q . /proc/$$/fd/1; do sleep 0.01; done; exit 7"
            );
            let attempt = machine.shell(&line);
            let end = machine.end_of(attempt);
            assert_eq!(
                end.end,
                AttemptEnd::Exited { code: 7 },
                "{escape} with {mode:?}"
            );
            let pid = machine.numbers(attempt, 1)[0];
            assert!(
                !is_alive(pid),
                "ended, but {pid} is alive: {escape} with {mode:?}"
            );
        }
        machine.all_free();
    }
}

#[test]
fn a_kill_reaches_those_that_left_the_group() {
    for mode in MODES {
        let mut machine = Machine::start(mode);
        for escape in ESCAPES {
            let attempt = machine.shell(&format!("{escape}\nwhile :; do sleep 0.01; done"));
            let pid = machine.numbers(attempt, 1)[0];
            machine.kill(attempt, Duration::from_millis(500));
            assert_eq!(
                machine.end_of(attempt).end,
                AttemptEnd::Killed,
                "{escape} with {mode:?}"
            );
            assert!(
                !is_alive(pid),
                "ended, but {pid} is alive: {escape} with {mode:?}"
            );
        }
    }
}

#[test]
fn one_task_s_end_leaves_the_others_alone() {
    for mode in MODES {
        let mut machine = Machine::start(mode);
        let escape = "setsid sh -c 'echo $$; exec sleep 1000' & ";
        let stays = machine.shell(&format!("{escape} sleep 1000"));
        let goes = machine.shell(&format!("{escape} sleep 1000"));
        let (stay, go) = (machine.numbers(stays, 1)[0], machine.numbers(goes, 1)[0]);
        machine.kill(goes, LONG);
        machine.end_of(goes);
        assert!(!is_alive(go) && is_alive(stay), "{mode:?}");
        machine.kill(stays, LONG);
        machine.end_of(stays);
        assert!(!is_alive(stay));
    }
}

#[test]
fn cpu_time_of_those_that_left_counts() {
    for mode in [LimitMode::Watch, LimitMode::Off] {
        let mut machine = Machine::start(mode);
        // The grandchild stays in the group but loses its parent, and ends first.
        let attempt = machine.shell(
            "(sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo 1' &); \
             while ! grep -q . /proc/$$/fd/1; do sleep 0.01; done; sleep 0.2",
        );
        let end = machine.end_of(attempt);
        assert!(
            end.usage.cpu > Duration::from_millis(50),
            "{:?} with {mode:?}",
            end.usage
        );
    }
}

#[test]
fn killing_what_is_unknown_is_answered() {
    let mut machine = Machine::start(LimitMode::Off);
    let unknown = AttemptId {
        task: TaskId(99),
        number: 1,
    };
    machine.kill(unknown, LONG);
    assert_eq!(machine.end_of(unknown).end, AttemptEnd::Killed);
}

#[test]
fn shutting_down_ends_everything_in_good_order() {
    for mode in MODES {
        let mut machine = Machine::start(mode);
        let polite =
            machine.shell("trap 'echo 0; exit 0' TERM; echo $$; while :; do sleep 0.01; done");
        let escaped = machine.shell("setsid sh -c 'echo $$; exec sleep 1000' & sleep 1000");
        let pids = [machine.numbers(polite, 1), machine.numbers(escaped, 1)].concat();
        machine.backend.shut_down();
        assert!(!pids.iter().any(|pid| is_alive(*pid)), "{mode:?}");
        assert_eq!(machine.numbers(polite, 2)[1], 0, "it had time to clean up");
    }
}

#[test]
fn a_backend_that_is_dropped_leaves_nothing() {
    for mode in MODES {
        let mut machine = Machine::start(mode);
        let attempt = machine
            .shell("trap '' TERM; setsid sh -c 'echo $$; exec sleep 1000' & echo $$; sleep 1000");
        let pids = machine.numbers(attempt, 2);
        let Machine { backend, dir, .. } = machine;
        drop(backend);
        until_gone(&pids);
        for_true("the cgroups to go", || {
            !has_cgroups(&dir.path().join("tasks"))
        });
    }
}

/// Whether any directory is left that the record names.
fn has_cgroups(tasks_dir: &std::path::Path) -> bool {
    let record = std::fs::read_to_string(tasks_dir.join("cgroups")).unwrap_or_default();
    record
        .lines()
        .any(|line| std::path::Path::new(line).exists())
}
