//! The order of things, whoever waits for what: a batch, the engine's turn, the commit, the decisions, the answers.
//!
//! Nothing here waits or reads the time of day, so that simulated faults run the very code that the daemon runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, oneshot, watch};

use super::{BatchStats, Message, Observer, RequestError};
use crate::backend::Backend;
use crate::clock::Stopwatch;
use crate::engine::audit::{Actor, Draft};
use crate::engine::{Engine, Event, Fact, Output, Refusal, Reply, Request, Time};
use crate::store::{Store, StoreError};

/// With so many facts a batch is closed though messages are left: a transaction of a few tenths of a
/// second. One message alone may bring more.
const FACTS_MAX: usize = 20_000;

/// A batch on which the engine works longer is worth a warning: everyone else waits meanwhile.
const SLOW_TURN: Duration = Duration::from_millis(500);

/// A commit that takes longer is worth one too.
const SLOW_COMMIT: Duration = Duration::from_secs(2);

type Answer = oneshot::Sender<Result<Reply, RequestError>>;
type Look = Box<dyn FnOnce(&Engine) + Send>;

/// What a batch has brought so far.
#[derive(Default)]
struct Batch {
    out: Output,
    answers: Vec<(Answer, Result<Reply, Refusal>)>,
    /// Looks at the engine that are due after it.
    looks: Vec<Look>,
    stats: BatchStats,
}

/// How far a batch is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    TakeIn,
    Turn,
    Close,
    Done,
}

/// Whom the driver tells what was committed, and that it can't commit.
pub(crate) struct Listeners {
    /// Of each batch with what it took.
    pub(crate) observer: Box<dyn Observer>,
    /// Of the facts of each batch.
    pub(crate) committed: broadcast::Sender<Arc<[Fact]>>,
    /// Of a store that fails.
    pub(crate) failure: watch::Sender<Option<StoreError>>,
}

/// Everything of the driver but waiting.
pub(crate) struct Core {
    pub(crate) engine: Engine,
    store: Box<dyn Store>,
    pub(super) backend: Box<dyn Backend>,
    listeners: Listeners,
    /// Received and not yet taken in.
    pub(crate) messages: Vec<Message>,
    /// Received and not yet taken in.
    pub(crate) events: Vec<Vec<Event>>,
    batch: Batch,
    phase: Phase,
    /// Whether somebody wants the daemon to stop.
    pub(crate) stopping: bool,
}

impl Core {
    /// `engine` has recovered from `store`; `backend` has been told what to reconcile.
    pub(crate) fn new(
        engine: Engine,
        store: Box<dyn Store>,
        backend: Box<dyn Backend>,
        listeners: Listeners,
    ) -> Self {
        Self {
            engine,
            store,
            backend,
            listeners,
            messages: Vec::new(),
            events: Vec::new(),
            batch: Batch::default(),
            phase: Phase::Done,
            stopping: false,
        }
    }

    /// Makes one batch of what was received, and closes it.
    ///
    /// # Errors
    /// The commit failed, and the batch is kept: [`Core::suffer`], then [`Core::close`] until it succeeds, then
    /// [`Core::resume`].
    pub(crate) fn work(&mut self, now: Time) -> Result<(), StoreError> {
        let left = self.backend.leftovers();
        if !left.is_empty() {
            self.events.insert(0, left);
        }
        if self.has_only_looks(now) {
            self.look();
            return Ok(());
        }
        // From the back, so that what is not yet taken in can be refused if the store fails.
        self.messages.reverse();
        self.phase = Phase::TakeIn;
        self.resume(now)
    }

    /// Goes on with the batch that [`Core::work`] began.
    ///
    /// # Errors
    /// As for [`Core::work`].
    pub(crate) fn resume(&mut self, now: Time) -> Result<(), StoreError> {
        loop {
            match self.phase {
                Phase::TakeIn => {
                    self.take_in(now)?;
                    self.phase = if self.stopping {
                        Phase::Close
                    } else {
                        Phase::Turn
                    };
                }
                Phase::Turn => {
                    self.turn(now);
                    self.phase = Phase::Close;
                }
                Phase::Close => {
                    self.phase = Phase::Done;
                    return self.close();
                }
                Phase::Done => return Ok(()),
            }
        }
    }

    /// Whether all that was received are looks, and nothing is due: then there is nothing to decide, and no batch to
    /// tell of, however many ask.
    fn has_only_looks(&self, now: Time) -> bool {
        let is_look = |message: &Message| matches!(message, Message::Inspect(_));
        !self.messages.is_empty()
            && self.messages.iter().all(is_look)
            && self.events.iter().all(Vec::is_empty)
            && self.engine.wake_at().is_none_or(|due| now < due)
    }

    fn look(&mut self) {
        for message in self.messages.drain(..) {
            if let Message::Inspect(look) = message {
                look(&self.engine);
            }
        }
    }

    /// Gives the engine what was received: first what happened, then what is asked for.
    fn take_in(&mut self, now: Time) -> Result<(), StoreError> {
        self.take_in_events(now);
        while let Some(message) = self.messages.last() {
            if self.batch.out.facts.len() >= FACTS_MAX || self.needs_record(message) {
                self.close()?;
            }
            match self.messages.pop() {
                Some(Message::Request(request, actor, answer)) => {
                    self.on_request(now, *request, actor, answer);
                }
                Some(Message::Inspect(look)) => self.batch.looks.push(look),
                Some(Message::Stop) => self.stopping = true,
                None => {}
            }
        }
        Ok(())
    }

    /// Gives the engine what happened.
    pub(crate) fn take_in_events(&mut self, now: Time) {
        for event in std::mem::take(&mut self.events).into_iter().flatten() {
            let watch = Stopwatch::start();
            self.batch.stats.count(&event);
            self.engine.on_event(now, event, &mut self.batch.out);
            self.batch.stats.turn += watch.elapsed();
        }
    }

    /// Whether it is about a task of which only the store knows. It may have ended in this very batch, and the
    /// store knows only what was committed.
    fn needs_record(&self, message: &Message) -> bool {
        match message {
            Message::Request(request, ..) => match &**request {
                Request::Retry { task, .. } => {
                    !self.engine.is_live(*task) && !self.batch.out.facts.is_empty()
                }
                Request::Submit { .. }
                | Request::Cancel { .. }
                | Request::AcknowledgeInbox { .. }
                | Request::ReportOutside { .. }
                | Request::Reload { .. }
                | Request::Forget { .. } => false,
            },
            Message::Inspect(_) | Message::Stop => false,
        }
    }

    fn on_request(
        &mut self,
        now: Time,
        mut request: Request,
        actor: Option<Actor>,
        answer: Answer,
    ) {
        if let Request::Retry { task, stored } = &mut request
            && !self.engine.is_live(*task)
        {
            match self.store.find_ended(*task) {
                Ok(found) => *stored = found,
                Err(error) => {
                    let _ = answer.send(Err(error.into()));
                    return;
                }
            }
        }
        let watch = Stopwatch::start();
        let draft = actor.and_then(|actor| Draft::of(actor, &request));
        let n_facts = self.batch.out.facts.len();
        let reply = self.engine.on_request(now, request, &mut self.batch.out);
        let facts = &mut self.batch.out.facts;
        let brought_facts = facts.len() > n_facts;
        let entry = reply
            .as_ref()
            .ok()
            .and_then(|reply| draft?.granted(now, reply, brought_facts));
        facts.extend(entry.map(|entry| Fact::Audited(Box::new(entry))));
        self.batch.stats.turn += watch.elapsed();
        self.batch.stats.n_requests += 1;
        self.batch.answers.push((answer, reply));
    }

    fn turn(&mut self, now: Time) {
        let watch = Stopwatch::start();
        self.engine.turn(now, &mut self.batch.out);
        self.batch.stats.matching = watch.elapsed();
        self.batch.stats.turn += self.batch.stats.matching;
    }

    /// Commits what the batch has brought, and only then acts on it and answers.
    ///
    /// # Errors
    /// The commit failed; the batch is kept.
    pub(crate) fn close(&mut self) -> Result<(), StoreError> {
        if !self.batch.out.facts.is_empty() {
            let watch = Stopwatch::start();
            let committed = self.store.commit(&self.batch.out.facts);
            *self.batch.stats.commit.get_or_insert_default() += watch.elapsed();
            committed?;
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
            let _ = self.listeners.committed.send(Arc::clone(&facts));
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
        self.listeners.observer.batch(&facts, &stats);
        Ok(())
    }

    /// The commit failed: answers the batch's callers so, and grants its looks. What they asked for may become
    /// durable later, with the batch.
    pub(crate) fn suffer(&mut self, error: &StoreError) {
        // Before the answers: whoever has one finds the failure told.
        self.listeners.failure.send_replace(Some(error.clone()));
        for (answer, _) in self.batch.answers.drain(..) {
            let _ = answer.send(Err(RequestError::Store(error.clone())));
        }
        for look in self.batch.looks.drain(..) {
            look(&self.engine);
        }
    }

    /// The commit succeeded after all.
    pub(crate) fn works_again(&self) {
        self.listeners.failure.send_replace(None);
    }

    /// Refuses the requests at hand and grants the looks.
    pub(crate) fn turn_away(&mut self, error: &RequestError) {
        for message in self.messages.drain(..) {
            match message {
                Message::Request(_, _, answer) => {
                    let _ = answer.send(Err(error.clone()));
                }
                Message::Inspect(look) => look(&self.engine),
                Message::Stop => self.stopping = true,
            }
        }
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
