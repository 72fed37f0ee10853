//! What the master loses sight of, or is told to forget.

use super::super::happening::{Happening, Order};
use super::master::{Contact, Master, kind, told};
use super::{PING_TIMEOUT, Surroundings};
use crate::proto::mesos::v1;
use crate::proto::mesos::v1::TaskState;
use crate::proto::mesos::v1::scheduler::{Event, event};
use crate::proto::mesos::v1::task_status::Reason;

impl Master {
    /// An agent has fallen silent.
    pub(in super::super) fn miss(&mut self, around: &mut Surroundings<'_>, agent: &str) {
        let Some(known) = self.agents.get_mut(agent) else {
            return;
        };
        if known.contact != Contact::Registered {
            return;
        }
        known.contact = Contact::Disconnected;
        self.rescind_all(around.course, agent);
        let (reign, agent) = (self.reign, agent.to_owned());
        around
            .course
            .plan(PING_TIMEOUT, Happening::GivesUp { reign, agent });
    }

    /// An agent has been silent for too long.
    pub(in super::super) fn give_up(&mut self, around: &mut Surroundings<'_>, agent: &str) {
        let Some(known) = self.agents.get_mut(agent) else {
            return;
        };
        if !matches!(known.contact, Contact::Disconnected | Contact::Recovered) {
            return;
        }
        known.contact = Contact::Unreachable;
        known.kills.clear();
        known.executors.clear();
        let course = &mut *around.course;
        course.tell("master", || format!("{agent} is unreachable"));
        around.truth.excuse_agent(agent);
        self.rescind_all(course, agent);
        let lost: Vec<String> = (self.tasks.iter())
            .filter(|(_, task)| task.agent == agent && !task.is_unreachable)
            .map(|(id, _)| id.clone())
            .collect();
        for id in lost {
            let Some(task) = self.tasks.get_mut(&id) else {
                continue;
            };
            task.is_unreachable = true;
            let framework = task.framework.clone();
            let status = told(&id, agent, TaskState::TaskUnreachable, Reason::AgentRemoved);
            self.send_status(course, &framework, status);
        }
        let failure = event::Failure {
            agent_id: Some(v1::AgentId {
                value: agent.to_owned(),
            }),
            executor_id: None,
            status: None,
        };
        self.send(
            course,
            Event {
                failure: Some(failure),
                ..kind(event::Type::Failure)
            },
        );
    }

    /// An operator removes the framework: everything of it is ended.
    pub(in super::super) fn remove_framework(&mut self, around: &mut Surroundings<'_>) {
        let Some(framework) = self.stream.as_ref().map(|it| it.framework.clone()) else {
            return;
        };
        let course = &mut *around.course;
        course.tell("operator", || format!("removes {framework}"));
        around.truth.excuse_all();
        self.removed.insert(framework.clone());
        self.tasks.retain(|_, task| task.framework != framework);
        let agents: Vec<String> = self.agents.keys().cloned().collect();
        for agent in agents {
            let framework = framework.clone();
            self.order(course, &agent, Order::ShutDown { framework });
        }
        self.send_error(course, "Framework has been removed");
        for known in self.agents.values_mut() {
            known.executors.clear();
        }
    }
}
