//! `[metrics]` and `[traces]`: how much is shown, and to whom.

use std::net::SocketAddr;

use super::errors::Problem;
use super::server;
use super::walk::{Field, Report};

/// `[metrics]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// How many queues have series of their own.
    pub queues_max: usize,
    /// How many inboxes have.
    pub inboxes_max: usize,
    /// Where `/metrics` is served beside `server.listen`: without TLS, and without asking for a token.
    pub listen: Option<SocketAddr>,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            queues_max: 500,
            inboxes_max: 100,
            listen: None,
        }
    }
}

/// `[traces]`, where it names an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracesConfig {
    /// Where spans are sent, by OTLP over HTTP in protobuf: the whole URL.
    pub otlp: String,
    /// One of so many tasks is traced.
    pub one_in: u64,
}

/// The most series that one page should have to carry, times the thousand or so that a person looks at.
const MAXIMUM: u64 = 1_000_000;

/// Reads `[metrics]`.
pub(super) fn metrics(field: Option<Field<'_>>, report: &mut Report<'_>) -> MetricsConfig {
    let mut metrics = MetricsConfig::default();
    let Some(section) = field.and_then(|field| field.section(report)) else {
        return metrics;
    };
    section.refuse_others(&["queues_max", "inboxes_max", "listen"], &[], report);
    metrics.listen = section
        .get("listen")
        .and_then(|field| server::address(&field, report));
    let mut set = |name: &str, target: &mut usize| {
        let value = section
            .get(name)
            .and_then(|field| field.whole(0..=MAXIMUM, report));
        if let Some(value) = value.and_then(|value| usize::try_from(value).ok()) {
            *target = value;
        }
    };
    set("queues_max", &mut metrics.queues_max);
    set("inboxes_max", &mut metrics.inboxes_max);
    metrics
}

/// Reads `[traces]`; `None` where nothing is to be sent.
pub(super) fn traces(field: Option<Field<'_>>, report: &mut Report<'_>) -> Option<TracesConfig> {
    let section = field.and_then(|field| field.section(report))?;
    section.refuse_others(&["otlp", "one_in"], &[], report);
    let one_in = section
        .get("one_in")
        .and_then(|field| field.whole(1..=MAXIMUM, report))
        .unwrap_or(1);
    let field = section.get("otlp")?;
    let otlp = field.string(report)?.to_owned();
    if !otlp.starts_with("http://") || otlp.len() == "http://".len() {
        field.report(
            report,
            Problem::Conflict(
                "is no address that spans can be sent to; write it such as \"http://127.0.0.1:4318/v1/traces\"".into(),
            ),
        );
        return None;
    }
    Some(TracesConfig { otlp, one_in })
}
