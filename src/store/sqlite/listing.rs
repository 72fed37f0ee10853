//! Lists of tasks in order of ids, the oldest or the newest first, at a cost that depends on the length of the page and on the number of
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
use crate::access::{Pattern, Queues};
use crate::engine::{TaskId, TaskState};
use crate::store::reader::{TaskFilter, TaskRecord};

/// A page of tasks.
pub(super) fn list(
    connection: &Connection,
    filter: &TaskFilter,
) -> rusqlite::Result<Vec<TaskRecord>> {
    let mut records = Records::new(connection);
    let mut page = Vec::new();
    let mut way = Way::new(filter);
    // Nothing has an id above the largest, and none can be counted beyond it.
    while way.low < i64::MAX && page.len() < filter.limit {
        let wanted = filter.limit - page.len();
        let ids = if let Some(text) = &filter.search {
            search::matching_ids(connection, filter, text, way, wanted)?
        } else if filter.queue.is_none() && filter.visible.is_none() && filter.states.is_empty() {
            all_ids(connection, way, wanted)?
        } else {
            Page::new(way, wanted).filtered(connection, filter)?
        };
        for id in &ids {
            page.extend(records.find(TaskId(id.unsigned_abs()), Detail::Brief)?);
        }
        let Some(last) = ids.last().filter(|_| ids.len() == wanted) else {
            break;
        };
        // Some of the ids may be of forgotten tasks whose rows are not swept yet: go on behind those.
        way.go_behind(forgotten_with(connection, *last)?.unwrap_or((*last, *last)));
    }
    Ok(page)
}

/// The range of forgotten ids that holds this one.
fn forgotten_with(connection: &Connection, id: i64) -> rusqlite::Result<Option<(i64, i64)>> {
    let range = connection
        .prepare_cached(
            "SELECT first, last FROM forgotten WHERE first <= ?1 ORDER BY first DESC LIMIT 1",
        )?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(range.filter(|(_, last)| id <= *last))
}

/// The ids that are left to look at, and in which order: those above `low` and below `high`.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) newest: bool,
    pub(super) low: i64,
    pub(super) high: i64,
}

impl Way {
    fn new(filter: &TaskFilter) -> Self {
        let after = filter.after.map(|after| int(after.0));
        let (low, high) = match (filter.newest, after) {
            (false, after) => (after.unwrap_or(0), i64::MAX),
            (true, after) => (0, after.unwrap_or(i64::MAX)),
        };
        Self {
            newest: filter.newest,
            low,
            high,
        }
    }

    /// The word for it in SQL.
    pub(super) fn order(self) -> &'static str {
        if self.newest { "DESC" } else { "ASC" }
    }

    /// Leaves all ids up to the end of this range.
    fn go_behind(&mut self, (first, last): (i64, i64)) {
        if self.newest {
            self.high = first;
        } else {
            self.low = last;
        }
    }

    /// The first `limit` ids of a range, in order.
    pub(super) fn ids_of(self, first: i64, last: i64, limit: usize) -> Vec<i64> {
        let (first, last) = (first.max(self.low + 1), last.min(self.high - 1));
        if self.newest {
            (first..=last).rev().take(limit).collect()
        } else {
            (first..=last).take(limit).collect()
        }
    }
}

/// The first `limit` ids on the way.
fn all_ids(connection: &Connection, way: Way, limit: usize) -> rusqlite::Result<Vec<i64>> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT first, count FROM submissions \
         WHERE first >= coalesce((SELECT max(first) FROM submissions WHERE first <= ?1 + 1), 0) AND first < ?2 \
         ORDER BY first {} LIMIT ?3 + 1",
        way.order()
    ))?;
    let mut rows = query.query(params![way.low, way.high, int(limit as u64)])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        let (first, count): (i64, i64) = (row.get(0)?, row.get(1)?);
        ids.extend(way.ids_of(first, first + count - 1, limit - ids.len()));
        if ids.len() == limit {
            break;
        }
    }
    Ok(ids)
}

/// The first `limit` ids on the way that were met so far.
struct Page {
    way: Way,
    limit: usize,
    ids: BTreeSet<i64>,
}

impl Page {
    fn new(way: Way, limit: usize) -> Self {
        Self {
            way,
            limit,
            ids: BTreeSet::new(),
        }
    }

    fn add(&mut self, id: i64) {
        self.ids.insert(id);
        if self.ids.len() > self.limit {
            self.pop();
        }
        if self.ids.len() == self.limit {
            // Only ids before the last one can still be on the page.
            if self.way.newest {
                self.way.low = self.ids.first().copied().unwrap_or(self.way.low);
            } else {
                self.way.high = self.ids.last().copied().unwrap_or(self.way.high);
            }
        }
    }

    fn pop(&mut self) {
        if self.way.newest {
            self.ids.pop_first();
        } else {
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
        for queue in wanted_queues(connection, filter)? {
            for state in states {
                self.add_rows(connection, &queue, *state)?;
                // Only these can be the state in which a task was submitted.
                if matches!(state, TaskState::Waiting | TaskState::Queued) {
                    self.add_unstarted(connection, &queue, *state)?;
                }
            }
        }
        let mut ids: Vec<i64> = self.ids.into_iter().collect();
        if self.way.newest {
            ids.reverse();
        }
        Ok(ids)
    }

    fn add_rows(
        &mut self,
        connection: &Connection,
        queue: &str,
        state: TaskState,
    ) -> rusqlite::Result<()> {
        let mut query = connection.prepare_cached(&format!(
            "SELECT id FROM tasks INDEXED BY tasks_by_queue \
             WHERE queue = ?1 AND state = ?2 AND id > ?3 AND id < ?4 ORDER BY id {} LIMIT ?5",
            self.way.order()
        ))?;
        let mut rows = query.query(params![
            queue,
            state.as_str(),
            self.way.low,
            self.way.high,
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
        let mut query = connection.prepare_cached(&format!(
            "SELECT first, last FROM unstarted WHERE queue = ?1 AND state = ?2 AND first < ?4 \
             AND first >= coalesce((SELECT max(first) FROM unstarted \
                                    WHERE queue = ?1 AND state = ?2 AND first <= ?3 + 1), 0) \
             ORDER BY first {} LIMIT ?5 + 1",
            self.way.order()
        ))?;
        let mut rows = query.query(params![
            queue,
            state.as_str(),
            self.way.low,
            self.way.high,
            int(self.limit as u64)
        ])?;
        while let Some(row) = rows.next()? {
            // What is before the last one on the page gets less with each id that is added.
            for id in self.way.ids_of(row.get(0)?, row.get(1)?, self.limit) {
                self.add(id);
            }
        }
        Ok(())
    }
}

/// The queues that have tasks and that the filter asks for.
fn wanted_queues(
    connection: &Connection,
    filter: &TaskFilter,
) -> rusqlite::Result<BTreeSet<String>> {
    let root = filter.queue.as_deref();
    let Some(visible) = filter.visible.as_ref().filter(|visible| !visible.are_all()) else {
        return queues(connection, root);
    };
    // Whichever is smaller is walked: the subtree, or what may be seen.
    let mut found = match root {
        Some(root) => queues(connection, Some(root))?,
        None => visible_queues(connection, visible)?,
    };
    found.retain(|queue| visible.contains(queue));
    Ok(found)
}

/// The queues in or around the parts that may be seen.
fn visible_queues(connection: &Connection, visible: &Queues) -> rusqlite::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for pattern in visible.patterns() {
        match pattern {
            Pattern::All => return queues(connection, None),
            Pattern::One(path) => {
                found.insert(path.to_string());
            }
            Pattern::Below(path) => found.append(&mut queues(connection, Some(path))?),
        }
    }
    Ok(found)
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
