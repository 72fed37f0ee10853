//! Explanations in JSON: where a task stands and what it waits for.

use std::collections::BTreeMap;

use apportion_policies::{Amount, Fraction, ShownKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{AmountJson, ClaimJson, EndJson, StateJson, time};
use crate::config::units::format_amount;
use crate::engine::outcome::Cause;
use crate::engine::report::{
    ClaimReport, ContenderReport, Explanation, LaunchCause, LiveReport, StepReport, WaitReason,
};
use crate::engine::request::ByName;
use crate::store::reader::TaskRecord;

/// Where a task stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExplanationJson {
    /// Which task.
    pub id: u64,
    /// Its state.
    pub state: StateJson,
    /// Its queue.
    pub queue: String,
    /// How many tasks of its queue go before it: of higher priority, or older.
    pub n_ahead: u64,
    /// The first few of those.
    pub ahead: Vec<u64>,
    /// Why it doesn't run now, the most telling first; where it has ended without success, why. Empty where it runs.
    pub reasons: Vec<ReasonJson>,
    /// The offers at hand and what became of them for this task, while it is queued.
    pub offers: Option<OffersJson>,
    /// How a decision would find its way to the task's queue: at each inner queue from the top the child that would
    /// be served first, and the one that leads to the task. Empty where it isn't queued or could never run.
    pub steps: Vec<StepJson>,
    /// For whose offer the steps are; `null` where the task fits none: then as if everything that waits fitted.
    pub steps_for_agent: Option<String>,
    /// Its live attempts, each with the decision that launched it.
    pub attempts: Vec<LiveAttemptJson>,
}

/// Offers at hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OffersJson {
    /// How many agents offer something.
    pub n_offering: u64,
    /// How many of those were looked at.
    pub n_looked_at: u64,
    /// Why those don't launch the task, with how many: `no_agent_matches`, `lacks RESOURCE`, `queue_at_max`,
    /// `others_first`.
    pub refused: BTreeMap<String, u64>,
}

/// One step down the queue tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepJson {
    /// The queue whose children were compared; empty at the top.
    pub queue: String,
    /// By which policy; the least key goes first.
    pub policy: String,
    /// The child that would be served first, and where that is another one, the child on the way to the task.
    pub children: Vec<ContenderJson>,
}

/// A queue as it was compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContenderJson {
    /// Its path.
    pub queue: String,
    /// Whether it is served first.
    pub wins: bool,
    /// Whether the task that was asked about is below it.
    pub is_own: bool,
    /// `use` (relative to weight), `guarantee` (use over `min`; goes before the others), `order` (of the next task), or
    /// `null` where nothing below it can go.
    pub kind: Option<String>,
    /// The key as a reduced fraction; `null` for `order`.
    pub fraction: Option<String>,
    /// The same as a decimal.
    pub decimal: Option<f64>,
    /// The task below it that would go.
    pub next: Option<u64>,
    /// What there is to say of it, for people.
    pub remark: String,
}

/// Why a task doesn't run now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReasonJson {
    /// `never_fits`, `no_agent_matches`, `after`, `pause`, `queue_at_max`, `lacks`, `claim`, `kept_for_other`,
    /// `others_first`, `no_agents`, `no_offer`; of a task that has ended, the code of its cause.
    #[schema(example = "lacks")]
    pub code: String,
    /// The same for people.
    pub message: String,
    /// The parts of the message as data; `null` where it has none.
    #[schema(value_type = Option<Object>)]
    pub detail: Value,
}

/// An attempt that has not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LiveAttemptJson {
    /// Its number.
    pub attempt: u32,
    /// Where it runs: on whose offer it was launched.
    pub agent: String,
    /// When that was decided.
    pub launched_at: String,
    /// How long the task could have run before; `null` for an attempt that dies beside a newer one.
    pub waited_seconds: Option<f64>,
    /// Why it was launched: `turn` where a policy chose it, `claim` where a claim had kept what it needs, `null` where
    /// the daemon has started again since.
    #[schema(example = "turn")]
    pub cause: Option<String>,
    /// For `turn`: at each queue from the top the key of the child on the way to the task, when it was the least
    /// of those that could go.
    pub keys: Vec<LaunchKeyJson>,
}

/// A queue's key when it was its turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LaunchKeyJson {
    /// Its path.
    pub queue: String,
    /// `use`, `guarantee` or `order`, as in `steps`.
    pub kind: String,
    /// The key as a reduced fraction; `null` for `order`.
    pub fraction: Option<String>,
    /// The same as a decimal.
    pub decimal: Option<f64>,
}

impl ExplanationJson {
    /// From the engine's.
    #[must_use]
    pub fn from_explanation(explanation: &Explanation) -> Self {
        Self {
            id: explanation.task.0,
            state: explanation.state.into(),
            queue: explanation.queue.to_string(),
            n_ahead: explanation.n_ahead,
            ahead: explanation.ahead.iter().map(|task| task.0).collect(),
            reasons: explanation
                .reasons
                .iter()
                .map(ReasonJson::from_reason)
                .collect(),
            offers: explanation.offers.as_ref().map(|offers| OffersJson {
                n_offering: offers.n_offering,
                n_looked_at: offers.n_looked_at,
                refused: offers.refused.iter().cloned().collect(),
            }),
            steps: (explanation.course.iter())
                .flat_map(|course| course.steps.iter().map(StepJson::from_step))
                .collect(),
            steps_for_agent: (explanation.course.as_ref())
                .and_then(|course| course.agent.as_ref().map(ToString::to_string)),
            attempts: (explanation.attempts.iter())
                .map(LiveAttemptJson::from_report)
                .collect(),
        }
    }

    /// Takes out the names of the queues beside the task's own that are to be hidden, and of what waits in them.
    pub fn hide_queues(&mut self, is_hidden: impl Fn(&str) -> bool) {
        let children = self.steps.iter_mut().flat_map(|step| &mut step.children);
        for child in children.filter(|child| !child.is_own && is_hidden(&child.queue)) {
            child.queue = "(another queue)".to_owned();
            child.next = None;
        }
    }

    /// Of a task that has ended, which the engine doesn't hold any more.
    #[must_use]
    pub fn from_ended(record: &TaskRecord) -> Self {
        let outcome = record.outcome.as_ref();
        let ended = outcome.and_then(|outcome| outcome.cause.as_ref());
        Self {
            id: record.task.0,
            state: record.state.into(),
            queue: record.submission.spec.queue.to_string(),
            n_ahead: 0,
            ahead: Vec::new(),
            reasons: ended.map(ReasonJson::from_cause).into_iter().collect(),
            offers: None,
            steps: Vec::new(),
            steps_for_agent: None,
            attempts: Vec::new(),
        }
    }
}

impl ReasonJson {
    /// Of a task that has ended.
    fn from_cause(cause: &Cause) -> Self {
        let EndJson { code, message } = EndJson::from_cause(cause);
        Self {
            code,
            message,
            detail: Value::Null,
        }
    }
}

impl LiveAttemptJson {
    fn from_report(live: &LiveReport) -> Self {
        let (cause, keys): (_, &[ShownKey]) = match &live.cause {
            LaunchCause::Unknown => (None, &[]),
            LaunchCause::Claim => (Some("claim"), &[]),
            LaunchCause::Turn(keys) => (Some("turn"), keys),
        };
        let keys = live.way.iter().zip(keys).map(|(queue, key)| {
            let (kind, fraction) = (key.kind(), key.fraction());
            LaunchKeyJson {
                queue: queue.to_string(),
                kind: kind.to_owned(),
                fraction: fraction.map(|fraction| fraction.to_string()),
                decimal: fraction.map(Fraction::as_f64),
            }
        });
        Self {
            attempt: live.attempt.number,
            agent: live.agent.to_string(),
            launched_at: time::format(live.launched_at),
            waited_seconds: live.waited.map(time::seconds),
            cause: cause.map(str::to_owned),
            keys: keys.collect(),
        }
    }
}

impl StepJson {
    fn from_step(step: &StepReport) -> Self {
        let own_wins = step.first.as_ref() == Some(&step.own);
        let first = step
            .first
            .iter()
            .map(|first| contender(first, true, own_wins));
        let own = (!own_wins).then(|| contender(&step.own, false, true));
        Self {
            queue: step.queue.to_string(),
            policy: step.policy.to_string(),
            children: first.chain(own).collect(),
        }
    }
}

fn contender(report: &ContenderReport, wins: bool, is_own: bool) -> ContenderJson {
    let kind = report.key.map(ShownKey::kind);
    let fraction = report.key.and_then(ShownKey::fraction);
    let mut remark = match (kind, wins) {
        (None, _) => "nothing below it can go".to_owned(),
        (Some("guarantee"), true) => "goes first: below its min".to_owned(),
        (_, true) => "goes first".to_owned(),
        (_, false) => String::new(),
    };
    if let (Some(ShownKey::Order(rank)), false) = (report.key, wins) {
        remark = format!("its next task has priority {}", rank.priority.0);
    }
    ContenderJson {
        queue: report.queue.to_string(),
        wins,
        is_own,
        kind: kind.map(str::to_owned),
        fraction: fraction.map(|fraction| fraction.to_string()),
        decimal: fraction.map(Fraction::as_f64),
        next: report.next.map(|task| task.0),
        remark,
    }
}

impl ReasonJson {
    /// From the engine's.
    #[must_use]
    pub fn from_reason(reason: &WaitReason) -> Self {
        Self {
            code: reason.code().to_owned(),
            message: message(reason),
            detail: detail(reason),
        }
    }
}

fn message(reason: &WaitReason) -> String {
    match reason {
        WaitReason::NeverFits {
            resource,
            demand,
            most,
            limit,
        } => format!(
            "can never run as things are: it demands {} {resource}, and {limit} has {}",
            format_amount(resource, *demand),
            format_amount(resource, *most),
        ),
        WaitReason::NoAgentMatches { attribute, value } => {
            format!("no agent has {attribute}={value}")
        }
        WaitReason::After { n_left: 1, .. } => {
            "waits for a task named in after to succeed".to_owned()
        }
        WaitReason::After { n_left, .. } => {
            format!("waits for {n_left} tasks named in after to succeed")
        }
        WaitReason::Pause { until } => {
            format!(
                "pauses until {} before its next attempt",
                time::format(*until)
            )
        }
        WaitReason::QueueAtMax {
            queue,
            resource,
            max,
            used,
        } => format!(
            "queue {queue} uses {} of the {} {resource} that its max allows; waits for tasks of it to end",
            format_amount(resource, *used),
            format_amount(resource, *max),
        ),
        WaitReason::Lacks {
            resource,
            demand,
            free,
            agent,
        } => {
            let place = agent.as_deref().map_or_else(
                || "in the cluster".to_owned(),
                |agent| format!("on {agent}, where least is missing"),
            );
            let (demand, free) = (
                format_amount(resource, *demand),
                format_amount(resource, *free),
            );
            format!("lacks {resource}: it demands {demand}, and {free} is free {place}")
        }
        WaitReason::Claim(claim) => claim_message(claim),
        WaitReason::KeptForOther { task, queue } => format!(
            "what it needs is kept for task {task} of queue {queue}, which waited beyond its patience"
        ),
        WaitReason::OthersFirst => "would fit; others go first".to_owned(),
        WaitReason::NoAgents => "no agent is there".to_owned(),
        WaitReason::NoOffer => {
            "enough is free, but no agent offers it now; waits for an offer".to_owned()
        }
    }
}

fn claim_message(claim: &ClaimReport) -> String {
    let amounts = |amounts: &ByName<Amount>| {
        let amounts = amounts.iter();
        let amounts =
            amounts.map(|(name, amount)| format!("{name}={}", format_amount(name, *amount)));
        let text = amounts.collect::<Vec<_>>().join(" ");
        if text.is_empty() {
            "nothing".to_owned()
        } else {
            text
        }
    };
    format!(
        "waited beyond its patience: {} and the cluster keep {} for it, {} is missing",
        claim.agent,
        amounts(&claim.kept),
        amounts(&claim.missing)
    )
}

/// Amounts as JSON numbers, names as texts.
fn detail(reason: &WaitReason) -> Value {
    let amount = |amount: &Amount| json!(AmountJson(*amount));
    match reason {
        WaitReason::NeverFits {
            resource,
            demand,
            most,
            limit,
        } => {
            json!({"resource": resource, "demand": amount(demand), "most": amount(most), "limit": limit})
        }
        WaitReason::NoAgentMatches { attribute, value } => {
            json!({"attribute": attribute, "value": value})
        }
        WaitReason::After { n_left, tasks } => {
            let tasks: Vec<u64> = tasks.iter().map(|task| task.0).collect();
            json!({"n_left": n_left, "tasks": tasks})
        }
        WaitReason::Pause { until } => json!({"until": time::format(*until)}),
        WaitReason::QueueAtMax {
            queue,
            resource,
            max,
            used,
        } => {
            json!({"queue": queue, "resource": resource, "max": amount(max), "used": amount(used)})
        }
        WaitReason::Lacks {
            resource,
            demand,
            free,
            agent,
        } => {
            json!({"resource": resource, "demand": amount(demand), "free": amount(free), "agent": agent})
        }
        WaitReason::Claim(claim) => json!(ClaimJson::from(claim)),
        WaitReason::KeptForOther { task, queue } => json!({"task": task.0, "queue": queue}),
        WaitReason::OthersFirst | WaitReason::NoAgents | WaitReason::NoOffer => Value::Null,
    }
}
