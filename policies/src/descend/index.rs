//! The index over the queue tree, and how it is built.

use super::Bounds;
use super::bits::Counted;
use super::change::Change;
use super::column::Bounded;
use super::facts::Facts;
use super::memo::Memo;
use super::queue::{Child, Inner, Leaf, Node, Order, Shares, UsedShares};
use super::siblings::{Siblings, narrow};
use super::sums::Sums;
use super::tournament::Tournament;
use crate::ids::QueueId;
use crate::registry::Registry;
use crate::tree::QueueTree;

/// Of so many inner queues below one queue bounds by level for each shape pay: to look at fewer ones costs less.
const MANY_INNER: usize = 16;

/// With more shapes than these a queue has much that waits and doesn't fit. Then bounds pay in all of the tree if they do
/// below some queue. With fewer ones they do where there is one level of groups: with more, what they cost on each level at
/// each change is more than what they save.
const MANY_SHAPES: usize = 64;

/// So many places of rows, and children, are looked at one after the other: that costs far less for each than a walk, and
/// where children are much alike a walk passes few of them by.
const GATHERED_MAX: usize = 8192;

/// Which inner queues stand in rows, where they can.
#[derive(Clone, Copy, Default)]
struct HasRows {
    of_ranks: bool,
    of_levels: bool,
    /// By levels, those of only leaves, [`MANY_INNER`] below one queue of which no share is scaled.
    of_many: bool,
}

/// See the module's text. Nodes and children are indexed as queues are; a child comes after its parent.
#[derive(Default)]
pub(super) struct Index {
    pub(super) facts: Facts,
    pub(super) nodes: Vec<Node>,
    pub(super) children: Vec<Child>,
    pub(super) resources: usize,
    has_rows: HasRows,
    /// Whether levels are to stand in rows once there are many shapes.
    awaits_shapes: bool,
    /// See [`GATHERED_MAX`].
    pub(super) gathered_max: usize,
    /// Room for the queues on the way up from a leaf.
    pub(super) way: Vec<usize>,
    /// Room for the shapes that can go above a queue.
    pub(super) above: Vec<u64>,
    /// Room for what changes below a queue.
    pub(super) change: Change,
    /// How many walks through the children of a queue there were.
    pub(super) n_walks: u64,
}

impl Index {
    /// The index of a tree. Costs the whole tree.
    ///
    /// # Panics
    /// If the tree names a policy that the registry doesn't know.
    pub(super) fn new(registry: &Registry, tree: &QueueTree, bounds: Bounds) -> Self {
        let resources = tree.totals().as_slice().len();
        let could_pay = bounds == Bounds::Cheapest
            && (tree.queues()).any(|queue| n_inner(tree, queue) >= MANY_INNER);
        let last = tree.shapes().map(|(shape, _)| shape.index()).max();
        let has_many_shapes = last.is_some_and(|last| last >= MANY_SHAPES);
        let mut index = Self {
            facts: Facts::new(resources),
            resources,
            has_rows: HasRows {
                of_ranks: bounds != Bounds::Whole,
                of_levels: bounds.are_by_shape() || could_pay && has_many_shapes,
                of_many: could_pay,
            },
            awaits_shapes: could_pay && !has_many_shapes,
            gathered_max: match bounds {
                Bounds::Whole | Bounds::Walked => 0,
                Bounds::Gathered => usize::MAX,
                Bounds::Cheapest => GATHERED_MAX,
            },
            ..Self::default()
        };
        let paths = places_of_paths(tree);
        for queue in tree.queues() {
            index.add(registry, tree, queue, paths[queue.index()]);
        }
        for queue in tree.queues().filter(|queue| tree.is_leaf(*queue)) {
            let learned = index.changed(tree, queue);
            debug_assert!(learned, "a new index knows no shape by an old meaning");
        }
        index
    }

    /// Whether there are so many shapes now that it pays to build the index anew.
    pub(super) fn has_outgrown(&self) -> bool {
        self.awaits_shapes && self.facts.n_known() > MANY_SHAPES
    }

    fn add(&mut self, registry: &Registry, tree: &QueueTree, queue: QueueId, path: u32) {
        let settings = tree.settings(queue);
        let is_limited = !settings.max.is_empty();
        let is_guaranteed = settings.min.iter().any(|(_, min)| !min.is_zero());
        let parent = tree.parent(queue).map(QueueId::index);
        let mut child = Child {
            path,
            weight: settings.weight,
            ..Child::default()
        };
        if let Some(parent) = parent {
            child.parent = parent;
            let places = &mut self.inner_mut(parent).siblings.children;
            let n_places = places.len().max(path as usize + 1);
            places.resize(n_places, 0);
            places[path as usize] = narrow(queue.index());
        }
        self.children.push(child);
        if tree.is_leaf(queue) {
            self.nodes.push(Node::Leaf(Leaf {
                is_limited,
                is_guaranteed,
                ..Leaf::default()
            }));
            return;
        }
        let order = order_of(registry, tree, queue);
        let above = parent.map(|parent| self.inner(parent));
        let is_scaled = has_scaled_share(tree, queue, &order);
        let has_shares = above.is_some_and(|above| above.order.is_drf());
        let shares = has_shares.then(|| Shares {
            used: UsedShares::default(),
            standing: vec![0; self.resources],
            level: None,
            lowest: vec![0; self.resources],
            least: None,
            sums: is_scaled.then(|| Sums::new(self.resources)),
        });
        let bounded = if is_guaranteed {
            Bounded::Whole
        } else {
            above.map_or(Bounded::Whole, |above| {
                self.bounded(tree, queue, above, is_scaled)
            })
        };
        let ranks = above.is_some_and(|above| !above.order.is_drf() || above.ranks.is_some());
        let ranks = ranks.then(Tournament::default);
        self.nodes.push(Node::Inner(Box::new(Inner {
            order,
            is_limited,
            is_guaranteed,
            waiting: Counted::default(),
            offered: Counted::default(),
            allowed: Vec::new(),
            head_rooms: Vec::new(),
            footprints: Vec::new(),
            task_share: 0,
            siblings: Siblings::default(),
            bounded,
            column: (bounded != Bounded::Whole).then(Box::default),
            ranks,
            shares,
            memo: Memo::default(),
            room: Vec::new(),
        })));
    }

    /// By what a queue without a guarantee stands below the one above.
    fn bounded(&self, tree: &QueueTree, queue: QueueId, above: &Inner, is_scaled: bool) -> Bounded {
        let HasRows {
            of_ranks,
            of_levels,
            of_many,
        } = self.has_rows;
        let are_many = || {
            let siblings = tree.parent(queue).map_or(0, |above| n_inner(tree, above));
            n_inner(tree, queue) == 0 && !above.has_sums() && siblings >= MANY_INNER
        };
        match &above.order {
            Order::Ranked(ranking) if ranking.is_by_rank() && of_ranks => Bounded::ByRank,
            // Rows of a queue that is bounded by ranks tell them of all children.
            Order::Drf { .. } if is_scaled && above.bounded != Bounded::ByRank => {
                if of_levels || of_many && are_many() {
                    Bounded::ByLevel
                } else {
                    Bounded::Whole
                }
            }
            Order::Ranked(_) | Order::Drf { .. } => Bounded::Whole,
        }
    }

    pub(super) fn inner(&self, queue: usize) -> &Inner {
        match &self.nodes[queue] {
            Node::Inner(inner) => inner,
            Node::Leaf(_) => unreachable!("a queue with children is an inner queue"),
        }
    }

    pub(super) fn inner_mut(&mut self, queue: usize) -> &mut Inner {
        match &mut self.nodes[queue] {
            Node::Inner(inner) => inner,
            Node::Leaf(_) => unreachable!("a queue with children is an inner queue"),
        }
    }
}

/// Per queue, its place among the paths of its siblings.
fn places_of_paths(tree: &QueueTree) -> Vec<u32> {
    let mut places = vec![0; tree.len()];
    for queue in tree.queues() {
        let mut children = tree.children(queue).to_vec();
        children.sort_by_key(|child| tree.path(*child));
        for (place, child) in children.iter().enumerate() {
            places[child.index()] = narrow(place);
        }
    }
    places
}

/// How many children of a queue have children.
fn n_inner(tree: &QueueTree, queue: QueueId) -> usize {
    let children = tree.children(queue).iter();
    children.filter(|child| !tree.is_leaf(**child)).count()
}

/// How a queue orders its children.
fn order_of(registry: &Registry, tree: &QueueTree, queue: QueueId) -> Order {
    let order = |queue| registry.find_order(tree.policy_spec(queue));
    let order_of = |queue| order(queue).expect("the names of policies were checked");
    let is_inner = |child: &&QueueId| !tree.is_leaf(**child);
    match order_of(queue) {
        Order::Ranked(ranking) => Order::Ranked(ranking),
        Order::Drf { .. } => {
            let mut inner = tree.children(queue).iter().filter(is_inner);
            let has_memory = tree.policy_spec(queue).half_life.is_some();
            Order::Drf {
                rounded: has_memory || inner.any(|child| order_of(*child).is_drf()),
            }
        }
    }
}

/// Whether the share of an inner queue below one that orders by `drf` is scaled: its own children are
/// ordered so, too, and their past is forgotten at the same rate.
fn has_scaled_share(tree: &QueueTree, queue: QueueId, order: &Order) -> bool {
    let half_life = |queue| tree.policy_spec(queue).half_life;
    let above = tree.parent(queue);
    order.is_drf() && above.is_some_and(|above| half_life(above) == half_life(queue))
}
