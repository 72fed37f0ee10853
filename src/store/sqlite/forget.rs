//! Retention: rows of tasks that are not kept any longer go, a bounded number with each commit.

use rusqlite::{OptionalExtension, Transaction};

use super::audit;
use super::codec::int;
use crate::engine::TaskId;

/// How many ids a commit sweeps at most: a few milliseconds' work, so that forgetting an array of a
/// million tasks holds nobody up.
const SWEEP_MAX: i64 = 2000;

/// Takes submissions out of sight, keys too; their tasks' rows are left to [`sweep`].
///
/// A submission that still has live tasks is left alone: what is live is never dropped.
pub(super) fn mark(transaction: &Transaction<'_>, firsts: &[TaskId]) -> rusqlite::Result<()> {
    let mut find =
        transaction.prepare_cached("SELECT first + count - 1 FROM submissions WHERE first = ?1")?;
    let mut is_live = transaction.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM tasks INDEXED BY tasks_live \
                        WHERE id BETWEEN ?1 AND ?2 AND ended_at IS NULL) \
             OR EXISTS (SELECT 1 FROM submissions AS s JOIN unstarted AS u \
                        ON u.queue = s.queue AND u.state = s.state AND u.first BETWEEN ?1 AND ?2 \
                        WHERE s.first = ?1)",
    )?;
    let mut delete = transaction.prepare_cached("DELETE FROM submissions WHERE first = ?1")?;
    let mut insert =
        transaction.prepare_cached("INSERT INTO forgotten(first, last) VALUES (?1, ?2)")?;
    for first in firsts {
        let first = int(first.0);
        let Some(last) = find
            .query_row([first], |row| row.get::<_, i64>(0))
            .optional()?
        else {
            continue;
        };
        if is_live.query_row([first, last], |row| row.get(0))? {
            continue;
        }
        delete.execute([first])?;
        insert.execute([first, last])?;
        audit::forget_tasks(transaction, first, last)?;
    }
    Ok(())
}

/// Deletes rows of forgotten tasks, at most [`SWEEP_MAX`] tasks. Says whether there are more.
pub(super) fn sweep(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    let mut next =
        transaction.prepare_cached("SELECT first, last FROM forgotten ORDER BY first LIMIT 1")?;
    let mut left = SWEEP_MAX;
    while left > 0 {
        let range = next
            .query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
            .optional()?;
        let Some((first, last)) = range else {
            return Ok(false);
        };
        let end = last.min(first + left - 1);
        for table in [
            "DELETE FROM tasks WHERE id BETWEEN ?1 AND ?2",
            "DELETE FROM attempts WHERE task BETWEEN ?1 AND ?2",
            "DELETE FROM inbox WHERE task BETWEEN ?1 AND ?2",
        ] {
            transaction.prepare_cached(table)?.execute([first, end])?;
        }
        transaction
            .prepare_cached("DELETE FROM forgotten WHERE first = ?1")?
            .execute([first])?;
        if end < last {
            transaction
                .prepare_cached("INSERT INTO forgotten(first, last) VALUES (?1, ?2)")?
                .execute([end + 1, last])?;
        }
        left -= end - first + 1;
    }
    Ok(true)
}
