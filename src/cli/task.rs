//! `apportion task`: everything about one task.

use comfy_table::{Cell, Table};

use super::ids::IdRange;
use super::output::{pairs, state_cell, table};
use super::wire::{Attempt, Outcome, Task};
use super::{CliError, Context, exit, format, tasks};

/// Show all that is known of a task.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task.
    #[arg(value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    id: u64,
}

pub(super) async fn execute(args: &Args, context: &mut Context<'_, '_>) -> Result<u8, CliError> {
    let answer = context
        .client
        .get(&format!("/v1/tasks/{}", args.id), &[])
        .await?;
    if context.json {
        context.out.json(&answer)?;
        return Ok(exit::DONE);
    }
    let task: Task = context.client.read(answer)?;
    let first = [
        ("task", Cell::new(task.id)),
        ("state", state_cell(task.state)),
    ];
    let others = lines(&task)
        .into_iter()
        .filter(|(_, value)| !value.is_empty() && value != "-");
    let others = others.map(|(name, value)| (name, Cell::new(value)));
    context
        .out
        .table(&mut pairs(first.into_iter().chain(others)))?;
    if !task.attempts.is_empty() {
        context.out.line("")?;
        context.out.table(&mut attempts(&task.attempts))?;
    }
    Ok(exit::DONE)
}

fn lines(task: &Task) -> Vec<(&'static str, String)> {
    let outcome = task.outcome.as_ref();
    let cause = outcome.and_then(|outcome| outcome.cause.as_ref());
    let after = task
        .after
        .iter()
        .map(|after| IdRange::of(after.task, after.count).to_string());
    let number = |number: i64| {
        if number == 0 {
            String::new()
        } else {
            number.to_string()
        }
    };
    vec![
        (
            "why",
            cause.map(|cause| cause.message.clone()).unwrap_or_default(),
        ),
        (
            "exit code",
            outcome
                .and_then(|outcome| outcome.exit_code)
                .map(|code| code.to_string())
                .unwrap_or_default(),
        ),
        ("name", task.name.clone()),
        ("queue", task.queue.clone()),
        ("runs", tasks::command_line(&task.run)),
        (
            "array index",
            task.array_index
                .map(|index| index.to_string())
                .unwrap_or_default(),
        ),
        ("demand", format::amounts(&task.demand)),
        ("environment", format::pairs(&task.env)),
        ("constraints", format::pairs(&task.constraints)),
        ("after", after.collect::<Vec<_>>().join(" ")),
        ("priority", number(i64::from(task.priority))),
        ("retries", number(i64::from(task.retries))),
        (
            "timeout",
            task.timeout_seconds
                .map(format::seconds)
                .unwrap_or_default(),
        ),
        ("key", task.key.clone().unwrap_or_default()),
        ("inbox", task.inbox.clone().unwrap_or_default()),
        ("submitted", format::point(task.submitted_at.as_deref())),
        ("not before", format::point(task.not_before.as_deref())),
        ("ended", format::point(task.ended_at.as_deref())),
        ("value", value(task)),
        ("used", outcome.map(used).unwrap_or_default()),
    ]
}

fn value(task: &Task) -> String {
    let outcome = task.outcome.as_ref();
    let cut = if outcome.is_some_and(|outcome| outcome.value_truncated) {
        ", cut"
    } else {
        ""
    };
    let bytes = outcome.and_then(|outcome| outcome.value_bytes);
    bytes
        .map(|bytes| format!("{}{cut}", format::bytes(bytes)))
        .unwrap_or_default()
}

fn used(outcome: &Outcome) -> String {
    let parts = [
        outcome
            .wall_seconds
            .map(|wall| format!("{} wall", format::seconds(wall))),
        outcome
            .cpu_seconds
            .map(|cpu| format!("{} cpu", format::seconds(cpu))),
        outcome
            .memory_peak_bytes
            .map(|memory| format!("{} memory at most", format::bytes(memory))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn attempts(attempts: &[Attempt]) -> Table {
    let mut rows = table(&[
        ">ATTEMPT", "AGENT", "LAUNCHED", ">WALL", ">CPU", ">MEMORY", "END",
    ]);
    for attempt in attempts {
        let seconds = |seconds: Option<f64>| {
            format::or_dash(seconds.map(format::seconds).unwrap_or_default())
        };
        let memory = attempt
            .memory_peak_bytes
            .map(format::bytes)
            .unwrap_or_default();
        let end = attempt
            .end
            .as_ref()
            .map(|end| end.message.clone())
            .unwrap_or_default();
        rows.add_row(vec![
            attempt.attempt.to_string(),
            attempt.agent.clone(),
            format::point(attempt.launched_at.as_deref()),
            seconds(attempt.wall_seconds),
            seconds(attempt.cpu_seconds),
            format::or_dash(memory),
            format::or_dash(end),
        ]);
    }
    rows
}
