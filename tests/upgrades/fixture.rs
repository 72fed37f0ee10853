//! Fixtures as they lie in the repository, `tests/fixtures/schema-N`: the database as text, what the daemon of that
//! version told of every task, and the other files of its data directory.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::Value;

/// The database, as the statements that make it.
pub(super) const DUMP: &str = "apportion.sql";
/// What was told of every task, as a list.
const TOLD: &str = "tasks.json";
/// The rest of the data directory.
const FILES: &str = "files";

/// Where the fixture of a version lies.
pub(super) fn folder(version: i64) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/schema-{version}"))
}

/// What the daemon of this version told of every task before it was killed.
pub(super) fn told(version: i64) -> Vec<Value> {
    let text = fs::read_to_string(folder(version).join(TOLD)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The version of the database in `folder/data`.
pub(super) fn schema_version(folder: &Path) -> i64 {
    let database = Connection::open(folder.join("data/apportion.db")).unwrap();
    database
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap()
}

/// Makes a data directory of a fixture.
pub(super) fn unpack(version: i64, data_dir: &Path) {
    fs::create_dir(data_dir).unwrap();
    let text = fs::read_to_string(folder(version).join(DUMP)).unwrap();
    let database = Connection::open(data_dir.join("apportion.db")).unwrap();
    database.execute_batch(&text).unwrap();
    database.close().unwrap();
    copy(&folder(version).join(FILES), data_dir, &|_| true);
}

/// Makes a fixture of the data directory of a daemon that was killed. An earlier one is replaced.
pub(super) fn pack(data_dir: &Path, told: &[Value]) {
    // Whoever opens it takes in what the killed daemon left in the write-ahead log.
    let database = Connection::open(data_dir.join("apportion.db")).unwrap();
    let version = database
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    let folder = folder(version);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(DUMP), dump(&database)).unwrap();
    database.close().unwrap();
    let told = serde_json::to_string_pretty(told).unwrap();
    fs::write(folder.join(TOLD), format!("{told}\n")).unwrap();
    // Beside the database, its log, the lock, and what tells of this machine; spare files hold nothing.
    let is_wanted = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_other =
            name.starts_with("apportion.db") || name.ends_with(".lock") || name == "cgroups";
        !is_other && fs::metadata(path).is_ok_and(|file| file.len() > 0)
    };
    copy(data_dir, &folder.join(FILES), &is_wanted);
    println!("made {}", folder.display());
}

/// Copies the files below `from` that are wanted.
fn copy(from: &Path, to: &Path, is_wanted: &impl Fn(&Path) -> bool) {
    for entry in fs::read_dir(from).into_iter().flatten() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target, is_wanted);
        } else if is_wanted(&path) {
            fs::create_dir_all(to).unwrap();
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// The statements that make this database.
fn dump(database: &Connection) -> String {
    let pragma = |name: &str| -> i64 {
        database
            .pragma_query_value(None, name, |row| row.get(0))
            .unwrap()
    };
    let mut text = format!(
        "PRAGMA application_id = {};\nPRAGMA user_version = {};\nBEGIN;\n",
        pragma("application_id"),
        pragma("user_version")
    );
    let mut query = database
        .prepare("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid")
        .unwrap();
    let parts: Vec<(String, String, String)> = query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for (_, name, sql) in &parts {
        if name != "sqlite_sequence" {
            text.push_str(&format!("{sql};\n"));
        }
    }
    for (_, name, _) in parts.iter().filter(|(kind, ..)| kind == "table") {
        let mut query = database.prepare(&format!("SELECT * FROM {name}")).unwrap();
        let n_columns = query.column_count();
        let mut rows = query.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<String> = (0..n_columns)
                .map(|column| literal(row.get_ref(column).unwrap()))
                .collect();
            text.push_str(&format!(
                "INSERT INTO {name} VALUES ({});\n",
                values.join(", ")
            ));
        }
    }
    text.push_str("COMMIT;\n");
    text
}

fn literal(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => format!("{number:?}"),
        ValueRef::Text(text) => {
            let text = String::from_utf8(text.to_vec()).unwrap();
            format!("'{}'", text.replace('\'', "''"))
        }
        ValueRef::Blob(bytes) => {
            let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("x'{}'", digits.concat())
        }
    }
}
