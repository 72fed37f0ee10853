//! The HTTP API: one file per resource. `json` holds the bodies, `error` what is said when a call fails.
//!
//! Nothing here decides anything: requests go to the driver and are answered once they are durable; what is
//! read comes from the database's readers or from a look at the engine between two batches.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::trace::TraceLayer;

use crate::backend::Logs;
use crate::backend::remote::service::Service;
use crate::backend::values::Values;
use crate::config::Config;
use crate::driver::{Handle, RequestError};
use crate::engine::{Engine, Reply};
use crate::metrics::Metrics;
use crate::store::StoreError;
use crate::store::reader::Reader;

mod agents;
mod body;
mod changes;
mod digest;
pub mod error;
mod events;
mod executors;
mod health;
mod inboxes;
pub mod json;
mod logs;
mod metrics;
mod openapi;
mod query;
mod queues;
mod refusal;
mod resources;
mod result;
mod submit;
mod tasks;
mod web;

#[cfg(test)]
mod tests;

pub use error::ApiError;
pub use json::field::{LABEL_BYTES_MAX, check_inbox, parse_array};
pub use openapi::document as openapi_document;

/// The memory that bodies may take together while they are read and understood, in KiB. A body that is
/// longer than that still passes, alone.
const BODIES_KIB_MAX: usize = 256 * 1024;
/// How many reads of the database may go on at once. They share one disk; more would only wait in threads.
const READS_MAX: usize = 8;

/// What the API needs of the daemon.
#[derive(Clone)]
pub struct ApiState {
    /// To the engine.
    pub handle: Handle,
    /// To the database.
    pub reader: Arc<dyn Reader>,
    /// To what attempts wrote.
    pub logs: Arc<dyn Logs>,
    /// To the values that are kept as files.
    pub values: Values,
    /// For executors, where the backend starts any.
    pub service: Option<Arc<Service>>,
    /// The configuration as it is now.
    pub config: watch::Receiver<Arc<Config>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Why the backend can't run tasks now, where that is so.
    pub trouble: watch::Receiver<Option<Arc<str>>>,
}

/// What the handlers share.
struct Context {
    state: ApiState,
    bodies: Arc<Semaphore>,
    reads: Semaphore,
}

impl Context {
    fn config(&self) -> Arc<Config> {
        self.state.config.borrow().clone()
    }

    fn service(&self) -> Option<&Service> {
        self.state.service.as_deref()
    }

    /// Asks the engine for something that is not a submission.
    async fn request(&self, request: crate::engine::Request) -> Result<Reply, ApiError> {
        let reply = self.state.handle.request(request).await;
        reply.map_err(|error| ApiError::from_request(error, true))
    }

    /// Looks at the engine between two batches.
    async fn inspect<T: Send + 'static>(
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
    async fn reserve_body(
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

/// All paths with what answers them. The test of the OpenAPI document walks the same list.
fn routes() -> Vec<(&'static str, MethodRouter<Arc<Context>>)> {
    vec![
        ("/v1/tasks", get(tasks::list).post(submit::submit)),
        ("/v1/tasks/{id}", get(tasks::show)),
        ("/v1/tasks/{id}/cancel", post(tasks::cancel)),
        ("/v1/tasks/{id}/retry", post(tasks::retry)),
        ("/v1/tasks/{id}/explain", get(tasks::explain)),
        ("/v1/tasks/{id}/result", get(result::result)),
        ("/v1/tasks/{id}/logs/stdout", get(logs::stdout)),
        ("/v1/tasks/{id}/logs/stderr", get(logs::stderr)),
        ("/v1/inboxes/{name}/pop", post(inboxes::pop)),
        ("/v1/executor/{hash}", get(executors::program)),
        ("/v1/attempts/{attempt}/value", put(executors::put_value)),
        ("/v1/queues", get(queues::list)),
        ("/v1/agents", get(agents::list)),
        ("/v1/resources", get(resources::list)),
        ("/v1/resources/{name}/outside", post(resources::outside)),
        ("/v1/events", get(events::stream)),
        ("/openapi.json", get(openapi::show)),
        ("/healthz", get(health::alive)),
        ("/readyz", get(health::ready)),
        ("/metrics", get(metrics::show)),
    ]
}

/// The whole API.
pub fn router(state: ApiState) -> Router {
    let counted = state.metrics.clone();
    let context = Arc::new(Context {
        state,
        bodies: Arc::new(Semaphore::new(BODIES_KIB_MAX)),
        reads: Semaphore::new(READS_MAX),
    });
    routes()
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| {
            router.route(path, methods)
        })
        .merge(web::routes())
        .fallback(no_route)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(context)
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(middleware::from_fn(web::guard))
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            metrics::count(counted.clone(), request, next)
        }))
        .layer(TraceLayer::new_for_http())
}

/// The engine answered something else than was asked: a defect.
fn unexpected(reply: &Reply) -> ApiError {
    tracing::error!(?reply, "the engine answered something else than was asked");
    ApiError::Internal
}

async fn no_route(uri: Uri) -> ApiError {
    ApiError::NoRoute {
        path: uri.path().to_owned(),
    }
}

async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError::MethodNotAllowed {
        method: method.to_string(),
        path: uri.path().to_owned(),
    }
}

/// A panic is a defect: the caller hears so, the log says what, and everyone else is served on.
fn answer_panic(panic: Box<dyn std::any::Any + Send>) -> Response {
    let message = (panic.downcast_ref::<String>().map(String::as_str))
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message");
    tracing::error!(message, "a call panicked");
    ApiError::Internal.into_response()
}
