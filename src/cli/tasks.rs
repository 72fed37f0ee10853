//! `apportion tasks`: a table of tasks.

use clap::builder::PossibleValuesParser;

use super::output::{state_cell, table};
use super::wire::{Run, State, Task, Tasks};
use super::{CliError, Context, exit, format};

/// The most tasks that the daemon gives in one call.
const PAGE_MAX: u32 = 1000;
/// The most characters of a command that stands in for a name.
const TITLE_LENGTH_MAX: usize = 32;

/// List tasks, in order of their ids, which is that of submission.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only of this queue and the queues below it.
    #[arg(long, short, value_name = "PATH")]
    queue: Option<String>,
    /// Only in these states; may be repeated, or a list with commas.
    #[arg(long, short, value_name = "STATE", value_delimiter = ',')]
    #[arg(value_parser = PossibleValuesParser::new(State::ALL.map(State::as_str)))]
    state: Vec<String>,
    /// Only with this in their name or key.
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// The newest first.
    #[arg(long)]
    newest: bool,
    /// Only tasks behind this id, in the order in which they are listed.
    #[arg(long, value_name = "ID")]
    after: Option<u64>,
}

pub(super) async fn execute(args: &Args, context: &mut Context<'_, '_>) -> Result<u8, CliError> {
    let mut query = Vec::new();
    query.extend(args.queue.clone().map(|queue| ("queue", queue)));
    query.extend(args.search.clone().map(|text| ("search", text)));
    if args.newest {
        query.push(("order", "newest".to_owned()));
    }
    if !args.state.is_empty() {
        query.push(("state", args.state.join(",")));
    }
    let mut tasks = Vec::new();
    let (mut after, mut left) = (args.after, args.limit);
    let mut answers = Vec::new();
    while left > 0 {
        let mut query = query.clone();
        query.push(("limit", left.min(PAGE_MAX).to_string()));
        query.extend(after.map(|after| ("after", after.to_string())));
        let answer = context.client.get("/v1/tasks", &query).await?;
        let page: Tasks = context.client.read(answer.clone())?;
        answers.push(answer);
        left = left.saturating_sub(u32::try_from(page.tasks.len()).unwrap_or(u32::MAX));
        tasks.extend(page.tasks);
        after = page.next_after;
        if after.is_none() {
            break;
        }
    }
    if context.json {
        context.out.json(&joined(answers))?;
    } else {
        print(&tasks, context)?;
        if let Some(after) = after {
            context.out.note(format_args!(
                "there are more tasks: add --after {after}, or a larger --limit"
            ))?;
        }
    }
    Ok(exit::DONE)
}

/// Several pages as if they were one.
fn joined(answers: Vec<serde_json::Value>) -> serde_json::Value {
    let mut pages = answers.into_iter();
    let mut all = pages.next().unwrap_or_default();
    for mut page in pages {
        if let (Some(tasks), Some(more)) =
            (all["tasks"].as_array_mut(), page["tasks"].as_array_mut())
        {
            tasks.append(more);
        }
        all["next_after"] = page["next_after"].take();
    }
    all
}

fn print(tasks: &[Task], context: &mut Context<'_, '_>) -> Result<(), CliError> {
    let mut rows = table(&[
        ">ID", "NAME", "QUEUE", "STATE", "DEMAND", ">AGE", ">RAN", "REMARK",
    ]);
    for task in tasks {
        rows.add_row(vec![
            task.id.to_string().into(),
            title(task).into(),
            task.queue.as_str().into(),
            state_cell(task.state),
            format::amounts(&task.demand).into(),
            format::age(context.now, task.submitted_at.as_deref()).into(),
            format::or_dash(ran(task, context).unwrap_or_default()).into(),
            remark(task, context).into(),
        ]);
    }
    Ok(context.out.table(&mut rows)?)
}

/// The name, or what runs where there is none; an array's task with its index.
pub(super) fn title(task: &Task) -> String {
    let name = if task.name.is_empty() {
        command_line(&task.run)
    } else {
        task.name.clone()
    };
    let name = match name.char_indices().nth(TITLE_LENGTH_MAX) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name,
    };
    let name = format::one_line(&name);
    match task.array_index {
        Some(index) => format!("{name}[{index}]"),
        None => name,
    }
}

/// What runs, in one line.
pub(super) fn command_line(run: &Run) -> String {
    match (&run.command, &run.argv) {
        (Some(line), _) => line.clone(),
        (None, Some(argv)) => argv.join(" "),
        (None, None) if run.python => "a pickled Python object".to_owned(),
        (None, None) => "-".to_owned(),
    }
}

/// How long the last attempt ran, or has been running.
fn ran(task: &Task, context: &Context<'_, '_>) -> Option<String> {
    let attempt = task.attempts.last()?;
    match attempt.wall_seconds {
        Some(seconds) => Some(format::seconds(seconds)),
        None if attempt.ended_at.is_none() => attempt
            .started_at
            .as_deref()
            .map(|started| format::age(context.now, Some(started))),
        None => None,
    }
}

/// Why it didn't succeed, where it runs, or how long it pauses.
fn remark(task: &Task, context: &Context<'_, '_>) -> String {
    let cause = task
        .outcome
        .as_ref()
        .and_then(|outcome| outcome.cause.as_ref());
    if let Some(cause) = cause {
        return cause.message.clone();
    }
    let attempt = task
        .attempts
        .last()
        .filter(|attempt| attempt.ended_at.is_none());
    let again = format!("attempt {}", task.n_attempts);
    let pause = task.not_before.as_deref().and_then(format::time);
    let pause = pause
        .map(|until| format::since(until, context.now))
        .filter(|pause| !pause.is_zero());
    match (attempt, pause) {
        (Some(attempt), _) if task.n_attempts > 1 => format!("on {}, {again}", attempt.agent),
        (Some(attempt), _) => format!("on {}", attempt.agent),
        (None, Some(pause)) => format!("pauses {} after {again}", format::duration(pause)),
        (None, None) if task.n_attempts > 0 && !task.state.is_ended() => format!("after {again}"),
        (None, None) => "-".to_owned(),
    }
}
