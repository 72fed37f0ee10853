//! Whether the guarantees of queues (`min`) can be kept, all of them at once.

use std::collections::BTreeMap;

use apportion_policies::Amount;

use super::errors::Problem;
use super::units::format_amount;
use super::walk::{Field, Report};
use crate::engine::settings::{QueueConfig, ResourceSettings, Scope};

/// Where a guarantee stands in the text.
pub(super) struct Guarantee {
    queue: String,
    resource: String,
    key: String,
    at: usize,
}

impl Guarantee {
    /// Of a queue, by the entry of its `min`.
    pub(super) fn new(queue: &str, field: &Field<'_>) -> Self {
        Self {
            queue: queue.to_owned(),
            resource: field.name.to_owned(),
            key: field.key.clone(),
            at: field.key_at,
        }
    }

    fn report(&self, report: &mut Report<'_>, what: String) {
        report.push(self.key.clone(), self.at, Problem::Conflict(what));
    }
}

/// Reports guarantees above a `max` on their path, and those of one resource that together are more than
/// the cluster, or the queue above them, may ever have. What agents will bring isn't known here.
pub(super) fn check(
    guarantees: &[Guarantee],
    queues: &[QueueConfig],
    resources: &[ResourceSettings],
    report: &mut Report<'_>,
) {
    let by_path: BTreeMap<&str, &QueueConfig> =
        (queues.iter()).map(|queue| (&*queue.path, queue)).collect();
    for resource in resources {
        let here: Vec<&Guarantee> = (guarantees.iter())
            .filter(|guarantee| guarantee.resource == *resource.name)
            .collect();
        if here.is_empty() || above_a_max(&here, &by_path, &resource.name, report) {
            continue;
        }
        let sums = sums(queues, &resource.name);
        let too_many = queues.iter().find_map(|queue| {
            let max = amount_of(&queue.max, &resource.name)?;
            let sum = *sums.get(&*queue.path)?;
            (sum > max).then_some((&*queue.path, sum, max))
        });
        let name = &*resource.name;
        if let Some((path, sum, max)) = too_many {
            let last = here
                .iter()
                .rfind(|guarantee| is_below(&guarantee.queue, path));
            let what = format!(
                "the guarantees of {name} below queue '{path}' add up to {}, but its max is {}; lower one of them, or raise the max",
                format_amount(name, sum),
                format_amount(name, max)
            );
            last.into_iter()
                .for_each(|last| last.report(report, what.clone()));
            continue;
        }
        let (Scope::Cluster { capacity }, Some(sum)) = (resource.scope, sums.get("")) else {
            continue;
        };
        if *sum > capacity
            && let Some(last) = here.last()
        {
            let what = format!(
                "the guarantees of {name} add up to {}, but the cluster has {}; lower one of them, or raise resources.{name}.capacity",
                format_amount(name, *sum),
                format_amount(name, capacity)
            );
            last.report(report, what);
        }
    }
}

/// Reports each guarantee that is above a `max` of its own queue or of one above it. Whether any is.
fn above_a_max(
    guarantees: &[&Guarantee],
    by_path: &BTreeMap<&str, &QueueConfig>,
    resource: &str,
    report: &mut Report<'_>,
) -> bool {
    let mut any = false;
    for guarantee in guarantees {
        let path = &*guarantee.queue;
        let own = by_path.get(path);
        let Some(min) = own.and_then(|queue| amount_of(&queue.min, resource)) else {
            continue;
        };
        let above = path.rmatch_indices('/').map(|(end, _)| &path[..end]);
        let limits = std::iter::once(path).chain(above).filter_map(|path| {
            let queue = by_path.get(path)?;
            Some((queue, amount_of(&queue.max, resource)?))
        });
        if let Some((queue, max)) = limits.into_iter().find(|(_, max)| min > *max) {
            any = true;
            let what = format!(
                "the guarantee of {} is above the max of queue '{}', which is {}; lower it, or raise the max",
                format_amount(resource, min),
                queue.path,
                format_amount(resource, max)
            );
            guarantee.report(report, what);
        }
    }
    any
}

/// By path, with the root as the empty one: what its subtree is guaranteed, its own guarantee or those
/// below it together, whatever is more.
fn sums<'a>(queues: &'a [QueueConfig], resource: &str) -> BTreeMap<&'a str, Amount> {
    let mut sums: BTreeMap<&str, Amount> = BTreeMap::new();
    for queue in queues.iter().rev() {
        let own = amount_of(&queue.min, resource).unwrap_or_default();
        let below = sums.get(&*queue.path).copied().unwrap_or_default();
        let sum = own.max(below);
        sums.insert(&queue.path, sum);
        let above = queue.path.rsplit_once('/').map_or("", |(above, _)| above);
        let there = sums.entry(above).or_default();
        *there = there.saturating_add(sum);
    }
    sums
}

fn amount_of(amounts: &[(std::sync::Arc<str>, Amount)], resource: &str) -> Option<Amount> {
    let found = amounts.iter().find(|(name, _)| **name == *resource);
    found.map(|(_, amount)| *amount)
}

fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above)
        .is_some_and(|rest| rest.starts_with('/'))
}
