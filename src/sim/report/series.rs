//! Use, demand and what is due over time, in pieces of equal length.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use apportion_policies::{Amount, Weight};

use super::fluid::Fluid;
use crate::engine::EngineSettings;
use crate::sim::replay::Replayed;
use crate::sim::trace::Job;

/// The queues that are told of: those at the top, or where there is only one of them, the leaves.
pub(super) struct Groups {
    pub(super) names: Vec<Arc<str>>,
    pub(super) weights: Vec<Weight>,
    /// The group of each job.
    pub(super) of_job: Vec<usize>,
}

impl Groups {
    pub(super) fn new(settings: &EngineSettings, jobs: &[Job]) -> Self {
        let top = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
        let mut tops: Vec<String> = settings
            .queues
            .iter()
            .map(|queue| top(&queue.path))
            .collect();
        tops.sort();
        tops.dedup();
        let by_top = tops.len() > 1;
        let mut places: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        let mut groups = Self {
            names: Vec::new(),
            weights: Vec::new(),
            of_job: Vec::with_capacity(jobs.len()),
        };
        for job in jobs {
            let name: Arc<str> = match by_top {
                true => top(&job.queue).into(),
                false => Arc::clone(&job.queue),
            };
            let next = places.len();
            let place = *places.entry(Arc::clone(&name)).or_insert(next);
            if place == next {
                let mut queues = settings.queues.iter();
                let weight = queues.find(|queue| queue.path == name);
                let weight = weight.map_or_else(Weight::default, |queue| queue.weight);
                groups.weights.push(weight);
                groups.names.push(name);
            }
            groups.of_job.push(place);
        }
        groups
    }
}

/// What is told over time, each as a number for each piece.
pub(super) struct Series {
    /// By resource, over all there is.
    pub(super) used: Vec<Vec<f64>>,
    /// By group, its dominant share.
    pub(super) share: Vec<Vec<f64>>,
    /// By group, the dominant share that it was due.
    pub(super) entitlement: Vec<Vec<f64>>,
    /// The largest difference between the two among groups with work; `None` where none had any.
    pub(super) errors: Vec<Option<f64>>,
}

impl Series {
    pub(super) fn new(
        run: &Replayed,
        jobs: &[Job],
        totals: &[(Arc<str>, Amount)],
        groups: &Groups,
        piece: u64,
    ) -> Self {
        let n_pieces = super::N_PIECES;
        let n_groups = groups.names.len();
        let table = || vec![vec![Pieces::new(n_pieces, piece); totals.len()]; n_groups];
        let (mut used, mut wanted) = (table(), table());
        let until = n_pieces as u64 * piece;
        let refused: BTreeSet<usize> = run.refused.iter().map(|(place, _)| *place).collect();
        for (place, job) in jobs.iter().enumerate() {
            let group = groups.of_job[place];
            let ended = run.started[place].map(|started| started + job.run_time);
            for (resource, (name, total)) in totals.iter().enumerate() {
                let Some(amount) = job.demand.get(name) else {
                    continue;
                };
                let part = amount.milli() as f64 / total.milli() as f64;
                if let (Some(started), Some(ended)) = (run.started[place], ended) {
                    used[group][resource].add(started, ended, part);
                    wanted[group][resource].add(job.submitted, ended, part);
                } else if !refused.contains(&place) {
                    wanted[group][resource].add(job.submitted, until, part);
                }
            }
        }
        let used: Vec<Vec<Vec<f64>>> = finish(used);
        let wanted: Vec<Vec<Vec<f64>>> = finish(wanted);
        let mut series = Self {
            used: vec![vec![0.0; n_pieces]; totals.len()],
            share: vec![vec![0.0; n_pieces]; n_groups],
            entitlement: vec![vec![0.0; n_pieces]; n_groups],
            errors: vec![None; n_pieces],
        };
        let fluid = Fluid::new(&groups.weights, totals.len());
        for at in 0..n_pieces {
            series.fill(at, &used, &wanted, &fluid);
        }
        series
    }

    fn fill(&mut self, at: usize, used: &[Vec<Vec<f64>>], wanted: &[Vec<Vec<f64>>], fluid: &Fluid) {
        let demands: Vec<Vec<f64>> = wanted
            .iter()
            .map(|of_group| of_group.iter().map(|pieces| pieces[at]).collect())
            .collect();
        let due = fluid.due(&demands);
        for (group, of_group) in used.iter().enumerate() {
            for (resource, pieces) in of_group.iter().enumerate() {
                self.used[resource][at] += pieces[at];
                self.share[group][at] = self.share[group][at].max(pieces[at]);
            }
            self.entitlement[group][at] = due[group];
            if demands[group].iter().any(|demand| *demand > 1e-9) {
                let error = (self.share[group][at] - due[group]).abs();
                self.errors[at] = Some(self.errors[at].unwrap_or(0.0).max(error));
            }
        }
    }
}

/// A number over time, as its mean in each piece. Adding a span costs the same however long it is.
#[derive(Clone)]
struct Pieces {
    piece: u64,
    /// What falls into the piece itself, times milliseconds.
    own: Vec<f64>,
    /// By how much the height is more from the beginning of the piece on.
    rise: Vec<f64>,
}

impl Pieces {
    fn new(n_pieces: usize, piece: u64) -> Self {
        Self {
            piece,
            own: vec![0.0; n_pieces],
            rise: vec![0.0; n_pieces + 1],
        }
    }

    fn add(&mut self, from: u64, to: u64, height: f64) {
        self.step(from, height);
        self.step(to, -height);
    }

    /// From this time on, so much more.
    fn step(&mut self, at: u64, height: f64) {
        let place = usize::try_from(at / self.piece).unwrap_or(usize::MAX);
        if place >= self.own.len() {
            return;
        }
        let rest = self.piece - at % self.piece;
        self.own[place] += height * rest as f64;
        self.rise[place + 1] += height;
    }

    fn finish(self) -> Vec<f64> {
        let mut height = 0.0;
        let piece = self.piece as f64;
        let pieces = self.own.iter().zip(&self.rise).map(|(own, rise)| {
            height += rise;
            // Sums of many floats may end a hair beside zero.
            (height + own / piece).max(0.0)
        });
        pieces.collect()
    }
}

fn finish(table: Vec<Vec<Pieces>>) -> Vec<Vec<Vec<f64>>> {
    let rows = table.into_iter();
    rows.map(|row| row.into_iter().map(Pieces::finish).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_count_in_each_piece_by_their_part_of_it() {
        let mut pieces = Pieces::new(4, 10);
        pieces.add(5, 25, 1.0);
        pieces.add(12, 14, 0.5);
        pieces.add(38, 99, 1.0);
        assert_eq!(pieces.finish(), [0.5, 1.1, 0.5, 0.2]);
    }
}
