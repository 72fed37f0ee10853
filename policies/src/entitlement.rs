//! What each queue is due now: the shares of a fluid cluster, given the weights and who has work.
//!
//! Hierarchical dominant resource fairness by filling up (progressive filling, Ghodsi et al., NSDI 2011,
//! section 4.2; Bhattacharya et al., SoCC 2013): a level rises from zero, and with it the dominant share of
//! each queue in proportion to its weight, until it has all that it wants. When a resource is used up, who
//! demands it stays where it is; the others go on, and that resource counts no more in the shares of the
//! queues above. Siblings with complementary demands so don't keep one another back.
//!
//! As if tasks were divisible and the cluster one machine. A leaf wants what it holds and what waits, in that
//! mix, up to its `max`; guarantees (`min`) are filled first, whatever comes of the rest. A `max` of an inner queue stops
//! all below it, though children that demand none of that resource could go on.
//!
//! Integers in 2^-48 of the whole, rounded down at each step; each queue may so cost one unit, 2^-34 together
//! where there are 10,000. Costs resources × queues × log(queues) × depth for each resource that is used up: for
//! requests and metrics, not for decisions.

mod curve;

use std::cmp::Reverse;

use curve::{Curve, Fixed, LEVEL_STEP, ONE, Point, times};

use crate::demand::Amounts;
use crate::fixed::counted_share;
use crate::ids::QueueId;
use crate::share::Share;
use crate::tree::QueueTree;

/// What a leaf wants.
#[derive(Clone, Debug)]
struct Leaf {
    /// Per resource, if it had all.
    wants: Vec<Fixed>,
    /// The largest of these.
    level: Fixed,
    /// The level at which it stays, once something that it wants is used up.
    frozen: Option<Fixed>,
}

/// The entitlement of every queue, the root included, by id: the dominant share it is due. `wants` gives what
/// a leaf holds and what waits in it, in thousandths by resource; `available`, what the scheduler may use of
/// each resource at most.
#[must_use]
pub fn entitlements(
    tree: &QueueTree,
    wants: impl Fn(QueueId) -> Vec<u128>,
    available: &Amounts,
) -> Vec<Share> {
    let resources: Vec<usize> = (0..tree.totals().as_slice().len()).collect();
    let total = |resource: usize| u128::from(tree.totals().as_slice()[resource].milli());
    let share = |amount: u128, resource: usize| match total(resource) {
        0 => 0,
        total => (amount << 48) / total,
    };
    let mut filling = Filling {
        tree,
        leaves: Vec::with_capacity(tree.len()),
        is_full: vec![false; resources.len()],
        free: (resources.iter())
            .map(|resource| {
                let amount = available.as_slice().get(*resource).copied();
                share(
                    amount.map_or(0, |amount| u128::from(amount.milli())),
                    *resource,
                )
            })
            .collect(),
    };
    for queue in tree.queues() {
        let leaf = tree.is_leaf(queue).then(|| {
            let wants = wants(queue);
            let wants = (resources.iter())
                .map(|resource| share(wants.get(*resource).copied().unwrap_or(0), *resource));
            Leaf::new(tree, queue, wants.collect())
        });
        filling.leaves.push(leaf);
    }
    filling.fill();
    filling.shares()
}

impl Leaf {
    fn new(tree: &QueueTree, queue: QueueId, wants: Vec<Fixed>) -> Self {
        let mut leaf = Self {
            level: wants.iter().copied().max().unwrap_or(0),
            wants,
            frozen: None,
        };
        for (id, max) in &tree.settings(queue).max {
            let most = Fixed::from(limit(tree, *id, *max));
            let wanted = leaf.wants.get(id.index()).copied().unwrap_or(0);
            if wanted > most {
                // All in proportion, until the limit holds.
                leaf.wants
                    .iter_mut()
                    .for_each(|want| *want = times(*want, most, wanted));
                leaf.level = leaf.wants.iter().copied().max().unwrap_or(0);
            }
        }
        leaf
    }

    fn curve(&self) -> Curve {
        let point = |level: Fixed| Point {
            level,
            below: 0,
            used: (self.wants.iter())
                .map(|want| times(*want, level, self.level))
                .collect(),
        };
        match self.frozen {
            Some(level) => Curve(vec![point(level)]),
            None if self.level == 0 => Curve(vec![point(0)]),
            None => Curve(vec![point(0), point(self.level)]),
        }
    }
}

fn limit(tree: &QueueTree, id: crate::ids::ResourceId, amount: crate::amount::Amount) -> u64 {
    counted_share(
        amount.milli() << crate::decay::FRACTION_BITS,
        tree.totals().get(id),
    )
}

/// The filling of a tree.
struct Filling<'a> {
    tree: &'a QueueTree,
    /// By queue; `None` for inner ones.
    leaves: Vec<Option<Leaf>>,
    /// Resources that are used up.
    is_full: Vec<bool>,
    /// Per resource, what may be used at most, of the whole.
    free: Vec<Fixed>,
}

/// An inner queue's children over their common level.
struct Common {
    /// By common level: what all of them use.
    points: Vec<Point>,
}

impl Filling<'_> {
    /// Fills up, resource by resource, until nobody can get more.
    fn fill(&mut self) {
        let root = self.tree.root();
        for _ in 0..=self.free.len() {
            let curves = self.curves();
            let common = self.common(root, &curves);
            let (level, full) = self.first_full(&common);
            let mut levels = vec![0; self.tree.len()];
            self.hand_down(root, level, &curves, &mut levels);
            for resource in &full {
                self.is_full[*resource] = true;
            }
            let is_full = &self.is_full;
            for (leaf, level) in self.leaves.iter_mut().zip(levels) {
                let Some(leaf) = leaf.as_mut().filter(|leaf| leaf.frozen.is_none()) else {
                    continue;
                };
                let wants_full = leaf
                    .wants
                    .iter()
                    .zip(is_full)
                    .any(|(want, full)| *full && *want > 0);
                if full.is_empty() || wants_full {
                    leaf.frozen = Some(level.min(leaf.level));
                }
            }
            if full.is_empty() {
                return;
            }
        }
    }

    /// The curves of all queues, children before their parents.
    fn curves(&self) -> Vec<Curve> {
        let mut curves = vec![Curve::default(); self.tree.len()];
        for queue in self.tree.queues().rev() {
            curves[queue.index()] = match &self.leaves[queue.index()] {
                Some(leaf) => leaf.curve(),
                None if queue == self.tree.root() => Curve::default(),
                None => self.inner_curve(queue, &curves),
            };
        }
        curves
    }

    /// By its own dominant share, over resources that aren't used up.
    fn inner_curve(&self, queue: QueueId, curves: &[Curve]) -> Curve {
        let common = self.common(queue, curves);
        let limits = self.limits(queue, &common.points[0]);
        let mut points: Vec<Point> = Vec::with_capacity(common.points.len());
        for point in common.points {
            let least = points.last().map_or(0, |last| {
                let grows = last.used != point.used;
                last.level + if grows { LEVEL_STEP } else { 0 }
            });
            let point = Point {
                level: self.share_of(&point.used).max(least),
                below: point.level,
                used: point.used,
            };
            let is_over = (limits.iter()).any(|(resource, most)| point.used[*resource] > *most);
            if let Some(last) = points.last().filter(|_| is_over) {
                points.push(last.cut(&point, &limits));
                break;
            }
            points.push(point);
        }
        Curve(points)
    }

    /// The most that a queue may use of a resource, for each with a `max`; but what it begins with, since it is
    /// guaranteed or was given to it, it has anyway.
    fn limits(&self, queue: QueueId, begin: &Point) -> Vec<(usize, Fixed)> {
        let max = self.tree.settings(queue).max.iter();
        let most = max.map(|(id, max)| {
            let most = Fixed::from(limit(self.tree, *id, *max));
            (id.index(), most.max(begin.used[id.index()]))
        });
        most.collect()
    }

    /// The largest share over resources that aren't used up; zero if all are.
    fn share_of(&self, used: &[Fixed]) -> Fixed {
        let counting = used.iter().zip(&self.is_full).filter(|(_, full)| !**full);
        counting.map(|(used, _)| *used).max().unwrap_or(0)
    }

    /// What the children of a queue use together, over their common level: each has weight · level, or what
    /// fills its guarantee where that is more. Straight between points.
    fn common(&self, queue: QueueId, curves: &[Curve]) -> Common {
        let children = self.tree.children(queue);
        let mut levels = vec![0];
        for child in children {
            let least = self.guaranteed(*child, &curves[child.index()]);
            let own = curves[child.index()].0.iter().map(|point| point.level);
            let own = own.filter(|level| *level > least).chain([least]);
            levels.extend(own.map(|level| self.common_level(*child, level)));
        }
        levels.sort_unstable();
        levels.dedup();
        Common {
            points: self.with_turns(self.sum_at(children, curves, &levels)),
        }
    }

    /// Adds the points at which another resource becomes the dominant one: there the share turns, and only from
    /// point to point all is straight.
    fn with_turns(&self, points: Vec<Point>) -> Vec<Point> {
        let mut turned: Vec<Point> = Vec::with_capacity(points.len());
        for point in points {
            if let Some(last) = turned.last() {
                let turns = self.turns(last, &point);
                turned.extend(turns);
            }
            turned.push(point);
        }
        turned
    }

    /// The points between two, between which all is straight, at which another resource becomes the dominant one.
    fn turns(&self, low: &Point, high: &Point) -> Vec<Point> {
        let counting = || (0..self.free.len()).filter(|resource| !self.is_full[*resource]);
        let ends = |resource: &usize| (low.used[*resource], high.used[*resource]);
        let mut turns = Vec::new();
        let mut dominant = counting().max_by_key(ends);
        while let Some(resource) = dominant {
            // Each that is larger in the end overtakes it on the way, the first of them as the dominant one.
            let larger = counting().filter(|other| high.used[*other] > high.used[resource]);
            let overtaking = larger.map(|other| {
                let before = low.used[resource].saturating_sub(low.used[other]);
                let whole = before + (high.used[other] - high.used[resource]);
                (times(ONE, before, whole), Reverse(high.used[other]), other)
            });
            let first = overtaking.min();
            turns.extend(first.map(|(part, ..)| low.towards(high, part)));
            dominant = first.map(|(.., other)| other);
        }
        turns
    }

    /// What children use together at each of these common levels, which are in order and hold all points of
    /// the children. Each child changes how steep the sum is where its own pieces begin and end.
    fn sum_at(&self, children: &[QueueId], curves: &[Curve], levels: &[Fixed]) -> Vec<Point> {
        let n_resources = self.free.len();
        let mut sum = vec![0_i128; n_resources];
        let mut steeper = vec![vec![0_i128; n_resources]; levels.len()];
        let place = |level: Fixed| levels.partition_point(|other| *other < level);
        for child in children {
            let curve = &curves[child.index()];
            let least = self.guaranteed(*child, curve);
            let used = curve.at(least).map_or_else(Vec::new, |point| point.used);
            let mut low = (self.common_level(*child, least), used);
            add(&mut sum, &low.1);
            for point in curve.0.iter().filter(|point| point.level > least) {
                let high = (self.common_level(*child, point.level), &point.used);
                let span = (high.0 - low.0).max(1);
                let places = (place(low.0), place(high.0));
                for (resource, used) in high.1.iter().enumerate() {
                    let slope = (signed(used.saturating_sub(low.1[resource])) << 48) / signed(span);
                    steeper[places.0][resource] += slope;
                    steeper[places.1][resource] -= slope;
                }
                low = (high.0, high.1.clone());
            }
        }
        let mut slopes = vec![0_i128; n_resources];
        let mut points = Vec::with_capacity(levels.len());
        for (place, level) in levels.iter().enumerate() {
            let passed = level - place.checked_sub(1).map_or(*level, |before| levels[before]);
            for (resource, sum) in sum.iter_mut().enumerate() {
                *sum += slopes[resource].saturating_mul(signed(passed)) >> 48;
                slopes[resource] += steeper[place][resource];
            }
            points.push(Point {
                level: *level,
                below: 0,
                used: sum
                    .iter()
                    .map(|sum| Fixed::try_from(*sum).unwrap_or(0))
                    .collect(),
            });
        }
        points
    }

    /// The level that fills a child's guarantees, as far as it wants them.
    fn guaranteed(&self, child: QueueId, curve: &Curve) -> Fixed {
        let mut least = 0;
        for (id, min) in &self.tree.settings(child).min {
            let min = Fixed::from(limit(self.tree, *id, *min));
            let of = |point: &Point| point.used.get(id.index()).copied().unwrap_or(0);
            let wanted = curve.0.last().map_or(0, of).min(min);
            let place = curve.0.partition_point(|point| of(point) < wanted);
            let Some(before) = place.checked_sub(1) else {
                continue;
            };
            let (low, high) = (&curve.0[before], &curve.0[place]);
            let span = high.level - low.level;
            let level = low.level + times(span, wanted - of(low), of(high) - of(low));
            least = least.max(level);
        }
        least
    }

    fn own_level(&self, child: QueueId, common: Fixed) -> Fixed {
        let weight = u128::from(self.tree.settings(child).weight.milli());
        common.saturating_mul(weight) / 1000
    }

    fn common_level(&self, child: QueueId, own: Fixed) -> Fixed {
        let weight = u128::from(self.tree.settings(child).weight.milli());
        (own * 1000).div_ceil(weight)
    }

    /// The common level at which the first resource is used up, and which are; none where all have all.
    fn first_full(&self, common: &Common) -> (Fixed, Vec<usize>) {
        let is_over = |point: &Point| {
            let mut used = point.used.iter().zip(&self.free).zip(&self.is_full);
            used.any(|((used, free), full)| !full && used > free)
        };
        let Some(place) = common.points.iter().position(is_over) else {
            let end = common.points.last().map_or(0, |point| point.level);
            return (end, Vec::new());
        };
        let high = &common.points[place];
        let low = place.checked_sub(1).map(|place| &common.points[place]);
        let mut best: Option<Fixed> = None;
        let mut full = Vec::new();
        for (resource, free) in self.free.iter().enumerate() {
            if self.is_full[resource] || high.used[resource] <= *free {
                continue;
            }
            let level = low.map_or(0, |low| {
                let room = free.saturating_sub(low.used[resource]);
                let grown = high.used[resource] - low.used[resource];
                low.level + times(high.level - low.level, room, grown)
            });
            if best.is_none_or(|least| level < least) {
                best = Some(level);
                full.clear();
            }
            if best == Some(level) {
                full.push(resource);
            }
        }
        (best.unwrap_or(0), full)
    }

    /// Gives each queue below its level, where the children of `queue` have this common one.
    fn hand_down(&self, queue: QueueId, common: Fixed, curves: &[Curve], levels: &mut [Fixed]) {
        for child in self.tree.children(queue) {
            let curve = &curves[child.index()];
            let least = self.guaranteed(*child, curve);
            let level = self.own_level(*child, common).max(least).min(curve.end());
            levels[child.index()] = level;
            if self.leaves[child.index()].is_none() {
                let below = curve.at(level).map_or(0, |point| point.below);
                self.hand_down(*child, below, curves, levels);
            }
        }
    }

    /// The dominant shares, over all resources.
    fn shares(&self) -> Vec<Share> {
        let n_resources = self.free.len();
        let mut used = vec![vec![0; n_resources]; self.tree.len()];
        for queue in self.tree.queues().rev() {
            if let Some(leaf) = &self.leaves[queue.index()] {
                let level = leaf.frozen.unwrap_or(0);
                let own = leaf.wants.iter();
                used[queue.index()] = own.map(|want| times(*want, level, leaf.level)).collect();
            }
            if let Some(parent) = self.tree.parent(queue) {
                let own = used[queue.index()].clone();
                let sum = used[parent.index()].iter_mut().zip(own);
                sum.for_each(|(sum, own)| *sum += own);
            }
        }
        let largest = |used: &Vec<Fixed>| used.iter().copied().max().unwrap_or(0);
        used.iter()
            .map(|used| Share::fixed(largest(used)))
            .collect()
    }
}

fn add(sum: &mut [i128], used: &[Fixed]) {
    sum.iter_mut()
        .zip(used)
        .for_each(|(sum, used)| *sum += signed(*used));
}

fn signed(number: Fixed) -> i128 {
    i128::try_from(number).unwrap_or(i128::MAX)
}
