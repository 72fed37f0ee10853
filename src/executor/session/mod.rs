//! What an executor does and when, without doing it: events in, calls and orders out, time as an argument.
//!
//! ```text
//! agent's events ─┐                ┌─► subscribe, updates
//! calls' answers ─┤                ├─► launch, kill
//! attempts' ends ─┼─ on() ─ Session┼─► upload
//! uploads ────────┤                ├─► forget files
//! time ───────────┘                └─► exit
//! ```
//! Source: "Mesos Executor HTTP API" of the Mesos documentation. The rules that matter:
//! - A task is told to the agent again at each subscription until an update of it was acknowledged.
//! - An update is kept, and sent again, until it was acknowledged; that means that the agent has stored it.
//! - With checkpointing, tasks run on while the agent is away, for as long as the recovery timeout.

mod attempts;
mod ending;
mod outbox;
mod status;
mod stream;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use self::attempts::Attempts;
use self::ending::Ending;
use self::outbox::Outbox;
use self::stream::Stream;
use crate::backend::remote::ended::Ended;
use crate::backend::remote::launch::Upload;
use crate::backend::settings::TaskLimits;
use crate::engine::decision::Launch;
use crate::engine::{AttemptId, Event, Time};
use crate::proto::mesos::v1::executor::{self, Call};
use crate::proto::mesos::v1::{FrameworkId, TaskInfo, TaskStatus};

pub use self::outbox::Uuid;

/// An update that was taken and not acknowledged is sent again after this.
const ACKNOWLEDGE_MAX: Duration = Duration::from_secs(30);

/// After a call that failed, the next is made after this.
const CALL_PAUSE: Duration = Duration::from_millis(500);

/// An executor that never got a task ends after this, or after its idle timeout if that is longer.
const FIRST_TASK_MAX: Duration = Duration::from_secs(120);

/// What a session is told at its beginning.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// For every call.
    pub framework_id: String,
    /// For every call.
    pub executor_id: String,
    /// Whether tasks may outlive a restart of the agent.
    pub checkpoint: bool,
    /// How long to look for a lost agent.
    pub recovery_timeout: Duration,
    /// The longest pause between two tries to subscribe.
    pub backoff_max: Duration,
    /// Between the order to shut down and the agent's SIGKILL.
    pub shutdown_grace: Duration,
    /// How long to wait for another task; `None` for ever.
    pub idle_timeout: Option<Duration>,
    /// How long to keep what attempts wrote.
    pub keep_outputs: Duration,
}

/// What reaches a session.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// From the stream with this number.
    Heard(u64, Box<executor::Event>),
    /// The stream with this number has ended, or didn't begin; why, for people.
    StreamEnded(u64, String),
    /// What became of an update.
    Answered(Uuid, Answer),
    /// From the backend that runs the attempts.
    Backend(Event),
    /// An attempt's value is with the scheduler, or never will be; why, for people.
    Uploaded(AttemptId, Result<(), String>),
    /// The system wants this process to end.
    Terminated,
}

/// What the agent said to an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has taken it.
    Accepted,
    /// It can't take it, ever.
    Refused,
    /// It is not known whether it has taken it, or it can't now.
    Failed,
}

/// What a session wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Open a stream with this number, in place of any other.
    Subscribe(u64, Box<Call>),
    /// Send an update; calls go out one after the other, in this order. To be answered by [`Input::Answered`].
    Update(Uuid, Box<Call>),
    /// Run an attempt, which may take this at most beside its demand.
    Launch(Box<Launch>, Box<TaskLimits>),
    /// End an attempt: SIGTERM, after the grace SIGKILL.
    Kill(AttemptId, Duration),
    /// Bring an attempt's value to the scheduler, and try until it is there, in place of an earlier order for the same
    /// attempt. To be answered by [`Input::Uploaded`].
    Upload(AttemptId, Upload),
    /// Let that be.
    StopUpload(AttemptId),
    /// Remove what an attempt wrote.
    Forget(AttemptId),
    /// End this process. Nothing that runs is to outlive it.
    Exit(ExitReason),
}

/// Why an executor ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// There was nothing to do for long enough.
    Idle,
    /// It was told to.
    Told,
    /// The agent didn't come back in time, or doesn't keep its tasks.
    AgentGone,
}

/// See the module's text.
pub struct Session {
    options: SessionOptions,
    make_uuid: Box<dyn FnMut() -> Uuid + Send>,
    stream: Stream,
    /// Whether the framework knows of `TASK_KILLING`.
    tells_of_killing: bool,
    attempts: Attempts,
    /// Tasks of which no update was acknowledged, by their ids.
    unacknowledged: BTreeMap<String, TaskInfo>,
    outbox: Outbox,
    /// Until then no update is sent, for a call has failed.
    calls_pause_until: Option<Time>,
    /// Attempts that ended, with when what they wrote is to go.
    outputs: VecDeque<(Time, AttemptId)>,
    /// Since when there has been nothing to do.
    idle_since: Option<Time>,
    had_a_task: bool,
    ending: Option<Ending>,
}

impl Session {
    /// Begins. `make_uuid` gives a new one each time.
    #[must_use]
    pub fn new(
        options: SessionOptions,
        now: Time,
        make_uuid: impl FnMut() -> Uuid + Send + 'static,
    ) -> Self {
        Self {
            options,
            make_uuid: Box::new(make_uuid),
            stream: Stream::new(now),
            tells_of_killing: false,
            attempts: Attempts::default(),
            unacknowledged: BTreeMap::new(),
            outbox: Outbox::default(),
            calls_pause_until: None,
            outputs: VecDeque::new(),
            idle_since: Some(now),
            had_a_task: false,
            ending: None,
        }
    }

    /// Takes one input in and gives what is to be done, in this order. Begin with [`Input::Tick`]. After
    /// [`Output::Exit`] nothing more is to be asked.
    pub fn on(&mut self, now: Time, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Tick => {}
            Input::Heard(stream, event) => self.on_heard(now, stream, *event, &mut out),
            Input::StreamEnded(stream, why) => self.on_stream_ended(now, stream, &why, &mut out),
            Input::Answered(uuid, answer) => self.on_answer(now, uuid, answer),
            Input::Backend(event) => self.on_backend(now, event, &mut out),
            Input::Uploaded(attempt, result) => self.on_uploaded(now, attempt, result),
            Input::Terminated => self.shut_down(now, &mut out),
        }
        self.on_time(now, &mut out);
        out
    }

    /// When [`Input::Tick`] is due, if nothing else comes before.
    #[must_use]
    pub fn wake_at(&self) -> Option<Time> {
        let resend = (!self.outbox.is_empty() && self.stream.is_open())
            .then(|| self.stream.checked_at.after(ACKNOWLEDGE_MAX));
        let forget = self.outputs.front().map(|(at, _)| *at);
        let stream = (!self.is_exiting(ExitReason::AgentGone))
            .then(|| self.stream.wake_at(&self.options))
            .flatten();
        let times = [
            stream,
            self.calls_pause_until,
            resend,
            forget,
            self.idle_until(),
            self.ending.as_ref().map(|ending| ending.deadline),
        ];
        times.into_iter().flatten().min()
    }

    fn on_time(&mut self, now: Time, out: &mut Vec<Output>) {
        self.look_for_agent(now, out);
        if self.calls_pause_until.is_some_and(|until| until <= now) {
            self.calls_pause_until = None;
        }
        if self.stream.is_open() && self.stream.checked_at.after(ACKNOWLEDGE_MAX) <= now {
            self.stream.checked_at = now;
            self.outbox.keep_overdue(now, ACKNOWLEDGE_MAX);
        }
        if self.stream.is_open() && self.calls_pause_until.is_none() {
            for (uuid, status) in self.outbox.send_kept() {
                let call = self.call_of(executor::call::Type::Update, |call| {
                    call.update = Some(executor::call::Update { status });
                });
                out.push(Output::Update(uuid, Box::new(call)));
            }
        }
        while let Some((_, attempt)) = self.outputs.front().filter(|(at, _)| *at <= now) {
            out.push(Output::Forget(*attempt));
            self.outputs.pop_front();
        }
        let is_idle =
            self.attempts.is_empty() && self.outbox.is_empty() && self.unacknowledged.is_empty();
        self.idle_since = is_idle.then(|| self.idle_since.unwrap_or(now));
        self.end_if_due(now, out);
    }

    /// Keeps an update of a task, to be sent at once if that can be.
    fn tell(&mut self, status: TaskStatus) {
        let uuid = (self.make_uuid)();
        let status = TaskStatus {
            uuid: Some(uuid.to_vec().into()),
            ..status
        };
        self.outbox.keep(uuid, status);
    }

    fn on_answer(&mut self, now: Time, uuid: Uuid, answer: Answer) {
        match answer {
            Answer::Accepted => self.outbox.taken(&uuid, now),
            Answer::Failed => {
                self.outbox.failed(&uuid);
                self.calls_pause_until = Some(now.after(CALL_PAUSE));
            }
            Answer::Refused => {
                let Some(refused) = self.outbox.remove(&uuid) else {
                    return;
                };
                let task = &refused.task_id.value;
                tracing::error!(task, state = refused.state, "the agent refuses an update");
                // Something about it is beyond this agent. What can be said in few words is worth a try, once.
                if let Some(plain) = status::plain_instead_of(&refused, now) {
                    self.tell(plain);
                } else {
                    self.unacknowledged.remove(task);
                }
            }
        }
    }

    /// A value has arrived at the scheduler, or will not.
    fn on_uploaded(&mut self, now: Time, attempt: AttemptId, result: Result<(), String>) {
        let Some(mut ended) = self.attempts.take_uploading(attempt) else {
            return;
        };
        if let Err(why) = result {
            tracing::warn!(%attempt, why, "a value can't be brought to the scheduler");
            ended = Ended::lost(format!(
                "its value can't be brought to the scheduler: {why}"
            ));
        }
        self.tell_end(now, attempt, &ended);
    }

    /// Tells that an attempt has ended.
    fn tell_end(&mut self, now: Time, attempt: AttemptId, ended: &Ended) {
        self.outputs
            .push_back((now.after(self.options.keep_outputs), attempt));
        self.tell(status::ended(&attempt.to_string(), ended, now));
    }

    /// A call with its body yet to be filled in.
    fn call_of(&self, kind: executor::call::Type, fill: impl FnOnce(&mut Call)) -> Call {
        let mut call = Call {
            executor_id: crate::proto::mesos::v1::ExecutorId {
                value: self.options.executor_id.clone(),
            },
            framework_id: FrameworkId {
                value: self.options.framework_id.clone(),
            },
            r#type: Some(kind.into()),
            ..Call::default()
        };
        fill(&mut call);
        call
    }
}
