//! The daemon's end of the pipes to a keeper.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use super::environment;
use super::keeper::{self, Home};
use super::wire::{Lines, Order, Report, WireLimits, WirePython, write_line};
use crate::backend::values::Values;

/// How to start keepers.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    /// `apportion` itself.
    pub(super) program: PathBuf,
    pub(super) home: Home,
    pub(super) limits: WireLimits,
    pub(super) python: WirePython,
    /// Where large values go.
    pub(super) values: Values,
}

/// A keeper that runs.
#[derive(Debug)]
pub(super) struct Link {
    guard: Child,
    orders: Option<ChildStdin>,
    reader: Option<JoinHandle<()>>,
    bytes: Vec<u8>,
}

impl Link {
    /// Starts a keeper. All that it says goes to `on_reports`, what it said at once together, from a thread of
    /// its own; `None` is the last word and means that no process of the keeper's is left.
    ///
    /// # Errors
    /// There is no process or no thread to be had.
    pub(super) fn start(
        recipe: &Recipe,
        on_reports: impl FnMut(Option<Vec<Report>>) + Send + 'static,
    ) -> io::Result<Self> {
        let own = std::env::vars_os();
        let mut guard = Command::new(&recipe.program)
            .arg0("apportion")
            .args(keeper::guard_args(&recipe.home))
            .env_clear()
            .envs(
                environment::base(own)
                    .into_iter()
                    .collect::<Vec<(OsString, OsString)>>(),
            )
            .current_dir(&recipe.home.tasks_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(orders), Some(reports)) = (guard.stdin.take(), guard.stdout.take()) else {
            return Err(io::Error::other("no pipes to the keeper"));
        };
        let reader = std::thread::Builder::new()
            .name("keeper-reports".to_owned())
            .spawn(move || read_reports(reports, on_reports))?;
        let mut link = Self {
            guard,
            orders: Some(orders),
            reader: Some(reader),
            bytes: Vec::new(),
        };
        link.push(&Order::Start {
            limits: recipe.limits,
            daemon: std::process::id(),
            python: recipe.python.clone(),
        })?;
        // Should this fail, the reader learns of the keeper's end as well.
        let _ = link.flush();
        Ok(link)
    }

    /// Puts an order with those that go out together.
    ///
    /// # Errors
    /// It is too long.
    pub(super) fn push(&mut self, order: &Order<'_>) -> io::Result<()> {
        write_line(&mut self.bytes, order)
    }

    /// Sends what was put together. Waits while the keeper is busy, but not for anything else: it always
    /// reads on, since its reports are always read.
    ///
    /// # Errors
    /// The keeper is gone; its last word comes through the reader.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let result = match &mut self.orders {
            Some(orders) => orders.write_all(&self.bytes),
            None => Ok(()),
        };
        self.bytes.clear();
        result
    }

    /// Lets go of the keeper, which then ends all that it keeps.
    pub(super) fn hang_up(&mut self) {
        self.orders = None;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.hang_up();
        // The guard ends right after the last report; see `keeper`.
        let _ = self.guard.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Reads until nobody is left who could report.
fn read_reports(mut pipe: ChildStdout, mut on_reports: impl FnMut(Option<Vec<Report>>)) {
    let mut lines = Lines::default();
    loop {
        let mut reports = Vec::new();
        while let Some(line) = lines.next_line() {
            match serde_json::from_slice(line) {
                Ok(report) => reports.push(report),
                Err(error) => {
                    tracing::error!(%error, "the keeper said something that is no report")
                }
            }
        }
        if !reports.is_empty() {
            on_reports(Some(reports));
        }
        match lines.fill(&mut pipe) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                tracing::error!(%error, "cannot read the keeper's reports");
                break;
            }
        }
    }
    on_reports(None);
}
