//! What queues are due: demand-capped, weighted progressive filling of dominant shares, as if tasks could be divided
//! (Ghodsi et al., NSDI 2011, section 4.2). For reports only.

/// Less than this is nothing.
const NOTHING: f64 = 1e-9;

/// The dominant share that each queue is due, given what it wants of each resource as a part of all there is, and its
/// weight. Costs the square of the queues with work, times the resources, at most.
pub(super) fn entitlements(demands: &[Vec<f64>], weights: &[f64]) -> Vec<f64> {
    let dominant: Vec<f64> = demands
        .iter()
        .map(|demand| demand.iter().copied().fold(0.0, f64::max))
        .collect();
    let mut due = vec![0.0; demands.len()];
    let mut growing: Vec<usize> = (0..demands.len())
        .filter(|queue| dominant[*queue] > NOTHING)
        .collect();
    let mut left = vec![1.0; demands.first().map_or(0, Vec::len)];
    while !growing.is_empty() {
        // All grow by their weight until one has what it wants, or a resource is used up.
        let mut rates = vec![0.0; left.len()];
        let mut step = f64::INFINITY;
        for queue in growing.iter().copied() {
            step = step.min((dominant[queue] - due[queue]) / weights[queue]);
            for (rate, demand) in rates.iter_mut().zip(&demands[queue]) {
                *rate += weights[queue] * demand / dominant[queue];
            }
        }
        for (left, rate) in left.iter().zip(&rates) {
            if *rate > 0.0 {
                step = step.min(left / rate);
            }
        }
        for queue in growing.iter().copied() {
            due[queue] += weights[queue] * step;
        }
        for (left, rate) in left.iter_mut().zip(&rates) {
            *left -= rate * step;
        }
        let n_before = growing.len();
        growing.retain(|queue| {
            let is_blocked = |(left, demand): (&f64, &f64)| *left <= NOTHING && *demand > NOTHING;
            let wants_more = dominant[*queue] - due[*queue] > NOTHING;
            wants_more && !left.iter().zip(&demands[*queue]).any(is_blocked)
        });
        if growing.len() == n_before {
            // Rounding alone keeps it from an end.
            break;
        }
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(demands: &[&[f64]], weights: &[f64], expected: &[f64]) {
        let demands: Vec<Vec<f64>> = demands.iter().map(|demand| demand.to_vec()).collect();
        let due = entitlements(&demands, weights);
        for (due, expected) in due.iter().zip(expected) {
            assert!((due - expected).abs() < 1e-6, "{due} is not {expected}");
        }
    }

    #[test]
    fn what_one_does_not_want_goes_to_the_others() {
        check(
            &[&[0.1], &[5.0], &[5.0]],
            &[1.0, 1.0, 1.0],
            &[0.1, 0.45, 0.45],
        );
    }

    #[test]
    fn weights_count_among_those_that_want_more() {
        check(&[&[9.0], &[9.0]], &[3.0, 1.0], &[0.75, 0.25]);
    }

    /// Figure 3 of the paper, with divisible tasks: A wants 1 of 9 cpus and 4 of 18 GB, B 3 and 1.
    #[test]
    fn dominant_shares_are_equal_where_resources_differ() {
        let a = [10.0 / 9.0, 40.0 / 18.0];
        let b = [30.0 / 9.0, 10.0 / 18.0];
        check(&[&a, &b], &[1.0, 1.0], &[2.0 / 3.0, 2.0 / 3.0]);
    }

    #[test]
    fn who_wants_nothing_is_due_nothing() {
        check(&[&[0.0, 0.0], &[0.5, 0.0]], &[1.0, 1.0], &[0.0, 0.5]);
    }
}
