//! What the engine shows of its state to people: plain data, made on request.

use std::sync::Arc;
use std::time::Duration;

use apportion_policies::{Amount, Share, ShownKey, Weight};

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
    /// The dominant share that it is due now, given the weights and who has work.
    pub entitlement: Share,
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

/// The largest difference between what a queue with work uses and what it is due.
#[must_use]
pub fn fairness_error(queues: &[QueueReport]) -> Share {
    let with_work = queues.iter().filter(|queue| {
        let queued = queue
            .tasks
            .iter()
            .filter(|(state, _)| *state == TaskState::Queued);
        queued.map(|(_, n_tasks)| *n_tasks).sum::<u64>() > queue.n_unsatisfiable
    });
    let errors = with_work.map(|queue| queue.dominant_share.apart(queue.entitlement));
    errors.max().unwrap_or(Share::ZERO)
}

/// What is kept for a task that waited beyond its patience.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimReport {
    /// Whose.
    pub task: TaskId,
    /// Its queue.
    pub queue: Arc<str>,
    /// Where it will run.
    pub agent: Arc<str>,
    /// What is kept, of the agent and of the cluster.
    pub kept: ByName<Amount>,
    /// What is missing still.
    pub missing: ByName<Amount>,
    /// When it was made.
    pub made_at: Time,
    /// When it is given up if nothing more comes free for it; `None` for never.
    pub expires_at: Option<Time>,
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
    /// What becomes of the offers at hand for it, while it is queued.
    pub offers: Option<OffersReport>,
    /// How a decision would find its way to its queue, while it is queued and could run.
    pub course: Option<Course>,
    /// Its live attempts.
    pub attempts: Vec<LiveReport>,
}

/// An attempt that has not ended, with the decision that launched it.
#[derive(Clone, Debug)]
pub struct LiveReport {
    /// Which.
    pub attempt: AttemptId,
    /// On whose offer it was launched.
    pub agent: Arc<str>,
    /// When that was decided.
    pub launched_at: Time,
    /// How long the task could have run before; `None` for one that dies beside a newer one.
    pub waited: Option<Duration>,
    /// Why it was launched.
    pub cause: LaunchCause,
    /// The queues on the way to its task, from the top: those that [`LaunchCause::Turn`] has keys of.
    pub way: Vec<Arc<str>>,
}

/// Why an attempt was launched. Known while the daemon runs: what was decided is kept, not why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LaunchCause {
    /// It was launched before the daemon started.
    #[default]
    Unknown,
    /// A claim had kept what it needs.
    Claim,
    /// It was its queue's turn. At each step from the top, the key of the child on the way to it, which was the
    /// least of those that could go. Empty where the policy says nothing.
    Turn(Box<[ShownKey]>),
}

/// The offers at hand, as far as one task is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffersReport {
    /// How many agents offer something.
    pub n_offering: u64,
    /// How many of those were looked at.
    pub n_looked_at: u64,
    /// Why those don't launch it, with how many: `no_agent_matches`, `lacks RESOURCE`, `queue_at_max`, `others_first`.
    pub refused: Vec<(String, u64)>,
}

/// The steps of a decision down the queue tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course {
    /// For this agent's offer; `None` where the task fits none: then as if everything that waits fitted.
    pub agent: Option<Arc<str>>,
    /// From the root down.
    pub steps: Vec<StepReport>,
}

/// A decision, with what was compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChoiceReport {
    /// What was launched.
    pub attempt: AttemptId,
    /// Of which queue.
    pub queue: Arc<str>,
    /// On whose offer.
    pub agent: Arc<str>,
    /// What was free then: of the agent, and of cluster resources.
    pub free: ByName<Amount>,
    /// From the root down.
    pub steps: Vec<StepReport>,
}

/// One step: the queues directly below `queue` were compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepReport {
    /// The path; empty at the top.
    pub queue: Arc<str>,
    /// By which policy.
    pub policy: Arc<str>,
    /// The queue that would be served first; `None` where none can go.
    pub first: Option<ContenderReport>,
    /// The queue on the way to the task.
    pub own: ContenderReport,
    /// Those that come next, where they were asked for.
    pub others: Vec<ContenderReport>,
}

/// A queue with what it was compared by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContenderReport {
    /// The path.
    pub queue: Arc<str>,
    /// Its key, the least goes first; `None` where nothing below it can go.
    pub key: Option<ShownKey>,
    /// The task that would be launched.
    pub next: Option<TaskId>,
    /// Its weight.
    pub weight: Weight,
    /// The largest share of what it really holds.
    pub dominant_share: Share,
    /// Its attempts.
    pub n_running: u64,
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
    /// It waited beyond its patience; what it needs is kept for it as it comes free.
    Claim(ClaimReport),
    /// What it needs is free, but kept for another task that waited beyond its patience.
    KeptForOther {
        /// For which.
        task: TaskId,
        /// The queue of that one.
        queue: Arc<str>,
    },
    /// It would fit; others of its queue, or other queues, go first.
    OthersFirst,
    /// No agent is there.
    NoAgents,
    /// Enough is free, but no agent offers it now.
    NoOffer,
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
            Self::Claim(_) => "claim",
            Self::KeptForOther { .. } => "kept_for_other",
            Self::OthersFirst => "others_first",
            Self::NoAgents => "no_agents",
            Self::NoOffer => "no_offer",
        }
    }
}
