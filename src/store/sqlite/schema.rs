//! The tables, and how a file of an older version becomes one of this version.
//!
//! Made to be read by a person with any SQLite tool: states are words, points in time are milliseconds
//! since the Unix epoch, maps are JSON text. Three ideas carry the layout:
//!
//! - A submission is one row, also if it is an array of a million tasks. A task gets a row of its own
//!   when it leaves the state in which it was submitted; until then `submissions.state` is its state.
//! - `unstarted` holds the ids of tasks that have no row yet, as ranges. So tasks can be listed by queue
//!   and state without looking at each of an array's.
//! - `forgotten` holds ranges of ids whose submissions are gone and whose rows are still to be swept.

use rusqlite::Connection;

/// Marks the file as one of ours: `appo` in ASCII, in the header field that SQLite keeps for this.
pub(super) const APPLICATION_ID: i64 = 0x6170_706f;

/// Each entry brings a file from the version of its place (counted from 0) to the next one. Entries
/// are only ever added at the end.
const MIGRATIONS: &[&str] = &[VERSION_1, VERSION_2, VERSION_3, VERSION_4];

/// The newest version that this program knows.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// The first version.
pub(super) const VERSION_1: &str = "
CREATE TABLE meta(
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta(name, value) VALUES ('next_id', 1);

-- One row for each task or array submitted; its tasks are first .. first + count - 1.
CREATE TABLE submissions(
    first INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    queue TEXT NOT NULL,
    state TEXT NOT NULL,           -- of those of its tasks that have no row in tasks
    name TEXT NOT NULL,
    key TEXT,
    inbox TEXT,
    demand TEXT NOT NULL,          -- JSON: resource -> decimal
    run TEXT NOT NULL,             -- JSON
    env TEXT,                      -- JSON: name -> value; NULL for none
    priority INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    timeout_ms INTEGER,
    kill_grace_ms INTEGER,
    constraints TEXT,              -- JSON: attribute -> value; NULL for none
    array TEXT,                    -- JSON: first, last, step; NULL for a single task
    after TEXT,                    -- JSON: [[first, count], ...]; NULL for nothing
    digest BLOB NOT NULL,
    submitted_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX submissions_by_key ON submissions(key) WHERE key IS NOT NULL;

-- The ids first .. last of a submission have no row in tasks.
CREATE TABLE unstarted(
    queue TEXT NOT NULL,
    state TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    submission INTEGER NOT NULL,
    PRIMARY KEY (queue, state, first)
) STRICT, WITHOUT ROWID;

CREATE TABLE tasks(
    id INTEGER PRIMARY KEY,
    submission INTEGER NOT NULL,
    queue TEXT NOT NULL,
    state TEXT NOT NULL,
    n_attempts INTEGER NOT NULL,
    n_failures INTEGER NOT NULL DEFAULT 0,
    n_losses INTEGER NOT NULL DEFAULT 0,
    not_before INTEGER,
    cancel_reason TEXT,
    ended_at INTEGER,
    cause TEXT,
    cause_detail TEXT,
    exit_code INTEGER,
    wall_us INTEGER,
    cpu_us INTEGER,
    memory_peak_bytes INTEGER,
    value_truncated INTEGER,
    value BLOB
) STRICT;
CREATE INDEX tasks_by_queue ON tasks(queue, state, id, ended_at, submission);
CREATE INDEX tasks_live ON tasks(id, submission) WHERE ended_at IS NULL;

CREATE TABLE attempts(
    task INTEGER NOT NULL,
    number INTEGER NOT NULL,
    agent TEXT NOT NULL,
    launched_at INTEGER NOT NULL,
    started_at INTEGER,
    timed_out_at INTEGER,
    ended_at INTEGER,
    ending TEXT,
    ending_detail TEXT,
    wall_us INTEGER,
    cpu_us INTEGER,
    memory_peak_bytes INTEGER,
    PRIMARY KEY (task, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_live ON attempts(task, number) WHERE ended_at IS NULL;

-- What waits to be acknowledged. The outcome is that of the task's row, except where the task was
-- retried since: then it was copied here, and ended_at is not NULL.
CREATE TABLE inbox(
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    inbox TEXT NOT NULL,
    task INTEGER NOT NULL,
    state TEXT,
    n_attempts INTEGER,
    ended_at INTEGER,
    cause TEXT,
    cause_detail TEXT,
    exit_code INTEGER,
    wall_us INTEGER,
    cpu_us INTEGER,
    memory_peak_bytes INTEGER,
    value_truncated INTEGER,
    value BLOB
) STRICT;
CREATE INDEX inbox_by_name ON inbox(inbox, seq);
CREATE INDEX inbox_by_task ON inbox(task);

-- What others use of cluster resources, in thousandths.
CREATE TABLE outside(
    resource TEXT PRIMARY KEY,
    used_milli INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE forgotten(
    first INTEGER PRIMARY KEY,
    last INTEGER NOT NULL
) STRICT;
";

/// Python: the pickle of a submission, and values that are kept as files (see `backend::values`): of which
/// attempt, and how long. `value` is empty then.
const VERSION_2: &str = "
ALTER TABLE submissions ADD COLUMN python BLOB;
ALTER TABLE tasks ADD COLUMN value_attempt INTEGER;
ALTER TABLE tasks ADD COLUMN value_bytes INTEGER;
ALTER TABLE inbox ADD COLUMN value_attempt INTEGER;
ALTER TABLE inbox ADD COLUMN value_bytes INTEGER;
";

const VERSION_3: &str = "
-- What the backend wants kept and only it understands: the id under which Mesos knows this scheduler.
CREATE TABLE backend_notes(
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

const VERSION_4: &str = "
-- Who asked for what: written with what came of it, and kept as long as the tasks that it tells of.
CREATE TABLE audit(
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    token TEXT,                    -- what the caller's token is called; NULL where there are none
    peer TEXT,                     -- where the call came from
    action TEXT NOT NULL,
    task INTEGER NOT NULL,         -- the first of count tasks with consecutive ids; 0 for none
    count INTEGER NOT NULL,
    detail TEXT
) STRICT;
CREATE INDEX audit_by_task ON audit(task);
CREATE INDEX audit_submitted ON audit(task) WHERE action = 'submitted';
";

/// Brings a file from `version` to [`VERSION`], in one transaction.
pub(super) fn migrate(connection: &mut Connection, version: i64) -> rusqlite::Result<()> {
    let done = usize::try_from(version).unwrap_or(0);
    if done >= MIGRATIONS.len() {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    for migration in &MIGRATIONS[done..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// An empty database as programs of this version make it.
#[cfg(test)]
pub(super) fn of_version(version: i64) -> rusqlite::Result<Connection> {
    let connection = Connection::open_in_memory()?;
    for migration in &MIGRATIONS[..usize::try_from(version).unwrap_or(0)] {
        connection.execute_batch(migration)?;
    }
    Ok(connection)
}
