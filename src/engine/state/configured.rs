//! What the settings say of queues, by ids and in the units of the tree.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::{Amount, PolicySpec, ResourceId};

use super::super::settings::{Deadline, PolicyConfig};
use super::resources::Resources;

pub(super) fn span_of(deadline: Deadline) -> Option<Duration> {
    match deadline {
        Deadline::After(span) => Some(span),
        Deadline::Never => None,
    }
}

pub(super) fn policy_spec(policy: &PolicyConfig, resources: &Resources) -> PolicySpec {
    let resource = policy.resource.as_ref();
    PolicySpec {
        name: Arc::clone(&policy.name),
        resource: resource.and_then(|name| resources.find(name)),
        half_life: policy.half_life.map(|span| {
            let milliseconds = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            NonZeroU64::new(milliseconds).unwrap_or(NonZeroU64::MIN)
        }),
    }
}

pub(super) fn by_id(
    amounts: &[(Arc<str>, Amount)],
    resources: &Resources,
) -> Vec<(ResourceId, Amount)> {
    let known = amounts.iter();
    known
        .filter_map(|(name, amount)| Some((resources.find(name)?, *amount)))
        .collect()
}
