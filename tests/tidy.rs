//! Style as a test: file headers and sizes, what pure code must not name, and the direction of imports.

use std::fs;
use std::path::{Path, PathBuf};

/// The most lines that a source file may have.
const LINES_MAX: usize = 500;

/// What code without clock, I/O and async does not name.
const IMPURE: &[&str] = &[
    "tokio",
    "reqwest",
    "axum",
    "prost",
    "rusqlite",
    "std::fs",
    "std::net",
    "std::thread",
    "std::env",
    "std::process",
    "SystemTime",
    "Instant::now",
];

/// Each module of the library with the modules of the library that it may import.
const IMPORTS: &[(&str, &[&str])] = &[
    ("access", &["engine"]),
    ("clock", &["engine"]),
    ("engine", &[]),
    ("http_client", &[]),
    ("proto", &[]),
    ("store", &["engine", "access"]),
    ("backend", &["engine", "clock", "proto", "http_client"]),
    ("backup", &["engine", "access", "store", "backend"]),
    (
        "executor",
        &["engine", "backend", "clock", "proto", "http_client"],
    ),
    ("driver", &["engine", "store", "backend", "clock"]),
    ("sim", &["engine"]),
    ("faults", &["engine", "store", "backend", "driver", "proto"]),
    ("config", &["engine", "backend", "sim"]),
    ("metrics", &["engine", "driver", "backend", "clock"]),
    (
        "api",
        &[
            "engine", "access", "store", "backend", "driver", "config", "metrics", "clock",
        ],
    ),
    (
        "serve",
        &[
            "engine",
            "access",
            "store",
            "backend",
            "driver",
            "config",
            "metrics",
            "api",
            "clock",
            "http_client",
        ],
    ),
    (
        "cli",
        &[
            "engine",
            "access",
            "store",
            "backup",
            "config",
            "serve",
            "executor",
            "sim",
            "faults",
            "clock",
            "http_client",
        ],
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(below: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(below)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// The lines that count as code of the product: without comments, and up to the file's own tests.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.starts_with("//"))
}

fn check(errors: Vec<String>) {
    assert!(
        errors.is_empty(),
        "{} findings:\n{}",
        errors.len(),
        errors.join("\n")
    );
}

#[test]
fn every_file_says_what_it_is_for_and_stays_short() {
    let mut errors = Vec::new();
    for below in ["src", "policies", "tests", "benches", "fuzz"] {
        for path in rust_files(below)
            .iter()
            .filter(|path| !shown(path).contains("target/"))
        {
            let text = fs::read_to_string(path).unwrap();
            if !text.starts_with("//! ") {
                errors.push(format!(
                    "{}: the first line is no `//!` that says what it is for",
                    shown(path)
                ));
            }
            let n_lines = text.lines().count();
            if n_lines > LINES_MAX {
                errors.push(format!(
                    "{}: {n_lines} lines, above {LINES_MAX}: split it by meaning",
                    shown(path)
                ));
            }
        }
    }
    check(errors);
}

#[test]
fn engine_and_policies_are_pure() {
    let mut errors = Vec::new();
    for path in rust_files("src/engine")
        .into_iter()
        .chain(rust_files("policies/src"))
    {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in code_lines(&text) {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                errors.push(format!("{}:{number}: names {word}", shown(&path)));
            }
        }
    }
    check(errors);
}

/// The modules of the library that a line of code names.
fn modules_named(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("crate::")
        .filter_map(move |(start, found)| {
            let rest = &line[start + found.len()..];
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            (end > 0).then(|| &rest[..end])
        })
}

#[test]
fn imports_go_one_way() {
    let mut errors = Vec::new();
    let declared: Vec<&str> = IMPORTS.iter().map(|(module, _)| *module).collect();
    for (module, allowed) in IMPORTS {
        let mut files = rust_files(&format!("src/{module}"));
        files.extend(Some(root().join(format!("src/{module}.rs"))).filter(|path| path.exists()));
        assert!(
            !files.is_empty(),
            "there is no module {module}; mend the table in this test"
        );
        for path in files {
            let text = fs::read_to_string(&path).unwrap();
            for (number, line) in code_lines(&text) {
                for named in modules_named(line) {
                    let known = declared.contains(&named);
                    if known && named != *module && !allowed.contains(&named) {
                        errors.push(format!(
                            "{}:{number}: {module} imports {named}",
                            shown(&path)
                        ));
                    }
                }
            }
        }
    }
    check(errors);
}

#[test]
fn every_module_of_the_library_has_its_place_in_the_order() {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let missing: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .filter(|module| !IMPORTS.iter().any(|(known, _)| known == module))
        .map(|module| format!("src/lib.rs: module {module} is missing in the table of imports"))
        .collect();
    check(missing);
}

#[test]
fn scheduling_state_has_one_owner_and_no_lock() {
    let mut errors = Vec::new();
    for below in ["src/engine", "src/driver", "policies/src"] {
        for path in rust_files(below) {
            let text = fs::read_to_string(&path).unwrap();
            for (number, line) in code_lines(&text) {
                for word in ["Mutex", "RwLock"]
                    .iter()
                    .filter(|word| line.contains(**word))
                {
                    errors.push(format!("{}:{number}: names {word}", shown(&path)));
                }
            }
        }
    }
    check(errors);
}

#[test]
fn tests_wait_on_conditions_with_a_deadline() {
    let mut errors = Vec::new();
    for path in rust_files("tests")
        .iter()
        .filter(|path| !path.ends_with("support/wait.rs"))
    {
        let text = fs::read_to_string(path).unwrap();
        // The word is put together so that this line doesn't find itself.
        let sleeping = ["::sleep", "("].concat();
        for (index, _) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.contains(&sleeping))
        {
            errors.push(format!(
                "{}:{}: sleeps; use support::wait",
                shown(path),
                index + 1
            ));
        }
    }
    check(errors);
}
