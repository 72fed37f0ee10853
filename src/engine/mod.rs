//! The engine: events and requests in, facts and decisions out. It owns the truth about every task.
//!
//! Pure: no clock, no I/O, no async, no randomness, no order from a hash map; time is an argument.
//! What it decides becomes a [`Fact`] and is applied to its own state at once; the driver commits the
//! facts before it carries out the [`Decision`]s or answers anyone. Recovery folds facts with
//! [`Engine::apply`] and never asks a policy.

pub mod audit;
mod cancel;
mod claims;
mod course;
pub mod decision;
mod dependencies;
mod ends;
pub mod event;
mod explain;
pub mod fact;
mod intern;
mod invariants;
mod matching;
mod offers;
mod order;
pub mod outcome;
mod past;
mod reload;
pub mod report;
pub mod request;
mod retry;
mod satisfiable;
pub mod settings;
pub mod spec;
mod state;
mod submit;
#[cfg(test)]
mod tests;
pub mod time;
mod timers;
mod views;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use apportion_policies::{Amount, Policy, Registry};

pub use decision::Decision;
pub use event::Event;
pub use fact::Fact;
pub use outcome::{AttemptEnd, Outcome, OutcomeKind, Usage};
pub use past::PastUse;
pub use request::{Refusal, Reply, Request};
pub use settings::{EngineSettings, Scope};
pub use spec::{AttemptId, Submission, TaskId, TaskSpec, TaskState};
pub use time::Time;

use intern::Interner;
use report::ChoiceReport;
use state::State;

/// What one batch brought about, in order.
#[derive(Debug, Default)]
pub struct Output {
    /// What changed; to be committed before anything else.
    pub facts: Vec<Fact>,
    /// What to do outside once the facts are durable.
    pub decisions: Vec<Decision>,
    /// How many times a policy was asked and chose a task.
    pub n_decided: u64,
    /// The decisions for queues with a decision log, or all of them, in order; see [`Engine::report_all_choices`].
    pub choices: Vec<ChoiceReport>,
}

/// The engine. See the module's text.
///
/// Calling order: [`Engine::new`], [`Engine::apply`] for each recovered fact, [`Engine::recovered`] once
/// (also where there was nothing to recover), then for each batch any number of [`Engine::on_event`] and
/// [`Engine::on_request`], and [`Engine::turn`] at its end.
pub struct Engine {
    state: State,
    settings: EngineSettings,
    registry: Registry,
    /// In a cell, since explanations ask it, too, and it remembers what it found.
    policy: RefCell<Box<dyn Policy>>,
    interner: Interner,
    room: matching::Room,
    pace: offers::OfferPace,
    /// After recovery: attempts that were asked to end, and may not have heard of it.
    kill_again: Vec<AttemptId>,
    reports_all_choices: bool,
    /// The queues with a decision log.
    logged: BTreeSet<Arc<str>>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut engine = f.debug_struct("Engine");
        engine.field("policy", &self.policy.borrow().name());
        engine.field("n_live", &self.state.n_live);
        engine.field("next_id", &self.state.next_id);
        engine.finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine without tasks. `settings` have been validated.
    ///
    /// # Panics
    /// If the settings name a policy that isn't known.
    #[must_use]
    pub fn new(settings: EngineSettings) -> Self {
        Self::with_registry(settings, Registry::default())
    }

    /// The same with policies of one's own.
    ///
    /// # Panics
    /// If the settings name a policy that the registry doesn't know.
    #[must_use]
    pub fn with_registry(settings: EngineSettings, registry: Registry) -> Self {
        let logged = settings.logged_queues();
        let state = State::new(&settings);
        let policy = registry.policy_for(&state.queues.tree);
        let policy = policy.expect("the names of policies were validated");
        Self {
            state,
            settings,
            registry,
            policy: RefCell::new(policy),
            interner: Interner::default(),
            room: matching::Room::default(),
            pace: offers::OfferPace::default(),
            kill_again: Vec::new(),
            reports_all_choices: false,
            logged,
        }
    }

    /// Folds one fact into the state: the only way that state changes. Also used for recovery, on the
    /// facts that [`crate::store::Store::recover`] gives, before any event.
    ///
    /// # Panics
    /// If the fact contradicts what was folded before.
    pub fn apply(&mut self, fact: &Fact) {
        if let Fact::Submitted {
            submission,
            waiting,
        } = fact
            && self.state.is_recovering
        {
            let submission = self.interner.submission(submission);
            let waiting = *waiting;
            self.state.apply(&Fact::Submitted {
                submission,
                waiting,
            });
            return;
        }
        self.state.apply(fact);
    }

    /// Ends recovery: builds the indexes and checks the invariants. Returns the attempts that were alive,
    /// in order, for the backend to account for. Those that were asked to end are asked again by the
    /// next [`Engine::turn`], since the daemon may have stopped before it could.
    pub fn recovered(&mut self, now: Time) -> Vec<AttemptId> {
        self.state.finish_recovery();
        self.state.end_pauses(now);
        self.state.wait_for_overdue(now);
        self.state.recover_past(now);
        let attempts = self.state.live_attempts();
        let was_killed = |attempt: &AttemptId| {
            let is_current = self.state.live.get(&attempt.task).is_some_and(|live| {
                live.current == Some(attempt.number) && live.phase.state() != TaskState::Cancelling
            });
            !is_current || self.state.attempts[attempt].timed_out
        };
        self.kill_again = attempts.iter().copied().filter(was_killed).collect();
        self.check_if_small();
        attempts
    }

    /// Takes in what happened outside. Late, repeated and unknown words are normal and change nothing.
    pub fn on_event(&mut self, now: Time, event: Event, out: &mut Output) {
        let state = &mut self.state;
        state.queues.advance(now);
        match event {
            Event::AgentSeen {
                agent,
                total,
                attributes,
            } => {
                state
                    .agents
                    .seen(&agent, total, attributes, &state.resources);
            }
            Event::AgentLost { agent } => state.agents.lost(&agent),
            Event::OfferReceived { offer, agent, free } => {
                state.agents.offered(offer, &agent, free, &state.resources);
                self.pace.offered();
            }
            Event::OfferRescinded { offer } => state.agents.rescinded(offer, &state.resources),
            Event::OffersForgotten => {
                state.agents.forget_offers();
                self.pace.forget();
            }
            Event::BackendNoted { name, value } => {
                self.emit(out, Fact::BackendNoted { name, value });
            }
            Event::ReceiptAsked { receipt } => {
                out.decisions.push(Decision::Acknowledge { receipt });
            }
            Event::AttemptStarted { attempt } => self.on_attempt_started(now, attempt, out),
            Event::AttemptEnded {
                attempt,
                end,
                usage,
                value,
            } => {
                self.on_attempt_ended(now, attempt, ends::Ended { end, usage, value }, out);
            }
        }
    }

    /// Takes in what somebody asks for. The reply holds only once the facts of this batch are durable.
    ///
    /// # Errors
    /// A [`Refusal`] with its typed reason; then nothing changed.
    pub fn on_request(
        &mut self,
        now: Time,
        request: Request,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        match request {
            Request::Submit { tasks } => self.on_submit(now, tasks, out),
            Request::Cancel { task, reason } => self.on_cancel(now, task, reason, out),
            Request::Retry { task, stored } => self.on_retry(now, task, stored, out),
            Request::AcknowledgeInbox { inbox, upto, only } => {
                self.emit(out, Fact::InboxAcknowledged { inbox, upto, only });
                Ok(Reply::Done)
            }
            Request::ReportOutside { resource, used } => self.on_outside(now, resource, used, out),
            Request::Reload { settings } => self.on_reload(*settings),
            Request::Forget { ended_before } => {
                self.on_forget(ended_before, out);
                Ok(Reply::Done)
            }
        }
    }

    /// Acts on timers that are due and matches waiting tasks with the offers at hand, until nothing
    /// can go. Called once at the end of each batch.
    pub fn turn(&mut self, now: Time, out: &mut Output) {
        self.state.queues.advance(now);
        self.fire_timers(now, out);
        self.kill_again(out);
        self.match_offers(now, out);
        self.settle_offers(now, out);
        self.check_turn_if_small();
    }

    /// When [`Engine::turn`] should be called at the latest though nothing happens.
    #[must_use]
    pub fn wake_at(&self) -> Option<Time> {
        if !self.kill_again.is_empty() {
            return Some(Time::default());
        }
        let due = [
            self.state.timers.next(),
            self.pace.wake_at(),
            self.state.queues.patience.next(),
            self.state.claims.next(),
        ];
        due.into_iter().flatten().min()
    }

    /// What the backend has kept, by name; see [`Event::BackendNoted`].
    #[must_use]
    pub fn backend_notes(&self) -> &BTreeMap<Arc<str>, Arc<str>> {
        &self.state.backend_notes
    }

    /// Whether the task is in memory, that is: has not ended. A retry by hand of any other task needs its
    /// stored record (see [`Request::Retry`]).
    #[must_use]
    pub fn is_live(&self, task: TaskId) -> bool {
        self.state.find_live(task).is_some()
    }

    /// Whether this attempt was launched and has not ended. O(1).
    #[must_use]
    pub fn is_alive(&self, attempt: AttemptId) -> bool {
        self.state.attempts.contains_key(&attempt)
    }

    /// Makes a fact true, and part of the batch.
    fn emit(&mut self, out: &mut Output, fact: Fact) {
        self.state.apply(&fact);
        out.facts.push(fact);
    }

    fn on_outside(
        &mut self,
        now: Time,
        resource: Arc<str>,
        used: Amount,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        let resources = &self.state.resources;
        let Some(id) = resources.find(&resource) else {
            let known = resources.names();
            let place = None;
            return Err(Refusal::UnknownResource {
                place,
                resource,
                known,
            });
        };
        if resources.is_host(id) {
            return Err(Refusal::NotClusterScope { resource });
        }
        let at = now;
        self.emit(out, Fact::OutsideReported { resource, used, at });
        Ok(Reply::Done)
    }

    /// What ended since an attempt of an ended task began to die is kept until that has ended too.
    fn on_forget(&mut self, ended_before: Time, out: &mut Output) {
        let mut due = self.state.kept.due(ended_before);
        let ended_before = self.state.end_of_dying(&due).unwrap_or(ended_before);
        due.retain(|kept| kept.ended_at < ended_before);
        if !due.is_empty() {
            let firsts = due.into_iter().map(|kept| kept.first).collect();
            self.emit(
                out,
                Fact::Forgotten {
                    ended_before,
                    firsts,
                },
            );
        }
    }
}
