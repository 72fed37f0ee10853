//! The daemon's end of the pipes to a keeper.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

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

/// A keeper that runs, as who gives it orders sees it.
#[derive(Debug)]
pub(super) struct Link {
    guard: Child,
    /// Never waits.
    orders: Option<ChildStdin>,
    /// Orders, of which the first so many bytes have been sent.
    bytes: Vec<u8>,
    n_sent: usize,
}

impl Link {
    /// Starts a keeper; with what it says.
    ///
    /// # Errors
    /// There is no process to be had.
    pub(super) fn start(recipe: &Recipe) -> io::Result<(Self, Reports)> {
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
        let (Some(orders), Some(pipe)) = (guard.stdin.take(), guard.stdout.take()) else {
            return Err(io::Error::other("no pipes to the keeper"));
        };
        // The keeper's end is another open file, and waits as before.
        fcntl(&orders, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let mut link = Self {
            guard,
            orders: Some(orders),
            bytes: Vec::new(),
            n_sent: 0,
        };
        link.push(&Order::Start {
            limits: recipe.limits,
            daemon: std::process::id(),
            python: recipe.python.clone(),
        })?;
        // Should this fail, its reports tell of the keeper's end as well.
        let _ = link.flush();
        let lines = Lines::default();
        Ok((link, Reports { pipe, lines }))
    }

    /// Puts an order with those that go out together.
    ///
    /// # Errors
    /// It is too long.
    pub(super) fn push(&mut self, order: &Order<'_>) -> io::Result<()> {
        write_line(&mut self.bytes, order)
    }

    /// Sends of what was put together as much as there is room for; see [`Link::wants_room`].
    ///
    /// # Errors
    /// The keeper is gone; its reports come to an end.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Some(orders) = &mut self.orders else {
            self.bytes.clear();
            self.n_sent = 0;
            return Ok(());
        };
        let mut result = Ok(());
        while self.n_sent < self.bytes.len() {
            match orders.write(&self.bytes[self.n_sent..]) {
                Ok(n_bytes) => self.n_sent += n_bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.bytes.clear();
        self.n_sent = 0;
        result
    }

    /// Whether there are orders for which there was no room.
    pub(super) fn has_backlog(&self) -> bool {
        self.n_sent < self.bytes.len()
    }

    /// Where there are: what to wait on until there is.
    pub(super) fn wants_room(&self) -> Option<OwnedFd> {
        let orders = self.orders.as_ref().filter(|_| self.has_backlog())?;
        orders.as_fd().try_clone_to_owned().ok()
    }

    /// Lets go of the keeper, which then ends all that it keeps.
    pub(super) fn hang_up(&mut self) {
        self.orders = None;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.hang_up();
        // It ends right after the last report; see `keeper`.
        let _ = self.guard.wait();
    }
}

/// What a keeper says.
#[derive(Debug)]
pub(super) struct Reports {
    pipe: ChildStdout,
    lines: Lines,
}

impl Reports {
    /// What to wait on.
    pub(super) fn pipe(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// What has been said, at once; waits for it if need be. `None`: no process of the keeper's is left.
    pub(super) fn read(&mut self) -> Option<Vec<Report>> {
        match self.lines.fill(&mut self.pipe) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                tracing::error!(%error, "cannot read the keeper's reports");
                return None;
            }
        }
        let mut reports = Vec::new();
        while let Some(line) = self.lines.next_line() {
            match serde_json::from_slice(line) {
                Ok(report) => reports.push(report),
                Err(error) => {
                    tracing::error!(%error, "the keeper said something that is no report")
                }
            }
        }
        Some(reports)
    }

    /// The same, but waits for so long at most, and then says nothing.
    pub(super) fn read_within(&mut self, longest: Duration) -> Option<Vec<Report>> {
        let mut fds = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout(Some(longest))) {
            Ok(n) if n > 0 => self.read(),
            Ok(_) | Err(_) => Some(Vec::new()),
        }
    }
}

/// For a wait of this length, or for ever. Rounded up: to wake too early would mean to wake again at once.
pub(super) fn timeout(longest: Option<Duration>) -> PollTimeout {
    longest.map_or(PollTimeout::NONE, |longest| {
        let millis = longest.as_micros().div_ceil(1000).min(1 << 30);
        PollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
    })
}
