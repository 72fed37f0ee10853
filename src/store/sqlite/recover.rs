//! Rows to the facts that bring a new engine to where the last commit left it.

use std::iter;

use apportion_policies::Amount;
use rusqlite::{Connection, OptionalExtension, Row};

use super::codec::{self, SUBMISSION_COLUMNS, Shared, count, time_option};
use super::error::unreadable;
use crate::engine::fact::{LiveAttempt, LiveTask};
use crate::engine::{Fact, PastUse, TaskId, TaskState, Time};

/// The submissions that have a live task: one without a row of its own, or one whose row is live.
const LIVE_SUBMISSIONS: &str = "SELECT submission FROM unstarted \
     UNION SELECT submission FROM tasks INDEXED BY tasks_live WHERE ended_at IS NULL";

/// Gives all facts in the order that [`crate::store::Store::recover`] states.
pub(super) fn recover(connection: &Connection, fold: &mut dyn FnMut(Fact)) -> rusqlite::Result<()> {
    ended(connection, fold)?;
    keys(connection, fold)?;
    submissions(connection, fold)?;
    live_tasks(connection, fold)?;
    outside(connection, fold)?;
    backend_notes(connection, fold)?;
    let next: i64 =
        connection.query_row("SELECT value FROM meta WHERE name = 'next_id'", [], |row| {
            row.get(0)
        })?;
    let next = u64::try_from(next).map_err(|_| unreadable("next_id", next.to_string()))?;
    fold(Fact::RestoredNextId(TaskId(next)));
    Ok(())
}

/// What attempts held that ended after a time.
pub(super) fn past_use(
    connection: &Connection,
    since: Time,
    tell: &mut dyn FnMut(PastUse),
) -> rusqlite::Result<()> {
    let mut query = connection.prepare(
        "SELECT submissions.queue, submissions.demand, attempts.launched_at, attempts.ended_at \
         FROM attempts JOIN tasks ON tasks.id = attempts.task \
         JOIN submissions ON submissions.first = tasks.submission WHERE attempts.ended_at > ?1",
    )?;
    let since = i64::try_from(since.0).unwrap_or(i64::MAX);
    let mut rows = query.query([since])?;
    let mut shared = Shared::default();
    while let Some(row) = rows.next()? {
        tell(PastUse {
            queue: shared.name(row.get_ref(0)?.as_str()?),
            demand: shared.demand(row.get_ref(1)?.as_str()?)?,
            from: Time(count(row, 2)?),
            to: Time(count(row, 3)?),
        });
    }
    Ok(())
}

/// The ended tasks, read from an index and not from the rows, which hold their values. Those whose
/// submission is forgotten are on their way out.
fn ended(connection: &Connection, fold: &mut dyn FnMut(Fact)) -> rusqlite::Result<()> {
    let mut query = connection.prepare("SELECT first, last FROM forgotten ORDER BY first")?;
    let forgotten = query
        .query_map([], |row| Ok((count(row, 0)?, count(row, 1)?)))?
        .collect::<rusqlite::Result<Vec<(u64, u64)>>>()?;
    let is_forgotten = |id: u64| {
        let place = forgotten.partition_point(|(first, _)| *first <= id);
        place > 0 && id <= forgotten[place - 1].1
    };
    let mut query = connection
        .prepare("SELECT id, submission, state, ended_at FROM tasks INDEXED BY tasks_by_queue WHERE ended_at IS NOT NULL")?;
    let mut rows = query.query([])?;
    let mut tasks = Vec::new();
    while let Some(row) = rows.next()? {
        let id = count(row, 0)?;
        if !is_forgotten(id) {
            let state = codec::state(row.get_ref(2)?.as_str()?)?;
            tasks.push((id, count(row, 1)?, state, Time(count(row, 3)?)));
        }
    }
    tasks.sort_unstable();
    for (id, first, state, at) in tasks {
        fold(Fact::RestoredEnded {
            task: TaskId(id),
            first: TaskId(first),
            state,
            at,
        });
    }
    Ok(())
}

fn keys(connection: &Connection, fold: &mut dyn FnMut(Fact)) -> rusqlite::Result<()> {
    let mut query = connection.prepare(
        "SELECT key, first, count, digest FROM submissions WHERE key IS NOT NULL ORDER BY first",
    )?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        fold(Fact::RestoredKey {
            key: row.get_ref(0)?.as_str()?.into(),
            first: TaskId(count(row, 1)?),
            count: row.get(2)?,
            digest: row.get(3)?,
        });
    }
    Ok(())
}

fn submissions(connection: &Connection, fold: &mut dyn FnMut(Fact)) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT {SUBMISSION_COLUMNS}, state FROM submissions WHERE first IN ({LIVE_SUBMISSIONS}) ORDER BY first"
    );
    let mut query = connection.prepare(&sql)?;
    let mut rows = query.query([])?;
    let mut shared = Shared::default();
    while let Some(row) = rows.next()? {
        let submission = codec::submission(row, &mut shared)?;
        let state = codec::state(row.get_ref(18)?.as_str()?)?;
        fold(Fact::Submitted {
            submission: submission.into(),
            waiting: state == TaskState::Waiting,
        });
    }
    Ok(())
}

/// What became of the tasks of live submissions, and the attempts that outlive their tasks.
fn live_tasks(connection: &Connection, fold: &mut dyn FnMut(Fact)) -> rusqlite::Result<()> {
    let mut query = connection.prepare(
        "SELECT task, number, agent, launched_at, timed_out_at FROM attempts INDEXED BY attempts_live \
         WHERE ended_at IS NULL ORDER BY task, number",
    )?;
    let mut shared = Shared::default();
    let mut attempts = query
        .query_map([], |row| {
            Ok((count(row, 0)?, live_attempt(row, &mut shared)?))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?
        .into_iter()
        .peekable();
    let mut query = connection.prepare(
        "SELECT id, state, n_attempts, n_failures, n_losses, not_before, cancel_reason \
         FROM tasks INDEXED BY tasks_live WHERE ended_at IS NULL ORDER BY id",
    )?;
    let mut rows = query.query([])?;
    let mut dying = Vec::new();
    while let Some(row) = rows.next()? {
        let id = count(row, 0)?;
        dying.extend(iter::from_fn(|| attempts.next_if(|(task, _)| *task < id)));
        let own = iter::from_fn(|| attempts.next_if(|(task, _)| *task == id));
        let own = own.map(|(_, attempt)| attempt).collect();
        let reason: Option<String> = row.get(6)?;
        fold(Fact::Restored(LiveTask {
            task: TaskId(id),
            state: codec::state(row.get_ref(1)?.as_str()?)?,
            n_attempts: row.get(2)?,
            n_failures: row.get(3)?,
            n_losses: row.get(4)?,
            not_before: time_option(row, 5)?.unwrap_or_default(),
            cancel_reason: reason.map(Into::into),
            attempts: own,
        }));
    }
    dying.extend(attempts);
    dying_attempts(connection, dying, &mut shared, fold)
}

/// Attempts of tasks that have ended. Where the submission is forgotten, the attempts are on their way out, too.
fn dying_attempts(
    connection: &Connection,
    attempts: Vec<(u64, LiveAttempt)>,
    shared: &mut Shared,
    fold: &mut dyn FnMut(Fact),
) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT {SUBMISSION_COLUMNS} FROM submissions WHERE first = (SELECT submission FROM tasks WHERE id = ?1)"
    );
    let mut query = connection.prepare(&sql)?;
    for (task, attempt) in attempts {
        let submission = query
            .query_row([codec::int(task)], |row| codec::submission(row, shared))
            .optional()?;
        if let Some(submission) = submission {
            fold(Fact::RestoredDying {
                submission: submission.into(),
                task: TaskId(task),
                attempt,
            });
        }
    }
    Ok(())
}

fn live_attempt(row: &Row<'_>, shared: &mut Shared) -> rusqlite::Result<LiveAttempt> {
    Ok(LiveAttempt {
        number: row.get(1)?,
        agent: shared.name(row.get_ref(2)?.as_str()?),
        launched_at: Time(count(row, 3)?),
        timed_out: time_option(row, 4)?.is_some(),
    })
}

fn backend_notes(connection: &Connection, fold: &mut dyn FnMut(Fact)) -> rusqlite::Result<()> {
    let mut query = connection.prepare("SELECT name, value FROM backend_notes ORDER BY name")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        fold(Fact::BackendNoted {
            name: row.get_ref(0)?.as_str()?.into(),
            value: Some(row.get_ref(1)?.as_str()?.into()),
        });
    }
    Ok(())
}

fn outside(connection: &Connection, fold: &mut dyn FnMut(Fact)) -> rusqlite::Result<()> {
    let mut query =
        connection.prepare("SELECT resource, used_milli, at FROM outside ORDER BY resource")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let milli = count(row, 1)?;
        let used =
            Amount::from_milli(milli).ok_or_else(|| unreadable("used_milli", milli.to_string()))?;
        let resource = row.get_ref(0)?.as_str()?.into();
        fold(Fact::OutsideReported {
            resource,
            used,
            at: Time(count(row, 2)?),
        });
    }
    Ok(())
}
