//! Task objects as they are submitted: what may stand in each field, and the way from there to the engine.
//!
//! What one field alone shows to be wrong is refused while it is read, so that the error knows its path,
//! line and column. What takes several fields together is checked in [`NewTaskJson::resolve`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::Amount;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::amount::read_duration;
use super::field::{self, Demand, Texts};
use super::schema::{IdOrKey, NumberOrText};
use crate::api::digest;
use crate::engine::TaskSpec;
use crate::engine::request::{After, NewTask};
use crate::engine::spec::{ArrayRange, Run};

/// The most task objects in one call.
pub const TASKS_MAX: usize = 10_000;
/// The longest command line, argument or `NAME=value`: what Linux takes, without the byte that ends it.
pub const ARGUMENT_BYTES_MAX: usize = 128 * 1024 - 1;
/// The most bytes of command and environment together; half of what Linux takes with its usual stack.
pub const ARGUMENTS_BYTES_MAX: usize = 1024 * 1024;

/// Many task objects, taken in all or none.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTasksJson {
    /// At most 10,000.
    #[serde(deserialize_with = "field::objects")]
    #[schema(max_items = 10_000)]
    pub tasks: Vec<NewTaskJson>,
}

/// A task object: one task, or an array of them.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTaskJson {
    /// The path of a leaf queue.
    #[serde(default = "default_queue", deserialize_with = "field::queue")]
    #[schema(default = "default", max_length = 512)]
    queue: String,
    /// For people.
    #[serde(default, deserialize_with = "field::name")]
    #[schema(max_length = 256)]
    name: String,
    /// Makes the submission idempotent: the same key with the same task gives the first id again.
    #[serde(default, deserialize_with = "field::key")]
    #[schema(max_length = 256)]
    key: Option<String>,
    /// Where the finished task waits for whoever submitted it.
    #[serde(default, deserialize_with = "field::inbox")]
    #[schema(max_length = 256)]
    inbox: Option<String>,
    /// What it consumes, by resource: numbers or texts with at most three decimals, `mem` and `disk` as
    /// `"4GiB"` or in MiB. What it doesn't name is taken from the configuration's `tasks.demand`.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, NumberOrText>, example = json!({"cpus": 2, "mem": "4GiB"}))]
    demand: Demand,
    /// What to run.
    #[serde(deserialize_with = "field::object")]
    run: NewRunJson,
    /// Added to the environment.
    #[serde(default, deserialize_with = "field::env")]
    #[schema(value_type = BTreeMap<String, String>)]
    env: Texts,
    /// Higher goes first within the queue.
    #[serde(default)]
    priority: i32,
    /// How many own failures are followed by another attempt.
    #[serde(default, deserialize_with = "field::retries")]
    #[schema(maximum = 1000)]
    retries: u32,
    /// The longest an attempt may run: `"2h"`, or seconds. Without it, as long as it likes.
    #[serde(default, deserialize_with = "timeout")]
    #[schema(value_type = Option<NumberOrText>, example = "2h")]
    timeout: Option<Duration>,
    /// Between SIGTERM and SIGKILL: `"10s"`, or seconds. Without it, the configuration's.
    #[serde(default, deserialize_with = "kill_grace")]
    #[schema(value_type = Option<NumberOrText>, example = "10s")]
    kill_grace: Option<Duration>,
    /// Tasks that must succeed first: ids, or keys of tasks of this call or earlier ones.
    #[serde(default, deserialize_with = "field::after")]
    #[schema(value_type = Vec<IdOrKey>, max_items = 10_000, example = json!([7, "build-2026-11-22"]))]
    after: Vec<After>,
    /// Agent attributes wanted.
    #[serde(default, deserialize_with = "field::constraints")]
    #[schema(value_type = BTreeMap<String, String>)]
    constraints: Texts,
    /// Makes an array of tasks, one for each index: `"0-99"`, or `"0-98:2"` for every second.
    #[serde(default, deserialize_with = "field::array")]
    #[schema(value_type = Option<String>, example = "0-99")]
    array: Option<ArrayRange>,
}

/// What a task runs: exactly one of these.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRunJson {
    /// A line for `/bin/sh -c`.
    #[serde(default, deserialize_with = "field::command")]
    command: Option<String>,
    /// A program and its arguments, not seen by a shell.
    #[serde(default, deserialize_with = "field::argv")]
    argv: Option<Vec<String>>,
    /// Base64 of a pickled object with a method `run()`, perhaps behind a header that says which versions
    /// made it. Its size is bounded by that of the body, `server.body_max`.
    #[serde(default, deserialize_with = "field::python")]
    #[schema(value_type = Option<String>)]
    python: Option<Box<[u8]>>,
}

fn default_queue() -> String {
    "default".to_owned()
}

fn timeout<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    match read_duration(deserializer)? {
        Some(Duration::ZERO) => Err(serde::de::Error::custom(
            "a timeout must be above 0; leave it out for none",
        )),
        timeout => Ok(timeout),
    }
}

fn kill_grace<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    const KILL_GRACE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
    match read_duration(deserializer)? {
        Some(grace) if grace > KILL_GRACE_MAX => {
            Err(serde::de::Error::custom("a kill_grace is at most 24h"))
        }
        grace => Ok(grace),
    }
}

/// What is wrong with a task object as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// Not exactly one thing to run.
    #[error("name exactly one of command, argv and python, not {found}")]
    RunCount {
        /// How many there are.
        found: usize,
    },
    /// More than the system lets a process start with.
    #[error(
        "command and environment have {found} bytes together, at most {ARGUMENTS_BYTES_MAX} are possible; put the rest into a file"
    )]
    TooLong {
        /// How many bytes.
        found: usize,
    },
}

impl TaskError {
    /// The field of the task object that is meant.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::RunCount { .. } | Self::TooLong { .. } => "run",
        }
    }
}

/// The task object in its canonical form, for the digest. The key is no part of it, nor is what the
/// configuration fills in: the same object is the same task also after a reload. A field that later versions
/// add must be left out here where it isn't set, or repeated keys of old tasks would be refused.
#[derive(Serialize)]
struct Canonical<'a> {
    queue: &'a str,
    name: &'a str,
    inbox: Option<&'a str>,
    demand_milli: BTreeMap<&'a str, u64>,
    command: Option<&'a str>,
    argv: Option<&'a [String]>,
    env: &'a Texts,
    priority: i32,
    retries: u32,
    timeout_millis: Option<u128>,
    kill_grace_millis: Option<u128>,
    after_tasks: Vec<u64>,
    after_keys: Vec<&'a str>,
    constraints: &'a Texts,
    array: Option<(u32, u32, u32)>,
    /// Stands for the pickle, which may be large.
    #[serde(skip_serializing_if = "Option::is_none")]
    python_blake3: Option<[u8; 32]>,
}

impl NewTaskJson {
    /// What the engine is asked to take in. `defaults` are the amounts of what the task doesn't name.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub fn resolve(self, defaults: &BTreeMap<Arc<str>, Amount>) -> Result<NewTask, TaskError> {
        self.run.check(&self.env)?;
        let digest = digest::of(&self.canonical());
        let run = match (self.run.command, self.run.python) {
            (Some(line), _) => Run::Command(line.into()),
            (None, Some(pickle)) => Run::Python(pickle),
            (None, None) => {
                let argv = self.run.argv.into_iter().flatten();
                Run::Argv(argv.map(Into::into).collect())
            }
        };
        let mut demand = defaults.clone();
        demand.extend(
            self.demand
                .0
                .into_iter()
                .map(|(name, amount)| (Arc::from(name), amount)),
        );
        demand.retain(|_, amount| !amount.is_zero());
        let spec = TaskSpec {
            queue: self.queue.into(),
            name: self.name.into(),
            key: self.key.map(Into::into),
            inbox: self.inbox.map(Into::into),
            demand: Arc::new(demand),
            run,
            env: self
                .env
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            priority: self.priority,
            retries: self.retries,
            timeout: self.timeout,
            kill_grace: self.kill_grace,
            constraints: Arc::new(
                (self.constraints.into_iter())
                    .map(|(name, value)| (name.into(), value.into()))
                    .collect(),
            ),
            array: self.array,
        };
        Ok(NewTask {
            spec,
            after: self.after,
            digest,
        })
    }

    fn canonical(&self) -> Canonical<'_> {
        // What is waited for is a set: neither order nor repetition changes the task.
        let mut after_tasks = Vec::new();
        let mut after_keys = Vec::new();
        for after in &self.after {
            match after {
                After::Task(task) => after_tasks.push(task.0),
                After::Key(key) => after_keys.push(&**key),
            }
        }
        after_tasks.sort_unstable();
        after_tasks.dedup();
        after_keys.sort_unstable();
        after_keys.dedup();
        Canonical {
            queue: &self.queue,
            name: &self.name,
            inbox: self.inbox.as_deref(),
            demand_milli: (self.demand.0.iter())
                .map(|(name, amount)| (&**name, amount.milli()))
                .collect(),
            command: self.run.command.as_deref(),
            argv: self.run.argv.as_deref(),
            env: &self.env,
            priority: self.priority,
            retries: self.retries,
            timeout_millis: self.timeout.map(|timeout| timeout.as_millis()),
            kill_grace_millis: self.kill_grace.map(|grace| grace.as_millis()),
            after_tasks,
            after_keys,
            constraints: &self.constraints,
            array: self
                .array
                .map(|array| (array.first, array.last, array.step)),
            python_blake3: self
                .run
                .python
                .as_ref()
                .map(|pickle| *blake3::hash(pickle).as_bytes()),
        }
    }
}

impl NewRunJson {
    fn check(&self, env: &Texts) -> Result<(), TaskError> {
        let found = usize::from(self.command.is_some())
            + usize::from(self.argv.is_some())
            + usize::from(self.python.is_some());
        if found != 1 {
            return Err(TaskError::RunCount { found });
        }
        let command = self.command.as_ref().map_or(0, String::len);
        let argv: usize = self
            .argv
            .iter()
            .flatten()
            .map(|argument| argument.len() + 1)
            .sum();
        let env: usize = env
            .iter()
            .map(|(name, value)| name.len() + value.len() + 2)
            .sum();
        let found = command + argv + env;
        if found > ARGUMENTS_BYTES_MAX {
            Err(TaskError::TooLong { found })
        } else {
            Ok(())
        }
    }
}
