//! The catalogue: each metric's name, kind, labels and help, and nowhere else.
//!
//! A name ends with the unit that is recorded; a counter's with `_total`.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts what was observed up to each of these bounds.
    Histogram(&'static [f64]),
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// With prefix and unit.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The names of its labels, in the order in which their values are given.
    pub labels: &'static [&'static str],
    /// What it tells, for people.
    pub help: &'static str,
}

/// Bounds for waits and runs, from a moment to a week.
const LONG_SECONDS: &[f64] = &[
    0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0,
    604_800.0,
];
/// Bounds for what the daemon does itself.
const SHORT_SECONDS: &[f64] = &[
    0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 5.0,
];
/// Bounds for calls, some of which wait for a minute on purpose.
const CALL_SECONDS: &[f64] = &[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 60.0,
];
/// Bounds for numbers of facts.
const COUNTS: &[f64] = &[
    1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16_384.0, 65_536.0,
];

macro_rules! catalogue {
    ($($(#[$doc:meta])* $ident:ident: $kind:expr, $name:literal, [$($label:literal),*], $help:literal;)*) => {
        $(
            $(#[$doc])*
            pub const $ident: Metric = Metric {
                name: concat!("apportion_", $name),
                kind: $kind,
                labels: &[$($label),*],
                help: $help,
            };
        )*

        /// All metrics, in the order in which they are declared.
        pub const ALL: &[Metric] = &[$($ident),*];
    };
}

use Kind::{Counter, Gauge, Histogram};

catalogue! {
    /// From the engine, at each scrape.
    QUEUE_TASKS: Gauge, "queue_tasks", ["queue", "state"],
        "Live tasks of the queue and the queues below it, by state.";
    /// From the engine, at each scrape.
    QUEUE_USED: Gauge, "queue_used", ["queue", "resource"],
        "What running tasks of the queue and the queues below it hold of a resource; mem and disk in MiB.";
    /// From the engine, at each scrape.
    QUEUE_SHARE: Gauge, "queue_share", ["queue", "resource"],
        "What the queue uses of a resource over all there is of it.";
    /// From the engine, at each scrape.
    QUEUE_DOMINANT_SHARE: Gauge, "queue_dominant_share", ["queue"],
        "The largest of the queue's shares.";
    /// From the engine, at each scrape.
    QUEUE_ENTITLEMENT: Gauge, "queue_entitlement", ["queue"],
        "The dominant share that the queue is due, given the weights and who has work.";
    /// From the engine, at each scrape.
    QUEUE_WEIGHT: Gauge, "queue_weight", ["queue"],
        "The queue's due relative to its siblings.";
    /// From the engine, at each scrape.
    FAIRNESS_ERROR: Gauge, "fairness_error", [],
        "The largest difference between dominant share and entitlement among queues with work.";
    /// From the engine, at each scrape.
    CLAIMS: Gauge, "claims", [],
        "Tasks for which resources are kept, because they waited beyond their patience.";
    /// From the engine, at each scrape.
    UNSATISFIABLE_TASKS: Gauge, "unsatisfiable_tasks", [],
        "Queued tasks that can never run as things are.";
    /// From the engine, at each scrape.
    RESOURCE_CAPACITY: Gauge, "resource_capacity", ["resource"],
        "All there is of a resource; mem and disk in MiB.";
    /// From the engine, at each scrape.
    RESOURCE_USED: Gauge, "resource_used", ["resource"],
        "What running tasks hold of a resource; mem and disk in MiB.";
    /// From the engine, at each scrape.
    RESOURCE_OUTSIDE: Gauge, "resource_outside", ["resource"],
        "What others use of a cluster resource, as last told.";
    /// Of each attempt launched.
    TASK_WAIT_SECONDS: Histogram(LONG_SECONDS), "task_wait_seconds", ["queue"],
        "How long tasks could have run before they did: since they were submitted, unblocked, or their last pause was over.";
    /// Of each task ended.
    TASK_RUN_SECONDS: Histogram(LONG_SECONDS), "task_run_seconds", ["queue"],
        "How long the last attempt of ended tasks ran.";
    /// Of each task ended.
    TASKS_FINISHED_TOTAL: Counter, "tasks_finished_total", ["queue", "outcome"],
        "Tasks that have ended: succeeded, failed or cancelled.";
    /// Of each time the daemon asks what others use of a resource.
    RESOURCE_OUTSIDE_POLLS_TOTAL: Counter, "resource_outside_polls_total", ["resource", "result"],
        "Times that it was asked what others use of a cluster resource, by result: answered or failed.";
    /// Of each attempt lost.
    TASK_ATTEMPTS_LOST_TOTAL: Counter, "task_attempts_lost_total", ["reason"],
        "Attempts that the infrastructure lost.";
    /// Of each batch.
    DECISIONS_TOTAL: Counter, "decisions_total", ["policy"],
        "Tasks that a policy chose for an offer.";
    /// Of each batch in which something was decided.
    DECISION_SECONDS: Histogram(SHORT_SECONDS), "decision_seconds", [],
        "Time that a batch took to match tasks with offers; its sum over decisions_total is the time of one decision.";
    /// Of each batch.
    TURN_SECONDS: Histogram(SHORT_SECONDS), "turn_seconds", [],
        "Time that the engine worked on a batch, matching included.";
    /// Of each batch.
    EVENTS_TOTAL: Counter, "events_total", ["kind"],
        "What reached the engine: events from backends by kind, and requests.";
    /// Of each batch with facts.
    STORE_COMMIT_SECONDS: Histogram(SHORT_SECONDS), "store_commit_seconds", [],
        "Time that a commit took until it was durable.";
    /// Of each batch with facts.
    STORE_BATCH_SIZE: Histogram(COUNTS), "store_batch_size", [],
        "Facts that a commit made durable together.";
    /// Of each call.
    HTTP_REQUESTS_TOTAL: Counter, "http_requests_total", ["method", "route", "code"],
        "Calls of the HTTP API.";
    /// Of each call.
    HTTP_REQUEST_SECONDS: Histogram(CALL_SECONDS), "http_request_seconds", ["route"],
        "Time until a call was answered, for streams until they began.";
    /// At each scrape.
    STORE_FAILING: Gauge, "store_failing", [],
        "1 while commits fail and are tried again, and nothing is acknowledged; otherwise 0.";
    /// From the store, at each scrape.
    INBOX_OLDEST_SECONDS: Gauge, "inbox_oldest_seconds", ["inbox"],
        "How long ago the oldest task that nobody has acknowledged ended; inboxes without any are left out.";
    /// At each scrape.
    SERIES_LEFT_OUT: Gauge, "series_left_out", ["of"],
        "How many queues, and at least how many inboxes, have no series of their own here because of metrics.queues_max and metrics.inboxes_max.";
    /// Once.
    START_TIME_SECONDS: Gauge, "start_time_seconds", [],
        "When the daemon started, in seconds since the Unix epoch.";
    /// Of each offer, where offers are declined.
    OFFERS_TOTAL: Counter, "offers_total", ["result"],
        "Offers by what became of them: accepted, declined, rescinded, or forgotten with their subscription.";
    /// Where offers are declined.
    OFFERS_HELD: Gauge, "offers_held", [],
        "Offers that are held now.";
    /// Of each offer, where offers are declined.
    OFFER_AGE_SECONDS: Histogram(SHORT_SECONDS), "offer_age_seconds", [],
        "How long offers were held.";
    /// With Mesos.
    MESOS_CONNECTED: Gauge, "mesos_connected", [],
        "1 while there is a subscription with a Mesos master, else 0.";
    /// With Mesos.
    MESOS_RECONNECTS_TOTAL: Counter, "mesos_reconnects_total", [],
        "Subscriptions with a Mesos master after the first.";
    /// Of each call to Mesos.
    MESOS_CALLS_TOTAL: Counter, "mesos_calls_total", ["call", "code"],
        "Calls to Mesos masters by HTTP status; 0 where there was no answer.";
    /// With Mesos, at each scrape.
    MESOS_HEARTBEAT_AGE_SECONDS: Gauge, "mesos_heartbeat_age_seconds", [],
        "How long ago the Mesos master last said something.";
    /// Once.
    BUILD_INFO: Gauge, "build_info", ["version"],
        "Always 1; the label tells the version.";
}
