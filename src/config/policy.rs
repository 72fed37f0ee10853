//! `[policy]`: who orders the queues, and when a task gets a claim, from TOML to valid values.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::errors::Problem;
use super::sections::{resource, unknown_name};
use super::walk::{Field, Report, Section};
use crate::engine::settings::{ClaimSettings, Deadline, PolicyConfig, ResourceSettings};

/// The word of `weighted` for counting running tasks instead of a resource.
const COUNT_TASKS: &str = "tasks";
/// The policy where none is named.
const DEFAULT: &str = "drf";
/// Keys of a policy, wherever it stands.
const POLICY_KEYS: [&str; 3] = ["name", "resource", "half_life"];
/// Keys of `[policy]`.
const SECTION_KEYS: [&str; 6] = [
    "name",
    "resource",
    "half_life",
    "patience",
    "claims_max",
    "claim_expiry",
];
/// Below this, a half-life says nothing that momentary use doesn't; above, nothing is ever forgotten.
const HALF_LIFE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3650 * 24 * 60 * 60);
/// Each decision looks at every claim.
const CLAIMS_MAX: u64 = 1000;

/// Reads `[policy]`: how inner queues order their children where they don't say themselves, and what
/// becomes of tasks that fit nowhere.
pub(super) fn section(
    field: Option<Field<'_>>,
    resources: &[ResourceSettings],
    report: &mut Report<'_>,
) -> (PolicyConfig, ClaimSettings) {
    let found = field
        .as_ref()
        .and_then(|field| policy_with(field, &SECTION_KEYS, Some(DEFAULT), resources, report));
    let policy = found.unwrap_or_else(|| PolicyConfig::new(DEFAULT.into()));
    let table = field.filter(Field::is_table);
    let claims = table.and_then(|field| Some(claims(&field.section(report)?, report)));
    (policy, claims.unwrap_or_default())
}

fn claims(section: &Section<'_>, report: &mut Report<'_>) -> ClaimSettings {
    let mut claims = ClaimSettings::default();
    let patience = section.get("patience");
    if let Some(patience) = patience.and_then(|field| field.deadline(report)) {
        claims.patience = patience;
    }
    let max = section.get("claims_max");
    if let Some(max) = max.and_then(|field| field.whole(0..=CLAIMS_MAX, report)) {
        claims.max = u32::try_from(max).unwrap_or(u32::MAX);
    }
    if let Some(field) = section.get("claim_expiry") {
        match field.deadline(report) {
            Some(Deadline::After(Duration::ZERO)) => field.report(
                report,
                Problem::OutOfRange {
                    range: "above 0, or \"never\"".into(),
                    found: "0s".into(),
                },
            ),
            Some(expiry) => claims.expiry = expiry,
            None => {}
        }
    }
    claims
}

/// Reads a queue's own policy: a table with `name` and its parameters, or only the name.
pub(super) fn policy(
    field: &Field<'_>,
    resources: &[ResourceSettings],
    report: &mut Report<'_>,
) -> Option<PolicyConfig> {
    policy_with(field, &POLICY_KEYS, None, resources, report)
}

/// Reads a policy in a table that may have these keys; `default` is its name where none is given.
fn policy_with(
    field: &Field<'_>,
    known: &[&'static str],
    default: Option<&str>,
    resources: &[ResourceSettings],
    report: &mut Report<'_>,
) -> Option<PolicyConfig> {
    if !field.is_table() {
        return known_policy(field, report).map(PolicyConfig::new);
    }
    let section = field.section(report)?;
    section.refuse_others(known, &[], report);
    let resource_field = section.get("resource");
    let half_life_field = section.get("half_life");
    let name = match (section.get("name"), default) {
        (Some(name), _) => known_policy(&name, report)?,
        (None, Some(name)) => name.into(),
        (None, None) => {
            section.report_missing("name", "the policy's name, such as name = \"drf\"", report);
            return None;
        }
    };
    let mut policy = PolicyConfig::new(name);
    if let Some(field) = half_life_field {
        policy.half_life = half_life(&field, &policy.name, report);
    }
    if let Some(field) = resource_field {
        policy.resource = counted_resource(&field, &policy.name, resources, report)?;
    }
    Some(policy)
}

/// The resource that `weighted` counts; `Some(None)` for running tasks, `None` after an error.
fn counted_resource(
    field: &Field<'_>,
    policy: &str,
    resources: &[ResourceSettings],
    report: &mut Report<'_>,
) -> Option<Option<Arc<str>>> {
    let wanted = field.string(report)?;
    if policy != "weighted" {
        let what = format!(
            "the policy '{policy}' takes no resource; leave this away, or write name = \"weighted\""
        );
        field.report_key(report, Problem::Conflict(what));
        return None;
    }
    if wanted == COUNT_TASKS {
        return Some(None);
    }
    let resource = resource(wanted, field, resources, report)?;
    Some(Some(Arc::clone(&resource.name)))
}

fn half_life(field: &Field<'_>, policy: &str, report: &mut Report<'_>) -> Option<Duration> {
    let half_life = field.duration(report)?;
    if policy == "fifo" {
        let what =
            "the policy 'fifo' looks at no use, so there is nothing to forget; leave this away";
        field.report_key(report, Problem::Conflict(what.into()));
        return None;
    }
    field.within(half_life, &HALF_LIFE, "from 1s to 3650d", report)
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
