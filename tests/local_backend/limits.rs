//! Demands are enforced, in each way that this machine allows.

use apportion::config::LimitMode;
use apportion::engine::AttemptEnd;
use apportion::engine::spec::{Run, TaskSpec};

use super::{Machine, spec};
use crate::support::processes::is_alive;
use crate::support::programs::missing;

/// Takes 200 MiB of memory and holds them.
const HOG: &str = "head -c 209715200 /dev/zero | tail -c 209715200 | sleep 1000";

fn with_mem(line: &str, mib: u64) -> TaskSpec {
    spec(
        Run::Command(line.into()),
        &[("cpus", 1000), ("mem", mib * 1000)],
    )
}

/// A machine with cgroups, if there may be one.
fn with_cgroups() -> Option<Machine> {
    match Machine::try_start(LimitMode::Cgroup) {
        Ok(machine) => Some(machine),
        Err(error) => {
            missing(
                "cgroup",
                &format!("run as root, where cgroups may be made ({error})"),
            );
            None
        }
    }
}

fn in_each_mode(test: impl Fn(&mut Machine)) {
    if let Some(mut machine) = with_cgroups() {
        test(&mut machine);
    }
    test(&mut Machine::start(LimitMode::Watch));
}

#[test]
fn a_task_far_above_its_demand_runs_out_of_memory() {
    in_each_mode(|machine| {
        let attempt = machine.launch_spec(with_mem(HOG, 40));
        let end = machine.end_of(attempt);
        assert_eq!(end.end, AttemptEnd::OutOfMemory);
        assert!(end.usage.memory_peak_bytes >= 30 << 20, "{:?}", end.usage);
        machine.all_free();
    });
}

#[test]
fn the_sum_over_a_task_s_processes_counts() {
    in_each_mode(|machine| {
        let one = "(head -c 41943040 /dev/zero | tail -c 41943040 | sleep 1000) &";
        let attempt =
            machine.launch_spec(with_mem(&format!("echo $$; {one} {one} {one} wait"), 64));
        let first = machine.numbers(attempt, 1)[0];
        assert_eq!(machine.end_of(attempt).end, AttemptEnd::OutOfMemory);
        assert!(
            !is_alive(first),
            "all of it ends, not only who asked for the last page"
        );
    });
}

#[test]
fn a_task_within_its_demand_is_left_alone() {
    in_each_mode(|machine| {
        let attempt = machine.launch_spec(with_mem(
            "head -c 33554432 /dev/zero | tail -c 33554432 | wc -c",
            128,
        ));
        let end = machine.end_of(attempt);
        assert_eq!(
            (end.end.clone(), end.text().trim()),
            (AttemptEnd::Exited { code: 0 }, "33554432")
        );
    });
}

#[test]
fn one_without_a_demand_for_memory_is_not_bounded() {
    in_each_mode(|machine| {
        let attempt = machine.shell("head -c 209715200 /dev/zero | tail -c 209715200 | wc -c");
        assert_eq!(machine.end_of(attempt).end, AttemptEnd::Exited { code: 0 });
    });
}

#[test]
fn a_cgroup_used_again_is_as_new() {
    let Some(mut machine) = with_cgroups() else {
        return;
    };
    for _ in 0..3 {
        let attempt = machine.launch_spec(with_mem(HOG, 20));
        assert_eq!(machine.end_of(attempt).end, AttemptEnd::OutOfMemory);
        let attempt = machine.shell("exit 9");
        let end = machine.end_of(attempt);
        assert_eq!(
            end.end,
            AttemptEnd::Exited { code: 9 },
            "the other's fate is not this one's"
        );
        assert!(
            end.usage.memory_peak_bytes < 16 << 20,
            "nor is its peak: {:?}",
            end.usage
        );
    }
}

#[test]
fn cgroups_carry_the_demands() {
    let Some(mut machine) = with_cgroups() else {
        return;
    };
    let line = "for c in memory cpu; do echo $(grep -E \"[:,]$c[:,]\" /proc/self/cgroup); done; cat /proc/self/cgroup";
    let attempt = machine.launch_spec(spec(
        Run::Command(line.into()),
        &[("cpus", 2000), ("mem", 100_000)],
    ));
    let text = machine.end_of(attempt).text();
    assert!(
        text.contains("/apportion-"),
        "the first process is born in its cgroup: {text}"
    );
    let path = "d=$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup); cat /sys/fs/cgroup/memory$d/memory.limit_in_bytes; \
                d=$(sed -n 's/^[0-9]*:cpu://p' /proc/self/cgroup); cat /sys/fs/cgroup/cpu$d/cpu.shares";
    if !std::path::Path::new("/sys/fs/cgroup/memory").exists() {
        eprintln!("NOT TESTED: the files of cgroup v1; memory has no hierarchy of its own here");
        return;
    }
    // The limit is set right after the start.
    let attempt = machine.launch_spec(spec(
        Run::Command(format!("sleep 0.2; {path}").into()),
        &[("cpus", 2000), ("mem", 100_000)],
    ));
    assert_eq!(machine.end_of(attempt).text(), "104857600\n2048\n");
    let attempt = machine.launch_spec(spec(
        Run::Command(format!("sleep 0.2; {path}").into()),
        &[("cpus", 500)],
    ));
    let text = machine.end_of(attempt).text();
    assert!(
        text.ends_with("\n512\n") && !text.starts_with("104857600\n"),
        "{text}"
    );
}

#[test]
fn without_limits_nothing_is_bounded() {
    let mut machine = Machine::start(LimitMode::Off);
    let attempt = machine.launch_spec(with_mem(
        "head -c 104857600 /dev/zero | tail -c 104857600 | wc -c",
        20,
    ));
    assert_eq!(machine.end_of(attempt).end, AttemptEnd::Exited { code: 0 });
}
