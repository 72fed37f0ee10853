//! The thread that listens to the keeper: it brings reports to the desk and events from there to the driver, starts
//! keepers, and does what the driver should not wait for.

use std::io::{PipeReader, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::poll::{PollFd, PollFlags, poll};

use super::desk::{self, Desk};
use super::link::{Link, Recipe, Reports, timeout};
use super::wire::{Report, WireValue};
use super::{layout, logs};
use crate::engine::outcome::{Value, ValueFile};
use crate::engine::{AttemptId, Event};

/// The desk, for whoever may do something there.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Desk>>);

impl Shared {
    pub(super) fn new(desk: Desk) -> Self {
        Self(Arc::new(Mutex::new(desk)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Desk> {
        // Who panicked there has ended the thread that the other waits for; that is told by its end.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the module's text.
pub(super) struct Clerk<F> {
    pub(super) desk: Shared,
    /// Wakes this thread.
    pub(super) bell: PipeReader,
    /// What the keeper says; `None` while there is none.
    pub(super) reports: Option<Reports>,
    /// Takes events, and may wait as long as it likes; false when nobody listens any more.
    pub(super) on_events: F,
    pub(super) is_heard: bool,
}

/// What the wait was ended by.
#[derive(Clone, Copy, Debug, Default)]
struct Woken {
    by_bell: bool,
    by_reports: bool,
}

impl<F: FnMut(Vec<Event>) -> bool> Clerk<F> {
    /// Works until the keeper has gone and none is to follow.
    pub(super) fn run(mut self) {
        while self.round() {}
    }

    /// Waits for something and does it. False at the end.
    fn round(&mut self) -> bool {
        let woken = self.wait();
        let heard = match &mut self.reports {
            Some(reports) if woken.by_reports => reports.read(),
            _ => Some(Vec::new()),
        };
        let said = heard.map(|reports| self.with_values(reports));
        if woken.by_bell && self.bell.read(&mut [0; 1]).is_err() {
            return false;
        }
        let mut left: Option<Link> = None;
        let told = {
            let mut desk = self.desk.lock();
            desk.has_rung &= !woken.by_bell;
            match said {
                Some(said) => {
                    for (report, value) in said {
                        desk.on_report(report, value);
                    }
                }
                None => {
                    self.reports = None;
                    left = desk.on_keeper_gone();
                }
            }
            if desk.shutting_down && self.reports.is_none() {
                return false;
            }
            if desk.restart_in().is_some_and(|pause| pause.is_zero()) {
                self.reports = desk.start_keeper();
            }
            desk.flush();
            desk.take_told()
        };
        drop(left);
        self.is_heard = self.is_heard && (told.is_empty() || (self.on_events)(told));
        self.run_errands();
        true
    }

    /// Waits for the keeper, the bell, room for orders, or the time to start a keeper.
    fn wait(&self) -> Woken {
        let (orders, pause) = {
            let desk = self.desk.lock();
            if desk.next_errand().is_some() || !desk.told.is_empty() {
                return Woken::default();
            }
            let orders = desk.link.as_ref().and_then(Link::wants_room);
            (orders, desk.restart_in())
        };
        let reports = self.reports.as_ref().map(Reports::pipe);
        let mut fds = vec![PollFd::new(self.bell.as_fd(), PollFlags::POLLIN)];
        fds.extend(reports.map(|pipe| PollFd::new(pipe, PollFlags::POLLIN)));
        let orders = orders.as_ref().map(OwnedFd::as_fd);
        fds.extend(orders.map(|pipe| PollFd::new(pipe, PollFlags::POLLOUT)));
        if poll(&mut fds, timeout(pause)).is_err() {
            // A signal. The pipes are looked at again.
            return Woken::default();
        }
        let any = |fd: Option<&PollFd<'_>>| fd.is_some_and(|fd| fd.any().unwrap_or(false));
        Woken {
            by_bell: any(fds.first()),
            by_reports: reports.is_some() && any(fds.get(1)),
        }
    }

    /// Writes what waiting launches run to files, and orders them.
    fn run_errands(&mut self) {
        loop {
            let (recipe, launch, user) = {
                let desk = self.desk.lock();
                let Some(launch) = desk.next_errand() else {
                    return;
                };
                let user = desk.profiles.user_of(&launch.submission.spec.queue);
                (Arc::clone(&desk.recipe), launch.clone(), user)
            };
            let written = desk::write_call(&recipe, &launch, user.as_ref());
            let mut desk = self.desk.lock();
            desk.launch_waiting(launch.attempt, written);
            desk.flush();
        }
    }

    /// Reads what those that have ended have to show, while the desk is free.
    fn with_values(&self, reports: Vec<Report>) -> Vec<(Report, Value)> {
        if reports.is_empty() {
            return Vec::new();
        }
        let recipe = Arc::clone(&self.desk.lock().recipe);
        let mut said = Vec::with_capacity(reports.len());
        for mut report in reports {
            let value = if let Report::Ended { attempt, value, .. } = &mut report {
                let value = std::mem::replace(value, WireValue::Nothing);
                value_of(&recipe, (*attempt).into(), value)
            } else {
                Value::default()
            };
            said.push((report, value));
        }
        said
    }
}

/// What an attempt has to show.
fn value_of(recipe: &Recipe, attempt: AttemptId, value: WireValue) -> Value {
    let tasks_dir = &recipe.home.tasks_dir;
    match value {
        WireValue::Nothing => Value::default(),
        WireValue::Output => logs::read_value(tasks_dir, attempt).unwrap_or_else(|error| {
            tracing::error!(%attempt, %error, "cannot read the output of an attempt; its value is empty");
            Value::default()
        }),
        WireValue::Inline(text) => Value {
            bytes: STANDARD.decode(text).unwrap_or_default().into(),
            ..Value::default()
        },
        WireValue::File(n_bytes) => {
            let left = layout::left_value(tasks_dir, attempt);
            let n_bytes = match recipe.values.adopt(attempt, &left) {
                // Its worker could write to where it belongs.
                Ok(None) => n_bytes,
                Ok(Some(adopted)) => {
                    let _ = std::fs::remove_dir(layout::work_dir(tasks_dir, attempt));
                    adopted
                }
                Err(error) => {
                    tracing::error!(%attempt, %error, "cannot keep the value of an attempt; it is empty");
                    return Value::default();
                }
            };
            Value {
                file: Some(ValueFile {
                    attempt: attempt.number,
                    n_bytes,
                }),
                ..Value::default()
            }
        }
    }
}

impl Desk {
    /// Starts a keeper, and gives what it will say. What has waited for one is ordered next.
    fn start_keeper(&mut self) -> Option<Reports> {
        self.last_start = crate::clock::Stopwatch::start();
        match Link::start(&self.recipe) {
            Ok((link, reports)) => {
                self.link = Some(link);
                Some(reports)
            }
            Err(error) => {
                tracing::error!(%error, "cannot start a keeper; nothing can be launched until one starts");
                None
            }
        }
    }
}
