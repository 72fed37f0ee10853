//! Makes status updates.

use crate::backend::remote::ended::{self, Ended, Shown};
use crate::engine::outcome::Value;
use crate::engine::{AttemptEnd, Time};
use crate::proto::mesos::v1::{TaskId, TaskState, TaskStatus, task_status};

/// Of a task that has not ended.
pub(super) fn alive(task: &str, state: TaskState, now: Time) -> TaskStatus {
    TaskStatus {
        task_id: TaskId {
            value: task.to_owned(),
        },
        state: state.into(),
        source: Some(task_status::Source::Executor.into()),
        timestamp: Some(now.0 as f64 / 1000.0),
        ..TaskStatus::default()
    }
}

/// Of a task that has ended. The state is for those who look at Mesos; the scheduler reads the data.
pub(super) fn ended(task: &str, ended: &Ended, now: Time) -> TaskStatus {
    let state = match &ended.end {
        AttemptEnd::Exited { code: 0 } => TaskState::TaskFinished,
        AttemptEnd::Killed => TaskState::TaskKilled,
        AttemptEnd::Exited { .. }
        | AttemptEnd::Signalled { .. }
        | AttemptEnd::OutOfMemory
        | AttemptEnd::OverLimit { .. }
        | AttemptEnd::NotStarted { .. }
        | AttemptEnd::Raised { .. }
        | AttemptEnd::Lost { .. } => TaskState::TaskFailed,
    };
    TaskStatus {
        data: Some(ended::to_bytes(ended).into()),
        message: message(ended),
        ..alive(task, state, now)
    }
}

/// The same in few words, where that is news: for an agent that refuses the whole. `None` where the update was
/// plain already.
pub(super) fn plain_instead_of(refused: &TaskStatus, now: Time) -> Option<TaskStatus> {
    let told = ended::from_bytes(refused.data.as_ref()?)?;
    let why = "the agent refused the update that told of its end";
    let plain = Ended {
        usage: told.usage,
        ..Ended::lost(why.to_owned())
    };
    (told.lost_because != plain.lost_because).then(|| ended(&refused.task_id.value, &plain, now))
}

/// For people who look at Mesos.
fn message(ended: &Ended) -> Option<String> {
    match &ended.end {
        AttemptEnd::Exited { code: 0 } | AttemptEnd::Killed => None,
        AttemptEnd::Exited { code } => Some(format!("exited with code {code}")),
        AttemptEnd::Signalled { signal } => Some(format!("ended by signal {signal}")),
        AttemptEnd::OutOfMemory => Some("used more memory than its demand".to_owned()),
        AttemptEnd::OverLimit { limit } => Some(format!(
            "took more than its queue allows: {} {}",
            limit.as_str(),
            limit.most()
        )),
        AttemptEnd::NotStarted { message } | AttemptEnd::Raised { message } => {
            Some(ended::cut(message))
        }
        AttemptEnd::Lost { .. } => ended.lost_because.as_deref().map(ended::cut),
    }
}

impl Ended {
    /// An end with nothing to show.
    pub(super) fn of(end: AttemptEnd) -> Self {
        Self {
            end,
            lost_because: None,
            usage: crate::engine::Usage::default(),
            shown: Shown::Inline(Value::default()),
        }
    }

    /// Lost, by no fault of its own.
    pub(super) fn lost(because: String) -> Self {
        let reason = crate::engine::outcome::LossReason::BackendFailed;
        Self {
            lost_because: Some(because),
            ..Self::of(AttemptEnd::Lost { reason })
        }
    }
}
