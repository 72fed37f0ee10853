//! The reading side of the store in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{MemoryStore, ids};
use crate::access::Queues;
use crate::engine::audit::{Action, Actor, Audited};
use crate::engine::spec::TaskSpec;
use crate::engine::{AttemptId, TaskId, Time};
use crate::store::StoreError;
use crate::store::reader::{AuditFilter, AuditRecord, Delivery, Reader, TaskFilter, TaskRecord};

impl Reader for MemoryStore {
    fn list(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>, StoreError> {
        let kept = self.kept();
        let submissions = kept.submissions.values();
        let mut all: Vec<TaskId> = submissions.flat_map(|(one, _)| ids(one)).collect();
        if filter.newest {
            all.reverse();
        }
        let is_after = |task: &TaskId, after| (*task > after) != filter.newest && *task != after;
        Ok(all
            .into_iter()
            .filter(|task| filter.after.is_none_or(|after| is_after(task, after)))
            .filter_map(|task| kept.record(task))
            .filter(|record| filter.states.is_empty() || filter.states.contains(&record.state))
            .filter(|record| is_below(&record.submission.spec.queue, filter.queue.as_deref()))
            .filter(|record| is_visible(&record.submission.spec, filter.visible.as_ref()))
            .filter(|record| holds(&record.submission.spec, filter.search.as_deref()))
            .take(filter.limit)
            .map(brief)
            .collect())
    }

    fn find(&self, task: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        Ok(self.kept().record(task))
    }

    fn inbox(
        &self,
        inbox: &str,
        visible: Option<&Queues>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let kept = self.kept();
        let own = kept.inbox.iter().filter(|(_, (name, _))| &**name == inbox);
        Ok(own
            .filter(|(_, (_, record))| is_visible(&record.submission.spec, visible))
            .take(limit)
            .map(|(token, (_, record))| Delivery {
                token: *token,
                record: record.clone(),
            })
            .collect())
    }

    fn deliveries_until(
        &self,
        inbox: &str,
        visible: &Queues,
        upto: u64,
        limit: usize,
    ) -> Result<Vec<u64>, StoreError> {
        let deliveries = self.inbox(inbox, Some(visible), limit)?;
        let tokens = deliveries.iter().map(|delivery| delivery.token);
        Ok(tokens.filter(|token| *token <= upto).collect())
    }

    fn inboxes(&self, limit: usize) -> Result<Vec<(String, Time)>, StoreError> {
        let kept = self.kept();
        let mut oldest: BTreeMap<String, Time> = BTreeMap::new();
        for (name, record) in kept.inbox.values() {
            let ended_at = record.ended_at.unwrap_or_default();
            oldest.entry(name.to_string()).or_insert(ended_at);
        }
        Ok(oldest.into_iter().take(limit).collect())
    }

    fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRecord>, StoreError> {
        let kept = self.kept();
        let entries = kept.audit.iter().enumerate().rev();
        let records = entries.map(|(place, entry)| AuditRecord {
            seq: place as u64 + 1,
            entry: entry.clone(),
        });
        let is_of = |entry: &Audited, task: TaskId| {
            let tells = |(first, count): (TaskId, u32)| {
                (first.0..first.0 + u64::from(count)).contains(&task.0)
            };
            entry.tasks.is_some_and(tells)
        };
        Ok(records
            .filter(|record| filter.before.is_none_or(|before| record.seq < before))
            .filter(|record| filter.task.is_none_or(|task| is_of(&record.entry, task)))
            .filter(|record| {
                let by = filter.by.as_deref();
                by.is_none_or(|by| record.entry.actor.token.as_deref() == Some(by))
            })
            .take(filter.limit)
            .collect())
    }

    fn submitter(&self, task: TaskId) -> Result<Option<Actor>, StoreError> {
        let filter = AuditFilter {
            task: Some(task),
            limit: usize::MAX,
            ..AuditFilter::default()
        };
        let entries = self.audit(&filter)?.into_iter().map(|record| record.entry);
        let mut submissions = entries.filter(|entry| entry.action == Action::Submitted);
        Ok(submissions.next().map(|entry| entry.actor))
    }

    fn is_value_wanted(&self, attempt: AttemptId) -> Result<bool, StoreError> {
        let kept = self.kept();
        let shows = |record: &TaskRecord| {
            let file = record
                .outcome
                .as_ref()
                .and_then(|outcome| outcome.value.file);
            record.task == attempt.task && file.is_some_and(|file| file.attempt == attempt.number)
        };
        let is_live = |record: &TaskRecord| {
            let mut attempts = record.attempts.iter();
            attempts.any(|known| known.attempt == attempt && known.ended_at.is_none())
        };
        let is_delivered = kept.inbox.values().any(|(_, record)| shows(record));
        let record = kept.record(attempt.task);
        Ok(is_delivered || record.is_some_and(|record| shows(&record) || is_live(&record)))
    }
}

fn holds(spec: &TaskSpec, text: Option<&str>) -> bool {
    let Some(text) = text.map(str::to_ascii_lowercase) else {
        return true;
    };
    let mut places = [Some(&*spec.name), spec.key.as_deref()]
        .into_iter()
        .flatten();
    places.any(|place| place.to_ascii_lowercase().contains(&text))
}

fn is_visible(spec: &TaskSpec, visible: Option<&Queues>) -> bool {
    visible.is_none_or(|visible| visible.contains(&spec.queue))
}

fn is_below(queue: &str, root: Option<&str>) -> bool {
    let Some(root) = root else { return true };
    queue
        .strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a list shows of a task: no value, only the last attempt.
fn brief(mut record: TaskRecord) -> TaskRecord {
    if let Some(outcome) = &mut record.outcome {
        outcome.value.bytes = Arc::default();
    }
    let last = record.n_attempts;
    record
        .attempts
        .retain(|attempt| attempt.attempt.number == last);
    record
}
