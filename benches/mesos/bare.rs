//! The floor: a framework that accepts every offer, fills it with tasks, acknowledges every update, and keeps nothing.

use std::sync::Arc;
use std::time::Duration;

use apportion::backend::remote::command::{ExecutorOptions, to_command_info};
use apportion::backend::settings::PythonConfig;
use apportion::clock::Stopwatch;
use apportion::engine::spec::Run;
use apportion::proto::mesos::v1::scheduler::{Call, Event, call};
use apportion::proto::mesos::v1::{
    ExecutorId, ExecutorInfo, Filters, FrameworkId, Offer, TaskId, TaskInfo, TaskStatus,
    executor_info, offer,
};
use apportion::proto::recordio::{Decoder, RECORD_BYTES_MAX};
use futures::StreamExt;
use prost::Message;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::support::daemon;
use crate::support::mesos::framework::{framework_info, is_end, launch_data, plain, take};
use crate::support::mesos::{Mesos, Part};
use crate::{CPUS, MEM_MIB, Spent, processes};

/// What its executor takes for itself.
const EXECUTOR_MEM_MIB: f64 = 64.0;

/// So many acknowledgements are under way at once.
const ACKS_MAX: usize = 8;

/// Runs so many tasks, after a first one that brings the executor along.
pub(crate) fn run(mesos: &Mesos, n_tasks: u32) -> Spent {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(measure(&mesos.url(Part::Master), n_tasks))
}

/// The way of calls to the master.
#[derive(Clone)]
struct Calls {
    client: reqwest::Client,
    url: Arc<str>,
    stream_id: Arc<str>,
}

impl Calls {
    async fn send(&self, call: Call) {
        let request = (self.client.post(&*self.url))
            .header("content-type", "application/x-protobuf")
            .header("mesos-stream-id", &*self.stream_id)
            .body(call.encode_to_vec());
        let answer = request.send().await.expect("the master answers");
        assert_eq!(answer.status(), 202);
    }
}

/// What is known while it runs.
struct Bare {
    framework: Option<FrameworkId>,
    executor: ExecutorInfo,
    has_executor: bool,
    n_launched: u32,
    n_ended: u32,
    /// So many are launched at most.
    n_allowed: u32,
    /// For how many offers, and for how long together.
    held: (u32, Duration),
    data: Vec<u8>,
}

async fn measure(master: &str, n_tasks: u32) -> Spent {
    let client = apportion::http_client::builder().build().expect("a client");
    let url: Arc<str> = format!("{master}/api/v1/scheduler").into();
    let request = (client.post(&*url))
        .header("content-type", "application/x-protobuf")
        .header("accept", "application/x-protobuf")
        .body(subscribe().encode_to_vec());
    let stream = request.send().await.expect("the master answers");
    assert_eq!(stream.status(), 200);
    let stream_id = stream.headers()["mesos-stream-id"].to_str().expect("ASCII");
    let calls = Calls {
        client,
        url,
        stream_id: stream_id.into(),
    };
    let (accepts, mut accepts_out) = mpsc::unbounded_channel::<Call>();
    let caller = calls.clone();
    let in_order = tokio::spawn(async move {
        while let Some(call) = accepts_out.recv().await {
            caller.send(call).await;
        }
    });
    let acks = Arc::new(Semaphore::new(ACKS_MAX));
    let mut under_way = JoinSet::new();
    let mut bare = Bare::new();
    let mut start = None;
    let mut decoder = Decoder::new(RECORD_BYTES_MAX);
    let mut chunks = stream.bytes_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        decoder.push(&chunk);
        while let Some(record) = decoder.next_record().expect("records") {
            let event = Event::decode(record).expect("an event");
            for call in bare.take_in(event) {
                if call.acknowledge.is_none() {
                    let _ = accepts.send(call);
                    continue;
                }
                let (acks, calls) = (Arc::clone(&acks), calls.clone());
                under_way.spawn(async move {
                    let _permit = acks.acquire().await;
                    calls.send(call).await;
                });
            }
        }
        if bare.n_ended == 1 && start.is_none() {
            start = Some((Stopwatch::start(), processes::own_cpu_seconds()));
            bare.n_allowed += n_tasks;
        }
        if bare.n_ended == n_tasks + 1 {
            break;
        }
    }
    let (since, cpu_before) = start.expect("the first task ended");
    let spent = Spent {
        wall: since.elapsed(),
        cpu_seconds: processes::own_cpu_seconds() - cpu_before,
        held_seconds: bare.held.1.as_secs_f64() / f64::from(bare.held.0.max(1)),
    };
    // What is under way goes before.
    drop(accepts);
    in_order.await.expect("all is accepted");
    while under_way.join_next().await.is_some() {}
    calls.send(bare.call(call::Type::Teardown)).await;
    spent
}

fn subscribe() -> Call {
    Call {
        r#type: Some(call::Type::Subscribe.into()),
        subscribe: Some(call::Subscribe {
            framework_info: framework_info("bare"),
            ..call::Subscribe::default()
        }),
        ..Call::default()
    }
}

impl Bare {
    fn new() -> Self {
        let options = ExecutorOptions {
            idle_timeout: None,
            keep_outputs: Duration::from_secs(3600),
            python: PythonConfig::default(),
            daemon_ca: None,
        };
        let program = format!("file://{}", daemon::program());
        Self {
            framework: None,
            executor: ExecutorInfo {
                executor_id: ExecutorId {
                    value: "bare".to_owned(),
                },
                command: Some(to_command_info(&program, &options)),
                r#type: Some(executor_info::Type::Custom.into()),
                ..ExecutorInfo::default()
            },
            has_executor: false,
            n_launched: 0,
            n_ended: 0,
            n_allowed: 1,
            held: (0, Duration::ZERO),
            // The same as Apportion says of such a task.
            data: launch_data("1.1", plain(Run::Argv(["true".into()].into()))),
        }
    }

    fn call(&self, kind: call::Type) -> Call {
        Call {
            framework_id: self.framework.clone(),
            r#type: Some(kind.into()),
            ..Call::default()
        }
    }

    fn take_in(&mut self, event: Event) -> Vec<Call> {
        if let Some(subscribed) = event.subscribed {
            self.framework = Some(subscribed.framework_id);
        }
        let offers = event.offers.into_iter().flat_map(|offers| offers.offers);
        let mut calls: Vec<Call> = offers.map(|offer| self.accept(offer)).collect();
        if let Some(update) = event.update {
            self.n_ended += u32::from(is_end(update.status.state()));
            calls.extend(self.acknowledge(update.status));
        }
        calls
    }

    fn acknowledge(&self, status: TaskStatus) -> Option<Call> {
        Some(Call {
            acknowledge: Some(call::Acknowledge {
                agent_id: status.agent_id?,
                task_id: status.task_id,
                uuid: status.uuid?,
            }),
            ..self.call(call::Type::Acknowledge)
        })
    }

    fn accept(&mut self, offer: Offer) -> Call {
        let since = Stopwatch::start();
        let mut pool = offer.resources;
        let is_wanted = self.n_launched < self.n_allowed;
        if is_wanted
            && !self.has_executor
            && let Some(own) = take(&mut pool, &[("mem", EXECUTOR_MEM_MIB)])
        {
            self.executor.resources = own;
            self.has_executor = true;
        }
        let mut task_infos = Vec::new();
        while self.has_executor && self.n_launched < self.n_allowed {
            let Some(resources) = take(&mut pool, &[("cpus", CPUS), ("mem", MEM_MIB)]) else {
                break;
            };
            self.n_launched += 1;
            let id = format!("{}.1", self.n_launched);
            task_infos.push(TaskInfo {
                name: id.clone(),
                task_id: TaskId { value: id },
                agent_id: offer.agent_id.clone(),
                resources,
                executor: Some(self.executor.clone()),
                data: Some(self.data.clone().into()),
                ..TaskInfo::default()
            });
        }
        let launch = offer::Operation {
            r#type: Some(offer::operation::Type::Launch.into()),
            launch: Some(offer::operation::Launch { task_infos }),
        };
        let is_used = launch
            .launch
            .as_ref()
            .is_some_and(|it| !it.task_infos.is_empty());
        self.held.0 += 1;
        self.held.1 += since.elapsed();
        Call {
            accept: Some(call::Accept {
                offer_ids: vec![offer.id],
                operations: is_used.then_some(launch).into_iter().collect(),
                filters: Some(Filters {
                    refuse_seconds: Some(0.0),
                }),
            }),
            ..self.call(call::Type::Accept)
        }
    }
}
