//! The loop itself: batch, engine, commit, act, answer, in that order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::{BatchStats, Inbox, Message, Observer, RequestError};
use crate::backend::Backend;
use crate::clock::{self, Stopwatch};
use crate::engine::{Engine, Event, Output, Refusal, Reply, Request, Time};
use crate::store::{Store, StoreError};

/// How many messages make a batch at most: more than enough for many callers to share one sync, few
/// enough for none to wait long behind the others.
const BATCH_MAX: usize = 256;

/// With so many facts a batch is closed though messages are left: a transaction of a few tenths of a
/// second. One message alone may bring more.
const FACTS_MAX: usize = 20_000;

/// Between two tries of a commit that failed. A full disk is rarely emptied faster.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How many events are taken in while the store fails. As nothing new is launched then, they can hardly
/// be more than there are attempts; beyond this, they wait in the channel.
const HELD_MAX: usize = 65_536;

/// The shortest wait for a timer, so that a timer that stays due can't spin.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// How long the backend may take to end what runs when the daemon stops.
const STOP_MAX: Duration = Duration::from_secs(60);

/// A batch on which the engine works longer is worth a warning: everyone else waits meanwhile.
const SLOW_TURN: Duration = Duration::from_millis(500);

/// A commit that takes longer is worth one too.
const SLOW_COMMIT: Duration = Duration::from_secs(2);

type Answer = oneshot::Sender<Result<Reply, RequestError>>;
type Look = Box<dyn FnOnce(&Engine) + Send>;

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
        backend: Box<dyn Backend>,
        observer: Box<dyn Observer>,
    ) -> Result<(), StoreError> {
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => {
                return Err(StoreError::Other {
                    path: "the driver's thread".into(),
                    message: error.to_string().into(),
                });
            }
        };
        let mut driver = Driver {
            inbox: self,
            runtime,
            engine,
            store,
            backend,
            observer,
            buffer: Vec::with_capacity(BATCH_MAX),
            pending: VecDeque::new(),
            batch: Batch::default(),
            stopping: false,
        };
        let ended = driver.run();
        driver.shut_down(ended.is_ok());
        ended
    }
}

/// What a batch has brought so far.
#[derive(Default)]
struct Batch {
    out: Output,
    answers: Vec<(Answer, Result<Reply, Refusal>)>,
    /// Looks at the engine that are due after it.
    looks: Vec<Look>,
    stats: BatchStats,
}

struct Driver {
    inbox: Inbox,
    /// Only to wait: for a message, or for a timer.
    runtime: Runtime,
    engine: Engine,
    store: Box<dyn Store>,
    backend: Box<dyn Backend>,
    observer: Box<dyn Observer>,
    buffer: Vec<Message>,
    /// Received and not yet taken in. While the store fails, events wait here.
    pending: VecDeque<Message>,
    batch: Batch,
    stopping: bool,
}

impl Driver {
    fn run(&mut self) -> Result<(), StoreError> {
        while !self.stopping {
            if self.pending.is_empty() {
                let wait = self
                    .engine
                    .wake_at()
                    .map(|at| at.since(clock::now()).max(WAIT_MIN));
                self.receive(wait);
            }
            let now = clock::now();
            self.take_in(now)?;
            if !self.stopping {
                self.turn(now);
            }
            self.close_batch()?;
        }
        Ok(())
    }

    /// Receives what is there, or waits for the first message, at most so long.
    fn receive(&mut self, wait: Option<Duration>) {
        let received = self.inbox.messages.recv_many(&mut self.buffer, BATCH_MAX);
        let n = match wait {
            None => Some(self.runtime.block_on(received)),
            // The timer must be made inside the runtime.
            Some(wait) => self
                .runtime
                .block_on(async { tokio::time::timeout(wait, received).await.ok() }),
        };
        self.pending.extend(self.buffer.drain(..));
        // Nobody is left who could send anything.
        self.stopping |= n == Some(0);
    }

    /// Gives the engine what was received.
    fn take_in(&mut self, now: Time) -> Result<(), StoreError> {
        while let Some(message) = self.pending.pop_front() {
            if self.batch.out.facts.len() >= FACTS_MAX {
                self.close_batch()?;
            }
            match message {
                Message::Event(event) => self.on_event(now, event),
                Message::Request(request, answer) => self.on_request(now, *request, answer)?,
                Message::Inspect(look) => self.batch.looks.push(look),
                Message::Stop => self.stopping = true,
            }
        }
        Ok(())
    }

    fn on_event(&mut self, now: Time, event: Event) {
        let watch = Stopwatch::start();
        self.batch.stats.count(&event);
        self.engine.on_event(now, event, &mut self.batch.out);
        self.batch.stats.turn += watch.elapsed();
    }

    fn on_request(
        &mut self,
        now: Time,
        mut request: Request,
        answer: Answer,
    ) -> Result<(), StoreError> {
        if let Request::Retry { task, stored } = &mut request
            && !self.engine.is_live(*task)
        {
            // The task may have ended in this very batch: the store knows only what was committed.
            self.close_batch()?;
            match self.store.find_ended(*task) {
                Ok(found) => *stored = found,
                Err(error) => {
                    let _ = answer.send(Err(error.into()));
                    return Ok(());
                }
            }
        }
        let watch = Stopwatch::start();
        let reply = self.engine.on_request(now, request, &mut self.batch.out);
        self.batch.stats.turn += watch.elapsed();
        self.batch.stats.n_requests += 1;
        self.batch.answers.push((answer, reply));
        Ok(())
    }

    fn turn(&mut self, now: Time) {
        let watch = Stopwatch::start();
        self.engine.turn(now, &mut self.batch.out);
        self.batch.stats.matching = watch.elapsed();
        self.batch.stats.turn += self.batch.stats.matching;
    }

    /// Commits what the batch has brought, and only then acts on it and answers.
    fn close_batch(&mut self) -> Result<(), StoreError> {
        if !self.batch.out.facts.is_empty() {
            let watch = Stopwatch::start();
            if let Err(error) = self.store.commit(&self.batch.out.facts) {
                self.outlast(error)?;
            }
            self.batch.stats.commit = Some(watch.elapsed());
        }
        let Batch {
            out,
            answers,
            looks,
            mut stats,
        } = std::mem::take(&mut self.batch);
        for decision in out.decisions {
            self.backend.act(decision);
        }
        for (answer, reply) in answers {
            // Whoever asked may have gone away meanwhile.
            let _ = answer.send(reply.map_err(RequestError::Refused));
        }
        for look in looks {
            look(&self.engine);
        }
        stats.n_decided = out.n_decided;
        warn_if_slow(&stats, out.facts.len());
        self.observer.batch(&out.facts, &stats);
        if !out.facts.is_empty() && self.inbox.committed.receiver_count() > 0 {
            // The last receiver may have gone away just now.
            let _ = self.inbox.committed.send(Arc::from(out.facts));
        }
        Ok(())
    }

    /// The commit failed. Answers the batch's callers so, keeps the batch, and tries again until it
    /// succeeds; meanwhile requests are refused, events held, and looks granted.
    fn outlast(&mut self, mut error: StoreError) -> Result<(), StoreError> {
        for (answer, _) in self.batch.answers.drain(..) {
            let _ = answer.send(Err(RequestError::Store(error.clone())));
        }
        for look in self.batch.looks.drain(..) {
            look(&self.engine);
        }
        loop {
            if self.inbox.failure.borrow().is_none() {
                tracing::error!(%error, "nothing is acknowledged or launched until the store works again");
            }
            self.inbox.failure.send_replace(Some(error.clone()));
            // A damaged file gets no better. And whoever stops the daemon doesn't wait for the store.
            if matches!(error, StoreError::Corrupt { .. }) || self.stopping {
                return Err(error);
            }
            self.refuse(RETRY_PAUSE, &error);
            match self.store.commit(&self.batch.out.facts) {
                Ok(()) => break,
                Err(again) => error = again,
            }
        }
        tracing::info!("the store works again");
        self.inbox.failure.send_replace(None);
        Ok(())
    }

    /// Takes messages for so long, without the engine.
    fn refuse(&mut self, pause: Duration, error: &StoreError) {
        let watch = Stopwatch::start();
        loop {
            self.turn_away(&RequestError::Store(error.clone()));
            let left = pause.saturating_sub(watch.elapsed());
            if self.stopping || left.is_zero() {
                return;
            }
            if self.pending.len() >= HELD_MAX {
                self.runtime
                    .block_on(async { tokio::time::sleep(left).await });
            } else {
                self.receive(Some(left));
            }
        }
    }

    /// Refuses the requests that are pending and grants the looks; events stay.
    fn turn_away(&mut self, error: &RequestError) {
        // Once around, so the events left keep their order.
        for _ in 0..self.pending.len() {
            match self.pending.pop_front() {
                Some(Message::Event(event)) => self.pending.push_back(Message::Event(event)),
                Some(Message::Request(_, answer)) => {
                    let _ = answer.send(Err(error.clone()));
                }
                Some(Message::Inspect(look)) => look(&self.engine),
                Some(Message::Stop) => self.stopping = true,
                None => {}
            }
        }
    }

    /// Ends what runs, and commits what still comes of it where the store works. Launches nothing more.
    fn shut_down(&mut self, mut store_works: bool) {
        let mut backend = std::mem::replace(&mut self.backend, Box::new(NoBackend));
        let (done, mut is_done) = oneshot::channel();
        // On a thread of its own: it may wait for events to be taken in.
        let ending = thread::spawn(move || {
            backend.shut_down();
            let _ = done.send(());
        });
        let watch = Stopwatch::start();
        let mut left = Some(STOP_MAX);
        while let Some(wait) = left {
            self.turn_away(&RequestError::Stopping);
            store_works = store_works && self.take_last_words().is_ok();
            self.pending.clear();
            let received = self.inbox.messages.recv_many(&mut self.buffer, BATCH_MAX);
            let is_over = self.runtime.block_on(async {
                tokio::select! {
                    biased;
                    n = received => n == 0,
                    _ = &mut is_done => true,
                    () = tokio::time::sleep(wait) => {
                        tracing::warn!("the backend takes too long to end what runs; leaving it");
                        true
                    }
                }
            });
            self.pending.extend(self.buffer.drain(..));
            left = STOP_MAX.checked_sub(watch.elapsed()).filter(|_| !is_over);
        }
        if ending.is_finished() && ending.join().is_err() {
            tracing::error!("the backend failed while it ended what ran");
        }
    }

    /// Commits what events bring while the daemon stops.
    fn take_last_words(&mut self) -> Result<(), StoreError> {
        let now = clock::now();
        for message in std::mem::take(&mut self.pending) {
            if let Message::Event(event) = message {
                self.on_event(now, event);
            }
        }
        self.close_batch()
    }
}

fn warn_if_slow(stats: &BatchStats, n_facts: usize) {
    let commit = stats.commit.unwrap_or_default();
    if stats.turn > SLOW_TURN || commit > SLOW_COMMIT {
        tracing::warn!(
            turn_seconds = stats.turn.as_secs_f64(),
            matching_seconds = stats.matching.as_secs_f64(),
            commit_seconds = commit.as_secs_f64(),
            n_requests = stats.n_requests,
            n_decided = stats.n_decided,
            n_facts,
            "a slow turn"
        );
    }
}

/// Stands in once the real backend is shut down.
struct NoBackend;

impl Backend for NoBackend {
    fn act(&mut self, _decision: crate::engine::Decision) {}
    fn reconcile(&mut self, _attempts: Vec<crate::engine::AttemptId>) {}
    fn shut_down(&mut self) {}
}
