//! The leading master: who is subscribed, which agents and tasks it knows, and what it offers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::course::{Course, Millis, SECOND};
use super::super::happening::{Happening, Life, Order};
use super::{HEARTBEAT, Machine, REREGISTER_TIMEOUT, Size, Surroundings};
use crate::proto::mesos::v1::scheduler::{Event, event};
use crate::proto::mesos::v1::task_status::{Reason, Source};
use crate::proto::mesos::v1::{self, TaskInfo, TaskState, TaskStatus};

/// The masters by their URLs.
pub(in super::super) const MASTERS: [&str; 3] =
    ["http://m1:5050", "http://m2:5050", "http://m3:5050"];

/// One subscription.
#[derive(Clone, Debug)]
pub(in super::super) struct Stream {
    pub(in super::super) number: u64,
    pub(in super::super) life: Life,
    pub(in super::super) generation: u64,
    pub(in super::super) framework: String,
    /// When its last event arrives.
    last_at: Millis,
}

impl Stream {
    /// What the master calls it.
    pub(in super::super) fn id(&self) -> String {
        format!("stream-{}", self.number)
    }
}

/// How the master sees an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contact {
    /// It is known from the time of an earlier master, and has not come back.
    Recovered,
    /// It answers.
    Registered,
    /// It doesn't, for a short time.
    Disconnected,
    /// It doesn't, for a long one.
    Unreachable,
}

/// What the master knows of an agent.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) machine: usize,
    /// The connection to it.
    pub(super) link: u64,
    /// When the last order by it arrives.
    pub(super) last_at: Millis,
    pub(super) contact: Contact,
    pub(super) size: Size,
    /// Executors that it believes to live there, with their size.
    pub(super) executors: BTreeMap<String, Size>,
    /// To be killed once it is back.
    pub(super) kills: BTreeSet<String>,
}

/// What the master knows of a task.
#[derive(Clone, Debug)]
pub(super) struct MasterTask {
    pub(super) framework: String,
    pub(super) agent: String,
    pub(super) info: TaskInfo,
    /// The last state that its agent told.
    pub(super) state: TaskState,
    /// The last status that was passed on, by its number: once a last one is acknowledged, the task is forgotten.
    pub(super) passed_on: Option<u64>,
    /// Whether its agent is out of contact.
    pub(super) is_unreachable: bool,
}

/// An offer that stands.
#[derive(Clone, Debug)]
pub(super) struct Offered {
    pub(super) agent: String,
    pub(super) size: Size,
}

/// What an ACCEPT asked for that the master has not launched yet.
#[derive(Clone, Debug)]
pub(super) struct Accepting {
    pub(super) framework: String,
    pub(super) agent: String,
    pub(super) size: Size,
    pub(super) tasks: Vec<TaskInfo>,
    /// For how long what is left is not to be offered again, in seconds.
    pub(super) refuse: Option<f64>,
}

/// The masters. What they know goes with the one that leads.
pub(in super::super) struct Master {
    /// The one that leads, if any does.
    pub(in super::super) leader: Option<usize>,
    /// Counts those that led.
    pub(in super::super) reign: u64,
    pub(super) stream: Option<Stream>,
    /// Who hears what comes by a stream, whether or not the master still has it.
    listeners: BTreeMap<u64, (Life, u64)>,
    n_streams: u64,
    n_frameworks: u64,
    pub(super) n_offers: u64,
    /// Frameworks that an operator removed.
    pub(super) removed: BTreeSet<String>,
    pub(super) is_suppressed: bool,
    pub(super) agents: BTreeMap<String, Known>,
    pub(super) tasks: BTreeMap<String, MasterTask>,
    pub(super) offers: BTreeMap<String, Offered>,
    /// By which stream each offer was made.
    pub(super) made: BTreeMap<String, u64>,
    /// By their numbers.
    pub(super) accepting: BTreeMap<u64, Accepting>,
    n_accepts: u64,
    /// When the last of them is launched.
    pub(super) accepts_at: Millis,
    /// Until when an agent's resources are not offered, and how much was declined.
    pub(super) filters: BTreeMap<String, (Millis, Size)>,
}

/// An event without a body.
pub(super) fn kind(kind: event::Type) -> Event {
    Event {
        r#type: Some(kind as i32),
        ..Event::default()
    }
}

impl Master {
    /// One leads, and knows nothing yet.
    pub(in super::super) fn new() -> Self {
        Self {
            leader: Some(0),
            reign: 1,
            stream: None,
            listeners: BTreeMap::new(),
            n_streams: 0,
            n_frameworks: 0,
            n_offers: 0,
            removed: BTreeSet::new(),
            is_suppressed: false,
            agents: BTreeMap::new(),
            tasks: BTreeMap::new(),
            offers: BTreeMap::new(),
            made: BTreeMap::new(),
            accepting: BTreeMap::new(),
            n_accepts: 0,
            accepts_at: 0,
            filters: BTreeMap::new(),
        }
    }

    /// Sets aside what an ACCEPT asked for.
    pub(super) fn begin_accepting(&mut self, accepting: Accepting) -> u64 {
        self.n_accepts += 1;
        self.accepting.insert(self.n_accepts, accepting);
        self.n_accepts
    }

    /// The subscription that is current.
    pub(in super::super) fn stream(&self) -> Option<&Stream> {
        self.stream.as_ref()
    }

    /// Which life and subscription of the scheduler hears a stream.
    pub(in super::super) fn listener(&self, stream: u64) -> Option<(Life, u64)> {
        self.listeners.get(&stream).copied()
    }

    /// A connection breaks. What was under way by it is lost.
    pub(in super::super) fn break_stream(&mut self, course: &mut Course) {
        let Some(stream) = self.stream.clone() else {
            return;
        };
        course.tell("network", || format!("{} breaks", stream.id()));
        self.listeners.remove(&stream.number);
        self.close_later(course, &stream);
        self.leave();
    }

    fn close_later(&self, course: &mut Course, stream: &Stream) {
        let (life, generation) = (stream.life, stream.generation);
        let wait = course.between(0, SECOND);
        course.plan(wait, Happening::StreamClosed { life, generation });
    }

    /// Sends an event to the scheduler, after those that went before.
    pub(super) fn send(&mut self, course: &mut Course, event: Event) {
        let delay = course.delay();
        let Some(stream) = &mut self.stream else {
            return;
        };
        let at = (course.now + delay).max(stream.last_at);
        stream.last_at = at;
        let happening = Happening::Heard {
            stream: stream.number,
            event: Box::new(event),
        };
        course.plan_at(at, happening);
    }

    /// Tells the scheduler of a status, if the task's framework listens.
    pub(super) fn send_status(&mut self, course: &mut Course, framework: &str, status: TaskStatus) {
        let is_listening = self
            .stream
            .as_ref()
            .is_some_and(|it| it.framework == framework);
        if is_listening {
            self.send(
                course,
                Event {
                    update: Some(event::Update { status }),
                    ..kind(event::Type::Update)
                },
            );
        }
    }

    /// Takes a subscription. Offers and filters of an earlier one go.
    pub(in super::super) fn subscribe(
        &mut self,
        around: &mut Surroundings<'_>,
        life: Life,
        generation: u64,
        framework: Option<&str>,
        is_suppressed: bool,
    ) {
        let course = &mut *around.course;
        if self.stream.is_some() {
            self.send_error(course, "Framework failed over");
        }
        self.leave();
        self.n_streams += 1;
        let id = framework.map_or_else(
            || {
                self.n_frameworks += 1;
                format!("F{}", self.n_frameworks)
            },
            str::to_owned,
        );
        let stream = Stream {
            number: self.n_streams,
            life,
            generation,
            framework: id.clone(),
            last_at: course.now + course.delay(),
        };
        course.tell("master", || format!("takes the subscription of {id}"));
        let stream_id = stream.id();
        let opened = Happening::Opened {
            life,
            generation,
            stream_id,
        };
        course.plan_at(stream.last_at, opened);
        self.listeners.insert(self.n_streams, (life, generation));
        self.stream = Some(stream);
        self.is_suppressed = is_suppressed;
        if self.removed.contains(&id) {
            self.send_error(course, "Framework has been removed");
            return;
        }
        let subscribed = event::Subscribed {
            framework_id: v1::FrameworkId { value: id },
            heartbeat_interval_seconds: Some(15.0),
            master_info: None,
        };
        self.send(
            course,
            Event {
                subscribed: Some(subscribed),
                ..kind(event::Type::Subscribed)
            },
        );
        course.plan(
            0,
            Happening::Heartbeat {
                stream: self.n_streams,
            },
        );
        self.allocate_soon(course);
    }

    /// Ends the subscription with a word.
    pub(super) fn send_error(&mut self, course: &mut Course, message: &str) {
        let message = message.to_owned();
        self.send(
            course,
            Event {
                error: Some(event::Error { message }),
                ..kind(event::Type::Error)
            },
        );
        if let Some(stream) = self.stream.take() {
            let (life, generation) = (stream.life, stream.generation);
            let after = stream.last_at + SECOND;
            course.plan_at(after, Happening::StreamClosed { life, generation });
        }
        self.leave();
    }

    /// A heartbeat, and the next one later.
    pub(in super::super) fn heartbeat(&mut self, course: &mut Course, stream: u64) {
        if self.stream.as_ref().is_some_and(|it| it.number == stream) {
            self.send(course, kind(event::Type::Heartbeat));
            course.plan(HEARTBEAT, Happening::Heartbeat { stream });
        }
    }

    /// Nobody is subscribed any more.
    pub(in super::super) fn leave(&mut self) {
        self.stream = None;
        self.offers.clear();
        self.filters.clear();
    }

    /// The leader is gone, and with it everything that it knew.
    pub(in super::super) fn fall(&mut self, course: &mut Course) {
        course.tell("master", || {
            format!("{} falls", MASTERS[self.leader.unwrap_or(0)])
        });
        if let Some(stream) = self.stream.clone() {
            self.close_later(course, &stream);
        }
        self.leader = None;
        self.leave();
        self.tasks.clear();
        self.accepting.clear();
        for known in self.agents.values_mut() {
            known.executors.clear();
            known.kills.clear();
            if known.contact != Contact::Unreachable {
                known.contact = Contact::Recovered;
            }
        }
        let wait = course.between(500, 15 * SECOND);
        course.plan(wait, Happening::Elected);
    }

    /// One leads again. Agents come to it in their own time.
    pub(in super::super) fn elected(
        &mut self,
        around: &mut Surroundings<'_>,
        machines: &[Machine],
    ) {
        let course = &mut *around.course;
        self.reign += 1;
        let leader = course.dice.usize(0..MASTERS.len());
        self.leader = Some(leader);
        course.tell("master", || format!("{} leads", MASTERS[leader]));
        for (number, machine) in machines.iter().enumerate() {
            let wait = course.between(0, 20 * SECOND);
            let boot = machine.boot;
            course.plan(
                wait,
                Happening::Registers {
                    machine: number,
                    boot,
                },
            );
        }
        for agent in self.agents.keys() {
            let (reign, agent) = (self.reign, agent.clone());
            course.plan(REREGISTER_TIMEOUT, Happening::GivesUp { reign, agent });
        }
    }

    /// Sends an order to an agent, after those that went before. It gets it unless it is out of reach then.
    pub(super) fn order(&mut self, course: &mut Course, agent: &str, order: Order) {
        let delay = course.delay();
        if let Some(known) = self.agents.get_mut(agent) {
            known.last_at = known.last_at.max(course.now + delay);
            let (machine, link) = (known.machine, known.link);
            let ordered = Happening::Ordered {
                machine,
                link,
                order,
            };
            course.plan_at(known.last_at, ordered);
        }
    }

    /// What registered agents have in all.
    pub(in super::super) fn totals(&self) -> Vec<(String, Size)> {
        let registered = self
            .agents
            .iter()
            .filter(|(_, it)| it.contact == Contact::Registered);
        registered
            .map(|(name, known)| (name.clone(), known.size))
            .collect()
    }

    /// The URL of the leader.
    pub(in super::super) fn leader_url(&self) -> Option<Arc<str>> {
        self.leader.map(|leader| Arc::from(MASTERS[leader]))
    }
}

/// Whether a task in this state has ended.
pub(in super::super) fn is_terminal(state: TaskState) -> bool {
    matches!(
        state,
        TaskState::TaskFinished
            | TaskState::TaskFailed
            | TaskState::TaskKilled
            | TaskState::TaskError
            | TaskState::TaskLost
            | TaskState::TaskDropped
            | TaskState::TaskGone
            | TaskState::TaskGoneByOperator
    )
}

/// A status that the master makes itself: without a uuid.
pub(super) fn told(task: &str, agent: &str, state: TaskState, reason: Reason) -> TaskStatus {
    TaskStatus {
        task_id: v1::TaskId {
            value: task.to_owned(),
        },
        state: state as i32,
        agent_id: Some(v1::AgentId {
            value: agent.to_owned(),
        }),
        source: Some(Source::Master as i32),
        reason: Some(reason as i32),
        ..TaskStatus::default()
    }
}
