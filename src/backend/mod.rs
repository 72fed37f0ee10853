//! What carries decisions out: the trait, and one module per backend.

pub mod local;

use crate::engine::{AttemptId, Decision};

/// Carries decisions out. What comes of them returns as events, through the sender that the backend
/// got when it was made.
pub trait Backend: Send {
    /// Takes a decision and returns at once; never blocks on the outside.
    fn act(&mut self, decision: Decision);

    /// Once, after recovery and before any decision: the attempts that were alive when the last daemon
    /// stopped. The backend answers for each with an event, or keeps it running.
    fn reconcile(&mut self, attempts: Vec<AttemptId>);

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

/// Reads what attempts wrote, while they run and as long as it is kept.
pub trait Logs: Send + Sync {
    /// At most `limit` bytes from `offset` on; `None` where nothing is kept of this attempt.
    fn read(
        &self,
        attempt: AttemptId,
        stream: LogStream,
        offset: u64,
        limit: usize,
    ) -> futures::future::BoxFuture<'_, std::io::Result<Option<LogChunk>>>;
}
