//! What the disk can do without the daemon: synced writes, and commits of the database that the daemon uses.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use apportion::clock::Stopwatch;
use rusqlite::Connection;

use crate::Run;
use crate::report::Figure;

/// The name of the figure: commits of one row.
pub(crate) const COMMITS: &str = "sqlite commits of 1 row";
/// The name of the figure: rows in commits of 1,000.
pub(crate) const ROWS: &str = "sqlite rows, 1,000 a commit";

/// How large a row of the floor is: about what a small task takes.
const ROW_BYTES: usize = 200;

/// Measures and reports the disk's figures, once a run.
pub(crate) fn measure(run: &mut Run) {
    if run.report.find(COMMITS).is_some() {
        return;
    }
    let scratch = run.scratch();
    run.tell("the disk: synced writes");
    let mut syncs = sync_each_write(&scratch, run.span());
    let sync_rate = syncs.rate();
    run.report.add(
        Figure::new("disk", "write + fdatasync of 4 KiB", sync_rate, "1/s")
            .note("p50", syncs.percentile_millis(50), "ms")
            .note("p99", syncs.percentile_millis(99), "ms"),
    );
    for (what, rows, unit) in [(COMMITS, 1, "1/s"), (ROWS, 1000, "rows/s")] {
        run.tell(format!("the disk: {what}"));
        let mut commits = commit_rows(&scratch, rows, run.span());
        let figure = Figure::new("disk", what, commits.rate() * f64::from(rows), unit)
            .note("p50", commits.percentile_millis(50), "ms")
            .note("p99", commits.percentile_millis(99), "ms");
        run.report.add(match rows {
            1 => figure.beside(sync_rate, "fdatasyncs"),
            _ => figure,
        });
    }
}

/// How long each of many equal things took.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    each: Vec<Duration>,
    /// How long they took together, side by side or one after the other.
    pub(crate) total: Duration,
}

impl Latencies {
    /// Takes one more.
    pub(crate) fn add(&mut self, latency: Duration) {
        self.each.push(latency);
    }

    /// Takes those of another.
    pub(crate) fn join(&mut self, other: Self) {
        self.each.extend(other.each);
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.each.len()
    }

    /// How many a second.
    pub(crate) fn rate(&self) -> f64 {
        self.each.len() as f64 / self.total.as_secs_f64()
    }

    /// In how many milliseconds so many of a hundred were done.
    pub(crate) fn percentile_millis(&mut self, percent: usize) -> f64 {
        self.each.sort_unstable();
        let place = (self.each.len() * percent / 100).min(self.each.len().saturating_sub(1));
        self.each
            .get(place)
            .map_or(f64::NAN, |latency| latency.as_secs_f64() * 1000.0)
    }
}

/// Does something again and again for a while.
fn repeat(span: Duration, mut once: impl FnMut()) -> Latencies {
    let mut latencies = Latencies::default();
    let since_start = Stopwatch::start();
    while since_start.elapsed() < span {
        let since = Stopwatch::start();
        once();
        latencies.add(since.elapsed());
    }
    latencies.total = since_start.elapsed();
    latencies
}

/// Writes a block of a file that is there in full, as a database does with its log, and syncs it.
fn sync_each_write(folder: &Path, span: Duration) -> Latencies {
    const N_BLOCKS: u64 = 1024;
    let mut file = std::fs::File::create(folder.join("synced")).expect("a file can be made");
    let block = [7_u8; 4096];
    let whole = block.repeat(N_BLOCKS as usize);
    file.write_all(&whole).expect("the file can be written");
    file.sync_all().expect("the file can be synced");
    let mut place = 0;
    repeat(span, || {
        let at = place % N_BLOCKS * block.len() as u64;
        file.write_all_at(&block, at)
            .expect("the file can be written");
        file.sync_data().expect("the file can be synced");
        place += 1;
    })
}

/// Transactions of `rows` small rows each, as durable as the daemon's.
fn commit_rows(folder: &Path, rows: u32, span: Duration) -> Latencies {
    let file = folder.join(format!("commits-{rows}.db"));
    let mut database = Connection::open(file).expect("a database can be made");
    let set = |name: &str, value: &str| {
        let done = database.pragma_update(None, name, value);
        done.expect("the database can be set up");
    };
    set("journal_mode", "WAL");
    set("synchronous", "FULL");
    let made =
        database.execute_batch("create table row (id integer primary key, body blob not null)");
    made.expect("a table can be made");
    let body = [7_u8; ROW_BYTES];
    repeat(span, || {
        let transaction = database.transaction().expect("a transaction can be begun");
        {
            let mut insert = transaction
                .prepare_cached("insert into row (body) values (?1)")
                .expect("the statement is right");
            for _ in 0..rows {
                insert.execute([&body[..]]).expect("a row can be added");
            }
        }
        transaction
            .commit()
            .expect("the transaction can be committed");
    })
}
