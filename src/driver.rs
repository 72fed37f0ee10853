//! The loop: receive a batch, let the engine turn it into facts and decisions, commit the facts, and
//! only then act on the decisions and answer the callers. That order is written here and nowhere else.

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot};

use crate::backend::Backend;
pub use crate::backend::EventSender;
use crate::engine::{Engine, Event, Fact, Refusal, Reply, Request};
use crate::store::{Store, StoreError};

/// How many messages may wait for the driver. Small: whoever finds it full waits, and so feels how busy
/// the driver is, instead of the queue growing without bound.
pub const CHANNEL_LEN: usize = 1024;

/// What reaches the driver.
pub enum Message {
    /// From a person or a program.
    Request(Box<Request>, oneshot::Sender<Result<Reply, RequestError>>),
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
    /// What was asked could not be made durable, so it is not acknowledged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The daemon is stopping.
    #[error("the daemon is stopping; try again when it is back")]
    Stopping,
}

/// How everyone else reaches the engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    messages: mpsc::Sender<Message>,
    committed: broadcast::Sender<Arc<[Fact]>>,
}

impl Handle {
    /// Asks for something and waits until the answer is durable.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request(&self, request: Request) -> Result<Reply, RequestError> {
        unimplemented!()
    }

    /// Looks at the engine between two batches. `look` should be quick: the engine waits for it.
    ///
    /// # Errors
    /// The daemon is stopping.
    pub async fn inspect<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Engine) -> T + Send + 'static,
    ) -> Result<T, RequestError> {
        unimplemented!()
    }

    /// The facts of each batch from now on, after their commit. A receiver that lags loses some and is told so.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<[Fact]>> {
        self.committed.subscribe()
    }

    /// The last commit failed, and the driver is trying again; what it said. For `readyz`.
    #[must_use]
    pub fn store_failure(&self) -> Option<StoreError> {
        unimplemented!()
    }
}
