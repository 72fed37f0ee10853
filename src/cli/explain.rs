//! `apportion explain`: why a task doesn't run yet.

use super::wire::Explanation;
use super::{CliError, Context, exit, format};

/// Say where a task stands: its state, its place in the queue, and what it lacks.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task.
    #[arg(value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    id: u64,
}

pub(super) async fn execute(args: &Args, context: &mut Context<'_, '_>) -> Result<u8, CliError> {
    let answer = context
        .client
        .get(&format!("/v1/tasks/{}/explain", args.id), &[])
        .await?;
    if context.json {
        context.out.json(&answer)?;
        return Ok(exit::DONE);
    }
    let explanation: Explanation = context.client.read(answer)?;
    for line in lines(&explanation) {
        context.out.line(line)?;
    }
    Ok(exit::DONE)
}

/// The explanation for people, a line each.
pub(super) fn lines(explanation: &Explanation) -> Vec<String> {
    let Explanation {
        id,
        state,
        queue,
        n_ahead,
        ahead,
        reasons,
        attempts,
    } = explanation;
    let mut lines = vec![format!("task {id} is {} in queue {queue}", state.as_str())];
    if *n_ahead > 0 {
        let ids: Vec<String> = ahead.iter().map(ToString::to_string).collect();
        let more = if (ids.len() as u64) < *n_ahead {
            ", …"
        } else {
            ""
        };
        let tasks = format::count(*n_ahead, "task");
        lines.push(format!(
            "{tasks} of its queue go before it: {}{more}",
            ids.join(", ")
        ));
    }
    lines.extend(
        attempts
            .iter()
            .map(|it| format!("attempt {} is on {}", it.attempt, it.agent)),
    );
    lines.extend(reasons.iter().map(|reason| format!("- {}", reason.message)));
    if state.is_ended() {
        lines.push(format!("`apportion task {id}` shows how it ended"));
    }
    lines
}
