//! `apportion explain`: why a task doesn't run yet.

use super::wire::{Contender, Explanation, LaunchedAttempt, Offers, Step};
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
        offers,
        steps,
        steps_for_agent,
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
    lines.extend(attempts.iter().map(decision));
    lines.extend(reasons.iter().map(|reason| format!("- {}", reason.message)));
    lines.extend(offers.as_ref().map(seen));
    if !steps.is_empty() {
        lines.push(match steps_for_agent {
            Some(agent) => format!("for the offer of {agent}, queues are compared so, the least goes first:"),
            None => "if everything that waits fitted, queues would be compared so, the least goes first:".to_owned(),
        });
        lines.extend(steps.iter().flat_map(compared));
    }
    if state.is_ended() {
        lines.push(format!("`apportion task {id}` shows how it ended"));
    }
    lines
}

/// The decision that launched an attempt.
fn decision(attempt: &LaunchedAttempt) -> String {
    let LaunchedAttempt {
        attempt,
        agent,
        launched_at,
        waited_seconds,
        cause,
        keys,
    } = attempt;
    let mut line = format!("attempt {attempt} is on {agent}");
    if launched_at.is_some() {
        let at = format::point(launched_at.as_deref());
        line += &format!(": launched on its offer at {at}");
    }
    if let Some(waited) = waited_seconds {
        line += &format!(", after it could have run for {}", format::seconds(*waited));
    }
    if cause.as_deref() == Some("claim") {
        line += "; a claim had kept what it needs";
    }
    if !keys.is_empty() {
        let keys: Vec<String> = keys
            .iter()
            .map(|child| format!("{}{}", child.queue, key(child)))
            .collect();
        line += &format!("; it was the turn of {}", keys.join(", in it of "));
    }
    line
}

/// What became of the offers at hand.
fn seen(offers: &Offers) -> String {
    let number = |(reason, number): (&String, &u64)| format!("{number} {reason}");
    let refused: Vec<String> = offers.refused.iter().map(number).collect();
    let of = format::count(offers.n_offering, "agent");
    match (offers.n_offering, offers.n_looked_at < offers.n_offering) {
        (0, _) => "no agent offers anything now".to_owned(),
        (_, false) => format!("{of} with something on offer: {}", refused.join(", ")),
        (_, true) => format!(
            "{of} with something on offer; of the first {}: {}",
            offers.n_looked_at,
            refused.join(", ")
        ),
    }
}

/// A step down the tree: a line for what it is about, and one for each queue.
fn compared(step: &Step) -> Vec<String> {
    let place = match step.queue.as_str() {
        "" => "at the top".to_owned(),
        queue => format!("in {queue}"),
    };
    let mut lines = vec![format!("  {place}, by {}:", step.policy)];
    for child in &step.children {
        let key = key(child);
        let next = child
            .next
            .map_or_else(String::new, |task| format!(", next task {task}"));
        let remark = match child.remark.as_str() {
            "" => String::new(),
            remark => format!(", {remark}"),
        };
        lines.push(format!("    {}{key}{next}{remark}", child.queue));
    }
    lines
}

/// A queue's key, as a fraction and a decimal, behind a space.
fn key(child: &Contender) -> String {
    match (&child.fraction, child.decimal) {
        (Some(fraction), Some(decimal)) => format!(" {fraction} ({decimal:.4})"),
        _ => String::new(),
    }
}
