//! The bodies of requests and answers, as types of their own: serialization stops here.
//!
//! Answers can be read back too (`Deserialize`), so that a client in Rust uses the very same types.
//! Fields that don't apply are `null`, never left out; numbers carry their unit in the name.

pub mod amount;
pub mod audit;
pub mod explain;
pub mod field;
pub mod inbox;
pub mod new_task;
pub mod outcome;
pub mod report;
mod schema;
pub mod task;
pub mod time;

#[cfg(test)]
mod tests;

pub use amount::AmountJson;
pub use audit::{AuditJson, AuditsJson};
pub use explain::{ExplanationJson, ReasonJson};
pub use inbox::{FinishedTaskJson, PopAnswer, PopRequest};
pub use new_task::{NewTaskJson, NewTasksJson};
pub use outcome::{AttemptJson, EndJson, OutcomeJson};
pub use report::{
    AgentJson, AgentsJson, ClaimJson, QueueJson, QueuesJson, ResourceJson, ResourcesJson, ShareJson,
};
pub use task::{
    AcceptedJson, AcceptedTasksJson, DependencyJson, RunJson, StateJson, TaskJson, TaskStateJson,
    TasksJson,
};

use serde::{Deserialize, Serialize};

/// The body of `POST /v1/tasks/{id}/cancel`; may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// Why, for people.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The body of `POST /v1/resources/{name}/outside`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OutsideRequest {
    /// What others use of the resource now: a number, or a text such as `"4GiB"` for a size.
    #[schema(value_type = schema::NumberOrText)]
    pub used: amount::AmountText,
}

/// The body of every error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorJson,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ErrorJson {
    /// One lasting word, for programs.
    #[schema(example = "unknown_queue")]
    pub code: String,
    /// What is wrong and what to do, for people.
    pub message: String,
    /// The parts of the message as data: `path` of the field meant, `line` and `column` of the body, names
    /// that would be right. `null` where there is nothing to add.
    #[schema(value_type = Option<Object>)]
    pub detail: Option<serde_json::Value>,
}

/// An event of `GET /v1/events`: a task changed its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TaskEventJson {
    /// The task; the first of them where `count` is above 1.
    pub task: u64,
    /// How many tasks with consecutive ids: an array that was submitted or unblocked as a whole.
    pub count: u32,
    /// The attempt that the change is about.
    pub attempt: Option<u32>,
    /// The state now.
    pub state: StateJson,
    /// The queue, where the change tells it.
    pub queue: Option<String>,
    /// Why, where it has ended without success.
    pub cause: Option<EndJson>,
    /// When, RFC 3339 in UTC.
    pub at: String,
}
