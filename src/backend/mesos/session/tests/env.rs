//! The front door of the tests: a session on virtual time, and words for what it wants.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test fails at whatever it does not expect"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::Amount;

use super::super::*;
use crate::backend::mesos::resources::scalar;
use crate::backend::remote::ended;
use crate::engine::decision::Launch;
use crate::engine::event::OfferId;
use crate::engine::spec::{Run, TaskSpec};
use crate::engine::{Submission, TaskId};
use crate::proto::mesos::v1::scheduler::{self, event};
use crate::proto::mesos::v1::task_status::{Reason, Source};
use crate::proto::mesos::v1::{self, Offer, TaskState, TaskStatus};

/// Amounts by name: `amounts("cpus=2 mem=64")`.
pub(super) fn amounts(text: &str) -> ByName {
    let pair = |word: &str| {
        let (name, amount) = word.split_once('=').unwrap();
        (Arc::from(name), amount.parse().unwrap())
    };
    text.split_whitespace().map(pair).collect()
}

pub(super) fn config() -> MesosConfig {
    MesosConfig {
        role: "eng".into(),
        user: "nobody".to_owned(),
        failover_timeout: Duration::from_secs(3600),
        executor_idle: Duration::from_secs(60),
        placement: Placement {
            isolated_queues: BTreeSet::from(["alone".into()]),
            cluster_resources: BTreeSet::from(["db".into()]),
            ..Placement::default()
        },
        ..MesosConfig::default()
    }
}

/// An attempt by its task and number.
pub(super) fn attempt(task: u64, number: u32) -> AttemptId {
    let task = TaskId(task);
    AttemptId { task, number }
}

/// A launch of this task's first attempt.
pub(super) fn launch(task: u64, queue: &str, demand: &str) -> Launch {
    let spec = TaskSpec {
        queue: queue.into(),
        name: "".into(),
        key: None,
        inbox: None,
        demand: Arc::new(amounts(demand)),
        run: Run::Command("true".into()),
        env: BTreeMap::new(),
        priority: 0,
        retries: 0,
        timeout: None,
        kill_grace: Some(Duration::from_secs(3)),
        constraints: Arc::default(),
        array: None,
    };
    Launch {
        attempt: attempt(task, 1),
        submission: Arc::new(Submission {
            first: TaskId(task),
            spec,
            after: Vec::new(),
            digest: [0; 16],
            submitted_at: Time::default(),
        }),
    }
}

/// When a session begins.
const START: Time = Time(1_000_000);

/// A session with its outside.
pub(super) struct Env {
    pub(super) session: Session,
    pub(super) now: Time,
    /// The generation of the last subscription.
    pub(super) generation: u64,
    /// What was wanted since this was asked last.
    pub(super) actions: Vec<Action>,
    n_offers: u64,
    n_statuses: u8,
}

impl Env {
    /// Not connected; there is one master, `http://m1:5050`.
    pub(super) fn new(framework: Option<&str>, recovered: Vec<Recovered>) -> Self {
        let settings = SessionSettings {
            config: config(),
            program_url: "http://s:7070/v1/executor/hash".to_owned(),
            executor_ca: None,
            webui_url: "http://s:7070".to_owned(),
            upload: Box::new(|attempt| Upload {
                url: "http://s:7070".to_owned(),
                token: attempt.to_string(),
            }),
        };
        let session = Session::new(settings, framework.map(Arc::from), recovered, 7, START);
        let mut env = Self {
            session,
            now: START,
            generation: 0,
            actions: Vec::new(),
            n_offers: 0,
            n_statuses: 0,
        };
        env.masters(&["http://m1:5050"]);
        env
    }

    /// Subscribed, with nothing left to look at.
    pub(super) fn subscribed() -> Self {
        let mut env = Self::new(None, Vec::new());
        env.subscribe();
        env.actions.clear();
        env
    }

    pub(super) fn masters(&mut self, masters: &[&str]) {
        let masters = masters.iter().map(|master| Arc::from(*master)).collect();
        self.session.on_masters(self.now, masters);
        self.take();
    }

    /// Takes what is wanted.
    pub(super) fn take(&mut self) {
        for action in self.session.take_actions() {
            if let Action::Subscribe { generation, .. } = &action {
                self.generation = *generation;
            }
            self.actions.push(action);
        }
    }

    /// The master answers the subscription.
    pub(super) fn subscribe(&mut self) {
        self.session
            .on_stream_opened(self.now, self.generation, "stream");
        let subscribed = event::Subscribed {
            framework_id: v1::FrameworkId {
                value: "F".to_owned(),
            },
            heartbeat_interval_seconds: Some(15.0),
            master_info: None,
        };
        self.event(scheduler::Event {
            subscribed: Some(subscribed),
            ..kind(event::Type::Subscribed)
        });
    }

    pub(super) fn event(&mut self, event: scheduler::Event) {
        self.session.on_stream_bytes(self.now, self.generation);
        self.session.on_event(self.now, self.generation, event);
        self.take();
    }

    pub(super) fn heartbeat(&mut self) {
        self.event(kind(event::Type::Heartbeat));
    }

    /// An offer of an agent; says its number for the engine.
    pub(super) fn offer(&mut self, agent: &str, free: &str) -> OfferId {
        self.offer_with(agent, free, &[])
    }

    pub(super) fn offer_with(&mut self, agent: &str, free: &str, executors: &[String]) -> OfferId {
        let number = self.n_offers;
        self.n_offers += 1;
        let resources = amounts(free);
        let resources = resources
            .iter()
            .map(|(name, amount): (_, &Amount)| scalar(name, amount.milli(), "eng"));
        let offer = Offer {
            id: v1::OfferId {
                value: format!("O{number}"),
            },
            agent_id: v1::AgentId {
                value: agent.to_owned(),
            },
            hostname: format!("host-{agent}"),
            resources: resources.collect(),
            executor_ids: (executors.iter())
                .map(|id| v1::ExecutorId { value: id.clone() })
                .collect(),
            ..Offer::default()
        };
        self.event(scheduler::Event {
            offers: Some(event::Offers {
                offers: vec![offer],
            }),
            ..kind(event::Type::Offers)
        });
        OfferId(number)
    }

    pub(super) fn decide(&mut self, decision: Decision) {
        self.session.on_decision(self.now, decision);
        self.take();
    }

    pub(super) fn accept(&mut self, agent: &str, offers: &[OfferId], launches: Vec<Launch>) {
        self.decide(Decision::Accept {
            agent: agent.into(),
            offers: offers.to_vec(),
            launches,
        });
    }

    /// Launches a task on an agent of its own offer.
    pub(super) fn launched(&mut self, task: u64) {
        let offer = self.offer("A", "cpus=4 mem=1024");
        self.accept("A", &[offer], vec![launch(task, "q", "cpus=1")]);
        self.actions.clear();
    }

    /// A status of an agent, to be acknowledged.
    pub(super) fn status(&mut self, task: &str, state: TaskState) {
        self.status_with(task, state, |_| ());
    }

    pub(super) fn status_with(
        &mut self,
        task: &str,
        state: TaskState,
        change: impl FnOnce(&mut TaskStatus),
    ) {
        self.n_statuses += 1;
        let mut status = TaskStatus {
            task_id: v1::TaskId {
                value: task.to_owned(),
            },
            state: state as i32,
            agent_id: Some(v1::AgentId {
                value: "A".to_owned(),
            }),
            uuid: Some(vec![self.n_statuses; 16].into()),
            ..TaskStatus::default()
        };
        change(&mut status);
        self.event(scheduler::Event {
            update: Some(event::Update { status }),
            ..kind(event::Type::Update)
        });
    }

    /// The master's answer to a reconciliation: without a uuid.
    pub(super) fn answer(&mut self, task: &str, state: TaskState) {
        self.status_with(task, state, |status| {
            status.uuid = None;
            status.source = Some(Source::Master as i32);
            status.reason = Some(Reason::Reconciliation as i32);
        });
    }

    /// The executor's word that it exited with this code.
    pub(super) fn exited(&mut self, task: &str, code: i32) {
        let told = ended::Ended {
            end: AttemptEnd::Exited { code },
            lost_because: None,
            usage: Usage::default(),
            shown: ended::Shown::Inline(Value::default()),
        };
        let state = if code == 0 {
            TaskState::TaskFinished
        } else {
            TaskState::TaskFailed
        };
        self.status_with(task, state, |status| {
            status.data = Some(ended::to_bytes(&told).into());
        });
    }

    /// Time passes; what is due happens in time.
    pub(super) fn advance(&mut self, seconds: u64) {
        let until = self.now.after(Duration::from_secs(seconds));
        while let Some(at) = self.session.wake_at().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.session.tick(self.now);
            self.take();
        }
        self.now = until;
        self.session.tick(self.now);
        self.take();
    }

    /// What was wanted since this was asked last, in words.
    pub(super) fn wanted(&mut self) -> Vec<String> {
        let actions = std::mem::take(&mut self.actions);
        actions.iter().filter_map(word).collect()
    }

    /// The calls that were wanted since, with their numbers.
    pub(super) fn calls(&mut self) -> Vec<OutCall> {
        let actions = std::mem::take(&mut self.actions);
        let call = |action| match action {
            Action::Call(call) => Some(call),
            _ => None,
        };
        actions.into_iter().filter_map(call).collect()
    }
}

/// An event without a body.
pub(super) fn kind(kind: event::Type) -> scheduler::Event {
    scheduler::Event {
        r#type: Some(kind as i32),
        ..scheduler::Event::default()
    }
}

fn word(action: &Action) -> Option<String> {
    Some(match action {
        Action::Subscribe { master, call, .. } => {
            let id = call.framework_id.as_ref();
            let id = id.map_or(String::new(), |id| format!(" as {}", id.value));
            let suppressed = &call.subscribe.as_ref().unwrap().suppressed_roles;
            let suppressed = if suppressed.is_empty() {
                ""
            } else {
                " suppressed"
            };
            format!("subscribe {master}{id}{suppressed}")
        }
        Action::Close => "close".to_owned(),
        Action::Call(call) => called(call),
        Action::Tell(event) => told(&event.0)?,
        Action::AskAgents(_) => "ask agents".to_owned(),
        Action::Health(None) => "healthy".to_owned(),
        Action::Health(Some(why)) => format!("trouble: {why}"),
        Action::Known { .. } | Action::OfferEnded(..) | Action::OffersHeld(_) => return None,
    })
}

fn called(call: &OutCall) -> String {
    let body = &call.body;
    if let Some(accept) = &body.accept {
        let tasks = accept.operations.iter();
        let tasks = tasks.map(|operation| {
            let task = &operation.launch.as_ref().unwrap().task_infos[0];
            task.task_id.value.clone()
        });
        let tasks: Vec<String> = tasks.collect();
        return format!("accept {} for {}", accept.offer_ids.len(), tasks.join(" "));
    }
    if let Some(decline) = &body.decline {
        return format!("decline {}", decline.offer_ids.len());
    }
    if let Some(kill) = &body.kill {
        return format!("kill {}", kill.task_id.value);
    }
    if let Some(acknowledge) = &body.acknowledge {
        return format!("acknowledge {}", acknowledge.task_id.value);
    }
    if let Some(reconcile) = &body.reconcile {
        let tasks = reconcile.tasks.iter();
        let tasks: Vec<&str> = tasks.map(|task| &*task.task_id.value).collect();
        return format!("reconcile {}", tasks.join(" "))
            .trim_end()
            .to_owned();
    }
    if body.suppress.is_some() {
        return "suppress".to_owned();
    }
    assert!(body.revive.is_some(), "{call:?}");
    "revive".to_owned()
}

fn told(event: &Event) -> Option<String> {
    let shown = |free: &ByName| {
        let pairs = free.iter().map(|(name, amount)| format!("{name}={amount}"));
        pairs.collect::<Vec<String>>().join(" ")
    };
    Some(match event {
        Event::AgentSeen { agent, total, .. } => format!("agent {agent} {}", shown(total)),
        Event::AgentLost { agent } => format!("agent {agent} lost"),
        Event::OfferReceived { agent, free, .. } => format!("offer of {agent} {}", shown(free)),
        Event::OfferRescinded { offer } => format!("rescinded {}", offer.0),
        Event::OffersForgotten => "offers forgotten".to_owned(),
        Event::AttemptStarted { attempt } => format!("{attempt} started"),
        Event::AttemptEnded { attempt, end, .. } => match end {
            AttemptEnd::Lost { reason } => format!("{attempt} lost: {}", reason.as_str()),
            AttemptEnd::Exited { code } => format!("{attempt} exited {code}"),
            AttemptEnd::Killed => format!("{attempt} killed"),
            AttemptEnd::OutOfMemory => format!("{attempt} out of memory"),
            AttemptEnd::OverLimit { limit } => format!("{attempt} over {limit:?}"),
            AttemptEnd::NotStarted { message } => format!("{attempt} not started: {message}"),
            AttemptEnd::Signalled { signal } => format!("{attempt} signalled {signal}"),
            AttemptEnd::Raised { message } => format!("{attempt} raised {message}"),
        },
        Event::BackendNoted { name, value } => {
            format!("note {name} {}", value.as_deref().unwrap_or("nothing"))
        }
        Event::ReceiptAsked { .. } => return None,
    })
}
