//! The steps of a decision, for people: at each queue on the way to a task the child that would be served first, and
//! the one that leads to the task, with the keys by which they were compared.

use super::index::Index;
use super::queue::Order;
use super::{bits, guarantee};
use crate::explain::{Contender, Fraction, ShownKey, Step};
use crate::ids::QueueId;
use crate::ranking::Key;
use crate::tree::{QueueTree, TaskRank};

/// In how many parts a rounded key divides a share: keys are multiples of 2^-36.
const ROUNDED: u128 = 1 << 36;

impl Index {
    /// The steps from the root to `leaf` if the shapes of `fits` fitted. Costs the depth times what
    /// [`Index::choose`] does.
    pub(super) fn steps(&mut self, tree: &QueueTree, fits: &[u64], leaf: QueueId) -> Vec<Step> {
        let mut path = vec![leaf];
        while let Some(above) = tree.parent(path[path.len() - 1]) {
            path.push(above);
        }
        path.reverse();
        let mut steps = Vec::new();
        let mut above = fits.to_vec();
        for pair in path.windows(2) {
            let (parent, child) = (pair[0], pair[1]);
            let served = self.find_below(tree, parent.index(), &above);
            let served = served.map(|found| child_towards(tree, parent, found.next.choice.leaf));
            let mut going = Vec::new();
            bits::set_common(&mut going, &above, self.inner(parent.index()).going());
            steps.push(Step {
                parent,
                first: served.map(|served| self.contender(tree, parent, served, &going)),
                own: self.contender(tree, parent, child, &going),
            });
            above = going;
        }
        steps
    }

    fn contender(
        &mut self,
        tree: &QueueTree,
        parent: QueueId,
        child: QueueId,
        going: &[u64],
    ) -> Contender {
        let found = self.find(tree, child.index(), going);
        let order = &self.inner(parent.index()).order;
        let is_order = &*tree.policy_spec(parent).name == "fifo";
        Contender {
            queue: child,
            standing: found.map(|found| {
                let rank = found.next.rank;
                (show(found.key, order, is_order, rank), rank)
            }),
        }
    }
}

/// The child of `parent` on the way to a leaf below it.
fn child_towards(tree: &QueueTree, parent: QueueId, leaf: QueueId) -> QueueId {
    let mut child = leaf;
    while let Some(above) = tree.parent(child).filter(|above| *above != parent) {
        child = above;
    }
    child
}

fn show(key: Key, order: &Order, is_order: bool, next: TaskRank) -> ShownKey {
    let (part, whole) = key.share.parts();
    let part = u128::from(part);
    if guarantee::is_below(key) {
        return ShownKey::Guarantee(Fraction { part, whole });
    }
    match order {
        Order::Ranked(_) if is_order => ShownKey::Order(next),
        Order::Drf { rounded: true } => ShownKey::Use(Fraction {
            part,
            whole: ROUNDED,
        }),
        // A weight is kept in thousandths, which cancel out between siblings.
        Order::Drf { rounded: false } | Order::Ranked(_) => ShownKey::Use(Fraction {
            part: part * 1000,
            whole,
        }),
    }
}
