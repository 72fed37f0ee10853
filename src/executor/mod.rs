//! The executor: what a Mesos agent starts to run tasks, `apportion executor`.
//!
//! ```text
//! agent ── events ──► session ──► local backend ──► keeper ──► attempts
//!       ◄─ updates ──         ◄──
//! ```
//! It is the [local backend](crate::backend::local) on another machine: process groups, graces, limits and
//! measurements are the same code. What is added is the conversation with the agent ([`session`], which is pure) and
//! the way of large values to the scheduler. Reading order: [`environment`], [`session`], `agent`, `upload`, this file.
//!
//! Attempts never outlive it: should it be killed, its keeper ends them.

mod agent;
pub mod environment;
pub mod session;
mod upload;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::mpsc;

use self::agent::Agent;
use self::environment::{AgentEnvironment, EnvironmentError};
use self::session::{ExitReason, Input, Output, Session, SessionOptions, Uuid};
use self::upload::Uploads;
use crate::backend::Backend;
use crate::backend::local::{AGENT, LocalBackend, LocalError, LocalOptions, layout};
use crate::backend::remote::TASKS_DIR;
pub use crate::backend::remote::command::ExecutorOptions;
use crate::backend::settings::{Containment, Containments, LimitMode, LocalConfig, TaskLimits};
use crate::backend::values::{VALUES_DIR, Values};
use crate::clock::Steady;
use crate::engine::decision::Launch;
use crate::engine::{Decision, Event};

/// How many inputs wait for the session. Whoever finds it full waits: a backend with many ends, an agent with many launches.
const INPUTS_MAX: usize = 1024;

/// How long what still runs has when the executor ends; [`session`] has given it more before.
const EXIT_GRACE: Duration = Duration::from_secs(1);

/// Why an executor doesn't run, or doesn't any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorError {
    /// It was not started by an agent.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// What runs the attempts.
    #[error(transparent)]
    Backend(#[from] LocalError),
    /// The system refuses something that every program gets.
    #[error("the system refuses what an executor needs: {0}")]
    System(#[from] io::Error),
    /// The agent is gone for good.
    #[error("the agent did not come back in time")]
    AgentGone,
}

/// Runs until the agent wants it to end, is gone for good, or has nothing more to do. None of its attempts is
/// alive then.
///
/// # Errors
/// See [`ExecutorError`].
pub fn run(agent: &AgentEnvironment, options: &ExecutorOptions) -> Result<(), ExecutorError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let reason = runtime.block_on(async {
        let mut executor = Executor::start(agent, options)?;
        let reason = executor.run().await;
        executor.backend.shut_down();
        reason
    })?;
    match reason {
        ExitReason::Idle | ExitReason::Told => Ok(()),
        ExitReason::AgentGone => Err(ExecutorError::AgentGone),
    }
}

/// What carries a session's wishes out.
struct Executor {
    session: Session,
    clock: Steady,
    agent: Agent,
    backend: LocalBackend,
    uploads: Uploads,
    /// To the task that sends them one after the other. Without a bound of its own, but holds no more than the session
    /// keeps, and each update once.
    updates: mpsc::UnboundedSender<(Uuid, Bytes)>,
    own_inputs: mpsc::Sender<Input>,
    inputs: mpsc::Receiver<Input>,
    tasks_dir: PathBuf,
    values: Values,
    /// What was last said of the limits of each queue's tasks.
    containments: Containments,
}

impl Executor {
    fn start(
        environment: &AgentEnvironment,
        options: &ExecutorOptions,
    ) -> Result<Self, ExecutorError> {
        let (own_inputs, inputs) = mpsc::channel(INPUTS_MAX);
        let tasks_dir = environment.sandbox.join(TASKS_DIR);
        let on_events = {
            let inputs = own_inputs.clone();
            move |events: Vec<Event>| {
                let mut events = events.into_iter().map(Input::Backend);
                events.all(|input| inputs.blocking_send(input).is_ok())
            }
        };
        let local_options = LocalOptions {
            shut_down_grace: EXIT_GRACE,
            ..LocalOptions::new(&tasks_dir)
        };
        let mut backend = LocalBackend::start(&local_config(options), &local_options, on_events)?;
        backend.reconcile(Vec::new());
        let agent = Agent::new(environment)?;
        let (updates, waiting) = mpsc::unbounded_channel();
        tokio::spawn(agent.clone().send_updates(waiting, own_inputs.clone()));
        let clock = Steady::start();
        let session_options = SessionOptions {
            framework_id: environment.framework_id.clone(),
            executor_id: environment.executor_id.clone(),
            checkpoint: environment.checkpoint,
            recovery_timeout: environment.recovery_timeout,
            backoff_max: environment.backoff_max,
            shutdown_grace: environment.shutdown_grace,
            idle_timeout: options.idle_timeout,
            keep_outputs: options.keep_outputs,
        };
        Ok(Self {
            session: Session::new(session_options, clock.now(), make_uuid),
            clock,
            agent,
            backend,
            uploads: Uploads::new(own_inputs.clone(), options.daemon_ca.as_deref())?,
            updates,
            own_inputs,
            inputs,
            tasks_dir,
            values: Values::new(environment.sandbox.join(VALUES_DIR)),
            containments: Containments::default(),
        })
    }

    /// Until the session wants to end.
    async fn run(&mut self) -> Result<ExitReason, ExecutorError> {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        let mut input = Input::Tick;
        loop {
            for output in self.session.on(self.clock.now(), input) {
                if let Some(reason) = self.act(output) {
                    return Ok(reason);
                }
            }
            let now = self.clock.now();
            let pause = self.session.wake_at().map(|at| at.since(now));
            let sleep = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            input = tokio::select! {
                // It can't be closed: this end holds a sender too.
                input = self.inputs.recv() => input.unwrap_or(Input::Tick),
                _ = terminate.recv() => Input::Terminated,
                _ = interrupt.recv() => Input::Terminated,
                () = sleep => Input::Tick,
            };
        }
    }

    /// Does what the session wants; the reason where that is to end.
    fn act(&mut self, output: Output) -> Option<ExitReason> {
        match output {
            Output::Subscribe(stream, call) => {
                let agent = self.agent.clone();
                tokio::spawn(agent.listen(stream, *call, self.own_inputs.clone()));
            }
            Output::Update(uuid, call) => {
                // Its receiver ends with this process only.
                let _ = self.updates.send((uuid, call.encode_to_vec().into()));
            }
            Output::Launch(launch, limits) => self.launch(*launch, *limits),
            Output::Kill(attempt, grace) => self.backend.act(Decision::Kill { attempt, grace }),
            Output::Upload(attempt, to) => {
                let file = self.values.path(attempt);
                self.uploads.start(attempt, to, file);
            }
            Output::StopUpload(attempt) => self.uploads.stop(attempt),
            Output::Forget(attempt) => {
                if let Err(error) = layout::remove_attempt_files(&self.tasks_dir, attempt) {
                    tracing::warn!(%attempt, %error, "cannot remove what an attempt wrote");
                }
            }
            Output::Exit(reason) => {
                tracing::info!(?reason, "ending");
                return Some(reason);
            }
        }
        None
    }

    fn launch(&mut self, launch: Launch, limits: TaskLimits) {
        let queue = &launch.submission.spec.queue;
        if self.containments.queues.get(queue).map(|it| &it.limits) != Some(&limits) {
            let own = Containment { user: None, limits };
            self.containments.queues.insert(Arc::clone(queue), own);
            self.backend.reloader().replace(self.containments.clone());
        }
        self.backend.act(Decision::Accept {
            agent: AGENT.into(),
            offers: Vec::new(),
            launches: vec![launch],
        });
    }
}

/// A backend that has nothing of its own to offer: what is launched was offered by Mesos.
fn local_config(options: &ExecutorOptions) -> LocalConfig {
    let nothing = ["cpus", "mem"].map(|name| (name.into(), apportion_policies::Amount::default()));
    LocalConfig {
        resources: nothing.into(),
        attributes: BTreeMap::new(),
        limits: LimitMode::Auto,
        python: options.python.clone(),
        containments: Containments::default(),
    }
}

/// Random bytes, marked as a UUID of version 4.
fn make_uuid() -> Uuid {
    let mut uuid = Uuid::default();
    getrandom::fill(&mut uuid).expect("the system has random bytes");
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}
