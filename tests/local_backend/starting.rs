//! What may happen while processes are being started, of which several are at a time.

use std::time::Duration;

use apportion::engine::spec::Run;
use apportion::engine::{AttemptEnd, AttemptId};

use super::{MODES, Machine, argv, spec};

/// So many attempts of the same.
fn launch(machine: &mut Machine, count: usize, run: &Run) -> Vec<AttemptId> {
    let tasks = (0..count).map(|_| spec(run.clone(), &[("cpus", 100)]));
    machine.launch_all(tasks.collect())
}

#[test]
fn what_is_to_end_before_it_has_started_does() {
    for mode in MODES {
        let mut machine = Machine::start(mode);
        // More than can be started at the same time, in a cgroup or without.
        let attempts = launch(&mut machine, 100, &argv(["sleep", "1000"]));
        for attempt in &attempts {
            machine.kill(*attempt, Duration::ZERO);
        }
        for attempt in attempts {
            let end = machine.end_of(attempt).end;
            assert_eq!(end, AttemptEnd::Killed, "{attempt} with {mode:?}");
        }
        machine.all_free();
    }
}

#[test]
fn a_task_that_wants_to_end_with_whoever_started_it_runs_to_its_end() {
    for mode in MODES {
        let mut machine = Machine::start(mode);
        let (gate, wait) = machine.gate();
        let line = format!("echo $$; {wait}");
        let patient = argv(["setpriv", "--pdeathsig", "KILL", "sh", "-c", &line]);
        let attempts = launch(&mut machine, 4, &patient);
        for attempt in &attempts {
            machine.numbers(*attempt, 1);
        }
        // Their starters have others to start meanwhile, and go on.
        for attempt in launch(&mut machine, 100, &argv(["true"])) {
            let end = machine.end_of(attempt).end;
            assert_eq!(end, AttemptEnd::Exited { code: 0 });
        }
        std::fs::write(gate, "").unwrap();
        for attempt in attempts {
            let end = machine.end_of(attempt).end;
            assert_eq!(end, AttemptEnd::Exited { code: 0 }, "{mode:?}");
        }
    }
}

#[test]
fn many_that_are_not_there_are_told_of_one_by_one() {
    for mode in MODES {
        let mut machine = Machine::start(mode);
        for attempt in launch(&mut machine, 100, &argv(["/no/such/program"])) {
            let AttemptEnd::NotStarted { message } = machine.end_of(attempt).end else {
                panic!("{attempt} with {mode:?}");
            };
            assert!(message.contains("/no/such/program"), "{message}");
        }
        machine.all_free();
    }
}
