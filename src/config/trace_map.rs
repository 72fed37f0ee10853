//! The mapping file of `simulate --map`: which column of a trace holds what, in which unit.

use std::path::Path;

use apportion_policies::Registry;
use toml::de::DeTable;

use super::errors::{ConfigError, ConfigErrors, Problem};
use super::read_text;
use super::sections::{check_resource_name, unknown_name};
use super::walk::{Field, Report, Section};
use crate::sim::trace::swf::{Columns, Measured, Per};

/// No trace has more.
const COLUMN_MAX: u64 = 10_000;

/// The units of memory, each with how many thousandths of a MiB one of it is, as a fraction.
const MEM_UNITS: [(&str, (u64, u64)); 4] = [
    ("B", (1000, 1 << 20)),
    ("KiB", (1000, 1 << 10)),
    ("MiB", (1000, 1)),
    ("GiB", (1_024_000, 1)),
];

/// Reads and validates a mapping file; what it doesn't name is as in the Standard Workload Format.
///
/// # Errors
/// All that is wrong with the file, not only the first.
pub fn load(path: &Path) -> Result<Columns, ConfigErrors> {
    let what = "mapping file";
    read_text(path, |message| Problem::UnreadableFile { what, message })
        .and_then(|text| parse(&text))
        .map_err(|errors| ConfigErrors {
            file: Some(path.to_owned()),
            errors,
        })
}

fn parse(text: &str) -> Result<Columns, Vec<ConfigError>> {
    let registry = Registry::default();
    let mut report = Report::new(text, &registry);
    let (table, syntax) = DeTable::parse_recoverable(text);
    let is_toml = report.push_syntax(&syntax);
    let columns = is_toml.then(|| build(&Section::root(table.get_ref()), &mut report));
    let errors = report.into_errors();
    match columns {
        Some(columns) if errors.is_empty() => Ok(columns),
        _ => Err(errors),
    }
}

fn build(root: &Section<'_>, report: &mut Report<'_>) -> Columns {
    let known = [
        "submit",
        "run",
        "processors",
        "processors_used",
        "mem",
        "mem_used",
        "status",
        "user",
        "group",
        "queue",
        "partition",
        "nodes",
        "resources",
    ];
    root.refuse_others(&known, &[], report);
    let mut columns = Columns::default();
    let places = [
        ("submit", &mut columns.submit),
        ("run", &mut columns.run),
        ("processors", &mut columns.processors),
        ("processors_used", &mut columns.processors_used),
        ("status", &mut columns.status),
        ("user", &mut columns.user),
        ("group", &mut columns.group),
        ("queue", &mut columns.queue),
        ("partition", &mut columns.partition),
    ];
    for (name, place) in places {
        if let Some(number) = root.get(name).and_then(|field| column(&field, report)) {
            *place = number;
        }
    }
    columns.nodes = root.get("nodes").and_then(|field| column(&field, report));
    if let Some(field) = root.get("mem") {
        columns.mem = measured(&field, true, report);
        // What stands in the format's own place may mean something else then.
        columns.mem_used = None;
    }
    if let Some(field) = root.get("mem_used") {
        columns.mem_used = measured(&field, true, report);
    }
    if let Some(section) = root
        .get("resources")
        .and_then(|field| field.section(report))
    {
        for field in section.fields() {
            let is_name = check_resource_name(&field, report);
            if let Some(measured) = measured(&field, false, report).filter(|_| is_name) {
                columns.resources.insert(field.name.into(), measured);
            }
        }
    }
    columns
}

fn column(field: &Field<'_>, report: &mut Report<'_>) -> Option<usize> {
    let column = field.whole(1..=COLUMN_MAX, report)?;
    usize::try_from(column).ok()
}

/// A column, or a table with `column`, `unit` (of memory only) and `per`.
fn measured(field: &Field<'_>, is_mem: bool, report: &mut Report<'_>) -> Option<Measured> {
    let mut measured = Measured {
        column: 0,
        milli: if is_mem { (1000, 1 << 10) } else { (1000, 1) },
        per: if is_mem { Per::Processor } else { Per::Job },
    };
    if !field.is_table() {
        measured.column = column(field, report)?;
        return Some(measured);
    }
    let section = field.section(report)?;
    section.refuse_others(&["column", "unit", "per"], &[], report);
    let Some(place) = section.get("column") else {
        section.report_missing("column", "the column, from 1, such as column = 10", report);
        return None;
    };
    measured.column = column(&place, report)?;
    if let Some(field) = section.get("unit") {
        let unit = field.string(report)?;
        let known = MEM_UNITS.iter().find(|(name, _)| *name == unit);
        match known {
            Some((_, milli)) if is_mem => measured.milli = *milli,
            Some(_) => {
                let what = "only memory has a unit; leave this away";
                field.report_key(report, Problem::Conflict(what.into()));
            }
            None => field.report(
                report,
                unknown_name("unit", unit, &MEM_UNITS.map(|it| it.0)),
            ),
        }
    }
    if let Some(field) = section.get("per") {
        let known = [
            ("processor", Per::Processor),
            ("node", Per::Node),
            ("job", Per::Job),
        ];
        let word = field.string(report)?;
        match known.iter().find(|(name, _)| *name == word) {
            Some((_, per)) => measured.per = *per,
            None => field.report(report, unknown_name("measure", word, &known.map(|it| it.0))),
        }
    }
    Some(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_units_are_read() {
        let columns = parse("queue = 20\nnodes = 19\nmem = { column = 10, unit = \"B\", per = \"node\" }\n[resources]\ngpus = 22\n").unwrap();
        let mem = columns.mem.unwrap();
        assert_eq!((columns.queue, columns.nodes), (20, Some(19)));
        assert_eq!(
            (mem.column, mem.milli, mem.per),
            (10, (1000, 1 << 20), Per::Node)
        );
        assert_eq!(columns.mem_used, None);
        assert_eq!(columns.resources["gpus"].per, Per::Job);
    }

    #[test]
    fn everything_wrong_is_told() {
        let errors = parse("quue = 1\nrun = 0\nmem = { unit = \"KB\" }\nmem_used = { column = 3, unit = \"KB\", per = \"core\" }\n").unwrap_err();
        let keys: Vec<&str> = errors.iter().map(|error| &*error.key).collect();
        assert_eq!(
            keys,
            ["quue", "run", "mem.column", "mem_used.unit", "mem_used.per"]
        );
    }
}
