//! `apportion agents`: the machines that run tasks.

use super::output::table;
use super::wire::{Agent, Agents};
use super::{CliError, Context, exit, format};

/// Show the agents: what they have, what of it is used, and their attributes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) async fn execute(_: &Args, context: &mut Context<'_, '_>) -> Result<u8, CliError> {
    let answer = context.client.get("/v1/agents", &[]).await?;
    if context.json {
        context.out.json(&answer)?;
        return Ok(exit::DONE);
    }
    let Agents { agents } = context.client.read(answer)?;
    let mut rows = table(&["AGENT", ">TASKS", "USED / TOTAL", "ATTRIBUTES"]);
    for agent in &agents {
        rows.add_row(vec![
            agent.name.clone(),
            agent.attempts.len().to_string(),
            used_of_total(agent),
            format::or_dash(format::pairs(&agent.attributes)),
        ]);
    }
    context.out.table(&mut rows)?;
    Ok(exit::DONE)
}

/// `cpus 3/8, mem 4GiB/32GiB`
fn used_of_total(agent: &Agent) -> String {
    let parts = agent.total.iter().map(|(name, total)| {
        let used = agent.used.get(name).copied().unwrap_or_default();
        format!(
            "{name} {}/{}",
            format::amount_of(name, used.0),
            format::amount_of(name, total.0)
        )
    });
    format::or_dash(parts.collect::<Vec<_>>().join(", "))
}
