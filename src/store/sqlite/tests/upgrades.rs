//! The tables of every version are those that the programs of that version made.

use std::path::Path;

use super::super::schema;
use super::*;

/// The statements that made what is in a database, by name.
fn tables(connection: &Connection) -> Vec<(String, String)> {
    let mut query = connection
        .prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
        .unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

#[test]
fn the_steps_to_earlier_versions_are_as_they_were() {
    for version in 1..=schema::VERSION {
        let file = format!("tests/fixtures/schema-{version}/apportion.sql");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!(
                "{}: {error}; tests/upgrades/make.rs says how to make it",
                path.display()
            )
        });
        let found = Connection::open_in_memory().unwrap();
        found.execute_batch(&text).unwrap();
        let made = schema::of_version(version).unwrap();
        assert_eq!(
            tables(&found),
            tables(&made),
            "schema {version} is not what it was: steps are only added at the end"
        );
    }
}
