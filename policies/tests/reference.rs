//! The slow, obvious policy: every decision computed anew, straight from the definition of
//! hierarchical DRF for whole tasks, in rationals.
//!
//! With `Rounding::Integers` each quotient is rounded as the definition's integers are; with
//! `Rounding::None` everything is exact.

use std::sync::Arc;

use apportion_policies::{
    Amount, Choice, Offer, Policy, QueueId, QueueTree, ResourceId, ShapeId, TaskRank,
};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Zero};

use crate::wrong::Wrong;

type Number = BigRational;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rounding {
    Integers,
    None,
}

pub struct Reference {
    rounding: Rounding,
    wrong: Option<Wrong>,
    /// Of every queue, for the decision at hand.
    standing: Vec<Standing>,
}

/// What doesn't depend on the offer.
struct Standing {
    /// Per resource, what is really used.
    used: Vec<Number>,
    /// Per resource.
    shares: Vec<Number>,
    dominant: Number,
    /// The least dominant share of a waiting task; `None` where nothing waits.
    task: Option<Number>,
}

/// What a queue that can go would launch, and its share for the offer.
#[derive(Clone)]
struct Candidate {
    choice: Choice,
    next: TaskRank,
    share: Number,
}

/// The order of siblings: proportion of the guarantee for those below it, key (of which `fifo` has two
/// parts), submission, path.
type Place = (bool, Number, i64, Number, u64, Arc<str>);

fn whole(number: u64) -> Number {
    Number::from_integer(BigInt::from(number))
}

impl Reference {
    pub fn new(rounding: Rounding) -> Self {
        Self {
            rounding,
            wrong: None,
            standing: Vec::new(),
        }
    }

    pub fn wrong(wrong: Wrong) -> Self {
        Self {
            wrong: Some(wrong),
            ..Self::new(Rounding::None)
        }
    }

    fn is(&self, wrong: Wrong) -> bool {
        self.wrong == Some(wrong)
    }

    /// To the nearest multiple of 2^-bits.
    fn round(&self, number: Number, bits: u32) -> Number {
        if self.rounding == Rounding::None {
            return number;
        }
        let (above, below) = number.into_raw();
        let nearest = ((above << (bits + 1)) + &below) / (below << 1_u32);
        Number::new(nearest, BigInt::one() << bits)
    }

    fn share(&self, tree: &QueueTree, resource: ResourceId, amount: Amount) -> Number {
        let total = tree.totals().get(resource);
        if total.is_zero() {
            return Number::zero();
        }
        self.round(whole(amount.milli()) / whole(total.milli()), 48)
    }

    /// The resource of which a task takes the largest share.
    fn dominant_of(&self, tree: &QueueTree, shape: ShapeId) -> ResourceId {
        let demand = tree.shape(shape).demand.iter();
        let largest = demand.max_by_key(|(id, amount)| self.share(tree, *id, *amount));
        largest.unwrap().0
    }

    fn used_shares(&self, tree: &QueueTree, queue: QueueId) -> Vec<Number> {
        let totals = tree.totals().iter();
        totals
            .map(|(resource, total)| {
                if total.is_zero() {
                    return Number::zero();
                }
                let counted = whole(tree.counted(queue, resource)) / whole(1 << 16);
                self.round(counted / whole(total.milli()), 48)
            })
            .collect()
    }

    fn standing(&self, queue: QueueId) -> &Standing {
        &self.standing[queue.index()]
    }

    /// The standing values of all queues, those below a queue before it.
    fn stand(&mut self, tree: &QueueTree) {
        let nothing = |queue| Standing {
            used: self.used_shares(tree, queue),
            shares: Vec::new(),
            dominant: Number::zero(),
            task: None,
        };
        self.standing = tree.queues().map(nothing).collect();
        for queue in tree.queues().rev() {
            self.standing[queue.index()] = self.new_standing(tree, queue);
        }
    }

    fn new_standing(&self, tree: &QueueTree, queue: QueueId) -> Standing {
        let children = tree.children(queue);
        let task = if children.is_empty() {
            let shapes = tree.heads(queue).iter().map(|(shape, _)| {
                let demand = tree.shape(*shape).demand.iter();
                let shares = demand.map(|(resource, amount)| self.share(tree, resource, amount));
                shares.max().unwrap_or_default()
            });
            shapes.min()
        } else {
            children
                .iter()
                .filter_map(|child| self.standing(*child).task.clone())
                .min()
        };
        let shares = if is_scaled(tree, queue) {
            let is_looked_at =
                |child: &&QueueId| !self.is(Wrong::StandingOfLeavesOnly) || tree.is_leaf(**child);
            let levels = children
                .iter()
                .filter(is_looked_at)
                .filter_map(|child| self.standing_level(tree, *child));
            let level = levels.min().filter(|_| !self.is(Wrong::StandingIsUnscaled));
            self.shares_at(tree, queue, level, |_| true)
        } else {
            self.standing(queue).used.clone()
        };
        let dominant = shares.iter().max().cloned().unwrap_or_default();
        Standing {
            used: self.standing(queue).used.clone(),
            shares,
            dominant,
            task,
        }
    }

    fn level(&self, tree: &QueueTree, queue: QueueId, share: &Number, task: &Number) -> Number {
        let own = match self.is(Wrong::OneTaskMore) {
            true => share + task,
            false => self.own(share, task),
        };
        self.round(own / self.scaling_weight(tree, queue), 48)
    }

    fn own(&self, share: &Number, task: &Number) -> Number {
        if self.is(Wrong::NothingCountsAsNothing) {
            return share.clone();
        }
        share.max(task).clone()
    }

    fn scaling_weight(&self, tree: &QueueTree, queue: QueueId) -> Number {
        if self.is(Wrong::WeightsDoNotScale) {
            return Number::one();
        }
        weight(tree, queue)
    }

    fn standing_level(&self, tree: &QueueTree, queue: QueueId) -> Option<Number> {
        let standing = self.standing(queue);
        Some(self.level(tree, queue, &standing.dominant, standing.task.as_ref()?))
    }

    /// V_n(M).
    fn shares_at(
        &self,
        tree: &QueueTree,
        queue: QueueId,
        level: Option<Number>,
        is_going: impl Fn(QueueId) -> bool,
    ) -> Vec<Number> {
        let used = self.standing(queue).used.clone();
        let Some(level) = level else { return used };
        if !is_scaled(tree, queue) {
            return used;
        }
        let mut idle = vec![Number::zero(); used.len()];
        let mut scaled = idle.clone();
        for child in tree.children(queue) {
            let standing = self.standing(*child);
            for (resource, share) in standing.shares.iter().enumerate() {
                let is_full = self.is(Wrong::BlockedCountInFull) && !is_going(*child);
                let Some(task) = standing.task.as_ref().filter(|_| !is_full) else {
                    idle[resource] += share;
                    continue;
                };
                let own = self.own(&standing.dominant, task);
                if !own.is_zero() {
                    // What fills a guarantee is not scaled down.
                    let weight = self.scaling_weight(tree, *child);
                    let filled = &own * filled(tree, *child) / &weight;
                    let is_scaled = self.is(Wrong::GuaranteesAreScaled) || filled <= level;
                    let level = if is_scaled {
                        level.clone()
                    } else {
                        self.round(filled, 48)
                    };
                    let due = weight * whole(1000) * share / own;
                    scaled[resource] += level * self.round(due, 32);
                }
            }
        }
        let sum =
            |resource: usize| &idle[resource] + self.round(&scaled[resource] / whole(1000), 48);
        used.into_iter()
            .enumerate()
            .map(|(resource, used)| match self.wrong {
                Some(Wrong::MoreThanIsUsed | Wrong::OneTaskMore) => sum(resource),
                _ => used.min(sum(resource)),
            })
            .collect()
    }

    fn candidate(&self, tree: &QueueTree, queue: QueueId, offer: &Offer<'_>) -> Option<Candidate> {
        if tree.children(queue).is_empty() {
            let heads = tree.heads(queue).iter();
            let can_go = |shape: ShapeId| can_go(tree, queue, shape, offer);
            let (shape, next) = heads
                .filter(|(shape, _)| can_go(*shape))
                .min_by_key(|(_, rank)| *rank)?;
            let share = self.standing(queue).dominant.clone();
            let choice = Choice {
                leaf: queue,
                shape: *shape,
            };
            return Some(Candidate {
                choice,
                next: *next,
                share,
            });
        }
        let children = tree.children(queue).iter();
        let going: Vec<_> = children
            .filter_map(|child| Some((*child, self.candidate(tree, *child, offer)?)))
            .collect();
        let place = |(child, candidate): &(QueueId, Candidate)| {
            self.place(tree, queue, *child, candidate, offer)
        };
        let (_, first) = going.iter().min_by_key(|candidate| place(candidate))?;
        let measures = self.measures(tree, queue, &going, offer);
        let levels = measures.into_iter().map(|(child, share)| {
            let task = self.standing(child).task.clone().unwrap();
            self.level(tree, child, &share, &task)
        });
        let is_going = |child| going.iter().any(|(going, _)| *going == child);
        let mut shares = self.shares_at(tree, queue, levels.min(), is_going);
        if self.is(Wrong::NextTaskInFull) {
            let wanted = self.dominant_of(tree, first.choice.shape).index();
            shares[wanted] = self.standing(queue).used[wanted].clone();
        }
        let counting = shares
            .into_iter()
            .enumerate()
            .filter(|(resource, _)| self.counts(tree, queue, ResourceId::new(*resource), offer));
        let share = counting.map(|(_, share)| share).max().unwrap_or_default();
        Some(Candidate {
            share,
            ..first.clone()
        })
    }

    /// The children that are measures for the scaling, with their shares: those that can go.
    fn measures(
        &self,
        tree: &QueueTree,
        queue: QueueId,
        going: &[(QueueId, Candidate)],
        offer: &Offer<'_>,
    ) -> Vec<(QueueId, Number)> {
        let shares = going
            .iter()
            .map(|(child, candidate)| (*child, candidate.share.clone()));
        let right: Vec<_> = shares.collect();
        let fits_but_for = |child: QueueId, fits: &dyn Fn(QueueId, ShapeId) -> bool| {
            let known = right.iter().find(|(going, _)| *going == child);
            let mut waiting = waiting_below(tree, child).into_iter();
            let is_measure = waiting.any(|(leaf, shape)| fits(leaf, shape));
            let share = known.map_or(&self.standing(child).dominant, |(_, share)| share);
            is_measure.then(|| (child, share.clone()))
        };
        let children_that = |fits: &dyn Fn(QueueId, ShapeId) -> bool| {
            let children = tree.children(queue).iter();
            children
                .filter_map(|child| fits_but_for(*child, fits))
                .collect()
        };
        let allowed = |leaf, shape| tree.blocking_max(leaf, &tree.shape(shape).demand).is_none();
        match self.wrong {
            Some(Wrong::AllThatWaitAreMeasures) => children_that(&|_, _| true),
            Some(Wrong::MaxDoesNotBlock) => children_that(&|_, shape| offer.fits.contains(shape)),
            Some(Wrong::BlockedOnlyByTotals) => children_that(&|leaf, shape| {
                tree.totals().hold(&tree.shape(shape).demand) && allowed(leaf, shape)
            }),
            Some(Wrong::BlockedOnlyIfUsedUp) => children_that(&|leaf, shape| {
                let mut asked = tree.shape(shape).demand.iter();
                asked.all(|(id, _)| !offer.free.get(id).is_zero()) && allowed(leaf, shape)
            }),
            Some(Wrong::NothingIsLeftOut) => {
                let has_some = |(_, share): &(QueueId, Number)| !share.is_zero();
                right
                    .iter()
                    .filter(|child| has_some(child))
                    .cloned()
                    .collect()
            }
            _ => right,
        }
    }

    /// Whether a resource counts: not if tasks that demand it wait and none of them can go.
    fn counts(
        &self,
        tree: &QueueTree,
        queue: QueueId,
        resource: ResourceId,
        offer: &Offer<'_>,
    ) -> bool {
        let can_go = |waiting: &[(QueueId, ShapeId)]| {
            waiting
                .iter()
                .any(|(leaf, shape)| can_go(tree, *leaf, *shape, offer))
        };
        let mut waiting = demanding(tree, queue, resource);
        match self.wrong {
            Some(Wrong::NothingIsSaturated) => return true,
            Some(Wrong::OnlyWhatIsWantedCounts) => return can_go(&waiting),
            Some(Wrong::BlockedOnlyIfUsedUp) => return !offer.free.get(resource).is_zero(),
            Some(Wrong::SaturatedForAll) => waiting = demanding(tree, tree.root(), resource),
            _ => {}
        }
        waiting.is_empty() || can_go(&waiting)
    }

    fn place(
        &self,
        tree: &QueueTree,
        queue: QueueId,
        child: QueueId,
        candidate: &Candidate,
        offer: &Offer<'_>,
    ) -> Place {
        let spec = tree.policy_spec(queue);
        let (tier, key) = match &*spec.name {
            "fifo" => (
                -i64::from(candidate.next.priority.0),
                whole(candidate.next.seq),
            ),
            "weighted" => {
                let used = spec.resource.map(|resource| tree.counted(child, resource));
                let used = used.unwrap_or(tree.counted_running(child));
                (0, whole(used) / weight(tree, child))
            }
            "drf" => (0, self.drf_key(tree, queue, child, candidate, offer)),
            name => panic!("the reference knows no policy {name}"),
        };
        let below = below_guarantee(tree, child, offer);
        let seq = candidate.next.seq;
        let path = Arc::clone(tree.path(child));
        match below {
            Some(proportion) => (false, proportion, 0, Number::zero(), seq, path),
            None => (true, Number::zero(), tier, key, seq, path),
        }
    }

    fn drf_key(
        &self,
        tree: &QueueTree,
        queue: QueueId,
        child: QueueId,
        candidate: &Candidate,
        offer: &Offer<'_>,
    ) -> Number {
        let siblings = tree.children(queue).iter();
        let mut inner = siblings.filter(|sibling| is_drf(tree, **sibling));
        if tree.has_memory(child) || inner.next().is_some() {
            return self.round(&candidate.share / weight(tree, child), 36);
        }
        let exact = Self::new(Rounding::None);
        let is_leaf = tree.children(child).is_empty();
        let shares = exact.used_shares(tree, child).into_iter().enumerate();
        let counting = shares.filter(|(resource, _)| {
            is_leaf || self.counts(tree, child, ResourceId::new(*resource), offer)
        });
        counting.map(|(_, share)| share).max().unwrap_or_default() / weight(tree, child)
    }
}

fn weight(tree: &QueueTree, queue: QueueId) -> Number {
    whole(u64::from(tree.settings(queue).weight.milli())) / whole(1000)
}

/// An inner queue whose children are ordered by `drf`.
fn is_drf(tree: &QueueTree, queue: QueueId) -> bool {
    !tree.children(queue).is_empty() && &*tree.policy_spec(queue).name == "drf"
}

/// Whether its share is scaled: past use of its children is forgotten at the rate of its own.
fn is_scaled(tree: &QueueTree, queue: QueueId) -> bool {
    let half_life = |queue| tree.policy_spec(queue).half_life;
    let above = tree.parent(queue);
    is_drf(tree, queue) && above.is_none_or(|above| half_life(above) == half_life(queue))
}

/// How far a queue is below its guarantee for what tasks below it demand that can go.
fn below_guarantee(tree: &QueueTree, queue: QueueId, offer: &Offer<'_>) -> Option<Number> {
    let used = |resource| tree.used(queue).get(resource);
    let guarantees = tree.settings(queue).min.iter();
    let below = guarantees.filter(|(resource, min)| {
        let mut wanting = demanding(tree, queue, *resource).into_iter();
        used(*resource) < *min && wanting.any(|(leaf, shape)| can_go(tree, leaf, shape, offer))
    });
    below
        .map(|(resource, min)| whole(used(*resource).milli()) / whole(min.milli()))
        .min()
}

/// Which part of a queue's use fills its guarantee.
fn filled(tree: &QueueTree, queue: QueueId) -> Number {
    let used = |resource| whole(tree.used(queue).get(resource).milli());
    let guarantees = tree.settings(queue).min.iter();
    let guarantees = guarantees.map(|(resource, min)| (whole(min.milli()), used(*resource)));
    let parts = guarantees.filter(|(_, used)| !used.is_zero());
    parts
        .map(|(min, used)| (min / used).min(Number::one()))
        .max()
        .unwrap_or_default()
}

fn can_go(tree: &QueueTree, leaf: QueueId, shape: ShapeId, offer: &Offer<'_>) -> bool {
    offer.fits.contains(shape) && tree.blocking_max(leaf, &tree.shape(shape).demand).is_none()
}

/// The waiting shapes of the leaves of a subtree.
fn waiting_below(tree: &QueueTree, queue: QueueId) -> Vec<(QueueId, ShapeId)> {
    let own = tree.heads(queue).iter().map(|(shape, _)| (queue, *shape));
    let children = tree.children(queue).iter();
    let below = children.flat_map(|child| waiting_below(tree, *child));
    own.chain(below).collect()
}

/// Those that demand a resource.
fn demanding(tree: &QueueTree, queue: QueueId, resource: ResourceId) -> Vec<(QueueId, ShapeId)> {
    let mut waiting = waiting_below(tree, queue);
    waiting.retain(|(_, shape)| !tree.shape(*shape).demand.get(resource).is_zero());
    waiting
}

impl Policy for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn rebuild(&mut self, _tree: &QueueTree) {}

    fn changed(&mut self, _tree: &QueueTree, _leaf: QueueId) {}

    fn choose(&mut self, tree: &QueueTree, offer: &Offer<'_>) -> Option<Choice> {
        self.stand(tree);
        Some(self.candidate(tree, tree.root(), offer)?.choice)
    }
}
