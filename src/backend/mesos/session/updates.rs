//! What Mesos says of tasks: statuses to events, and acknowledgements once those are durable.
//!
//! A status with a uuid comes again until it is acknowledged, one without comes once. States are not in order:
//! what was unreachable, unknown or lost may run after all.

use std::sync::Arc;
use std::time::Duration;

use super::{Ack, KillWanted, Session, kind};
use crate::backend::remote::ended::{Ended, Shown, from_bytes};
use crate::backend::remote::launch::parse_attempt;
use crate::engine::outcome::{AttemptEnd, LossReason, Usage, Value, ValueFile};
use crate::engine::{AttemptId, Event, Time};
use crate::proto::mesos::v1::scheduler::{Call, call, event};
use crate::proto::mesos::v1::task_status::{Reason, Source};
use crate::proto::mesos::v1::{AgentId, DurationInfo, KillPolicy, TaskId, TaskState, TaskStatus};

/// What was asked to end is asked again after so long: Mesos doesn't say whether it passed it on.
const KILL_AGAIN: Duration = Duration::from_secs(30);

/// So long after a launch, that nobody knows of it may only mean that it is under way: a master answers an ACCEPT
/// before it has asked its authorizer, and knows the tasks only after that.
const LAUNCH_SETTLES: Duration = Duration::from_secs(30);

/// How many answers in a row must know nothing of an attempt.
const UNKNOWN_MAX: u32 = 2;

/// A uuid has so many bytes.
const UUID_LEN: usize = 16;

/// What a status means for its attempt.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Meaning {
    /// It is there.
    Alive {
        /// And runs.
        runs: bool,
    },
    /// It has ended.
    Ended(Box<Ended>),
    /// It has ended, and how is told by a status that is still to come.
    Wait,
    /// Its agent is out of contact.
    Unreachable,
    /// Mesos knows nothing of it.
    Unknown,
}

/// Reads a status. `is_isolated` is whether the attempt has a container of its own.
pub(super) fn meaning(status: &TaskStatus, is_isolated: bool) -> Option<Meaning> {
    let state = TaskState::try_from(status.state).ok()?;
    let reason = status.reason.and_then(|it| Reason::try_from(it).ok());
    let told = status.data.as_deref().and_then(from_bytes);
    let lost = |reason| Some(Meaning::Ended(Box::new(lost(reason))));
    match state {
        TaskState::TaskStaging | TaskState::TaskStarting | TaskState::TaskKilling => {
            Some(Meaning::Alive { runs: false })
        }
        TaskState::TaskRunning => Some(Meaning::Alive { runs: true }),
        TaskState::TaskUnreachable => Some(Meaning::Unreachable),
        TaskState::TaskUnknown => Some(Meaning::Unknown),
        TaskState::TaskFinished | TaskState::TaskFailed | TaskState::TaskKilled => {
            match (told, &status.uuid) {
                (Some(ended), _) => Some(Meaning::Ended(Box::new(ended))),
                (None, None) => Some(Meaning::Wait),
                (None, Some(_)) => Some(Meaning::Ended(Box::new(without_word(
                    state,
                    reason,
                    is_isolated,
                )))),
            }
        }
        TaskState::TaskError => {
            let message = status.message();
            let is_passing =
                message.contains("more than available") || message.contains("not compatible");
            if is_passing {
                return lost(LossReason::LaunchDropped);
            }
            let message = format!("Mesos refuses the task: {message}").into();
            Some(Meaning::Ended(Box::new(plain(AttemptEnd::NotStarted {
                message,
            }))))
        }
        TaskState::TaskDropped => lost(LossReason::LaunchDropped),
        TaskState::TaskGone if reason == Some(Reason::ExecutorReregistrationTimeout) => {
            lost(LossReason::ExecutorLost)
        }
        TaskState::TaskLost if reason == Some(Reason::InvalidOffers) => {
            lost(LossReason::LaunchDropped)
        }
        TaskState::TaskGone | TaskState::TaskGoneByOperator | TaskState::TaskLost => {
            lost(LossReason::AgentLost)
        }
    }
}

/// Whether the master says of a launch that it came to nothing because its offers were spent.
fn says_offers_are_spent(status: &TaskStatus) -> bool {
    status.reason == Some(Reason::InvalidOffers as i32) && status.uuid.is_none()
}

/// Whether it is the master's answer to a question about a task.
fn is_answer(status: &TaskStatus) -> bool {
    status.reason == Some(Reason::Reconciliation as i32)
        && status.source == Some(Source::Master as i32)
}

/// The end of an attempt of which its executor said nothing.
fn without_word(state: TaskState, reason: Option<Reason>, is_isolated: bool) -> Ended {
    match reason {
        Some(Reason::ContainerLimitationMemory) if is_isolated => plain(AttemptEnd::OutOfMemory),
        Some(Reason::TaskKilledDuringLaunch) => plain(AttemptEnd::Killed),
        Some(Reason::ContainerLaunchFailed | Reason::ExecutorRegistrationTimeout) => {
            lost(LossReason::LaunchDropped)
        }
        Some(Reason::AgentDraining) => lost(LossReason::AgentLost),
        _ if state == TaskState::TaskKilled && reason.is_none() => plain(AttemptEnd::Killed),
        _ => lost(LossReason::ExecutorLost),
    }
}

fn lost(reason: LossReason) -> Ended {
    plain(AttemptEnd::Lost { reason })
}

fn plain(end: AttemptEnd) -> Ended {
    Ended {
        end,
        lost_because: None,
        usage: Usage::default(),
        shown: Shown::Inline(Value::default()),
    }
}

impl Session {
    /// Takes in a status.
    pub(super) fn updated(&mut self, now: Time, status: TaskStatus) {
        let is_ours = parse_attempt(&status.task_id.value)
            .filter(|attempt| self.attempts.contains_key(attempt));
        match is_ours {
            Some(attempt) => self.updated_attempt(now, attempt, &status),
            None => self.updated_stray(now, &status),
        }
        // After what it brought, and also where that is known already: only then does the next one come.
        let uuid = status.uuid.filter(|uuid| uuid.len() == UUID_LEN);
        if let (Some(uuid), Some(agent)) = (uuid, status.agent_id) {
            let task = status.task_id;
            let receipt = self.next_receipt;
            self.acks.push_back((receipt, Ack { agent, task, uuid }));
            self.needs_receipt = true;
        }
    }

    fn updated_attempt(&mut self, now: Time, attempt: AttemptId, status: &TaskStatus) {
        let executor = status.executor_id.as_ref();
        let is_isolated = executor.is_some_and(|id| id.value == attempt.to_string());
        let Some(meaning) = meaning(status, is_isolated) else {
            tracing::warn!(%attempt, state = status.state, "an unknown state of a task is ignored");
            return;
        };
        if let Some(round) = &mut self.round
            && meaning != Meaning::Unknown
        {
            round.remaining.remove(&attempt);
        }
        let mut is_doubtful = false;
        if let Some(live) = self.attempts.get_mut(&attempt) {
            live.heard_at = now;
            is_doubtful = live.is_doubtful && is_answer(status);
        }
        match meaning {
            Meaning::Ended(_) | Meaning::Unknown if is_doubtful => {
                self.lose(attempt, LossReason::LaunchDropped);
            }
            Meaning::Alive { runs } => self.alive(attempt, runs),
            Meaning::Ended(_) if says_offers_are_spent(status) => self.doubt(now, attempt),
            Meaning::Ended(ended) if self.may_be_under_way(now, attempt, status) => {
                tracing::debug!(%attempt, ?ended, "asking again: it was launched just now");
                self.ask_again(attempt);
            }
            Meaning::Ended(ended) => {
                if let Some(because) = ended.lost_because.as_deref().or(status.message.as_deref()) {
                    tracing::debug!(%attempt, because, end = ?ended.end, "an attempt ended");
                }
                let value = match ended.shown {
                    Shown::Inline(value) => value,
                    Shown::Uploaded(n_bytes) => Value {
                        file: Some(ValueFile {
                            attempt: attempt.number,
                            n_bytes,
                        }),
                        ..Value::default()
                    },
                };
                self.end(attempt, ended.end, ended.usage, value);
            }
            Meaning::Wait => {}
            Meaning::Unreachable => {
                self.unreachable.entry(attempt).or_insert(now);
            }
            Meaning::Unknown => self.unknown(now, attempt),
        }
    }

    fn alive(&mut self, attempt: AttemptId, runs: bool) {
        self.unreachable.remove(&attempt);
        let Some(live) = self.attempts.get_mut(&attempt) else {
            return;
        };
        live.n_unknown = 0;
        live.is_doubtful = false;
        if runs && !live.is_started {
            live.is_started = true;
            self.tell(Event::AttemptStarted { attempt });
        }
    }

    /// The offers of a launch were spent. That is also said where the call came twice, and then the first one has
    /// launched it: the master's answer to a question tells.
    fn doubt(&mut self, now: Time, attempt: AttemptId) {
        if let Some(live) = self.attempts.get_mut(&attempt) {
            live.is_doubtful = true;
            self.ask_about(now, vec![attempt]);
        }
    }

    /// Whether an answer of the master about a task that its agent doesn't have may be too early.
    fn may_be_under_way(&self, now: Time, attempt: AttemptId, status: &TaskStatus) -> bool {
        is_answer(status)
            && status.state == TaskState::TaskGone as i32
            && self.is_fresh(now, attempt)
    }

    fn is_fresh(&self, now: Time, attempt: AttemptId) -> bool {
        // The last daemon may have launched it just before this one began.
        let live = self.attempts.get(&attempt);
        let launched_at = live.map(|it| it.launched_at.unwrap_or(self.began));
        launched_at.is_some_and(|at| now < at.after(LAUNCH_SETTLES))
    }

    fn unknown(&mut self, now: Time, attempt: AttemptId) {
        let is_fresh = self.is_fresh(now, attempt);
        let Some(live) = self.attempts.get_mut(&attempt) else {
            return;
        };
        live.n_unknown += 1;
        if is_fresh || live.n_unknown < UNKNOWN_MAX {
            self.ask_again(attempt);
        } else {
            self.lose(attempt, LossReason::AgentLost);
        }
    }

    /// A task that nobody here waits for: it is no more, or it was replaced, or it was never ours to know.
    fn updated_stray(&mut self, now: Time, status: &TaskStatus) {
        let id = &status.task_id.value;
        match meaning(status, false) {
            Some(Meaning::Alive { .. }) => {
                if !self.strays.contains_key(id) {
                    tracing::warn!(task = id, "a task runs that was given up; killing it");
                    self.strays.insert(id.clone(), now.after(KILL_AGAIN));
                    self.call_kill(id, None, None);
                }
            }
            Some(Meaning::Ended(_) | Meaning::Wait | Meaning::Unknown) => {
                self.strays.remove(id);
            }
            Some(Meaning::Unreachable) | None => {}
        }
    }

    /// Acknowledges what is durable up to this receipt.
    pub(super) fn acknowledge(&mut self, receipt: u64) {
        while let Some((_, ack)) = self.acks.pop_front_if(|(asked, _)| *asked <= receipt) {
            self.call(Call {
                acknowledge: Some(call::Acknowledge {
                    agent_id: ack.agent,
                    task_id: ack.task,
                    uuid: ack.uuid,
                }),
                ..kind(call::Type::Acknowledge)
            });
        }
    }

    /// Ends an attempt; asked again until it has ended.
    pub(super) fn kill(&mut self, now: Time, attempt: AttemptId, grace: Duration) {
        let Some(live) = self.attempts.get(&attempt) else {
            // It ended on its own, or never was: there is nothing left of it.
            self.end(
                attempt,
                AttemptEnd::Killed,
                Usage::default(),
                Value::default(),
            );
            return;
        };
        let agent = Arc::clone(&live.agent);
        let wanted = KillWanted {
            grace: Some(grace),
            again_at: now.after(KILL_AGAIN),
        };
        self.kills.insert(attempt, wanted);
        self.call_kill(&attempt.to_string(), Some(&agent), Some(grace));
    }

    fn call_kill(&mut self, task: &str, agent: Option<&str>, grace: Option<Duration>) {
        self.call(Call {
            kill: Some(call::Kill {
                task_id: TaskId {
                    value: task.to_owned(),
                },
                agent_id: agent.map(|agent| AgentId {
                    value: agent.to_owned(),
                }),
                kill_policy: grace.map(|grace| KillPolicy {
                    grace_period: Some(DurationInfo {
                        nanoseconds: i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX),
                    }),
                }),
            }),
            ..kind(call::Type::Kill)
        });
    }

    /// Asks again for the kills that are due, or for all of them on a new subscription.
    pub(super) fn kill_again(&mut self, now: Time, all: bool) {
        let is_due = |at: Time| all || at <= now;
        let due: Vec<(AttemptId, Option<Duration>)> = (self.kills.iter_mut())
            .filter(|(_, wanted)| is_due(wanted.again_at))
            .map(|(attempt, wanted)| {
                wanted.again_at = now.after(KILL_AGAIN);
                (*attempt, wanted.grace)
            })
            .collect();
        for (attempt, grace) in due {
            let agent = self.attempts.get(&attempt).map(|it| Arc::clone(&it.agent));
            self.call_kill(&attempt.to_string(), agent.as_deref(), grace);
        }
        // A stray that still runs shows up again by itself.
        self.strays.retain(|_, again_at| !is_due(*again_at));
    }

    /// Something failed, perhaps; statuses tell what.
    pub(super) fn failed(&mut self, now: Time, failure: &event::Failure) {
        let Some(agent) = &failure.agent_id else {
            return;
        };
        match &failure.executor_id {
            Some(executor) => self.lose_executor(&agent.value, &executor.value),
            None => {
                let agent: Arc<str> = agent.value.as_str().into();
                self.lose_agent(&agent);
                self.ask_about_agent(now, &agent);
            }
        }
    }
}
