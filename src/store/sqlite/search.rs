//! Lists of the tasks whose name or key holds a text. Names stand in the submissions, which are read through one after
//! the other; what they lead to is found by ids, so an array costs as much as a single task.

use rusqlite::{Connection, params_from_iter, types::Value};

use super::codec::int;
use crate::engine::TaskState;
use crate::store::reader::TaskFilter;

/// The first `limit` ids above `after` that the filter asks for, by a text among others.
pub(super) fn matching_ids(
    connection: &Connection,
    filter: &TaskFilter,
    text: &str,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Vec<i64>> {
    let states: &[TaskState] = match &filter.states[..] {
        [] => &TaskState::ALL,
        some => some,
    };
    let marks = vec!["?"; states.len()].join(", ");
    // Below `a/b` is what stands between `a/b/` and `a/b0`, in byte order.
    let queue = match filter.queue {
        Some(_) => "AND (s.queue = ? OR (s.queue > ? AND s.queue < ?))",
        None => "",
    };
    let submissions = format!(
        "submissions s WHERE s.first + s.count > ? \
         AND (instr(lower(s.name), ?) > 0 OR instr(lower(s.key), ?) > 0) {queue}"
    );
    let of_submission: Vec<Value> = {
        let text = text.to_ascii_lowercase();
        let mut values = vec![Value::from(after + 1), text.clone().into(), text.into()];
        if let Some(root) = &filter.queue {
            values.extend([root.clone(), format!("{root}/"), format!("{root}0")].map(Value::from));
        }
        values
    };
    let of_states = states
        .iter()
        .map(|state| Value::from(state.as_str().to_owned()));
    let tail = [Value::from(after), Value::from(int(limit as u64))];
    let values = |order: [&[Value]; 2]| -> Vec<Value> { order.concat() };
    let of_states: Vec<Value> = of_states.collect();

    let mut ids = Vec::new();
    let sql = format!(
        "SELECT t.id FROM (SELECT s.first, s.count FROM {submissions} ORDER BY s.first) f CROSS JOIN tasks t \
         WHERE t.id >= f.first AND t.id < f.first + f.count AND t.state IN ({marks}) AND t.id > ? \
         ORDER BY f.first, t.id LIMIT ?"
    );
    let mut query = connection.prepare_cached(&sql)?;
    let mut rows = query.query(params_from_iter(
        values([&of_submission, &of_states])
            .into_iter()
            .chain(tail.clone()),
    ))?;
    while let Some(row) = rows.next()? {
        ids.push(row.get(0)?);
    }
    let sql = format!(
        "SELECT u.first, u.last FROM \
         (SELECT s.first, s.count, s.queue, s.state FROM {submissions} AND s.state IN ({marks}) ORDER BY s.first) f \
         CROSS JOIN unstarted u WHERE u.queue = f.queue AND u.state = f.state \
         AND u.first >= f.first AND u.first < f.first + f.count AND u.last > ? \
         ORDER BY f.first, u.first LIMIT ?"
    );
    let mut query = connection.prepare_cached(&sql)?;
    let mut rows = query.query(params_from_iter(
        values([&of_submission, &of_states]).into_iter().chain(tail),
    ))?;
    let mut missing = limit;
    while let Some(row) = rows.next()? {
        let (first, last): (i64, i64) = (row.get(0)?, row.get(1)?);
        let before = ids.len();
        ids.extend((first.max(after + 1)..=last).take(missing));
        missing -= ids.len() - before;
    }
    ids.sort_unstable();
    ids.truncate(limit);
    Ok(ids)
}
