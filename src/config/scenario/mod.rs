//! Scenario files: TOML to the simulator's [`Scenario`], with every error, its line and its key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::{Amount, Registry};
use toml::de::DeTable;

use super::errors::{ConfigErrors, Problem};
use super::sections::{self, amounts, resource};
use super::walk::{Field, Report, Section};
use super::{policy, queues, read_text};
use crate::engine::EngineSettings;
use crate::engine::settings::{ResourceSettings, Scope};
use crate::sim::AgentSpec;
use crate::sim::scenario::{Scenario, Step};

mod expect;
mod steps;

#[cfg(test)]
mod tests;

/// Reads and validates a scenario file. Policies are those of the registry.
///
/// # Errors
/// All that is wrong with the file, not only the first.
pub fn load(path: &Path, registry: &Registry) -> Result<Scenario, ConfigErrors> {
    let what = "scenario";
    let text = read_text(path, |message| Problem::UnreadableFile { what, message });
    let scenario = text.and_then(|text| validate(&text, registry));
    scenario.map_err(|errors| ConfigErrors {
        file: Some(path.to_owned()),
        errors,
    })
}

/// Validates a text.
///
/// # Errors
/// All that is wrong with the text, not only the first.
pub fn parse(text: &str, registry: &Registry) -> Result<Scenario, ConfigErrors> {
    validate(text, registry).map_err(|errors| ConfigErrors { file: None, errors })
}

fn validate(text: &str, registry: &Registry) -> Result<Scenario, Vec<super::ConfigError>> {
    let mut report = Report::new(text, registry);
    let (table, syntax) = DeTable::parse_recoverable(text);
    let is_toml = report.push_syntax(&syntax);
    let scenario = is_toml.then(|| build(&Section::root(table.get_ref()), &mut report));
    let errors = report.into_errors();
    match scenario {
        Some(scenario) if errors.is_empty() => Ok(scenario),
        _ => Err(errors),
    }
}

/// What steps are read with.
struct Reader {
    /// As they stand before the step; a reload changes them.
    settings: EngineSettings,
    /// The agents known so far, with what they have.
    agents: BTreeMap<Arc<str>, AgentSpec>,
}

fn build(root: &Section<'_>, report: &mut Report<'_>) -> Scenario {
    let known = [
        "policy",
        "capacity",
        "agents",
        "queues",
        "resources",
        "tasks",
        "steps",
    ];
    root.refuse_others(&known, &[], report);
    let resources = resources(root, report);
    let tasks = sections::tasks(root.get("tasks"), &resources, report);
    let mut queues = Vec::new();
    if let Some(field) = root.get("queues") {
        queues = if field.is_array() {
            queues::merge_list(queues, &field, &resources, report)
        } else {
            queues::queues(Some(field), &resources, report)
        };
    }
    let (policy, claims) = policy::section(root.get("policy"), &resources, report);
    let settings = EngineSettings {
        queues: queues::in_order(queues),
        policy,
        claims,
        lost_max: tasks.lost_max,
        kill_grace: tasks.kill_grace,
        retry_pause: tasks.retry_pause,
        retry_pause_max: tasks.retry_pause_max,
        live_max: tasks.live_max,
        resources,
    };
    let agents = agents(root, &settings, report);
    let by_name = agents.iter().map(|it| (Arc::clone(&it.name), it.clone()));
    let mut reader = Reader {
        settings: settings.clone(),
        agents: by_name.collect(),
    };
    let steps = match root.get("steps") {
        Some(field) => reader.steps(&field, "", report),
        None => {
            let example = "at least one step, such as [[steps]] and below it offer = \"all\"";
            root.report_missing("steps", example, report);
            Vec::new()
        }
    };
    Scenario {
        settings,
        agents,
        steps,
    }
}

/// `[resources]` as in the configuration; beside them what `[capacity]` names is of cluster scope, and
/// what agents bring of host scope.
fn resources(root: &Section<'_>, report: &mut Report<'_>) -> Vec<ResourceSettings> {
    let mut all: BTreeMap<Arc<str>, Scope> = sections::resources(root.get("resources"), report)
        .into_iter()
        .map(|resource| (resource.name, resource.scope))
        .collect();
    let capacity = root.get("capacity");
    if let Some(section) = capacity.and_then(|field| field.section(report)) {
        for field in section.fields() {
            if !sections::check_resource_name(&field, report) {
                continue;
            }
            let Some(capacity) = field.amount(field.name, report) else {
                continue;
            };
            if matches!(all.get(field.name), Some(Scope::Host)) {
                let what =
                    "is of host scope: agents bring it; give a cluster resource another name";
                field.report_key(report, Problem::Conflict(what.into()));
                continue;
            }
            all.insert(field.name.into(), Scope::Cluster { capacity });
        }
    }
    let mut mute = Report::new("", report.registry);
    for item in items(root, "agents", &mut mute) {
        let section = item.section(&mut mute);
        let brought = section.and_then(|it| it.get("resources")?.section(&mut mute));
        for field in brought.iter().flat_map(Section::fields) {
            if sections::check_resource_name(&field, report) {
                all.entry(field.name.into()).or_insert(Scope::Host);
            }
        }
    }
    all.into_iter()
        .map(|(name, scope)| ResourceSettings { name, scope })
        .collect()
}

/// The elements of an array that may be missing.
fn items<'a>(section: &Section<'a>, name: &str, report: &mut Report<'_>) -> Vec<Field<'a>> {
    let field = section.get(name);
    field
        .and_then(|field| field.items(report))
        .unwrap_or_default()
}

/// `[[agents]]`, in the order in which they offer.
fn agents(
    root: &Section<'_>,
    settings: &EngineSettings,
    report: &mut Report<'_>,
) -> Vec<AgentSpec> {
    let mut agents = Vec::new();
    let mut seen = BTreeSet::new();
    for item in items(root, "agents", report) {
        let Some(section) = item.section(report) else {
            continue;
        };
        let Some(agent) = agent(&section, None, settings, report) else {
            continue;
        };
        if !seen.insert(Arc::clone(&agent.name)) {
            let what = format!(
                "there is an agent '{}' already; choose another name",
                agent.name
            );
            item.report_key(report, Problem::Conflict(what));
        }
        agents.push(agent);
    }
    agents
}

/// An agent's table; what it doesn't name is as `base` says, or nothing.
fn agent(
    section: &Section<'_>,
    base: Option<&AgentSpec>,
    settings: &EngineSettings,
    report: &mut Report<'_>,
) -> Option<AgentSpec> {
    section.refuse_others(&["name", "resources", "attributes"], &[], report);
    let name: Arc<str> = match section.get("name") {
        Some(field) => field.string(report)?.into(),
        None => {
            section.report_missing("name", "the agent's name, such as name = \"m1\"", report);
            return None;
        }
    };
    let mut agent = base.cloned().unwrap_or_default();
    agent.name = name;
    match section.get("resources") {
        Some(field) => {
            let section = field.section(report)?;
            agent.resources = amounts(&section, &settings.resources, report);
            sections::refuse_unfit_for_host(
                &section,
                &agent.resources,
                &settings.resources,
                report,
            );
        }
        None if base.is_none() => {
            let example = "what it has, such as resources = { cpus = 8, mem = \"16GiB\" }";
            section.report_missing("resources", example, report);
        }
        None => {}
    }
    if let Some(field) = section.get("attributes") {
        agent.attributes = sections::attributes(&field.section(report)?, report);
    }
    Some(agent)
}

/// A table of amounts of cluster resources.
fn cluster_amounts(
    section: &Section<'_>,
    settings: &EngineSettings,
    report: &mut Report<'_>,
) -> BTreeMap<Arc<str>, Amount> {
    let amounts = amounts(section, &settings.resources, report);
    for field in section.fields() {
        let known = settings.resources.iter();
        let mut known = known.filter(|resource| *resource.name == *field.name);
        if known.any(|resource| resource.scope == Scope::Host) {
            let what = "is of host scope; write the name of one of [capacity]";
            field.report_key(report, Problem::Conflict(what.into()));
        }
    }
    amounts
}

/// How long tasks run, or a span of time.
fn span(field: Option<&Field<'_>>, report: &mut Report<'_>) -> Option<Duration> {
    field.and_then(|field| field.duration(report))
}
