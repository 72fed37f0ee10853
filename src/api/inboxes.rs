//! Inboxes: finished tasks wait in one until whoever submitted them has acknowledged them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::body::OptionalJson;
use super::changes::{Changes, Woken};
use super::json::{ErrorBody, FinishedTaskJson, PopAnswer, PopRequest, field};
use super::query::{NamePath, check_wait};
use super::{ApiError, Context};
use crate::access::Caller;
use crate::engine::{Fact, Reply, Request};
use crate::store::reader::Delivery;

/// How many tasks a pop gives unless said otherwise.
const POP_DEFAULT: u32 = 100;
/// How many tasks a pop may give.
const POP_MAX: u32 = 1000;
/// The longest that a pop waits.
const WAIT_SECONDS_MAX: f64 = 60.0;
/// The most bytes of values in one answer; a single task always passes.
const VALUES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Gives the finished tasks of an inbox that were not acknowledged yet, oldest first.
///
/// First acknowledges what `ack` names, durably. A token gets the tasks of queues that it may read, and acknowledges
/// those of queues into which it may submit. Where nothing is there, waits up to `wait_seconds`.
#[utoipa::path(
    post,
    path = "/v1/inboxes/{name}/pop",
    operation_id = "pop_inbox",
    tag = "inboxes",
    params(("name" = String, Path, description = "the inbox")),
    request_body(content = Option<PopRequest>, content_type = "application/json"),
    responses(
        (status = 200, description = "finished tasks, perhaps none", body = PopAnswer),
        (status = 400, description = "not JSON (`invalid_json`, `invalid_utf8`)", body = ErrorBody),
        (status = 413, description = "`body_too_large`", body = ErrorBody),
        (status = 415, description = "`unsupported_media_type`", body = ErrorBody),
        (status = 422, description = "`invalid_field`, such as a token that this inbox never gave", body = ErrorBody),
        (status = 429, description = "`too_many_waits`", body = ErrorBody),
        (status = 503, description = "`store_full`, `store_failed`, `stopping`", body = ErrorBody),
    )
)]
pub(super) async fn pop(
    State(context): State<Arc<Context>>,
    caller: Caller,
    NamePath(inbox): NamePath,
    OptionalJson(body): OptionalJson<PopRequest>,
) -> Result<Json<PopAnswer>, ApiError> {
    field::check_inbox(&inbox).map_err(|message| ApiError::field("name", message))?;
    let max = body.max.unwrap_or(POP_DEFAULT);
    if max == 0 || max > POP_MAX {
        return Err(ApiError::field("max", format!("must be 1 to {POP_MAX}")));
    }
    let wait = check_wait(
        "wait_seconds",
        body.wait_seconds.unwrap_or_default(),
        WAIT_SECONDS_MAX,
    )?;
    let inbox: Arc<str> = inbox.into();
    if let Some(token) = &body.ack {
        let upto = read_token(&inbox, token).ok_or_else(|| {
            let message = format!(
                "'{token}' is no token of inbox '{inbox}'; send back what its last pop gave"
            );
            ApiError::field("ack", message)
        })?;
        acknowledge(&context, &caller, inbox.clone(), upto).await?;
    }
    let mut changes = Changes::subscribe(&context, wait);
    let limit = max as usize;
    loop {
        let name = inbox.clone();
        let deliveries = context.deliveries(&caller, name, limit).await?;
        let is_over = changes.is_over() || wait == 0.0;
        if !deliveries.is_empty() || is_over {
            return Ok(Json(answer(&inbox, &deliveries)));
        }
        let is_wanted = |fact: &Fact| matches!(fact, Fact::Ended { inbox: Some(delivered), .. } if **delivered == *inbox);
        if changes.wait(is_wanted).await? == Woken::Over {
            return Ok(Json(answer(&inbox, &[])));
        }
    }
}

async fn acknowledge(
    context: &Context,
    caller: &Caller,
    inbox: Arc<str>,
    upto: u64,
) -> Result<(), ApiError> {
    let request = Request::AcknowledgeInbox {
        inbox,
        upto,
        only: None,
    };
    match context.request(caller, request, true).await? {
        Reply::Done => Ok(()),
        other @ (Reply::Submitted(_) | Reply::State(_)) => Err(super::unexpected(&other)),
    }
}

fn answer(inbox: &str, deliveries: &[Delivery]) -> PopAnswer {
    let mut n_bytes = 0;
    let fits = |delivery: &&Delivery| {
        let is_first = n_bytes == 0;
        // Each task weighs something, so that a second one is never taken for the first.
        n_bytes += 1 + delivery
            .record
            .outcome
            .as_ref()
            .map_or(0, |outcome| outcome.value.bytes.len());
        is_first || n_bytes <= VALUES_BYTES_MAX
    };
    let given: Vec<_> = deliveries.iter().take_while(fits).collect();
    PopAnswer {
        token: given
            .last()
            .map(|delivery| write_token(inbox, delivery.token)),
        tasks: given
            .into_iter()
            .map(FinishedTaskJson::from_delivery)
            .collect(),
    }
}

/// A token is the number of a delivery and a check that ties it to its inbox: a token of another inbox, or
/// a mistyped one, must not acknowledge tasks that nobody has seen.
fn write_token(inbox: &str, number: u64) -> String {
    let check = blake3::hash(format!("{number} {inbox}").as_bytes()).to_hex();
    format!("{number}-{}", &check[..8])
}

fn read_token(inbox: &str, token: &str) -> Option<u64> {
    let number = token.split_once('-')?.0.parse().ok()?;
    (write_token(inbox, number) == token).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_belongs_to_its_inbox() {
        let token = write_token("release", 42);
        assert_eq!(read_token("release", &token), Some(42));
        assert_eq!(read_token("nightly", &token), None);
        for wrong in [
            "",
            "42",
            "42-",
            "43-00000000",
            "-1",
            "x-y",
            &token.replace("42", "43"),
        ] {
            assert_eq!(read_token("release", wrong), None, "{wrong}");
        }
    }
}
