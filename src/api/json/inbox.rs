//! Inboxes in JSON: what is asked of one, and what it gives.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::TaskJson;
use crate::store::reader::Delivery;

/// The body of `POST /v1/inboxes/{name}/pop`; may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PopRequest {
    /// The most tasks to give, 1 to 1,000; 100 where it isn't said.
    pub max: Option<u32>,
    /// How long to wait while there is none, at most 60; 0 where it isn't said.
    pub wait_seconds: Option<f64>,
    /// The token of the last pop that was taken care of: it, and all before it, won't come again.
    pub ack: Option<String>,
}

/// The answer: finished tasks, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PopAnswer {
    /// The tasks. Until they are acknowledged they come again with the next pop.
    pub tasks: Vec<FinishedTaskJson>,
    /// What acknowledges these tasks; `null` where there is none.
    pub token: Option<String>,
}

/// A finished task with its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FinishedTaskJson {
    /// The task as it stood when it ended.
    #[serde(flatten)]
    pub task: TaskJson,
    /// Its value in base64: for a command, its standard output, at most 64 KiB. `null` where it is larger and
    /// kept as a file: `GET /v1/tasks/{id}/result?attempt={value_attempt}` gives it.
    pub value: Option<String>,
    /// The attempt whose value is kept as a file.
    pub value_attempt: Option<u32>,
}

impl FinishedTaskJson {
    /// From what is kept.
    #[must_use]
    pub fn from_delivery(delivery: &Delivery) -> Self {
        let value = delivery
            .record
            .outcome
            .as_ref()
            .map(|outcome| &outcome.value);
        let file = value.and_then(|value| value.file);
        let bytes = value.map(|value| &*value.bytes).unwrap_or_default();
        Self {
            task: TaskJson::from_delivery(&delivery.record),
            value: file.is_none().then(|| STANDARD.encode(bytes)),
            value_attempt: file.map(|file| file.attempt),
        }
    }
}
