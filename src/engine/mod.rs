//! The engine: events and requests in, facts and decisions out. It owns the truth about every task.
//!
//! Pure: no clock, no I/O, no async, no randomness, no order from a hash map; time is an argument.
//! What it decides becomes a [`Fact`] and is applied to its own state at once; the driver commits the
//! facts before it carries out the [`Decision`]s or answers anyone. Recovery folds facts with
//! [`Engine::apply`] and never asks a policy.

pub mod decision;
pub mod event;
pub mod fact;
pub mod outcome;
pub mod report;
pub mod request;
pub mod settings;
pub mod spec;
pub mod time;

pub use decision::Decision;
pub use event::Event;
pub use fact::Fact;
pub use outcome::{AttemptEnd, Outcome, OutcomeKind, Usage};
pub use request::{Refusal, Reply, Request};
pub use settings::EngineSettings;
pub use spec::{AttemptId, Submission, TaskId, TaskSpec, TaskState};
pub use time::Time;

/// What one batch brought about, in order.
#[derive(Debug, Default)]
pub struct Output {
    /// What changed; to be committed before anything else.
    pub facts: Vec<Fact>,
    /// What to do outside once the facts are durable.
    pub decisions: Vec<Decision>,
    /// How many times a policy was asked and chose a task.
    pub n_decided: u64,
}

/// The engine. See the module's text.
#[derive(Debug)]
pub struct Engine {}

impl Engine {
    /// An engine without tasks. `settings` have been validated.
    #[must_use]
    pub fn new(settings: EngineSettings) -> Self {
        unimplemented!()
    }

    /// Folds one fact into the state: the only way that state changes. Also used for recovery, on the
    /// facts that [`crate::store::Store::recover`] gives, before any event.
    pub fn apply(&mut self, fact: &Fact) {
        unimplemented!()
    }

    /// Ends recovery: builds the indexes and checks the invariants. Returns the attempts that were alive,
    /// in order, for the backend to account for.
    pub fn recovered(&mut self, now: Time) -> Vec<AttemptId> {
        unimplemented!()
    }

    /// Takes in what happened outside. Late, repeated and unknown words are normal and change nothing.
    pub fn on_event(&mut self, now: Time, event: Event, out: &mut Output) {
        unimplemented!()
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
        unimplemented!()
    }

    /// Acts on timers that are due and matches waiting tasks with the offers at hand, until nothing
    /// can go. Called once at the end of each batch.
    pub fn turn(&mut self, now: Time, out: &mut Output) {
        unimplemented!()
    }

    /// When [`Engine::turn`] should be called at the latest though nothing happens.
    #[must_use]
    pub fn wake_at(&self) -> Option<Time> {
        unimplemented!()
    }

    /// Whether the task is in memory, that is: has not ended. A retry by hand of any other task needs its
    /// stored record (see [`Request::Retry`]).
    #[must_use]
    pub fn is_live(&self, task: TaskId) -> bool {
        unimplemented!()
    }
}
