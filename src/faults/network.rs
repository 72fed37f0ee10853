//! Between the session and the masters: subscriptions, calls, and what becomes of both.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each part of a world takes what is its own, and hands the rest on"
)]

use std::sync::Arc;

use super::Defect;
use super::course::{Millis, SECOND};
use super::daemon::Side;
use super::happening::{Happening, Life};
use super::world::World;
use crate::backend::mesos::session::{Action, AgentTotal, CallEnd, OutCall};
use crate::backend::remote::launch::parse_attempt;
use crate::engine::{Decision, Event};
use crate::proto::mesos::v1::scheduler::{self, Call, call};

/// What agents have is asked for again after so long.
const AGENTS_EVERY: Millis = 60 * SECOND;

impl World {
    /// Does what the session wants.
    pub(super) fn perform(&mut self) {
        let now = self.session_now();
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        let Side::Mesos { session, .. } = &mut daemon.side else {
            return;
        };
        session.tick(now);
        let life = daemon.life;
        let mut actions = session.take_actions();
        let receipt = |action: &Action| match action {
            Action::Tell(told) => match told.0 {
                Event::ReceiptAsked { receipt } => Some(receipt),
                _ => None,
            },
            _ => None,
        };
        if self.defect == Some(Defect::StatusesAreAcknowledgedAtOnce)
            && let Some(receipt) = actions.iter().find_map(receipt)
        {
            session.on_decision(now, Decision::Acknowledge { receipt });
            actions.extend(session.take_actions());
        }
        for action in actions {
            match action {
                Action::Call(call) if self.swallows(&call) => {
                    let (id, generation) = (call.id, call.generation);
                    let end = CallEnd::Accepted;
                    let ends = Happening::CallEnds {
                        life,
                        id,
                        generation,
                        end,
                    };
                    self.course.plan(0, ends);
                }
                other => self.perform_one(life, other),
            }
        }
        self.wake_shell();
    }

    fn perform_one(&mut self, life: Life, action: Action) {
        let course = &mut self.course;
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        let Side::Mesos {
            calls, generation, ..
        } = &mut daemon.side
        else {
            return;
        };
        match action {
            Action::Subscribe {
                generation: number,
                master,
                call,
            } => {
                *generation = number;
                self.leave_stream();
                let wait = self.course.delay();
                let subscribing = Happening::Subscribing {
                    life,
                    generation: number,
                    master,
                    call,
                };
                self.course.plan(wait, subscribing);
            }
            Action::Close => {
                *generation = 0;
                self.leave_stream();
            }
            Action::Call(call) => {
                if call.body.r#type == Some(call::Type::Acknowledge as i32) {
                    self.send_call(life, call);
                } else {
                    calls.push_back(call);
                    course.plan(0, Happening::NextCall(life));
                }
            }
            Action::Tell(event) => {
                course.tell("session", || format!("tells {:?}", event.0));
                daemon.tell(course, event.0);
            }
            Action::AskAgents(_) => {
                let generation = *generation;
                course.plan(SECOND, Happening::AgentsAsked { life, generation });
            }
            Action::Health(Some(why)) => course.tell("session", || format!("is unwell: {why}")),
            Action::Health(None)
            | Action::Known { .. }
            | Action::OfferEnded(..)
            | Action::OffersHeld(_) => {}
        }
    }

    /// The scheduler listens no more; the master notices later.
    pub(super) fn leave_stream(&mut self) {
        if let Some(stream) = self.cluster.master.stream() {
            let stream = stream.number;
            let wait = self.course.between(0, 30 * SECOND);
            self.course.plan(wait, Happening::StreamLeft { stream });
        }
    }

    /// A subscription is asked for.
    pub(super) fn subscribing(
        &mut self,
        life: Life,
        generation: u64,
        master: &Arc<str>,
        call: &Call,
    ) {
        let is_current = self.hears(life, generation);
        if !is_current && !self.course.fails(200) {
            // Whoever asked is gone.
            return;
        }
        if self.is_cut {
            self.course
                .plan(SECOND, Happening::StreamClosed { life, generation });
            return;
        }
        let leader = self.cluster.master.leader_url();
        if leader.as_ref() != Some(master) {
            let code = if leader.is_some() { 307 } else { 503 };
            let refused = Happening::Refused {
                life,
                generation,
                code,
                leader,
            };
            let wait = self.course.delay();
            self.course.plan(wait, refused);
            return;
        }
        if self.course.fails(50) {
            self.course
                .plan(SECOND, Happening::StreamClosed { life, generation });
            return;
        }
        let framework = call.framework_id.as_ref().map(|id| id.value.clone());
        let suppressed = call
            .subscribe
            .as_ref()
            .is_some_and(|it| !it.suppressed_roles.is_empty());
        let (cluster, mut around) = self.split();
        cluster.master.subscribe(
            &mut around,
            life,
            generation,
            framework.as_deref(),
            suppressed,
        );
    }

    /// Whether the daemon of this life listens to this subscription.
    pub(super) fn hears(&self, life: Life, number: u64) -> bool {
        self.daemon.as_ref().is_some_and(|daemon| {
            let is_current = match &daemon.side {
                Side::Mesos { generation, .. } => *generation == number,
                Side::Local(_) => false,
            };
            daemon.life == life && is_current
        })
    }

    /// An event of a stream.
    pub(super) fn heard(&mut self, stream: u64, mut event: scheduler::Event) {
        let Some((life, heard_as)) = self.cluster.master.listener(stream) else {
            return;
        };
        if self
            .daemon
            .as_ref()
            .is_none_or(|daemon| daemon.life != life)
        {
            return;
        }
        let now = self.session_now();
        if event.subscribed.is_some() {
            self.subscribed_at = self.course.now;
        }
        if let Some(update) = &mut event.update {
            let status = &mut update.status;
            let (id, state) = (&status.task_id.value, status.state().as_str_name());
            self.course
                .tell("session", || format!("hears that {id} is {state}"));
            if let Some(attempt) = parse_attempt(id) {
                self.promises.heard(now, attempt, status);
            }
            self.alter_status(status);
        }
        let stale = self.stale_offers(&event);
        self.with_session(life, |session, now| {
            session.on_stream_bytes(now, heard_as);
            session.on_event(now, heard_as, event);
            if let Some(stale) = stale {
                session.on_event(now, heard_as, stale);
            }
        });
    }

    /// The session is told something of its subscription.
    pub(super) fn with_session(
        &mut self,
        life: Life,
        tell: impl FnOnce(&mut crate::backend::mesos::session::Session, crate::engine::Time),
    ) {
        let now = self.session_now();
        if let Some(daemon) = self.daemon.as_mut().filter(|daemon| daemon.life == life)
            && let Side::Mesos { session, .. } = &mut daemon.side
        {
            tell(session, now);
            self.perform();
        }
    }

    /// The next call goes out, unless one is under way.
    pub(super) fn next_call(&mut self, life: Life) {
        let Some(daemon) = self.daemon.as_mut().filter(|daemon| daemon.life == life) else {
            return;
        };
        let Side::Mesos { calls, calling, .. } = &mut daemon.side else {
            return;
        };
        if calling.is_some() {
            return;
        }
        if let Some(call) = calls.pop_front() {
            *calling = Some(call.id);
            self.send_call(life, call);
        }
    }

    fn send_call(&mut self, life: Life, call: OutCall) {
        let (id, generation) = (call.id, call.generation);
        let ends = |end| Happening::CallEnds {
            life,
            id,
            generation,
            end,
        };
        if !self.hears(life, generation) {
            self.course.plan(0, ends(CallEnd::NotSent));
            return;
        }
        self.course.tell("session", || words(&call));
        let wait = self.course.delay();
        let is_lost = self.course.fails(20);
        let is_answer_lost = self.course.fails(20);
        let is_repeated = self.course.fails(20) && call.body.accept.is_none();
        if is_lost || is_answer_lost {
            let later = self.course.between(wait, 10 * SECOND);
            let end = ends(CallEnd::Unknown("broken".to_owned()));
            self.course.plan(later, end);
        }
        if is_repeated {
            let (call, is_answered) = (call.clone(), false);
            let later = wait + self.course.delay();
            self.course.plan(
                later,
                Happening::CallArrives {
                    call,
                    life,
                    is_answered,
                },
            );
        }
        if !is_lost {
            let is_answered = !is_answer_lost;
            self.course.plan(
                wait,
                Happening::CallArrives {
                    call,
                    life,
                    is_answered,
                },
            );
        }
    }

    /// A call has reached the masters.
    pub(super) fn call_arrives(&mut self, life: Life, call: &OutCall, is_answered: bool) {
        let (cluster, mut around) = self.split();
        let end = cluster.call(&mut around, call);
        if is_answered {
            let wait = self.course.delay();
            let ends = Happening::CallEnds {
                life,
                id: call.id,
                generation: call.generation,
                end,
            };
            self.course.plan(wait, ends);
        }
    }

    /// The scheduler learns what became of a call.
    pub(super) fn call_ends(&mut self, life: Life, id: u64, generation: u64, end: CallEnd) {
        if let Some(daemon) = self.daemon.as_mut().filter(|daemon| daemon.life == life)
            && let Side::Mesos { calling, .. } = &mut daemon.side
        {
            *calling = calling.filter(|under_way| *under_way != id);
        }
        self.with_session(life, |session, now| {
            session.on_call_done(now, id, generation, end);
        });
        self.next_call(life);
    }

    /// The master says what its agents have.
    pub(super) fn agents_asked(&mut self, life: Life, generation: u64) {
        if !self.hears(life, generation) {
            return;
        }
        let again = Happening::AgentsAsked { life, generation };
        self.course.plan(AGENTS_EVERY, again);
        if self.cluster.master.leader.is_none() || self.course.fails(200) {
            return;
        }
        let agents = self.cluster.master.totals();
        let agents = agents.into_iter().map(|(agent, size)| AgentTotal {
            agent: agent.into(),
            hostname: "host".to_owned(),
            total: crate::backend::mesos::resources::usable(&size.entries(), super::cluster::ROLE),
            attributes: [("hostname".into(), "host".into())].into(),
        });
        let agents = agents.collect();
        self.with_session(life, |session, _| session.on_agents(agents));
    }
}

/// A call in words.
fn words(call: &OutCall) -> String {
    let body = &call.body;
    let name = body.r#type().as_str_name().to_lowercase();
    let mut tasks: Vec<&str> = Vec::new();
    if let Some(accept) = &body.accept {
        let launches = accept.operations.iter().filter_map(|it| it.launch.as_ref());
        let infos = launches.flat_map(|launch| &launch.task_infos);
        tasks.extend(infos.map(|info| info.task_id.value.as_str()));
    }
    tasks.extend(body.kill.iter().map(|kill| kill.task_id.value.as_str()));
    tasks.extend(body.acknowledge.iter().map(|it| it.task_id.value.as_str()));
    let reconciled = body.reconcile.iter().flat_map(|it| &it.tasks);
    tasks.extend(reconciled.map(|task| task.task_id.value.as_str()));
    format!("calls {name} {}", tasks.join(" "))
}
