//! The session with a Mesos master, as a pure state machine: what Mesos says and what the engine decides go in,
//! calls and events come out, time is an argument. The shell around it does the talking.
//!
//! ```text
//! on_masters, on_stream_*, on_event, on_call_done, on_agents ─┐
//! on_decision, on_placement ──────────────────────────────────┼─► Session ─► actions
//! tick (when wake_at says) ───────────────────────────────────┘
//! ```
//! One subscription at a time, numbered: whatever an older one still says is ignored. `link` finds a master and
//! keeps the subscription; `offers` holds what is offered and accepts it; `updates` turns statuses into events
//! and acknowledges them once they are durable; `rounds` asks again about what Mesos owes an answer for.
//!
//! Sources: the v1 scheduler HTTP API of Apache Mesos, its pages on reconciliation, high availability of
//! frameworks and task states.

mod link;
mod offers;
mod rounds;
#[cfg(test)]
mod tests;

mod updates;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::framework::Executors;
use super::resources::ByName;
use crate::backend::remote::launch::Upload;
use crate::backend::settings::{MesosConfig, Placement};
use crate::engine::outcome::{AttemptEnd, LossReason, Usage, Value};
use crate::engine::{AttemptId, Decision, Engine, Event, Time};
use crate::proto::mesos::v1::scheduler::{Call, call};
use crate::proto::mesos::v1::{AgentId, FrameworkId, TaskId as MesosTaskId};

use link::Link;
use offers::Book;
use rounds::Round;

/// The name under which the framework id is kept.
pub(crate) const FRAMEWORK_ID: &str = "mesos.framework_id";

/// What a session is told once.
pub(crate) struct SessionSettings {
    /// `[backend.mesos]`
    pub(crate) config: MesosConfig,
    /// Where agents fetch the executor.
    pub(crate) program_url: String,
    /// Whom executors trust when they bring values over https, as PEM.
    pub(crate) executor_ca: Option<String>,
    /// Where people look at this scheduler.
    pub(crate) webui_url: String,
    /// Where a large value goes.
    pub(crate) upload: Box<dyn Fn(AttemptId) -> Upload + Send + Sync>,
}

/// An attempt that lived when the last daemon stopped.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Which.
    pub attempt: AttemptId,
    /// Where: the agent's id.
    pub agent: Arc<str>,
    /// What it demands.
    pub demand: Arc<ByName>,
}

impl Recovered {
    /// Those of these attempts that live, as a recovered engine knows them.
    #[must_use]
    pub fn find(engine: &Engine, attempts: &[AttemptId]) -> Vec<Self> {
        let found = attempts.iter().filter_map(|attempt| {
            let (agent, demand) = engine.find_attempt(*attempt)?;
            Some(Self {
                attempt: *attempt,
                agent,
                demand,
            })
        });
        found.collect()
    }
}

/// What the shell is to do. In order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Open a subscription there, and close any other.
    Subscribe {
        /// Its number.
        generation: u64,
        /// The master.
        master: Arc<str>,
        /// What to send.
        call: Box<Call>,
    },
    /// Close the subscription.
    Close,
    /// Make a call.
    Call(OutCall),
    /// Tell the engine.
    Tell(Box<ToldEvent>),
    /// Ask that master what its agents have.
    AskAgents(Arc<str>),
    /// The id or the master under which we are known changed.
    Known {
        /// The framework's id.
        framework: Option<Arc<str>>,
        /// The leading master.
        master: Option<Arc<str>>,
    },
    /// Connected, or why not.
    Health(Option<Arc<str>>),
    /// An offer's life ended so, after so long.
    OfferEnded(&'static str, Duration),
    /// So many offers are held.
    OffersHeld(usize),
}

/// An event for the engine; compared by what it shows.
#[derive(Clone, Debug)]
pub(crate) struct ToldEvent(pub(crate) Event);

impl PartialEq for ToldEvent {
    fn eq(&self, other: &Self) -> bool {
        format!("{:?}", self.0) == format!("{:?}", other.0)
    }
}

/// A call to the master.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OutCall {
    /// Names it in [`Session::on_call_done`].
    pub(crate) id: u64,
    /// The subscription that it belongs to.
    pub(crate) generation: u64,
    /// The master.
    pub(crate) master: Arc<str>,
    /// What tells the master which subscription is meant.
    pub(crate) stream_id: Arc<str>,
    /// What to send.
    pub(crate) body: Box<Call>,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallEnd {
    /// The master took it.
    Accepted,
    /// The master refused it, so nothing came of it.
    Refused {
        /// The HTTP status.
        code: u16,
        /// What it said.
        text: String,
    },
    /// It was never sent: its subscription was over.
    NotSent,
    /// Nobody knows: the connection broke before the answer.
    Unknown(String),
}

/// What an agent has, as its master tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgentTotal {
    /// Its id.
    pub(crate) agent: Arc<str>,
    /// Its host's name.
    pub(crate) hostname: String,
    /// All it has, for us or anybody.
    pub(crate) total: ByName,
    /// What constraints are compared with.
    pub(crate) attributes: BTreeMap<Arc<str>, Arc<str>>,
}

/// An attempt that has not ended.
#[derive(Clone, Debug)]
struct LiveAttempt {
    agent: Arc<str>,
    demand: Arc<ByName>,
    /// When it was launched; `None` where an earlier daemon did.
    launched_at: Option<Time>,
    /// When Mesos last said anything of it, was last asked since it had not, or it was launched.
    heard_at: Time,
    /// Whether the engine was told that it runs.
    is_started: bool,
    /// How many times in a row Mesos knew nothing of it.
    n_unknown: u32,
    /// Whether Mesos said that its offers were spent: it never was, or an earlier copy of the call launched it.
    is_doubtful: bool,
}

/// A status to acknowledge.
#[derive(Clone, Debug)]
struct Ack {
    agent: AgentId,
    task: MesosTaskId,
    uuid: bytes::Bytes,
}

/// That something is to be killed.
#[derive(Clone, Copy, Debug)]
struct KillWanted {
    grace: Option<Duration>,
    again_at: Time,
}

/// The session. See the module's text.
pub(crate) struct Session {
    settings: SessionSettings,
    executors: Executors,
    rng: fastrand::Rng,
    began: Time,
    framework: Option<Arc<str>>,
    link: Link,
    book: Book,
    /// All attempts that have not ended, as far as the engine was told.
    attempts: BTreeMap<AttemptId, LiveAttempt>,
    kills: BTreeMap<AttemptId, KillWanted>,
    /// Tasks that run and nobody knows, by Mesos' id for them, with when they are killed again.
    strays: BTreeMap<String, Time>,
    /// Since when attempts are out of contact.
    unreachable: BTreeMap<AttemptId, Time>,
    round: Option<Round>,
    /// When all attempts are asked about again.
    round_due: Time,
    /// When attempts of which nothing was heard are looked for.
    look_at: Time,
    /// Statuses to acknowledge once the receipt comes back.
    acks: VecDeque<(u64, Ack)>,
    next_receipt: u64,
    /// Whether something waits for the next receipt.
    needs_receipt: bool,
    next_call: u64,
    /// The attempts of each ACCEPT that is under way.
    accepts: BTreeMap<u64, Vec<AttemptId>>,
    wants_offers: bool,
    /// What the last SUBSCRIBE said of that.
    asked_for_offers: bool,
    is_stopping: bool,
    actions: Vec<Action>,
}

impl Session {
    /// Not connected. `framework` is the id that was kept; `seed` is for the jitter of waits. `now` is of a clock
    /// that nobody sets.
    pub(crate) fn new(
        settings: SessionSettings,
        framework: Option<Arc<str>>,
        recovered: Vec<Recovered>,
        seed: u64,
        now: Time,
    ) -> Self {
        let attempts = recovered.into_iter().map(|it| {
            let live = LiveAttempt {
                agent: it.agent,
                demand: it.demand,
                launched_at: None,
                heard_at: now,
                is_started: false,
                n_unknown: 0,
                is_doubtful: false,
            };
            (it.attempt, live)
        });
        let attempts: BTreeMap<AttemptId, LiveAttempt> = attempts.collect();
        let mut book = Book::default();
        for live in attempts.values() {
            book.charge(&live.agent, &live.demand);
        }
        Self {
            executors: Executors::new(&settings),
            settings,
            rng: fastrand::Rng::with_seed(seed),
            began: now,
            framework,
            link: Link::default(),
            book,
            attempts,
            kills: BTreeMap::new(),
            strays: BTreeMap::new(),
            unreachable: BTreeMap::new(),
            round: None,
            round_due: Time::default(),
            look_at: Time::default(),
            acks: VecDeque::new(),
            next_receipt: 1,
            needs_receipt: false,
            next_call: 1,
            accepts: BTreeMap::new(),
            wants_offers: true,
            asked_for_offers: true,
            is_stopping: false,
            actions: Vec::new(),
        }
    }

    /// What is to be done now, in order.
    pub(crate) fn take_actions(&mut self) -> Vec<Action> {
        if std::mem::take(&mut self.needs_receipt) {
            let receipt = self.next_receipt;
            self.next_receipt += 1;
            self.tell(Event::ReceiptAsked { receipt });
        }
        std::mem::take(&mut self.actions)
    }

    /// Takes in what the engine decided.
    pub(crate) fn on_decision(&mut self, now: Time, decision: Decision) {
        match decision {
            Decision::Accept {
                agent,
                offers,
                launches,
            } => self.accept(now, &agent, &offers, launches),
            Decision::Decline { agent: _, offers } => self.decline(now, &offers),
            Decision::Suppress => {
                self.wants_offers = false;
                self.say_whether_offers_are_wanted();
            }
            Decision::Revive => {
                self.wants_offers = true;
                self.say_whether_offers_are_wanted();
            }
            Decision::Acknowledge { receipt } => self.acknowledge(receipt),
            Decision::Kill { attempt, grace } => self.kill(now, attempt, grace),
        }
    }

    /// The configuration changed: what is launched from now on follows it.
    pub(crate) fn on_placement(&mut self, placement: Placement) {
        self.settings.config.placement = placement;
    }

    /// Tells the master, where there is a subscription.
    fn say_whether_offers_are_wanted(&mut self) {
        let roles = vec![self.settings.config.role.to_string()];
        let call = if self.wants_offers {
            Call {
                revive: Some(call::Revive { roles }),
                ..kind(call::Type::Revive)
            }
        } else {
            Call {
                suppress: Some(call::Suppress { roles }),
                ..kind(call::Type::Suppress)
            }
        };
        self.call(call);
    }

    /// Ends the subscription. Mesos keeps the tasks for `failover_timeout`; the next daemon finds them again.
    pub(crate) fn stop(&mut self) {
        self.is_stopping = true;
        self.actions.push(Action::Close);
    }

    /// Makes a call, where there is a subscription; says its number.
    fn call(&mut self, body: Call) -> Option<u64> {
        let (generation, master, stream_id) = self.link.subscription()?;
        let id = self.next_call;
        self.next_call += 1;
        let framework_id = self.framework.as_ref().map(|id| FrameworkId {
            value: id.to_string(),
        });
        let body = Box::new(Call {
            framework_id,
            ..body
        });
        self.actions.push(Action::Call(OutCall {
            id,
            generation,
            master,
            stream_id,
            body,
        }));
        Some(id)
    }

    fn tell(&mut self, event: Event) {
        self.actions.push(Action::Tell(Box::new(ToldEvent(event))));
    }

    /// Tells that an attempt has ended; whatever is said of it later is ignored.
    fn end(&mut self, attempt: AttemptId, end: AttemptEnd, usage: Usage, value: Value) {
        if let Some(live) = self.attempts.remove(&attempt) {
            self.book.release(&live.agent, &live.demand);
        }
        self.kills.remove(&attempt);
        self.unreachable.remove(&attempt);
        if let Some(round) = &mut self.round {
            round.remaining.remove(&attempt);
        }
        self.tell(Event::AttemptEnded {
            attempt,
            end,
            usage,
            value,
        });
    }

    fn lose(&mut self, attempt: AttemptId, reason: LossReason) {
        let end = AttemptEnd::Lost { reason };
        self.end(attempt, end, Usage::default(), Value::default());
    }

    /// All attempts that have not ended.
    fn all_attempts(&self) -> BTreeSet<AttemptId> {
        self.attempts.keys().copied().collect()
    }
}

/// A call of this kind, without a body.
fn kind(kind: call::Type) -> Call {
    Call {
        r#type: Some(kind as i32),
        ..Call::default()
    }
}
