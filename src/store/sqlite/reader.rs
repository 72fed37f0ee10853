//! Reads beside the writer: a few read-only connections, each call in one snapshot of the last commit.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row};

use super::audit;
use super::codec::{self, OUTCOME_COLUMNS, SUBMISSION_COLUMNS, Shared, count, int, time_option};
use super::error::classify;
use super::listing;
use super::open::{BUSY_WAIT, STATEMENTS_MAX};
use crate::access::Queues;
use crate::engine::audit::Actor;
use crate::engine::request::StoredTask;
use crate::engine::{AttemptId, Outcome, Submission, TaskId, TaskState, Time};
use crate::store::StoreError;
use crate::store::reader::{
    AttemptRecord, AuditFilter, AuditRecord, Delivery, Reader, TaskFilter, TaskRecord,
};

/// How many idle connections are kept. More calls than this at once open connections for themselves.
const IDLE_MAX: usize = 8;

/// Reads the database; shared by all threads, without ever waiting for the writer.
#[derive(Debug)]
pub struct SqliteReader {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl SqliteReader {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// How many ids from this one on belong to no task that is known (any more): up to the next that is,
    /// or the next to be given.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn count_unknown(&self, first: TaskId) -> Result<u64, StoreError> {
        let next = self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT coalesce((SELECT min(first) FROM submissions WHERE first >= ?1), \
                     (SELECT value FROM meta WHERE name = 'next_id'))",
                )?
                .query_row([int(first.0)], |row| count(row, 0))
        })?;
        Ok(next.saturating_sub(first.0))
    }

    /// Runs `read` on a connection of its own, in one snapshot.
    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.try_read(read)
            .map_err(|error| classify(&self.path, &error))
    }

    fn try_read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let connection = idle.map_or_else(|| self.connect(), Ok)?;
        let transaction = connection.unchecked_transaction()?;
        let found = read(&transaction)?;
        transaction.finish()?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
        Ok(found)
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_WAIT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(connection)
    }
}

impl Reader for SqliteReader {
    fn list(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>, StoreError> {
        self.read(|connection| listing::list(connection, filter))
    }

    fn find(&self, task: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        self.read(|connection| Records::new(connection).find(task, Detail::Full))
    }

    fn inbox(
        &self,
        inbox: &str,
        visible: Option<&Queues>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        self.read(|connection| deliveries(connection, inbox, visible, limit))
    }

    fn deliveries_until(
        &self,
        inbox: &str,
        visible: &Queues,
        upto: u64,
        limit: usize,
    ) -> Result<Vec<u64>, StoreError> {
        self.read(|connection| deliveries_until(connection, inbox, visible, upto, limit))
    }

    fn inboxes(&self, limit: usize) -> Result<Vec<(String, Time)>, StoreError> {
        self.read(|connection| inboxes(connection, limit))
    }

    fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRecord>, StoreError> {
        self.read(|connection| audit::list(connection, filter))
    }

    fn submitter(&self, task: TaskId) -> Result<Option<Actor>, StoreError> {
        self.read(|connection| audit::submitter(connection, task))
    }

    fn is_value_wanted(&self, attempt: AttemptId) -> Result<bool, StoreError> {
        self.read(|connection| is_value_wanted(connection, attempt))
    }
}

/// The inboxes with something in them, found by skipping from one to the next in the index.
fn inboxes(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<(String, Time)>> {
    let mut next = connection.prepare_cached(
        "SELECT i.inbox, coalesce(i.ended_at, t.ended_at, 0) FROM inbox i LEFT JOIN tasks t ON t.id = i.task \
         WHERE i.inbox > ?1 ORDER BY i.inbox, i.seq LIMIT 1",
    )?;
    let mut found: Vec<(String, Time)> = Vec::new();
    while found.len() < limit {
        let from = found.last().map_or("", |(name, _)| name.as_str());
        let row = next.query_row([from], |row| {
            let ended_at: i64 = row.get(1)?;
            Ok((row.get(0)?, Time(ended_at.unsigned_abs())))
        });
        match row.optional()? {
            Some(inbox) => found.push(inbox),
            None => break,
        }
    }
    Ok(found)
}

/// How much of a task is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// For a list: no value, only the last attempt.
    Brief,
    /// All there is.
    Full,
}

/// What the row of a task says.
struct TaskRow {
    state: TaskState,
    n_attempts: u32,
    not_before: Option<Time>,
    ended_at: Option<Time>,
    outcome: Option<Outcome>,
}

/// Puts records together from rows. Tasks of one submission asked for one after the other share it.
pub(super) struct Records<'a> {
    connection: &'a Connection,
    shared: Shared,
    /// The submission of the last task, and the state of those of its tasks that have no row.
    last: Option<(Arc<Submission>, TaskState)>,
}

impl<'a> Records<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        Self {
            connection,
            shared: Shared::default(),
            last: None,
        }
    }

    /// One task; `None` if it isn't known (any more).
    pub(super) fn find(
        &mut self,
        task: TaskId,
        detail: Detail,
    ) -> rusqlite::Result<Option<TaskRecord>> {
        let Some((submission, first_state)) = self.submission(task)? else {
            return Ok(None);
        };
        let row = self.task_row(task, detail)?.unwrap_or(TaskRow {
            state: first_state,
            n_attempts: 0,
            not_before: None,
            ended_at: None,
            outcome: None,
        });
        Ok(Some(self.record(task, submission, row, detail)?))
    }

    fn record(
        &mut self,
        task: TaskId,
        submission: Arc<Submission>,
        row: TaskRow,
        detail: Detail,
    ) -> rusqlite::Result<TaskRecord> {
        let from = match detail {
            Detail::Brief => row.n_attempts,
            Detail::Full => 1,
        };
        Ok(TaskRecord {
            task,
            submission,
            state: row.state,
            n_attempts: row.n_attempts,
            ended_at: row.ended_at,
            outcome: row.outcome,
            not_before: row.not_before,
            attempts: self.attempts(task, from, row.n_attempts)?,
        })
    }

    fn submission(
        &mut self,
        task: TaskId,
    ) -> rusqlite::Result<Option<(Arc<Submission>, TaskState)>> {
        if let Some((submission, state)) = &self.last
            && (submission.first..submission.end()).contains(&task)
        {
            return Ok(Some((Arc::clone(submission), *state)));
        }
        let mut query = self.connection.prepare_cached(&format!(
            "SELECT {SUBMISSION_COLUMNS}, state FROM submissions WHERE first <= ?1 ORDER BY first DESC LIMIT 1"
        ))?;
        let shared = &mut self.shared;
        let found = query
            .query_row([int(task.0)], |row| {
                let state = codec::state(row.get_ref(18)?.as_str()?)?;
                Ok((Arc::new(codec::submission(row, shared)?), state))
            })
            .optional()?
            .filter(|(submission, _)| task < submission.end());
        self.last.clone_from(&found);
        Ok(found)
    }

    fn task_row(&self, task: TaskId, detail: Detail) -> rusqlite::Result<Option<TaskRow>> {
        let value = match detail {
            Detail::Brief => "NULL",
            Detail::Full => "value",
        };
        self.connection
            .prepare_cached(&format!(
                "SELECT state, n_attempts, not_before, ended_at, {OUTCOME_COLUMNS}, {value} FROM tasks WHERE id = ?1"
            ))?
            .query_row([int(task.0)], task_row)
            .optional()
    }

    /// The attempts with these numbers, oldest first.
    fn attempts(
        &mut self,
        task: TaskId,
        from: u32,
        to: u32,
    ) -> rusqlite::Result<Vec<AttemptRecord>> {
        let shared = &mut self.shared;
        self.connection
            .prepare_cached(
                "SELECT number, agent, launched_at, started_at, ended_at, ending, ending_detail, wall_us, cpu_us, \
                 memory_peak_bytes FROM attempts WHERE task = ?1 AND number BETWEEN ?2 AND ?3 ORDER BY number",
            )?
            .query_map((int(task.0), from, to), |row| attempt(row, task, shared))?
            .collect()
    }
}

/// Reads state, number of attempts, pause, end, [`OUTCOME_COLUMNS`] and value.
fn task_row(row: &Row<'_>) -> rusqlite::Result<TaskRow> {
    let state = codec::state(row.get_ref(0)?.as_str()?)?;
    let kind = codec::state_kind(state);
    Ok(TaskRow {
        state,
        n_attempts: row.get(1)?,
        not_before: time_option(row, 2)?,
        ended_at: time_option(row, 3)?,
        outcome: kind.map(|kind| codec::outcome(row, 4, kind)).transpose()?,
    })
}

fn attempt(row: &Row<'_>, task: TaskId, shared: &mut Shared) -> rusqlite::Result<AttemptRecord> {
    let ended_at = time_option(row, 4)?;
    let end = match row.get_ref(5)?.as_str_or_null()? {
        Some(word) => Some(codec::read_end(word, row.get_ref(6)?.as_str_or_null()?)?),
        None => None,
    };
    Ok(AttemptRecord {
        attempt: AttemptId {
            task,
            number: row.get(0)?,
        },
        agent: shared.name(row.get_ref(1)?.as_str()?),
        launched_at: Time(count(row, 2)?),
        started_at: time_option(row, 3)?,
        ended_at,
        end,
        usage: ended_at.map(|_| codec::usage(row, 7)).transpose()?,
    })
}

fn deliveries(
    connection: &Connection,
    inbox: &str,
    visible: Option<&Queues>,
    limit: usize,
) -> rusqlite::Result<Vec<Delivery>> {
    let mut records = Records::new(connection);
    let mut query = connection.prepare_cached(&format!(
        "SELECT state, n_attempts, NULL, ended_at, {OUTCOME_COLUMNS}, value, seq, task \
         FROM inbox WHERE inbox = ?1 ORDER BY seq"
    ))?;
    let mut rows = query.query([inbox])?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(row) = rows.next()?
    {
        let (token, task) = (count(row, 14)?, TaskId(count(row, 15)?));
        // Forgotten tasks' deliveries are on their way out.
        let Some((submission, _)) = records.submission(task)? else {
            continue;
        };
        if visible.is_some_and(|visible| !visible.contains(&submission.spec.queue)) {
            continue;
        }
        let was_retried = time_option(row, 3)?.is_some();
        let record = if was_retried {
            let row = task_row(row)?;
            Some(records.record(task, submission, row, Detail::Full)?)
        } else {
            records.find(task, Detail::Full)?
        };
        found.extend(record.map(|record| Delivery { token, record }));
    }
    Ok(found)
}

/// The numbers of the deliveries up to this one that are of tasks of these queues.
fn deliveries_until(
    connection: &Connection,
    inbox: &str,
    visible: &Queues,
    upto: u64,
    limit: usize,
) -> rusqlite::Result<Vec<u64>> {
    let mut query = connection.prepare_cached(
        "SELECT i.seq, t.queue FROM inbox i JOIN tasks t ON t.id = i.task \
         WHERE i.inbox = ?1 AND i.seq <= ?2 ORDER BY i.seq",
    )?;
    let mut rows = query.query((inbox, int(upto)))?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(row) = rows.next()?
    {
        if visible.contains(row.get_ref(1)?.as_str()?) {
            found.push(count(row, 0)?);
        }
    }
    Ok(found)
}

/// Whether a row tells of the value, or the attempt has not ended, so that one still may.
fn is_value_wanted(connection: &Connection, attempt: AttemptId) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM tasks WHERE id = ?1 AND value_attempt = ?2) \
                 OR EXISTS (SELECT 1 FROM inbox WHERE task = ?1 AND value_attempt = ?2) \
                 OR EXISTS (SELECT 1 FROM attempts WHERE task = ?1 AND number = ?2 AND ended_at IS NULL)",
        )?
        .query_row((int(attempt.task.0), attempt.number), |row| row.get(0))
}

/// What a retry by hand needs to know of a task that has ended.
pub(super) fn find_ended(
    connection: &Connection,
    task: TaskId,
) -> rusqlite::Result<Option<StoredTask>> {
    let record = Records::new(connection).find(task, Detail::Brief)?;
    Ok(record
        .filter(|record| record.state.is_ended())
        .map(|record| StoredTask {
            submission: record.submission,
            state: record.state,
            n_attempts: record.n_attempts,
        }))
}
