//! `apportion logs`: what a task wrote.

use serde_json::json;

use super::follow::{self, Follower, LogName, Step};
use super::{CliError, Context, exit};

/// Print what a task wrote: its standard output, or its standard error.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task.
    #[arg(value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    id: u64,
    /// Its standard error instead of its standard output.
    #[arg(long)]
    stderr: bool,
    /// Go on printing until the task has ended, further attempts included.
    #[arg(long, short)]
    follow: bool,
    /// Of this attempt instead of the latest.
    #[arg(long, value_name = "N", conflicts_with = "follow")]
    attempt: Option<u32>,
}

pub(super) async fn execute(args: &Args, context: &mut Context<'_, '_>) -> Result<u8, CliError> {
    if args.follow {
        return follow(args, context).await;
    }
    let name = if args.stderr {
        LogName::Stderr
    } else {
        LogName::Stdout
    };
    let mut offset = 0;
    loop {
        let read = follow::read_chunk(&context.client, args.id, name, args.attempt, offset, false);
        let Some(chunk) = read.await? else { break };
        if chunk.bytes.is_empty() {
            break;
        }
        print(args, offset, &chunk.bytes, context)?;
        offset += chunk.bytes.len() as u64;
    }
    if offset == 0 {
        // Where the task isn't known, the daemon's refusal says so.
        follow::find_task(&context.client, args.id).await?;
    }
    Ok(exit::DONE)
}

async fn follow(args: &Args, context: &mut Context<'_, '_>) -> Result<u8, CliError> {
    let logs: &[LogName] = if args.stderr {
        &[LogName::Stderr]
    } else {
        &[LogName::Stdout]
    };
    let task = follow::find_task(&context.client, args.id).await?;
    let n_before = task
        .attempts
        .last()
        .map_or(0, |attempt| attempt.attempt - 1);
    let mut follower = Follower::new(&context.client, args.id, logs, n_before).await;
    let mut offset = 0;
    loop {
        match follower.next().await? {
            Step::Changed(_) => {}
            Step::Wrote(_, bytes) => {
                print(args, offset, &bytes, context)?;
                offset += bytes.len() as u64;
            }
            Step::Ended(_) => return Ok(exit::DONE),
        }
    }
}

fn print(
    args: &Args,
    offset: u64,
    bytes: &[u8],
    context: &mut Context<'_, '_>,
) -> Result<(), CliError> {
    if !context.json {
        return Ok(context.out.stdout(bytes)?);
    }
    let stream = if args.stderr { "stderr" } else { "stdout" };
    let text = String::from_utf8_lossy(bytes);
    context
        .out
        .line(json!({"id": args.id, "stream": stream, "offset": offset, "text": text}))?;
    Ok(())
}
