//! What happens outside and reaches the engine. Names are past tense.

use std::collections::BTreeMap;
use std::sync::Arc;

use apportion_policies::Amount;

use super::outcome::{AttemptEnd, Usage, Value};
use super::spec::AttemptId;

/// An offer, by the backend's number for it; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OfferId(pub u64);

/// Something that happened outside.
#[derive(Clone, Debug)]
pub enum Event {
    /// An agent joined, or what it has changed.
    AgentSeen {
        /// Its name, unique and lasting.
        agent: Arc<str>,
        /// All it has, by resource name; only host resources.
        total: BTreeMap<Arc<str>, Amount>,
        /// What constraints are compared with.
        attributes: BTreeMap<Arc<str>, Arc<str>>,
    },
    /// An agent is gone, with its offers. Its attempts end only when the backend says so.
    AgentLost {
        /// Its name.
        agent: Arc<str>,
    },
    /// Resources of an agent became free. Several offers of one agent add up.
    OfferReceived {
        /// The backend's number for it.
        offer: OfferId,
        /// Whose. Unknown agents' offers are ignored.
        agent: Arc<str>,
        /// How much, by resource name; only host resources.
        free: BTreeMap<Arc<str>, Amount>,
    },
    /// An offer doesn't hold any more.
    OfferRescinded {
        /// Which. Unknown ones are ignored.
        offer: OfferId,
    },
    /// The backend lost touch with whoever offers: no offer holds any more, and what was declined comes
    /// again by itself.
    OffersForgotten,
    /// An attempt's process runs.
    AttemptStarted {
        /// Which.
        attempt: AttemptId,
    },
    /// An attempt has really ended: none of its processes is left.
    AttemptEnded {
        /// Which.
        attempt: AttemptId,
        /// Why.
        end: AttemptEnd,
        /// What it used.
        usage: Usage,
        /// What it has to show for itself.
        value: Value,
    },
    /// The backend wants something kept that only it understands, such as the id under which it is known
    /// outside. After a restart it is in [`super::Engine::backend_notes`].
    BackendNoted {
        /// What it is.
        name: Arc<str>,
        /// Replaces what was kept under this name; `None` forgets it.
        value: Option<Arc<str>>,
    },
    /// The backend wants to know when everything that it told before this is durable. Answered by
    /// [`super::Decision::Acknowledge`].
    ReceiptAsked {
        /// Comes back with the answer.
        receipt: u64,
    },
}
