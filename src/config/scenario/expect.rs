//! What a step of a scenario expects.

use std::collections::BTreeMap;

use super::{EngineSettings, resource};
use crate::config::walk::{Field, Report, Section};
use crate::sim::scenario::{Check, Shown, Subject, rounded};

/// Reads `expect`.
pub(super) fn checks(
    section: &Section<'_>,
    settings: &EngineSettings,
    report: &mut Report<'_>,
) -> Option<Vec<Check>> {
    let known = Subject::ALL.map(Subject::key);
    section.refuse_others(&known, &[], report);
    let mut checks = Vec::new();
    for field in section.fields() {
        let mut subjects = Subject::ALL.into_iter();
        let Some(subject) = subjects.find(|subject| subject.key() == field.name) else {
            continue;
        };
        let expected = expected(subject, &field, settings, report)?;
        checks.push(Check { subject, expected });
    }
    Some(checks)
}

fn expected(
    subject: Subject,
    field: &Field<'_>,
    settings: &EngineSettings,
    report: &mut Report<'_>,
) -> Option<Shown> {
    match subject {
        Subject::Launched
        | Subject::LaunchedNames
        | Subject::LaunchedOn
        | Subject::Order
        | Subject::Refused => {
            let strings = field.strings(report)?.into_iter();
            Some(Shown::List(strings.map(str::to_owned).collect()))
        }
        Subject::LaunchedCounts
        | Subject::Running
        | Subject::Waiting
        | Subject::Unsatisfiable
        | Subject::Agents => by_name(field, report, |field, report| {
            Some(field.whole(0..=u64::MAX, report)?.to_string())
        }),
        Subject::State | Subject::Why | Subject::Claims => {
            by_name(field, report, |field, report| {
                Some(field.string(report)?.to_owned())
            })
        }
        Subject::DominantShare => by_name(field, report, |field, report| {
            Some(field.share(report)?.to_string())
        }),
        Subject::Entitlement => by_name(field, report, |field, report| {
            Some(rounded(field.share(report)?))
        }),
        Subject::FairnessError => Some(Shown::Number(rounded(field.share(report)?))),
        Subject::Share => by_names(field, settings, report, |field, report| {
            Some(field.share(report)?.to_string())
        }),
        Subject::Used => by_names(field, settings, report, |field, report| {
            Some(field.amount(field.name, report)?.to_string())
        }),
    }
}

fn by_name(
    field: &Field<'_>,
    report: &mut Report<'_>,
    read: impl Fn(&Field<'_>, &mut Report<'_>) -> Option<String>,
) -> Option<Shown> {
    let mut map = BTreeMap::new();
    for field in field.section(report)?.fields() {
        map.insert(field.name.to_owned(), read(&field, report)?);
    }
    Some(Shown::ByName(map))
}

fn by_names(
    field: &Field<'_>,
    settings: &EngineSettings,
    report: &mut Report<'_>,
    read: impl Fn(&Field<'_>, &mut Report<'_>) -> Option<String>,
) -> Option<Shown> {
    let mut maps = BTreeMap::new();
    for field in field.section(report)?.fields() {
        let mut map = BTreeMap::new();
        for field in field.section(report)?.fields() {
            resource(field.name, &field, &settings.resources, report)?;
            map.insert(field.name.to_owned(), read(&field, report)?);
        }
        maps.insert(field.name.to_owned(), map);
    }
    Some(Shown::ByNames(maps))
}
