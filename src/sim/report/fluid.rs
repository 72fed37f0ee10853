//! What queues beside one another are due, from what they want as parts of all there is.

use std::sync::Arc;

use apportion_policies::entitlement::entitlements;
use apportion_policies::{
    Amount, Amounts, PolicySpec, QueueId, QueueSettings, QueueTree, ResourceId, Weight,
};

/// In how many parts a wish is counted, of all there is.
const PARTS: u64 = 1 << 40;

/// Queues beside one another, over a number of resources.
pub(super) struct Fluid {
    tree: QueueTree,
}

impl Fluid {
    pub(super) fn new(weights: &[Weight], n_resources: usize) -> Self {
        let mut totals = Amounts::zero(n_resources);
        let all = Amount::from_milli(PARTS).expect("below 2^48");
        for resource in 0..n_resources {
            totals.set(ResourceId::new(resource), all);
        }
        let mut tree = QueueTree::new(totals, PolicySpec::new("drf"));
        for (place, weight) in weights.iter().enumerate() {
            let settings = QueueSettings {
                weight: *weight,
                ..QueueSettings::default()
            };
            tree.add_queue(tree.root(), Arc::from(place.to_string()), settings);
        }
        Self { tree }
    }

    /// The dominant share that each queue is due, given what it wants of each resource as a part of all there is.
    pub(super) fn due(&self, demands: &[Vec<f64>]) -> Vec<f64> {
        let wants = |place: usize| {
            let wanted = demands.get(place).into_iter().flatten();
            // Rounding to parts is all that this loses.
            wanted
                .map(|part| (part.max(0.0) * PARTS as f64) as u128)
                .collect()
        };
        // The root has no wishes of its own, and comes first.
        let wants = |queue: QueueId| match queue.index().checked_sub(1) {
            Some(place) => wants(place),
            None => Vec::new(),
        };
        let due = entitlements(&self.tree, wants, self.tree.totals());
        due.into_iter()
            .skip(1)
            .map(|share| share.as_f64())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_in_parts_give_parts() {
        let weights = [3000, 1000, 1000].map(|milli| Weight::from_milli(milli).unwrap());
        let fluid = Fluid::new(&weights, 2);
        let due = fluid.due(&[vec![9.0, 0.0], vec![9.0, 0.1], vec![0.0, 0.0]]);
        for (due, expected) in due.iter().zip([0.75, 0.25, 0.0]) {
            assert!((due - expected).abs() < 1e-6, "{due} is not {expected}");
        }
    }
}
