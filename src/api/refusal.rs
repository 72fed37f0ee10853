//! The engine's refusals as HTTP statuses, codes and data.

use apportion_policies::Amount;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::json::AmountJson;
use crate::engine::Refusal;

/// The HTTP status.
pub(super) fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::UnknownQueue { .. }
        | Refusal::NotALeaf { .. }
        | Refusal::UnknownResource { .. }
        | Refusal::NeverFits { .. }
        | Refusal::NoDemand { .. }
        | Refusal::UnknownDependency { .. }
        | Refusal::DependencyCycle { .. }
        | Refusal::NotClusterScope { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::KeyReused { .. }
        | Refusal::NotRetryable { .. }
        | Refusal::AlreadyEnded { .. }
        | Refusal::QueueInUse { .. }
        | Refusal::ResourceInUse { .. } => StatusCode::CONFLICT,
        Refusal::UnknownTask { .. } => StatusCode::NOT_FOUND,
        Refusal::QueueFull { .. } | Refusal::TooManyTasks { .. } => StatusCode::TOO_MANY_REQUESTS,
    }
}

/// The message for people. Whoever sent a single task object hears nothing of its place in a list.
pub(super) fn message(refusal: &Refusal, single: bool) -> String {
    let message = refusal.to_string();
    match message.strip_prefix("tasks[0]: ") {
        Some(rest) if single => rest.to_owned(),
        _ => message,
    }
}

/// The parts of the message as data.
pub(super) fn detail(refusal: &Refusal, single: bool) -> Option<Value> {
    let path = |place: usize, field: &str| match single {
        true => field.to_owned(),
        false => format!("tasks[{place}].{field}"),
    };
    let amount = |amount: Amount| json!(AmountJson(amount));
    Some(match refusal {
        Refusal::UnknownQueue {
            place,
            queue,
            known,
        } => {
            json!({"path": path(*place, "queue"), "queue": queue, "known": known})
        }
        Refusal::NotALeaf {
            place,
            queue,
            leaves,
        } => {
            json!({"path": path(*place, "queue"), "queue": queue, "leaves": leaves})
        }
        Refusal::UnknownResource {
            place,
            resource,
            known,
        } => json!({
            "path": place.map(|place| path(place, &format!("demand.{resource}"))),
            "resource": resource,
            "known": known,
        }),
        Refusal::NeverFits {
            place,
            resource,
            demand,
            most,
            limit,
        } => json!({
            "path": path(*place, &format!("demand.{resource}")),
            "resource": resource,
            "demand": amount(*demand),
            "most": amount(*most),
            "limit": limit,
        }),
        Refusal::NoDemand { place } => json!({"path": path(*place, "demand")}),
        Refusal::KeyReused { place, key, task } => {
            json!({"path": path(*place, "key"), "key": key, "task": task.0})
        }
        Refusal::UnknownDependency { place, name } => {
            json!({"path": path(*place, "after"), "task": name})
        }
        Refusal::DependencyCycle { keys } => json!({"keys": keys}),
        Refusal::UnknownTask { task } => json!({"task": task.0}),
        Refusal::NotRetryable { task, state } | Refusal::AlreadyEnded { task, state } => {
            json!({"task": task.0, "state": state.as_str()})
        }
        Refusal::QueueInUse { queue, n_tasks } => json!({"queue": queue, "n_tasks": n_tasks}),
        Refusal::ResourceInUse { resource, n_tasks } => {
            json!({"resource": resource, "n_tasks": n_tasks})
        }
        Refusal::NotClusterScope { resource } => json!({"resource": resource}),
        Refusal::QueueFull {
            queue,
            n_queued,
            n_new,
            max,
        } => json!({"queue": queue, "n_queued": n_queued, "n_new": n_new, "max": max}),
        Refusal::TooManyTasks { n_live } => json!({"n_live": n_live}),
    })
}
