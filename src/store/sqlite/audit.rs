//! The audit trail: entries are written with the facts that they tell of, and go with the tasks that they tell of.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params, params_from_iter};

use super::codec::{count, int, millis};
use super::error::unreadable;
use crate::engine::audit::{Action, Actor, Audited};
use crate::engine::{TaskId, Time};
use crate::store::reader::{AuditFilter, AuditRecord};

/// Writes one entry.
pub(super) fn write(transaction: &Transaction<'_>, entry: &Audited) -> rusqlite::Result<()> {
    let (task, count) = entry
        .tasks
        .map_or((0, 0), |(task, count)| (int(task.0), count));
    transaction
        .prepare_cached(
            "INSERT INTO audit(at, token, peer, action, task, count, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            millis(entry.at),
            entry.actor.token.as_deref(),
            entry.actor.peer.as_deref(),
            entry.action.as_str(),
            task,
            count,
            entry.detail.as_deref(),
        ])?;
    Ok(())
}

/// Forgets what tells of the tasks `first` to `last`, which are gone. An entry that tells of others too stays.
pub(super) fn forget_tasks(
    transaction: &Transaction<'_>,
    first: i64,
    last: i64,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM audit WHERE task BETWEEN ?1 AND ?2 AND action <> 'submitted'")?
        .execute([first, last])?;
    transaction
        .prepare_cached(
            "DELETE FROM audit WHERE seq = (SELECT seq FROM audit INDEXED BY audit_submitted \
                 WHERE action = 'submitted' AND task <= ?1 ORDER BY task DESC LIMIT 1) \
             AND NOT EXISTS (SELECT 1 FROM submissions \
                 WHERE submissions.first >= audit.task AND submissions.first < audit.task + audit.count)",
        )?
        .execute([first])?;
    Ok(())
}

/// Forgets what tells of no task and is older than this.
pub(super) fn forget_before(transaction: &Transaction<'_>, before: Time) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM audit WHERE task = 0 AND at < ?1")?
        .execute([millis(before)])?;
    Ok(())
}

/// The submission that a task came with.
const OF_SUBMISSION: &str = "seq = (SELECT seq FROM audit INDEXED BY audit_submitted \
    WHERE action = 'submitted' AND task <= ? ORDER BY task DESC LIMIT 1) AND task + count > ?";

/// Entries, the newest first.
pub(super) fn list(
    connection: &Connection,
    filter: &AuditFilter,
) -> rusqlite::Result<Vec<AuditRecord>> {
    let mut conditions = vec!["seq < ?".to_owned()];
    let mut values: Vec<Value> = vec![filter.before.map_or(i64::MAX, int).into()];
    if let Some(task) = filter.task {
        conditions.push(format!("(task = ? OR ({OF_SUBMISSION}))"));
        values.extend([int(task.0); 3].map(Value::from));
    }
    if let Some(by) = &filter.by {
        conditions.push("token = ?".to_owned());
        values.push(by.clone().into());
    }
    values.push(int(filter.limit as u64).into());
    let sql = format!(
        "SELECT seq, at, token, peer, action, task, count, detail FROM audit WHERE {} ORDER BY seq DESC LIMIT ?",
        conditions.join(" AND ")
    );
    connection
        .prepare_cached(&sql)?
        .query_map(params_from_iter(values), record)?
        .collect()
}

/// Who submitted a task; `None` where nothing is kept of that.
pub(super) fn submitter(connection: &Connection, task: TaskId) -> rusqlite::Result<Option<Actor>> {
    let sql = format!("SELECT token, peer FROM audit WHERE {OF_SUBMISSION}");
    connection
        .prepare_cached(&sql)?
        .query_row([int(task.0); 2], |row| {
            let text = |column| {
                Ok::<_, rusqlite::Error>(row.get::<_, Option<String>>(column)?.map(Into::into))
            };
            Ok(Actor {
                token: text(0)?,
                peer: text(1)?,
            })
        })
        .optional()
}

fn record(row: &Row<'_>) -> rusqlite::Result<AuditRecord> {
    let word = row.get_ref(4)?.as_str()?;
    let action = Action::ALL
        .into_iter()
        .find(|action| action.as_str() == word);
    let first = count(row, 5)?;
    Ok(AuditRecord {
        seq: count(row, 0)?,
        entry: Audited {
            at: Time(count(row, 1)?),
            actor: Actor {
                token: row.get::<_, Option<String>>(2)?.map(Into::into),
                peer: row.get::<_, Option<String>>(3)?.map(Into::into),
            },
            action: action.ok_or_else(|| unreadable("an action", word))?,
            tasks: (first > 0).then_some((TaskId(first), row.get(6)?)),
            detail: row.get::<_, Option<String>>(7)?.map(Into::into),
        },
    })
}
