//! What agents tell the master, and what it passes on.

use std::collections::BTreeSet;

use super::super::happening::{Inventory, Order, Report};
use super::calls::uuid_of;
use super::master::{Contact, Known, MasterTask, is_terminal, kind, told};
use super::{Cluster, Surroundings};
use crate::proto::mesos::v1::scheduler::{Event, event};
use crate::proto::mesos::v1::task_status::Reason;
use crate::proto::mesos::v1::{self, TaskState, TaskStatus};

impl Cluster {
    /// An agent's word arrives.
    pub(in super::super) fn reported(
        &mut self,
        around: &mut Surroundings<'_>,
        agent: &str,
        report: Report,
    ) {
        if self.master.leader.is_none() {
            return;
        }
        if let Report::Register(inventory) = report {
            self.register(around, agent, *inventory);
            return;
        }
        let known = self.master.agents.get_mut(agent);
        let Some(known) = known.filter(|known| known.contact == Contact::Registered) else {
            return;
        };
        match report {
            Report::Register(_) => {}
            Report::Status { framework, status } => self.pass_on(around, &framework, *status),
            Report::ExecutorGone { executor } => {
                known.executors.remove(&executor);
                let failure = event::Failure {
                    agent_id: Some(v1::AgentId {
                        value: agent.to_owned(),
                    }),
                    executor_id: Some(v1::ExecutorId { value: executor }),
                    status: Some(-1),
                };
                self.master.send(
                    around.course,
                    Event {
                        failure: Some(failure),
                        ..kind(event::Type::Failure)
                    },
                );
                self.master.allocate_soon(around.course);
            }
        }
    }

    fn pass_on(&mut self, around: &mut Surroundings<'_>, framework: &str, status: TaskStatus) {
        let state = TaskState::try_from(status.state).unwrap_or_default();
        let id = &status.task_id.value;
        let mut framework = framework.to_owned();
        if let Some(task) = self.master.tasks.get_mut(id) {
            // An agent that drops what it never got doesn't know whose it was.
            framework.clone_from(&task.framework);
            if !is_terminal(task.state) {
                task.state = state;
            }
            let uuid = status.uuid.as_deref().map(uuid_of);
            task.passed_on = uuid.filter(|_| is_terminal(state));
            if is_terminal(state) {
                self.master.allocate_soon(around.course);
            }
        }
        self.master.send_status(around.course, &framework, status);
    }

    fn register(&mut self, around: &mut Surroundings<'_>, agent: &str, inventory: Inventory) {
        let course = &mut *around.course;
        let before = self.master.agents.get(agent);
        if before.is_some_and(|known| known.link > inventory.link) {
            // By a connection that is no more.
            return;
        }
        let was_unreachable = before.is_some_and(|it| it.contact == Contact::Unreachable);
        let kills = before.map(|known| known.kills.clone()).unwrap_or_default();
        course.tell("master", || format!("knows {agent}"));
        self.master.rescind_all(course, agent);
        let known = Known {
            machine: inventory.machine,
            link: inventory.link,
            last_at: course.now,
            contact: Contact::Registered,
            size: inventory.size,
            executors: inventory.executors.into_iter().collect(),
            kills: BTreeSet::new(),
        };
        self.master.agents.insert(agent.to_owned(), known);
        let mut held = BTreeSet::new();
        let machine = inventory.machine;
        for (framework, info, state) in inventory.tasks {
            if framework.is_empty() {
                continue;
            }
            if self.master.removed.contains(&framework) {
                self.master
                    .order(course, agent, Order::ShutDown { framework });
                continue;
            }
            let id = info.task_id.value.clone();
            held.insert(id.clone());
            let task = MasterTask {
                framework: framework.clone(),
                agent: agent.to_owned(),
                info,
                state,
                passed_on: None,
                is_unreachable: false,
            };
            self.master.tasks.insert(id.clone(), task);
            if was_unreachable {
                let status = told(&id, agent, state, Reason::AgentReregistered);
                self.master.send_status(course, &framework, status);
            }
        }
        let is_missing = |id: &String, task: &MasterTask| {
            task.agent == agent && !held.contains(id) && !is_terminal(task.state)
        };
        let missing: Vec<String> = (self.master.tasks.iter())
            .filter(|(id, task)| is_missing(id, task))
            .map(|(id, _)| id.clone())
            .collect();
        for id in &missing {
            if let Some(task) = self.master.tasks.get_mut(id) {
                task.is_unreachable = false;
            }
        }
        let (reign, tasks) = (self.master.reign, missing);
        self.master
            .order(course, agent, Order::Registered { reign, tasks });
        for task in kills {
            self.master
                .order(course, agent, Order::Kill { task, grace: None });
        }
        self.master.allocate_soon(course);
        if !self.machines[machine].answers_as(agent) {
            // It is gone again; pings show that.
            self.master.miss(around, agent);
        }
    }
}
