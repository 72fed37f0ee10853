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

type Number = BigRational;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rounding {
    Integers,
    None,
}

pub struct Reference {
    rounding: Rounding,
    /// Of every queue, for the decision at hand.
    standing: Vec<Standing>,
}

/// What doesn't depend on the offer.
struct Standing {
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
            standing: Vec::new(),
        }
    }

    /// To the nearest multiple of 2^-bits.
    fn round(&self, number: Number, bits: u32) -> Number {
        if self.rounding == Rounding::None {
            return number;
        }
        let unit = Number::from_integer(BigInt::one() << bits);
        let half = Number::new(BigInt::one(), BigInt::from(2));
        (number * &unit + half).floor() / unit
    }

    fn share(&self, tree: &QueueTree, resource: ResourceId, amount: Amount) -> Number {
        let total = tree.totals().get(resource);
        if total.is_zero() {
            return Number::zero();
        }
        self.round(whole(amount.milli()) / whole(total.milli()), 48)
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
        let nothing = || Standing {
            shares: Vec::new(),
            dominant: Number::zero(),
            task: None,
        };
        self.standing = tree.queues().map(|_| nothing()).collect();
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
            let levels = children
                .iter()
                .filter_map(|child| self.standing_level(tree, *child));
            self.shares_at(tree, queue, levels.min())
        } else {
            self.used_shares(tree, queue)
        };
        let dominant = shares.iter().max().cloned().unwrap_or_default();
        Standing {
            shares,
            dominant,
            task,
        }
    }

    fn level(&self, tree: &QueueTree, queue: QueueId, share: &Number, task: &Number) -> Number {
        self.round(share.max(task) / weight(tree, queue), 48)
    }

    fn standing_level(&self, tree: &QueueTree, queue: QueueId) -> Option<Number> {
        let standing = self.standing(queue);
        Some(self.level(tree, queue, &standing.dominant, standing.task.as_ref()?))
    }

    /// V_n(M).
    fn shares_at(&self, tree: &QueueTree, queue: QueueId, level: Option<Number>) -> Vec<Number> {
        let used = self.used_shares(tree, queue);
        let Some(level) = level else { return used };
        if !is_scaled(tree, queue) {
            return used;
        }
        let mut idle = vec![Number::zero(); used.len()];
        let mut dues = idle.clone();
        for child in tree.children(queue) {
            let standing = self.standing(*child);
            for (resource, share) in standing.shares.iter().enumerate() {
                let Some(task) = &standing.task else {
                    idle[resource] += share;
                    continue;
                };
                let own = (&standing.dominant).max(task);
                if !own.is_zero() {
                    let due = weight(tree, *child) * whole(1000) * share / own;
                    dues[resource] += self.round(due, 32);
                }
            }
        }
        let sum = |resource: usize| {
            &idle[resource] + self.round(&level * &dues[resource] / whole(1000), 48)
        };
        used.into_iter()
            .enumerate()
            .map(|(resource, used)| used.min(sum(resource)))
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
        let (served, first) = going.iter().min_by_key(|candidate| place(candidate))?;
        let is_measure = |child: &QueueId| match below_guarantee(tree, *served, offer) {
            Some(_) => child == served,
            None => true,
        };
        let measures = going.iter().filter(|(child, _)| is_measure(child));
        let levels = measures.map(|(child, candidate)| {
            let task = self.standing(*child).task.clone().unwrap();
            self.level(tree, *child, &candidate.share, &task)
        });
        let shares = self.shares_at(tree, queue, levels.min());
        let counting = shares
            .into_iter()
            .enumerate()
            .filter(|(resource, _)| counts(tree, queue, ResourceId::new(*resource), offer));
        let share = counting.map(|(_, share)| share).max().unwrap_or_default();
        Some(Candidate {
            share,
            ..first.clone()
        })
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
            is_leaf || counts(tree, child, ResourceId::new(*resource), offer)
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

fn can_go(tree: &QueueTree, leaf: QueueId, shape: ShapeId, offer: &Offer<'_>) -> bool {
    offer.fits.contains(shape) && tree.blocking_max(leaf, &tree.shape(shape).demand).is_none()
}

/// The waiting shapes of the leaves of a subtree that demand a resource.
fn demanding(tree: &QueueTree, queue: QueueId, resource: ResourceId) -> Vec<(QueueId, ShapeId)> {
    let heads = tree.heads(queue).iter().map(|(shape, _)| (queue, *shape));
    let own = heads.filter(|(_, shape)| !tree.shape(*shape).demand.get(resource).is_zero());
    let below = tree
        .children(queue)
        .iter()
        .flat_map(|child| demanding(tree, *child, resource));
    own.chain(below).collect()
}

/// Whether a resource counts: not if tasks that demand it wait and none of them can go.
fn counts(tree: &QueueTree, queue: QueueId, resource: ResourceId, offer: &Offer<'_>) -> bool {
    let waiting = demanding(tree, queue, resource);
    waiting.is_empty()
        || waiting
            .iter()
            .any(|(leaf, shape)| can_go(tree, *leaf, *shape, offer))
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
