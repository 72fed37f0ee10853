//! A million tasks that wait: how soon an array of them is durable, what they cost in memory, and how soon
//! a restarted daemon decides again.

use std::time::Duration;

use crate::daemon::{Client, Daemon};
use crate::floor::{self, COMMITS, ROWS};
use crate::report::{Figure, Goal};
use crate::{Run, bodies, processes};

/// What section 12 of the design asks of an array, in seconds.
const ARRAY_SECONDS: f64 = 1.0;
/// And of a restart, until the first decision.
const RESTART_SECONDS: f64 = 10.0;
/// And of memory, in bytes for a task of an array,
const ARRAY_TASK_BYTES: f64 = 64.0;
/// and for a separate one.
const SEPARATE_TASK_BYTES: f64 = 600.0;

/// How often is looked whether something has happened.
const EACH: Duration = Duration::from_millis(2);

/// A daemon whose only cpu is taken by a task that never ends by itself, so whatever follows stays queued.
fn start_busy(run: &Run, folder: &std::path::Path) -> (Daemon, Client) {
    let daemon = Daemon::start(folder, 1, "auto", run.options.log.as_ref());
    let client = Client::new();
    client.submit(&daemon, bodies::single(0));
    client.wait_metric(&daemon, "apportion_decisions_total", 1.0, EACH, |_| {});
    (daemon, client)
}

/// Measures and reports the array.
pub(crate) fn measure_array(run: &mut Run) {
    floor::measure(run);
    let n = run.options.n_tasks;
    run.tell(format!("an array of {n}"));
    let scratch = run.scratch();
    let (daemon, client) = start_busy(run, &scratch);
    let before = processes::memory_bytes(daemon.pid());
    let took = client.submit(&daemon, bodies::array(n));
    let memory = processes::memory_bytes(daemon.pid()).saturating_sub(before);
    let commit_seconds = 1.0
        / run
            .report
            .find(COMMITS)
            .expect("the floor was measured before");
    run.report.add(
        Figure::new(
            "array",
            format!("{n} tasks submitted and durable"),
            took.as_secs_f64(),
            "s",
        )
        .beside(commit_seconds, "one sqlite commit")
        .goal(Goal::Below(ARRAY_SECONDS)),
    );
    run.report.add(
        memory_figure(
            "array",
            "memory for a queued task",
            memory,
            n,
            ARRAY_TASK_BYTES,
        )
        .note("before", before as f64 / 1e6, "MB"),
    );
    let (daemon, _client) = measure_restart(run, "array", &scratch, daemon);
    let memory = processes::memory_bytes(daemon.pid()).saturating_sub(before);
    run.report.add(memory_figure(
        "array",
        "the same after the restart",
        memory,
        n,
        ARRAY_TASK_BYTES,
    ));
}

/// Measures and reports separate tasks and the restart.
pub(crate) fn measure_separate(run: &mut Run) {
    floor::measure(run);
    let n = run.options.n_tasks;
    let scratch = run.scratch();
    let (daemon, client) = start_busy(run, &scratch);
    let before = processes::memory_bytes(daemon.pid());
    let mut took = Duration::ZERO;
    let mut done = 0;
    while done < n {
        run.tell(format!("separate tasks: {done} of {n}"));
        let count = bodies::BATCH_MAX.min(n - done);
        let body = bodies::batch(u64::from(done) + 1, count);
        took += client.submit(&daemon, body);
        done += count;
    }
    let memory = processes::memory_bytes(daemon.pid()).saturating_sub(before);
    let rows = run
        .report
        .find(ROWS)
        .expect("the floor was measured before");
    run.report.add(
        Figure::new(
            "restart",
            format!("{} a call, 1 client", bodies::BATCH_MAX),
            f64::from(n) / took.as_secs_f64(),
            "tasks/s",
        )
        .beside(rows, ROWS),
    );
    run.report.add(
        memory_figure(
            "restart",
            "memory for a queued task",
            memory,
            n,
            SEPARATE_TASK_BYTES,
        )
        .note("before", before as f64 / 1e6, "MB")
        .note(
            "database",
            database_bytes(&scratch) / f64::from(n),
            "bytes/task",
        ),
    );
    let (daemon, _client) = measure_restart(run, "restart", &scratch, daemon);
    let memory = processes::memory_bytes(daemon.pid()).saturating_sub(before);
    run.report.add(memory_figure(
        "restart",
        "the same after the restart",
        memory,
        n,
        SEPARATE_TASK_BYTES,
    ));
}

/// How much memory each of `n` tasks takes, beside the most that it may.
fn memory_figure(
    section: &'static str,
    what: &'static str,
    memory_bytes: u64,
    n: u32,
    task_bytes_max: f64,
) -> Figure {
    let task_bytes = memory_bytes as f64 / f64::from(n);
    Figure::new(section, what, task_bytes, "bytes").goal(Goal::Below(task_bytes_max))
}

/// What the files of the database take, the log of changes included.
fn database_bytes(folder: &std::path::Path) -> f64 {
    let files = std::fs::read_dir(folder.join("data")).expect("the data can be listed");
    let sizes = files.filter_map(|file| file.ok()?.metadata().ok());
    sizes
        .filter(std::fs::Metadata::is_file)
        .map(|file| file.len())
        .sum::<u64>() as f64
}

/// Kills the daemon with SIGKILL and starts another on the same data. The task that ran was lost then, and
/// its next attempt is the first decision.
fn measure_restart(
    run: &mut Run,
    section: &'static str,
    folder: &std::path::Path,
    daemon: Daemon,
) -> (Daemon, Client) {
    run.tell("a restart");
    daemon.kill();
    let daemon = Daemon::start(folder, 1, "auto", run.options.log.as_ref());
    let client = Client::new();
    let listening = daemon.until_listening.as_secs_f64();
    client.wait_metric(&daemon, "apportion_decisions_total", 1.0, EACH, |_| {});
    let decided = daemon.since_start.elapsed().as_secs_f64();
    let cpu = processes::cpu_seconds(&[daemon.pid()]);
    let n = run.options.n_tasks;
    run.report.add(Figure::new(
        section,
        format!("restart with {n} tasks: listening"),
        listening,
        "s",
    ));
    run.report.add(
        Figure::new(
            section,
            format!("restart with {n} tasks: first decision"),
            decided,
            "s",
        )
        .goal(Goal::Below(RESTART_SECONDS))
        .note("daemon cpu", cpu, "s"),
    );
    (daemon, client)
}
