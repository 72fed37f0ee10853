//! `GET /v1/events`: every change of a task's state, as server-sent events.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt, stream};
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::json::{EndJson, ErrorBody, StateJson, TaskEventJson, time};
use super::places::Place;
use super::query::Parameters;
use super::{ApiError, Context};
use crate::access::{Caller, Right};
use crate::clock;
use crate::engine::{AttemptId, Engine, Fact, TaskId, TaskState, Time};

/// Streams every change of the state of tasks that the caller may read, from now on, once it is durable.
///
/// Events are named `task`. Whoever reads too slowly misses some and is told by an event `lagged` with
/// `{"n_batches": …}`: read the tasks anew then. The stream ends when the daemon
/// stops, and when the caller's token counts no more.
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
        (status = 429, description = "`too_many_streams`", body = ErrorBody),
    )
)]
pub(super) async fn stream(
    State(context): State<Arc<Context>>,
    caller: Caller,
    mut parameters: Parameters,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let only = parameters.one("queue")?;
    parameters.end(&["queue"])?;
    let stopped = {
        let context = Arc::clone(&context);
        async move { context.stopped().await }
    };
    let place = context.take_stream()?;
    let facts = context.subscribe();
    let feed = Feed {
        _place: place,
        context,
        caller,
        facts,
        only,
    };
    let events = stream::unfold(feed, next_batch)
        .flat_map(stream::iter)
        .map(Ok)
        .take_until(Box::pin(stopped));
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// Where a stream of events comes from, and for whom.
struct Feed {
    _place: Place,
    context: Arc<Context>,
    caller: Caller,
    facts: Receiver<Arc<[Fact]>>,
    /// Only tasks of this queue and the queues below it.
    only: Option<String>,
}

async fn next_batch(mut feed: Feed) -> Option<(Vec<Event>, Feed)> {
    let events = match feed.facts.recv().await {
        Ok(batch) => {
            if !feed
                .context
                .access()
                .still_counts(&feed.caller, clock::now())
            {
                return None;
            }
            let mut changes = Vec::new();
            for fact in batch.iter() {
                changes.extend(feed.describe(fact).await);
            }
            let changes = feed.visible(changes).await;
            let events = changes.into_iter();
            let event = |change| Event::default().event("task").json_data(change);
            events.filter_map(|change| event(change).ok()).collect()
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
    /// The change of a task's state that a fact tells of, if any.
    async fn describe(&self, fact: &Fact) -> Option<TaskEventJson> {
        if let Fact::Unblocked { first, at } = fact {
            // The fact names a submission by its first task only; how many tasks it has stands in the database.
            let record = self.context.find_task(&self.caller, *first).await.ok()?;
            let spec = &record.submission.spec;
            let mut event = of_task(*first, StateJson::Queued, *at);
            event.count = spec.count();
            event.queue = Some(spec.queue.to_string());
            return Some(event);
        }
        change(fact)
    }

    /// Whether changes of a queue's tasks are asked for, and may be seen.
    fn wants(&self, queue: &str) -> bool {
        let is_below = |only: &String| {
            let below = queue.strip_prefix(only.as_str());
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.only.as_ref().is_none_or(is_below) && self.caller.may(Right::Read, queue)
    }

    /// Only the changes of tasks of queues that are asked for and that the caller may read. Most name their queue; whose doesn't is asked of the
    /// engine, all of a batch at once, and of the database where it has ended since.
    async fn visible(&self, mut changes: Vec<TaskEventJson>) -> Vec<TaskEventJson> {
        if self.only.is_none() && self.caller.may_everywhere(Right::Read) {
            return changes;
        }
        let mut queues: BTreeMap<u64, String> = (changes.iter())
            .filter_map(|change| Some((change.task, change.queue.clone()?)))
            .collect();
        let unknown: Vec<u64> = (changes.iter())
            .map(|change| change.task)
            .filter(|task| !queues.contains_key(task))
            .collect();
        if !unknown.is_empty() {
            let look = move |engine: &Engine| {
                let queue = |task| Some((task, engine.find_queue(TaskId(task))?.to_string()));
                unknown.into_iter().filter_map(queue).collect::<Vec<_>>()
            };
            queues.extend(self.context.inspect(look).await.unwrap_or_default());
        }
        let mut wanted = BTreeSet::new();
        for change in &changes {
            let is_wanted = match queues.get(&change.task) {
                Some(queue) => self.wants(queue),
                None => {
                    let task = TaskId(change.task);
                    let record = self.context.find_task(&self.caller, task).await;
                    record.is_ok_and(|record| self.wants(&record.submission.spec.queue))
                }
            };
            if is_wanted {
                wanted.insert(change.task);
            }
        }
        changes.retain(|change| wanted.contains(&change.task));
        changes
    }
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
            let state = TaskState::from(outcome.kind);
            let mut event = of_task(*task, state.into(), *at);
            event.queue = Some(queue.to_string());
            event.cause = outcome.cause.as_ref().map(EndJson::from_cause);
            Some(event)
        }
        // No change of a task's state, or told by a further fact of the same batch.
        Fact::Unblocked { .. }
        | Fact::TimedOut { .. }
        | Fact::AttemptEnded { .. }
        | Fact::InboxAcknowledged { .. }
        | Fact::OutsideReported { .. }
        | Fact::BackendNoted { .. }
        | Fact::Audited(_)
        | Fact::Forgotten { .. }
        | Fact::Restored(_)
        | Fact::RestoredEnded { .. }
        | Fact::RestoredDying { .. }
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
        cause: None,
        at: time::format(at),
    }
}

fn of_attempt(attempt: AttemptId, state: StateJson, at: Time) -> TaskEventJson {
    let mut event = of_task(attempt.task, state, at);
    event.attempt = Some(attempt.number);
    event
}
