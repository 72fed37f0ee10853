//! Threads that start processes, each in the cgroup of an attempt.
//!
//! A starter sits in a cgroup and stays there from one attempt to the next: what it starts is born there, and nobody has
//! to move. Meanwhile the keeper looks after the others; for whoever starts a process waits until it has become its
//! program, and for that it must first get a processor, which on a busy machine takes a millisecond or two.
//!
//! It stays as long as the cgroup does, and so longer than what it started; for a task may have asked to be told when
//! the thread ends that started it. Where there are no cgroups, or threads can't be in another one than their process,
//! the keeper starts processes itself: that takes less of the processor.

use std::io::{self, PipeWriter, Write as _};
use std::process::Child;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::super::wire::{WireAttempt, WireEnd};
use super::cgroup::Seat;
use super::spawn::{Outputs, Prepared};
use crate::clock::Stopwatch;

/// What a starter's own stack may take.
const STACK_BYTES: usize = 256 << 10;

/// What is to be started.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) attempt: WireAttempt,
    pub(super) prepared: Prepared,
    /// Whether its cgroup bounds how many processes it has.
    pub(super) counts_processes: bool,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) attempt: WireAttempt,
    /// The process, or whose fault it is that there is none.
    pub(super) started: Result<Child, WireEnd>,
    pub(super) outputs: Outputs,
    /// When, on the keeper's stopwatch.
    pub(super) at: Duration,
}

/// One thread. When this is dropped, it ends, and has left its cgroup.
#[derive(Debug)]
pub(super) struct Starter {
    /// `None` once it is to end.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Starter {
    /// Hands it a job. It does one at a time.
    ///
    /// # Errors
    /// The job, if the thread is gone.
    pub(super) fn give(&self, job: Job) -> Result<(), Box<Job>> {
        match &self.jobs {
            Some(jobs) => jobs.send(job).map_err(|failed| Box::new(failed.0)),
            None => Err(Box::new(job)),
        }
    }

    /// Whether its thread has ended, which it does before this is dropped only by a panic.
    pub(super) fn is_gone(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Starter {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // That it panicked has been said.
            let _ = thread.join();
        }
    }
}

/// Makes starters, and hears what they did.
#[derive(Debug)]
pub(super) struct Starters {
    clock: Stopwatch,
    wake: Arc<PipeWriter>,
    arrivals: Receiver<Arrival>,
    sender: Sender<Arrival>,
}

impl Starters {
    /// `wake` ends the keeper's wait.
    pub(super) fn new(clock: Stopwatch, wake: PipeWriter) -> Self {
        let (sender, arrivals) = channel();
        Self {
            clock,
            wake: Arc::new(wake),
            arrivals,
            sender,
        }
    }

    /// One that sits in a cgroup.
    ///
    /// # Errors
    /// There is no thread to be had, or it may not go there.
    pub(super) fn make(&self, seat: Seat) -> io::Result<Starter> {
        let (jobs, its_jobs) = channel();
        let (ready, is_ready) = sync_channel(1);
        let sitting = Sitting {
            clock: self.clock,
            wake: Arc::clone(&self.wake),
            arrivals: self.sender.clone(),
            seat,
        };
        let thread = thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || sitting.run(&ready, &its_jobs))?;
        let starter = Starter {
            jobs: Some(jobs),
            thread: Some(thread),
        };
        let entered = is_ready.recv().map_err(io::Error::other).flatten();
        entered.map(|()| starter)
    }

    /// The next process that was started, or could not be.
    pub(super) fn next_arrival(&self) -> Option<Arrival> {
        self.arrivals.try_recv().ok()
    }
}

/// What a starter's thread has.
struct Sitting {
    clock: Stopwatch,
    wake: Arc<PipeWriter>,
    arrivals: Sender<Arrival>,
    seat: Seat,
}

impl Sitting {
    fn run(mut self, ready: &SyncSender<io::Result<()>>, jobs: &Receiver<Job>) {
        let entered = self.seat.enter();
        let may_stay = entered.is_ok();
        // Whoever made this waits for it.
        let _ = ready.send(entered);
        if may_stay {
            for job in jobs {
                let arrival = self.start(job);
                // What runs is heard of soon enough, mostly together with its end.
                let is_urgent = arrival.started.is_err();
                let is_heard = self.arrivals.send(arrival).is_ok();
                if !is_heard || (is_urgent && (&*self.wake).write_all(b"s").is_err()) {
                    break;
                }
            }
        }
        // If it can't, the end of the thread leaves the cgroup.
        let _ = self.seat.leave();
    }

    fn start(&mut self, job: Job) -> Arrival {
        let Job {
            attempt,
            prepared,
            counts_processes,
        } = job;
        let entered = if counts_processes {
            self.seat.enter_pids()
        } else {
            Ok(())
        };
        let (started, outputs) = match entered {
            Ok(()) => prepared.start(),
            Err(error) => {
                let end = WireEnd::Failed(format!("cannot enter a cgroup: {error}"));
                (Err(end), prepared.outputs)
            }
        };
        if counts_processes {
            // If it can't, it counts as one of the attempt's.
            let _ = self.seat.leave_pids();
        }
        Arrival {
            attempt,
            started,
            outputs,
            at: self.clock.elapsed(),
        }
    }
}
