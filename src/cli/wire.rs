//! What the daemon answers, as far as commands show it. What else is in an answer is ignored, so that a
//! daemon may say more than this version knows.

use std::collections::BTreeMap;

use apportion_policies::Amount;
use serde::Deserialize as DeriveDeserialize;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::Value;

use crate::config::units;

/// The body of a refusal.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct ErrorBody {
    pub(super) error: ErrorContent,
}

/// What a refusal says.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct ErrorContent {
    #[serde(default)]
    pub(super) code: String,
    pub(super) message: String,
    #[serde(default)]
    pub(super) detail: Value,
}

/// The answer to a submission.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct Accepted {
    pub(super) tasks: Vec<AcceptedTask>,
}

/// One entry of it.
#[derive(Clone, Copy, Debug, DeriveDeserialize)]
pub(super) struct AcceptedTask {
    pub(super) id: u64,
    #[serde(default = "one")]
    pub(super) count: u64,
    #[serde(default)]
    pub(super) created: bool,
}

/// A page of tasks.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct Tasks {
    pub(super) tasks: Vec<Task>,
    #[serde(default)]
    pub(super) next_after: Option<u64>,
}

/// A task.
#[derive(Clone, Debug, DeriveDeserialize)]
pub(super) struct Task {
    pub(super) id: u64,
    pub(super) queue: String,
    #[serde(default)]
    pub(super) name: String,
    pub(super) state: State,
    #[serde(default)]
    pub(super) key: Option<String>,
    #[serde(default)]
    pub(super) inbox: Option<String>,
    #[serde(default)]
    pub(super) demand: Amounts,
    #[serde(default)]
    pub(super) run: Run,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) priority: i32,
    #[serde(default)]
    pub(super) retries: u32,
    #[serde(default)]
    pub(super) timeout_seconds: Option<f64>,
    #[serde(default)]
    pub(super) after: Vec<Dependency>,
    #[serde(default)]
    pub(super) constraints: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) array_index: Option<u64>,
    #[serde(default)]
    pub(super) submitted_at: Option<String>,
    #[serde(default)]
    pub(super) not_before: Option<String>,
    #[serde(default)]
    pub(super) ended_at: Option<String>,
    #[serde(default)]
    pub(super) n_attempts: u32,
    #[serde(default)]
    pub(super) outcome: Option<Outcome>,
    #[serde(default)]
    pub(super) attempts: Vec<Attempt>,
}

/// What a task runs.
#[derive(Clone, Debug, Default, DeriveDeserialize)]
pub(super) struct Run {
    #[serde(default)]
    pub(super) command: Option<String>,
    #[serde(default)]
    pub(super) argv: Option<Vec<String>>,
    /// A pickle, perhaps left out.
    #[serde(default, deserialize_with = "is_there")]
    pub(super) python: bool,
}

/// Whether a field is there, whatever it holds.
fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// What a task waits for: `count` tasks with consecutive ids.
#[derive(Clone, Copy, Debug, DeriveDeserialize)]
pub(super) struct Dependency {
    pub(super) task: u64,
    #[serde(default = "one")]
    pub(super) count: u64,
}

/// How a task ended.
#[derive(Clone, Debug, DeriveDeserialize)]
pub(super) struct Outcome {
    #[serde(default)]
    pub(super) cause: Option<Cause>,
    #[serde(default)]
    pub(super) exit_code: Option<i32>,
    #[serde(default)]
    pub(super) signal: Option<i32>,
    #[serde(default)]
    pub(super) value_truncated: bool,
    #[serde(default)]
    pub(super) value_bytes: Option<u64>,
    #[serde(default)]
    pub(super) wall_seconds: Option<f64>,
    #[serde(default)]
    pub(super) cpu_seconds: Option<f64>,
    #[serde(default)]
    pub(super) memory_peak_bytes: Option<u64>,
}

/// Why a task or an attempt ended.
#[derive(Clone, Debug, DeriveDeserialize)]
pub(super) struct Cause {
    pub(super) code: String,
    pub(super) message: String,
}

/// One launch of a task.
#[derive(Clone, Debug, DeriveDeserialize)]
pub(super) struct Attempt {
    pub(super) attempt: u32,
    #[serde(default)]
    pub(super) agent: String,
    #[serde(default)]
    pub(super) launched_at: Option<String>,
    #[serde(default)]
    pub(super) started_at: Option<String>,
    #[serde(default)]
    pub(super) ended_at: Option<String>,
    #[serde(default)]
    pub(super) end: Option<Cause>,
    #[serde(default)]
    pub(super) wall_seconds: Option<f64>,
    #[serde(default)]
    pub(super) cpu_seconds: Option<f64>,
    #[serde(default)]
    pub(super) memory_peak_bytes: Option<u64>,
}

/// All queues, parents before children.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct Queues {
    pub(super) queues: Vec<Queue>,
}

/// A queue.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct Queue {
    pub(super) path: String,
    #[serde(default)]
    pub(super) is_leaf: bool,
    #[serde(default)]
    pub(super) weight: f64,
    #[serde(default)]
    pub(super) policy: String,
    #[serde(default)]
    pub(super) max: Amounts,
    #[serde(default)]
    pub(super) used: Amounts,
    #[serde(default)]
    pub(super) share: BTreeMap<String, Share>,
    #[serde(default)]
    pub(super) dominant_share: Share,
    #[serde(default)]
    pub(super) dominant_resource: Option<String>,
    #[serde(default)]
    pub(super) entitlement: Share,
    #[serde(default)]
    pub(super) tasks: BTreeMap<String, u64>,
    #[serde(default)]
    pub(super) n_unsatisfiable: u64,
}

/// A share, exact and as a decimal.
#[derive(Debug, Default, DeriveDeserialize)]
pub(super) struct Share {
    #[serde(default)]
    pub(super) decimal: f64,
}

/// All agents.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct Agents {
    pub(super) agents: Vec<Agent>,
}

/// An agent.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct Agent {
    pub(super) name: String,
    #[serde(default)]
    pub(super) total: Amounts,
    #[serde(default)]
    pub(super) used: Amounts,
    #[serde(default)]
    pub(super) attributes: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) attempts: Vec<String>,
}

/// All resources.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct Resources {
    pub(super) resources: Vec<Resource>,
}

/// A resource.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct Resource {
    pub(super) name: String,
    #[serde(default)]
    pub(super) scope: String,
    #[serde(default)]
    pub(super) capacity: Quantity,
    #[serde(default)]
    pub(super) used: Quantity,
    #[serde(default)]
    pub(super) outside: Quantity,
    #[serde(default)]
    pub(super) free: Quantity,
}

/// Where a task stands.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct Explanation {
    pub(super) id: u64,
    pub(super) state: State,
    #[serde(default)]
    pub(super) queue: String,
    #[serde(default)]
    pub(super) n_ahead: u64,
    #[serde(default)]
    pub(super) ahead: Vec<u64>,
    #[serde(default)]
    pub(super) reasons: Vec<Cause>,
    #[serde(default)]
    pub(super) offers: Option<Offers>,
    #[serde(default)]
    pub(super) steps: Vec<Step>,
    #[serde(default)]
    pub(super) steps_for_agent: Option<String>,
    #[serde(default)]
    pub(super) attempts: Vec<LaunchedAttempt>,
}

/// The offers at hand for a task.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct Offers {
    pub(super) n_offering: u64,
    #[serde(default)]
    pub(super) n_looked_at: u64,
    #[serde(default)]
    pub(super) refused: BTreeMap<String, u64>,
}

/// One step down the queue tree.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct Step {
    pub(super) queue: String,
    #[serde(default)]
    pub(super) policy: String,
    #[serde(default)]
    pub(super) children: Vec<Contender>,
}

/// A queue as it was compared.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct Contender {
    pub(super) queue: String,
    #[serde(default)]
    pub(super) fraction: Option<String>,
    #[serde(default)]
    pub(super) decimal: Option<f64>,
    #[serde(default)]
    pub(super) next: Option<u64>,
    #[serde(default)]
    pub(super) remark: String,
}

/// An attempt that has not ended, with the decision that launched it.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct LaunchedAttempt {
    pub(super) attempt: u32,
    #[serde(default)]
    pub(super) agent: String,
    #[serde(default)]
    pub(super) launched_at: Option<String>,
    #[serde(default)]
    pub(super) waited_seconds: Option<f64>,
    #[serde(default)]
    pub(super) cause: Option<String>,
    #[serde(default)]
    pub(super) keys: Vec<Contender>,
}

/// The answer to cancel and retry.
#[derive(Debug, DeriveDeserialize)]
pub(super) struct TaskStateAnswer {
    pub(super) id: u64,
    pub(super) state: State,
}

/// Amounts by resource.
pub(super) type Amounts = BTreeMap<String, Quantity>;

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, DeriveDeserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Waiting,
    Queued,
    Launching,
    Running,
    Cancelling,
    Succeeded,
    Failed,
    Cancelled,
}

impl State {
    /// All of them, in the order of a life.
    pub(super) const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Queued,
        Self::Launching,
        Self::Running,
        Self::Cancelling,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The word for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Launching => "launching",
            Self::Running => "running",
            Self::Cancelling => "cancelling",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the task has ended.
    pub(super) fn is_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// An amount: a number, or a text with a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Quantity(pub(super) Amount);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = match (value.as_number(), value.as_str()) {
            (Some(number), _) => number.to_string(),
            (None, Some(text)) => text.to_owned(),
            (None, None) => return Err(D::Error::custom(format_args!("{value} is no amount"))),
        };
        // A number written by another program may have a fraction of zeros, such as 2.0.
        units::parse_mib(&text).map(Self).map_err(D::Error::custom)
    }
}

fn one() -> u64 {
    1
}
