//! What the driver's batches are told to: the metrics, and the log, one line for each fact that matters.
//!
//! What went wrong is logged as it happens; the ordinary life of tasks only at `debug`, since there may be ten
//! thousand of them a second. Every line has `task`, `queue` and `attempt` as fields, as far as it is about one.

use std::sync::Arc;

use apportion_policies::ShownKey;
use tokio::sync::watch;

use crate::config::Config;
use crate::config::units::format_amount;
use crate::driver::{BatchStats, Observer};
use crate::engine::report::{ChoiceReport, ContenderReport, StepReport};
use crate::engine::{AttemptEnd, Fact, Outcome, OutcomeKind};
use crate::metrics::{Limits, Metrics};

/// Tells metrics and log of each batch.
pub(super) fn observer(metrics: Arc<Metrics>) -> impl Observer {
    move |facts: &[Fact], stats: &BatchStats| {
        metrics.record_batch(facts, stats);
        for fact in facts {
            log(fact);
        }
        for choice in &stats.choices {
            log_choice(choice);
        }
    }
}

/// Puts into effect what the configuration says of metrics, now and after each reload.
pub(super) async fn keep_limits(metrics: Arc<Metrics>, mut config: watch::Receiver<Arc<Config>>) {
    loop {
        let now = config.borrow_and_update().clone();
        let limits = Limits {
            queues_max: now.metrics.queues_max,
            inboxes_max: now.metrics.inboxes_max,
        };
        metrics.set_limits(limits, now.engine.queues.iter().map(|queue| &*queue.path));
        if config.changed().await.is_err() {
            return;
        }
    }
}

fn log(fact: &Fact) {
    match fact {
        Fact::Submitted { submission, .. } => tracing::debug!(
            task = submission.first.0,
            n_tasks = submission.spec.count(),
            queue = &*submission.spec.queue,
            name = &*submission.spec.name,
            "submitted"
        ),
        Fact::Launched {
            attempt,
            agent,
            queue,
            waited,
            ..
        } => tracing::debug!(
            task = attempt.task.0,
            attempt = attempt.number,
            queue = &**queue,
            agent = &**agent,
            waited_seconds = waited.as_secs_f64(),
            "launched"
        ),
        Fact::AttemptEnded { attempt, end, .. } => log_end(attempt.task.0, attempt.number, end),
        Fact::TimedOut { attempt, .. } => tracing::info!(
            task = attempt.task.0,
            attempt = attempt.number,
            "asked to end: its time is over"
        ),
        Fact::Requeued {
            task, own_failure, ..
        } => tracing::info!(task = task.0, own_failure, "will be tried again"),
        Fact::Cancelling { task, reason, .. } => tracing::info!(
            task = task.0,
            reason = reason.as_deref().unwrap_or_default(),
            "is being cancelled"
        ),
        Fact::Retried {
            task, submission, ..
        } => tracing::info!(
            task = task.0,
            queue = &*submission.spec.queue,
            "retried by hand"
        ),
        Fact::Ended {
            task,
            outcome,
            queue,
            ..
        } => log_outcome(task.0, queue, outcome),
        Fact::Forgotten { firsts, .. } => {
            tracing::debug!(
                n_submissions = firsts.len(),
                "forgotten after the retention"
            );
        }
        Fact::Unblocked { .. }
        | Fact::Started { .. }
        | Fact::InboxAcknowledged { .. }
        | Fact::OutsideReported { .. }
        | Fact::BackendNoted { .. }
        | Fact::Audited(_)
        | Fact::Restored(_)
        | Fact::RestoredEnded { .. }
        | Fact::RestoredDying { .. }
        | Fact::RestoredKey { .. }
        | Fact::RestoredNextId(_) => {}
    }
}

fn log_outcome(task: u64, queue: &str, outcome: &Outcome) {
    match outcome.kind {
        OutcomeKind::Succeeded => tracing::debug!(task, queue, "succeeded"),
        OutcomeKind::Cancelled => tracing::info!(task, queue, "cancelled"),
        OutcomeKind::Failed => tracing::info!(task, queue, cause = ?outcome.cause, "failed"),
    }
}

fn log_end(task: u64, attempt: u32, end: &AttemptEnd) {
    if let AttemptEnd::Lost { reason } = end {
        tracing::warn!(
            task,
            attempt,
            reason = reason.as_str(),
            "an attempt was lost"
        );
    } else {
        tracing::debug!(task, attempt, ?end, "an attempt ended");
    }
}

/// One decision: who was chosen, the keys that were compared, the least of which went first, and the offer.
fn log_choice(choice: &ChoiceReport) {
    let free = choice.free.iter().filter(|(_, amount)| !amount.is_zero());
    let free = free.map(|(name, amount)| format!("{name}={}", format_amount(name, *amount)));
    let free: Vec<String> = free.collect();
    let compared: Vec<String> = choice.steps.iter().map(compared).collect();
    tracing::info!(
        target: "apportion::decisions",
        task = choice.attempt.task.0,
        attempt = choice.attempt.number,
        queue = &*choice.queue,
        agent = &*choice.agent,
        offer = free.join(" "),
        compared = compared.join("; "),
        "decided"
    );
}

/// A step: by which policy, the child that was served, and those that came next.
fn compared(step: &StepReport) -> String {
    let children = std::iter::once(&step.own).chain(&step.others);
    let children: Vec<String> = children.map(standing).collect();
    format!("{}: {}", step.policy, children.join(", "))
}

/// A queue, and its key.
fn standing(child: &ContenderReport) -> String {
    let key = match child.key {
        Some(ShownKey::Guarantee(fraction)) => format!("{fraction} of its min"),
        Some(ShownKey::Use(fraction)) => format!("{fraction} ({:.4})", fraction.as_f64()),
        Some(ShownKey::Order(rank)) => format!("priority {}, task {}", rank.priority.0, rank.seq),
        None => "nothing to go".to_owned(),
    };
    format!("{} {key}", child.queue)
}
