//! Lists of the tasks whose name or key holds a text. Names stand in the submissions, which are read through one after
//! the other; what they lead to is found by ids, so an array costs as much as a single task.

use rusqlite::{Connection, params_from_iter, types::Value};

use super::codec::int;
use super::listing::Way;
use crate::access::{Pattern, Queues};
use crate::engine::TaskState;
use crate::store::reader::TaskFilter;

/// Below `a/b` is what stands between `a/b/` and `a/b0`, in byte order.
const BELOW: &str = "(s.queue > ? AND s.queue < ?)";

fn bounds_below(root: &str) -> [Value; 2] {
    [format!("{root}/"), format!("{root}0")].map(Value::from)
}

/// The condition that a submission is of one of these queues, and its values.
fn visible(visible: Option<&Queues>) -> (String, Vec<Value>) {
    let Some(visible) = visible.filter(|visible| !visible.are_all()) else {
        return (String::new(), Vec::new());
    };
    let mut conditions = vec!["FALSE"];
    let mut values = Vec::new();
    for pattern in visible.patterns() {
        match pattern {
            Pattern::All => conditions.push("TRUE"),
            Pattern::One(path) => {
                conditions.push("s.queue = ?");
                values.push(path.to_string().into());
            }
            Pattern::Below(path) => {
                conditions.push(BELOW);
                values.extend(bounds_below(path));
            }
        }
    }
    (format!("AND ({})", conditions.join(" OR ")), values)
}

/// The values of the conditions on submissions, in their order.
fn values_of_submission(
    filter: &TaskFilter,
    text: &str,
    way: Way,
    of_visible: Vec<Value>,
) -> Vec<Value> {
    let text = text.to_ascii_lowercase();
    let mut values = vec![
        Value::from(way.low + 1),
        Value::from(way.high),
        text.clone().into(),
        text.into(),
    ];
    if let Some(root) = &filter.queue {
        values.push(root.clone().into());
        values.extend(bounds_below(root));
    }
    values.extend(of_visible);
    values
}

/// The first `limit` ids on the way that the filter asks for, by a text among others.
pub(super) fn matching_ids(
    connection: &Connection,
    filter: &TaskFilter,
    text: &str,
    way: Way,
    limit: usize,
) -> rusqlite::Result<Vec<i64>> {
    let states: &[TaskState] = match &filter.states[..] {
        [] => &TaskState::ALL,
        some => some,
    };
    let marks = vec!["?"; states.len()].join(", ");
    let queue = match filter.queue {
        Some(_) => format!("AND (s.queue = ? OR {BELOW})"),
        None => String::new(),
    };
    let (visible, of_visible) = visible(filter.visible.as_ref());
    let submissions = format!(
        "submissions s WHERE s.first + s.count > ? AND s.first < ? \
         AND (instr(lower(s.name), ?) > 0 OR instr(lower(s.key), ?) > 0) {queue} {visible}"
    );
    let of_submission = values_of_submission(filter, text, way, of_visible);
    let of_states = states
        .iter()
        .map(|state| Value::from(state.as_str().to_owned()));
    let tail = [way.low, way.high, int(limit as u64)].map(Value::from);
    let order = way.order();
    let values = |order: [&[Value]; 2]| -> Vec<Value> { order.concat() };
    let of_states: Vec<Value> = of_states.collect();

    let mut ids = Vec::new();
    let sql = format!(
        "SELECT t.id FROM (SELECT s.first, s.count FROM {submissions} ORDER BY s.first {order}) f CROSS JOIN tasks t \
         WHERE t.id >= f.first AND t.id < f.first + f.count AND t.state IN ({marks}) AND t.id > ? AND t.id < ? \
         ORDER BY f.first {order}, t.id {order} LIMIT ?"
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
         (SELECT s.first, s.count, s.queue, s.state FROM {submissions} AND s.state IN ({marks}) ORDER BY s.first {order}) f \
         CROSS JOIN unstarted u WHERE u.queue = f.queue AND u.state = f.state \
         AND u.first >= f.first AND u.first < f.first + f.count AND u.last > ? AND u.first < ? \
         ORDER BY f.first {order}, u.first {order} LIMIT ?"
    );
    let mut query = connection.prepare_cached(&sql)?;
    let mut rows = query.query(params_from_iter(
        values([&of_submission, &of_states]).into_iter().chain(tail),
    ))?;
    let mut missing = limit;
    while let Some(row) = rows.next()? {
        let found = way.ids_of(row.get(0)?, row.get(1)?, missing);
        missing -= found.len();
        ids.extend(found);
    }
    ids.sort_unstable();
    if way.newest {
        ids.reverse();
    }
    ids.truncate(limit);
    Ok(ids)
}
