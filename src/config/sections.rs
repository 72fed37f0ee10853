//! The sections `[tasks]`, `[resources]` and `[backend]`, from TOML to valid values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::Amount;

use super::errors::{Problem, nearest};
use super::mesos;
use super::walk::{Field, Report, Section};
use super::{BackendConfig, LimitMode, LocalConfig};
use crate::engine::settings::{ResourceSettings, Scope};

/// The most characters of a name of a resource or an attribute.
const NAME_LENGTH_MAX: usize = 64;
/// What `[tasks]` says; the engine takes all but the demand.
pub(super) struct Tasks {
    pub(super) demand: BTreeMap<Arc<str>, Amount>,
    pub(super) kill_grace: Duration,
    pub(super) lost_max: u32,
    pub(super) retry_pause: Duration,
    pub(super) retry_pause_max: Duration,
    pub(super) live_max: u64,
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            demand: BTreeMap::from([("cpus".into(), Amount::from_units(1).unwrap_or_default())]),
            kill_grace: Duration::from_secs(10),
            lost_max: 10,
            retry_pause: Duration::from_secs(1),
            retry_pause_max: Duration::from_secs(5 * 60),
            live_max: 10_000_000,
        }
    }
}

/// Reads `[tasks]`.
pub(super) fn tasks(
    field: Option<Field<'_>>,
    resources: &[ResourceSettings],
    report: &mut Report<'_>,
) -> Tasks {
    let mut tasks = Tasks::default();
    let Some(section) = field.and_then(|field| field.section(report)) else {
        return tasks;
    };
    let known = [
        "demand",
        "kill_grace",
        "lost_max",
        "retry_pause",
        "retry_pause_max",
        "live_max",
        "user",
        "limits",
    ];
    section.refuse_others(&known, &[], report);
    if let Some(demand) = section
        .get("demand")
        .and_then(|field| field.section(report))
    {
        tasks.demand = amounts(&demand, resources, report);
        tasks.demand.retain(|_, amount| !amount.is_zero());
    }
    set(
        &mut tasks.kill_grace,
        section
            .get("kill_grace")
            .and_then(|field| field.duration(report)),
    );
    if let Some(field) = section.get("lost_max") {
        let lost_max = field.whole(0..=u64::from(u32::MAX), report);
        set(
            &mut tasks.lost_max,
            lost_max.and_then(|number| number.try_into().ok()),
        );
    }
    set(
        &mut tasks.retry_pause,
        section
            .get("retry_pause")
            .and_then(|field| field.duration(report)),
    );
    let pause_max = section.get("retry_pause_max");
    set(
        &mut tasks.retry_pause_max,
        pause_max.as_ref().and_then(|field| field.duration(report)),
    );
    if tasks.retry_pause_max < tasks.retry_pause {
        let problem = Problem::Conflict(format!(
            "the longest pause ({}) must not be shorter than the first, retry_pause ({})",
            humantime::format_duration(tasks.retry_pause_max),
            humantime::format_duration(tasks.retry_pause),
        ));
        if let Some(field) = pause_max.or_else(|| section.get("retry_pause")) {
            field.report(report, problem);
        }
    }
    if let Some(field) = section.get("live_max") {
        set(
            &mut tasks.live_max,
            field.whole(1..=u64::from(u32::MAX), report),
        );
    }
    tasks
}

/// Reads `[resources]`. `cpus` and `mem` are always there. In order of names.
pub(super) fn resources(
    field: Option<Field<'_>>,
    report: &mut Report<'_>,
) -> Vec<ResourceSettings> {
    let mut scopes: BTreeMap<Arc<str>, Scope> =
        BTreeMap::from([("cpus".into(), Scope::Host), ("mem".into(), Scope::Host)]);
    let section = field.and_then(|field| field.section(report));
    for field in section.iter().flat_map(Section::fields) {
        let scope = field
            .section(report)
            .and_then(|section| scope(&field, &section, report));
        if !check_resource_name(&field, report) {
            continue;
        }
        let like_it = scopes
            .keys()
            .find(|name| name.eq_ignore_ascii_case(field.name));
        match like_it {
            Some(name) if &**name != field.name => {
                let problem = Problem::Conflict(format!(
                    "differs from '{name}' only by case; tasks couldn't tell the two apart in their environment, so choose another name"
                ));
                field.report_key(report, problem);
            }
            Some(_) if matches!(scope, Some(Scope::Cluster { .. })) => {
                let problem = Problem::Conflict(format!(
                    "'{}' is always of host scope: agents bring it; give a cluster resource another name",
                    field.name
                ));
                field.report_key(report, problem);
            }
            Some(_) | None => {
                // A faulty scope was reported; the name is known all the same, or every use of it would be reported too.
                scopes.insert(field.name.into(), scope.unwrap_or(Scope::Host));
            }
        }
    }
    scopes
        .into_iter()
        .map(|(name, scope)| ResourceSettings { name, scope })
        .collect()
}

pub(super) fn check_resource_name(field: &Field<'_>, report: &mut Report<'_>) -> bool {
    let name = field.name;
    let rule = if name == "tasks" {
        "the policy 'weighted' counts running tasks by that name; choose another".to_owned()
    } else if !name.starts_with(|first: char| first.is_ascii_alphabetic())
        || !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        || name.len() > NAME_LENGTH_MAX
    {
        format!("write letters, digits and _, a letter first, at most {NAME_LENGTH_MAX}")
    } else {
        return true;
    };
    field.report_key(
        report,
        Problem::NameSyntax {
            what: "name of a resource",
            found: name.to_owned(),
            rule,
        },
    );
    false
}

fn scope(field: &Field<'_>, section: &Section<'_>, report: &mut Report<'_>) -> Option<Scope> {
    section.refuse_others(&["scope", "capacity", "outside"], &[], report);
    let capacity = section.get("capacity");
    let Some(scope) = section.get("scope") else {
        section.report_missing(
            "scope",
            "scope = \"host\" where agents bring it, or scope = \"cluster\"",
            report,
        );
        return None;
    };
    match (scope.string(report)?, capacity) {
        ("host", None) => Some(Scope::Host),
        ("host", Some(capacity)) => {
            let what = "a host resource has no capacity of its own: agents bring it; leave this away, or write scope = \"cluster\"";
            capacity.report_key(report, Problem::Conflict(what.into()));
            None
        }
        ("cluster", Some(capacity)) => capacity
            .amount(field.name, report)
            .map(|capacity| Scope::Cluster { capacity }),
        ("cluster", None) => {
            section.report_missing(
                "capacity",
                "how much the whole cluster has of it, such as capacity = 40",
                report,
            );
            None
        }
        (other, _) => {
            scope.report(report, unknown_name("scope", other, &["host", "cluster"]));
            None
        }
    }
}

/// Reads a table of amounts by resource.
pub(super) fn amounts(
    section: &Section<'_>,
    resources: &[ResourceSettings],
    report: &mut Report<'_>,
) -> BTreeMap<Arc<str>, Amount> {
    let mut amounts = BTreeMap::new();
    for field in section.fields() {
        let resource = resource(field.name, &field, resources, report);
        let amount = field.amount(field.name, report);
        if let (Some(resource), Some(amount)) = (resource, amount) {
            amounts.insert(Arc::clone(&resource.name), amount);
        }
    }
    amounts
}

/// Finds a declared resource, or reports that it isn't one.
pub(super) fn resource<'r>(
    name: &str,
    field: &Field<'_>,
    resources: &'r [ResourceSettings],
    report: &mut Report<'_>,
) -> Option<&'r ResourceSettings> {
    let found = resources.iter().find(|resource| &*resource.name == name);
    if found.is_none() {
        let names: Vec<&str> = resources.iter().map(|resource| &*resource.name).collect();
        field.report(
            report,
            Problem::UnknownName {
                what: "resource",
                found: name.to_owned(),
                meant: nearest(name, names.iter().copied()),
                hint: format!(
                    "known are {}; others are declared in [resources]",
                    names.join(", ")
                ),
            },
        );
    }
    found
}

/// The keys of `[backend]`, whatever its kind.
const KEYS: [&str; 5] = ["kind", "resources", "attributes", "limits", "mesos"];

/// Reads `[backend]`.
pub(super) fn backend(
    field: Option<Field<'_>>,
    resources: &[ResourceSettings],
    isolated_queues: BTreeSet<Arc<str>>,
    report: &mut Report<'_>,
) -> BackendConfig {
    let section = field.and_then(|field| field.section(report));
    let Some(section) = section else {
        return BackendConfig::Local(Box::default());
    };
    let kind = section
        .get("kind")
        .and_then(|field| Some((field.string(report)?, field)));
    match kind {
        Some(("mesos", _)) => {
            section.refuse_others(&KEYS, &[], report);
            for field in ["resources", "attributes", "limits"]
                .iter()
                .filter_map(|key| section.get(key))
            {
                let what =
                    "is for kind = \"local\"; agents of Mesos tell what they have, and limit it"
                        .to_owned();
                field.report_key(report, Problem::Misplaced(what));
            }
            let mut mesos = mesos::mesos(&section, resources, report);
            mesos.placement.isolated_queues = isolated_queues;
            return BackendConfig::Mesos(Box::new(mesos));
        }
        Some(("local", _)) | None => {}
        Some((kind, field)) => {
            field.report(
                report,
                unknown_name("kind of backend", kind, &["local", "mesos"]),
            );
        }
    }
    BackendConfig::Local(Box::new(local(&section, resources, report)))
}

/// Reads what `[backend]` says of this machine.
fn local(
    section: &Section<'_>,
    resources: &[ResourceSettings],
    report: &mut Report<'_>,
) -> LocalConfig {
    let mut local = LocalConfig::default();
    section.refuse_others(&KEYS, &[], report);
    if let Some(field) = section.get("mesos") {
        let what = "is for kind = \"mesos\"".to_owned();
        field.report_key(report, Problem::Misplaced(what));
    }
    if let Some(section) = section
        .get("resources")
        .and_then(|field| field.section(report))
    {
        local.resources = amounts(&section, resources, report);
        refuse_unfit_for_host(&section, &local.resources, resources, report);
    }
    if let Some(section) = section
        .get("attributes")
        .and_then(|field| field.section(report))
    {
        local.attributes = attributes(&section, report);
    }
    if let Some(field) = section.get("limits") {
        match field.string(report) {
            Some("auto") => local.limits = LimitMode::Auto,
            Some("cgroup") => local.limits = LimitMode::Cgroup,
            Some("watch") => local.limits = LimitMode::Watch,
            Some("off") => local.limits = LimitMode::Off,
            Some(other) => {
                let problem =
                    unknown_name("mode of limits", other, &["auto", "cgroup", "watch", "off"]);
                field.report(report, problem);
            }
            None => {}
        }
    }
    local
}

/// A machine brings host resources only, and cpus and mem of nothing would let nothing run, without a word.
pub(super) fn refuse_unfit_for_host(
    section: &Section<'_>,
    amounts: &BTreeMap<Arc<str>, Amount>,
    resources: &[ResourceSettings],
    report: &mut Report<'_>,
) {
    for field in section.fields() {
        let declared = resources
            .iter()
            .find(|resource| &*resource.name == field.name);
        let is_cluster =
            declared.is_some_and(|resource| matches!(resource.scope, Scope::Cluster { .. }));
        if is_cluster {
            let problem = Problem::Conflict(format!(
                "'{0}' is of cluster scope; its amount is resources.{0}.capacity, so leave this away",
                field.name
            ));
            field.report_key(report, problem);
        } else if matches!(field.name, "cpus" | "mem")
            && amounts.get(field.name).is_some_and(|it| it.is_zero())
        {
            let problem = Problem::OutOfRange {
                range: "above 0".into(),
                found: "0".into(),
            };
            field.report(report, problem);
        }
    }
}

pub(super) fn attributes(
    section: &Section<'_>,
    report: &mut Report<'_>,
) -> BTreeMap<Arc<str>, Arc<str>> {
    let mut attributes = BTreeMap::new();
    for field in section.fields() {
        let name = field.name;
        if name.is_empty() || name.len() > NAME_LENGTH_MAX || !name.bytes().all(is_name_byte) {
            field.report_key(
                report,
                Problem::NameSyntax {
                    what: "name of an attribute",
                    found: name.to_owned(),
                    rule: format!("write letters, digits, _, . and -, at most {NAME_LENGTH_MAX}"),
                },
            );
        } else if let Some(value) = field.string(report) {
            attributes.insert(name.into(), value.into());
        }
    }
    attributes
}

/// Whether a byte may stand in a segment of a queue's path or in an attribute's name.
pub(super) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

/// The problem of a word that isn't one of a few.
pub(super) fn unknown_name(what: &'static str, found: &str, known: &[&str]) -> Problem {
    Problem::UnknownName {
        what,
        found: found.to_owned(),
        meant: nearest(found, known.iter().copied()),
        hint: format!("known are {}", known.join(", ")),
    }
}

/// Puts a value in the place of its default, if there is one.
pub(super) fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}
