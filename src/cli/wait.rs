//! `apportion wait`: waits until tasks have ended.

use serde_json::{Value, json};

use super::events::Changes;
use super::ids::IdRange;
use super::run::ending;
use super::wire::{State, Task, Tasks};
use super::{CliError, Context, exit, follow};

/// The most tasks asked for in one call.
const PAGE_MAX: u64 = 1000;
/// How many tasks that did not succeed are told one by one.
const TOLD_MAX: u64 = 20;

/// Wait until tasks have ended; exit with 1 if any of them did not succeed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Tasks, such as 7, or 7-106 for the tasks of an array.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<IdRange>,
}

/// What has become of the tasks so far.
#[derive(Default)]
struct Tally {
    n_succeeded: u64,
    n_failed: u64,
    n_cancelled: u64,
    /// The first few that did not succeed.
    told: Vec<Value>,
}

pub(super) async fn execute(args: &Args, context: &mut Context<'_, '_>) -> Result<u8, CliError> {
    let mut tally = Tally::default();
    let n_tasks = IdRange::count_all(&args.ids);
    let mut changes = Changes::subscribe(&context.client).await;
    for ids in &args.ids {
        wait_for(*ids, n_tasks, &mut tally, &mut changes, context).await?;
    }
    context.out.end_progress();
    let n_others = tally.n_failed + tally.n_cancelled;
    if context.json {
        context.out.json(&json!({
            "n_succeeded": tally.n_succeeded,
            "n_failed": tally.n_failed,
            "n_cancelled": tally.n_cancelled,
            "not_succeeded": tally.told,
        }))?;
    } else {
        if n_others > TOLD_MAX {
            context
                .out
                .note(format_args!("and {} more", n_others - TOLD_MAX))?;
        }
        context.out.line(tally.summary())?;
    }
    Ok(if n_others == 0 {
        exit::DONE
    } else {
        exit::TASK_FAILED
    })
}

/// Waits for the tasks in order: the first that has not ended holds up those behind it, which costs no time,
/// since all of them have to end.
async fn wait_for(
    ids: IdRange,
    n_tasks: u64,
    tally: &mut Tally,
    changes: &mut Changes,
    context: &mut Context<'_, '_>,
) -> Result<(), CliError> {
    let (mut next, mut page_len) = (ids.first, 1);
    while next <= ids.last {
        let page = find_page(next, page_len.min(ids.last - next + 1), context).await?;
        let n_ended = page.iter().take_while(|task| task.state.is_ended()).count();
        for task in &page[..n_ended] {
            tally.add(task, context)?;
        }
        next += n_ended as u64;
        context
            .out
            .progress("tasks ended".to_owned(), tally.n_ended(), Some(n_tasks));
        if n_ended == page.len() {
            page_len = (page_len * 2).min(PAGE_MAX);
        } else {
            page_len = 1;
            changes.wait(IdRange::of(next, 1)).await;
        }
    }
    Ok(())
}

/// The tasks from `next` on, at least one and without gaps.
async fn find_page(next: u64, len: u64, context: &Context<'_, '_>) -> Result<Vec<Task>, CliError> {
    let mut page = Vec::new();
    if len > 1 {
        let query = [
            ("after", (next - 1).to_string()),
            ("limit", len.to_string()),
        ];
        let tasks: Tasks = context.client.get_patiently("/v1/tasks", &query).await?;
        page = tasks.tasks;
        let n_dense = page
            .iter()
            .zip(next..)
            .take_while(|(task, id)| task.id == *id)
            .count();
        page.truncate(n_dense);
    }
    if page.is_empty() {
        // Where the task isn't known, the daemon's refusal says so.
        page.push(follow::find_task(&context.client, next).await?);
    }
    Ok(page)
}

impl Tally {
    fn add(&mut self, task: &Task, context: &mut Context<'_, '_>) -> Result<(), CliError> {
        match task.state {
            State::Succeeded => {
                self.n_succeeded += 1;
                return Ok(());
            }
            State::Cancelled => self.n_cancelled += 1,
            State::Failed
            | State::Waiting
            | State::Queued
            | State::Launching
            | State::Running
            | State::Cancelling => self.n_failed += 1,
        }
        if self.n_failed + self.n_cancelled <= TOLD_MAX {
            let cause = task
                .outcome
                .as_ref()
                .and_then(|outcome| outcome.cause.as_ref());
            let cause = cause.map(|cause| json!({"code": cause.code, "message": cause.message}));
            self.told
                .push(json!({"id": task.id, "state": task.state.as_str(), "cause": cause}));
            if !context.json {
                context.out.note(ending(task))?;
            }
        }
        Ok(())
    }

    fn n_ended(&self) -> u64 {
        self.n_succeeded + self.n_failed + self.n_cancelled
    }

    /// `2 succeeded, 1 failed`
    fn summary(&self) -> String {
        let parts = [
            (self.n_succeeded, "succeeded"),
            (self.n_failed, "failed"),
            (self.n_cancelled, "cancelled"),
        ];
        let parts = parts.iter().filter(|(number, _)| *number > 0);
        parts
            .map(|(number, word)| format!("{number} {word}"))
            .collect::<Vec<_>>()
            .join(", ")
    }
}
