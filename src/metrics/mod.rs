//! Every metric of the daemon: what is counted, from what, and the page that Prometheus reads.
//!
//! The engine counts nothing. The driver shows what each batch brought about, the API counts its calls,
//! and what the engine holds now is taken from a [`Snapshot`] at each scrape, so that a queue that a reload
//! took away leaves no series behind.
//!
//! Sets of labels are bounded: with more queues than `metrics.queues_max`, those deepest in the tree share one series,
//! and the page says how many they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::driver::BatchStats;
use crate::engine::outcome::AttemptEnd;
use crate::engine::report::{QueueReport, ResourceReport};
use crate::engine::{Fact, TaskState, Time};

pub mod catalogue;
mod mesos;
mod named;
mod registry;
mod snapshot;
#[cfg(test)]
mod tests;

use catalogue as name;
pub use named::Limits;
use named::Named;
use registry::Registry;

/// The exporter keeps observations one by one until somebody reads them; after so many they are summed up.
const OBSERVATIONS_MAX: usize = 16_384;

/// What is counted since the daemon started.
pub struct Metrics {
    registry: Registry,
    n_observations: AtomicUsize,
    named: Named,
    mesos: mesos::MesosSeen,
}

/// What the engine holds now.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// All queues.
    pub queues: Vec<QueueReport>,
    /// All resources.
    pub resources: Vec<ResourceReport>,
    /// Inboxes with something in them, each with how long ago its oldest task ended; at most
    /// `metrics.inboxes_max` and one more, which tells that there are more.
    pub inboxes: Vec<(String, Duration)>,
    /// Whether commits fail.
    pub store_failing: bool,
    /// How many claims there are.
    pub n_claims: usize,
}

impl Metrics {
    /// Starts to count, at zero.
    #[must_use]
    pub fn install(started_at: Time) -> Arc<Self> {
        let registry = Registry::new();
        registry
            .gauge(&name::START_TIME_SECONDS, &[])
            .set(started_at.0 as f64 / 1000.0);
        registry
            .gauge(&name::BUILD_INFO, &[env!("CARGO_PKG_VERSION")])
            .set(1.0);
        // Offers are counted only where there are any to decline.
        let is_always = |metric: &&name::Metric| {
            metric.labels.is_empty() && metric.name != name::OFFER_AGE_SECONDS.name
        };
        for metric in name::ALL.iter().filter(is_always) {
            if let name::Kind::Histogram(_) = metric.kind {
                drop(registry.histogram(metric, &[]));
            }
        }
        Arc::new(Self {
            registry,
            n_observations: AtomicUsize::new(0),
            named: Named::default(),
            mesos: mesos::MesosSeen::default(),
        })
    }

    /// Says how many queues and inboxes get series of their own, and which queues there are. Called at the start
    /// and after each reload.
    pub fn set_limits<'a>(&self, limits: Limits, queues: impl IntoIterator<Item = &'a str>) {
        self.named.set(limits, queues);
    }

    /// The limits as set.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.named.limits()
    }

    /// Counts a batch, once its facts are durable. Quick: it runs on the driver's thread.
    pub fn record_batch(&self, facts: &[Fact], stats: &BatchStats) {
        for (kind, count) in &stats.events {
            self.count(&name::EVENTS_TOTAL, &[kind], *count);
        }
        self.count(&name::EVENTS_TOTAL, &["request"], stats.n_requests);
        self.count(&name::DECISIONS_TOTAL, &[&stats.policy], stats.n_decided);
        if stats.n_decided > 0 {
            self.observe(&name::DECISION_SECONDS, &[], stats.matching.as_secs_f64());
        }
        self.observe(&name::TURN_SECONDS, &[], stats.turn.as_secs_f64());
        if let Some(commit) = stats.commit {
            self.observe(&name::STORE_COMMIT_SECONDS, &[], commit.as_secs_f64());
            self.observe(&name::STORE_BATCH_SIZE, &[], facts.len() as f64);
        }
        for fact in facts {
            self.record_fact(fact);
        }
    }

    fn record_fact(&self, fact: &Fact) {
        match fact {
            Fact::Launched { queue, waited, .. } => {
                let queue = self.named.label(queue);
                self.observe(&name::TASK_WAIT_SECONDS, &[&queue], waited.as_secs_f64());
            }
            Fact::AttemptEnded {
                end: AttemptEnd::Lost { reason },
                ..
            } => {
                self.count(&name::TASK_ATTEMPTS_LOST_TOTAL, &[reason.as_str()], 1);
            }
            Fact::Ended { outcome, queue, .. } => {
                let word = TaskState::from(outcome.kind).as_str();
                let queue = self.named.label(queue);
                self.count(&name::TASKS_FINISHED_TOTAL, &[&queue, word], 1);
                // What never ran has used nothing.
                if !outcome.usage.wall.is_zero() {
                    let wall = outcome.usage.wall.as_secs_f64();
                    self.observe(&name::TASK_RUN_SECONDS, &[&queue], wall);
                }
            }
            Fact::AttemptEnded { .. }
            | Fact::Submitted { .. }
            | Fact::Unblocked { .. }
            | Fact::Started { .. }
            | Fact::TimedOut { .. }
            | Fact::Requeued { .. }
            | Fact::Cancelling { .. }
            | Fact::Retried { .. }
            | Fact::InboxAcknowledged { .. }
            | Fact::OutsideReported { .. }
            | Fact::BackendNoted { .. }
            | Fact::Audited(_)
            | Fact::Forgotten { .. }
            | Fact::Restored(_)
            | Fact::RestoredEnded { .. }
            | Fact::RestoredDying { .. }
            | Fact::RestoredKey { .. }
            | Fact::RestoredNextId(_) => {}
        }
    }

    /// Counts a time that it was asked what others use of a cluster resource.
    pub fn record_outside(&self, resource: &str, answered: bool) {
        let result = if answered { "answered" } else { "failed" };
        let labels = [resource, result];
        self.count(&name::RESOURCE_OUTSIDE_POLLS_TOTAL, &labels, 1);
    }

    /// Counts a call of the HTTP API. `method` and `route` must be of a bounded set.
    pub fn record_http(&self, method: &str, route: &str, code: u16, took: Duration) {
        self.count(
            &name::HTTP_REQUESTS_TOTAL,
            &[method, route, &code.to_string()],
            1,
        );
        self.observe(&name::HTTP_REQUEST_SECONDS, &[route], took.as_secs_f64());
    }

    /// The page that Prometheus reads. Without a snapshot it lacks what only the engine knows.
    #[must_use]
    pub fn render(&self, snapshot: Option<&Snapshot>) -> String {
        self.show_heartbeat_age();
        let mut page = self.registry.render();
        if let Some(snapshot) = snapshot {
            page.push_str(&snapshot::render(snapshot, &self.named));
        }
        page
    }

    fn count(&self, metric: &name::Metric, labels: &[&str], count: u64) {
        if count > 0 {
            self.registry.counter(metric, labels).increment(count);
        }
    }

    fn observe(&self, metric: &name::Metric, labels: &[&str], value: f64) {
        self.registry.histogram(metric, labels).record(value);
        if self.n_observations.fetch_add(1, Ordering::Relaxed) >= OBSERVATIONS_MAX {
            self.n_observations.store(0, Ordering::Relaxed);
            self.registry.sum_up();
        }
    }
}
