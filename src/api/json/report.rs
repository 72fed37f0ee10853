//! Queues, agents and resources in JSON.

use std::collections::BTreeMap;

use apportion_policies::{Amount, Share, Weight};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AmountJson, time};
use crate::engine::report::{AgentReport, ClaimReport, QueueReport, ResourceReport};
use crate::engine::request::ByName;

/// The answer to `GET /v1/queues`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueuesJson {
    /// Parents before children.
    pub queues: Vec<QueueJson>,
    /// The largest difference between what a queue with work uses and what it is due.
    pub fairness_error: ShareJson,
    /// What is kept for tasks that waited beyond their patience, in the order in which it is kept.
    pub claims: Vec<ClaimJson>,
}

/// An agent and cluster resources, kept for a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClaimJson {
    /// Whose.
    pub task: u64,
    /// Its queue.
    pub queue: String,
    /// Where it will run.
    pub agent: String,
    /// What is kept, by resource.
    pub kept: BTreeMap<String, AmountJson>,
    /// What is missing still.
    pub missing: BTreeMap<String, AmountJson>,
    /// When it was made.
    pub made_at: String,
    /// When it is given up if nothing more comes free for it; `null` for never.
    pub expires_at: Option<String>,
}

/// The answer to `GET /v1/agents`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentsJson {
    /// In order of their names.
    pub agents: Vec<AgentJson>,
}

/// The answer to `GET /v1/resources`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResourcesJson {
    /// In order of their names.
    pub resources: Vec<ResourceJson>,
}

/// A share, exact and readable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ShareJson {
    /// As a reduced fraction.
    #[schema(example = "2/3")]
    pub fraction: String,
    /// As a decimal.
    #[schema(example = 0.666_666_666_666_666_6)]
    pub decimal: f64,
}

/// A queue, inner or leaf. All that it holds is that of its subtree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueueJson {
    /// The whole path.
    pub path: String,
    /// Whether tasks live here.
    pub is_leaf: bool,
    /// Its due relative to its siblings.
    pub weight: AmountJson,
    /// The policy that orders its children.
    pub policy: String,
    /// What it is guaranteed, by resource.
    pub min: BTreeMap<String, AmountJson>,
    /// The most it may use, by resource.
    pub max: BTreeMap<String, AmountJson>,
    /// What it uses now, by resource.
    pub used: BTreeMap<String, AmountJson>,
    /// `used` over all there is, by resource.
    pub share: BTreeMap<String, ShareJson>,
    /// The largest of these.
    pub dominant_share: ShareJson,
    /// Of which resource; `null` while it uses nothing.
    pub dominant_resource: Option<String>,
    /// The dominant share that it is due now, given the weights and who has work.
    pub entitlement: ShareJson,
    /// Live tasks by state.
    pub tasks: BTreeMap<String, u64>,
    /// Queued tasks that can never run as things are.
    pub n_unsatisfiable: u64,
}

/// A machine that offers host resources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentJson {
    /// Its name.
    pub name: String,
    /// All it has, by resource.
    pub total: BTreeMap<String, AmountJson>,
    /// What live attempts hold of it.
    pub used: BTreeMap<String, AmountJson>,
    /// What is offered now.
    pub offered: BTreeMap<String, AmountJson>,
    /// What constraints are compared with.
    pub attributes: BTreeMap<String, String>,
    /// Its live attempts, as `<task>.<attempt>`.
    pub attempts: Vec<String>,
}

/// A resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResourceJson {
    /// Its name.
    pub name: String,
    /// `host` or `cluster`.
    #[schema(example = "cluster")]
    pub scope: String,
    /// All there is.
    pub capacity: AmountJson,
    /// What live attempts hold.
    pub used: AmountJson,
    /// What others use, cluster scope only.
    pub outside: AmountJson,
    /// What neither attempts nor others use.
    pub free: AmountJson,
}

fn amounts(amounts: &ByName<Amount>) -> BTreeMap<String, AmountJson> {
    amounts
        .iter()
        .map(|(name, amount)| (name.to_string(), AmountJson(*amount)))
        .collect()
}

/// Weights have the digits of amounts.
fn weight(weight: Weight) -> Amount {
    Amount::from_milli(u64::from(weight.milli())).unwrap_or(Amount::MAX)
}

impl From<Share> for ShareJson {
    fn from(share: Share) -> Self {
        Self {
            fraction: share.to_string(),
            decimal: share.as_f64(),
        }
    }
}

impl From<&QueueReport> for QueueJson {
    fn from(report: &QueueReport) -> Self {
        Self {
            path: report.path.to_string(),
            is_leaf: report.is_leaf,
            weight: AmountJson(weight(report.weight)),
            policy: report.policy.to_string(),
            min: amounts(&report.min),
            max: amounts(&report.max),
            used: amounts(&report.used),
            share: (report.share.iter())
                .map(|(name, share)| (name.to_string(), ShareJson::from(*share)))
                .collect(),
            dominant_share: report.dominant_share.into(),
            dominant_resource: report.dominant_resource.as_ref().map(ToString::to_string),
            entitlement: report.entitlement.into(),
            tasks: (report.tasks.iter())
                .map(|(state, n_tasks)| (state.as_str().to_owned(), *n_tasks))
                .collect(),
            n_unsatisfiable: report.n_unsatisfiable,
        }
    }
}

impl From<&ClaimReport> for ClaimJson {
    fn from(report: &ClaimReport) -> Self {
        Self {
            task: report.task.0,
            queue: report.queue.to_string(),
            agent: report.agent.to_string(),
            kept: amounts(&report.kept),
            missing: amounts(&report.missing),
            made_at: time::format(report.made_at),
            expires_at: report.expires_at.map(time::format),
        }
    }
}

impl From<&AgentReport> for AgentJson {
    fn from(report: &AgentReport) -> Self {
        Self {
            name: report.name.to_string(),
            total: amounts(&report.total),
            used: amounts(&report.used),
            offered: amounts(&report.offered),
            attributes: (report.attributes.iter())
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            attempts: report.attempts.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<&ResourceReport> for ResourceJson {
    fn from(report: &ResourceReport) -> Self {
        let free = report
            .capacity
            .saturating_sub(report.used)
            .saturating_sub(report.outside);
        Self {
            name: report.name.to_string(),
            scope: report.scope.to_owned(),
            capacity: AmountJson(report.capacity),
            used: AmountJson(report.used),
            outside: AmountJson(report.outside),
            free: AmountJson(free),
        }
    }
}
