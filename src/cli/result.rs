//! `apportion result`: the value of a task that has ended.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::run::ending;
use super::wire::State;
use super::{CliError, Context, exit, follow};

/// Print the value of an ended task: for a command, its standard output, at most 64 KiB; for Python, the
/// pickle of what it returned or raised.
///
/// Exits with 1 if the task did not succeed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task.
    #[arg(value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    id: u64,
}

pub(super) async fn execute(args: &Args, context: &mut Context<'_, '_>) -> Result<u8, CliError> {
    let id = args.id;
    let (_, value) = context
        .client
        .bytes(&format!("/v1/tasks/{id}/result"), &[])
        .await?;
    let task = follow::find_task(&context.client, id).await?;
    let is_truncated = task
        .outcome
        .as_ref()
        .is_some_and(|outcome| outcome.value_truncated);
    if context.json {
        context.out.json(&json!({
            "id": id,
            "state": task.state.as_str(),
            "value_truncated": is_truncated,
            "value_base64": STANDARD.encode(&value),
            "text": std::str::from_utf8(&value).ok(),
        }))?;
    } else {
        context.out.stdout(&value)?;
        if is_truncated {
            context.out.note(format_args!(
                "the value was cut; `apportion logs {id}` prints all of it"
            ))?;
        }
        if task.state != State::Succeeded {
            context.out.note(ending(&task))?;
        }
    }
    Ok(if task.state == State::Succeeded {
        exit::DONE
    } else {
        exit::TASK_FAILED
    })
}
