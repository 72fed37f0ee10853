//! What a change of one leaf is about, on its way up.

use super::queue::Head;
use super::siblings::Stand;
use crate::ids::ShapeId;

/// Which shapes came to wait, or to be free to go, below a queue, and which no longer are.
#[derive(Default)]
pub(super) struct Change {
    pub(super) waiting_in: Vec<ShapeId>,
    pub(super) waiting_out: Vec<ShapeId>,
    pub(super) going_in: Vec<ShapeId>,
    pub(super) going_out: Vec<ShapeId>,
    /// The shapes of which the least level or the best rank below the queue may be another one.
    pub(super) touched: Vec<ShapeId>,
}

impl Change {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.waiting_in.clear();
        self.waiting_out.clear();
        self.going_in.clear();
        self.going_out.clear();
        self.touched.clear();
    }

    /// Something moved in the classes where a leaf stands.
    pub(super) fn touch(&mut self, stands: &[Stand]) {
        for stand in stands {
            if !self.touched.contains(&stand.shape) {
                self.touched.push(stand.shape);
            }
        }
    }

    /// Shapes that came to be free to go, or no longer are, have another bound.
    pub(super) fn touch_going(&mut self) {
        self.touched.extend_from_slice(&self.going_in);
        self.touched.extend_from_slice(&self.going_out);
    }

    /// A shape no longer waits.
    pub(super) fn leaves(&mut self, head: &Head) {
        self.waiting_out.push(head.shape);
        self.going_out.extend(head.is_allowed.then_some(head.shape));
    }
}
