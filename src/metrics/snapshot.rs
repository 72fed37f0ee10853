//! What the engine holds now, as series that live for one page only.

use apportion_policies::Amount;

use super::catalogue as name;
use super::named::Named;
use super::registry::Registry;
use super::{QueueReport, ResourceReport, Snapshot};
use crate::engine::report::fairness_error;

/// The gauges of a snapshot in Prometheus' text format.
pub(super) fn render(snapshot: &Snapshot, named: &Named) -> String {
    let registry = Registry::new();
    let mut n_left_out = 0_u32;
    for queue in &snapshot.queues {
        if named.contains(&queue.path) {
            show_queue(&registry, queue);
        } else {
            n_left_out += 1;
        }
    }
    let left_out = |of| registry.gauge(&name::SERIES_LEFT_OUT, &[of]);
    left_out("queues").set(f64::from(n_left_out));
    let inboxes_max = named.limits().inboxes_max;
    for (inbox, age) in snapshot.inboxes.iter().take(inboxes_max) {
        registry
            .gauge(&name::INBOX_OLDEST_SECONDS, &[inbox])
            .set(age.as_secs_f64());
    }
    left_out("inboxes").set(snapshot.inboxes.len().saturating_sub(inboxes_max) as f64);
    registry
        .gauge(&name::STORE_FAILING, &[])
        .set(f64::from(u8::from(snapshot.store_failing)));
    for resource in &snapshot.resources {
        show_resource(&registry, resource);
    }
    // Each task counts in its leaf and in every queue above; the leaves have each once.
    let leaves = snapshot.queues.iter().filter(|queue| queue.is_leaf);
    let n_unsatisfiable: u64 = leaves.map(|queue| queue.n_unsatisfiable).sum();
    registry
        .gauge(&name::UNSATISFIABLE_TASKS, &[])
        .set(n_unsatisfiable as f64);
    registry
        .gauge(&name::FAIRNESS_ERROR, &[])
        .set(fairness_error(&snapshot.queues).as_f64());
    registry
        .gauge(&name::CLAIMS, &[])
        .set(snapshot.n_claims as f64);
    registry.render()
}

fn show_queue(registry: &Registry, queue: &QueueReport) {
    let path = &*queue.path;
    for (state, n_tasks) in &queue.tasks {
        registry
            .gauge(&name::QUEUE_TASKS, &[path, state.as_str()])
            .set(*n_tasks as f64);
    }
    for (resource, used) in &queue.used {
        registry
            .gauge(&name::QUEUE_USED, &[path, resource])
            .set(units(*used));
    }
    for (resource, share) in &queue.share {
        registry
            .gauge(&name::QUEUE_SHARE, &[path, resource])
            .set(share.as_f64());
    }
    registry
        .gauge(&name::QUEUE_DOMINANT_SHARE, &[path])
        .set(queue.dominant_share.as_f64());
    registry
        .gauge(&name::QUEUE_ENTITLEMENT, &[path])
        .set(queue.entitlement.as_f64());
    let weight = f64::from(queue.weight.milli()) / 1000.0;
    registry.gauge(&name::QUEUE_WEIGHT, &[path]).set(weight);
}

fn show_resource(registry: &Registry, resource: &ResourceReport) {
    let labels = [&*resource.name];
    registry
        .gauge(&name::RESOURCE_CAPACITY, &labels)
        .set(units(resource.capacity));
    registry
        .gauge(&name::RESOURCE_USED, &labels)
        .set(units(resource.used));
    if resource.scope == "cluster" {
        registry
            .gauge(&name::RESOURCE_OUTSIDE, &labels)
            .set(units(resource.outside));
    }
}

/// In units, for people: exact, as an amount has at most 15 digits.
fn units(amount: Amount) -> f64 {
    amount.milli() as f64 / 1000.0
}
