//! `apportion cancel`: ends tasks that have not ended.

use serde_json::{Value, json};

use super::ids::IdRange;
use super::{CliError, Context, exit, retry};

/// Cancel tasks. What runs gets SIGTERM, and SIGKILL after its grace.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Tasks, such as 7, or 7-106 for the tasks of an array.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<IdRange>,
    /// Why, for whoever looks at the task later.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(super) async fn execute(args: &Args, context: &mut Context<'_, '_>) -> Result<u8, CliError> {
    let body = match &args.reason {
        Some(reason) => json!({"reason": reason}),
        None => Value::Object(serde_json::Map::new()),
    };
    // Of several tasks some have often ended already; that keeps nobody from cancelling the others.
    let is_single = matches!(args.ids[..], [ids] if ids.len() == 1);
    let tolerated = if is_single { "" } else { "already_ended" };
    retry::change_all(&args.ids, "cancel", &body, tolerated, context).await?;
    Ok(exit::DONE)
}
