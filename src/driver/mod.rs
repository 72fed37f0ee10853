//! The loop between everything outside and the engine, and how others reach it.
//!
//! Receive a batch, let the engine turn it into facts and decisions, commit the facts, and only then act
//! on the decisions and answer the callers. That order is written in `order.rs` and nowhere else; `run.rs` waits:
//! for the next batch, and for a store that fails. The loop has a thread of its own and owns the engine; others
//! hold a [`Handle`], or the backend's [`EventSender`].

pub(crate) mod order;
mod run;
mod stats;

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

pub use crate::backend::EventSender;
use crate::engine::audit::Actor;
use crate::engine::{Engine, Event, Fact, Refusal, Reply, Request};
use crate::store::StoreError;

pub use stats::{BatchStats, Observer};

/// How many messages, and how many events, may wait for the driver. Small: whoever finds it full waits, and so feels how busy
/// the driver is, instead of the queue growing without bound.
pub const CHANNEL_LEN: usize = 1024;

/// How many batches of facts a slow subscriber may be behind before it loses some. A subscriber that
/// loses some reads the store again, so this only has to cover a short pause.
const COMMITTED_LEN: usize = 256;

/// What reaches the driver.
pub enum Message {
    /// From a person or a program.
    Request(
        Box<Request>,
        Option<Actor>,
        oneshot::Sender<Result<Reply, RequestError>>,
    ),
    /// A look at the engine, between two batches.
    Inspect(Box<dyn FnOnce(&Engine) + Send>),
    /// Finish the batch, shut the backend down, end.
    Stop,
}

/// Why a request got no reply.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RequestError {
    /// The engine refused; nothing changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What was asked could not be made durable, so it is not acknowledged. It may become durable later,
    /// when the store works again: whoever asks again should do so under the same key.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The daemon is stopping.
    #[error("the daemon is stopping; try again when it is back")]
    Stopping,
}

/// Makes the ends of the channel: for callers, for the backend, and for the driver's thread, which calls
/// [`Inbox::run`].
#[must_use]
pub fn channel() -> (Handle, EventSender, Inbox) {
    let (sender, messages) = mpsc::channel(CHANNEL_LEN);
    let (event_sender, events) = mpsc::channel(CHANNEL_LEN);
    let (committed, _) = broadcast::channel(COMMITTED_LEN);
    let (failure, failure_seen) = watch::channel(None);
    let handle = Handle {
        messages: sender,
        committed: committed.clone(),
        failure: failure_seen,
    };
    let inbox = Inbox {
        messages,
        events,
        committed,
        failure,
    };
    (handle, EventSender::new(event_sender), inbox)
}

/// The driver's end of the channel. [`Inbox::run`] is the driver.
pub struct Inbox {
    messages: mpsc::Receiver<Message>,
    events: mpsc::Receiver<Vec<Event>>,
    committed: broadcast::Sender<Arc<[Fact]>>,
    failure: watch::Sender<Option<StoreError>>,
}

/// How everyone else reaches the engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    messages: mpsc::Sender<Message>,
    committed: broadcast::Sender<Arc<[Fact]>>,
    failure: watch::Receiver<Option<StoreError>>,
}

impl Handle {
    /// Asks for something and waits until the answer is durable. It is the daemon's own doing: the audit trail
    /// tells nothing of it.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request(&self, request: Request) -> Result<Reply, RequestError> {
        self.ask(request, None).await
    }

    /// The same for somebody, of whom the audit trail tells.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request_for(&self, actor: Actor, request: Request) -> Result<Reply, RequestError> {
        self.ask(request, Some(actor)).await
    }

    async fn ask(&self, request: Request, actor: Option<Actor>) -> Result<Reply, RequestError> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Request(Box::new(request), actor, answer))
            .await?;
        answered.await.map_err(|_| RequestError::Stopping)?
    }

    /// Looks at the engine between two batches. `look` should be quick: the engine waits for it.
    ///
    /// While the store fails, what `look` sees may include changes that are not durable yet.
    ///
    /// # Errors
    /// The daemon is stopping.
    pub async fn inspect<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Engine) -> T + Send + 'static,
    ) -> Result<T, RequestError> {
        let (answer, answered) = oneshot::channel();
        let look = Box::new(move |engine: &Engine| {
            // Whoever asked may have gone away meanwhile.
            let _ = answer.send(look(engine));
        });
        self.send(Message::Inspect(look)).await?;
        answered.await.map_err(|_| RequestError::Stopping)
    }

    /// The facts of each batch from now on, after their commit. A receiver that lags loses some and is told so.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<[Fact]>> {
        self.committed.subscribe()
    }

    /// The last commit failed, and the driver is trying again; what it said. For `readyz`.
    #[must_use]
    pub fn store_failure(&self) -> Option<StoreError> {
        self.failure.borrow().clone()
    }

    /// Resolves when the driver is gone, for whoever waits for changes that won't come any more.
    pub async fn stopped(&self) {
        self.messages.closed().await;
    }

    /// Asks the driver to finish its batch, shut the backend down, and end. Returns once it is asked;
    /// its thread ends in its own time.
    pub async fn stop(&self) {
        // Where the driver is gone already, there is nothing to stop.
        let _ = self.send(Message::Stop).await;
    }

    async fn send(&self, message: Message) -> Result<(), RequestError> {
        let sent = self.messages.send(message).await;
        sent.map_err(|_| RequestError::Stopping)
    }
}

#[cfg(test)]
mod tests;
