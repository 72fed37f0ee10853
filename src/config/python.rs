//! The section `[python]`: how Python tasks run.

use super::PythonConfig;
use super::errors::Problem;
use super::walk::{Field, Report};

/// Reads `[python]`.
pub(super) fn python(field: Option<Field<'_>>, report: &mut Report<'_>) -> PythonConfig {
    let mut python = PythonConfig::default();
    let Some(section) = field.and_then(|field| field.section(report)) else {
        return python;
    };
    let known = [
        "interpreter",
        "tasks_max",
        "memory_growth",
        "idle_max",
        "idle_time",
    ];
    section.refuse_others(&known, &[], report);
    if let Some(field) = section.get("interpreter") {
        match field.string(report) {
            Some("") => field.report(
                report,
                Problem::Conflict("is empty; name a program such as \"python3\"".into()),
            ),
            Some(text) => python.interpreter = text.into(),
            None => {}
        }
    }
    let mut whole = |name, range| {
        let number = section
            .get(name)
            .and_then(|field| field.whole(range, report));
        number.and_then(|number| u32::try_from(number).ok())
    };
    if let Some(tasks_max) = whole("tasks_max", 1..=u64::from(u32::MAX)) {
        python.tasks_max = tasks_max;
    }
    if let Some(idle_max) = whole("idle_max", 0..=10_000) {
        python.idle_max = idle_max;
    }
    if let Some(bytes) = section
        .get("memory_growth")
        .and_then(|field| field.bytes(report))
    {
        python.memory_growth_bytes = bytes;
    }
    if let Some(time) = section
        .get("idle_time")
        .and_then(|field| field.duration(report))
    {
        python.idle_time = time;
    }
    python
}
