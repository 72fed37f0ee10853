//! `apportion audit`: who asked for what.

use serde::Deserialize;

use super::output::table;
use super::{CliError, Context, exit, format};

/// Show who submitted, cancelled, retried or changed what, the newest first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only of this task and the call that submitted it; for this, the right to read the task is enough.
    #[arg(long, value_name = "ID")]
    task: Option<u64>,
    /// Only what was done with the token of this name.
    #[arg(long, value_name = "NAME", conflicts_with = "task")]
    by: Option<String>,
    /// At most so many, 1 to 1000.
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

#[derive(Deserialize)]
struct Answer {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    at: String,
    token: Option<String>,
    peer: Option<String>,
    action: String,
    task: Option<u64>,
    count: u64,
    detail: Option<String>,
}

pub(super) async fn execute(args: &Args, context: &mut Context<'_, '_>) -> Result<u8, CliError> {
    let answer = match args.task {
        Some(task) => {
            let path = format!("/v1/tasks/{task}/history");
            context.client.get(&path, &[]).await?
        }
        None => {
            let mut query = vec![("limit", args.limit.to_string())];
            query.extend(args.by.clone().map(|by| ("by", by)));
            context.client.get("/v1/audit", &query).await?
        }
    };
    if context.json {
        context.out.json(&answer)?;
        return Ok(exit::DONE);
    }
    let Answer { entries } = context.client.read(answer)?;
    let mut rows = table(&["WHEN", "WHO", "FROM", "DID", "TASKS", "REMARK"]);
    for entry in entries.iter().take(args.limit as usize) {
        let tasks = match (entry.task, entry.count) {
            (None, _) => String::new(),
            (Some(first), 0 | 1) => first.to_string(),
            (Some(first), count) => format!("{first}-{}", first + count - 1),
        };
        rows.add_row(vec![
            format::point(Some(&entry.at)),
            format::or_dash(entry.token.clone().unwrap_or_default()),
            format::or_dash(entry.peer.clone().unwrap_or_default()),
            entry.action.replace('_', " "),
            format::or_dash(tasks),
            format::or_dash(format::one_line(
                entry.detail.as_deref().unwrap_or_default(),
            )),
        ]);
    }
    context.out.table(&mut rows)?;
    Ok(exit::DONE)
}
