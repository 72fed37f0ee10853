//! A daemon without a machine: the real driver and engine on a store in memory, a backend that only notes
//! what it is told, and calls that go straight into the router.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use apportion_policies::Registry;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use futures::FutureExt;
use http_body_util::BodyExt;
use serde_json::Value as Json;
use tokio::sync::watch;
use tower::ServiceExt;

use crate::access::Access;
use crate::api::{ApiState, router};
use crate::backend::remote::service::Service;
use crate::backend::values::Values;
use crate::backend::{Backend, EventSender, LogChunk, LogError, LogStream, Logs};
use crate::clock;
use crate::config::{self, Config};
use crate::driver::{self, BatchStats, Handle};
use crate::engine::event::OfferId;
use crate::engine::outcome::Value;
use crate::engine::request::StoredTask;
use crate::engine::{AttemptEnd, AttemptId, Decision, Engine, Event, Fact, TaskId, Usage};
use crate::metrics::Metrics;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::memory::MemoryStore;

/// Nothing in these tests takes longer unless it hangs.
const DEADLINE: Duration = Duration::from_secs(20);

/// What the tests' daemon is told.
pub(super) const CONFIG: &str = r#"
[server]
body_max = "1MiB"
[tasks]
demand = { cpus = 1 }
live_max = 50
[resources.db]
scope = "cluster"
capacity = 4
[queues.maps]
weight = 3
[queues."maps/render"]
max = { db = 3 }
[queues.default]
"#;

/// Outputs of attempts, as far as a test has written them.
#[derive(Default)]
pub(super) struct FakeLogs(Mutex<BTreeMap<AttemptId, Vec<u8>>>);

impl FakeLogs {
    pub(super) fn write(&self, attempt: AttemptId, text: &str) {
        let mut outputs = self.0.lock().unwrap();
        outputs.entry(attempt).or_default().extend(text.bytes());
    }
}

impl Logs for FakeLogs {
    fn read(
        &self,
        attempt: AttemptId,
        _agent: Arc<str>,
        stream: LogStream,
        offset: u64,
        limit: usize,
    ) -> futures::future::BoxFuture<'_, Result<Option<LogChunk>, LogError>> {
        let outputs = self.0.lock().unwrap();
        let output = outputs
            .get(&attempt)
            .filter(|_| stream == LogStream::Stdout);
        let chunk = output.map(|output| {
            let rest = output.iter().skip(usize::try_from(offset).unwrap());
            LogChunk {
                bytes: rest.take(limit).copied().collect(),
                total_bytes: output.len() as u64,
            }
        });
        futures::future::ready(Ok(chunk)).boxed()
    }
}

/// Notes what was launched and what was asked to end.
#[derive(Clone, Debug, Default)]
pub(super) struct Noted(Arc<Mutex<NotedParts>>);

#[derive(Debug, Default)]
struct NotedParts {
    launched: BTreeSet<AttemptId>,
    killed: BTreeSet<AttemptId>,
}

impl Backend for Noted {
    fn act(&mut self, decision: Decision) {
        let mut noted = self.0.lock().unwrap();
        match decision {
            Decision::Accept { launches, .. } => {
                noted
                    .launched
                    .extend(launches.iter().map(|launch| launch.attempt));
            }
            Decision::Kill { attempt, .. } => {
                noted.killed.insert(attempt);
            }
            Decision::Decline { .. }
            | Decision::Suppress
            | Decision::Revive
            | Decision::Acknowledge { .. } => {}
        }
    }

    fn reconcile(&mut self, _: Vec<AttemptId>) {}

    fn shut_down(&mut self) {}
}

/// A store whose disk is full as long as a test says so.
struct FillableStore {
    store: MemoryStore,
    is_full: Arc<AtomicBool>,
}

impl Store for FillableStore {
    fn commit(&mut self, facts: &[Fact]) -> Result<(), StoreError> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(StoreError::Full {
                path: "apportion.db".into(),
            });
        }
        self.store.commit(facts)
    }

    fn recover(&mut self, fold: &mut dyn FnMut(Fact)) -> Result<(), StoreError> {
        self.store.recover(fold)
    }

    fn find_ended(&mut self, task: TaskId) -> Result<Option<StoredTask>, StoreError> {
        self.store.find_ended(task)
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) bytes: Vec<u8>,
}

impl Answer {
    pub(super) fn json(&self) -> Json {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.bytes)))
    }

    /// `409 key_reused: …`
    pub(super) fn error(&self) -> String {
        let body = self.json();
        let error = &body["error"];
        assert!(error.is_object(), "{} {body}", self.status);
        assert_eq!(
            error.as_object().unwrap().len(),
            3,
            "code, message and detail"
        );
        let text = |name: &str| error[name].as_str().unwrap().to_owned();
        format!(
            "{} {}: {}",
            self.status.as_u16(),
            text("code"),
            text("message")
        )
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// The daemon.
pub(super) struct Daemon {
    pub(super) router: Router,
    pub(super) handle: Handle,
    pub(super) events: EventSender,
    pub(super) logs: Arc<FakeLogs>,
    pub(super) values: Values,
    pub(super) service: Arc<Service>,
    pub(super) dir: tempfile::TempDir,
    pub(super) noted: Noted,
    pub(super) is_full: Arc<AtomicBool>,
    next_offer: AtomicU64,
    thread: Mutex<Option<JoinHandle<Result<(), StoreError>>>>,
    // Kept, since the API would take its end for the daemon's.
    _config: watch::Sender<Arc<Config>>,
}

impl Daemon {
    /// Starts one with [`CONFIG`].
    pub(super) fn start() -> Self {
        let (daemon, run) = Self::prepare();
        *daemon.thread.lock().unwrap() = Some(std::thread::spawn(run));
        daemon
    }

    /// Everything but the driver's thread.
    pub(super) fn prepare() -> (
        Self,
        impl FnOnce() -> Result<(), StoreError> + Send + 'static,
    ) {
        let config = Arc::new(config::parse(CONFIG, &Registry::default()).unwrap());
        let (handle, events, inbox) = driver::channel();
        let store = MemoryStore::default();
        let metrics = Metrics::install(clock::now());
        let noted = Noted::default();
        let logs = Arc::new(FakeLogs::default());
        let dir = tempfile::tempdir().unwrap();
        let values = Values::new(dir.path().join("values"));
        let service = Arc::new(Service::open(dir.path()).unwrap());
        let mut engine = Engine::new(config.engine.clone());
        engine.recovered(clock::now());
        let (sender, receiver) = watch::channel(config);
        let state = ApiState {
            handle: handle.clone(),
            access: Arc::new(Access::open(dir.path()).unwrap()),
            reader: Arc::new(store.clone()),
            logs: logs.clone(),
            values: values.clone(),
            service: Some(service.clone()),
            config: receiver,
            metrics: metrics.clone(),
            trouble: watch::channel(None).1,
        };
        let backend = Box::new(noted.clone());
        let observer = move |facts: &[Fact], stats: &BatchStats| metrics.record_batch(facts, stats);
        let is_full = Arc::new(AtomicBool::new(false));
        let store = Box::new(FillableStore {
            store,
            is_full: is_full.clone(),
        });
        let run = move || inbox.run(engine, store, backend, Box::new(observer));
        let daemon = Self {
            router: router(state),
            handle,
            events,
            logs,
            values,
            service,
            dir,
            noted,
            is_full,
            next_offer: AtomicU64::new(1),
            thread: Mutex::new(None),
            _config: sender,
        };
        (daemon, run)
    }

    /// Stops the driver and waits for its end.
    pub(super) async fn stop(&self) {
        self.handle.stop().await;
        let thread = self.thread.lock().unwrap().take().unwrap();
        tokio::task::spawn_blocking(|| thread.join().unwrap().unwrap())
            .await
            .unwrap();
    }

    /// Answers a call that was sent to the loopback, unless it says where to.
    pub(super) async fn respond(&self, mut request: Request<Body>) -> Response {
        let host = HeaderValue::from_static("localhost");
        (request.headers_mut().entry(header::HOST)).or_insert(host);
        within(self.router.clone().oneshot(request)).await.unwrap()
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.respond(request).await;
        let (parts, body) = response.into_parts();
        let bytes = within(body.collect()).await.unwrap().to_bytes().to_vec();
        Answer {
            status: parts.status,
            headers: parts.headers,
            bytes,
        }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    pub(super) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Submits one task object and gives its id.
    pub(super) async fn submit(&self, task: &Json) -> u64 {
        let answer = self.post("/v1/tasks", task.to_string()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.json()["tasks"][0]["id"].as_u64().unwrap()
    }

    /// An agent with 4 cpus and 8 GiB comes and offers them all.
    pub(super) async fn add_agent(&self) {
        let amounts = |cpus: &str, mem: &str| {
            BTreeMap::from([
                (Arc::from("cpus"), cpus.parse().unwrap()),
                (Arc::from("mem"), mem.parse().unwrap()),
            ])
        };
        let attributes = BTreeMap::from([(Arc::from("rack"), Arc::from("r1"))]);
        let offer = self.next_offer.fetch_add(1, Ordering::Relaxed);
        self.tell(Event::AgentSeen {
            agent: "m1".into(),
            total: amounts("4", "8192"),
            attributes,
        })
        .await;
        self.tell(Event::OfferReceived {
            offer: OfferId(offer),
            agent: "m1".into(),
            free: amounts("4", "8192"),
        })
        .await;
    }

    pub(super) async fn tell(&self, event: Event) {
        assert!(self.events.send(event).await);
        // A look is granted after the batch, so the event has had its effect.
        self.handle.inspect(|_| ()).await.unwrap();
    }

    pub(super) async fn started(&self, task: u64, number: u32) {
        let attempt = attempt(task, number);
        self.tell(Event::AttemptStarted { attempt }).await;
    }

    pub(super) async fn ended(&self, task: u64, number: u32, code: i32, output: &str) {
        let value = Value {
            bytes: output.as_bytes().into(),
            ..Value::default()
        };
        let end = AttemptEnd::Exited { code };
        self.ended_with(task, number, end, value).await;
    }

    pub(super) async fn ended_with(&self, task: u64, number: u32, end: AttemptEnd, value: Value) {
        let event = Event::AttemptEnded {
            attempt: attempt(task, number),
            end,
            usage: Usage {
                wall: Duration::from_millis(1500),
                cpu: Duration::from_millis(250),
                memory_peak_bytes: 1 << 20,
            },
            value,
        };
        self.tell(event).await;
    }

    pub(super) fn is_launched(&self, task: u64, number: u32) -> bool {
        self.noted
            .0
            .lock()
            .unwrap()
            .launched
            .contains(&attempt(task, number))
    }

    pub(super) fn is_killed(&self, task: u64, number: u32) -> bool {
        self.noted
            .0
            .lock()
            .unwrap()
            .killed
            .contains(&attempt(task, number))
    }
}

pub(super) fn attempt(task: u64, number: u32) -> AttemptId {
    AttemptId {
        task: TaskId(task),
        number,
    }
}

/// Fails where something hangs.
pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("an answer within the deadline")
}

/// Where times and agents' pauses don't matter: every time becomes `…`.
pub(super) fn without_times(mut value: Json) -> Json {
    match &mut value {
        Json::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                let is_time = name.ends_with("_at") || name == "at" || name == "not_before";
                *field = if is_time && field.is_string() {
                    "…".into()
                } else {
                    without_times(field.take())
                };
            }
        }
        Json::Array(entries) => {
            for entry in entries {
                *entry = without_times(entry.take());
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
    value
}
