//! The audit trail in JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::time;
use crate::store::reader::AuditRecord;

/// Entries, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditsJson {
    /// The entries.
    pub entries: Vec<AuditJson>,
    /// Ask for entries `before` this for more; `null` where these are the last.
    pub next_before: Option<u64>,
}

/// Who asked for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditJson {
    /// Its number, growing.
    pub seq: u64,
    /// When.
    pub at: String,
    /// What the token was called; `null` where none was asked for.
    pub token: Option<String>,
    /// Where the call came from, or the signal that asked.
    pub peer: Option<String>,
    /// `submitted`, `cancelled`, `retried`, `outside_reported`, `reloaded`.
    pub action: String,
    /// The first task that it was done to; `null` where it was done to none.
    pub task: Option<u64>,
    /// To how many tasks with consecutive ids.
    pub count: u32,
    /// More about it: a reason, an amount.
    pub detail: Option<String>,
}

impl From<&AuditRecord> for AuditJson {
    fn from(record: &AuditRecord) -> Self {
        let entry = &record.entry;
        let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
        Self {
            seq: record.seq,
            at: time::format(entry.at),
            token: text(&entry.actor.token),
            peer: text(&entry.actor.peer),
            action: entry.action.as_str().to_owned(),
            task: entry.tasks.map(|(task, _)| task.0),
            count: entry.tasks.map_or(0, |(_, count)| count),
            detail: entry.detail.as_deref().map(str::to_owned),
        }
    }
}
