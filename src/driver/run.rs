//! The loop itself: waiting for a batch, and for a store that fails. What is done with a batch is in `order.rs`.

use std::thread;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use super::order::{Core, Listeners};
use super::{Inbox, Message, Observer, RequestError};
use crate::backend::Backend;
use crate::clock::{self, Stopwatch};
use crate::engine::{Engine, Event};
use crate::store::{Store, StoreError};

/// How many messages, and how many events, make a batch at most: more than enough for many callers to
/// share one sync, few enough for none to wait long behind the others.
const BATCH_MAX: usize = 256;

/// Between two tries of a commit that failed. A full disk is rarely emptied faster.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The shortest wait for a timer, so that a timer that stays due can't spin.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// How long the backend may take to end what runs when the daemon stops.
const STOP_MAX: Duration = Duration::from_secs(60);

impl Inbox {
    /// Runs the driver until it is told to stop. Needs a thread of its own, outside any async runtime.
    /// `engine` has recovered from `store`; `backend` has been told what to reconcile.
    ///
    /// # Errors
    /// The store is damaged, or still failed when the driver was told to stop. The backend has been shut
    /// down then too.
    pub fn run(
        self,
        engine: Engine,
        store: Box<dyn Store>,
        mut backend: Box<dyn Backend>,
        observer: Box<dyn Observer>,
    ) -> Result<(), StoreError> {
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => {
                backend.shut_down();
                return Err(StoreError::Other {
                    path: "the driver's thread".into(),
                    message: error.to_string().into(),
                });
            }
        };
        let listeners = Listeners {
            observer,
            committed: self.committed,
            failure: self.failure,
        };
        let mut driver = Driver {
            messages: self.messages,
            events: self.events,
            runtime,
            core: Core::new(engine, store, backend, listeners),
        };
        let ended = driver.run();
        driver.shut_down(ended.is_ok());
        ended
    }
}

struct Driver {
    messages: mpsc::Receiver<Message>,
    events: mpsc::Receiver<Vec<Event>>,
    /// Only to wait: for a message, or for a timer.
    runtime: Runtime,
    core: Core,
}

impl Driver {
    fn run(&mut self) -> Result<(), StoreError> {
        while !self.core.stopping {
            let wake_at = self.core.engine.wake_at();
            let wait = wake_at.map(|at| at.since(clock::now()).max(WAIT_MIN));
            self.receive(wait);
            let now = clock::now();
            let mut worked = self.core.work(now);
            while let Err(error) = worked {
                self.outlast(error)?;
                worked = self.core.resume(now);
            }
        }
        Ok(())
    }

    /// Receives what is there, or waits for the first of it, at most so long.
    fn receive(&mut self, wait: Option<Duration>) {
        let Self {
            messages,
            events,
            runtime,
            core,
        } = self;
        let has_events = may_bring_more(events);
        let received = async {
            tokio::select! {
                n = messages.recv_many(&mut core.messages, BATCH_MAX) => n == 0,
                _ = events.recv_many(&mut core.events, BATCH_MAX), if has_events => false,
            }
        };
        let is_over = runtime.block_on(async {
            match wait {
                None => received.await,
                Some(wait) => tokio::time::timeout(wait, received).await.unwrap_or(false),
            }
        });
        // Nobody is left who could ask anything.
        core.stopping |= is_over;
        // The other channel may have something too.
        while core.events.len() < BATCH_MAX
            && let Ok(event) = events.try_recv()
        {
            core.events.push(event);
        }
        while core.messages.len() < BATCH_MAX
            && let Ok(message) = messages.try_recv()
        {
            core.messages.push(message);
        }
    }

    /// The commit failed. Answers the batch's callers so, keeps the batch, and tries again until it
    /// succeeds; meanwhile requests are refused, events held, and looks granted.
    fn outlast(&mut self, mut error: StoreError) -> Result<(), StoreError> {
        tracing::error!(%error, "nothing is acknowledged or launched until the store works again");
        loop {
            self.core.suffer(&error);
            // A damaged file gets no better. And whoever stops the daemon doesn't wait for the store.
            if matches!(error, StoreError::Corrupt { .. }) || self.core.stopping {
                return Err(error);
            }
            self.refuse(RETRY_PAUSE, &error);
            match self.core.close() {
                Ok(()) => break,
                Err(again) => error = again,
            }
        }
        tracing::info!("the store works again");
        self.core.works_again();
        Ok(())
    }

    /// Refuses what comes for so long. Events wait in their channel, and their senders with them.
    fn refuse(&mut self, pause: Duration, error: &StoreError) {
        let watch = Stopwatch::start();
        loop {
            self.core.turn_away(&RequestError::Store(error.clone()));
            let left = pause.saturating_sub(watch.elapsed());
            if self.core.stopping || left.is_zero() {
                return;
            }
            let received = self.messages.recv_many(&mut self.core.messages, BATCH_MAX);
            let n = self
                .runtime
                .block_on(async { tokio::time::timeout(left, received).await.ok() });
            self.core.stopping |= n == Some(0);
        }
    }

    /// Ends what runs, and commits what still comes of it where the store works. Launches nothing more.
    fn shut_down(&mut self, mut store_works: bool) {
        let mut backend = std::mem::replace(&mut self.core.backend, Box::new(NoBackend));
        let (done, mut is_done) = oneshot::channel();
        // On a thread of its own: it may wait for events to be taken in.
        let ending = thread::spawn(move || {
            backend.shut_down();
            let _ = done.send(());
        });
        let watch = Stopwatch::start();
        let mut is_over = false;
        while !is_over {
            self.core.turn_away(&RequestError::Stopping);
            store_works = store_works && self.take_last_words().is_ok();
            let left = STOP_MAX.saturating_sub(watch.elapsed());
            let Self {
                messages,
                events,
                runtime,
                core,
            } = self;
            let has_events = may_bring_more(events);
            let has_messages = may_bring_more(messages);
            is_over = runtime.block_on(async {
                tokio::select! {
                    biased;
                    _ = events.recv_many(&mut core.events, BATCH_MAX), if has_events => false,
                    _ = messages.recv_many(&mut core.messages, BATCH_MAX), if has_messages => false,
                    _ = &mut is_done => true,
                    () = tokio::time::sleep(left) => {
                        tracing::warn!("the backend takes too long to end what runs; leaving it");
                        true
                    }
                }
            });
        }
        if ending.is_finished() && ending.join().is_err() {
            tracing::error!("the backend failed while it ended what ran");
        }
    }

    /// Commits what events bring while the daemon stops.
    fn take_last_words(&mut self) -> Result<(), StoreError> {
        self.core.take_in_events(clock::now());
        self.core.close()
    }
}

/// Whether something is in the channel or may still come.
fn may_bring_more<T>(channel: &mpsc::Receiver<T>) -> bool {
    !channel.is_closed() || !channel.is_empty()
}

/// Stands in once the real backend is shut down.
struct NoBackend;

impl Backend for NoBackend {
    fn act(&mut self, _decision: crate::engine::Decision) {}
    fn reconcile(&mut self, _attempts: Vec<crate::engine::AttemptId>) {}
    fn shut_down(&mut self) {}
}
