//! Carries out what the session wants, and tells it what happens.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, Sender, UnboundedReceiver, UnboundedSender};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::session::{Action, CallEnd, OutCall, Session};
use super::talk::{Heard, Talk};
use super::{Known, Watcher, discovery};
use crate::backend::EventSender;
use crate::backend::settings::{Masters, Placement};
use crate::clock;
use crate::engine::{Decision, Event};
use crate::proto::mesos::v1::scheduler::call;

/// How many words of the tasks may wait for the session. Whoever finds it full waits, the stream's reader too.
const HEARD_LEN: usize = 256;

/// So many acknowledgements are under way at once. Their order doesn't matter: an agent sends the next status of
/// a task only after the last one was acknowledged.
const ACKS_MAX: usize = 8;

/// What agents have is asked for again after so long.
const AGENTS_EVERY: Duration = Duration::from_secs(60);

/// The longest sleep: so late at most is what agents have asked for again.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// What the driver's thread wants.
#[derive(Debug)]
pub(super) enum Command {
    /// The engine decided.
    Decided(Decision),
    /// The configuration changed.
    Reloaded(Placement),
    /// The daemon stops.
    Stop,
}

/// The shell. One task owns the session.
pub(super) struct Shell {
    session: Session,
    /// By which the session waits: an agent isn't out of contact for longer because somebody sets the clock.
    clock: clock::Steady,
    talk: Talk,
    watcher: Arc<dyn Watcher>,
    trouble: watch::Sender<Option<Arc<str>>>,
    known: watch::Sender<Known>,
    /// The subscription that is current; calls of others are not sent any more.
    generation: watch::Sender<u64>,
    stream: Option<JoinHandle<()>>,
    agents_of: Option<Arc<str>>,
    agents_due: clock::Stopwatch,
    knows_agents: bool,
}

/// Where actions go.
struct Ways {
    heard: Sender<Heard>,
    calls: UnboundedSender<OutCall>,
    acks: UnboundedSender<OutCall>,
    events: UnboundedSender<Event>,
}

impl Shell {
    pub(super) fn new(
        session: Session,
        clock: clock::Steady,
        talk: Talk,
        watcher: Arc<dyn Watcher>,
        trouble: watch::Sender<Option<Arc<str>>>,
        known: watch::Sender<Known>,
    ) -> Self {
        Self {
            session,
            clock,
            talk,
            watcher,
            trouble,
            known,
            generation: watch::Sender::new(0),
            stream: None,
            agents_of: None,
            agents_due: clock::Stopwatch::start(),
            knows_agents: true,
        }
    }

    /// Runs until it is told to stop, or the driver is gone.
    pub(super) async fn run(
        mut self,
        masters: Masters,
        mut commands: UnboundedReceiver<Command>,
        events: EventSender,
    ) {
        let (heard, mut hears) = mpsc::channel(HEARD_LEN);
        // These three hold what the session has said already; it says no more than is decided.
        let (calls, calls_out) = mpsc::unbounded_channel();
        let (acks, acks_out) = mpsc::unbounded_channel();
        let (told, events_out) = mpsc::unbounded_channel();
        let ways = Ways {
            heard: heard.clone(),
            calls,
            acks,
            events: told,
        };
        let tasks = [
            tokio::spawn(discovery::run(masters, heard.clone())),
            tokio::spawn(self.caller().in_order(calls_out, heard.clone())),
            tokio::spawn(self.caller().in_any_order(acks_out, heard)),
            tokio::spawn(forward(events_out, events)),
        ];
        loop {
            let now = self.clock.now();
            let wait = self.session.wake_at().map(|at| at.since(now));
            let wait = wait.unwrap_or(SLEEP_MAX).min(SLEEP_MAX);
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Decided(decision)) => {
                        self.session.on_decision(self.clock.now(), decision);
                    }
                    Some(Command::Reloaded(placement)) => self.session.on_placement(placement),
                    Some(Command::Stop) | None => break,
                },
                Some(word) = hears.recv() => self.hear(word),
                () = tokio::time::sleep(wait) => {}
            }
            while let Ok(word) = hears.try_recv() {
                self.hear(word);
            }
            self.session.tick(self.clock.now());
            self.perform(&ways);
        }
        self.session.stop();
        self.perform(&ways);
        for task in tasks {
            task.abort();
        }
    }

    fn caller(&self) -> Caller {
        Caller {
            talk: self.talk.clone(),
            watcher: Arc::clone(&self.watcher),
            generation: self.generation.subscribe(),
        }
    }

    fn hear(&mut self, heard: Heard) {
        let now = self.clock.now();
        let session = &mut self.session;
        match heard {
            Heard::Masters(masters) => session.on_masters(now, masters),
            Heard::NoMasters(why) => session.on_no_masters(why),
            Heard::Opened {
                generation,
                stream_id,
            } => session.on_stream_opened(now, generation, &stream_id),
            Heard::Refused {
                generation,
                code,
                leader,
                text,
            } => {
                self.watcher.called("subscribe", code);
                session.on_stream_refused(now, generation, code, leader, &text);
            }
            Heard::Events(generation, events) => {
                self.watcher.heard();
                session.on_stream_bytes(now, generation);
                for event in events {
                    session.on_event(now, generation, event);
                }
            }
            Heard::Closed(generation, why) => session.on_stream_closed(now, generation, &why),
            Heard::CallDone {
                id,
                generation,
                end,
            } => session.on_call_done(now, id, generation, end),
            Heard::Agents(Ok(agents)) => {
                self.knows_agents = true;
                session.on_agents(agents);
            }
            Heard::Agents(Err(error)) => {
                if std::mem::replace(&mut self.knows_agents, false) {
                    tracing::warn!(
                        error,
                        "the Mesos master doesn't tell what agents have; their totals are what was seen of them"
                    );
                }
            }
        }
    }

    fn perform(&mut self, ways: &Ways) {
        for action in self.session.take_actions() {
            match action {
                Action::Subscribe {
                    generation,
                    master,
                    call,
                } => {
                    self.close();
                    self.generation.send_replace(generation);
                    let talk = self.talk.clone();
                    let heard = ways.heard.clone();
                    let stream = talk.subscribe(generation, master, call, heard);
                    self.stream = Some(tokio::spawn(stream));
                }
                Action::Close => self.close(),
                Action::Call(call) => {
                    let is_ack = call.body.r#type == Some(call::Type::Acknowledge as i32);
                    let way = if is_ack { &ways.acks } else { &ways.calls };
                    let _ = way.send(call);
                }
                Action::Tell(event) => {
                    let _ = ways.events.send(event.0);
                }
                Action::AskAgents(master) => {
                    self.agents_of = Some(master);
                    self.ask_agents(&ways.heard);
                }
                Action::Known { framework, master } => {
                    self.known.send_replace(Known { framework, master });
                }
                Action::Health(trouble) => self.report(trouble),
                Action::OfferEnded(result, held) => self.watcher.offer_ended(result, held),
                Action::OffersHeld(count) => self.watcher.offers_held(count),
            }
        }
        if self.agents_of.is_some() && self.agents_due.elapsed() >= AGENTS_EVERY {
            self.ask_agents(&ways.heard);
        }
    }

    fn report(&mut self, trouble: Option<Arc<str>>) {
        let before = self.trouble.send_replace(trouble.clone());
        match &trouble {
            Some(why) if before.as_ref() != Some(why) => tracing::warn!("{why}; trying again"),
            Some(_) | None => {}
        }
        self.watcher.connected(trouble.is_none());
    }

    fn close(&mut self) {
        self.agents_of = None;
        self.generation.send_replace(0);
        if let Some(stream) = self.stream.take() {
            stream.abort();
        }
    }

    fn ask_agents(&mut self, heard: &Sender<Heard>) {
        self.agents_due = clock::Stopwatch::start();
        let Some(master) = self.agents_of.clone() else {
            return;
        };
        let (talk, heard) = (self.talk.clone(), heard.clone());
        tokio::spawn(async move {
            let agents = talk.agents(&master).await;
            let _ = heard.send(Heard::Agents(agents)).await;
        });
    }
}

/// Makes calls.
struct Caller {
    talk: Talk,
    watcher: Arc<dyn Watcher>,
    generation: watch::Receiver<u64>,
}

impl Caller {
    /// One after the other: a master sees them in the order in which they were decided.
    async fn in_order(self, mut calls: UnboundedReceiver<OutCall>, heard: Sender<Heard>) {
        while let Some(call) = calls.recv().await {
            let done = self.make(call).await;
            let _ = heard.send(done).await;
        }
    }

    /// Several at once.
    async fn in_any_order(self, mut calls: UnboundedReceiver<OutCall>, heard: Sender<Heard>) {
        let this = Arc::new(self);
        let permits = Arc::new(Semaphore::new(ACKS_MAX));
        while let Some(call) = calls.recv().await {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            let (this, heard) = (Arc::clone(&this), heard.clone());
            tokio::spawn(async move {
                let done = this.make(call).await;
                drop(permit);
                let _ = heard.send(done).await;
            });
        }
    }

    async fn make(&self, call: OutCall) -> Heard {
        let (id, generation) = (call.id, call.generation);
        let end = if *self.generation.borrow() == generation {
            let (end, code) = self.talk.call(&call).await;
            self.watcher.called(name(&call), code);
            end
        } else {
            CallEnd::NotSent
        };
        Heard::CallDone {
            id,
            generation,
            end,
        }
    }
}

/// The word for a call's kind.
fn name(call: &OutCall) -> &'static str {
    match call.body.r#type() {
        call::Type::Accept => "accept",
        call::Type::Decline => "decline",
        call::Type::Revive => "revive",
        call::Type::Suppress => "suppress",
        call::Type::Kill => "kill",
        call::Type::Acknowledge => "acknowledge",
        call::Type::Reconcile => "reconcile",
        call::Type::Subscribe => "subscribe",
        call::Type::Unknown
        | call::Type::Teardown
        | call::Type::Shutdown
        | call::Type::Message
        | call::Type::Request
        | call::Type::AcceptInverseOffers
        | call::Type::DeclineInverseOffers
        | call::Type::AcknowledgeOperationStatus
        | call::Type::ReconcileOperations
        | call::Type::UpdateFramework => "other",
    }
}

/// Hands events over, and waits for the driver so that the session needn't.
async fn forward(mut events: UnboundedReceiver<Event>, driver: EventSender) {
    while let Some(event) = events.recv().await {
        if !driver.send(event).await {
            return;
        }
    }
}
