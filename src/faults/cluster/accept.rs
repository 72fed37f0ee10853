//! ACCEPT and DECLINE: what the master checks, and what it launches.

use super::super::course::{Course, Millis, SECOND};
use super::super::happening::{Happening, Order};
use super::master::{Accepting, Contact, MasterTask, told};
use super::{Cluster, Size, Surroundings};
use crate::backend::remote::launch::parse_attempt;
use crate::proto::mesos::v1::scheduler::call;
use crate::proto::mesos::v1::task_status::Reason;
use crate::proto::mesos::v1::{OfferId, TaskInfo, TaskState};

impl Cluster {
    /// Takes in an ACCEPT, if all its offers stand; what it asks for is launched later.
    pub(super) fn accept(
        &mut self,
        around: &mut Surroundings<'_>,
        framework: &str,
        accept: &call::Accept,
    ) {
        self.check_offers(around.course, &accept.offer_ids);
        let tasks: Vec<TaskInfo> = (accept.operations.iter())
            .filter_map(|operation| operation.launch.as_ref())
            .flat_map(|launch| launch.task_infos.iter().cloned())
            .collect();
        let Some((agent, left)) = self.pool(&accept.offer_ids) else {
            self.take_back(&accept.offer_ids);
            for task in tasks {
                let (id, agent) = (&task.task_id.value, &task.agent_id.value);
                let status = told(id, agent, TaskState::TaskDropped, Reason::InvalidOffers);
                around
                    .course
                    .tell("master", || format!("drops {id}: its offers are gone"));
                self.master.send_status(around.course, framework, status);
            }
            self.master.allocate_soon(around.course);
            return;
        };
        self.take_back(&accept.offer_ids);
        let refuse = accept.filters.as_ref().and_then(|it| it.refuse_seconds);
        let accepting = Accepting {
            framework: framework.to_owned(),
            agent,
            size: left,
            tasks,
            refuse,
        };
        let number = self.master.begin_accepting(accepting);
        let reign = self.master.reign;
        // It asks others first whether it may; until then it knows nothing of these tasks.
        let delay = around.course.delay();
        self.master.accepts_at = self.master.accepts_at.max(around.course.now + delay);
        let accepted = Happening::Accepted { reign, number };
        around.course.plan_at(self.master.accepts_at, accepted);
    }

    /// What was accepted is launched.
    pub(in super::super) fn accepted(&mut self, around: &mut Surroundings<'_>, number: u64) {
        let Some(accepting) = self.master.accepting.remove(&number) else {
            return;
        };
        let Accepting {
            framework,
            agent,
            size: mut left,
            tasks,
            refuse,
        } = accepting;
        if self.master.removed.contains(&framework) {
            return;
        }
        let contact = self.master.agents.get(&agent).map(|known| known.contact);
        if contact == Some(Contact::Registered) {
            for task in tasks {
                self.launch(around, &framework, &agent, &mut left, task);
            }
            self.refuse(around, &agent, left, refuse);
            return;
        }
        for task in tasks {
            let id = &task.task_id.value;
            let status = told(
                id,
                &agent,
                TaskState::TaskDropped,
                Reason::AgentDisconnected,
            );
            around
                .course
                .tell("master", || format!("drops {id}: {agent} is gone"));
            self.master.send_status(around.course, &framework, status);
        }
    }

    /// Of one agent that answers: which, and how much. `None` where an offer doesn't stand any more.
    fn pool(&self, offers: &[OfferId]) -> Option<(String, Size)> {
        let mut pooled: Option<(String, Size)> = None;
        for offer in offers {
            let standing = self.master.offers.get(&offer.value)?;
            let size = match &pooled {
                None => standing.size,
                Some((agent, size)) if *agent == standing.agent => size.plus(standing.size),
                Some(_) => return None,
            };
            pooled = Some((standing.agent.clone(), size));
        }
        let (agent, size) = pooled?;
        let known = self.master.agents.get(&agent)?;
        (known.contact == Contact::Registered).then_some((agent, size))
    }

    /// An offer is made to a subscription, and whoever has another knows that it is no more.
    fn check_offers(&self, course: &mut Course, offers: &[OfferId]) {
        let stream = self.master.stream.as_ref().map(|stream| stream.number);
        for offer in offers {
            if self.master.made.get(&offer.value).copied() != stream {
                let what = format!(
                    "offer {} is used, of a subscription that is over",
                    offer.value
                );
                course.violate(what);
            }
        }
    }

    fn take_back(&mut self, offers: &[OfferId]) {
        for offer in offers {
            self.master.offers.remove(&offer.value);
        }
    }

    fn launch(
        &mut self,
        around: &mut Surroundings<'_>,
        framework: &str,
        agent: &str,
        left: &mut Size,
        task: TaskInfo,
    ) {
        let id = task.task_id.value.clone();
        if self.master.tasks.contains_key(&id) || around.truth.was_placed(&id) {
            let what = format!("the id of {id} is used again");
            around.course.violate(what);
            return;
        }
        let executor = task.executor.clone().unwrap_or_default();
        let executor_id = executor.executor_id.value.clone();
        let Some(known) = self.master.agents.get_mut(agent) else {
            return;
        };
        let mut size = Size::of(&task.resources);
        let own = Size::of(&executor.resources);
        if !known.executors.contains_key(&executor_id) {
            size = size.plus(own);
        }
        if !left.holds(size) {
            around
                .course
                .tell("master", || format!("refuses {id}: more than available"));
            let mut status = told(&id, agent, TaskState::TaskError, Reason::TaskInvalid);
            status.message = Some("Task uses more resources than available".to_owned());
            self.master.send_status(around.course, framework, status);
            return;
        }
        let starts_executor = known.executors.insert(executor_id, own).is_none();
        *left = left.minus(size);
        let machine = known.machine;
        around
            .course
            .tell("master", || format!("launches {id} on {agent}"));
        if let Some(attempt) = parse_attempt(&id) {
            around.truth.placed(attempt, agent);
            if !self.machines[machine].answers_as(agent) {
                around.truth.excuse_agent(agent);
            }
        }
        let known = MasterTask {
            framework: framework.to_owned(),
            agent: agent.to_owned(),
            info: task.clone(),
            state: TaskState::TaskStaging,
            passed_on: None,
            is_unreachable: false,
        };
        self.master.tasks.insert(id, known);
        let framework = framework.to_owned();
        let task = Box::new(task);
        let order = Order::Run {
            framework,
            task,
            starts_executor,
        };
        self.master.order(around.course, agent, order);
    }

    /// What was offered of an agent and not used isn't offered again for so long.
    fn refuse(
        &mut self,
        around: &mut Surroundings<'_>,
        agent: &str,
        size: Size,
        seconds: Option<f64>,
    ) {
        let wait = (seconds.unwrap_or(5.0) * 1000.0) as Millis;
        if size.cpus > 0 || size.mem > 0 {
            let until = around.course.now + wait;
            self.master.filters.insert(agent.to_owned(), (until, size));
        }
        self.master.allocate_soon(around.course);
        let reign = self.master.reign;
        let expired = Happening::Allocate(reign);
        around.course.plan(wait + SECOND, expired);
    }

    /// Offers come back unused.
    pub(super) fn decline(&mut self, around: &mut Surroundings<'_>, decline: &call::Decline) {
        self.check_offers(around.course, &decline.offer_ids);
        let seconds = decline.filters.as_ref().and_then(|it| it.refuse_seconds);
        for offer in &decline.offer_ids {
            if let Some(offered) = self.master.offers.remove(&offer.value) {
                self.refuse(around, &offered.agent, offered.size, seconds);
            }
        }
    }
}
