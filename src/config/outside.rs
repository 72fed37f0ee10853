//! `[resources.X.outside]`: how the daemon learns what others use of a cluster resource.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::errors::Problem;
use super::walk::{Field, Report, Section};
use crate::engine::settings::{ResourceSettings, Scope};

/// How often and for how long may be asked.
const SPAN: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(24 * 60 * 60);

/// How what others use of one resource is found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideConfig {
    /// What is asked.
    pub source: OutsideSource,
    /// The pause between two answers.
    pub every: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// After so long without an answer the last one counts no more, and all of the resource is taken to be in use.
    pub stale_after: Duration,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutsideSource {
    /// A line for `/bin/sh -c`, which prints the number.
    Command(String),
    /// A URL whose answer is the number.
    Url {
        /// The URL.
        url: String,
        /// Where in a JSON answer the number stands (RFC 6901), such as `/data/used`.
        pointer: Option<String>,
    },
}

/// Reads the `outside` of all resources.
pub(super) fn outside(
    field: Option<Field<'_>>,
    resources: &[ResourceSettings],
    report: &mut Report<'_>,
) -> BTreeMap<Arc<str>, OutsideConfig> {
    let mut all = BTreeMap::new();
    let sections = field
        .filter(Field::is_table)
        .and_then(|field| field.section(report));
    for field in sections.iter().flat_map(Section::fields) {
        if !field.is_table() {
            continue;
        }
        let section = field.section(report);
        let Some(outside) = section.and_then(|section| section.get("outside")) else {
            continue;
        };
        let known = resources
            .iter()
            .find(|resource| *resource.name == *field.name);
        match known.map(|resource| resource.scope) {
            Some(Scope::Host) => {
                let what = "only a cluster resource is used from outside; leave this away, or write scope = \"cluster\"";
                outside.report_key(report, Problem::Conflict(what.into()));
            }
            // A name that can't be one was reported.
            Some(Scope::Cluster { .. }) | None => {
                if let Some(outside) = one(&outside, report) {
                    all.insert(field.name.into(), outside);
                }
            }
        }
    }
    all
}

fn one(field: &Field<'_>, report: &mut Report<'_>) -> Option<OutsideConfig> {
    let section = field.section(report)?;
    let known = [
        "command",
        "url",
        "pointer",
        "every",
        "timeout",
        "stale_after",
    ];
    section.refuse_others(&known, &[], report);
    let source = source(field, &section, report);
    let mut span = |name: &str, default: Duration| {
        let Some(field) = section.get(name) else {
            return Some(default);
        };
        field.duration_within(&SPAN, "from 100ms to 1d", report)
    };
    let every = span("every", Duration::from_secs(10))?;
    let timeout = span("timeout", Duration::from_secs(5))?;
    let stale_after = span("stale_after", (every * 6).max(Duration::from_secs(60)))?;
    if stale_after < every {
        let what = "must not be shorter than every: each answer would be stale before the next";
        if let Some(field) = section.get("stale_after") {
            field.report(report, Problem::Conflict(what.into()));
        }
        return None;
    }
    Some(OutsideConfig {
        source: source?,
        every,
        timeout,
        stale_after,
    })
}

fn source(
    field: &Field<'_>,
    section: &Section<'_>,
    report: &mut Report<'_>,
) -> Option<OutsideSource> {
    let (command, url) = (section.get("command"), section.get("url"));
    let pointer = section.get("pointer");
    match (command, url) {
        (Some(command), None) => {
            if let Some(pointer) = pointer {
                let what = "goes with url only; let the command print the bare number";
                pointer.report_key(report, Problem::Conflict(what.into()));
            }
            let line = command.string(report)?;
            Some(OutsideSource::Command(line.to_owned()))
        }
        (None, Some(url_field)) => {
            let url = url_field.string(report)?.to_owned();
            if !url.starts_with("http://") && !url.starts_with("https://") {
                let what = "must begin with http:// or https://";
                url_field.report(report, Problem::Conflict(what.into()));
                return None;
            }
            let pointer = match pointer {
                Some(pointer) => Some(pointer.string(report)?.to_owned()),
                None => None,
            };
            Some(OutsideSource::Url { url, pointer })
        }
        (Some(_), Some(url)) => {
            let what = "stands beside a command; keep one of them";
            url.report_key(report, Problem::Conflict(what.into()));
            None
        }
        (None, None) => {
            let what = "needs a command that prints the number, or a url that answers it";
            field.report_key(report, Problem::Conflict(what.into()));
            None
        }
    }
}
