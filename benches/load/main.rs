//! Load on the real daemon, each figure beside its floor, measured in the same run.
//!
//! `cargo bench --bench load -- [options]`; `--help` lists them. Without `--bench`, which `cargo bench`
//! passes, nothing is measured, so that a test run over all targets stays quick.

#![allow(
    clippy::print_stdout,
    reason = "a benchmark prints what it has measured"
)]

mod bodies;
mod daemon;
mod explain;
mod floor;
mod observe;
mod processes;
mod report;
mod restart;
mod spawn;
mod submit;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use indicatif::ProgressBar;

use crate::report::Report;

/// The parts that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Section {
    /// What the disk can do.
    Disk,
    /// Durable submission over HTTP.
    Submit,
    /// One large array: time until durable, memory.
    Array,
    /// Processes through the local backend.
    Spawn,
    /// What it costs to watch all of that: metrics, logs, traces.
    Observe,
    /// Explanations of waiting tasks while others start and end.
    Explain,
    /// Memory of separate tasks, and a restart with them.
    Restart,
}

impl Section {
    const ALL: [Self; 7] = [
        Self::Disk,
        Self::Submit,
        Self::Array,
        Self::Spawn,
        Self::Observe,
        Self::Explain,
        Self::Restart,
    ];
}

/// Measures the daemon beside the floors of this machine.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// Which parts, joined by commas; all of them if not given.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Section>,
    /// How many tasks wait in `array` and `restart`.
    #[arg(long, default_value_t = 1_000_000)]
    n_tasks: u32,
    /// How many processes `spawn` runs.
    #[arg(long, default_value_t = 10_000)]
    n_spawn: u32,
    /// How many of them side by side; one round for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 8])]
    side_by_side: Vec<u32>,
    /// How demands are enforced on them (`backend.limits`); one round for each.
    #[arg(long, value_delimiter = ',', default_values_t = ["auto".to_owned(), "off".to_owned()])]
    limits: Vec<String>,
    /// How often `observe` and `explain` measure each way, in turns; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// For how long each figure of `disk`, `submit`, `observe` and `explain` is measured, in seconds.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Where the daemons keep their data, so which disk is measured. A folder of the build by default.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Writes the figures to this file as JSON, too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Lets the daemons' log go to this file instead of nowhere.
    #[arg(long)]
    log: Option<PathBuf>,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What each part of the run needs.
struct Run {
    options: Options,
    folder: PathBuf,
    report: Report,
    progress: ProgressBar,
    scratches: Vec<tempfile::TempDir>,
}

impl Run {
    /// How long one figure is measured.
    fn span(&self) -> Duration {
        Duration::from_secs(self.options.seconds)
    }

    /// Says what is going on, on a terminal.
    fn tell(&self, what: impl Into<std::borrow::Cow<'static, str>>) {
        self.progress.set_message(what);
        self.progress.tick();
    }

    /// An empty folder on the disk that is measured, gone at the end of the run. Not before: ext4 keeps inodes
    /// that were deleted minutes ago from being used again and steps over each of them whenever a file is made,
    /// so what one part of a run deletes would make the next one slow.
    fn scratch(&mut self) -> PathBuf {
        let folder =
            tempfile::tempdir_in(&self.folder).expect("the folder for data can be written");
        let path = folder.path().to_owned();
        self.scratches.push(folder);
        path
    }
}

fn main() {
    let options = Options::parse();
    if !options.bench {
        println!("nothing measured; run `cargo bench --bench load`");
        return;
    }
    let folder = options
        .dir
        .clone()
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    std::fs::create_dir_all(&folder).expect("the folder for data can be made");
    let progress = ProgressBar::new_spinner();
    progress.enable_steady_tick(Duration::from_millis(200));
    let mut run = Run {
        options,
        folder,
        report: Report::default(),
        progress,
        scratches: Vec::new(),
    };
    let chosen = if run.options.only.is_empty() {
        Section::ALL.to_vec()
    } else {
        run.options.only.clone()
    };
    for section in Section::ALL.into_iter().filter(|one| chosen.contains(one)) {
        match section {
            Section::Disk => floor::measure(&mut run),
            Section::Submit => submit::measure(&mut run),
            Section::Array => restart::measure_array(&mut run),
            Section::Spawn => spawn::measure(&mut run),
            Section::Observe => observe::measure(&mut run),
            Section::Explain => explain::measure(&mut run),
            Section::Restart => restart::measure_separate(&mut run),
        }
    }
    run.progress.finish_and_clear();
    println!("{}", run.report.table());
    if let Some(file) = &run.options.json {
        std::fs::write(file, run.report.json()).expect("the JSON file can be written");
    }
}
