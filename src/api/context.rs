//! What the handlers share, and the one way by which they reach tasks: each method that shows or changes any asks
//! whether the caller may.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use super::door::{Place, forbidden};
use super::places::{self, Places};
use super::{ApiError, ApiState};
use crate::access::{Access, Caller, Right};
use crate::backend::Logs;
use crate::backend::remote::service::Service;
use crate::backend::values::Values;
use crate::config::Config;
use crate::driver::RequestError;
use crate::engine::report::Explanation;
use crate::engine::request::{After, NewTask};
use crate::engine::{Engine, Fact, Refusal, Reply, Request, TaskId, Time};
use crate::metrics::Metrics;
use crate::store::StoreError;
use crate::store::reader::{AuditFilter, AuditRecord, Delivery, Reader, TaskFilter, TaskRecord};

/// The memory that bodies may take together while they are read and understood, in KiB. A body that is
/// longer than that still passes, alone.
const BODIES_KIB_MAX: usize = 256 * 1024;
/// How many reads of the database may go on at once. They share one disk; more would only wait in threads.
const READS_MAX: usize = 8;
/// How many deliveries one call acknowledges for a caller who may not see all of an inbox: more than a pop gives.
const ACKNOWLEDGED_MAX: usize = 10_000;

/// What the handlers share. What it is made of is out of their reach on purpose.
pub(super) struct Context {
    state: ApiState,
    bodies: Arc<Semaphore>,
    reads: Semaphore,
    streams: Places,
    waits: Places,
}

impl Context {
    pub(super) fn new(state: ApiState) -> Self {
        Self {
            state,
            bodies: Arc::new(Semaphore::new(BODIES_KIB_MAX)),
            reads: Semaphore::new(READS_MAX),
            streams: Places::default(),
            waits: Places::default(),
        }
    }

    /// A place for one more stream of events.
    pub(super) fn take_stream(&self) -> Result<places::Place, ApiError> {
        let max = self.state.config.borrow().server.streams_max;
        self.streams
            .take(max)
            .ok_or(ApiError::TooManyStreams { max })
    }

    /// A place for one more call that waits for something to happen.
    pub(super) fn take_wait(&self) -> Result<places::Place, ApiError> {
        let max = self.state.config.borrow().server.waits_max;
        self.waits.take(max).ok_or(ApiError::TooManyWaits { max })
    }

    pub(super) fn config(&self) -> Arc<Config> {
        self.state.config.borrow().clone()
    }

    pub(super) fn access(&self) -> &Access {
        &self.state.access
    }

    pub(super) fn service(&self) -> Option<&Service> {
        self.state.service.as_deref()
    }

    pub(super) fn values(&self) -> &Values {
        &self.state.values
    }

    /// Outputs of attempts. Whose may be read is asked by [`Context::find_task`].
    pub(super) fn logs(&self) -> &dyn Logs {
        &*self.state.logs
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.state.metrics
    }

    /// Why the backend can't run tasks now, where that is so.
    pub(super) fn trouble(&self) -> Option<Arc<str>> {
        self.state.trouble.borrow().clone()
    }

    /// Why commits fail, where they do.
    pub(super) fn store_failure(&self) -> Option<StoreError> {
        self.state.handle.store_failure()
    }

    /// The facts of each batch from now on. Whoever shows anything of them asks whether the caller may see it.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Arc<[Fact]>> {
        self.state.handle.subscribe()
    }

    /// Resolves when the driver is gone.
    pub(super) async fn stopped(&self) {
        self.state.handle.stopped().await;
    }

    /// Asks the engine for something, if the caller may. `single` as in [`ApiError::Refused`].
    pub(super) async fn request(
        &self,
        caller: &Caller,
        mut request: Request,
        single: bool,
    ) -> Result<Reply, ApiError> {
        self.authorize(caller, &mut request).await?;
        let reply = self.state.handle.request_for(caller.actor(), request).await;
        reply.map_err(|error| ApiError::from_request(without_others(caller, error), single))
    }

    /// Whether the caller may ask for this. Every kind of request is listed, so that a new one can't be forgotten.
    async fn authorize(&self, caller: &Caller, request: &mut Request) -> Result<(), ApiError> {
        match request {
            Request::Submit { tasks } => self.authorize_submission(caller, tasks).await,
            Request::Cancel { task, .. } | Request::Retry { task, .. } => {
                self.authorize_ending(caller, *task).await
            }
            Request::AcknowledgeInbox { inbox, upto, only } => {
                let Some(queues) = caller.queues(Right::Submit) else {
                    return Ok(());
                };
                let (inbox, upto) = (Arc::clone(inbox), *upto);
                let own = self.read(move |reader| {
                    reader.deliveries_until(&inbox, &queues, upto, ACKNOWLEDGED_MAX)
                });
                *only = Some(own.await?.into());
                Ok(())
            }
            Request::ReportOutside { .. } | Request::Reload { .. } | Request::Forget { .. } => {
                match caller.may_everywhere(Right::Administer) {
                    true => Ok(()),
                    false => Err(forbidden(caller, Right::Administer, Place::Everywhere)),
                }
            }
        }
    }

    async fn authorize_submission(
        &self,
        caller: &Caller,
        tasks: &[NewTask],
    ) -> Result<(), ApiError> {
        if !caller.may_everywhere(Right::Submit) {
            let is_foreign = |task: &&NewTask| !caller.may(Right::Submit, &task.spec.queue);
            if let Some(task) = tasks.iter().find(is_foreign) {
                let queue = Place::Queue(Arc::clone(&task.spec.queue));
                return Err(forbidden(caller, Right::Submit, queue));
            }
        }
        if caller.may_everywhere(Right::Read) {
            return Ok(());
        }
        // Waiting for a task tells how it ends. One that isn't known is the engine's to refuse.
        let after = tasks.iter().flat_map(|task| &task.after);
        let mut named: Vec<TaskId> = after
            .filter_map(|after| match after {
                After::Task(task) => Some(*task),
                After::Key(_) => None,
            })
            .collect();
        named.sort_unstable();
        named.dedup();
        for task in named {
            match self.require(caller, Right::Read, task).await {
                Ok(()) | Err(ApiError::UnknownTask { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the caller may cancel or retry a task: with that right in its queue, or with the right to submit there
    /// what was submitted under the same name.
    async fn authorize_ending(&self, caller: &Caller, task: TaskId) -> Result<(), ApiError> {
        let required = self.require(caller, Right::Cancel, task).await;
        let Err(refusal @ ApiError::Forbidden(_)) = required else {
            return required;
        };
        if self.require(caller, Right::Submit, task).await.is_err() {
            return Err(refusal);
        }
        let submitter = self.read(move |reader| reader.submitter(task)).await?;
        match submitter.and_then(|submitter| submitter.token) {
            Some(name) if Some(&name) == caller.name() => Ok(()),
            Some(_) | None => Err(refusal),
        }
    }

    /// Whether the caller has this right in the queue of a task.
    async fn require(&self, caller: &Caller, right: Right, task: TaskId) -> Result<(), ApiError> {
        if caller.may_everywhere(right) {
            return Ok(());
        }
        let record = self.look_up(task).await?;
        check(caller, right, task, &record.submission.spec.queue)
    }

    async fn look_up(&self, task: TaskId) -> Result<TaskRecord, ApiError> {
        let found = self.read(move |reader| reader.find(task)).await?;
        found.ok_or(ApiError::UnknownTask { task })
    }

    /// What is kept of a task, if the caller may read it.
    pub(super) async fn find_task(
        &self,
        caller: &Caller,
        task: TaskId,
    ) -> Result<TaskRecord, ApiError> {
        let record = self.look_up(task).await?;
        check(caller, Right::Read, task, &record.submission.spec.queue)?;
        Ok(record)
    }

    /// Why a live task that the caller may read stands where it does, by the engine alone, which is asked often and
    /// while the store works; `None` if it isn't alive, which [`Context::find_task`] has to explain.
    pub(super) async fn explain(
        &self,
        caller: &Caller,
        task: TaskId,
    ) -> Result<Option<Explanation>, ApiError> {
        let explanation = self.inspect(move |engine| engine.explain(task)).await?;
        if let Some(explanation) = &explanation {
            check(caller, Right::Read, task, &explanation.queue)?;
        }
        Ok(explanation)
    }

    /// The tasks that a filter asks for and the caller may read.
    pub(super) async fn list(
        &self,
        caller: &Caller,
        mut filter: TaskFilter,
    ) -> Result<Vec<TaskRecord>, ApiError> {
        filter.visible = caller.queues(Right::Read);
        self.read(move |reader| reader.list(&filter)).await
    }

    /// What an inbox holds of tasks that the caller may read.
    pub(super) async fn deliveries(
        &self,
        caller: &Caller,
        inbox: Arc<str>,
        limit: usize,
    ) -> Result<Vec<Delivery>, ApiError> {
        let visible = caller.queues(Right::Read);
        self.read(move |reader| reader.inbox(&inbox, visible.as_ref(), limit))
            .await
    }

    /// Entries of the audit trail. Of one task, the caller must be able to read it; of others the door asks.
    pub(super) async fn audit(
        &self,
        caller: &Caller,
        filter: AuditFilter,
    ) -> Result<Vec<AuditRecord>, ApiError> {
        match filter.task {
            Some(task) => self.find_task(caller, task).await.map(drop)?,
            None if caller.may_everywhere(Right::Administer) => {}
            None => return Err(forbidden(caller, Right::Administer, Place::Everywhere)),
        }
        self.read(move |reader| reader.audit(&filter)).await
    }

    /// The inboxes that hold something, for whoever sees metrics.
    pub(super) async fn inboxes(&self, limit: usize) -> Result<Vec<(String, Time)>, ApiError> {
        self.read(move |reader| reader.inboxes(limit)).await
    }

    /// Looks at the engine between two batches. Whoever shows anything of a queue asks whether the caller may see it.
    pub(super) async fn inspect<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Engine) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let seen: Result<T, RequestError> = self.state.handle.inspect(look).await;
        seen.map_err(|error| ApiError::from_request(error, true))
    }

    /// Reads the database on a thread that may wait for the disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let _permit = self.reads.acquire().await.map_err(|_| ApiError::Stopping)?;
        let reader = self.state.reader.clone();
        match tokio::task::spawn_blocking(move || read(&*reader)).await {
            Ok(result) => Ok(result?),
            Err(error) => {
                tracing::error!(%error, "a read of the database broke off");
                Err(ApiError::Internal)
            }
        }
    }

    /// Reserves memory for a body, waiting until others are done with.
    pub(super) async fn reserve_body(
        &self,
        kib: usize,
        wait: Duration,
    ) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
        let permits = u32::try_from(kib.min(BODIES_KIB_MAX)).unwrap_or(u32::MAX);
        if permits == 0 {
            return Ok(None);
        }
        let reserved = self.bodies.clone().acquire_many_owned(permits);
        match tokio::time::timeout(wait, reserved).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            Ok(Err(_)) => Err(ApiError::Stopping),
            Err(_) => Err(ApiError::Busy),
        }
    }
}

fn check(caller: &Caller, right: Right, task: TaskId, queue: &str) -> Result<(), ApiError> {
    match caller.may(right, queue) {
        true => Ok(()),
        false => Err(forbidden(caller, right, Place::Task(task))),
    }
}

/// A refusal names queues that there are; only those into which the caller may submit are told.
fn without_others(caller: &Caller, mut error: RequestError) -> RequestError {
    if let RequestError::Refused(
        Refusal::UnknownQueue { known: queues, .. } | Refusal::NotALeaf { leaves: queues, .. },
    ) = &mut error
    {
        queues.retain(|queue| caller.may(Right::Submit, queue));
    }
    error
}
