//! A bare framework: subscribes, takes the first offers that are large enough, launches what it is told, acknowledges
//! every update. It knows no fairness and forgets everything with its process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apportion::backend::remote::launch::{self, Upload};
use apportion::config::TaskLimits;
use apportion::engine::Time;
use apportion::engine::decision::Launch;
use apportion::engine::spec::{Run, Submission, TaskSpec};
use apportion::proto::mesos::v1::framework_info::{Capability, capability};
use apportion::proto::mesos::v1::scheduler::{Call, Event, call};
use apportion::proto::mesos::v1::{
    AgentId, DurationInfo, ExecutorInfo, Filters, FrameworkId, FrameworkInfo, KillPolicy, Offer,
    Resource, TaskId, TaskInfo, TaskState, TaskStatus, offer, value,
};
use apportion::proto::recordio::{Decoder, RECORD_BYTES_MAX};
use futures::StreamExt;
use prost::Message;

use super::super::wait;
use super::Mesos;

/// How long anything that a cluster does may take.
const DEADLINE: Duration = Duration::from_secs(120);

/// The role of all such frameworks.
const ROLE: &str = "bare";

/// What the stream has told.
#[derive(Default)]
struct Told {
    framework: Option<FrameworkId>,
    offers: Vec<Offer>,
    updates: Vec<TaskStatus>,
}

/// A subscribed framework.
pub(crate) struct Framework {
    runtime: tokio::runtime::Runtime,
    calls: Calls,
    told: Arc<Mutex<Told>>,
    framework: FrameworkId,
}

/// The way of calls to the master.
#[derive(Clone)]
struct Calls {
    client: reqwest::Client,
    url: String,
    stream_id: String,
}

impl Calls {
    async fn send(&self, call: &Call) {
        let answer = self
            .client
            .post(&self.url)
            .header("content-type", "application/x-protobuf")
            .header("mesos-stream-id", &self.stream_id)
            .body(call.encode_to_vec())
            .send()
            .await
            .unwrap();
        let status = answer.status();
        let said = answer.text().await.unwrap();
        assert_eq!(status, 202, "{said}");
    }
}

/// A task to launch.
pub(crate) struct Task {
    /// The id that Mesos knows it by.
    pub(crate) id: String,
    /// Names and amounts.
    pub(crate) resources: Vec<(&'static str, f64)>,
    /// For the executor.
    pub(crate) data: Vec<u8>,
}

impl Framework {
    /// Subscribes, with the capabilities that Apportion has, and checkpointing.
    #[track_caller]
    #[must_use]
    pub(crate) fn subscribe(mesos: &Mesos, name: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let url = format!("http://{}/api/v1/scheduler", mesos.master_address());
        let client = apportion::http_client::builder().build().unwrap();
        let subscribe = Call {
            r#type: Some(call::Type::Subscribe.into()),
            subscribe: Some(call::Subscribe {
                framework_info: framework_info(name),
                ..call::Subscribe::default()
            }),
            ..Call::default()
        };
        let stream = runtime.block_on(async {
            let request = client
                .post(&url)
                .header("content-type", "application/x-protobuf")
                .header("accept", "application/x-protobuf")
                .body(subscribe.encode_to_vec());
            request.send().await.unwrap()
        });
        assert_eq!(stream.status(), 200);
        let stream_id = stream.headers()["mesos-stream-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let calls = Calls {
            client,
            url,
            stream_id,
        };
        let told = Arc::new(Mutex::new(Told::default()));
        runtime.spawn(listen(stream, calls.clone(), Arc::clone(&told)));
        let framework = wait::until("the framework to be subscribed", DEADLINE, || {
            told.lock().unwrap().framework.clone()
        });
        Self {
            runtime,
            calls,
            told,
            framework,
        }
    }

    /// Its id.
    #[must_use]
    pub(crate) fn id(&self) -> &str {
        &self.framework.value
    }

    fn call(&self, kind: call::Type, fill: impl FnOnce(&mut Call)) {
        let mut call = Call {
            framework_id: Some(self.framework.clone()),
            r#type: Some(kind.into()),
            ..Call::default()
        };
        fill(&mut call);
        self.runtime.block_on(self.calls.send(&call));
    }

    /// Waits for an offer of an agent (any, where none is named) that holds all of these tasks and their executor, and
    /// launches them there. `executor` has the amounts that it needs for itself.
    #[track_caller]
    pub(crate) fn launch(
        &self,
        agent: Option<&str>,
        executor: &ExecutorInfo,
        executor_resources: &[(&str, f64)],
        tasks: &[Task],
    ) -> String {
        wait::until("an offer that is large enough", DEADLINE, || {
            self.try_launch(agent, executor, executor_resources, tasks)
        })
    }

    /// The same with the first offer at hand, where there is one: the agent, if it is large enough. Otherwise it goes
    /// back at once.
    pub(crate) fn try_launch(
        &self,
        agent: Option<&str>,
        executor: &ExecutorInfo,
        executor_resources: &[(&str, f64)],
        tasks: &[Task],
    ) -> Option<String> {
        let offer = self.take_offer(agent)?;
        let mut left = offer.resources.clone();
        let mut executor = executor.clone();
        let infos = take(&mut left, executor_resources).and_then(|resources| {
            executor.resources = resources;
            let infos = tasks.iter().map(|task| {
                let resources = take(&mut left, &task.resources)?;
                Some(task_info(task, &offer.agent_id, &executor, resources))
            });
            infos.collect::<Option<Vec<TaskInfo>>>()
        });
        let is_enough = infos.is_some();
        let operations = infos.map(|task_infos| offer::Operation {
            r#type: Some(offer::operation::Type::Launch.into()),
            launch: Some(offer::operation::Launch { task_infos }),
        });
        self.call(call::Type::Accept, |call| {
            call.accept = Some(call::Accept {
                offer_ids: vec![offer.id.clone()],
                operations: operations.into_iter().collect(),
                filters: Some(Filters {
                    refuse_seconds: Some(0.0),
                }),
            });
        });
        is_enough.then_some(offer.agent_id.value)
    }

    /// Whether there is an offer at hand.
    #[must_use]
    pub(crate) fn has_offer(&self) -> bool {
        !self.told.lock().unwrap().offers.is_empty()
    }

    fn take_offer(&self, agent: Option<&str>) -> Option<Offer> {
        let mut told = self.told.lock().unwrap();
        let wanted = |offer: &Offer| agent.is_none_or(|agent| offer.agent_id.value == agent);
        let place = told.offers.iter().position(wanted)?;
        Some(told.offers.remove(place))
    }

    /// Wants a task killed.
    pub(crate) fn kill(&self, task: &str, grace: Duration) {
        self.call(call::Type::Kill, |call| {
            call.kill = Some(call::Kill {
                task_id: TaskId {
                    value: task.to_owned(),
                },
                agent_id: None,
                kill_policy: Some(kill_policy(grace)),
            });
        });
    }

    /// Wants an executor to end.
    pub(crate) fn shut_down(&self, executor: &ExecutorInfo, agent: &str) {
        self.call(call::Type::Shutdown, |call| {
            call.shutdown = Some(call::Shutdown {
                executor_id: executor.executor_id.clone(),
                agent_id: AgentId {
                    value: agent.to_owned(),
                },
            });
        });
    }

    /// All updates of a task so far, repeated ones too.
    #[must_use]
    pub(crate) fn updates(&self, task: &str) -> Vec<TaskStatus> {
        let told = self.told.lock().unwrap();
        let of_task = told
            .updates
            .iter()
            .filter(|status| status.task_id.value == task);
        of_task.cloned().collect()
    }

    /// Waits for an update with this state, and gives the first such.
    #[track_caller]
    pub(crate) fn wait_state(&self, task: &str, state: TaskState) -> TaskStatus {
        let found = wait::within(DEADLINE, || {
            let mut updates = self.updates(task).into_iter();
            updates.find(|status| status.state() == state)
        });
        found.unwrap_or_else(|| {
            panic!(
                "waited in vain for {task} to be {state:?}: {:#?}",
                self.updates(task)
            )
        })
    }

    /// Waits for an update that ends a task, and gives the first such.
    #[track_caller]
    pub(crate) fn wait_ended(&self, task: &str) -> TaskStatus {
        wait::until(&format!("{task} to end"), DEADLINE, || {
            let mut updates = self.updates(task).into_iter();
            updates.find(|status| is_end(status.state()))
        })
    }
}

/// A task of the queue `default` that demands nothing.
#[must_use]
pub(crate) fn plain(run: Run) -> TaskSpec {
    TaskSpec {
        queue: "default".into(),
        name: "".into(),
        key: None,
        inbox: None,
        demand: Arc::default(),
        run,
        env: BTreeMap::new(),
        priority: 0,
        retries: 0,
        timeout: None,
        kill_grace: None,
        constraints: Arc::default(),
        array: None,
    }
}

/// What an executor is told of the attempt with this id; nobody takes its large values.
#[must_use]
pub(crate) fn launch_data(id: &str, spec: TaskSpec) -> Vec<u8> {
    let attempt = launch::parse_attempt(id).unwrap();
    let submission = Submission {
        first: attempt.task,
        spec,
        after: Vec::new(),
        digest: [0; 16],
        submitted_at: Time::default(),
    };
    let launch = Launch {
        attempt,
        submission: Arc::new(submission),
    };
    let nowhere = Upload {
        url: String::new(),
        token: String::new(),
    };
    launch::to_bytes(&launch, &nowhere, &TaskLimits::default())
}

/// Whether a task with this state has ended.
#[must_use]
pub(crate) fn is_end(state: TaskState) -> bool {
    use TaskState as State;
    matches!(
        state,
        State::TaskFinished
            | State::TaskFailed
            | State::TaskKilled
            | State::TaskError
            | State::TaskLost
            | State::TaskDropped
            | State::TaskGone
    )
}

/// Describes a framework that checkpoints, with the capabilities that Apportion has.
#[must_use]
pub(crate) fn framework_info(name: &str) -> FrameworkInfo {
    let capabilities = [
        capability::Type::PartitionAware,
        capability::Type::MultiRole,
        capability::Type::ReservationRefinement,
        capability::Type::TaskKillingState,
    ];
    FrameworkInfo {
        user: "root".to_owned(),
        name: name.to_owned(),
        failover_timeout: Some(3600.0),
        checkpoint: Some(true),
        roles: vec![ROLE.to_owned()],
        capabilities: (capabilities.into_iter())
            .map(|kind| Capability {
                r#type: Some(kind.into()),
            })
            .collect(),
        ..FrameworkInfo::default()
    }
}

fn task_info(
    task: &Task,
    agent: &AgentId,
    executor: &ExecutorInfo,
    resources: Vec<Resource>,
) -> TaskInfo {
    TaskInfo {
        name: task.id.clone(),
        task_id: TaskId {
            value: task.id.clone(),
        },
        agent_id: agent.clone(),
        resources,
        executor: Some(executor.clone()),
        data: Some(task.data.clone().into()),
        ..TaskInfo::default()
    }
}

/// Takes amounts out of what is left, in thousandths as Mesos counts; `None` where it isn't enough.
pub(crate) fn take(left: &mut [Resource], amounts: &[(&str, f64)]) -> Option<Vec<Resource>> {
    let taken = amounts.iter().map(|(name, amount)| {
        let entry = left.iter_mut().find(|entry| entry.name == *name)?;
        let scalar = entry.scalar.as_mut()?;
        let milli = (scalar.value * 1000.0).round() - (amount * 1000.0).round();
        if milli < 0.0 {
            return None;
        }
        scalar.value = milli / 1000.0;
        Some(Resource {
            scalar: Some(value::Scalar { value: *amount }),
            ..entry.clone()
        })
    });
    taken.collect()
}

fn kill_policy(grace: Duration) -> KillPolicy {
    KillPolicy {
        grace_period: Some(DurationInfo {
            nanoseconds: i64::try_from(grace.as_nanos()).unwrap(),
        }),
    }
}

/// Reads the stream until it ends, and acknowledges what wants to be.
async fn listen(stream: reqwest::Response, calls: Calls, told: Arc<Mutex<Told>>) {
    let mut records = Decoder::new(RECORD_BYTES_MAX);
    let mut chunks = stream.bytes_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        records.push(&chunk);
        while let Some(record) = records.next_record().unwrap() {
            let event = Event::decode(record).unwrap();
            if let Some(call) = take_in(event, &mut told.lock().unwrap()) {
                let calls = calls.clone();
                tokio::spawn(async move { calls.send(&call).await });
            }
        }
    }
}

/// Remembers what an event tells; gives the acknowledgement that it wants.
fn take_in(event: Event, told: &mut Told) -> Option<Call> {
    if let Some(subscribed) = event.subscribed {
        told.framework = Some(subscribed.framework_id);
    }
    if let Some(offers) = event.offers {
        told.offers.extend(offers.offers);
    }
    if let Some(rescind) = event.rescind {
        told.offers.retain(|offer| offer.id != rescind.offer_id);
    }
    let status = event.update?.status;
    told.updates.push(status.clone());
    Some(Call {
        framework_id: told.framework.clone(),
        r#type: Some(call::Type::Acknowledge.into()),
        acknowledge: Some(call::Acknowledge {
            agent_id: status.agent_id?,
            task_id: status.task_id,
            uuid: status.uuid?,
        }),
        ..Call::default()
    })
}
