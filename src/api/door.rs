//! The one place where callers are let in: every route has a door, and no route can be listed without one.
//!
//! A door asks who calls and whether that one has the right at all; in which queues it holds is asked by
//! [`super::context::Context`], through which alone handlers reach tasks.

use std::fmt;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use serde_json::{Value, json};

use super::{ApiError, Context, Peer};
use crate::access::{Caller, Denied, Right};
use crate::clock;
use crate::engine::TaskId;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// Everybody: it tells nothing of what runs here.
    Open,
    /// Whoever has the secret of an attempt, or the unguessable name of the executor's program; the handler asks.
    Executor,
    /// Whoever has this right in some queue.
    Somewhere(Right),
    /// Whoever has one of these rights in some queue.
    Either(Right, Right),
    /// Whoever has this right in all queues.
    Everywhere(Right),
}

/// What a caller may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// What its token is called.
    pub(super) token: Arc<str>,
    /// The right that it lacks.
    pub(super) right: Right,
    /// Where it lacks it.
    pub(super) place: Place,
}

/// Where a right is lacking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a queue that the caller named.
    Queue(Arc<str>),
    /// In the queue of a task, whose name is not told.
    Task(TaskId),
    /// It is needed in all queues.
    Everywhere,
    /// It is needed in any.
    Somewhere,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            token,
            right,
            place,
        } = self;
        write!(f, "token '{token}' may not {right} ")?;
        match place {
            Place::Queue(queue) => write!(f, "in queue {queue}"),
            Place::Task(task) => write!(f, "what is in the queue of task {task}"),
            Place::Everywhere => write!(f, "all queues, which this needs"),
            Place::Somewhere => write!(f, "anything"),
        }?;
        let queues = match place {
            Place::Queue(queue) => queue,
            Place::Everywhere => "*",
            Place::Task(_) | Place::Somewhere => "…",
        };
        write!(
            f,
            "; ask whoever runs the daemon for a token made with --queues '{queues}' --rights {right}"
        )
    }
}

impl Forbidden {
    /// Its parts as data.
    pub(super) fn detail(&self) -> Value {
        let (queue, task) = match &self.place {
            Place::Queue(queue) => (Some(&**queue), None),
            Place::Task(task) => (None, Some(task.0)),
            Place::Everywhere => (Some("*"), None),
            Place::Somewhere => (None, None),
        };
        json!({"token": self.token, "right": self.right.as_str(), "queue": queue, "task": task})
    }
}

impl Door {
    /// Puts the door before a route.
    pub(super) fn before(
        self,
        methods: MethodRouter<Arc<Context>>,
        context: &Arc<Context>,
    ) -> MethodRouter<Arc<Context>> {
        let context = Arc::clone(context);
        methods.route_layer(middleware::from_fn_with_state((context, self), pass))
    }
}

async fn pass(
    State((context, door)): State<(Arc<Context>, Door)>,
    mut request: Request,
    next: Next,
) -> Response {
    match let_in(&context, door, request.headers()) {
        Ok(caller) => {
            let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
            let caller = caller.map(|caller| caller.at(peer));
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

/// Who calls, if that one may.
fn let_in(context: &Context, door: Door, headers: &HeaderMap) -> Result<Option<Caller>, ApiError> {
    let (right, other, place) = match door {
        Door::Open | Door::Executor => return Ok(None),
        Door::Somewhere(right) => (right, right, Place::Somewhere),
        Door::Either(right, other) => (right, other, Place::Somewhere),
        Door::Everywhere(right) => (right, right, Place::Everywhere),
    };
    let presented = presented(headers);
    let caller = context.access().identify(presented, clock::now())?;
    let may = match place {
        Place::Everywhere => caller.may_everywhere(right),
        Place::Somewhere | Place::Queue(_) | Place::Task(_) => {
            caller.may_somewhere(right) || caller.may_somewhere(other)
        }
    };
    match may {
        true => Ok(Some(caller)),
        false => Err(forbidden(&caller, right, place)),
    }
}

/// What the header says, if it says one thing; a text that is no token where it says something else.
fn presented(headers: &HeaderMap) -> Option<&str> {
    const NONE: &str = "";
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let value = all.next()?;
    if all.next().is_some() {
        return Some(NONE);
    }
    let parts = value.to_str().ok().and_then(|text| text.split_once(' '));
    Some(match parts {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        Some(_) | None => NONE,
    })
}

/// The refusal of a caller that lacks a right. Only callers with tokens lack any.
pub(super) fn forbidden(caller: &Caller, right: Right, place: Place) -> ApiError {
    ApiError::Forbidden(Box::new(Forbidden {
        token: caller.name().cloned().unwrap_or_default(),
        right,
        place,
    }))
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

/// The lasting word for why somebody isn't let in.
pub(super) fn code(denied: &Denied) -> &'static str {
    match denied {
        Denied::Missing => "token_missing",
        Denied::Malformed => "token_malformed",
        Denied::Unknown => "token_unknown",
        Denied::Expired { .. } => "token_expired",
        Denied::Revoked { .. } => "token_revoked",
    }
}

impl FromRequestParts<Arc<Context>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Context>) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Option<Self>>().cloned().flatten();
        caller.ok_or_else(|| {
            tracing::error!(path = %parts.uri.path(), "a call that needs a caller has an open door");
            ApiError::Internal
        })
    }
}
