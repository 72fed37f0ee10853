//! The HTTP API: one file per resource. `json` holds the bodies, `error` what is said when a call fails.
//!
//! Nothing here decides anything: requests go to the driver and are answered once they are durable; what is
//! read comes from the database's readers or from a look at the engine between two batches.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use tokio::sync::watch;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::trace::TraceLayer;

use crate::access::{Access, Right};
use crate::backend::Logs;
use crate::backend::remote::service::Service;
use crate::backend::values::Values;
use crate::config::Config;
use crate::driver::Handle;
use crate::engine::Reply;
use crate::metrics::Metrics;
use crate::store::reader::Reader;

mod agents;
mod audit;
mod body;
mod changes;
mod context;
mod digest;
mod door;
pub mod error;
mod events;
mod executors;
mod guard;
mod health;
mod inboxes;
pub mod json;
mod logs;
mod metrics;
mod openapi;
mod places;
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

use context::Context;
use door::Door;
pub use door::Forbidden;
pub use error::ApiError;
pub use json::field::{LABEL_BYTES_MAX, check_inbox, parse_array};
pub use openapi::document as openapi_document;

/// Where a call comes from, as the listener tells it.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// What the API needs of the daemon.
#[derive(Clone)]
pub struct ApiState {
    /// To the engine.
    pub handle: Handle,
    /// Who may do what.
    pub access: Arc<Access>,
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

/// All calls with who may make them and what answers them. The test of the OpenAPI document walks the same list.
fn routes() -> Vec<(&'static str, Door, MethodRouter<Arc<Context>>)> {
    use Door::{Either, Everywhere, Executor, Open, Somewhere};
    use Right::{Administer, Cancel, Read, Submit};
    vec![
        ("/v1/tasks", Somewhere(Read), get(tasks::list)),
        ("/v1/tasks", Somewhere(Submit), post(submit::submit)),
        ("/v1/tasks/{id}", Somewhere(Read), get(tasks::show)),
        (
            "/v1/tasks/{id}/cancel",
            Either(Cancel, Submit),
            post(tasks::cancel),
        ),
        (
            "/v1/tasks/{id}/retry",
            Either(Cancel, Submit),
            post(tasks::retry),
        ),
        (
            "/v1/tasks/{id}/explain",
            Somewhere(Read),
            get(tasks::explain),
        ),
        (
            "/v1/tasks/{id}/result",
            Somewhere(Read),
            get(result::result),
        ),
        (
            "/v1/tasks/{id}/logs/stdout",
            Somewhere(Read),
            get(logs::stdout),
        ),
        (
            "/v1/tasks/{id}/logs/stderr",
            Somewhere(Read),
            get(logs::stderr),
        ),
        (
            "/v1/inboxes/{name}/pop",
            Somewhere(Read),
            post(inboxes::pop),
        ),
        ("/v1/executor/{hash}", Executor, get(executors::program)),
        (
            "/v1/attempts/{attempt}/value",
            Executor,
            put(executors::put_value),
        ),
        (
            "/v1/tasks/{id}/history",
            Somewhere(Read),
            get(audit::history),
        ),
        ("/v1/audit", Everywhere(Administer), get(audit::list)),
        ("/v1/queues", Somewhere(Read), get(queues::list)),
        ("/v1/agents", Somewhere(Read), get(agents::list)),
        ("/v1/resources", Somewhere(Read), get(resources::list)),
        (
            "/v1/resources/{name}/outside",
            Everywhere(Administer),
            post(resources::outside),
        ),
        ("/v1/events", Somewhere(Read), get(events::stream)),
        ("/openapi.json", Open, get(openapi::show)),
        ("/healthz", Open, get(health::alive)),
        ("/readyz", Open, get(health::ready)),
        ("/metrics", Everywhere(Read), get(metrics::show)),
    ]
}

/// The whole API.
pub fn router(state: ApiState) -> Router {
    let (counted, config) = (state.metrics.clone(), state.config.clone());
    let context = Arc::new(Context::new(state));
    routes()
        .into_iter()
        .fold(Router::new(), |router, (path, door, methods)| {
            router.route(path, door.before(methods, &context))
        })
        .merge(web::routes())
        .fallback(no_route)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(context)
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(middleware::from_fn_with_state(config, guard::guard))
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            metrics::count(counted.clone(), request, next)
        }))
        .layer(TraceLayer::new_for_http())
}

/// Only what Prometheus and whoever watches over the daemon ask for, to everybody: for a listener of its own.
pub fn metrics_router(state: ApiState) -> Router {
    Router::new()
        .route("/metrics", get(metrics::show))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .fallback(no_route)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(Arc::new(Context::new(state)))
        .layer(CatchPanicLayer::custom(answer_panic))
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
