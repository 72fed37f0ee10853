//! The loop itself: batch, engine, commit, act, answer, in that order.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use super::{BatchStats, Inbox, Message, Observer, RequestError};
use crate::backend::Backend;
use crate::clock::{self, Stopwatch};
use crate::engine::{Engine, Event, Fact, Output, Refusal, Reply, Request, Time};
use crate::store::{Store, StoreError};

/// How many messages, and how many events, make a batch at most: more than enough for many callers to
/// share one sync, few enough for none to wait long behind the others.
const BATCH_MAX: usize = 256;

/// With so many facts a batch is closed though messages are left: a transaction of a few tenths of a
/// second. One message alone may bring more.
const FACTS_MAX: usize = 20_000;

/// Between two tries of a commit that failed. A full disk is rarely emptied faster.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

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
        let mut driver = Driver {
            inbox: self,
            runtime,
            engine,
            store,
            backend,
            observer,
            messages: Vec::with_capacity(BATCH_MAX),
            events: Vec::with_capacity(BATCH_MAX),
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
    /// Received and not yet taken in.
    messages: Vec<Message>,
    /// Received and not yet taken in.
    events: Vec<Vec<Event>>,
    batch: Batch,
    stopping: bool,
}

impl Driver {
    fn run(&mut self) -> Result<(), StoreError> {
        while !self.stopping {
            let wait = self
                .engine
                .wake_at()
                .map(|at| at.since(clock::now()).max(WAIT_MIN));
            self.receive(wait);
            let now = clock::now();
            self.take_in(now)?;
            if !self.stopping {
                self.turn(now);
            }
            self.close_batch()?;
        }
        Ok(())
    }

    /// Receives what is there, or waits for the first of it, at most so long.
    fn receive(&mut self, wait: Option<Duration>) {
        let Self {
            inbox,
            messages,
            events,
            ..
        } = self;
        let has_events = may_bring_more(&inbox.events);
        let received = async {
            tokio::select! {
                n = inbox.messages.recv_many(messages, BATCH_MAX) => n == 0,
                _ = inbox.events.recv_many(events, BATCH_MAX), if has_events => false,
            }
        };
        let is_over = self.runtime.block_on(async {
            match wait {
                None => received.await,
                Some(wait) => tokio::time::timeout(wait, received).await.unwrap_or(false),
            }
        });
        // Nobody is left who could ask anything.
        self.stopping |= is_over;
        // The other channel may have something too.
        while self.events.len() < BATCH_MAX
            && let Ok(event) = self.inbox.events.try_recv()
        {
            self.events.push(event);
        }
        while self.messages.len() < BATCH_MAX
            && let Ok(message) = self.inbox.messages.try_recv()
        {
            self.messages.push(message);
        }
    }

    /// Gives the engine what was received: first what happened, then what is asked for.
    fn take_in(&mut self, now: Time) -> Result<(), StoreError> {
        for event in std::mem::take(&mut self.events).into_iter().flatten() {
            self.on_event(now, event);
        }
        // From the back, so that what is not yet taken in can be refused if the store fails.
        self.messages.reverse();
        while let Some(message) = self.messages.pop() {
            if self.batch.out.facts.len() >= FACTS_MAX {
                self.close_batch()?;
            }
            match message {
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
        let facts: Arc<[Fact]> = out.facts.into();
        if !facts.is_empty() {
            // Before the answers: whoever has one finds its facts told. Without subscribers, nobody is told.
            let _ = self.inbox.committed.send(Arc::clone(&facts));
        }
        for (answer, reply) in answers {
            // Whoever asked may have gone away meanwhile.
            let _ = answer.send(reply.map_err(RequestError::Refused));
        }
        for look in looks {
            look(&self.engine);
        }
        stats.n_decided = out.n_decided;
        stats.choices = out.choices;
        stats.policy = self.engine.policy_name();
        warn_if_slow(&stats, facts.len());
        self.observer.batch(&facts, &stats);
        Ok(())
    }

    /// The commit failed. Answers the batch's callers so, keeps the batch, and tries again until it
    /// succeeds; meanwhile requests are refused, events held, and looks granted.
    fn outlast(&mut self, mut error: StoreError) -> Result<(), StoreError> {
        tracing::error!(%error, "nothing is acknowledged or launched until the store works again");
        // Before the answers: whoever has one finds the failure told.
        self.inbox.failure.send_replace(Some(error.clone()));
        for (answer, _) in self.batch.answers.drain(..) {
            let _ = answer.send(Err(RequestError::Store(error.clone())));
        }
        for look in self.batch.looks.drain(..) {
            look(&self.engine);
        }
        loop {
            // A damaged file gets no better. And whoever stops the daemon doesn't wait for the store.
            if matches!(error, StoreError::Corrupt { .. }) || self.stopping {
                return Err(error);
            }
            self.refuse(RETRY_PAUSE, &error);
            match self.store.commit(&self.batch.out.facts) {
                Ok(()) => break,
                Err(again) => {
                    error = again;
                    self.inbox.failure.send_replace(Some(error.clone()));
                }
            }
        }
        tracing::info!("the store works again");
        self.inbox.failure.send_replace(None);
        Ok(())
    }

    /// Refuses what comes for so long. Events wait in their channel, and their senders with them.
    fn refuse(&mut self, pause: Duration, error: &StoreError) {
        let watch = Stopwatch::start();
        loop {
            self.turn_away(&RequestError::Store(error.clone()));
            let left = pause.saturating_sub(watch.elapsed());
            if self.stopping || left.is_zero() {
                return;
            }
            let received = self.inbox.messages.recv_many(&mut self.messages, BATCH_MAX);
            let n = self
                .runtime
                .block_on(async { tokio::time::timeout(left, received).await.ok() });
            self.stopping |= n == Some(0);
        }
    }

    /// Refuses the requests at hand and grants the looks.
    fn turn_away(&mut self, error: &RequestError) {
        for message in self.messages.drain(..) {
            match message {
                Message::Request(_, answer) => {
                    let _ = answer.send(Err(error.clone()));
                }
                Message::Inspect(look) => look(&self.engine),
                Message::Stop => self.stopping = true,
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
        let mut is_over = false;
        while !is_over {
            self.turn_away(&RequestError::Stopping);
            store_works = store_works && self.take_last_words().is_ok();
            let left = STOP_MAX.saturating_sub(watch.elapsed());
            let Self {
                inbox,
                messages,
                events,
                ..
            } = self;
            let has_events = may_bring_more(&inbox.events);
            let has_messages = may_bring_more(&inbox.messages);
            is_over = self.runtime.block_on(async {
                tokio::select! {
                    biased;
                    _ = inbox.events.recv_many(events, BATCH_MAX), if has_events => false,
                    _ = inbox.messages.recv_many(messages, BATCH_MAX), if has_messages => false,
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
        let now = clock::now();
        for event in std::mem::take(&mut self.events).into_iter().flatten() {
            self.on_event(now, event);
        }
        self.close_batch()
    }
}

/// Whether something is in the channel or may still come.
fn may_bring_more<T>(channel: &mpsc::Receiver<T>) -> bool {
    !channel.is_closed() || !channel.is_empty()
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
