//! The audit trail: who asked for what. The driver writes an entry beside the facts that a request brought, so both are
//! durable or neither is; the engine itself decides nothing by it.

use std::sync::Arc;

use super::request::{Reply, Request};
use super::spec::TaskId;
use super::time::Time;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// What the caller's token is called; `None` where there are no tokens.
    pub token: Option<Arc<str>>,
    /// Where the call came from, or the signal that asked.
    pub peer: Option<Arc<str>>,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tasks were submitted.
    Submitted,
    /// A task was cancelled.
    Cancelled,
    /// A task was retried by hand.
    Retried,
    /// What others use of a resource was told.
    OutsideReported,
    /// The configuration was read again.
    Reloaded,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Submitted,
        Self::Cancelled,
        Self::Retried,
        Self::OutsideReported,
        Self::Reloaded,
    ];

    /// Its word in the database and in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Cancelled => "cancelled",
            Self::Retried => "retried",
            Self::OutsideReported => "outside_reported",
            Self::Reloaded => "reloaded",
        }
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// When.
    pub at: Time,
    /// Who.
    pub actor: Actor,
    /// What.
    pub action: Action,
    /// The tasks that it was done to: the first, and how many with consecutive ids.
    pub tasks: Option<(TaskId, u32)>,
    /// More about it, for people: a reason, an amount.
    pub detail: Option<Box<str>>,
}

/// What an entry will say of a request that is about to be answered.
#[derive(Debug)]
pub struct Draft {
    actor: Actor,
    action: Action,
    task: Option<TaskId>,
    detail: Option<Box<str>>,
}

impl Draft {
    /// Of a request; `None` where nobody's doing is worth an entry.
    #[must_use]
    pub fn of(actor: Actor, request: &Request) -> Option<Self> {
        let (action, task, detail) = match request {
            Request::Submit { .. } => (Action::Submitted, None, None),
            Request::Cancel { task, reason } => (Action::Cancelled, Some(*task), reason.clone()),
            Request::Retry { task, .. } => (Action::Retried, Some(*task), None),
            Request::ReportOutside { resource, used } => {
                let detail = format!("{resource}: {used}").into();
                (Action::OutsideReported, None, Some(detail))
            }
            Request::Reload { .. } => (Action::Reloaded, None, None),
            Request::AcknowledgeInbox { .. } | Request::Forget { .. } => return None,
        };
        Some(Self {
            actor,
            action,
            task,
            detail,
        })
    }

    /// The entry, once the request was granted; `None` where that changed nothing, such as cancelling twice.
    #[must_use]
    pub fn granted(self, now: Time, reply: &Reply, brought_facts: bool) -> Option<Audited> {
        if !brought_facts && self.action != Action::Reloaded {
            return None;
        }
        let tasks = match reply {
            Reply::Submitted(accepted) => {
                let mut created = accepted.iter().filter(|one| one.created);
                let first = created.next()?;
                // The ids of one call follow each other.
                let count = created.fold(first.count, |sum, one| sum.saturating_add(one.count));
                Some((first.first, count))
            }
            Reply::State(_) | Reply::Done => self.task.map(|task| (task, 1)),
        };
        Some(Audited {
            at: now,
            actor: self.actor,
            action: self.action,
            tasks,
            detail: self.detail,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::TaskState;
    use crate::engine::request::Accepted;

    fn accepted(first: u64, count: u32, created: bool) -> Accepted {
        Accepted {
            first: TaskId(first),
            count,
            created,
        }
    }

    #[test]
    fn an_entry_covers_what_a_call_created_and_nothing_else() {
        let draft = || Draft::of(Actor::default(), &Request::Submit { tasks: Vec::new() }).unwrap();
        let reply = Reply::Submitted(vec![
            accepted(3, 1, false),
            accepted(10, 5, true),
            accepted(15, 1, true),
        ]);
        let entry = draft().granted(Time(1), &reply, true).unwrap();
        assert_eq!(entry.tasks, Some((TaskId(10), 6)));
        let known = Reply::Submitted(vec![accepted(3, 1, false)]);
        assert_eq!(draft().granted(Time(1), &known, true), None);
    }

    #[test]
    fn what_changed_nothing_leaves_no_entry() {
        let cancel = Request::Cancel {
            task: TaskId(7),
            reason: Some("wrong".into()),
        };
        let draft = || Draft::of(Actor::default(), &cancel).unwrap();
        let reply = Reply::State(TaskState::Cancelled);
        assert_eq!(draft().granted(Time(1), &reply, false), None);
        let entry = draft().granted(Time(1), &reply, true).unwrap();
        assert_eq!(entry.tasks, Some((TaskId(7), 1)));
        assert_eq!(entry.detail.as_deref(), Some("wrong"));
        let acknowledge = Request::AcknowledgeInbox {
            inbox: "in".into(),
            upto: 1,
            only: None,
        };
        assert!(Draft::of(Actor::default(), &acknowledge).is_none());
    }
}
