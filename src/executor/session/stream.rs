//! The stream of the agent's events: opened, lost, and opened again.

use std::time::Duration;

use super::{ExitReason, Output, Session, SessionOptions};
use crate::engine::Time;
use crate::proto::mesos::v1::executor::{self, event};
use crate::proto::mesos::v1::framework_info::capability;

/// An agent that doesn't keep its executors is looked for so long before the first subscription only.
const FIRST_STREAM_MAX: Duration = Duration::from_secs(60);

/// Where the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is to be opened at this time.
    Closed(Time),
    /// The agent has been asked. Updates up to the mark were handed over.
    Opening { mark: u64 },
    /// The agent has subscribed us.
    Open,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Stream {
    /// Streams are numbered, so that the last words of an old one aren't taken for the new one's.
    number: u64,
    stage: Stage,
    was_open: bool,
    /// Since when there has been none.
    lost_since: Time,
    /// When overdue acknowledgements were looked for.
    pub(super) checked_at: Time,
}

impl Stream {
    pub(super) fn new(now: Time) -> Self {
        Self {
            number: 0,
            stage: Stage::Closed(now),
            was_open: false,
            lost_since: now,
            checked_at: now,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// When something is due, if the stream doesn't change.
    pub(super) fn wake_at(&self, options: &SessionOptions) -> Option<Time> {
        let given_up = self.lost_since.after(self.lost_max(options));
        match self.stage {
            Stage::Closed(at) => Some(at.min(given_up)),
            Stage::Opening { .. } => Some(given_up),
            Stage::Open => None,
        }
    }

    fn lost_max(&self, options: &SessionOptions) -> Duration {
        match (options.checkpoint, self.was_open) {
            (true, _) => options.recovery_timeout,
            (false, false) => FIRST_STREAM_MAX,
            (false, true) => Duration::ZERO,
        }
    }
}

impl Session {
    /// Opens the stream if that is due, and gives the agent up if it has been away for too long.
    pub(super) fn look_for_agent(&mut self, now: Time, out: &mut Vec<Output>) {
        let lost_max = self.stream.lost_max(&self.options);
        if !self.stream.is_open() && self.stream.lost_since.after(lost_max) <= now {
            self.give_agent_up(now, out);
        }
        let is_due = matches!(self.stream.stage, Stage::Closed(at) if at <= now);
        if !is_due || self.is_exiting(ExitReason::AgentGone) {
            return;
        }
        self.stream.number += 1;
        self.stream.stage = Stage::Opening {
            mark: self.outbox.mark(),
        };
        let subscribe = executor::call::Subscribe {
            unacknowledged_tasks: self.unacknowledged.values().cloned().collect(),
            unacknowledged_updates: (self.outbox.all().into_iter())
                .map(|status| executor::call::Update { status })
                .collect(),
        };
        let call = self.call_of(executor::call::Type::Subscribe, |call| {
            call.subscribe = Some(subscribe);
        });
        out.push(Output::Subscribe(self.stream.number, Box::new(call)));
    }

    pub(super) fn on_stream_ended(
        &mut self,
        now: Time,
        stream: u64,
        why: &str,
        out: &mut Vec<Output>,
    ) {
        if stream != self.stream.number || matches!(self.stream.stage, Stage::Closed(_)) {
            return;
        }
        if self.stream.is_open() {
            tracing::warn!(why, "the connection to the agent is lost");
            self.stream.lost_since = now;
        } else {
            tracing::debug!(why, "the agent can't be subscribed to yet");
        }
        let pause = self.random_pause();
        self.stream.stage = Stage::Closed(now.after(pause));
        if !self.options.checkpoint && self.stream.was_open {
            self.give_agent_up(now, out);
        }
    }

    /// Something between nothing and the longest pause, so that not all executors of an agent come at once.
    fn random_pause(&mut self) -> Duration {
        let uuid = (self.make_uuid)();
        let max = u64::try_from(self.options.backoff_max.as_millis()).unwrap_or(u64::MAX);
        let random = u64::from_be_bytes([
            uuid[8], uuid[9], uuid[10], uuid[11], uuid[12], uuid[13], uuid[14], uuid[15],
        ]);
        Duration::from_millis(random % max.saturating_add(1))
    }

    pub(super) fn on_heard(
        &mut self,
        now: Time,
        stream: u64,
        heard: executor::Event,
        out: &mut Vec<Output>,
    ) {
        if stream != self.stream.number {
            return;
        }
        let kind = heard.r#type.map(event::Type::try_from);
        match (kind, heard) {
            (Some(Ok(event::Type::Subscribed)), heard) => self.on_subscribed(now, heard.subscribed),
            (
                Some(Ok(event::Type::Launch)),
                executor::Event {
                    launch: Some(launch),
                    ..
                },
            ) => {
                self.on_launch(now, launch.task, out);
            }
            (
                Some(Ok(event::Type::LaunchGroup)),
                executor::Event {
                    launch_group: Some(group),
                    ..
                },
            ) => {
                for task in group.task_group.tasks {
                    self.on_launch(now, task, out);
                }
            }
            (
                Some(Ok(event::Type::Kill)),
                executor::Event {
                    kill: Some(kill), ..
                },
            ) => {
                self.on_kill(now, &kill, out);
            }
            (
                Some(Ok(event::Type::Acknowledged)),
                executor::Event {
                    acknowledged: Some(acknowledged),
                    ..
                },
            ) => {
                self.on_acknowledged(&acknowledged);
            }
            (Some(Ok(event::Type::Shutdown)), _) => self.shut_down(now, out),
            (Some(Ok(event::Type::Error)), heard) => {
                let message = heard.error.map(|error| error.message).unwrap_or_default();
                tracing::error!(message, "the agent wants this executor to end");
                self.shut_down(now, out);
            }
            (Some(Ok(event::Type::Heartbeat | event::Type::Message)), _) => {}
            (kind, _) => tracing::warn!(?kind, "an event of the agent that means nothing"),
        }
    }

    fn on_subscribed(&mut self, now: Time, subscribed: Option<event::Subscribed>) {
        if let Stage::Opening { mark } = self.stream.stage {
            self.outbox.all_taken(mark, now);
        }
        tracing::info!("subscribed to the agent");
        self.stream.stage = Stage::Open;
        self.stream.was_open = true;
        self.stream.checked_at = now;
        self.calls_pause_until = None;
        let capabilities = subscribed.map(|subscribed| subscribed.framework_info.capabilities);
        let wanted = capability::Type::TaskKillingState.into();
        self.tells_of_killing = capabilities
            .unwrap_or_default()
            .iter()
            .any(|capability| capability.r#type == Some(wanted));
    }

    fn on_acknowledged(&mut self, acknowledged: &event::Acknowledged) {
        let uuid = acknowledged.uuid.as_ref().try_into();
        if let Ok(uuid) = uuid {
            self.outbox.remove(&uuid);
        }
        self.unacknowledged.remove(&acknowledged.task_id.value);
    }
}
