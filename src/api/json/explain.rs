//! Explanations in JSON: where a task stands and what it waits for.

use apportion_policies::Amount;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{AmountJson, StateJson, time};
use crate::config::units::format_amount;
use crate::engine::report::{Explanation, WaitReason};
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
    /// Why it doesn't run now, the most telling first. Empty where it runs or has ended.
    pub reasons: Vec<ReasonJson>,
    /// Its live attempts.
    pub attempts: Vec<LiveAttemptJson>,
}

/// Why a task doesn't run now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReasonJson {
    /// `never_fits`, `no_agent_matches`, `after`, `pause`, `queue_at_max`, `lacks`, `others_first`, `no_agents`.
    #[schema(example = "lacks")]
    pub code: String,
    /// The same for people.
    pub message: String,
    /// The parts of the message as data.
    #[schema(value_type = Object)]
    pub detail: Value,
}

/// An attempt that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LiveAttemptJson {
    /// Its number.
    pub attempt: u32,
    /// Where it runs.
    pub agent: String,
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
            attempts: (explanation.attempts.iter())
                .map(|(attempt, agent)| LiveAttemptJson {
                    attempt: attempt.number,
                    agent: agent.to_string(),
                })
                .collect(),
        }
    }

    /// Of a task that has ended, which the engine doesn't hold any more.
    #[must_use]
    pub fn from_ended(record: &TaskRecord) -> Self {
        Self {
            id: record.task.0,
            state: record.state.into(),
            queue: record.submission.spec.queue.to_string(),
            n_ahead: 0,
            ahead: Vec::new(),
            reasons: Vec::new(),
            attempts: Vec::new(),
        }
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
        WaitReason::OthersFirst => "would fit; others go first".to_owned(),
        WaitReason::NoAgents => "no agent is there".to_owned(),
    }
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
        WaitReason::OthersFirst | WaitReason::NoAgents => Value::Null,
    }
}
