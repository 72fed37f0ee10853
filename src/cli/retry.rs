//! `apportion retry`: gives tasks that failed or were cancelled a new attempt.

use serde_json::{Value, json};

use super::client::ClientError;
use super::ids::IdRange;
use super::wire::TaskStateAnswer;
use super::{CliError, Context, exit};

/// Give tasks that failed or were cancelled a new attempt, with all their retries.
///
/// What a task was to wait for (--after) is not waited for again.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Tasks, such as 7, or 7-106 for those tasks of an array that did not succeed.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<IdRange>,
}

pub(super) async fn execute(args: &Args, context: &mut Context<'_, '_>) -> Result<u8, CliError> {
    let is_single = matches!(args.ids[..], [ids] if ids.len() == 1);
    let tolerated = if is_single { "" } else { "not_retryable" };
    change_all(
        &args.ids,
        "retry",
        &Value::Object(serde_json::Map::new()),
        tolerated,
        context,
    )
    .await?;
    Ok(exit::DONE)
}

/// Asks for one change of each task and prints the states. A refusal with the tolerated code is noted and
/// passed over; any other ends the command, after what was done so far has been printed.
pub(super) async fn change_all(
    ids: &[IdRange],
    change: &str,
    body: &Value,
    tolerated: &str,
    context: &mut Context<'_, '_>,
) -> Result<(), CliError> {
    let mut answers = Vec::new();
    for id in ids.iter().flat_map(|ids| ids.first..=ids.last) {
        match context
            .client
            .post(&format!("/v1/tasks/{id}/{change}"), body)
            .await
        {
            Ok(answer) if context.json => answers.push(answer),
            Ok(answer) => {
                let answer: TaskStateAnswer = context.client.read(answer)?;
                context
                    .out
                    .line(format_args!("{} {}", answer.id, answer.state.as_str()))?;
            }
            Err(ClientError::Refused(refused)) if refused.code == tolerated => {
                context.out.note(&refused.message)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    if context.json {
        context.out.json(&json!({"tasks": answers}))?;
    }
    Ok(())
}
