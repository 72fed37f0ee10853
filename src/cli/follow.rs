//! Follows a task until its end: its changes of state and, as it is written, its output.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::client::{Client, ClientError};
use super::events::Changes;
use super::ids::IdRange;
use super::wire::{State, Task};

/// How long one call waits for more output; the daemon answers at once when there is some.
const WAIT_SECONDS: &str = "30";

/// One of a task's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogName {
    Stdout,
    Stderr,
}

/// What happened next.
pub(super) enum Step {
    /// The task is in another state, or has a further attempt.
    Changed(Box<Task>),
    /// It wrote something.
    Wrote(LogName, Bytes),
    /// It has ended, and all it wrote was given.
    Ended(Box<Task>),
}

/// A piece of an output.
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    /// Whether the attempt has ended and nothing follows.
    pub(super) is_last: bool,
}

/// Follows one task.
pub(super) struct Follower {
    client: Client,
    task: u64,
    logs: &'static [LogName],
    changes: Changes,
    /// The outputs of the attempt that is read now.
    reading: Option<BoxStream<'static, Result<(LogName, Bytes), ClientError>>>,
    /// The last attempt that was read or begun to be read.
    attempt: u32,
    shown: Option<State>,
}

impl Follower {
    /// Follows a task and these of its outputs, those of attempts after the given one.
    pub(super) async fn new(
        client: &Client,
        task: u64,
        logs: &'static [LogName],
        after_attempt: u32,
    ) -> Self {
        let changes = Changes::subscribe(client).await;
        let (client, attempt) = (client.clone(), after_attempt);
        Self {
            client,
            task,
            logs,
            changes,
            reading: None,
            attempt,
            shown: None,
        }
    }

    /// Waits for what happens next. To be dropped and called again at will. Not to be called after the end.
    pub(super) async fn next(&mut self) -> Result<Step, ClientError> {
        loop {
            if let Some(reading) = &mut self.reading {
                match reading.next().await {
                    Some(read) => return read.map(|(name, bytes)| Step::Wrote(name, bytes)),
                    None => self.reading = None,
                }
            }
            let task = find_task(&self.client, self.task).await?;
            let state = task.state;
            let attempts = task.attempts.iter().map(|attempt| attempt.attempt);
            if let Some(attempt) = attempts.filter(|attempt| *attempt > self.attempt).min() {
                self.attempt = attempt;
                self.reading = Some(read_all(&self.client, self.task, self.logs, attempt));
            } else if state.is_ended() {
                return Ok(Step::Ended(Box::new(task)));
            } else if self.shown == Some(state) {
                self.changes.wait(IdRange::of(self.task, 1)).await;
                continue;
            }
            self.shown = Some(state);
            return Ok(Step::Changed(Box::new(task)));
        }
    }
}

/// A task as it is now.
pub(super) async fn find_task(client: &Client, task: u64) -> Result<Task, ClientError> {
    client
        .get_patiently(&format!("/v1/tasks/{task}"), &[])
        .await
}

/// Reads several outputs of an attempt side by side until it has ended.
fn read_all(
    client: &Client,
    task: u64,
    logs: &[LogName],
    attempt: u32,
) -> BoxStream<'static, Result<(LogName, Bytes), ClientError>> {
    let outputs = logs
        .iter()
        .map(|name| read_one(client.clone(), task, *name, attempt));
    stream::select_all(outputs).boxed()
}

fn read_one(
    client: Client,
    task: u64,
    name: LogName,
    attempt: u32,
) -> BoxStream<'static, Result<(LogName, Bytes), ClientError>> {
    let begin = Some((client, 0));
    let chunks = stream::unfold(begin, move |position| async move {
        let (client, offset) = position?;
        match read_chunk(&client, task, name, Some(attempt), offset, true).await {
            Ok(Some(chunk)) => {
                let offset = offset + chunk.bytes.len() as u64;
                Some((
                    Ok((name, chunk.bytes)),
                    (!chunk.is_last).then_some((client, offset)),
                ))
            }
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    let filled = |read: &Result<(LogName, Bytes), ClientError>| {
        let is_empty = matches!(read, Ok((_, bytes)) if bytes.is_empty());
        std::future::ready(!is_empty)
    };
    chunks.filter(filled).boxed()
}

/// Reads a piece of an output; `None` where nothing is kept of it. With `wait`, waits for something new.
pub(super) async fn read_chunk(
    client: &Client,
    task: u64,
    name: LogName,
    attempt: Option<u32>,
    offset: u64,
    wait: bool,
) -> Result<Option<Chunk>, ClientError> {
    let name = match name {
        LogName::Stdout => "stdout",
        LogName::Stderr => "stderr",
    };
    let mut query = vec![("offset", offset.to_string())];
    query.extend(attempt.map(|attempt| ("attempt", attempt.to_string())));
    query.extend(wait.then(|| ("wait_seconds", WAIT_SECONDS.to_owned())));
    match client
        .bytes(&format!("/v1/tasks/{task}/logs/{name}"), &query)
        .await
    {
        Ok((headers, bytes)) => {
            let is_last = headers
                .get("apportion-log-ended")
                .is_some_and(|ended| ended == "true");
            Ok(Some(Chunk { bytes, is_last }))
        }
        Err(ClientError::Refused(refused)) if refused.code == "no_output" => Ok(None),
        Err(error) => Err(error),
    }
}
