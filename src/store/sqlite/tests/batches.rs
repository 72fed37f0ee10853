//! What a commit leaves doesn't depend on what else is in it.

use super::*;

#[test]
fn facts_leave_the_same_rows_in_one_commit_as_in_many() {
    let attempt = |task, number| AttemptId {
        task: TaskId(task),
        number,
    };
    let short = |task, number, at| {
        let attempt = attempt(task, number);
        let at = Time(at);
        let ended = Fact::AttemptEnded {
            attempt,
            end: AttemptEnd::Exited { code: 1 },
            usage: Usage::default(),
            at,
        };
        [Fact::Started { attempt, at }, ended]
    };
    let requeued = Fact::Requeued {
        task: TaskId(2),
        own_failure: true,
        not_before: Time(20),
        at: Time(7),
    };
    let mut facts = vec![submitted(1, 4), submitted(5, 1)];
    facts.extend([launched(1), launched(2), launched(4), launched(5)]);
    for (task, at, next) in [(1, 6, cancelled(1)), (2, 7, requeued), (5, 8, cancelled(5))] {
        facts.extend(short(task, 1, at));
        facts.push(next);
    }
    // Of this one nothing is told yet but its attempt.
    facts.extend(short(4, 1, 9));
    let [together, apart] = [facts.len(), 1].map(|size| {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, _) = open(directory.path()).unwrap();
        for facts in facts.chunks(size) {
            store.commit(facts).unwrap();
        }
        drop(store);
        let database = rusqlite::Connection::open(directory.path().join(DATABASE_FILE)).unwrap();
        ["tasks", "attempts", "unstarted"].map(|table| {
            let mut all = database
                .prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2, 3"))
                .unwrap();
            let n_columns = all.column_count();
            let rows = all.query_map([], |row| {
                (0..n_columns)
                    .map(|place| row.get::<_, rusqlite::types::Value>(place))
                    .collect::<Result<Vec<_>, _>>()
            });
            rows.unwrap().collect::<Result<Vec<_>, _>>().unwrap()
        })
    });
    assert_eq!(together[0].len(), 4);
    assert_eq!(together[2].len(), 1, "only task 3 has not started");
    assert_eq!(together, apart);
}
