//! `apportion resources`: what there is to divide.

use super::output::table;
use super::wire::Resources;
use super::{CliError, Context, exit, format};

/// Show the resources: how much there is, and who uses it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) async fn execute(_: &Args, context: &mut Context<'_, '_>) -> Result<u8, CliError> {
    let answer = context.client.get("/v1/resources", &[]).await?;
    if context.json {
        context.out.json(&answer)?;
        return Ok(exit::DONE);
    }
    let Resources { resources } = context.client.read(answer)?;
    let mut rows = table(&[
        "RESOURCE",
        "SCOPE",
        ">CAPACITY",
        ">USED",
        ">OUTSIDE",
        ">FREE",
    ]);
    for resource in &resources {
        let amount = |amount: super::wire::Quantity| format::amount_of(&resource.name, amount.0);
        rows.add_row(vec![
            resource.name.clone(),
            resource.scope.clone(),
            amount(resource.capacity),
            amount(resource.used),
            amount(resource.outside),
            amount(resource.free),
        ]);
    }
    context.out.table(&mut rows)?;
    Ok(exit::DONE)
}
