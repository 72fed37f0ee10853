//! OpenTelemetry traces by OTLP (HTTP, protobuf), one for each task: what its life consisted of, told once it has
//! ended. The root span is the task, from its submission to its end; below it, for each attempt, the wait before it
//! (`queued`), from the decision to the start of its process (`launch`), and the run (`run`). Decision and delivery
//! are events of the root.
//!
//! A trace is made of the task's stored record, so it is whole also where the daemon was restarted meanwhile, and
//! nothing is kept in memory for it. Ids are of the task and its submission: sent twice, they are the same.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{
    Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter, SpanLinks};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::config::TracesConfig;
use crate::driver::Handle;
use crate::engine::{Fact, OutcomeKind, TaskId, Time};
use crate::store::reader::{AttemptRecord, Reader, TaskRecord};

/// So many spans are sent together, at most.
const SPANS_AT_ONCE: usize = 2048;
/// The traces of so many tasks don't wait for more to be sent with them.
const TASKS_AT_ONCE: usize = 512;
/// How long others wait: a call for each task would cost more than all the rest of its trace.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// How long sending may take.
const SEND_MAX: Duration = Duration::from_secs(10);
/// How long the last traces may take once the daemon stops.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Makes what sends spans.
///
/// # Errors
/// The address can't be used.
pub(super) fn exporter(
    config: &TracesConfig,
) -> Result<opentelemetry_otlp::SpanExporter, ExporterBuildError> {
    let client = crate::http_client::builder().build();
    let client = client.map_err(|error| ExporterBuildError::InternalFailure(error.to_string()))?;
    let mut exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(config.otlp.clone())
        .with_timeout(SEND_MAX)
        .build()?;
    let resource = Resource::builder_empty()
        .with_attribute(KeyValue::new("service.name", "apportion"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    exporter.set_resource(&resource.build());
    Ok(exporter)
}

/// Waits until [`run`] has sent what is left, but not for ever. To be called once the driver is gone.
pub(super) async fn finish(mut sending: JoinHandle<()>) {
    if tokio::time::timeout(STOP_MAX, &mut sending).await.is_err() {
        sending.abort();
        tracing::warn!("the last traces are dropped: the collector does not answer");
    }
}

/// Sends a trace of each task that ends, until the driver is gone. What can't be sent is dropped and told: traces are
/// for people, and nothing waits for them but the end of the daemon, for a moment.
pub(super) async fn run(
    exporter: opentelemetry_otlp::SpanExporter,
    one_in: u64,
    handle: Handle,
    reader: Arc<dyn Reader>,
) {
    let mut committed = handle.subscribe();
    let mut sender = Sender {
        exporter,
        reader,
        ended: Vec::new(),
        one_in,
        is_failing: false,
    };
    let mut due = tokio::time::interval(SEND_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let facts = tokio::select! {
            facts = committed.recv() => facts,
            _ = due.tick() => {
                sender.send().await;
                continue;
            }
            () = handle.stopped() => break,
        };
        match facts {
            Ok(facts) => {
                sender.take(&facts);
                if sender.ended.len() >= TASKS_AT_ONCE {
                    sender.send().await;
                }
            }
            Err(RecvError::Lagged(n_batches)) => warn_of_gap(n_batches),
            Err(RecvError::Closed) => break,
        }
    }
    // What the driver still committed before it went.
    loop {
        match committed.try_recv() {
            Ok(facts) => sender.take(&facts),
            Err(TryRecvError::Lagged(n_batches)) => warn_of_gap(n_batches),
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    sender.send().await;
}

fn warn_of_gap(n_batches: u64) {
    tracing::warn!(
        n_batches,
        "too many tasks end to trace them all; raise traces.one_in"
    );
}

/// Sends traces, those of many tasks together.
struct Sender {
    exporter: opentelemetry_otlp::SpanExporter,
    reader: Arc<dyn Reader>,
    /// Tasks whose traces are yet to be sent.
    ended: Vec<TaskId>,
    /// Of so many tasks, one is traced.
    one_in: u64,
    is_failing: bool,
}

impl Sender {
    /// Notes which tasks have ended.
    fn take(&mut self, facts: &[Fact]) {
        let ended = facts.iter().filter_map(ended_task);
        self.ended
            .extend(ended.filter(|task| task.0.is_multiple_of(self.one_in)));
    }

    async fn send(&mut self) {
        let ended = std::mem::take(&mut self.ended);
        if ended.is_empty() {
            return;
        }
        let reader = Arc::clone(&self.reader);
        let read = tokio::task::spawn_blocking(move || spans_of(&*reader, &ended));
        let mut spans = read.await.unwrap_or_default();
        while !spans.is_empty() {
            let rest = spans.split_off(spans.len().min(SPANS_AT_ONCE));
            let sent = self
                .exporter
                .export(std::mem::replace(&mut spans, rest))
                .await;
            match &sent {
                Err(error) if !self.is_failing => {
                    tracing::warn!(%error, "traces can't be sent; is traces.otlp the right address?");
                }
                Ok(()) if self.is_failing => tracing::info!("traces are sent again"),
                _ => {}
            }
            self.is_failing = sent.is_err();
        }
    }
}

fn ended_task(fact: &Fact) -> Option<TaskId> {
    if let Fact::Ended { task, .. } = fact {
        Some(*task)
    } else {
        None
    }
}

fn spans_of(reader: &dyn Reader, tasks: &[TaskId]) -> Vec<SpanData> {
    // A task that can't be read has no trace; whatever is wrong with the store is told elsewhere.
    let records = tasks.iter().filter_map(|task| reader.find(*task).ok()?);
    records.flat_map(|record| spans(&record)).collect()
}

/// The trace of one task that has ended.
fn spans(record: &TaskRecord) -> Vec<SpanData> {
    let submitted_at = record.submission.submitted_at;
    let ended_at = record.ended_at.unwrap_or(submitted_at);
    let mut root = span(record, 0, "task".into(), submitted_at, ended_at);
    root.attributes = attributes(record);
    root.status = match &record.outcome {
        Some(outcome) if outcome.kind == OutcomeKind::Failed => Status::error("failed"),
        _ => Status::Ok,
    };
    let event = |name: &'static str, at: Time| Event::new(name, system_time(at), Vec::new(), 0);
    root.events.events.push(event("submitted", submitted_at));
    let mut spans = Vec::new();
    let mut since = submitted_at;
    for (place, attempt) in (0_u64..).zip(&record.attempts) {
        root.events
            .events
            .push(event("decided", attempt.launched_at));
        spans.extend(attempt_spans(record, place, since, attempt));
        since = attempt.ended_at.unwrap_or(since);
    }
    if record.submission.spec.inbox.is_some() {
        root.events.events.push(event("delivered", ended_at));
    }
    spans.push(root);
    spans
}

/// The wait before an attempt, its launch and its run.
fn attempt_spans(
    record: &TaskRecord,
    place: u64,
    since: Time,
    attempt: &AttemptRecord,
) -> Vec<SpanData> {
    let launched_at = attempt.launched_at;
    let ended_at = attempt.ended_at.unwrap_or(launched_at);
    let started_at = attempt.started_at.unwrap_or(ended_at);
    let parts = [
        ("queued", since, launched_at),
        ("launch", launched_at, started_at),
        ("run", started_at, ended_at),
    ];
    let n_parts = if attempt.started_at.is_some() { 3 } else { 2 };
    (1..)
        .zip(parts.into_iter().take(n_parts))
        .map(|(part, (name, from, to))| {
            let mut span = span(record, place * 3 + part, name.into(), from, to);
            span.attributes = vec![
                KeyValue::new("apportion.attempt", i64::from(attempt.attempt.number)),
                KeyValue::new("apportion.agent", attempt.agent.to_string()),
            ];
            span
        })
        .collect()
}

/// A span of a task's trace by its place in there; 0 is the root.
fn span(
    record: &TaskRecord,
    place: u64,
    name: Cow<'static, str>,
    from: Time,
    to: Time,
) -> SpanData {
    let own = (u128::from(record.submission.submitted_at.0) << 64) | u128::from(record.task.0);
    // Span ids are of one trace, and none is zero.
    let span_id = |place: u64| SpanId::from((record.task.0 << 16 | place).wrapping_add(1));
    let context = SpanContext::new(
        TraceId::from(own),
        span_id(place),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    );
    SpanData {
        span_context: context,
        parent_span_id: if place == 0 {
            SpanId::INVALID
        } else {
            span_id(0)
        },
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name,
        start_time: system_time(from),
        end_time: system_time(to.max(from)),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("apportion").build(),
    }
}

fn attributes(record: &TaskRecord) -> Vec<KeyValue> {
    let spec = &record.submission.spec;
    let id = i64::try_from(record.task.0).unwrap_or(i64::MAX);
    let mut attributes = vec![
        KeyValue::new("apportion.task", id),
        KeyValue::new("apportion.queue", spec.queue.to_string()),
        KeyValue::new("apportion.name", spec.name.to_string()),
        KeyValue::new("apportion.state", record.state.as_str()),
        KeyValue::new("apportion.attempts", i64::from(record.n_attempts)),
    ];
    for (resource, amount) in spec.demand.iter() {
        let amount = amount.milli() as f64 / 1000.0;
        attributes.push(KeyValue::new(
            format!("apportion.demand.{resource}"),
            amount,
        ));
    }
    attributes.extend(
        spec.inbox
            .as_ref()
            .map(|inbox| KeyValue::new("apportion.inbox", inbox.to_string())),
    );
    attributes
}

fn system_time(at: Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(at.0)
}
