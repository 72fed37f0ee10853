//! Calls of the API, straight into its router: a line with the method and the path, then the body.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use apportion::access::Access;
use apportion::api::{ApiState, router};
use apportion::backend::values::Values;
use apportion::backend::{Backend, LogChunk, LogError, LogStream, Logs};
use apportion::config::{self, Config};
use apportion::driver::{self, BatchStats, Handle};
use apportion::engine::{AttemptId, Decision, Engine, Fact};
use apportion::metrics::Metrics;
use apportion::policies::Registry;
use apportion::store::{StoreError, sqlite};
use apportion::{clock, engine};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tower::ServiceExt as _;

/// So long it may wait for something to answer with.
const WAIT: Duration = Duration::from_millis(50);

const CONFIG: &str = "
[server]
body_max = \"64KiB\"
[tasks]
live_max = 1000
[resources.licences]
scope = \"cluster\"
capacity = 10
[queues.default]
[queues.\"maps/render\"]
max = { licences = 3 }
queued_max = 100
";

/// Runs nothing, and has no outputs.
struct Nothing;

impl Backend for Nothing {
    fn act(&mut self, _: Decision) {}
    fn reconcile(&mut self, _: Vec<AttemptId>) {}
    fn shut_down(&mut self) {}
}

impl Logs for Nothing {
    fn read(
        &self,
        _: AttemptId,
        _: Arc<str>,
        _: LogStream,
        _: u64,
        _: usize,
    ) -> BoxFuture<'_, Result<Option<LogChunk>, LogError>> {
        futures::future::ready(Ok(None)).boxed()
    }
}

/// A daemon without a network.
pub(crate) struct Daemon {
    runtime: Runtime,
    router: Router,
    handle: Handle,
    thread: Option<JoinHandle<Result<(), StoreError>>>,
    // Removed when it is dropped, as is the rest.
    _folder: TempDir,
    // Kept, since the API would take its end for the daemon's.
    _config: watch::Sender<Arc<Config>>,
}

impl Daemon {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Arc::new(config::parse(CONFIG, &Registry::default()).unwrap());
        let (handle, _events, inbox) = driver::channel();
        let (store, reader) = sqlite::open(folder.path()).unwrap();
        let metrics = Metrics::install(clock::now());
        let mut engine = Engine::new(config.engine.clone());
        engine.recovered(engine::Time(1));
        let (sender, receiver) = watch::channel(config);
        let state = ApiState {
            handle: handle.clone(),
            access: Arc::new(Access::open(folder.path()).unwrap()),
            reader: Arc::new(reader),
            logs: Arc::new(Nothing),
            values: Values::new(folder.path().join("values")),
            service: None,
            config: receiver,
            metrics: metrics.clone(),
            trouble: watch::channel(None).1,
        };
        let observer = move |facts: &[Fact], stats: &BatchStats| metrics.record_batch(facts, stats);
        let run = move || {
            let _kept = _events;
            inbox.run(
                engine,
                Box::new(store),
                Box::new(Nothing),
                Box::new(observer),
            )
        };
        Self {
            runtime: Builder::new_current_thread().enable_time().build().unwrap(),
            router: router(state),
            handle,
            thread: Some(std::thread::spawn(run)),
            _folder: folder,
            _config: sender,
        }
    }

    /// Makes the call that these bytes are, if they are one at all.
    pub(crate) fn call(&self, bytes: &[u8]) {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (line, body) = bytes.split_at(end.unwrap_or(bytes.len()));
        let body = body.get(1..).unwrap_or_default().to_vec();
        let line = std::str::from_utf8(line).ok();
        let Some((method, path)) = line.and_then(|line| line.split_once(' ')) else {
            return;
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json");
        // What is no call never comes so far.
        let Ok(request) = request.body(Body::from(body)) else {
            return;
        };
        let router = self.router.clone();
        let answered = self.runtime.block_on(async {
            let answer = tokio::time::timeout(WAIT, router.oneshot(request))
                .await
                .ok()?;
            let (head, body) = answer.unwrap().into_parts();
            let body = tokio::time::timeout(WAIT, body.collect()).await.ok()?;
            Some((head.status, body.ok()?.to_bytes()))
        });
        let Some((status, body)) = answered else {
            return;
        };
        let text = String::from_utf8_lossy(&body);
        assert!(
            status.as_u16() < 500 || status.as_u16() == 503,
            "{status} {text}"
        );
        if status.as_u16() >= 400 {
            assert!(
                text.contains("\"code\"") && text.contains("\"message\""),
                "{status} {text}"
            );
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.runtime.block_on(self.handle.stop());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            matches!(ended, Some(Ok(Ok(())))),
            "the driver failed: {ended:?}"
        );
    }
}
