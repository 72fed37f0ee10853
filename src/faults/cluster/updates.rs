//! What an agent tells the master: itself, and statuses until they are acknowledged.

use std::collections::VecDeque;

use super::super::course::{Course, Millis, SECOND};
use super::super::happening::{Happening, Inventory, Report};
use super::agent::{Held, Machine, Phase};
use super::calls::to_uuid;
use super::{UPDATE_WAIT, UPDATE_WAIT_MAX};
use crate::proto::mesos::v1::task_status::{Reason, Source};
use crate::proto::mesos::v1::{self, TaskInfo, TaskState, TaskStatus};

impl Machine {
    pub(super) fn report(&mut self, course: &mut Course, reign: u64, report: Report) {
        let delay = course.delay();
        if !self.is_up || !self.is_reachable || course.fails(10) {
            return;
        }
        self.last_at = self.last_at.max(course.now + delay);
        let agent = self.agent.clone();
        let reported = Happening::Reported {
            reign,
            agent,
            report,
        };
        course.plan_at(self.last_at, reported);
    }

    /// Tries to register, again and again until it is.
    pub(in super::super) fn register(&mut self, course: &mut Course, reign: u64, boot: u32) {
        if !self.is_up || boot != self.boot || self.reign == Some(reign) {
            return;
        }
        self.link += 1;
        self.last_at = course.now;
        let inventory = Inventory {
            machine: self.number,
            link: self.link,
            size: self.size,
            executors: (self.executors.iter())
                .map(|(id, executor)| (id.clone(), executor.size))
                .collect(),
            tasks: (self.tasks.values())
                .map(|held| (held.framework.clone(), held.info.clone(), held.state))
                .collect(),
        };
        self.report(course, reign, Report::Register(Box::new(inventory)));
        let machine = self.number;
        let wait = course.between(3 * SECOND, 15 * SECOND);
        course.plan(wait, Happening::Registers { machine, boot });
    }

    /// The connection to the master is gone; it registers again when it can.
    pub(in super::super) fn disconnect(&mut self) {
        self.reign = None;
        // What is still under way to it is lost.
        self.link += 1;
    }

    pub(super) fn update(
        &mut self,
        course: &mut Course,
        id: &str,
        state: TaskState,
        reason: Option<Reason>,
        data: Option<Vec<u8>>,
    ) {
        self.n_updates += 1;
        let uuid = self.n_updates | (u64::from(self.boot) << 32) | ((self.number as u64) << 48);
        let Some(held) = self.tasks.get_mut(id) else {
            return;
        };
        held.state = state;
        let source = if reason.is_some() {
            Source::Agent
        } else {
            Source::Executor
        };
        let status = TaskStatus {
            task_id: v1::TaskId {
                value: id.to_owned(),
            },
            state: state as i32,
            data: data.map(Into::into),
            agent_id: Some(v1::AgentId {
                value: self.agent.clone(),
            }),
            executor_id: Some(v1::ExecutorId {
                value: held.executor.clone(),
            }),
            source: Some(source as i32),
            reason: reason.map(|reason| reason as i32),
            uuid: Some(to_uuid(uuid)),
            ..TaskStatus::default()
        };
        held.updates.push_back((uuid, status));
        if held.updates.len() == 1 {
            self.send_update(course, id, UPDATE_WAIT);
        }
    }

    /// Sends the oldest status that is not acknowledged, and again after so long.
    pub(super) fn send_update(&mut self, course: &mut Course, id: &str, wait: Millis) {
        let Some(held) = self.tasks.get(id) else {
            return;
        };
        let Some((uuid, status)) = held.updates.front().cloned() else {
            return;
        };
        let framework = held.framework.clone();
        if let Some(reign) = self.reign {
            let status = Box::new(status);
            if course.fails(30) {
                let (framework, status) = (framework.clone(), status.clone());
                self.report(course, reign, Report::Status { framework, status });
            }
            self.report(course, reign, Report::Status { framework, status });
        }
        let again = Happening::UpdateAgain {
            machine: self.number,
            boot: self.boot,
            task: id.to_owned(),
            uuid,
            wait: (wait * 2).min(UPDATE_WAIT_MAX),
        };
        course.plan(wait, again);
    }

    /// A status was not acknowledged for long.
    pub(in super::super) fn update_again(
        &mut self,
        course: &mut Course,
        boot: u32,
        id: &str,
        uuid: u64,
        wait: Millis,
    ) {
        let front = self.tasks.get(id).and_then(|held| held.updates.front());
        if boot == self.boot && front.is_some_and(|(number, _)| *number == uuid) {
            self.send_update(course, id, wait);
        }
    }

    pub(super) fn acknowledged(&mut self, course: &mut Course, id: &str, uuid: u64) {
        let Some(held) = self.tasks.get_mut(id) else {
            return;
        };
        if held
            .updates
            .pop_front_if(|(number, _)| *number == uuid)
            .is_none()
        {
            return;
        }
        if !held.updates.is_empty() {
            self.send_update(course, id, UPDATE_WAIT);
        } else if held.phase == Phase::Over {
            let executor = held.executor.clone();
            self.tasks.remove(id);
            self.watch_idle(course, &executor);
        }
    }

    /// The master knows it again. What the master believes to be here and isn't was never started.
    pub(super) fn registered(&mut self, course: &mut Course, reign: u64, tasks: &[String]) {
        self.reign = Some(reign);
        for id in tasks {
            if !self.tasks.contains_key(id) {
                self.drop_unknown(course, id);
            }
        }
        let held: Vec<String> = self.tasks.keys().cloned().collect();
        for id in held {
            self.send_update(course, &id, UPDATE_WAIT);
        }
    }

    pub(super) fn drop_unknown(&mut self, course: &mut Course, id: &str) {
        let held = Held {
            framework: String::new(),
            executor: String::new(),
            info: TaskInfo::default(),
            phase: Phase::Over,
            state: TaskState::TaskDropped,
            updates: VecDeque::new(),
        };
        self.tasks.insert(id.to_owned(), held);
        self.update(
            course,
            id,
            TaskState::TaskDropped,
            Some(Reason::Reconciliation),
            None,
        );
    }
}
