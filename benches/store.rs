//! What the SQLite store costs: commits by batch size beside the disk's own sync, arrays, a task's whole
//! life, recovery and lists with a million tasks.
//!
//! `cargo bench --bench store [-- DIRECTORY]` writes a table. The directory tells which disk to measure;
//! without one it is the system's for temporary files.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that can't go on should stop"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apportion::clock::Stopwatch;
use apportion::engine::outcome::Value;
use apportion::engine::spec::{ArrayRange, Run};
use apportion::engine::{
    AttemptEnd, AttemptId, Fact, Outcome, OutcomeKind, Submission, TaskId, TaskSpec, TaskState,
    Time, Usage,
};
use apportion::store::Store;
use apportion::store::reader::{Reader, TaskFilter};
use apportion::store::sqlite::{self, SqliteReader, SqliteStore};
use apportion_policies::Amount;

/// How many tasks the large cases have.
const MANY: u64 = 1_000_000;

/// How long each commit rate is measured.
const SPAN: Duration = Duration::from_secs(3);

fn main() {
    let place = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    let place = place.map_or_else(std::env::temp_dir, PathBuf::from);
    let floor = disk(&place);
    println!(
        "{:<46}{floor:>12.0} /s",
        "write 4 KiB and fdatasync (the disk's own rate)"
    );
    for batch in [1, 64, 1000, 10_000] {
        commits(&place, batch, floor);
    }
    lives(&place);
    array(&place);
    let directory = tempfile::tempdir_in(&place).unwrap();
    fill(directory.path());
    recover(directory.path());
    lists(directory.path());
}

/// How often a second this disk can make a small append durable.
fn disk(place: &Path) -> f64 {
    let directory = tempfile::tempdir_in(place).unwrap();
    let mut file = File::create(directory.path().join("log")).unwrap();
    // SQLite writes its log over and over: no growing file here either.
    file.write_all(&vec![1; 16 << 20]).unwrap();
    file.sync_all().unwrap();
    let mut n = 0_u64;
    let watch = Stopwatch::start();
    while watch.elapsed() < SPAN {
        std::os::unix::fs::FileExt::write_all_at(&file, &[2; 4096], (n % 4096) * 4096).unwrap();
        file.sync_data().unwrap();
        n += 1;
    }
    n as f64 / watch.elapsed().as_secs_f64()
}

fn open(directory: &Path) -> (SqliteStore, SqliteReader) {
    sqlite::open(directory).unwrap()
}

/// A task as people submit it.
fn spec(n: u64, array: Option<ArrayRange>) -> TaskSpec {
    let queue = ["maps/render", "maps/index", "search", "nightly"][(n % 4) as usize];
    TaskSpec {
        queue: queue.into(),
        name: format!("tile {n}").into(),
        key: None,
        inbox: Some("release".into()),
        demand: Arc::new(BTreeMap::from([
            ("cpus".into(), Amount::from_units(2).unwrap()),
            ("mem".into(), Amount::from_units(4096).unwrap()),
            ("db_connections".into(), Amount::from_units(3).unwrap()),
        ])),
        run: Run::Command(format!("render --tile {n} --stage prod").into()),
        env: BTreeMap::from([("STAGE".into(), "prod".into())]),
        priority: 0,
        retries: 2,
        timeout: Some(Duration::from_secs(7200)),
        kill_grace: None,
        constraints: Arc::default(),
        array,
    }
}

fn submitted(first: u64, array: Option<ArrayRange>) -> Fact {
    let submission = Submission {
        first: TaskId(first),
        spec: spec(first, array),
        after: Vec::new(),
        digest: [3; 16],
        submitted_at: Time(1_700_000_000_000),
    };
    Fact::Submitted {
        submission: Arc::new(submission),
        waiting: false,
    }
}

/// Commits batches of submissions for a while.
fn commits(place: &Path, batch: u64, floor: f64) {
    let directory = tempfile::tempdir_in(place).unwrap();
    let (mut store, _) = open(directory.path());
    let (mut next, mut n, mut busy, mut slowest) = (1, 0_u64, Duration::ZERO, Duration::ZERO);
    while busy < SPAN {
        let facts: Vec<_> = (next..next + batch).map(|id| submitted(id, None)).collect();
        next += batch;
        let watch = Stopwatch::start();
        store.commit(&facts).unwrap();
        let took = watch.elapsed();
        busy += took;
        slowest = slowest.max(took);
        n += 1;
    }
    let rate = n as f64 / busy.as_secs_f64();
    println!(
        "{:<46}{rate:>12.0} /s = {:>9.0} tasks/s, {:.2} of the disk's rate, slowest {:.1} ms",
        format!("commits of {batch} submissions"),
        rate * batch as f64,
        rate / floor,
        slowest.as_secs_f64() * 1e3
    );
}

/// Takes tasks through their lives, each step of 64 tasks in one commit.
fn lives(place: &Path) {
    const TASKS: u64 = 32_000;
    const STEP: u64 = 64;
    let directory = tempfile::tempdir_in(place).unwrap();
    let (mut store, _) = open(directory.path());
    let facts: Vec<_> = (1..=TASKS).map(|id| submitted(id, None)).collect();
    store.commit(&facts).unwrap();
    let watch = Stopwatch::start();
    for from in (1..=TASKS).step_by(STEP as usize) {
        for step in [launched, started, ended] {
            let facts: Vec<_> = (from..from + STEP).flat_map(step).collect();
            store.commit(&facts).unwrap();
        }
    }
    let took = watch.elapsed().as_secs_f64();
    println!(
        "{:<46}{:>12.0} tasks/s, {:.1} us each, syncs included",
        format!("launched, started, ended, {STEP} a commit"),
        TASKS as f64 / took,
        took * 1e6 / TASKS as f64
    );
}

fn attempt(id: u64) -> AttemptId {
    AttemptId {
        task: TaskId(id),
        number: 1,
    }
}

fn launched(id: u64) -> Vec<Fact> {
    vec![Fact::Launched {
        attempt: attempt(id),
        agent: "m1".into(),
        queue: "maps/render".into(),
        waited: Duration::ZERO,
        at: Time(1_700_000_000_001),
    }]
}

fn started(id: u64) -> Vec<Fact> {
    vec![Fact::Started {
        attempt: attempt(id),
        at: Time(1_700_000_000_002),
    }]
}

fn ended(id: u64) -> Vec<Fact> {
    let usage = Usage {
        wall: Duration::from_millis(5),
        cpu: Duration::from_millis(4),
        memory_peak_bytes: 1 << 20,
    };
    let value = Value {
        bytes: b"the answer is 42\n"[..].into(),
        truncated: false,
        file: None,
    };
    let outcome = Outcome {
        kind: OutcomeKind::Succeeded,
        cause: None,
        exit_code: Some(0),
        value,
        usage,
    };
    let at = Time(1_700_000_000_003);
    vec![
        Fact::AttemptEnded {
            attempt: attempt(id),
            end: AttemptEnd::Exited { code: 0 },
            usage,
            at,
        },
        Fact::Ended {
            task: TaskId(id),
            outcome: Arc::new(outcome),
            queue: "maps/render".into(),
            inbox: Some("release".into()),
            at,
        },
    ]
}

fn array(place: &Path) {
    let directory = tempfile::tempdir_in(place).unwrap();
    let (mut store, _) = open(directory.path());
    let last = u32::try_from(MANY).unwrap() - 1;
    let watch = Stopwatch::start();
    store
        .commit(&[submitted(
            1,
            Some(ArrayRange {
                first: 0,
                last,
                step: 1,
            }),
        )])
        .unwrap();
    println!(
        "{:<46}{:>12.2} ms",
        "an array of 1,000,000, durable",
        watch.elapsed().as_secs_f64() * 1e3
    );
}

fn fill(directory: &Path) {
    let (mut store, _) = open(directory);
    let watch = Stopwatch::start();
    for from in (1..=MANY).step_by(10_000) {
        let facts: Vec<_> = (from..from + 10_000)
            .map(|id| submitted(id, None))
            .collect();
        store.commit(&facts).unwrap();
    }
    println!(
        "{:<46}{:>12.2} s",
        "1,000,000 separate tasks submitted",
        watch.elapsed().as_secs_f64()
    );
}

fn recover(directory: &Path) {
    let watch = Stopwatch::start();
    let (mut store, _) = open(directory);
    let opened = watch.elapsed();
    let mut facts = Vec::with_capacity(usize::try_from(MANY).unwrap());
    store.recover(&mut |fact| facts.push(fact)).unwrap();
    let bytes = std::fs::metadata(directory.join(sqlite::DATABASE_FILE))
        .unwrap()
        .len();
    println!(
        "{:<46}{:>12.2} s, {:.2} s of it opening; {} facts, {} bytes a task on disk",
        "recovery of 1,000,000 queued separate tasks",
        watch.elapsed().as_secs_f64(),
        opened.as_secs_f64(),
        facts.len(),
        bytes / MANY
    );
}

fn lists(directory: &Path) {
    let (_store, reader) = open(directory);
    let some = |queue: Option<&str>, states: &[TaskState]| TaskFilter {
        queue: queue.map(str::to_owned),
        states: states.into(),
        search: None,
        newest: false,
        visible: None,
        after: Some(TaskId(MANY / 2)),
        limit: 100,
    };
    for (name, filter) in [
        ("all", some(None, &[])),
        ("a queue and those below", some(Some("maps"), &[])),
        ("queued", some(None, &[TaskState::Queued])),
        ("running (none)", some(None, &[TaskState::Running])),
    ] {
        let watch = Stopwatch::start();
        for _ in 0..100 {
            std::hint::black_box(reader.list(&filter).unwrap());
        }
        println!(
            "{:<46}{:>12.2} ms",
            format!("a page of 100: {name}"),
            watch.elapsed().as_secs_f64() * 10.0
        );
    }
}
