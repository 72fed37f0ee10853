//! What the master offers, and takes back.

use super::super::course::{Course, SECOND};
use super::super::happening::Happening;
use super::master::{Contact, Master, Offered, is_terminal, kind};
use super::{Size, Surroundings};
use crate::proto::mesos::v1;
use crate::proto::mesos::v1::scheduler::{Event, event};

impl Master {
    /// Takes back what an agent offered.
    pub(super) fn rescind_all(&mut self, course: &mut Course, agent: &str) {
        let of_agent: Vec<String> = (self.offers.iter())
            .filter(|(_, offer)| offer.agent == agent)
            .map(|(id, _)| id.clone())
            .collect();
        for id in of_agent {
            self.rescind(course, &id);
        }
    }

    /// Takes one offer back.
    pub(in super::super) fn rescind(&mut self, course: &mut Course, id: &str) {
        self.offers.remove(id);
        let offer_id = v1::OfferId {
            value: id.to_owned(),
        };
        self.send(
            course,
            Event {
                rescind: Some(event::Rescind { offer_id }),
                ..kind(event::Type::Rescind)
            },
        );
        self.allocate_soon(course);
    }

    /// The offers that stand, by their ids.
    pub(in super::super) fn offer_ids(&self) -> Vec<String> {
        self.offers.keys().cloned().collect()
    }

    /// What is free is shared out at the next occasion.
    pub(super) fn allocate_soon(&mut self, course: &mut Course) {
        let wait = course.between(50, SECOND);
        course.plan(wait, Happening::Allocate(self.reign));
    }

    /// What nobody holds of an agent.
    pub(super) fn free(&self, agent: &str) -> Size {
        let Some(known) = self.agents.get(agent) else {
            return Size::default();
        };
        let mut free = known.size;
        for size in known.executors.values() {
            free = free.minus(*size);
        }
        for task in self.tasks.values().filter(|task| task.agent == agent) {
            if !is_terminal(task.state) {
                free = free.minus(Size::of(&task.info.resources));
            }
        }
        for offer in self.offers.values().filter(|offer| offer.agent == agent) {
            free = free.minus(offer.size);
        }
        let accepting = self.accepting.values();
        for accepting in accepting.filter(|accepting| accepting.agent == agent) {
            free = free.minus(accepting.size);
        }
        free
    }

    /// Offers what is free.
    pub(in super::super) fn allocate(&mut self, around: &mut Surroundings<'_>) {
        let Some(stream) = self.stream.clone().filter(|_| !self.is_suppressed) else {
            return;
        };
        if self.removed.contains(&stream.framework) {
            return;
        }
        let course = &mut *around.course;
        let registered = self
            .agents
            .iter()
            .filter(|(_, it)| it.contact == Contact::Registered);
        let agents: Vec<String> = registered.map(|(name, _)| name.clone()).collect();
        let mut offers = Vec::new();
        for agent in agents {
            let free = self.free(&agent);
            let is_filtered = self
                .filters
                .get(&agent)
                .is_some_and(|(until, declined)| *until > course.now && declined.holds(free));
            if free.cpus == 0 || free.mem == 0 || is_filtered {
                continue;
            }
            self.n_offers += 1;
            let id = format!("O{}", self.n_offers);
            let known = &self.agents[&agent];
            offers.push(v1::Offer {
                id: v1::OfferId { value: id.clone() },
                framework_id: v1::FrameworkId {
                    value: stream.framework.clone(),
                },
                agent_id: v1::AgentId {
                    value: agent.clone(),
                },
                hostname: format!("host{}", known.machine),
                resources: free.entries(),
                executor_ids: (known.executors.keys())
                    .map(|value| v1::ExecutorId {
                        value: value.clone(),
                    })
                    .collect(),
                ..v1::Offer::default()
            });
            self.made.insert(id.clone(), stream.number);
            self.offers.insert(id, Offered { agent, size: free });
        }
        if !offers.is_empty() {
            self.send(
                course,
                Event {
                    offers: Some(event::Offers { offers }),
                    ..kind(event::Type::Offers)
                },
            );
        }
    }
}
