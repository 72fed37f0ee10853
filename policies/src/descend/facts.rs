//! What the index knows of each shape: its demand, its least share, the resources it asks for.

use std::collections::BTreeMap;

use super::bits;
use crate::demand::Demand;
use crate::fixed;
use crate::ids::{ResourceId, ShapeId};
use crate::tree::QueueTree;

/// What is known of one shape while some leaf has it waiting.
#[derive(Default)]
struct Fact {
    generation: u64,
    /// Leaves where the shape waits.
    leaves: usize,
    demand: Demand,
    /// The dominant share of one task, in 2^-48.
    share: u64,
    footprint: usize,
}

/// Facts by shape, and shapes by resource.
#[derive(Default)]
pub(super) struct Facts {
    facts: Vec<Fact>,
    /// Per resource, the shapes that demand it.
    demanding: Vec<Vec<u64>>,
    /// Distinct sets of resources that shapes ask for. Resources that aren't there are left out.
    footprints: Vec<Vec<ResourceId>>,
    footprint_ids: BTreeMap<Vec<ResourceId>, usize>,
}

impl Facts {
    /// For a tree with so many resources.
    pub(super) fn new(resources: usize) -> Self {
        Self {
            demanding: vec![Vec::new(); resources],
            ..Self::default()
        }
    }

    /// Whether the id has another meaning than the one known, or none was known yet.
    pub(super) fn is_stale(&self, tree: &QueueTree, shape: ShapeId) -> bool {
        let fact = self.facts.get(shape.index());
        fact.is_none_or(|fact| fact.generation != tree.shape_generation(shape))
    }

    /// Whether the shape waits in a leaf, as far as the index knows.
    pub(super) fn is_waiting(&self, shape: ShapeId) -> bool {
        self.facts
            .get(shape.index())
            .is_some_and(|fact| fact.leaves > 0)
    }

    /// Learns what an id means now. No leaf may have its old meaning waiting.
    pub(super) fn learn(&mut self, tree: &QueueTree, shape: ShapeId) {
        if shape.index() >= self.facts.len() {
            self.facts.resize_with(shape.index() + 1, Fact::default);
        }
        let demand = tree.shape(shape).demand.clone();
        let shares = demand
            .iter()
            .map(|(id, amount)| fixed::share(amount, tree.totals().get(id)));
        let share = shares.max().unwrap_or(0);
        let asked = demand.iter().map(|(id, _)| id);
        let asked: Vec<_> = asked
            .filter(|id| !tree.totals().get(*id).is_zero())
            .collect();
        let footprint = self.intern(asked);
        for (index, shapes) in self.demanding.iter_mut().enumerate() {
            if demand.get(ResourceId::new(index)).is_zero() {
                bits::remove(shapes, shape);
            } else {
                bits::insert(shapes, shape);
            }
        }
        let fact = &mut self.facts[shape.index()];
        assert!(fact.leaves == 0, "the old meaning of an id waits nowhere");
        let generation = tree.shape_generation(shape);
        *fact = Fact {
            generation,
            leaves: 0,
            demand,
            share,
            footprint,
        };
    }

    fn intern(&mut self, resources: Vec<ResourceId>) -> usize {
        if let Some(id) = self.footprint_ids.get(&resources) {
            return *id;
        }
        let id = self.footprints.len();
        self.footprints.push(resources.clone());
        self.footprint_ids.insert(resources, id);
        id
    }

    /// How many ids of shapes are known, those that have no meaning any more included.
    pub(super) fn n_known(&self) -> usize {
        self.facts.len()
    }

    /// A leaf more in which the shape waits.
    pub(super) fn add_leaf(&mut self, shape: ShapeId) {
        self.facts[shape.index()].leaves += 1;
    }

    /// A leaf fewer.
    pub(super) fn remove_leaf(&mut self, shape: ShapeId) {
        self.facts[shape.index()].leaves -= 1;
    }

    /// What one task of the shape demands.
    pub(super) fn demand(&self, shape: ShapeId) -> &Demand {
        &self.facts[shape.index()].demand
    }

    /// The dominant share of one task of the shape, in 2^-48.
    pub(super) fn share(&self, shape: ShapeId) -> u64 {
        self.facts[shape.index()].share
    }

    /// The number of the set of resources that the shape asks for.
    pub(super) fn footprint(&self, shape: ShapeId) -> usize {
        self.facts[shape.index()].footprint
    }

    /// The resources of a footprint.
    pub(super) fn resources(&self, footprint: usize) -> &[ResourceId] {
        &self.footprints[footprint]
    }

    /// Whether a shape of these demands a resource.
    pub(super) fn any_demands(&self, resource: ResourceId, shapes: &[u64]) -> bool {
        let demanding = self.demanding.get(resource.index());
        demanding.is_some_and(|demanding| bits::intersect(demanding, shapes))
    }

    /// Whether a resource counts towards the share of a queue below which the shapes `waiting` wait
    /// and `going` can go: not if tasks wait for it and none of them can go.
    pub(super) fn counts(&self, resource: usize, waiting: &[u64], going: &[u64]) -> bool {
        let Some(demanding) = self.demanding.get(resource) else {
            return true;
        };
        // One word is the rule.
        if let ([demanding], [waiting], [going]) = (&demanding[..], waiting, going) {
            return demanding & going != 0 || demanding & waiting == 0;
        }
        bits::intersect(demanding, going) || !bits::intersect(demanding, waiting)
    }
}
