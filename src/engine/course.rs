//! How a decision would find its way to a waiting task, and what became of the offers at hand: the part of an
//! explanation that asks the policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use apportion_policies::{Amounts, Choice, Contender, Offer, QueueId, Shape, ShapeSet, ShownKey};

use super::matching::Left;
use super::report::{ContenderReport, Course, OffersReport, StepReport};
use super::state::{AgentIndex, Group, State};
use super::{Engine, TaskId};

/// So many offering agents are looked at one by one for an explanation: a look at the engine must not last.
const AGENTS_MAX: usize = 512;

/// So many of those that were not chosen are told by a decision log.
const OTHERS_MAX: usize = 4;

impl Engine {
    /// The steps down the queue tree to a group's leaf, for the first offer that the group's tasks fit, or as if
    /// everything fitted. `None` while the policy has not yet seen all changes: between two batches it has.
    pub(super) fn course(&self, group: &Group) -> Option<Course> {
        let state = &self.state;
        if !state.queues.is_settled() || state.agents.has_changed {
            return None;
        }
        let (mut free, mut fits) = (Amounts::default(), ShapeSet::default());
        let waiting = state.queues.fits.waiting();
        let mut offering = state.agents.offering().take(AGENTS_MAX);
        let fitting = offering.find(|agent| {
            state.fill_offer(*agent, waiting, &mut free, &mut fits);
            fits.contains(group.shape)
        });
        if fitting.is_none() {
            fits.clear();
            for word in waiting {
                fits.push_word(*word);
            }
        }
        let offer = Offer {
            free: &free,
            fits: &fits,
        };
        Some(Course {
            agent: fitting.map(|agent| Arc::clone(&state.agents.get(agent).name)),
            steps: self.steps(&offer, group.leaf, 0),
        })
    }

    /// Whether [`super::Output::choices`] tells of all decisions from now on, with all that could have gone at each
    /// queue: that costs all queues for each launch.
    pub fn report_all_choices(&mut self, report: bool) {
        self.reports_all_choices = report;
    }

    /// The steps to a choice, before it is carried out, where its queue has a decision log or all are reported.
    pub(super) fn logged_steps(&self, left: &Left, choice: Choice) -> Option<Vec<StepReport>> {
        let n_others = match self.reports_all_choices {
            true => usize::MAX,
            false if self.is_logged(choice.leaf) => OTHERS_MAX,
            false => return None,
        };
        Some(self.steps(&left.asked(), choice.leaf, n_others))
    }

    /// By what a choice was made, before it is carried out; see [`LaunchCause::Turn`].
    pub(super) fn keys(&mut self, left: &Left, choice: Choice) -> Box<[ShownKey]> {
        let tree = &self.state.queues.tree;
        let keys = self.policy.get_mut().keys(tree, &left.asked(), choice);
        keys.into_boxed_slice()
    }

    /// The paths of the queues from the top to a leaf.
    pub(super) fn way_to(&self, leaf: QueueId) -> Vec<Arc<str>> {
        let tree = &self.state.queues.tree;
        let upwards = std::iter::successors(Some(leaf), |queue| tree.parent(*queue));
        let mut way: Vec<Arc<str>> = upwards
            .filter(|queue| *queue != tree.root())
            .map(|queue| Arc::clone(tree.path(queue)))
            .collect();
        way.reverse();
        way
    }

    /// Whether this leaf or a queue above it has a decision log.
    fn is_logged(&self, leaf: QueueId) -> bool {
        let tree = &self.state.queues.tree;
        let mut next = (!self.logged.is_empty()).then_some(leaf);
        while let Some(queue) = next {
            if self.logged.contains(tree.path(queue)) {
                return true;
            }
            next = tree.parent(queue);
        }
        false
    }

    /// The steps of a decision about an offer, down to a leaf, each with so many others that could go.
    fn steps(&self, offer: &Offer<'_>, leaf: QueueId, n_others: usize) -> Vec<StepReport> {
        let tree = &self.state.queues.tree;
        let steps = self
            .policy
            .borrow_mut()
            .explain(tree, offer, leaf, n_others)
            .into_iter();
        let path = |queue: QueueId| Arc::clone(tree.path(queue));
        let contender = |contender: Contender| ContenderReport {
            queue: path(contender.queue),
            key: contender.standing.map(|(key, _)| key),
            next: contender.standing.map(|(_, next)| TaskId(next.seq)),
            weight: tree.settings(contender.queue).weight,
            dominant_share: tree.dominant_share(contender.queue).0,
            n_running: tree.running(contender.queue),
        };
        let steps = steps.map(|step| StepReport {
            queue: path(step.parent),
            policy: Arc::clone(&tree.policy_spec(step.parent).name),
            first: step.first.map(contender),
            own: contender(step.own),
            others: step.others.into_iter().map(contender).collect(),
        });
        steps.collect()
    }
}

impl State {
    /// What becomes of the offers at hand for tasks of this group, by reason.
    pub(super) fn offers_seen(&self, task: TaskId, group: &Group, shape: &Shape) -> OffersReport {
        let mut free = Amounts::default();
        let mut report = OffersReport::default();
        let mut refused: BTreeMap<String, u64> = BTreeMap::new();
        let is_at_max = self
            .queues
            .tree
            .blocking_max(group.leaf, &shape.demand)
            .is_some();
        for agent in self.agents.offering() {
            report.n_offering += 1;
            if report.n_looked_at as usize == AGENTS_MAX {
                continue;
            }
            report.n_looked_at += 1;
            let reason = match self.refusal(task, agent, shape, &mut free) {
                Some(reason) => reason,
                None if is_at_max => "queue_at_max".to_owned(),
                None => "others_first".to_owned(),
            };
            *refused.entry(reason).or_default() += 1;
        }
        report.refused = refused.into_iter().collect();
        report
    }

    /// Why an agent's offer can't hold a task of this shape: `no_agent_matches`, or `lacks RESOURCE`, what is kept
    /// for the claims of others not counted as free.
    fn refusal(
        &self,
        task: TaskId,
        agent: AgentIndex,
        shape: &Shape,
        free: &mut Amounts,
    ) -> Option<String> {
        if !self.agents.get(agent).meets(&shape.constraints) {
            return Some("no_agent_matches".to_owned());
        }
        self.fill_free_for(task, agent, free);
        let lacking = (shape.demand.iter()).find(|(id, amount)| *amount > free.get(*id));
        lacking.map(|(id, _)| format!("lacks {}", self.resources.name(id)))
    }
}
