//! Many times `true` through the local backend, beside a bare loop that spawns and waits for the same.

use std::process::{Command, Stdio};
use std::time::Duration;

use apportion::clock::Stopwatch;

use crate::daemon::{Client, Daemon};
use crate::report::{Figure, Goal};
use crate::{Run, bodies, floor, processes};

/// What section 12 of the design asks: the most times the cost of the bare loop.
const RATIO_MAX: f64 = 1.5;

/// The metrics of the daemon that tell of its commits.
const COMMITS: &str = "apportion_store_commit_seconds_count";
const COMMIT_SECONDS: &str = "apportion_store_commit_seconds_sum";

/// How the tasks are submitted.
#[derive(Clone, Copy, Debug)]
enum Form {
    Array,
    Separate,
}

/// Measures and reports.
pub(crate) fn measure(run: &mut Run) {
    let n_spawn = run.options.n_spawn;
    for side_by_side in run.options.side_by_side.clone() {
        run.tell(format!("a bare loop, {side_by_side} side by side"));
        let before = bare(n_spawn, side_by_side);
        let mut spents = Vec::new();
        for limits in run.options.limits.clone() {
            for form in [Form::Array, Form::Separate] {
                let spent = through_daemon(run, side_by_side, form, &limits);
                spents.push((limits.clone(), form, spent));
            }
        }
        let after = bare(n_spawn, side_by_side);
        let floor = if after.wall < before.wall {
            after
        } else {
            before
        };
        report_floor(run, side_by_side, &floor);
        for (limits, form, spent) in spents {
            report(run, side_by_side, &limits, form, &spent, &floor);
        }
    }
}

/// What it took.
#[derive(Clone, Copy, Debug)]
struct Spent {
    wall: Duration,
    /// Own processor time of whoever spawned, not of the processes spawned.
    cpu_seconds: f64,
    /// Of that, the daemon itself without guard and keeper.
    main_cpu_seconds: f64,
    n_commits: f64,
    commit_seconds: f64,
}

fn name(n: u32, side_by_side: u32, what: &str) -> String {
    format!("{n} x true, {side_by_side} side by side, {what}")
}

fn report_floor(run: &mut Run, side_by_side: u32, floor: &Spent) {
    let n = run.options.n_spawn;
    run.report.add(
        Figure::new(
            "spawn",
            name(n, side_by_side, "bare loop"),
            floor.wall.as_secs_f64(),
            "s",
        )
        .note(
            "own cpu",
            floor.cpu_seconds / f64::from(n) * 1e6,
            "us/process",
        )
        .note("rate", f64::from(n) / floor.wall.as_secs_f64(), "1/s"),
    );
}

fn report(
    run: &mut Run,
    side_by_side: u32,
    limits: &str,
    form: Form,
    spent: &Spent,
    floor: &Spent,
) {
    let n = run.options.n_spawn;
    let what = match form {
        Form::Array => "one array",
        Form::Separate => "separate tasks",
    };
    let per_task = 1e6 / f64::from(n);
    // Where one task follows another, there is a commit between each two of them.
    let commits_floor = run
        .report
        .find(floor::COMMITS)
        .filter(|_| side_by_side == 1)
        .map(|rate| f64::from(n) / rate);
    let mut figure = Figure::new(
        "spawn",
        name(n, side_by_side, &format!("{what}, limits {limits}")),
        spent.wall.as_secs_f64(),
        "s",
    )
    .beside(floor.wall.as_secs_f64(), "bare loop")
    .goal(Goal::RatioAtMost(RATIO_MAX))
    .note("daemon cpu", spent.main_cpu_seconds * per_task, "us/task")
    .note(
        "keeper cpu",
        (spent.cpu_seconds - spent.main_cpu_seconds) * per_task,
        "us/task",
    )
    .note("commits/task", spent.n_commits / f64::from(n), "")
    .note(
        "a commit",
        spent.commit_seconds / spent.n_commits * 1e3,
        "ms",
    )
    .note("rate", f64::from(n) / spent.wall.as_secs_f64(), "1/s");
    if let Some(commits) = commits_floor {
        let ratio = spent.wall.as_secs_f64() / (floor.wall.as_secs_f64() + commits);
        figure = figure.note("of bare loop and bare commits", ratio, "x");
    }
    run.report.add(figure);
}

/// Spawns and waits, in as many threads as there may be processes at a time.
fn bare(n: u32, side_by_side: u32) -> Spent {
    let cpu_before = processes::own_cpu_seconds();
    let since = Stopwatch::start();
    std::thread::scope(|scope| {
        for place in 0..side_by_side {
            let share = n / side_by_side + u32::from(place < n % side_by_side);
            scope.spawn(move || {
                for _ in 0..share {
                    let mut command = Command::new("true");
                    command
                        .stdin(Stdio::null())
                        .stdout(Stdio::null())
                        .stderr(Stdio::null());
                    let status = command.status().expect("`true` can be spawned");
                    assert!(status.success(), "`true` ended with {status}");
                }
            });
        }
    });
    let cpu_seconds = processes::own_cpu_seconds() - cpu_before;
    Spent {
        wall: since.elapsed(),
        cpu_seconds,
        main_cpu_seconds: cpu_seconds,
        n_commits: 0.0,
        commit_seconds: 0.0,
    }
}

/// From the submission until the last end is durable.
fn through_daemon(run: &mut Run, side_by_side: u32, form: Form, limits: &str) -> Spent {
    let n = run.options.n_spawn;
    run.tell(format!("{n} x true, {side_by_side} side by side, {form:?}"));
    let scratch = run.scratch();
    let daemon = Daemon::start(&scratch, side_by_side, limits, run.options.log.as_ref());
    let client = Client::new();
    let bodies = match form {
        Form::Array => vec![bodies::array_of_true(n)],
        Form::Separate => batches(n),
    };
    let own = daemon.own_processes();
    let main = [daemon.pid()];
    let (cpu_before, main_before) = (processes::cpu_seconds(&own), processes::cpu_seconds(&main));
    let commits = || [COMMITS, COMMIT_SECONDS].map(|name| client.metric(&daemon, name));
    let [n_commits_before, seconds_before] = commits();
    let since = Stopwatch::start();
    for body in bodies {
        client.submit(&daemon, body);
    }
    client.wait_ended(&daemon, |n_live| {
        run.tell(format!(
            "{n} x true, {side_by_side} side by side, {form:?}: {n_live} left"
        ));
    });
    let wall = since.elapsed();
    let [n_commits, commit_seconds] = commits();
    Spent {
        wall,
        cpu_seconds: processes::cpu_seconds(&own) - cpu_before,
        main_cpu_seconds: processes::cpu_seconds(&main) - main_before,
        n_commits: n_commits - n_commits_before,
        commit_seconds: commit_seconds - seconds_before,
    }
}

fn batches(n: u32) -> Vec<Vec<u8>> {
    let full = n / bodies::BATCH_MAX;
    let counts =
        std::iter::repeat_n(bodies::BATCH_MAX, full as usize).chain([n % bodies::BATCH_MAX]);
    counts
        .filter(|count| *count > 0)
        .map(bodies::batch_of_true)
        .collect()
}
