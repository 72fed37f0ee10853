//! Lists of tasks in order of ids, at a cost that depends on the length of the page and on the number of
//! queues it is taken from, and not on how many tasks there are.
//!
//! Without a filter, the ids come from the submissions. With one, they come from the two places that are
//! indexed by queue and state: the rows of tasks, and the ranges of those that have no row. Only a search for a text
//! reads all submissions behind where it begins.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::codec::int;
use super::reader::{Detail, Records};
use super::search;
use crate::engine::{TaskId, TaskState};
use crate::store::reader::{TaskFilter, TaskRecord};

/// A page of tasks.
pub(super) fn list(
    connection: &Connection,
    filter: &TaskFilter,
) -> rusqlite::Result<Vec<TaskRecord>> {
    let mut records = Records::new(connection);
    let mut page = Vec::new();
    let mut after = filter.after.map_or(0, |after| int(after.0));
    while page.len() < filter.limit {
        let wanted = filter.limit - page.len();
        let ids = if let Some(text) = &filter.search {
            search::matching_ids(connection, filter, text, after, wanted)?
        } else if filter.queue.is_none() && filter.states.is_empty() {
            all_ids(connection, after, wanted)?
        } else {
            Page::new(after, wanted).filtered(connection, filter)?
        };
        for id in &ids {
            page.extend(records.find(TaskId(id.unsigned_abs()), Detail::Brief)?);
        }
        let Some(last) = ids.last().filter(|_| ids.len() == wanted) else {
            break;
        };
        // Some of the ids may be of forgotten tasks whose rows are not swept yet: go on behind those.
        after = forgotten_until(connection, *last)?.unwrap_or(*last);
    }
    Ok(page)
}

/// The end of the range of forgotten ids that holds this one.
fn forgotten_until(connection: &Connection, id: i64) -> rusqlite::Result<Option<i64>> {
    let range = connection
        .prepare_cached("SELECT last FROM forgotten WHERE first <= ?1 ORDER BY first DESC LIMIT 1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    Ok(range.filter(|last| id <= *last))
}

/// The first `limit` ids above `after`.
fn all_ids(connection: &Connection, after: i64, limit: usize) -> rusqlite::Result<Vec<i64>> {
    let mut query = connection.prepare_cached(
        "SELECT first, count FROM submissions \
         WHERE first >= coalesce((SELECT max(first) FROM submissions WHERE first <= ?1 + 1), 0) \
         ORDER BY first LIMIT ?2 + 1",
    )?;
    let mut rows = query.query(params![after, int(limit as u64)])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        let (first, count): (i64, i64) = (row.get(0)?, row.get(1)?);
        let missing = limit - ids.len();
        ids.extend((first.max(after + 1)..first + count).take(missing));
        if ids.len() == limit {
            break;
        }
    }
    Ok(ids)
}

/// The least `limit` ids above `after` that were met so far.
struct Page {
    after: i64,
    limit: usize,
    ids: BTreeSet<i64>,
}

impl Page {
    fn new(after: i64, limit: usize) -> Self {
        Self {
            after,
            limit,
            ids: BTreeSet::new(),
        }
    }

    /// Only ids below this can still be on the page.
    fn bound(&self) -> i64 {
        match self.ids.last() {
            Some(last) if self.ids.len() >= self.limit => *last,
            _ => i64::MAX,
        }
    }

    fn add(&mut self, id: i64) {
        self.ids.insert(id);
        if self.ids.len() > self.limit {
            self.ids.pop_last();
        }
    }

    /// Fills the page from every queue and state that is asked for.
    fn filtered(
        mut self,
        connection: &Connection,
        filter: &TaskFilter,
    ) -> rusqlite::Result<Vec<i64>> {
        let all = &TaskState::ALL[..];
        let states = if filter.states.is_empty() {
            all
        } else {
            &filter.states
        };
        for queue in queues(connection, filter.queue.as_deref())? {
            for state in states {
                self.add_rows(connection, &queue, *state)?;
                // Only these can be the state in which a task was submitted.
                if matches!(state, TaskState::Waiting | TaskState::Queued) {
                    self.add_unstarted(connection, &queue, *state)?;
                }
            }
        }
        Ok(self.ids.into_iter().collect())
    }

    fn add_rows(
        &mut self,
        connection: &Connection,
        queue: &str,
        state: TaskState,
    ) -> rusqlite::Result<()> {
        let mut query = connection.prepare_cached(
            "SELECT id FROM tasks INDEXED BY tasks_by_queue \
             WHERE queue = ?1 AND state = ?2 AND id > ?3 AND id < ?4 ORDER BY id LIMIT ?5",
        )?;
        let mut rows = query.query(params![
            queue,
            state.as_str(),
            self.after,
            self.bound(),
            int(self.limit as u64)
        ])?;
        while let Some(row) = rows.next()? {
            self.add(row.get(0)?);
        }
        Ok(())
    }

    fn add_unstarted(
        &mut self,
        connection: &Connection,
        queue: &str,
        state: TaskState,
    ) -> rusqlite::Result<()> {
        let mut query = connection.prepare_cached(
            "SELECT first, last FROM unstarted WHERE queue = ?1 AND state = ?2 AND first < ?4 \
             AND first >= coalesce((SELECT max(first) FROM unstarted \
                                    WHERE queue = ?1 AND state = ?2 AND first <= ?3 + 1), 0) \
             ORDER BY first LIMIT ?5 + 1",
        )?;
        let mut rows = query.query(params![
            queue,
            state.as_str(),
            self.after,
            self.bound(),
            int(self.limit as u64)
        ])?;
        while let Some(row) = rows.next()? {
            let (first, last): (i64, i64) = (row.get(0)?, row.get(1)?);
            for id in first.max(self.after + 1)..=last {
                if id >= self.bound() {
                    break;
                }
                self.add(id);
            }
        }
        Ok(())
    }
}

/// The queues of a subtree (of the whole tree for `None`) that have tasks, found by skipping from one to
/// the next in the indexes.
fn queues(connection: &Connection, root: Option<&str>) -> rusqlite::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    // In byte order, everything below `a/b` stands between `a/b/` and `a/b0`.
    let (mut from, to) = match root {
        Some(root) => {
            found.insert(root.to_owned());
            (format!("{root}/"), Some(format!("{root}0")))
        }
        None => (String::new(), None),
    };
    let mut next = connection.prepare_cached(
        "SELECT min(queue) FROM (SELECT min(queue) AS queue FROM tasks WHERE queue > ?1 \
         UNION ALL SELECT min(queue) FROM unstarted WHERE queue > ?1)",
    )?;
    loop {
        let queue: Option<String> = next.query_row([&from], |row| row.get(0))?;
        match queue {
            Some(queue) if to.as_ref().is_none_or(|to| queue < *to) => {
                from.clone_from(&queue);
                found.insert(queue);
            }
            _ => return Ok(found),
        }
    }
}
