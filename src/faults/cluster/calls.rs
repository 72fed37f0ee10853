//! Calls of the scheduler, as the master takes them.

use super::super::happening::Order;
use super::master::{Contact, MasterTask, told};
use super::{Cluster, Surroundings};
use crate::backend::mesos::session::{CallEnd, OutCall};
use crate::proto::mesos::v1::TaskState;
use crate::proto::mesos::v1::scheduler::call;
use crate::proto::mesos::v1::task_status::Reason;

impl Cluster {
    /// A call arrives. Whatever comes of it comes later.
    pub(in super::super) fn call(
        &mut self,
        around: &mut Surroundings<'_>,
        call: &OutCall,
    ) -> CallEnd {
        let refused = |code, text: &str| CallEnd::Refused {
            code,
            text: text.to_owned(),
        };
        if self.master.leader_url().as_ref() != Some(&call.master) {
            return refused(503, "does not lead");
        }
        let Some(stream) = self.master.stream.clone() else {
            return refused(403, "Framework is not subscribed");
        };
        if *stream.id() != *call.stream_id {
            return refused(400, "The stream ID included in this request didn't match");
        }
        let body = &call.body;
        let framework = &stream.framework;
        if let Some(accept) = &body.accept {
            self.accept(around, framework, accept);
        } else if let Some(decline) = &body.decline {
            self.decline(around, decline);
        } else if let Some(kill) = &body.kill {
            self.kill(around, framework, kill);
        } else if let Some(acknowledge) = &body.acknowledge {
            self.acknowledge(around, acknowledge);
        } else if let Some(reconcile) = &body.reconcile {
            self.reconcile(around, framework, reconcile);
        } else if body.suppress.is_some() {
            self.master.is_suppressed = true;
        } else if body.revive.is_some() {
            self.master.is_suppressed = false;
            self.master.filters.clear();
            self.master.allocate_soon(around.course);
        }
        CallEnd::Accepted
    }

    fn kill(&mut self, around: &mut Surroundings<'_>, framework: &str, kill: &call::Kill) {
        let id = &kill.task_id.value;
        let is_known = |task: &&MasterTask| !task.is_unreachable;
        let Some(task) = self.master.tasks.get(id).filter(is_known) else {
            let agent = kill.agent_id.as_ref().map(|agent| agent.value.clone());
            self.answer(around, framework, id, agent.as_deref());
            return;
        };
        let agent = task.agent.clone();
        if kill
            .agent_id
            .as_ref()
            .is_some_and(|given| given.value != agent)
        {
            return;
        }
        let grace = (kill.kill_policy.as_ref())
            .and_then(|policy| policy.grace_period.as_ref())
            .map(|grace| grace.nanoseconds.unsigned_abs() / 1_000_000);
        let Some(known) = self.master.agents.get_mut(&agent) else {
            return;
        };
        if known.contact == Contact::Registered {
            let task = id.clone();
            self.master
                .order(around.course, &agent, Order::Kill { task, grace });
        } else {
            known.kills.insert(id.clone());
        }
    }

    fn acknowledge(&mut self, around: &mut Surroundings<'_>, acknowledge: &call::Acknowledge) {
        let (id, agent) = (&acknowledge.task_id.value, &acknowledge.agent_id.value);
        let known = self.master.agents.get(agent);
        if !known.is_some_and(|known| known.contact == Contact::Registered) {
            return;
        }
        let uuid = uuid_of(&acknowledge.uuid);
        let is_last = |task: &MasterTask| task.passed_on == Some(uuid);
        if self.master.tasks.get(id).is_some_and(is_last) {
            self.master.tasks.remove(id);
        }
        let task = id.clone();
        self.master
            .order(around.course, agent, Order::Acknowledged { task, uuid });
    }

    fn reconcile(
        &mut self,
        around: &mut Surroundings<'_>,
        framework: &str,
        reconcile: &call::Reconcile,
    ) {
        if reconcile.tasks.is_empty() {
            let all: Vec<String> = (self.master.tasks.iter())
                .filter(|(_, task)| task.framework == framework && !task.is_unreachable)
                .map(|(id, _)| id.clone())
                .collect();
            for id in all {
                self.answer(around, framework, &id, None);
            }
            return;
        }
        for task in &reconcile.tasks {
            let agent = task.agent_id.as_ref().map(|agent| agent.value.clone());
            self.answer(around, framework, &task.task_id.value, agent.as_deref());
        }
    }

    /// What the master knows of a task, and tells. Nothing, where its agent may still come back.
    fn answer(
        &mut self,
        around: &mut Surroundings<'_>,
        framework: &str,
        id: &str,
        agent: Option<&str>,
    ) {
        let Some((state, on)) = self.standing(framework, id, agent) else {
            return;
        };
        let mut status = told(id, &on, state, Reason::Reconciliation);
        status.agent_id = status.agent_id.filter(|agent| !agent.value.is_empty());
        self.master.send_status(around.course, framework, status);
    }

    /// What the master knows of a task: its state, and where it is.
    fn standing(
        &self,
        framework: &str,
        id: &str,
        agent: Option<&str>,
    ) -> Option<(TaskState, String)> {
        let master = &self.master;
        let known = master
            .tasks
            .get(id)
            .filter(|task| task.framework == framework);
        let contact = |name: &str| master.agents.get(name).map(|known| known.contact);
        let mut agents = master.agents.values();
        let any_recovered = agents.any(|it| it.contact == Contact::Recovered);
        Some(match (known, agent) {
            (Some(task), _) if !task.is_unreachable => (task.state, task.agent.clone()),
            (Some(task), _) => (TaskState::TaskUnreachable, task.agent.clone()),
            (None, Some(agent)) => {
                let state = match contact(agent) {
                    Some(Contact::Registered | Contact::Disconnected) => TaskState::TaskGone,
                    Some(Contact::Unreachable) => TaskState::TaskUnreachable,
                    Some(Contact::Recovered) => return None,
                    None => TaskState::TaskUnknown,
                };
                (state, agent.to_owned())
            }
            (None, None) if any_recovered => return None,
            (None, None) => (TaskState::TaskUnknown, String::new()),
        })
    }

    /// Whether the master would say of a task of the scheduler that listens that it is no more, or out of contact,
    /// and nothing else is still to come of it.
    pub(in super::super) fn is_over(&self, id: &str, agent: &str) -> bool {
        let Some(stream) = &self.master.stream else {
            return false;
        };
        let standing = self.standing(&stream.framework, id, Some(agent));
        standing.is_some_and(|(state, _)| {
            use TaskState::{TaskGone, TaskUnknown, TaskUnreachable};
            matches!(state, TaskGone | TaskUnknown | TaskUnreachable)
        })
    }
}

/// The number that a uuid of a simulated agent holds.
pub(super) fn uuid_of(bytes: &[u8]) -> u64 {
    let mut number = [0; 8];
    let length = bytes.len().min(8);
    number[..length].copy_from_slice(&bytes[..length]);
    u64::from_le_bytes(number)
}

/// And back.
pub(super) fn to_uuid(number: u64) -> bytes::Bytes {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes.to_vec().into()
}
