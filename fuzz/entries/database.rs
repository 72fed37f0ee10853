//! The database: columns with other values than were written or, where the first byte is odd, other bytes in the file. It
//! is opened, recovered and read, or refused.

use std::path::Path;
use std::sync::LazyLock;

use apportion::config;
use apportion::engine::{Engine, EngineSettings, TaskId, Time};
use apportion::policies::Registry;
use apportion::store::reader::{Reader as _, TaskFilter};
use apportion::store::sqlite::{self, DATABASE_FILE};
use apportion::store::{StoreError, recover};
use rusqlite::Connection;

/// The database of a daemon that had all kinds of tasks, of which the tests of upgrades have the text.
static SAMPLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(DATABASE_FILE);
    let text = include_str!("../../tests/fixtures/schema-4/apportion.sql");
    Connection::open(&path)
        .unwrap()
        .execute_batch(text)
        .unwrap();
    std::fs::read(&path).unwrap()
});

static SETTINGS: LazyLock<EngineSettings> =
    LazyLock::new(|| config::parse("", &Registry::default()).unwrap().engine);

/// Changes some columns: a table, a column, a way and a length are a byte each, then comes the value.
fn change_rows(path: &Path, mut bytes: &[u8]) {
    let database = Connection::open(path).unwrap();
    let tables: Vec<String> = {
        let mut tables = database
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
            .unwrap();
        let tables = tables.query_map([], |row| row.get(0)).unwrap();
        tables.collect::<Result<_, _>>().unwrap()
    };
    let mut change = || -> Option<()> {
        let (head, rest) = bytes.split_at_checked(4)?;
        let (value, rest) = rest.split_at(usize::from(head[3]).min(rest.len()));
        bytes = rest;
        let table = &tables[usize::from(head[0]) % tables.len()];
        let columns: Vec<String> = {
            let mut columns = database
                .prepare(&format!("SELECT name FROM pragma_table_info('{table}')"))
                .ok()?;
            let names = columns.query_map([], |row| row.get(0)).ok()?;
            names.collect::<Result<_, _>>().ok()?
        };
        let column = &columns[usize::from(head[1]) % columns.len()];
        let value = String::from_utf8_lossy(value);
        let sql = match head[2] {
            0..64 => format!("UPDATE OR IGNORE {table} SET {column} = ?1"),
            64..128 => format!("UPDATE OR IGNORE {table} SET {column} = NULL WHERE ?1 = ?1"),
            128..192 => {
                format!("UPDATE OR IGNORE {table} SET {column} = {column} + CAST(?1 AS INTEGER)")
            }
            192.. => format!("DELETE FROM {table} WHERE CAST({column} AS TEXT) >= ?1"),
        };
        let _ = database.execute(&sql, [value]);
        Some(())
    };
    while change().is_some() {}
}

/// Changes single bytes: three for the place, and the new one.
fn change_bytes(bytes: &[u8]) -> Vec<u8> {
    let mut sample = SAMPLE.to_vec();
    for change in bytes.chunks_exact(4) {
        let at = usize::from(u16::from_be_bytes([change[0], change[1]])) * 16
            + usize::from(change[2] % 16);
        let end = sample.len();
        sample[at % end] = change[3];
    }
    sample
}

fn open(folder: &Path) -> Result<(), StoreError> {
    let (mut store, reader) = sqlite::open(folder)?;
    let mut engine = Engine::new(SETTINGS.clone());
    recover(&mut store, &mut engine, Time(1 << 40), "the database")?;
    reader.list(&TaskFilter {
        limit: 50,
        ..TaskFilter::default()
    })?;
    for id in 0..12 {
        reader.find(TaskId(id))?;
    }
    for (inbox, _) in reader.inboxes(10)? {
        reader.inbox(&inbox, None, 10)?;
    }
    Ok(())
}

pub(crate) fn run(bytes: &[u8]) {
    let Some((kind, changes)) = bytes.split_first() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(DATABASE_FILE);
    if kind % 2 == 0 {
        std::fs::write(&path, &*SAMPLE).unwrap();
        change_rows(&path, changes);
    } else {
        std::fs::write(&path, change_bytes(changes)).unwrap();
    }
    if let Err(error) = open(folder.path()) {
        assert!(!error.to_string().is_empty());
        assert!(
            matches!(
                error,
                StoreError::Corrupt { .. } | StoreError::TooNew { .. } | StoreError::Other { .. }
            ),
            "{error:?}"
        );
    }
}
