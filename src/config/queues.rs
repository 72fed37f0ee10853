//! `[queues]`: the queue tree, from TOML to valid values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::errors::Problem;
use super::guarantees::{self, Guarantee};
use super::policy::policy;
use super::sections::{amounts, is_name_byte};
use super::walk::{Field, Report, Section};
use crate::engine::settings::{QueueConfig, ResourceSettings};

/// The keys of a queue.
const KNOWN: [&str; 11] = [
    "weight",
    "min",
    "max",
    "policy",
    "patience",
    "queued_max",
    "isolation",
    "parameters",
    "decision_log",
    "user",
    "limits",
];
/// The most characters of a queue's whole path.
const PATH_LENGTH_MAX: usize = 255;
/// The most queues, parents that aren't declared included.
const QUEUES_MAX: usize = 100_000;
/// The most segments of a queue's path.
const DEPTH_MAX: usize = 16;

/// Reads `[queues]`: parents before children, otherwise in the order of the text. A parent that isn't
/// declared itself has defaults. Without any queue there is one, `default`.
pub(super) fn queues(
    field: Option<Field<'_>>,
    resources: &[ResourceSettings],
    report: &mut Report<'_>,
) -> Vec<QueueConfig> {
    let section = field.as_ref().and_then(|field| field.section(report));
    let mut declared = Vec::new();
    let mut guaranteed = Vec::new();
    for field in section.iter().flat_map(Section::fields) {
        let queue = queue(&field, resources, &mut guaranteed, report);
        if check_path(field.name, &field, report) {
            declared.push(queue);
        }
    }
    let queues = in_order(declared);
    if let Some(field) = field.filter(|_| queues.len() > QUEUES_MAX) {
        let problem = format!(
            "declares {} queues; at most {QUEUES_MAX} are allowed",
            queues.len()
        );
        field.report_key(report, Problem::Conflict(problem));
    }
    guarantees::check(&guaranteed, &queues, resources, report);
    queues
}

/// Reads `[[queues]]`: queues as an array, each with its `path`, in place of those of the same path in `queues`
/// or beside them. What an entry doesn't name is as it was there.
pub(super) fn merge_list(
    queues: Vec<QueueConfig>,
    field: &Field<'_>,
    resources: &[ResourceSettings],
    report: &mut Report<'_>,
) -> Vec<QueueConfig> {
    let mut declared = queues;
    let mut seen = BTreeSet::new();
    let mut guaranteed = Vec::new();
    for item in field.items(report).unwrap_or_default() {
        let Some(section) = item.section(report) else {
            continue;
        };
        let Some(path_field) = section.get("path") else {
            section.report_missing("path", "the queue's path, such as path = \"maps\"", report);
            continue;
        };
        let Some(path) = path_field.string(report) else {
            continue;
        };
        let known: Vec<&'static str> = ["path"].into_iter().chain(KNOWN).collect();
        section.refuse_others(&known, &[], report);
        if !check_path(path, &path_field, report) {
            continue;
        }
        if !seen.insert(path) {
            path_field.report(report, Problem::DuplicateKey);
            continue;
        }
        let place = declared.iter().position(|queue| *queue.path == *path);
        let place = place.unwrap_or_else(|| {
            declared.push(QueueConfig::new(path.into()));
            declared.len() - 1
        });
        let queue = &mut declared[place];
        settings(queue, &section, resources, &mut guaranteed, report);
    }
    let queues = in_order(declared);
    guarantees::check(&guaranteed, &queues, resources, report);
    queues
}

/// Puts parents before children, and in where they aren't declared; otherwise keeps the order.
pub(super) fn in_order(declared: Vec<QueueConfig>) -> Vec<QueueConfig> {
    let mut order: Vec<Arc<str>> = declared.iter().map(|it| Arc::clone(&it.path)).collect();
    let mut declared: BTreeMap<Arc<str>, QueueConfig> = declared
        .into_iter()
        .map(|queue| (Arc::clone(&queue.path), queue))
        .collect();
    if order.is_empty() {
        order.push("default".into());
    }
    let mut queues = Vec::with_capacity(order.len());
    let mut seen = BTreeSet::new();
    for path in &order {
        let ends = path
            .match_indices('/')
            .map(|(end, _)| end)
            .chain([path.len()]);
        for ancestor in ends.map(|end| &path[..end]) {
            if seen.insert(ancestor) {
                queues.push(
                    declared
                        .remove(ancestor)
                        .unwrap_or_else(|| QueueConfig::new(ancestor.into())),
                );
            }
        }
    }
    queues
}

fn queue(
    field: &Field<'_>,
    resources: &[ResourceSettings],
    guaranteed: &mut Vec<Guarantee>,
    report: &mut Report<'_>,
) -> QueueConfig {
    let mut queue = QueueConfig::new(field.name.into());
    let Some(section) = field.section(report) else {
        return queue;
    };
    refuse_others(field.name, &section, report);
    settings(&mut queue, &section, resources, guaranteed, report);
    queue
}

/// Sets what a queue's table says.
fn settings(
    queue: &mut QueueConfig,
    section: &Section<'_>,
    resources: &[ResourceSettings],
    guaranteed: &mut Vec<Guarantee>,
    report: &mut Report<'_>,
) {
    if let Some(weight) = section.get("weight").and_then(|field| field.weight(report)) {
        queue.weight = weight;
    }
    if let Some(min) = section.get("min").and_then(|field| field.section(report)) {
        queue.min = amounts(&min, resources, report).into_iter().collect();
        let places = min.fields().into_iter();
        guaranteed.extend(places.map(|place| Guarantee::new(&queue.path, &place)));
    }
    if let Some(max) = section.get("max").and_then(|field| field.section(report)) {
        queue.max = amounts(&max, resources, report).into_iter().collect();
    }
    if let Some(field) = section.get("policy") {
        queue.policy = policy(&field, resources, report);
    }
    if let Some(section) = section
        .get("parameters")
        .and_then(|field| field.section(report))
    {
        for field in section.fields() {
            if let Some(value) = field.scalar(report) {
                queue.parameters.insert(field.name.into(), value.into());
            }
        }
    }
    if let Some(field) = section.get("patience") {
        queue.patience = field.deadline(report);
    }
    if let Some(field) = section.get("queued_max") {
        queue.queued_max = field.whole(1..=u64::from(u32::MAX), report);
    }
    if let Some(field) = section.get("decision_log") {
        queue.decision_log = field.boolean(report).unwrap_or_default();
    }
}

/// A table below a queue is most likely meant as a queue below it.
fn refuse_others(path: &str, section: &Section<'_>, report: &mut Report<'_>) {
    let others = section
        .fields()
        .into_iter()
        .filter(|field| !KNOWN.contains(&field.name));
    let (tables, _): (Vec<_>, Vec<_>) = others.partition(Field::is_table);
    let misplaced: Vec<&str> = tables.iter().map(|field| field.name).collect();
    section.refuse_others(&KNOWN, &misplaced, report);
    for field in tables {
        let problem = Problem::Misplaced(format!(
            "unknown key; a queue below '{path}' is written [queues.\"{path}/{}\"]; known here: {}",
            field.name,
            KNOWN.join(", ")
        ));
        field.report_key(report, problem);
    }
}

fn check_path(path: &str, field: &Field<'_>, report: &mut Report<'_>) -> bool {
    let rule = if path.len() > PATH_LENGTH_MAX {
        format!(
            "it has {} characters, at most {PATH_LENGTH_MAX} are allowed",
            path.len()
        )
    } else if path.split('/').any(str::is_empty) {
        "a segment between the slashes is empty; write it such as maps or maps/render".to_owned()
    } else if path.split('/').count() > DEPTH_MAX {
        format!(
            "it has {} segments, at most {DEPTH_MAX} are allowed",
            path.split('/').count()
        )
    } else if let Some(segment) = path.split('/').find(|segment| !is_segment(segment)) {
        format!("'{segment}' has other characters than letters, digits, _, . and -, or only dots")
    } else {
        return true;
    };
    field.report_key(
        report,
        Problem::NameSyntax {
            what: "path of a queue",
            found: path.to_owned(),
            rule,
        },
    );
    false
}

fn is_segment(segment: &str) -> bool {
    segment.bytes().all(is_name_byte) && segment.bytes().any(|byte| byte != b'.')
}
