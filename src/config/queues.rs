//! `[queues]` and `[policy]`: the queue tree and who orders it, from TOML to valid values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use apportion_policies::Weight;

use super::errors::Problem;
use super::sections::{amounts, is_name_byte, resource, unknown_name};
use super::walk::{Field, Report, Section};
use crate::engine::settings::{PolicyConfig, QueueConfig, ResourceSettings};

/// The word of `weighted` for counting running tasks instead of a resource.
const COUNT_TASKS: &str = "tasks";
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
    for field in section.iter().flat_map(Section::fields) {
        let queue = queue(&field, resources, report);
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
                        .unwrap_or_else(|| plain_queue(ancestor)),
                );
            }
        }
    }
    queues
}

fn plain_queue(path: &str) -> QueueConfig {
    QueueConfig {
        path: path.into(),
        weight: Weight::default(),
        max: Vec::new(),
        policy: None,
        parameters: BTreeMap::new(),
    }
}

fn queue(
    field: &Field<'_>,
    resources: &[ResourceSettings],
    report: &mut Report<'_>,
) -> QueueConfig {
    let mut queue = plain_queue(field.name);
    let Some(section) = field.section(report) else {
        return queue;
    };
    refuse_others(field.name, &section, report);
    if let Some(weight) = section.get("weight").and_then(|field| field.weight(report)) {
        queue.weight = weight;
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
    queue
}

/// A table below a queue is most likely meant as a queue below it.
fn refuse_others(path: &str, section: &Section<'_>, report: &mut Report<'_>) {
    const KNOWN: [&str; 4] = ["weight", "max", "policy", "parameters"];
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

/// Reads `[policy]`: how inner queues order their children where they don't say themselves.
pub(super) fn default_policy(
    field: Option<Field<'_>>,
    resources: &[ResourceSettings],
    report: &mut Report<'_>,
) -> PolicyConfig {
    let policy = field.and_then(|field| policy(&field, resources, report));
    policy.unwrap_or_else(|| PolicyConfig {
        name: "drf".into(),
        resource: None,
    })
}

/// Reads a policy: a table with `name` and `resource`, or only the name.
fn policy(
    field: &Field<'_>,
    resources: &[ResourceSettings],
    report: &mut Report<'_>,
) -> Option<PolicyConfig> {
    if !field.is_table() {
        return known_policy(field, report).map(|name| PolicyConfig {
            name,
            resource: None,
        });
    }
    let section = field.section(report)?;
    section.refuse_others(&["name", "resource"], &[], report);
    let resource_field = section.get("resource");
    let name = match section.get("name") {
        Some(name) => known_policy(&name, report)?,
        None => {
            section.report_missing("name", "the policy's name, such as name = \"drf\"", report);
            return None;
        }
    };
    let Some(resource_field) = resource_field else {
        return Some(PolicyConfig {
            name,
            resource: None,
        });
    };
    let wanted = resource_field.string(report)?;
    if &*name != "weighted" {
        let what = format!(
            "the policy '{name}' takes no resource; leave this away, or write name = \"weighted\""
        );
        resource_field.report_key(report, Problem::Conflict(what));
        return None;
    }
    if wanted == COUNT_TASKS {
        return Some(PolicyConfig {
            name,
            resource: None,
        });
    }
    let resource = resource(wanted, &resource_field, resources, report)?;
    Some(PolicyConfig {
        name,
        resource: Some(Arc::clone(&resource.name)),
    })
}

fn known_policy(field: &Field<'_>, report: &mut Report<'_>) -> Option<Arc<str>> {
    let name = field.string(report)?;
    let registry = report.registry;
    if !registry.knows(name) {
        let known: Vec<&str> = registry.names().map(|name| &**name).collect();
        field.report(report, unknown_name("policy", name, &known));
        return None;
    }
    Some(name.into())
}
