//! Waiting for changes of tasks. Whoever waits subscribes before reading, so no change gets lost between.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Sleep;

use super::places::Place;
use super::{ApiError, Context};
use crate::engine::Fact;

/// Committed changes from now on, up to a deadline.
pub(super) struct Changes<'a> {
    context: &'a Context,
    facts: Receiver<Arc<[Fact]>>,
    deadline: Pin<Box<Sleep>>,
    /// Taken once something is waited for.
    place: Option<Place>,
}

/// Why the waiting is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// What was waited for may have happened: read again.
    Look,
    /// The time is over, or the daemon stops.
    Over,
}

impl<'a> Changes<'a> {
    /// Subscribes. To be called before the first read.
    pub(super) fn subscribe(context: &'a Context, wait_seconds: f64) -> Self {
        Self {
            context,
            facts: context.subscribe(),
            deadline: Box::pin(tokio::time::sleep(Duration::from_secs_f64(wait_seconds))),
            place: None,
        }
    }

    /// Whether the time is over.
    pub(super) fn is_over(&self) -> bool {
        self.deadline.is_elapsed()
    }

    /// Waits until a fact is as wanted, or facts were missed.
    ///
    /// # Errors
    /// As many calls wait as may.
    pub(super) async fn wait(
        &mut self,
        is_wanted: impl Fn(&Fact) -> bool,
    ) -> Result<Woken, ApiError> {
        if self.place.is_none() {
            self.place = Some(self.context.take_wait()?);
        }
        let wanted = async {
            loop {
                match self.facts.recv().await {
                    Ok(facts) if !facts.iter().any(&is_wanted) => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => return Woken::Look,
                    Err(RecvError::Closed) => return Woken::Over,
                }
            }
        };
        let woken = tokio::select! {
            biased;
            woken = wanted => woken,
            () = &mut self.deadline => Woken::Over,
            () = self.context.stopped() => Woken::Over,
        };
        Ok(woken)
    }
}
