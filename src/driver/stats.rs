//! What the driver measures of each batch, and who is told.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::report::ChoiceReport;
use crate::engine::{Event, Fact};

/// What one batch took and brought.
#[derive(Clone, Debug, Default)]
pub struct BatchStats {
    /// How many events of each kind were taken in, in the order in which the kinds were first met.
    pub events: Vec<(&'static str, u64)>,
    /// How many requests were taken in.
    pub n_requests: u64,
    /// How many times a policy was asked and chose a task.
    pub n_decided: u64,
    /// The default policy, by whose name decisions are counted.
    pub policy: Arc<str>,
    /// The decisions for queues of which they are to be told.
    pub choices: Vec<ChoiceReport>,
    /// How long the engine worked on the batch, matching included.
    pub turn: Duration,
    /// How long of that was matching waiting tasks with offers.
    pub matching: Duration,
    /// How long the store took to make the facts durable; `None` where there were none.
    pub commit: Option<Duration>,
}

impl BatchStats {
    /// Counts an event.
    pub(super) fn count(&mut self, event: &Event) {
        let kind = kind(event);
        match self.events.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, n)) => *n += 1,
            None => self.events.push((kind, 1)),
        }
    }
}

/// The word for an event's kind.
fn kind(event: &Event) -> &'static str {
    match event {
        Event::AgentSeen { .. } => "agent_seen",
        Event::AgentLost { .. } => "agent_lost",
        Event::OfferReceived { .. } => "offer_received",
        Event::OfferRescinded { .. } => "offer_rescinded",
        Event::OffersForgotten => "offers_forgotten",
        Event::BackendNoted { .. } => "backend_noted",
        Event::ReceiptAsked { .. } => "receipt_asked",
        Event::AttemptStarted { .. } => "attempt_started",
        Event::AttemptEnded { .. } => "attempt_ended",
    }
}

/// Is told of each batch, after its commit.
pub trait Observer: Send {
    /// Called on the driver's thread, so it must be quick. `facts` may be empty.
    fn batch(&mut self, facts: &[Fact], stats: &BatchStats);
}

/// Anything that takes the same arguments is an observer.
impl<F: FnMut(&[Fact], &BatchStats) + Send> Observer for F {
    fn batch(&mut self, facts: &[Fact], stats: &BatchStats) {
        self(facts, stats);
    }
}
