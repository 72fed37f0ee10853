//! What one decision costs: on a full cluster one task ends and another starts.
//!
//! Each round gives back the use of the task launched longest ago, tells the policy, asks it who
//! consumes what came free, charges that, moves the queue's next task and tells the policy again: two
//! changes and one choice. The floor is the same round without a policy: only the books.
//!
//! `cargo bench -p apportion-policies [-- FILTER]`. What varies one by one: policy, queues, depth, shapes, shapes in
//! one queue, resources. With `APPORTION_BENCH_MATRIX=full` all of policy × queues (10 to 10,000) × depth × shapes (1 to
//! 1,000) × resources (2 to 16) are measured, which takes some minutes. How many tasks wait makes no difference here: a
//! policy sees only the first of each shape; the `engine` benchmark of the daemon varies them.
//!
//! From 1,000 to 10,000 queues a round takes, in the median of all shapes and resources, 1.3 times as long under
//! `weighted`, 0.9 to 1.9 times under `fifo`, 1.6 times under flat `drf`, 2.9 times under `drf` in two levels (3.2 to 10 µs),
//! and 2.5 times in three (7 to 21 µs; one run, two cores that were not idle). With 1 or 10 shapes `drf` in two levels
//! takes 1.1 to 1.9 times as long, but for 16 resources. The worst are 100 shapes in two levels, up to 29 µs, and 1,000
//! shapes of 2 resources in three, up to 91 µs: most shapes fit most offers there, and the groups of this benchmark are all
//! alike, so a decision looks at all of them and at the shapes below each. With the few shapes of the `engine` benchmark it is 1.8
//! times flat and 1.9 times in three levels, all of the engine included.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;

use apportion_policies::{
    Amount, Amounts, Choice, Demand, Offer, Policy, PolicySpec, QueueId, QueueSettings, QueueTree,
    Registry, ResourceId, Shape, ShapeSet, TaskRank, Weight,
};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

struct Cluster {
    tree: QueueTree,
    policy: Box<dyn Policy>,
    fits: Vec<ShapeSet>,
    running: VecDeque<Choice>,
    free: Amounts,
    seq: u64,
}

/// A tree of this many leaves. `levels` of groups with about the same number of children each; every
/// tenth leaf wants a resource of which nothing is left.
#[derive(Clone, Copy)]
struct Plan {
    policy: &'static str,
    leaves: usize,
    levels: u32,
    shapes: usize,
    /// How many waiting shapes a leaf has.
    per_leaf: usize,
    running: usize,
    /// The last one is that of which nothing is left.
    resources: usize,
}

fn amount(units: u64) -> Amount {
    Amount::from_units(units).expect("small")
}

fn totals(plan: &Plan) -> Amounts {
    let mut totals = Amounts::default();
    for resource in 0..plan.resources {
        totals.set(ResourceId::new(resource), amount(plan.running as u64 * 16));
    }
    totals
}

/// Shape `number` of many: mostly of one resource, a little of others.
fn shape(plan: &Plan, number: usize) -> Shape {
    let own = number % (plan.resources - 1);
    let pairs = (0..plan.resources - 1).map(|resource| {
        let units = if resource == own {
            2 + (number / 3) as u64 % 7
        } else {
            1
        };
        (
            ResourceId::new(resource),
            Amount::from_milli(units * 1000 + number as u64).expect("small"),
        )
    });
    Shape {
        demand: Demand::new(pairs),
        constraints: Vec::new(),
    }
}

fn blocked_shape(plan: &Plan) -> Shape {
    let scarce = ResourceId::new(plan.resources - 1);
    Shape {
        demand: Demand::new([(scarce, amount(1))]),
        constraints: Vec::new(),
    }
}

/// Adds `leaves` leaves below `parent`, with so many levels of groups in between.
fn grow(
    tree: &mut QueueTree,
    parent: QueueId,
    leaves: usize,
    levels: u32,
    found: &mut Vec<QueueId>,
) {
    let width = if levels == 0 {
        leaves
    } else {
        (leaves as f64).powf(1.0 / f64::from(levels + 1)).round() as usize
    };
    for number in 0..width {
        let weight = Weight::from_milli(1000 * (1 + number as u32 % 3)).expect("above zero");
        let settings = QueueSettings {
            weight,
            ..QueueSettings::default()
        };
        let path = format!("{}/{number}", tree.path(parent));
        let queue = tree.add_queue(parent, Arc::from(path), settings);
        if levels == 0 {
            found.push(queue);
        } else {
            grow(tree, queue, leaves / width, levels - 1, found);
        }
    }
}

impl Cluster {
    fn new(plan: &Plan) -> Self {
        let spec = PolicySpec::new(plan.policy);
        let mut tree = QueueTree::new(totals(plan), spec);
        let mut leaves = Vec::new();
        let root = tree.root();
        grow(&mut tree, root, plan.leaves, plan.levels, &mut leaves);
        let shapes: Vec<_> = (0..plan.shapes)
            .map(|number| tree.acquire_shape(shape(plan, number)))
            .collect();
        let blocked = tree.acquire_shape(blocked_shape(plan));
        // What comes free is one shape's demand: the shapes that are no larger fit.
        let mut fits = vec![ShapeSet::default(); plan.shapes + 1];
        for (freed, fits) in shapes.iter().zip(&mut fits) {
            for fitting in &shapes {
                let demand = tree.shape(*fitting).demand.iter();
                let has = &tree.shape(*freed).demand;
                if demand
                    .into_iter()
                    .all(|(resource, amount)| amount <= has.get(resource))
                {
                    fits.insert(*fitting);
                }
            }
        }
        let mut seq = 0;
        for (number, leaf) in leaves.iter().enumerate() {
            for place in 0..plan.per_leaf {
                seq += 1;
                let shape = shapes[(number + place * 7) % shapes.len()];
                let shape = if number % 10 == 3 { blocked } else { shape };
                tree.set_head(
                    *leaf,
                    shape,
                    Some(TaskRank {
                        priority: Reverse(0),
                        seq,
                    }),
                );
            }
        }
        let mut running = VecDeque::new();
        for number in 0..plan.running {
            let leaf = number % leaves.len();
            if leaf % 10 == 3 {
                continue;
            }
            let choice = Choice {
                leaf: leaves[leaf],
                shape: shapes[leaf % shapes.len()],
            };
            tree.charge(choice.leaf, choice.shape);
            running.push_back(choice);
        }
        let policy = Registry::default().policy_for(&tree).expect("known");
        Self {
            tree,
            policy,
            fits,
            running,
            free: Amounts::zero(plan.resources),
            seq,
        }
    }

    /// One task ends, one starts.
    fn round(&mut self) {
        let ended = self.running.pop_front().expect("the cluster is full");
        self.tree.release(ended.leaf, ended.shape);
        self.policy.changed(&self.tree, ended.leaf);
        let offer = Offer {
            free: &self.free,
            fits: &self.fits[ended.shape.index()],
        };
        let choice = self
            .policy
            .choose(&self.tree, &offer)
            .expect("the same shape fits");
        self.start(choice);
        self.policy.changed(&self.tree, choice.leaf);
        self.running.push_back(choice);
    }

    fn start(&mut self, choice: Choice) {
        self.tree.charge(choice.leaf, choice.shape);
        self.seq += 1;
        let rank = TaskRank {
            priority: Reverse(0),
            seq: self.seq,
        };
        self.tree.set_head(choice.leaf, choice.shape, Some(rank));
    }

    /// The same without a policy.
    fn bare_round(&mut self) {
        let ended = self.running.pop_front().expect("the cluster is full");
        self.tree.release(ended.leaf, ended.shape);
        let choice = black_box(ended);
        self.start(choice);
        self.running.push_back(choice);
    }
}

/// What is measured if nothing else is said: one thing varies at a time.
fn few_plans() -> Vec<Plan> {
    let base = Plan {
        policy: "drf",
        leaves: 1000,
        levels: 0,
        shapes: 4,
        per_leaf: 1,
        running: 4000,
        resources: 4,
    };
    let deep = Plan { levels: 2, ..base };
    let of = |leaves: usize| Plan {
        leaves,
        running: 4 * leaves,
        ..base
    };
    vec![
        base,
        of(10),
        of(10_000),
        Plan { shapes: 1, ..base },
        Plan {
            shapes: 1000,
            ..base
        },
        Plan {
            shapes: 1000,
            ..of(10_000)
        },
        Plan {
            shapes: 12,
            per_leaf: 3,
            ..base
        },
        Plan {
            resources: 2,
            ..base
        },
        Plan {
            resources: 16,
            ..base
        },
        Plan { levels: 1, ..base },
        deep,
        Plan {
            levels: 2,
            ..of(10_000)
        },
        Plan { shapes: 1, ..deep },
        Plan {
            resources: 16,
            ..deep
        },
        Plan {
            policy: "weighted",
            ..base
        },
        Plan {
            policy: "fifo",
            ..base
        },
        Plan {
            policy: "weighted",
            ..deep
        },
        Plan {
            policy: "fifo",
            ..deep
        },
    ]
}

/// Everything with everything.
fn all_plans() -> Vec<Plan> {
    let mut plans = Vec::new();
    for policy in ["drf", "weighted", "fifo"] {
        for leaves in [10, 100, 1000, 10_000] {
            for levels in 0..3 {
                for shapes in [1, 10, 100, 1000] {
                    for resources in [2, 4, 16] {
                        plans.push(Plan {
                            policy,
                            leaves,
                            levels,
                            shapes,
                            per_leaf: 1,
                            running: 4 * leaves,
                            resources,
                        });
                    }
                }
            }
        }
    }
    plans
}

fn plans() -> Vec<Plan> {
    match std::env::var("APPORTION_BENCH_MATRIX").as_deref() {
        Ok("full") => all_plans(),
        _ => few_plans(),
    }
}

impl Plan {
    fn name(&self) -> String {
        let Self {
            policy,
            leaves,
            levels,
            shapes,
            per_leaf,
            running: _,
            resources,
        } = self;
        let levels = levels + 1;
        format!(
            "{policy}/{leaves}-queues/{levels}-levels/{shapes}-shapes-{per_leaf}-a-queue/{resources}-resources"
        )
    }
}

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("round");
    for plan in plans() {
        let name = plan.name();
        let mut made = None;
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            let cluster = made.get_or_insert_with(|| Cluster::new(&plan));
            bencher.iter(|| cluster.round());
        });
    }
    let mut cluster = Cluster::new(&few_plans()[0]);
    group.bench_function(BenchmarkId::from_parameter("floor-books-only"), |bencher| {
        bencher.iter(|| cluster.bare_round());
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_millis(1000));
    targets = decisions
}
criterion_main!(benches);
