//! Replays a workload: jobs come when they came, run as long as they ran, and the engine decides when they start.
//!
//! Agents always offer what is free, as the backends do. An event, for what is said of speed, is a submission, a
//! start or an end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::Registry;

use super::agents::{AgentSpec, Agents};
use super::batch;
use super::trace::Job;
use crate::engine::outcome::Value;
use crate::engine::request::NewTask;
use crate::engine::spec::{Run as Runs, TaskSpec};
use crate::engine::{
    AttemptEnd, AttemptId, Decision, Engine, EngineSettings, Event, Output, Refusal, Reply,
    Request, Time, Usage,
};

/// Between two calls that tell of progress, in jobs.
const PROGRESS_STEP: u64 = 1024;

/// How many timers in a row may fire without anything coming of them, once nothing runs and nothing is still to
/// come: then nothing more ever will.
const IDLE_TIMERS_MAX: u32 = 1000;

/// When a replay begins; the trace's first job is submitted then.
const BEGINNING: Time = Time(0);

/// What came of a replay.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// When each job started, in milliseconds; `None` for one that never did. In the order of the trace.
    pub started: Vec<Option<u64>>,
    /// The jobs that were refused, by their place in the trace, and why.
    pub refused: Vec<(usize, Refusal)>,
    /// When the last job ended, in milliseconds.
    pub ended: u64,
    /// Submissions, starts and ends.
    pub n_events: u64,
    /// How many times the policy chose a task.
    pub n_decided: u64,
}

/// Replays jobs, which stand in order of submission. `progress` is told from time to time how many have ended.
///
/// # Panics
/// If the settings name a policy that the registry doesn't know.
pub fn replay(
    settings: &EngineSettings,
    agents: &[AgentSpec],
    jobs: &[Job],
    registry: &Registry,
    progress: &mut dyn FnMut(u64),
) -> Replayed {
    let mut replay = Replay::new(settings, agents, jobs, registry);
    let mut n_told = 0;
    let mut n_idle = 0;
    while let Some(next) = replay.next_time() {
        let is_timer_only = replay.running.is_empty() && replay.n_submitted == jobs.len();
        n_idle = if is_timer_only { n_idle + 1 } else { 0 };
        if n_idle > IDLE_TIMERS_MAX {
            break;
        }
        replay.now = next.max(replay.now);
        replay.turn(jobs);
        if replay.n_ended >= n_told + PROGRESS_STEP {
            n_told = replay.n_ended;
            progress(n_told);
        }
    }
    replay.result
}

/// An attempt that runs: when it ends, in the order in which it was launched, and as which job.
type Running = Reverse<(Time, u64, AttemptId, usize)>;

/// Room for one turn, kept from turn to turn.
#[derive(Default)]
struct Room {
    events: Vec<Event>,
    requests: Vec<Request>,
    /// The agents on which something has ended.
    freed: Vec<Arc<str>>,
    out: Output,
    replies: Vec<Result<Reply, Refusal>>,
}

struct Replay {
    engine: Engine,
    now: Time,
    agents: Agents,
    /// What has happened by the time anything else does: starts, and offers of what launches left. Nothing could go
    /// on those when they were made, so they need no turn of their own.
    coming: Vec<Event>,
    running: BinaryHeap<Running>,
    /// The agent of each job that runs or ran.
    places: Vec<Option<Arc<str>>>,
    /// The job of each task: ids are given in order from 1.
    job_of: Vec<usize>,
    n_submitted: usize,
    n_launched: u64,
    n_ended: u64,
    next_submission: Option<Time>,
    room: Room,
    result: Replayed,
}

impl Replay {
    fn new(
        settings: &EngineSettings,
        agents: &[AgentSpec],
        jobs: &[Job],
        registry: &Registry,
    ) -> Self {
        let mut engine = Engine::with_registry(settings.clone(), registry.clone());
        engine.recovered(BEGINNING);
        let mut simulated = Agents::default();
        let mut coming: Vec<Event> = Vec::new();
        coming.extend(agents.iter().map(|agent| simulated.join(agent.clone())));
        for agent in agents {
            coming.extend(simulated.offer(&agent.name).map(|(_, event)| event));
        }
        Self {
            engine,
            now: BEGINNING,
            agents: simulated,
            coming,
            running: BinaryHeap::new(),
            places: vec![None; jobs.len()],
            job_of: Vec::with_capacity(jobs.len()),
            n_submitted: 0,
            n_launched: 0,
            n_ended: 0,
            next_submission: jobs.first().map(|job| Time(job.submitted)),
            room: Room::default(),
            result: Replayed {
                started: vec![None; jobs.len()],
                refused: Vec::new(),
                ended: 0,
                n_events: 0,
                n_decided: 0,
            },
        }
    }

    /// When something happens next.
    fn next_time(&self) -> Option<Time> {
        let end = self.running.peek().map(|Reverse((at, ..))| *at);
        let times = [end, self.next_submission, self.engine.wake_at()];
        times.into_iter().flatten().min()
    }

    /// One turn of the driver: what happened, what is asked for, the engine, its decisions.
    fn turn(&mut self, jobs: &[Job]) {
        let mut room = std::mem::take(&mut self.room);
        let Room {
            events,
            requests,
            freed,
            out,
            replies,
        } = &mut room;
        std::mem::swap(events, &mut self.coming);
        while let Some(Reverse((at, _, attempt, job))) = self.running.peek().copied()
            && at <= self.now
        {
            self.running.pop();
            self.ended(attempt, &jobs[job], job, events, freed);
        }
        freed.sort_unstable();
        freed.dedup();
        for agent in freed.drain(..) {
            events.extend(self.agents.offer(&agent).map(|(_, event)| event));
        }
        while let Some(job) = jobs.get(self.n_submitted)
            && Time(job.submitted) <= self.now
        {
            requests.push(submission(job));
            self.job_of.push(self.n_submitted);
            self.n_submitted += 1;
        }
        self.next_submission = jobs.get(self.n_submitted).map(|job| Time(job.submitted));
        self.result.n_events += requests.len() as u64;
        let n_requests = requests.len();
        let (events, requests) = (events.drain(..), requests.drain(..));
        batch::run_into(&mut self.engine, self.now, events, requests, out, replies);
        self.note_refused(replies, n_requests);
        replies.clear();
        self.result.n_decided += std::mem::take(&mut out.n_decided);
        out.facts.clear();
        out.choices.clear();
        for decision in out.decisions.drain(..) {
            self.act(decision, jobs);
        }
        self.room = room;
    }

    fn note_refused(&mut self, replies: &[Result<Reply, Refusal>], n_requests: usize) {
        if replies.iter().all(Result::is_ok) {
            return;
        }
        let before = self.job_of.len() - n_requests;
        let asked = self.job_of.split_off(before);
        for (reply, job) in replies.iter().zip(asked) {
            match reply {
                Ok(Reply::Submitted(_) | Reply::State(_) | Reply::Done) => self.job_of.push(job),
                Err(refusal) => self.result.refused.push((job, refusal.clone())),
            }
        }
    }

    fn ended(
        &mut self,
        attempt: AttemptId,
        job: &Job,
        place: usize,
        events: &mut Vec<Event>,
        freed: &mut Vec<Arc<str>>,
    ) {
        self.n_ended += 1;
        self.result.n_events += 1;
        self.result.ended = self.now.0;
        if let Some(agent) = &self.places[place] {
            self.agents.ended(agent, &job.demand);
            freed.push(Arc::clone(agent));
        }
        events.push(Event::AttemptEnded {
            attempt,
            end: AttemptEnd::Exited { code: 0 },
            usage: Usage {
                wall: Duration::from_millis(job.run_time),
                ..Usage::default()
            },
            value: Value::default(),
        });
    }

    fn act(&mut self, decision: Decision, jobs: &[Job]) {
        let Decision::Accept {
            agent, launches, ..
        } = decision
        else {
            // Nothing here has a timeout, and nobody cancels.
            return;
        };
        for launch in launches {
            let task = usize::try_from(launch.attempt.task.0).unwrap_or(usize::MAX);
            let place = self.job_of[task - 1];
            let job = &jobs[place];
            self.agents.launched(&agent, &job.demand);
            self.places[place] = Some(Arc::clone(&agent));
            self.result.started[place] = Some(self.now.0);
            self.result.n_events += 1;
            self.n_launched += 1;
            let end = self.now.after(Duration::from_millis(job.run_time));
            self.running
                .push(Reverse((end, self.n_launched, launch.attempt, place)));
            self.coming.push(Event::AttemptStarted {
                attempt: launch.attempt,
            });
        }
        self.agents.end_offers(&agent);
        let rest = self.agents.offer(&agent);
        self.coming.extend(rest.map(|(_, event)| event));
    }
}

fn submission(job: &Job) -> Request {
    let spec = TaskSpec {
        queue: Arc::clone(&job.queue),
        name: "".into(),
        key: None,
        inbox: None,
        demand: Arc::clone(&job.demand),
        run: Runs::Command("".into()),
        env: std::collections::BTreeMap::new(),
        priority: job.priority,
        retries: 0,
        timeout: None,
        kill_grace: None,
        constraints: Arc::clone(&job.constraints),
        array: None,
    };
    let task = NewTask {
        spec,
        after: Vec::new(),
        digest: [0; 16],
    };
    Request::Submit { tasks: vec![task] }
}
