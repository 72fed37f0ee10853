//! The attempts of an executor, from their launch to the telling of their end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::{Output, Session, status};
use crate::backend::remote::ended::{Ended, Shown};
use crate::backend::remote::launch::{self, Upload};
use crate::engine::outcome::Value;
use crate::engine::{AttemptEnd, AttemptId, Event, Time};
use crate::proto::mesos::v1::executor::event;
use crate::proto::mesos::v1::{KillPolicy, TaskInfo, TaskState};

/// Between SIGTERM and SIGKILL where nobody says.
const KILL_GRACE: Duration = Duration::from_secs(10);

/// So many attempts are remembered that have ended, should the agent launch one again.
const REMEMBERED_MAX: usize = 10_000;

/// An attempt that was launched and whose end has not been told.
#[derive(Debug)]
struct Attempt {
    /// Where its value goes.
    upload: Option<Upload>,
    /// Between SIGTERM and SIGKILL, unless whoever wants it killed says otherwise.
    grace: Duration,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// It runs, or is about to.
    Running,
    /// It was told to end.
    Killing,
    /// It has ended, and its value is on its way to the scheduler.
    Uploading(Box<Ended>),
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    alive: BTreeMap<AttemptId, Attempt>,
    /// Those that ended of late, oldest first, and the same in order.
    ended: VecDeque<AttemptId>,
    ended_set: BTreeSet<AttemptId>,
    /// Where the scheduler was when it last launched something.
    url: String,
}

impl Attempts {
    pub(super) fn is_empty(&self) -> bool {
        self.alive.is_empty()
    }

    /// An attempt whose value was being uploaded; it is over now.
    pub(super) fn take_uploading(&mut self, id: AttemptId) -> Option<Ended> {
        let Stage::Uploading(_) = self.alive.get(&id)?.stage else {
            return None;
        };
        match self.remove(id)?.stage {
            Stage::Uploading(ended) => Some(*ended),
            Stage::Running | Stage::Killing => None,
        }
    }

    fn is_known(&self, id: AttemptId) -> bool {
        self.alive.contains_key(&id) || self.ended_set.contains(&id)
    }

    fn remove(&mut self, id: AttemptId) -> Option<Attempt> {
        let attempt = self.alive.remove(&id)?;
        self.ended.push_back(id);
        self.ended_set.insert(id);
        if self.ended.len() > REMEMBERED_MAX
            && let Some(oldest) = self.ended.pop_front()
        {
            self.ended_set.remove(&oldest);
        }
        Some(attempt)
    }
}

impl Session {
    pub(super) fn on_launch(&mut self, now: Time, task: TaskInfo, out: &mut Vec<Output>) {
        let id = task.task_id.value.clone();
        let data = task.data.clone().unwrap_or_default();
        let grace = grace_of(task.kill_policy.as_ref());
        let read = launch::from_bytes(&id, &data);
        if let Ok(received) = &read
            && self.attempts.is_known(received.launch.attempt)
        {
            tracing::warn!(id, "launched again: the first one counts");
            return;
        }
        self.had_a_task = true;
        self.unacknowledged.insert(id.clone(), task);
        let launch::Received {
            launch,
            upload,
            limits,
        } = match read {
            Ok(received) => received,
            Err(error) => {
                tracing::error!(id, %error, "a task that can't be launched");
                let end = AttemptEnd::NotStarted {
                    message: error.to_string().into(),
                };
                self.tell(status::ended(&id, &Ended::of(end), now));
                return;
            }
        };
        if self.ending.is_some() {
            let ended = Ended::lost("its executor was about to end".to_owned());
            self.tell(status::ended(&id, &ended, now));
            return;
        }
        if let Some(upload) = &upload
            && self.attempts.url != upload.url
        {
            self.attempts.url.clone_from(&upload.url);
            self.upload_elsewhere(out);
        }
        let attempt = Attempt {
            upload,
            grace: grace.unwrap_or(KILL_GRACE),
            stage: Stage::Running,
        };
        self.attempts.alive.insert(launch.attempt, attempt);
        out.push(Output::Launch(Box::new(launch), Box::new(limits)));
    }

    /// The scheduler has moved: what waits for it goes to its new place.
    fn upload_elsewhere(&mut self, out: &mut Vec<Output>) {
        for (id, attempt) in &mut self.attempts.alive {
            if let (Stage::Uploading(_), Some(upload)) = (&attempt.stage, &mut attempt.upload) {
                upload.url.clone_from(&self.attempts.url);
                out.push(Output::Upload(*id, upload.clone()));
            }
        }
    }

    pub(super) fn on_kill(&mut self, now: Time, kill: &event::Kill, out: &mut Vec<Output>) {
        let id = &kill.task_id.value;
        let attempt = launch::parse_attempt(id);
        let Some(attempt) = attempt.filter(|id| self.attempts.alive.contains_key(id)) else {
            tracing::debug!(id, "told to kill what doesn't run");
            return;
        };
        self.kill(now, attempt, grace_of(kill.kill_policy.as_ref()), out);
    }

    /// Ends an attempt; again where that was asked for before, perhaps with less grace.
    fn kill(&mut self, now: Time, id: AttemptId, grace: Option<Duration>, out: &mut Vec<Output>) {
        let Some(attempt) = self.attempts.alive.get_mut(&id) else {
            return;
        };
        let grace = grace.unwrap_or(attempt.grace);
        let is_first = match &attempt.stage {
            Stage::Uploading(_) => {
                // Nobody wants the value any more.
                out.push(Output::StopUpload(id));
                if let Some(ended) = self.attempts.take_uploading(id) {
                    let shown = Shown::Inline(Value::default());
                    let end = AttemptEnd::Killed;
                    self.tell_end(
                        now,
                        id,
                        &Ended {
                            end,
                            shown,
                            ..ended
                        },
                    );
                }
                return;
            }
            Stage::Running => true,
            Stage::Killing => false,
        };
        attempt.stage = Stage::Killing;
        if is_first && self.tells_of_killing {
            self.tell(status::alive(&id.to_string(), TaskState::TaskKilling, now));
        }
        out.push(Output::Kill(id, grace));
    }

    /// Ends all attempts, none with more than this grace.
    pub(super) fn kill_all(&mut self, now: Time, grace_max: Duration, out: &mut Vec<Output>) {
        let graces: Vec<(AttemptId, Duration)> = (self.attempts.alive.iter())
            .map(|(id, attempt)| (*id, attempt.grace.min(grace_max)))
            .collect();
        for (id, grace) in graces {
            self.kill(now, id, Some(grace), out);
        }
    }

    /// What the backend says of the attempts.
    pub(super) fn on_backend(&mut self, now: Time, event: Event, out: &mut Vec<Output>) {
        // What it says of the machine, Mesos knows for itself.
        if let Event::AttemptStarted { attempt } = event {
            if self.attempts.alive.contains_key(&attempt) {
                self.tell(status::alive(
                    &attempt.to_string(),
                    TaskState::TaskRunning,
                    now,
                ));
            }
        } else if let Event::AttemptEnded {
            attempt,
            end,
            usage,
            value,
        } = event
        {
            let ended = Ended {
                usage,
                ..Ended::of(end)
            };
            self.on_ended(now, attempt, ended, value, out);
        }
    }

    fn on_ended(
        &mut self,
        now: Time,
        id: AttemptId,
        mut ended: Ended,
        value: Value,
        out: &mut Vec<Output>,
    ) {
        let Some(attempt) = self.attempts.alive.get_mut(&id) else {
            return;
        };
        let Some(file) = value.file else {
            ended.shown = Shown::Inline(value);
            self.attempts.remove(id);
            self.tell_end(now, id, &ended);
            return;
        };
        ended.shown = Shown::Uploaded(file.n_bytes);
        match &mut attempt.upload {
            Some(upload) => {
                upload.url.clone_from(&self.attempts.url);
                out.push(Output::Upload(id, upload.clone()));
                attempt.stage = Stage::Uploading(Box::new(ended));
            }
            None => {
                self.attempts.remove(id);
                let why = "its scheduler takes no values that are kept as files";
                self.tell_end(now, id, &Ended::lost(why.to_owned()));
            }
        }
    }
}

fn grace_of(policy: Option<&KillPolicy>) -> Option<Duration> {
    let nanoseconds = policy?.grace_period.as_ref()?.nanoseconds;
    Some(Duration::from_nanos(nanoseconds.try_into().unwrap_or(0)))
}
