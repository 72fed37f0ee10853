//! `[queues]`: the queue tree, from TOML to valid values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::errors::Problem;
use super::guarantees::{self, Guarantee};
use super::policy::policy;
use super::sections::{amounts, is_name_byte};
use super::walk::{Field, Report, Section};
use crate::engine::settings::{QueueConfig, ResourceSettings};

/// The most characters of a queue's whole path.
const PATH_LENGTH_MAX: usize = 255;
/// The most segments of a queue's path.
const DEPTH_MAX: usize = 16;

/// Reads `[queues]`: parents before children, otherwise in the order of the text. A parent that isn't
/// declared itself has defaults. Without any queue there is one, `default`.
pub(super) fn queues(
    field: Option<Field<'_>>,
    resources: &[ResourceSettings],
    report: &mut Report<'_>,
) -> Vec<QueueConfig> {
    let section = field.and_then(|field| field.section(report));
    let mut declared = BTreeMap::new();
    let mut order: Vec<Arc<str>> = Vec::new();
    let mut guaranteed = Vec::new();
    for field in section.iter().flat_map(Section::fields) {
        let queue = queue(&field, resources, &mut guaranteed, report);
        if check_path(&field, report) {
            order.push(Arc::clone(&queue.path));
            declared.insert(Arc::clone(&queue.path), queue);
        }
    }
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
    guarantees::check(&guaranteed, &queues, resources, report);
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
    if let Some(weight) = section.get("weight").and_then(|field| field.weight(report)) {
        queue.weight = weight;
    }
    if let Some(min) = section.get("min").and_then(|field| field.section(report)) {
        queue.min = amounts(&min, resources, report).into_iter().collect();
        let places = min.fields().into_iter();
        guaranteed.extend(places.map(|place| Guarantee::new(field.name, &place)));
    }
    if let Some(max) = section.get("max").and_then(|field| field.section(report)) {
        queue.max = amounts(&max, resources, report).into_iter().collect();
    }
    queue.policy = section
        .get("policy")
        .and_then(|field| policy(&field, resources, report));
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
    queue.patience = section
        .get("patience")
        .and_then(|field| field.deadline(report));
    queue
}

/// A table below a queue is most likely meant as a queue below it.
fn refuse_others(path: &str, section: &Section<'_>, report: &mut Report<'_>) {
    const KNOWN: [&str; 6] = ["weight", "min", "max", "policy", "patience", "parameters"];
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

fn check_path(field: &Field<'_>, report: &mut Report<'_>) -> bool {
    let path = field.name;
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
