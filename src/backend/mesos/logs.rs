//! What attempts wrote on agents, read through the agents' files API while they run and as long as the agents keep it.
//!
//! Which sandbox an attempt had is not kept anywhere: it is found by asking its agent which executors of ours it had,
//! and looking for the attempt's files in their sandboxes. So it is found after a restart of the daemon too, for as
//! long as the agent knows of the executor. An agent that restarts knows only the last run of each executor id, and each
//! run of ours has an id of its own.
//!
//! Source: "Operator HTTP API" of the Mesos documentation, call READ_FILE; the agent's `/state`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::future::BoxFuture;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::sync::watch;

use super::Known;
use crate::backend::local::layout;
use crate::backend::remote::TASKS_DIR;
use crate::backend::{LogChunk, LogError, LogStream, Logs};
use crate::clock::Stopwatch;
use crate::engine::AttemptId;

/// The most that an agent gives at once.
const PIECE_BYTES_MAX: usize = 64 << 10;

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// What an agent said of its executors holds for so long where an attempt isn't found among them.
const EXECUTORS_MAX_AGE: Duration = Duration::from_secs(1);

/// So many attempts' sandboxes are remembered.
const REMEMBERED_MAX: usize = 10_000;

/// Reads from the agents of a cluster.
#[derive(Debug)]
pub struct MesosLogs {
    client: reqwest::Client,
    known: watch::Receiver<Known>,
    credentials: Option<(String, String)>,
    found: Mutex<Found>,
}

/// What has been found out.
#[derive(Debug, Default)]
struct Found {
    /// Each agent by its id.
    agents: BTreeMap<Arc<str>, FoundAgent>,
    /// Sandboxes, as agents name them.
    sandboxes: BTreeMap<AttemptId, Arc<str>>,
}

#[derive(Clone, Debug)]
struct FoundAgent {
    url: Arc<str>,
    /// The sandboxes of our executors, the latest first, and when the agent told of them.
    sandboxes: Option<(Arc<[Sandbox]>, Stopwatch)>,
}

/// An executor's directory.
#[derive(Debug, PartialEq, Eq)]
struct Sandbox {
    directory: Arc<str>,
    /// The ids of its tasks, as far as the agent remembers them.
    tasks: BTreeSet<Box<str>>,
}

/// What the agent says to READ_FILE.
#[derive(Deserialize)]
struct ReadFile {
    #[serde(default)]
    size: u64,
    #[serde(default)]
    data: String,
}

impl MesosLogs {
    /// Of the framework and the cluster that are `known`. `credentials` are a name and a secret, for agents and masters
    /// that ask.
    ///
    /// # Errors
    /// There is no HTTP client to be had.
    pub fn new(
        client: reqwest::ClientBuilder,
        known: watch::Receiver<Known>,
        credentials: Option<(String, String)>,
    ) -> reqwest::Result<Self> {
        Ok(Self {
            client: client.timeout(ANSWER_MAX).build()?,
            known,
            credentials,
            found: Mutex::default(),
        })
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        // Nothing in there can be left half done.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request; `None` where the answer is 404.
    async fn ask(
        &self,
        who: &str,
        request: reqwest::RequestBuilder,
    ) -> Result<Option<Json>, LogError> {
        let request = match &self.credentials {
            Some((name, secret)) => request.basic_auth(name, Some(secret)),
            None => request,
        };
        let unreachable = |error: reqwest::Error| {
            LogError::Unreachable(format!("{who} can't be asked for it: {error}"))
        };
        let answer = request.send().await.map_err(unreachable)?;
        match answer.status() {
            StatusCode::OK => answer.json().await.map(Some).map_err(unreachable),
            StatusCode::NOT_FOUND => Ok(None),
            status => {
                let said = answer.text().await.unwrap_or_default();
                Err(LogError::Unreachable(format!(
                    "{who} says {status}: {said}"
                )))
            }
        }
    }

    /// A call of the agent's operator API.
    async fn call(&self, agent: &str, url: &str, call: &Json) -> Result<Option<Json>, LogError> {
        let request = self.client.post(format!("{url}/api/v1")).json(call);
        let request = request.header(reqwest::header::ACCEPT, "application/json");
        self.ask(&format!("agent {agent}"), request).await
    }

    /// Where an agent is, by what the leading master says.
    async fn agent(&self, id: &Arc<str>) -> Result<FoundAgent, LogError> {
        if let Some(agent) = self.found().agents.get(id) {
            return Ok(agent.clone());
        }
        let master = self.known.borrow().master.clone();
        let master = master.ok_or_else(|| {
            LogError::Unreachable(
                "no Mesos master is known at the moment that could say where its agent is"
                    .to_owned(),
            )
        })?;
        let request = self
            .client
            .get(format!("{master}/master/slaves"))
            .query(&[("slave_id", &**id)]);
        let answer = self
            .ask("the Mesos master", request)
            .await?
            .unwrap_or_default();
        let mut agents = answer["slaves"].as_array().into_iter().flatten();
        let agent = agents.find(|agent| agent["id"].as_str() == Some(id));
        // slave(1)@10.0.0.7:5051: unlike its host name, this is an address.
        let address = agent.and_then(|agent| agent["pid"].as_str()?.split_once('@'));
        let Some((_, address)) = address else {
            return Err(LogError::Gone(format!(
                "it was written on agent {id}, which is not part of the cluster at the moment"
            )));
        };
        let scheme = if master.starts_with("https:") {
            "https"
        } else {
            "http"
        };
        let agent = FoundAgent {
            url: format!("{scheme}://{address}").into(),
            sandboxes: None,
        };
        self.found().agents.insert(Arc::clone(id), agent.clone());
        Ok(agent)
    }

    /// The sandboxes that an agent has of our executors.
    async fn sandboxes(
        &self,
        id: &Arc<str>,
        agent: &FoundAgent,
    ) -> Result<Arc<[Sandbox]>, LogError> {
        if let Some((sandboxes, since)) = &agent.sandboxes
            && since.elapsed() < EXECUTORS_MAX_AGE
        {
            return Ok(Arc::clone(sandboxes));
        }
        let request = self.client.get(format!("{}/state", agent.url));
        let state = self
            .ask(&format!("agent {id}"), request)
            .await?
            .unwrap_or_default();
        if state["id"].as_str() != Some(id) {
            self.found().agents.remove(id);
            return Err(LogError::Gone(format!(
                "it was written on agent {id}, in whose place there is another agent now"
            )));
        }
        let framework = self.known.borrow().framework.clone();
        let sandboxes: Arc<[Sandbox]> = sandboxes_in(&state, framework.as_deref()).into();
        if let Some(agent) = self.found().agents.get_mut(id) {
            agent.sandboxes = Some((Arc::clone(&sandboxes), Stopwatch::start()));
        }
        Ok(sandboxes)
    }

    /// A piece of a file in a sandbox; `None` where there is no such file.
    async fn read_file(
        &self,
        id: &str,
        url: &str,
        path: &str,
        offset: u64,
        limit: usize,
    ) -> Result<Option<LogChunk>, LogError> {
        let mut chunk = LogChunk::default();
        loop {
            let length = (limit - chunk.bytes.len()).min(PIECE_BYTES_MAX);
            let from = offset.saturating_add(chunk.bytes.len() as u64);
            // Beyond what Mesos counts with there is nothing.
            let from = from.min(i64::MAX as u64);
            let call = json!({"type": "READ_FILE", "read_file": {"path": path, "offset": from, "length": length}});
            let Some(answer) = self.call(id, url, &call).await? else {
                return Ok(None);
            };
            let garbled =
                || LogError::Unreachable(format!("agent {id} answers what can't be understood"));
            let read: ReadFile =
                serde_json::from_value(answer["read_file"].clone()).map_err(|_| garbled())?;
            let data = BASE64_STANDARD.decode(read.data).map_err(|_| garbled())?;
            chunk.total_bytes = read.size;
            let is_over = data.len() < PIECE_BYTES_MAX;
            chunk
                .bytes
                .extend_from_slice(&data[..data.len().min(length)]);
            if is_over || chunk.bytes.len() >= limit {
                return Ok(Some(chunk));
            }
        }
    }

    async fn find_and_read(
        &self,
        attempt: AttemptId,
        id: Arc<str>,
        stream: LogStream,
        offset: u64,
        limit: usize,
    ) -> Result<Option<LogChunk>, LogError> {
        let agent = self.agent(&id).await?;
        let file_in = |sandbox: &str| {
            let tasks_dir = Path::new(sandbox).join(TASKS_DIR);
            let file = layout::output_file(&tasks_dir, attempt, stream);
            file.display().to_string()
        };
        let remembered = self.found().sandboxes.get(&attempt).cloned();
        if let Some(sandbox) = remembered {
            let file = file_in(&sandbox);
            let read = self.read_file(&id, &agent.url, &file, offset, limit);
            if let Some(chunk) = read.await? {
                return Ok(Some(chunk));
            }
        }
        let sandboxes = self.sandboxes(&id, &agent).await?;
        for sandbox in sandboxes.iter() {
            let file = file_in(&sandbox.directory);
            let read = self.read_file(&id, &agent.url, &file, offset, limit);
            if let Some(chunk) = read.await? {
                self.remember(attempt, &sandbox.directory);
                return Ok(Some(chunk));
            }
        }
        // An attempt that wrote nothing has no file.
        let name = attempt.to_string();
        let ran_here = sandboxes
            .iter()
            .any(|sandbox| sandbox.tasks.contains(&*name));
        Ok(ran_here.then(LogChunk::default))
    }

    fn remember(&self, attempt: AttemptId, sandbox: &Arc<str>) {
        let mut found = self.found();
        if found.sandboxes.len() >= REMEMBERED_MAX {
            found.sandboxes.clear();
        }
        found.sandboxes.insert(attempt, Arc::clone(sandbox));
    }
}

impl Logs for MesosLogs {
    fn read(
        &self,
        attempt: AttemptId,
        agent: Arc<str>,
        stream: LogStream,
        offset: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<LogChunk>, LogError>> {
        Box::pin(async move {
            let read = self.find_and_read(attempt, Arc::clone(&agent), stream, offset, limit);
            let result = read.await;
            if matches!(result, Err(LogError::Unreachable(_))) {
                // It may be somewhere else by now.
                self.found().agents.remove(&agent);
            }
            result
        })
    }
}

/// The sandboxes of a framework's executors in an agent's state: those that run, then those that have ended, the
/// latest first.
fn sandboxes_in(state: &Json, framework: Option<&str>) -> Vec<Sandbox> {
    let list = |of: &Json, name: &str| of[name].as_array().cloned().unwrap_or_default();
    let lists = |of: &Json, names: &[&str]| -> Vec<Json> {
        names.iter().flat_map(|name| list(of, name)).collect()
    };
    let frameworks = lists(state, &["frameworks", "completed_frameworks"]);
    let ours = |entry: &&Json| framework.is_some() && entry["id"].as_str() == framework;
    let executors = frameworks.iter().filter(ours).flat_map(|entry| {
        let ended = list(entry, "completed_executors").into_iter().rev();
        list(entry, "executors").into_iter().chain(ended)
    });
    let sandboxes = executors.filter_map(|executor| {
        let tasks = lists(&executor, &["tasks", "queued_tasks", "completed_tasks"]);
        Some(Sandbox {
            directory: executor["directory"].as_str()?.into(),
            tasks: (tasks.iter())
                .filter_map(|task| task["id"].as_str().map(Box::from))
                .collect(),
        })
    });
    sandboxes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sandboxes_are_those_of_our_executors() {
        let executor = |directory: &str| {
            let (running, ended) = ([json!({"id": "8.1"})], [json!({"id": "7.1"})]);
            json!({"id": "apportion", "directory": directory, "tasks": running, "completed_tasks": ended})
        };
        let state = json!({
            "frameworks": [
                {"id": "F", "executors": [executor("/now")], "completed_executors": [executor("/first"), executor("/second")]},
                {"id": "G", "executors": [executor("/other")]},
            ],
            "completed_frameworks": [{"id": "F", "completed_executors": [{"id": "without"}]}],
        });
        let found = sandboxes_in(&state, Some("F"));
        assert_eq!(found[0].tasks, ["7.1".into(), "8.1".into()].into());
        let found: Vec<&str> = found.iter().map(|sandbox| &*sandbox.directory).collect();
        assert_eq!(found, ["/now", "/second", "/first"]);
        assert!(sandboxes_in(&state, None).is_empty());
        assert!(sandboxes_in(&json!(null), Some("F")).is_empty());
    }

    #[tokio::test]
    async fn without_a_master_nobody_knows_where_an_agent_is() {
        let (_known, receiver) = watch::channel(Known::default());
        let logs = MesosLogs::new(crate::http_client::builder(), receiver, None).unwrap();
        let attempt = crate::backend::remote::launch::parse_attempt("7.1").unwrap();
        let read = logs.read(attempt, "agent-1".into(), LogStream::Stdout, 0, 10);
        let error = read.await.unwrap_err();
        assert!(matches!(error, LogError::Unreachable(_)), "{error}");
    }
}
