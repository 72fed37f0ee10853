//! A simulated Mesos cluster, at the level of the calls and events that a scheduler sees: masters of which one
//! leads, agents, executors, and the processes of tasks.
//!
//! It does what the pages of Apache Mesos on its scheduler API, reconciliation and agents say, and no more
//! politely than those promise: statuses come late, twice and out of order, calls are answered before anything
//! comes of them, a master that fails over knows only what agents tell it.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each part of a world takes what is its own, and hands the rest on"
)]

mod accept;
mod agent;
mod calls;
mod contact;
mod master;
mod offers;
mod reports;
mod updates;

use std::sync::Arc;

use crate::proto::mesos::v1::Resource;

pub(super) use agent::Machine;
pub(super) use master::{Master, is_terminal};

use super::course::{Course, Millis, SECOND};
use super::happening::Happening;
use super::truth::Truth;

/// An agent that is silent for so long is unreachable.
pub(super) const PING_TIMEOUT: Millis = 75 * SECOND;

/// An agent that doesn't come back to a new master for so long is unreachable.
pub(super) const REREGISTER_TIMEOUT: Millis = 600 * SECOND;

/// The first wait of an agent for an acknowledgement; doubled each time.
pub(super) const UPDATE_WAIT: Millis = 10 * SECOND;

/// The longest such wait.
pub(super) const UPDATE_WAIT_MAX: Millis = 600 * SECOND;

/// Between two heartbeats.
pub(super) const HEARTBEAT: Millis = 15 * SECOND;

/// The role of the scheduler.
pub(super) const ROLE: &str = "eng";

/// The URLs of all masters.
pub(super) fn masters() -> Vec<Arc<str>> {
    master::MASTERS.map(Arc::from).into()
}

/// Masters and machines.
pub(super) struct Cluster {
    pub(super) master: Master,
    pub(super) machines: Vec<Machine>,
}

/// What a part of the cluster works with.
pub(super) struct Surroundings<'a> {
    pub(super) course: &'a mut Course,
    pub(super) truth: &'a mut Truth,
}

/// So much of what agents have, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) cpus: u64,
    pub(super) mem: u64,
}

impl Size {
    /// The sum of some resources.
    pub(super) fn of(resources: &[Resource]) -> Self {
        let sum = |name: &str| {
            let named = resources.iter().filter(|entry| entry.name == name);
            named
                .map(|entry| entry.scalar.map_or(0.0, |scalar| scalar.value * 1000.0))
                .sum::<f64>()
                .round() as u64
        };
        Self {
            cpus: sum("cpus"),
            mem: sum("mem"),
        }
    }

    /// Both.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            cpus: self.cpus + other.cpus,
            mem: self.mem + other.mem,
        }
    }

    /// What is left without the other.
    pub(super) fn minus(self, other: Self) -> Self {
        Self {
            cpus: self.cpus.saturating_sub(other.cpus),
            mem: self.mem.saturating_sub(other.mem),
        }
    }

    /// Whether the other is no larger in anything.
    pub(super) fn holds(self, other: Self) -> bool {
        self.cpus >= other.cpus && self.mem >= other.mem
    }

    /// As entries of an offer.
    pub(super) fn entries(self) -> Vec<Resource> {
        let entry = |name, milli| {
            (milli > 0).then(|| crate::backend::mesos::resources::scalar(name, milli, ROLE))
        };
        [entry("cpus", self.cpus), entry("mem", self.mem)]
            .into_iter()
            .flatten()
            .collect()
    }
}

impl Cluster {
    /// Something happens to masters or machines.
    pub(super) fn happen(&mut self, around: &mut Surroundings<'_>, happening: Happening) {
        let Self { master, machines } = self;
        match happening {
            Happening::StreamLeft { stream } => {
                if master.stream().is_some_and(|it| it.number == stream) {
                    master.leave();
                }
            }
            Happening::Heartbeat { stream } => master.heartbeat(around.course, stream),
            Happening::Allocate(reign) if reign == master.reign => master.allocate(around),
            Happening::Accepted { reign, number } if reign == master.reign => {
                self.accepted(around, number);
            }
            Happening::Elected => master.elected(around, machines),
            Happening::GivesUp { reign, agent } if reign == master.reign => {
                master.give_up(around, &agent);
            }
            Happening::Ordered {
                machine,
                link,
                order,
            } => machines[machine].ordered(around, link, order),
            Happening::Reported {
                reign,
                agent,
                report,
            } if reign == master.reign => self.reported(around, &agent, report),
            Happening::Registers { machine, boot } if master.leader.is_some() => {
                machines[machine].register(around.course, master.reign, boot);
            }
            Happening::Boots(machine) => machines[machine].boots(around.course),
            other => happen_on(machines, around, other),
        }
    }
}

/// The same on one machine.
fn happen_on(machines: &mut [Machine], around: &mut Surroundings<'_>, happening: Happening) {
    match happening {
        Happening::ExecutorUp {
            machine,
            boot,
            executor,
        } => machines[machine].executor_up(around, boot, &executor),
        Happening::ExecutorIdle {
            machine,
            boot,
            executor,
            n_tasks,
        } => machines[machine].executor_idle(around, boot, &executor, n_tasks),
        Happening::ProcessEnds {
            machine,
            boot,
            task,
            is_killed,
        } => machines[machine].process_ends(around, boot, &task, is_killed),
        Happening::UpdateAgain {
            machine,
            boot,
            task,
            uuid,
            wait,
        } => machines[machine].update_again(around.course, boot, &task, uuid, wait),
        // Of a master that leads no more.
        _ => {}
    }
}
