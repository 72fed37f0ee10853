//! The table of shapes: each distinct demand with constraints once, under a dense id that is used
//! again when nobody needs the shape any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::demand::Demand;
use crate::ids::ShapeId;

/// What the question "does it fit?" depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// What the task consumes.
    pub demand: Demand,
    /// Attributes that the agent must have, with the value wanted, in order of their names.
    pub constraints: Vec<(Arc<str>, Arc<str>)>,
}

/// One place of the table.
#[derive(Clone, Debug)]
struct Slot {
    /// The shape, `None` while the id is free.
    shape: Option<Arc<Shape>>,
    /// How many tasks need the shape.
    users: u64,
    /// How many shapes had this id; tells a policy's index that an id has a new meaning.
    generation: u64,
}

/// The shapes in use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shapes {
    slots: Vec<Slot>,
    ids: BTreeMap<Arc<Shape>, ShapeId>,
    /// Ids without users. The least is used again first, which keeps bit sets short.
    free: BTreeSet<ShapeId>,
}

impl Shapes {
    /// The id of this shape, known or new, with one more user.
    pub(crate) fn acquire(&mut self, shape: Shape) -> ShapeId {
        if let Some(id) = self.ids.get(&shape) {
            self.slots[id.index()].users += 1;
            return *id;
        }
        let shape = Arc::new(shape);
        let id = self.free.pop_first().unwrap_or_else(|| {
            self.slots.push(Slot {
                shape: None,
                users: 0,
                generation: 0,
            });
            ShapeId::new(self.slots.len() - 1)
        });
        let slot = &mut self.slots[id.index()];
        slot.shape = Some(Arc::clone(&shape));
        slot.users = 1;
        slot.generation += 1;
        self.ids.insert(shape, id);
        id
    }

    /// One user fewer.
    ///
    /// # Panics
    /// If the shape has no user.
    pub(crate) fn release(&mut self, id: ShapeId) {
        let slot = &mut self.slots[id.index()];
        assert!(
            slot.users > 0,
            "a shape is released as often as it was acquired"
        );
        slot.users -= 1;
        if slot.users == 0 {
            let shape = slot.shape.take().expect("a shape with users is there");
            self.ids.remove(&shape);
            self.free.insert(id);
        }
    }

    /// The shape of an id in use.
    ///
    /// # Panics
    /// If the id isn't in use.
    pub(crate) fn get(&self, id: ShapeId) -> &Shape {
        self.find(id).expect("the shape is in use")
    }

    /// The shape of an id, `None` where the id isn't in use.
    pub(crate) fn find(&self, id: ShapeId) -> Option<&Shape> {
        self.slots.get(id.index())?.shape.as_deref()
    }

    /// How many shapes had this id up to now.
    pub(crate) fn generation(&self, id: ShapeId) -> u64 {
        self.slots[id.index()].generation
    }

    /// The shapes in use, in order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ShapeId, &Shape)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| Some((ShapeId::new(index), slot.shape.as_deref()?)))
    }
}
