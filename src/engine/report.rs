//! What the engine shows of its state to people: plain data, made on request.

use std::sync::Arc;

use apportion_policies::{Amount, Share, Weight};

use super::request::ByName;
use super::spec::{AttemptId, TaskId, TaskState};
use super::time::Time;

/// A queue, inner or leaf.
#[derive(Clone, Debug)]
pub struct QueueReport {
    /// The whole path.
    pub path: Arc<str>,
    /// Whether tasks live here.
    pub is_leaf: bool,
    /// Its due relative to its siblings.
    pub weight: Weight,
    /// The policy that orders its children (inner queues) and where it comes from.
    pub policy: Arc<str>,
    /// What its subtree is guaranteed.
    pub min: ByName<Amount>,
    /// The most its subtree may use.
    pub max: ByName<Amount>,
    /// What its subtree holds now, of every resource.
    pub used: ByName<Amount>,
    /// `used` over the total, of every resource there is any of.
    pub share: ByName<Share>,
    /// The largest of these.
    pub dominant_share: Share,
    /// Of which resource; `None` while it uses nothing.
    pub dominant_resource: Option<Arc<str>>,
    /// Live tasks of the subtree by state: waiting, queued, launching, running, cancelling.
    pub tasks: Vec<(TaskState, u64)>,
    /// Queued tasks of the subtree that can never run as things are.
    pub n_unsatisfiable: u64,
}

/// A resource.
#[derive(Clone, Debug)]
pub struct ResourceReport {
    /// Its name.
    pub name: Arc<str>,
    /// `host` or `cluster`.
    pub scope: &'static str,
    /// All there is.
    pub capacity: Amount,
    /// What live attempts hold.
    pub used: Amount,
    /// What others use, cluster scope only.
    pub outside: Amount,
}

/// An agent.
#[derive(Clone, Debug)]
pub struct AgentReport {
    /// Its name.
    pub name: Arc<str>,
    /// All it has.
    pub total: ByName<Amount>,
    /// What live attempts hold of it.
    pub used: ByName<Amount>,
    /// What is offered now.
    pub offered: ByName<Amount>,
    /// What constraints are compared with.
    pub attributes: ByName<Arc<str>>,
    /// Its live attempts.
    pub attempts: Vec<AttemptId>,
}

/// Where a task stands, and what it waits for.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Which.
    pub task: TaskId,
    /// Its state.
    pub state: TaskState,
    /// Its queue.
    pub queue: Arc<str>,
    /// How many tasks of its queue go before it: higher priority, or older.
    pub n_ahead: u64,
    /// The first few of those.
    pub ahead: Vec<TaskId>,
    /// Why it doesn't run now, the most telling first. Empty where it runs.
    pub reasons: Vec<WaitReason>,
    /// Its live attempts with the agent.
    pub attempts: Vec<(AttemptId, Arc<str>)>,
}

/// Why a task doesn't run now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// It can never run as things are: no agent has so much, whatever is running.
    NeverFits {
        /// Of what.
        resource: Arc<str>,
        /// How much it wants.
        demand: Amount,
        /// The most that any agent, the cluster, or the queue's `max` has.
        most: Amount,
        /// Whose: `agent NAME`, `the cluster`, `queue PATH`, or `each agent`, where none has any.
        limit: Box<str>,
    },
    /// No agent has the attributes it wants.
    NoAgentMatches {
        /// The attribute.
        attribute: Arc<str>,
        /// The value wanted.
        value: Arc<str>,
    },
    /// It waits for tasks named in `after`.
    After {
        /// How many are left.
        n_left: u64,
        /// The first few of them.
        tasks: Vec<TaskId>,
    },
    /// The pause before its next attempt.
    Pause {
        /// Until then.
        until: Time,
    },
    /// A queue is at its `max`.
    QueueAtMax {
        /// Which.
        queue: Arc<str>,
        /// In what.
        resource: Arc<str>,
        /// The limit.
        max: Amount,
        /// What it uses.
        used: Amount,
    },
    /// Too little is free: of a cluster resource, or of a host resource on the agent where least is missing.
    Lacks {
        /// Of what.
        resource: Arc<str>,
        /// How much it wants.
        demand: Amount,
        /// What is free.
        free: Amount,
        /// The agent where least is missing; `None` for a cluster resource.
        agent: Option<Arc<str>>,
    },
    /// It would fit; others of its queue, or other queues, go first.
    OthersFirst,
    /// No agent is there.
    NoAgents,
}

impl WaitReason {
    /// The lasting word for it, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NeverFits { .. } => "never_fits",
            Self::NoAgentMatches { .. } => "no_agent_matches",
            Self::After { .. } => "after",
            Self::Pause { .. } => "pause",
            Self::QueueAtMax { .. } => "queue_at_max",
            Self::Lacks { .. } => "lacks",
            Self::OthersFirst => "others_first",
            Self::NoAgents => "no_agents",
        }
    }
}
