//! Taking in tasks: all of a call or none.

use std::collections::BTreeMap;
use std::sync::Arc;

use apportion_policies::{Amount, Demand, QueueId, ResourceId};

use super::outcome::OutcomeKind;
use super::request::{Accepted, After, NewTask};
use super::spec::{Dependency, Submission};
use super::state::{KeyOwner, State};
use super::{Engine, Fact, Output, Refusal, Reply, TaskId, TaskSpec, Time};

/// The most names that a refusal lists.
const LISTED_MAX: usize = 20;

/// What becomes of one task of a call.
#[derive(Clone, Copy)]
struct Planned {
    accepted: Accepted,
    leaf: Option<QueueId>,
}

/// A call that may be taken in.
struct Plan {
    planned: Vec<Planned>,
    /// What each task waits for.
    after: Vec<Vec<Dependency>>,
}

impl Engine {
    /// Takes in tasks, all or none.
    pub(super) fn on_submit(
        &mut self,
        now: Time,
        tasks: Vec<NewTask>,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        let plan = self.plan(&tasks)?;
        let mut statuses = BTreeMap::new();
        let mut cancelled = Vec::new();
        let accepted = plan
            .planned
            .iter()
            .map(|planned| planned.accepted)
            .collect();
        for ((task, planned), after) in tasks.into_iter().zip(plan.planned).zip(plan.after) {
            let Some(leaf) = planned.leaf else { continue };
            let first = planned.accepted.first;
            let mut waiting = false;
            let mut unsuccessful = None;
            for dependency in &after {
                let key = (dependency.first, dependency.count);
                let status = statuses
                    .entry(key)
                    .or_insert_with(|| status(&self.state, *dependency));
                waiting |= status.is_left || status.unsuccessful.is_some();
                unsuccessful = unsuccessful.or(status.unsuccessful);
            }
            let submission = self.submission(now, task, first, leaf, after);
            let submission = Arc::new(submission);
            self.emit(
                out,
                Fact::Submitted {
                    submission,
                    waiting,
                },
            );
            cancelled.extend(unsuccessful.map(|cause| (first, cause)));
        }
        for (first, (task, kind)) in cancelled {
            self.cancel_dependant(now, first, task, kind, out);
        }
        Ok(Reply::Submitted(accepted))
    }

    fn submission(
        &mut self,
        now: Time,
        task: NewTask,
        first: TaskId,
        leaf: QueueId,
        after: Vec<Dependency>,
    ) -> Submission {
        let mut spec = task.spec;
        spec.queue = Arc::clone(self.state.queues.tree.path(leaf));
        spec.inbox = spec.inbox.as_ref().map(|inbox| self.interner.name(inbox));
        spec.demand = self.interner.demand(&spec.demand);
        spec.constraints = self.interner.constraints(&spec.constraints);
        Submission {
            first,
            spec,
            after,
            digest: task.digest,
            submitted_at: now,
        }
    }

    fn plan(&self, tasks: &[NewTask]) -> Result<Plan, Refusal> {
        let (planned, by_key, n_new) = self.plan_ids(tasks)?;
        let (after, edges) = self.plan_dependencies(tasks, &planned, &by_key)?;
        super::dependencies::check_acyclic(&edges, |place| {
            let key = tasks[place].spec.key.as_ref();
            key.expect("a task of the same call is named by its key")
                .to_string()
        })?;
        if self.state.n_live + n_new > self.settings.live_max {
            let n_live = self.state.n_live;
            return Err(Refusal::TooManyTasks { n_live });
        }
        let mut new_by_leaf: BTreeMap<QueueId, u64> = BTreeMap::new();
        for planned in &planned {
            if let Some(leaf) = planned.leaf {
                *new_by_leaf.entry(leaf).or_default() += u64::from(planned.accepted.count);
            }
        }
        for (leaf, n_new) in new_by_leaf {
            self.check_room(leaf, n_new)?;
        }
        Ok(Plan { planned, after })
    }

    /// Whether so many more tasks may wait in a leaf.
    pub(super) fn check_room(&self, leaf: QueueId, n_new: u64) -> Result<(), Refusal> {
        let queues = &self.state.queues;
        match queues.beyond_queued_max(leaf, n_new) {
            None => Ok(()),
            Some((n_queued, max)) => Err(Refusal::QueueFull {
                queue: Arc::clone(queues.tree.path(leaf)),
                n_queued,
                n_new,
                max,
            }),
        }
    }

    /// Gives ids, finds the tasks that were submitted before, and checks each new one by itself.
    #[allow(clippy::type_complexity, reason = "three parts of one plan")]
    fn plan_ids<'a>(
        &self,
        tasks: &'a [NewTask],
    ) -> Result<(Vec<Planned>, BTreeMap<&'a str, usize>, u64), Refusal> {
        let mut planned: Vec<Planned> = Vec::with_capacity(tasks.len());
        let mut by_key: BTreeMap<&str, usize> = BTreeMap::new();
        let mut n_new = 0;
        for (place, task) in tasks.iter().enumerate() {
            if let Some(known) = self.known_by_key(task, tasks, &planned, &by_key, place)? {
                planned.push(known);
                if let Some(key) = &task.spec.key {
                    by_key.entry(key).or_insert(place);
                }
                continue;
            }
            let leaf = self.check_spec(place, &task.spec)?;
            let count = self.check_count(&task.spec, n_new)?;
            let accepted = Accepted {
                first: TaskId(self.state.next_id.0 + n_new),
                count,
                created: true,
            };
            n_new += u64::from(count);
            planned.push(Planned {
                accepted,
                leaf: Some(leaf),
            });
            if let Some(key) = &task.spec.key {
                by_key.insert(key, place);
            }
        }
        Ok((planned, by_key, n_new))
    }

    /// The task of before that has the same key, in this call or an earlier one.
    fn known_by_key(
        &self,
        task: &NewTask,
        tasks: &[NewTask],
        planned: &[Planned],
        by_key: &BTreeMap<&str, usize>,
        place: usize,
    ) -> Result<Option<Planned>, Refusal> {
        let Some(key) = &task.spec.key else {
            return Ok(None);
        };
        let owner = match by_key.get(&**key) {
            Some(earlier) => {
                let accepted = planned[*earlier].accepted;
                KeyOwner {
                    first: accepted.first,
                    count: accepted.count,
                    digest: tasks[*earlier].digest,
                }
            }
            None => match self.state.keys.find(key) {
                Some(owner) => owner,
                None => return Ok(None),
            },
        };
        if owner.digest != task.digest {
            let (key, task) = (key.clone(), owner.first);
            return Err(Refusal::KeyReused { place, key, task });
        }
        let accepted = Accepted {
            first: owner.first,
            count: owner.count,
            created: false,
        };
        Ok(Some(Planned {
            accepted,
            leaf: None,
        }))
    }

    /// How many tasks a spec has, if so many may live at all.
    fn check_count(&self, spec: &TaskSpec, n_before: u64) -> Result<u32, Refusal> {
        let count = spec.array.map_or(1, |array| {
            u64::from(array.last.saturating_sub(array.first) / array.step.max(1)) + 1
        });
        let n_live = self.state.n_live;
        if n_live + n_before + count > self.settings.live_max {
            return Err(Refusal::TooManyTasks { n_live });
        }
        u32::try_from(count).map_err(|_| Refusal::TooManyTasks { n_live })
    }

    /// Resolves `after`, and says which tasks of the call wait for which others of it.
    #[allow(clippy::type_complexity, reason = "two views of the same")]
    fn plan_dependencies(
        &self,
        tasks: &[NewTask],
        planned: &[Planned],
        by_key: &BTreeMap<&str, usize>,
    ) -> Result<(Vec<Vec<Dependency>>, Vec<Vec<usize>>), Refusal> {
        let mut all = Vec::with_capacity(tasks.len());
        let mut edges = Vec::with_capacity(tasks.len());
        for (place, task) in tasks.iter().enumerate() {
            let mut after: Vec<Dependency> = Vec::with_capacity(task.after.len());
            let mut within = Vec::new();
            if planned[place].leaf.is_some() {
                for wanted in &task.after {
                    after.push(self.resolve(place, wanted, planned, by_key)?);
                    if let After::Key(key) = wanted {
                        let target = by_key.get(&**key).copied();
                        within.extend(target.filter(|target| planned[*target].leaf.is_some()));
                    }
                }
            }
            after.sort_by_key(|dependency| (dependency.first, dependency.count));
            after.dedup();
            all.push(after);
            edges.push(within);
        }
        Ok((all, edges))
    }

    fn resolve(
        &self,
        place: usize,
        wanted: &After,
        planned: &[Planned],
        by_key: &BTreeMap<&str, usize>,
    ) -> Result<Dependency, Refusal> {
        let unknown = |name: String| {
            let name = name.into_boxed_str();
            Refusal::UnknownDependency { place, name }
        };
        match wanted {
            After::Task(task) => {
                let state = self.state.find_state(*task);
                state.ok_or_else(|| unknown(task.to_string()))?;
                Ok(Dependency {
                    first: *task,
                    count: 1,
                })
            }
            After::Key(key) => {
                let in_call = by_key.get(&**key).map(|place| {
                    let accepted = planned[*place].accepted;
                    (accepted.first, accepted.count)
                });
                let earlier = || {
                    self.state
                        .keys
                        .find(key)
                        .map(|owner| (owner.first, owner.count))
                };
                let (first, count) = in_call
                    .or_else(earlier)
                    .ok_or_else(|| unknown(format!("'{key}'")))?;
                Ok(Dependency { first, count })
            }
        }
    }

    /// Checks a spec by itself, and finds its leaf.
    pub(super) fn check_spec(&self, place: usize, spec: &TaskSpec) -> Result<QueueId, Refusal> {
        let queues = &self.state.queues;
        let queue = &spec.queue;
        let Some(leaf) = queues.find(queue) else {
            let leaves = queues
                .configured()
                .filter(|(_, id)| queues.tree.is_leaf(*id));
            let known = leaves
                .map(|(path, _)| Arc::clone(path))
                .take(LISTED_MAX)
                .collect();
            let queue = Arc::clone(queue);
            return Err(Refusal::UnknownQueue {
                place,
                queue,
                known,
            });
        };
        if !queues.tree.is_leaf(leaf) {
            let leaves = queues.leaves_below(leaf).into_iter().take(LISTED_MAX);
            let leaves = leaves.map(|id| Arc::clone(queues.tree.path(id))).collect();
            let queue = Arc::clone(queue);
            return Err(Refusal::NotALeaf {
                place,
                queue,
                leaves,
            });
        }
        let demand =
            self.state
                .resources
                .demand(&spec.demand)
                .map_err(|name| Refusal::UnknownResource {
                    place: Some(place),
                    resource: Arc::clone(name),
                    known: self.state.resources.names(),
                })?;
        if demand.is_empty() {
            return Err(Refusal::NoDemand { place });
        }
        self.check_limits(place, leaf, &demand)?;
        Ok(leaf)
    }

    /// Refuses what the configuration alone shows can never run.
    fn check_limits(&self, place: usize, leaf: QueueId, demand: &Demand) -> Result<(), Refusal> {
        let Some(excess) = self.state.find_configured_excess(leaf, demand) else {
            return Ok(());
        };
        Err(Refusal::NeverFits {
            place,
            resource: Arc::clone(self.state.resources.name(excess.resource)),
            demand: demand.get(excess.resource),
            most: excess.most,
            limit: excess.limit,
        })
    }
}

/// A limit of the configuration that a demand exceeds.
pub(super) struct Excess {
    pub(super) resource: ResourceId,
    pub(super) most: Amount,
    /// `the cluster`, or `queue PATH`.
    pub(super) limit: Box<str>,
}

impl State {
    /// A capacity, or a `max` on the path of a leaf, that a demand exceeds whatever is running.
    pub(super) fn find_configured_excess(&self, leaf: QueueId, demand: &Demand) -> Option<Excess> {
        for (resource, amount) in demand.iter() {
            if let Some(most) = self
                .resources
                .capacity(resource)
                .filter(|most| amount > *most)
            {
                return Some(Excess {
                    resource,
                    most,
                    limit: "the cluster".into(),
                });
            }
        }
        let tree = &self.queues.tree;
        let mut next = Some(leaf);
        while let Some(queue) = next {
            let mut max = tree.settings(queue).max.iter();
            if let Some((resource, most)) =
                max.find(|(resource, most)| demand.get(*resource) > *most)
            {
                return Some(Excess {
                    resource: *resource,
                    most: *most,
                    limit: format!("queue {}", tree.path(queue)).into(),
                });
            }
            next = tree.parent(queue);
        }
        None
    }
}

/// Where something that is waited for stands.
struct Status {
    /// Whether a task of it has not ended.
    is_left: bool,
    /// A task of it that ended otherwise than well, and how.
    unsuccessful: Option<(TaskId, OutcomeKind)>,
}

fn status(state: &State, dependency: Dependency) -> Status {
    Status {
        is_left: state.n_left(dependency) > 0,
        unsuccessful: state.find_unsuccessful(dependency),
    }
}
