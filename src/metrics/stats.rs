//! What the driver tells of a batch beside its facts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One batch.
#[derive(Clone, Debug, Default)]
pub struct BatchStats {
    /// Events from backends, by kind.
    pub n_events: BTreeMap<&'static str, u64>,
    /// Requests.
    pub n_requests: u64,
    /// The name of the default policy.
    pub policy: Arc<str>,
    /// How many tasks a policy chose.
    pub n_decided: u64,
    /// How long matching took.
    pub decision: Duration,
    /// How long the batch took, the commit included.
    pub turn: Duration,
    /// How long the commit took, where there was something to commit.
    pub commit: Option<Duration>,
    /// How many facts.
    pub n_facts: usize,
}
