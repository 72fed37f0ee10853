//! What carries decisions out: the trait, and one module per backend.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::engine::{AttemptId, Decision, Event};

pub mod local;
pub mod mesos;
pub mod remote;
pub mod settings;
pub mod values;

/// Carries decisions out. What comes of them returns as events, through the sender that the backend
/// got when it was made.
pub trait Backend: Send {
    /// Takes a decision and returns at once; never blocks on the outside.
    fn act(&mut self, decision: Decision);

    /// Once, after recovery and before any decision: the attempts that were alive when the last daemon
    /// stopped. The backend answers for each with an event, or keeps it running.
    fn reconcile(&mut self, attempts: Vec<AttemptId>);

    /// Events that the last decisions left behind and that need no turn of their own, such as the offer of what an
    /// accepted offer still had: whatever waited was asked about it already. The driver takes them in with the next
    /// batch, whatever that is for. Most backends tell all through their sender.
    fn leftovers(&mut self) -> Vec<Event> {
        Vec::new()
    }

    /// Ends everything that would not outlive the daemon, in good order.
    fn shut_down(&mut self);
}

/// One of a task's output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of an output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogChunk {
    /// The bytes from the offset asked for; empty at the end.
    pub bytes: Vec<u8>,
    /// How long the output is so far, in bytes.
    pub total_bytes: u64,
}

/// Why an output can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Whoever has it can't be asked at the moment; whom and why.
    #[error("{0}")]
    Unreachable(String),
    /// Whoever had it is gone, and it with them.
    #[error("{0}")]
    Gone(String),
    /// What the file system says.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Reads what attempts wrote, while they run and as long as it is kept.
pub trait Logs: Send + Sync {
    /// At most `limit` bytes, from `offset` on, of an attempt that `agent` had; `None` where nothing is kept of it.
    fn read(
        &self,
        attempt: AttemptId,
        agent: Arc<str>,
        stream: LogStream,
        offset: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<LogChunk>, LogError>>;
}

/// A backend's way to tell the driver what happened. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EventSender(mpsc::Sender<Vec<Event>>);

impl EventSender {
    /// Sends into this channel, which is bounded: whoever finds it full waits.
    #[must_use]
    pub fn new(events: mpsc::Sender<Vec<Event>>) -> Self {
        Self(events)
    }

    /// Tells, and waits while the driver is busy. False when the driver is gone.
    pub async fn send(&self, event: Event) -> bool {
        self.0.send(vec![event]).await.is_ok()
    }

    /// The same from a thread outside the runtime.
    #[must_use]
    pub fn blocking_send(&self, event: Event) -> bool {
        self.blocking_send_all(vec![event])
    }

    /// The same with events that belong together: the driver makes one batch of them.
    #[must_use]
    pub fn blocking_send_all(&self, events: Vec<Event>) -> bool {
        self.0.blocking_send(events).is_ok()
    }
}
