//! `GET /v1/events`: every change of a task's state, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt, stream};
use rustc_hash::FxHashMap;
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::json::{ErrorBody, StateJson, TaskEventJson, time};
use super::query::Parameters;
use super::{ApiError, Context};
use crate::driver::Handle;
use crate::engine::{AttemptId, Fact, OutcomeKind, TaskId, Time};

/// Streams every change of a task's state from now on, once it is durable.
///
/// Events are named `task`. Whoever reads too slowly misses some and is told by an event `lagged` with
/// `{"n_batches": …}`: read the tasks anew then. The stream ends when the daemon stops.
#[utoipa::path(
    get,
    path = "/v1/events",
    operation_id = "stream_events",
    tag = "tasks",
    params(
        ("queue" = Option<String>, Query, description = "only of tasks of this queue and the queues below it"),
    ),
    responses(
        (status = 200, description = "server-sent events, each with this in its data", body = TaskEventJson, content_type = "text/event-stream"),
        (status = 422, description = "`invalid_field`", body = ErrorBody),
    )
)]
pub(super) async fn stream(
    State(context): State<Arc<Context>>,
    mut parameters: Parameters,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let only = parameters.one("queue")?;
    parameters.end(&["queue"])?;
    let handle = context.state.handle.clone();
    let facts = handle.subscribe();
    let stopped = async move { Handle::stopped(&handle).await };
    let feed = Feed {
        context,
        facts,
        only,
        queues: FxHashMap::default(),
    };
    let events = stream::unfold(feed, next_batch)
        .flat_map(stream::iter)
        .map(Ok)
        .take_until(Box::pin(stopped));
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// Where a stream of events comes from.
struct Feed {
    context: Arc<Context>,
    facts: Receiver<Arc<[Fact]>>,
    /// Only tasks of this queue and the queues below it.
    only: Option<String>,
    /// Where only some queues are wanted: those of tasks that were launched and have not ended.
    queues: FxHashMap<u64, String>,
}

async fn next_batch(mut feed: Feed) -> Option<(Vec<Event>, Feed)> {
    let events = match feed.facts.recv().await {
        Ok(batch) => {
            let mut events = Vec::new();
            for fact in batch.iter() {
                if let Some(change) = describe(&feed.context, fact).await
                    && feed.wants(&change).await
                {
                    events.extend(Event::default().event("task").json_data(change));
                }
            }
            events
        }
        Err(RecvError::Lagged(n_batches)) => {
            let data = json!({"n_batches": n_batches});
            Event::default()
                .event("lagged")
                .json_data(data)
                .into_iter()
                .collect()
        }
        Err(RecvError::Closed) => return None,
    };
    Some((events, feed))
}

impl Feed {
    /// Whether a change is of a queue that is asked for.
    async fn wants(&mut self, change: &TaskEventJson) -> bool {
        let Some(only) = self.only.clone() else {
            return true;
        };
        let queue = self.queue_of(change).await;
        queue.is_some_and(|queue| {
            let below = queue.strip_prefix(&only);
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// The queue of the task. Few kinds of changes don't tell it; then it was told when the task was launched, or
    /// stands in the database.
    async fn queue_of(&mut self, change: &TaskEventJson) -> Option<String> {
        let task = change.task;
        let known = change
            .queue
            .clone()
            .or_else(|| self.queues.get(&task).cloned());
        let queue = match known {
            Some(queue) => queue,
            None => {
                let record = self.context.find_task(TaskId(task)).await.ok()?;
                record.submission.spec.queue.to_string()
            }
        };
        let is_ended = matches!(
            change.state,
            StateJson::Succeeded | StateJson::Failed | StateJson::Cancelled
        );
        if is_ended {
            self.queues.remove(&task);
        } else if change.attempt.is_some() {
            self.queues.insert(task, queue.clone());
        }
        Some(queue)
    }
}

/// The change of a task's state that a fact tells of, if any.
async fn describe(context: &Context, fact: &Fact) -> Option<TaskEventJson> {
    if let Fact::Unblocked { first, at } = fact {
        // The fact names a submission by its first task only; how many tasks it has stands in the database.
        let record = context.find_task(*first).await.ok()?;
        let spec = &record.submission.spec;
        let mut event = of_task(*first, StateJson::Queued, *at);
        event.count = spec.count();
        event.queue = Some(spec.queue.to_string());
        return Some(event);
    }
    change(fact)
}

/// The same for all facts that tell everything themselves.
fn change(fact: &Fact) -> Option<TaskEventJson> {
    match fact {
        Fact::Submitted {
            submission,
            waiting,
        } => {
            let state = if *waiting {
                StateJson::Waiting
            } else {
                StateJson::Queued
            };
            let mut event = of_task(submission.first, state, submission.submitted_at);
            event.count = submission.spec.count();
            event.queue = Some(submission.spec.queue.to_string());
            Some(event)
        }
        Fact::Launched {
            attempt, queue, at, ..
        } => {
            let mut event = of_attempt(*attempt, StateJson::Launching, *at);
            event.queue = Some(queue.to_string());
            Some(event)
        }
        Fact::Started { attempt, at } => Some(of_attempt(*attempt, StateJson::Running, *at)),
        Fact::Requeued { task, at, .. } => Some(of_task(*task, StateJson::Queued, *at)),
        Fact::Cancelling { task, at, .. } => Some(of_task(*task, StateJson::Cancelling, *at)),
        Fact::Retried {
            task,
            submission,
            at,
            ..
        } => {
            let mut event = of_task(*task, StateJson::Queued, *at);
            event.queue = Some(submission.spec.queue.to_string());
            Some(event)
        }
        Fact::Ended {
            task,
            outcome,
            queue,
            at,
            ..
        } => {
            let state = match outcome.kind {
                OutcomeKind::Succeeded => StateJson::Succeeded,
                OutcomeKind::Failed => StateJson::Failed,
                OutcomeKind::Cancelled => StateJson::Cancelled,
            };
            let mut event = of_task(*task, state, *at);
            event.queue = Some(queue.to_string());
            Some(event)
        }
        // No change of a task's state, or told by a further fact of the same batch.
        Fact::Unblocked { .. }
        | Fact::TimedOut { .. }
        | Fact::AttemptEnded { .. }
        | Fact::InboxAcknowledged { .. }
        | Fact::OutsideReported { .. }
        | Fact::BackendNoted { .. }
        | Fact::Forgotten { .. }
        | Fact::Restored(_)
        | Fact::RestoredEnded { .. }
        | Fact::RestoredKey { .. }
        | Fact::RestoredNextId(_) => None,
    }
}

fn of_task(task: TaskId, state: StateJson, at: Time) -> TaskEventJson {
    TaskEventJson {
        task: task.0,
        count: 1,
        attempt: None,
        state,
        queue: None,
        at: time::format(at),
    }
}

fn of_attempt(attempt: AttemptId, state: StateJson, at: Time) -> TaskEventJson {
    let mut event = of_task(attempt.task, state, at);
    event.attempt = Some(attempt.number);
    event
}
