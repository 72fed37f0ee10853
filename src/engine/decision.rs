//! What the engine wants done outside. Names are imperatives.

use std::sync::Arc;
use std::time::Duration;

use super::event::OfferId;
use super::spec::{AttemptId, Submission};

/// Something to do outside, once the facts of its batch are durable.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Launch attempts on one agent with what was offered. The offers are used up; what the launches
    /// leave of them is the backend's to offer again.
    Accept {
        /// The agent.
        agent: Arc<str>,
        /// Its offers.
        offers: Vec<OfferId>,
        /// What to launch, in the order decided.
        launches: Vec<Launch>,
    },
    /// Give offers of one agent back, unused: nothing that waits fits them. They need not come again soon:
    /// [`Decision::Revive`] asks for them as soon as something fits. Only where offers are declined, see
    /// [`super::Engine::decline_offers`].
    Decline {
        /// The agent.
        agent: Arc<str>,
        /// Its offers.
        offers: Vec<OfferId>,
    },
    /// Ask for no offers: nothing waits. Only where offers are declined.
    Suppress,
    /// Ask for offers, also for what was declined before. Only where offers are declined.
    Revive,
    /// Everything that the backend told up to this receipt is durable.
    Acknowledge {
        /// The receipt that [`super::Event::ReceiptAsked`] named.
        receipt: u64,
    },
    /// End an attempt: SIGTERM to all its processes, SIGKILL after the grace. Answered by
    /// [`super::Event::AttemptEnded`] when it has really ended. An attempt that is unknown is answered so too.
    Kill {
        /// Which.
        attempt: AttemptId,
        /// How long between the two signals.
        grace: Duration,
    },
}

/// One attempt to launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Which. Its task is one of the submission's.
    pub attempt: AttemptId,
    /// What to run, with the demand it was granted.
    pub submission: Arc<Submission>,
}
