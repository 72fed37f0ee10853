//! `user` and `limits`, in `[tasks]` and in queues: what a task may do to its neighbours.
//!
//! What a queue doesn't say is as the queue above it has it, at the top as `[tasks]` has it; of `limits` each entry
//! by itself.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::errors::{ConfigError, Problem};
use super::sections::set;
use super::walk::{Field, Report, Section, join};
use super::{BackendConfig, Config, Containment, Containments, TaskLimits};
use crate::backend::local::accounts::Account;
use crate::engine::settings::QueueConfig;

/// The keys of `limits`.
const KNOWN: [&str; 6] = [
    "processes",
    "open_files",
    "file_size",
    "output",
    "disk",
    "core_dumps",
];

/// What is said for a limit where there is none.
const UNLIMITED: &str = "unlimited";

/// The kernel counts no more processes.
const PROCESSES: RangeInclusive<u64> = 1..=4_194_304;

/// A program that loads libraries needs a few.
const OPEN_FILES: RangeInclusive<u64> = 16..=1_048_576;

/// Reads both keys wherever they may stand.
pub(super) fn containments(
    root: &Section<'_>,
    queues: &[QueueConfig],
    takes_users: bool,
    report: &mut Report<'_>,
) -> Containments {
    // What is no table is reported by those who read the rest of it.
    let section = |field: Option<Field<'_>>| field.is_some_and(|field| field.is_table());
    let mut default = Containment::default();
    if section(root.get("tasks"))
        && let Some(tasks) = root.get("tasks").and_then(|field| field.section(report))
    {
        read(&mut default, &tasks, takes_users, report);
    }
    let mut all = Containments {
        default,
        queues: BTreeMap::new(),
    };
    if !section(root.get("queues")) {
        return all;
    }
    let Some(tables) = root.get("queues").and_then(|field| field.section(report)) else {
        return all;
    };
    // Parents come before children.
    for queue in queues {
        let Some(field) = tables.get(&queue.path).filter(Field::is_table) else {
            continue;
        };
        let Some(table) = field.section(report) else {
            continue;
        };
        let mut own = all.of(&queue.path).clone();
        read(&mut own, &table, takes_users, report);
        if own != *all.of(&queue.path) {
            all.queues.insert(Arc::clone(&queue.path), own);
        }
    }
    all
}

/// Puts in place what a table says.
fn read(
    containment: &mut Containment,
    section: &Section<'_>,
    takes_users: bool,
    report: &mut Report<'_>,
) {
    if let Some(field) = section.get("user") {
        match field.scalar(report) {
            Some(_) if !takes_users => {
                let what = "is for kind = \"local\"; on Mesos tasks run as backend.mesos.user says";
                field.report_key(report, Problem::Misplaced(what.to_owned()));
            }
            Some(user) if user.trim().is_empty() => {
                let what = "is empty; name an account such as \"batch\", or its number";
                field.report(report, Problem::Conflict(what.to_owned()));
            }
            Some(user) => containment.user = Some(user.into()),
            None => {}
        }
    }
    if let Some(section) = section.get("limits").and_then(|it| it.section(report)) {
        limits(&mut containment.limits, &section, report);
    }
}

fn limits(limits: &mut TaskLimits, section: &Section<'_>, report: &mut Report<'_>) {
    section.refuse_others(&KNOWN, &[], report);
    let counts = [
        ("processes", &mut limits.processes, PROCESSES),
        ("open_files", &mut limits.open_files, OPEN_FILES),
    ];
    for (name, target, range) in counts {
        if let Some(field) = section.get(name) {
            set(target, field.whole_or(UNLIMITED, range, report));
        }
    }
    let sizes = [
        ("file_size", &mut limits.file_size_bytes),
        ("output", &mut limits.output_bytes),
        ("disk", &mut limits.disk_bytes),
    ];
    for (name, target) in sizes {
        match section.get(name) {
            Some(field) if field.is_word(UNLIMITED) => *target = None,
            Some(field) => set(target, field.bytes(report).map(Some)),
            None => {}
        }
    }
    if let Some(field) = section.get("core_dumps") {
        limits.core_dumps = field.boolean(report).unwrap_or(limits.core_dumps);
    }
}

/// The accounts that a daemon in the place of this process could not run tasks as.
pub(super) fn unusable_accounts(config: &Config) -> Vec<ConfigError> {
    let BackendConfig::Local(local) = &config.backend else {
        return Vec::new();
    };
    let users = local.containments.users().into_iter();
    let errors = users.filter_map(|(user, queue)| {
        let error = Account::find(&user).err()?;
        let table = queue.map_or("tasks".to_owned(), |queue| join("queues", &queue));
        Some(ConfigError {
            key: join(&table, "user"),
            place: None,
            problem: Problem::Conflict(error.to_string()),
        })
    });
    errors.collect()
}
