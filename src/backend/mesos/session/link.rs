//! Finding a master, subscribing, noticing that a subscription is over, and trying again.

use std::sync::Arc;
use std::time::Duration;

use super::{Action, CallEnd, FRAMEWORK_ID, Session, kind};
use crate::backend::mesos::framework::framework_info;
use crate::engine::outcome::LossReason;
use crate::engine::{Event, Time};
use crate::proto::mesos::v1::FrameworkId;
use crate::proto::mesos::v1::scheduler::{self, Call, call, event};

/// The first wait before subscribing again; doubled each time, and drawn between half of it and all of it.
const BACKOFF: Duration = Duration::from_millis(500);

/// The longest such wait.
const BACKOFF_MAX: Duration = Duration::from_secs(15);

/// The wait where another scheduler took over our id: no fight over it.
const TAKEN_OVER_WAIT: Duration = Duration::from_secs(5 * 60);

/// How long a master may take to answer a subscription.
const CONNECT_MAX: Duration = Duration::from_secs(20);

/// With so many redirects in a row, masters don't agree who leads.
const REDIRECTS_MAX: u32 = 3;

/// Where the subscription stands.
#[derive(Debug, Default)]
enum Phase {
    /// No master is known.
    #[default]
    Searching,
    /// Until then.
    Waiting(Time),
    /// Asked at this time.
    Connecting(Time),
    /// The stream is open.
    Open {
        heard_at: Time,
        stream_id: Arc<str>,
        is_subscribed: bool,
    },
}

/// The subscription.
#[derive(Debug)]
pub(super) struct Link {
    phase: Phase,
    /// Counts subscriptions tried.
    generation: u64,
    masters: Vec<Arc<str>>,
    /// The master tried or used.
    master: Option<Arc<str>>,
    next_master: usize,
    n_redirects: u32,
    backoff: Duration,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            phase: Phase::Searching,
            generation: 0,
            masters: Vec::new(),
            master: None,
            next_master: 0,
            n_redirects: 0,
            backoff: BACKOFF,
        }
    }
}

impl Link {
    /// The subscription in use: its number, master, and stream.
    pub(super) fn subscription(&self) -> Option<(u64, Arc<str>, Arc<str>)> {
        match (&self.phase, &self.master) {
            (
                Phase::Open {
                    stream_id,
                    is_subscribed: true,
                    ..
                },
                Some(master),
            ) => Some((self.generation, Arc::clone(master), Arc::clone(stream_id))),
            _ => None,
        }
    }

    pub(super) fn is_subscribed(&self) -> bool {
        self.subscription().is_some()
    }

    fn is_current(&self, generation: u64) -> bool {
        self.generation == generation
    }
}

impl Session {
    /// The masters that may lead, by their URLs: those of the configuration, or the one that ZooKeeper names.
    pub(crate) fn on_masters(&mut self, now: Time, masters: Vec<Arc<str>>) {
        let leads_no_more = |master: &Arc<str>| !masters.contains(master);
        let is_elsewhere = masters.len() == 1
            && self.link.n_redirects == 0
            && self.link.master.as_ref().is_some_and(leads_no_more);
        self.link.masters = masters;
        self.link.next_master = 0;
        if self.link.masters.is_empty() {
            // A subscription that works is kept: trouble in finding masters is none with the master.
            if !self.link.is_subscribed() {
                self.link.phase = Phase::Searching;
                self.unhealthy("no Mesos master is leading; waiting for one".to_owned());
            }
        } else if matches!(self.link.phase, Phase::Searching) {
            self.connect_to_next(now);
        } else if is_elsewhere {
            self.disconnect(now, "another Mesos master leads now".to_owned());
        }
    }

    /// Nobody says which master leads. A subscription that works is kept.
    pub(crate) fn on_no_masters(&mut self, why: String) {
        if matches!(self.link.phase, Phase::Searching) {
            self.unhealthy(why);
        }
    }

    fn connect_to_next(&mut self, now: Time) {
        let link = &mut self.link;
        let Some(master) = link.masters.get(link.next_master).cloned() else {
            link.phase = Phase::Searching;
            return;
        };
        link.next_master = (link.next_master + 1) % link.masters.len();
        link.n_redirects = 0;
        self.connect(now, master);
    }

    fn connect(&mut self, now: Time, master: Arc<str>) {
        if self.is_stopping {
            return;
        }
        self.link.generation += 1;
        self.link.phase = Phase::Connecting(now);
        self.link.master = Some(Arc::clone(&master));
        let config = &self.settings.config;
        let framework_info =
            framework_info(config, self.framework.as_deref(), &self.settings.webui_url);
        self.asked_for_offers = self.wants_offers;
        let suppressed_roles = if self.wants_offers {
            Vec::new()
        } else {
            vec![config.role.to_string()]
        };
        let framework_id = self.framework.as_ref().map(|id| FrameworkId {
            value: id.to_string(),
        });
        let call = Box::new(Call {
            framework_id,
            subscribe: Some(call::Subscribe {
                framework_info,
                suppressed_roles,
            }),
            ..kind(call::Type::Subscribe)
        });
        self.actions.push(Action::Subscribe {
            generation: self.link.generation,
            master,
            call,
        });
    }

    /// The master answered with a stream.
    pub(crate) fn on_stream_opened(&mut self, now: Time, generation: u64, stream_id: &str) {
        if self.link.is_current(generation) && matches!(self.link.phase, Phase::Connecting(_)) {
            self.link.phase = Phase::Open {
                heard_at: now,
                stream_id: stream_id.into(),
                is_subscribed: false,
            };
        }
    }

    /// The master refused the subscription, or is not the one that leads.
    pub(crate) fn on_stream_refused(
        &mut self,
        now: Time,
        generation: u64,
        code: u16,
        leader: Option<Arc<str>>,
        text: &str,
    ) {
        if !self.link.is_current(generation) {
            return;
        }
        let master = self.link.master.clone().unwrap_or_default();
        match (code, leader) {
            (301 | 302 | 307 | 308, Some(leader)) if self.link.n_redirects < REDIRECTS_MAX => {
                self.link.n_redirects += 1;
                self.connect(now, leader);
            }
            (301 | 302 | 307 | 308, _) => {
                self.disconnect(
                    now,
                    format!("{master} redirects to a master that leads no more"),
                );
            }
            (401 | 403, _) => {
                let what = format!(
                    "the Mesos master {master} refuses the credentials ({code}): {}; see \
                     backend.mesos.principal and backend.mesos.secret_file",
                    first_line(text)
                );
                self.link.backoff = BACKOFF_MAX;
                self.disconnect(now, what);
            }
            (503 | 404, _) => {
                self.disconnect(now, format!("the Mesos master {master} does not lead yet"));
            }
            _ => {
                let text = first_line(text);
                let what = format!("the Mesos master {master} refuses us ({code}): {text}");
                self.link.backoff = BACKOFF_MAX;
                self.disconnect(now, what);
            }
        }
    }

    /// Something came on the stream, whatever it is.
    pub(crate) fn on_stream_bytes(&mut self, now: Time, generation: u64) {
        if self.link.is_current(generation)
            && let Phase::Open { heard_at, .. } = &mut self.link.phase
        {
            *heard_at = now;
        }
    }

    /// The stream, or the try to open one, ended.
    pub(crate) fn on_stream_closed(&mut self, now: Time, generation: u64, why: &str) {
        if self.link.is_current(generation) && !matches!(self.link.phase, Phase::Waiting(_)) {
            let master = self.link.master.clone().unwrap_or_default();
            self.disconnect(
                now,
                format!("no connection to the Mesos master {master}: {why}"),
            );
        }
    }

    /// An event of the stream.
    pub(crate) fn on_event(&mut self, now: Time, generation: u64, event: scheduler::Event) {
        if !self.link.is_current(generation) {
            return;
        }
        let number = event.r#type.unwrap_or_default();
        let Ok(kind) = event::Type::try_from(number) else {
            tracing::debug!(number, "an unknown event of Mesos is ignored");
            return;
        };
        if let (event::Type::Subscribed, Some(subscribed)) = (kind, &event.subscribed) {
            self.on_subscribed(now, subscribed);
            return;
        }
        if let (event::Type::Error, Some(error)) = (kind, &event.error) {
            self.on_error(now, &error.message);
            return;
        }
        if !self.link.is_subscribed() {
            return;
        }
        match kind {
            event::Type::Offers => {
                for offer in event.offers.into_iter().flat_map(|offers| offers.offers) {
                    self.offered(now, offer);
                }
            }
            event::Type::Rescind => {
                if let Some(rescind) = event.rescind {
                    self.rescinded(now, &rescind.offer_id.value);
                }
            }
            event::Type::Update => {
                if let Some(update) = event.update {
                    self.updated(now, update.status);
                }
            }
            event::Type::Failure => {
                if let Some(failure) = event.failure {
                    self.failed(now, &failure);
                }
            }
            event::Type::Subscribed
            | event::Type::Error
            | event::Type::Heartbeat
            | event::Type::Message
            | event::Type::InverseOffers
            | event::Type::RescindInverseOffer
            | event::Type::UpdateOperationStatus
            | event::Type::Unknown => {}
        }
    }

    fn on_subscribed(&mut self, now: Time, subscribed: &event::Subscribed) {
        let Phase::Open { is_subscribed, .. } = &mut self.link.phase else {
            return;
        };
        *is_subscribed = true;
        self.link.backoff = BACKOFF;
        let id: Arc<str> = subscribed.framework_id.value.as_str().into();
        let master = self.link.master.clone();
        tracing::info!(framework = %id, master = master.as_deref(), "subscribed with Mesos");
        if self.framework.as_ref() != Some(&id) {
            self.framework = Some(Arc::clone(&id));
            // Before anything that is launched under it: events are taken in one after the other.
            self.tell(Event::BackendNoted {
                name: FRAMEWORK_ID.into(),
                value: Some(Arc::clone(&id)),
            });
        }
        self.actions.push(Action::Known {
            framework: Some(id),
            master: master.clone(),
        });
        self.actions.push(Action::Health(None));
        self.actions.extend(master.map(Action::AskAgents));
        if self.asked_for_offers != self.wants_offers {
            // That changed while the subscription was under way.
            self.say_whether_offers_are_wanted();
        }
        self.start_round(now);
        self.kill_again(now, true);
    }

    fn on_error(&mut self, now: Time, message: &str) {
        if message.contains("has been removed") || message.contains("Framework is removed") {
            tracing::error!(
                message,
                "Mesos has removed this framework and its tasks; registering as a new one, and running them again"
            );
            self.framework = None;
            self.tell(Event::BackendNoted {
                name: FRAMEWORK_ID.into(),
                value: None,
            });
            for attempt in self.all_attempts() {
                self.lose(attempt, LossReason::ExecutorLost);
            }
            self.disconnect(now, format!("Mesos removed this framework: {message}"));
        } else if message.contains("failed over") {
            let what = "another scheduler has taken over this framework's id; stop one of the two";
            self.disconnect(now, what.to_owned());
            self.link.phase = Phase::Waiting(now.after(TAKEN_OVER_WAIT));
        } else {
            self.link.backoff = BACKOFF_MAX;
            self.disconnect(
                now,
                format!("Mesos refuses the subscription: {}", first_line(message)),
            );
        }
    }

    /// Leaves the subscription, if there is one, and tries again after a while.
    pub(super) fn disconnect(&mut self, now: Time, why: String) {
        if self.link.is_subscribed() {
            self.forget_offers(now);
            self.tell(Event::OffersForgotten);
        }
        self.acks.clear();
        self.round = None;
        // What comes from now on is of nobody.
        self.link.generation += 1;
        self.actions.push(Action::Close);
        let longest = self.link.backoff.as_millis() as u64;
        let wait = Duration::from_millis(self.rng.u64(longest / 2..=longest));
        self.link.backoff = (self.link.backoff * 2).min(BACKOFF_MAX);
        self.link.phase = Phase::Waiting(now.after(wait));
        self.unhealthy(why);
    }

    fn unhealthy(&mut self, why: String) {
        self.actions.push(Action::Health(Some(why.into())));
    }

    /// What became of a call.
    pub(crate) fn on_call_done(&mut self, now: Time, id: u64, generation: u64, end: CallEnd) {
        let launched = self.accepts.remove(&id).unwrap_or_default();
        match end {
            CallEnd::Accepted => {}
            CallEnd::NotSent => {
                for attempt in launched {
                    self.lose(attempt, LossReason::LaunchDropped);
                }
            }
            CallEnd::Refused { code, text } => {
                for attempt in launched {
                    self.lose(attempt, LossReason::LaunchDropped);
                }
                if self.link.is_current(generation) {
                    let text = first_line(&text);
                    tracing::warn!(code, text, "Mesos refuses a call");
                    // The master knows nothing of this subscription any more, or is none that leads.
                    self.disconnect(now, format!("Mesos refused a call ({code}): {text}"));
                }
            }
            // Perhaps it was taken, so it isn't sent again. A new subscription settles it: the master forgets
            // which offers were ours, is told again what is to be killed, and asked about every attempt.
            CallEnd::Unknown(why) if self.link.is_current(generation) => {
                tracing::warn!(why, "no answer to a call to Mesos");
                self.disconnect(now, format!("no answer to a call to Mesos: {why}"));
            }
            CallEnd::Unknown(_) => {}
        }
    }

    /// What is due of the subscription.
    pub(super) fn tick_link(&mut self, now: Time) {
        match &self.link.phase {
            Phase::Waiting(until) if *until <= now => self.connect_to_next(now),
            Phase::Connecting(since) if since.after(CONNECT_MAX) <= now => {
                let master = self.link.master.clone().unwrap_or_default();
                self.disconnect(now, format!("the Mesos master {master} does not answer"));
            }
            Phase::Open { heard_at, .. } if heard_at.after(self.heartbeat_timeout()) <= now => {
                let master = self.link.master.clone().unwrap_or_default();
                let what = format!("the Mesos master {master} has fallen silent: no heartbeats");
                self.disconnect(now, what);
            }
            Phase::Searching | Phase::Waiting(_) | Phase::Connecting(_) | Phase::Open { .. } => {}
        }
    }

    fn heartbeat_timeout(&self) -> Duration {
        self.settings.config.heartbeat_timeout
    }

    /// When something of it is due.
    pub(super) fn link_wakes_at(&self) -> Option<Time> {
        match &self.link.phase {
            Phase::Searching => None,
            Phase::Waiting(until) => Some(*until),
            Phase::Connecting(since) => Some(since.after(CONNECT_MAX)),
            Phase::Open { heard_at, .. } => Some(heard_at.after(self.heartbeat_timeout())),
        }
    }
}

/// The first line of what a master says, for people.
fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    &line[..line.floor_char_boundary(300)]
}
