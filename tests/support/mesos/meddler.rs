//! Something between a scheduler and its master that meddles with what they say: calls and events are lost, repeated,
//! delayed, or the connection breaks over them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use apportion::proto::mesos::v1::scheduler::{Call, Event, call};
use apportion::proto::recordio::{Decoder, RECORD_BYTES_MAX};
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, Response};
use futures::StreamExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::support::wait;

/// What happens to a call or an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It arrives.
    Pass,
    /// It arrives twice.
    Twice,
    /// It arrives after so long.
    Late(Duration),
    /// It never arrives, and the connection breaks.
    Break,
    /// It arrives, and the connection breaks.
    Unanswered,
    /// It never arrives, and nobody notices. Calls are answered all the same.
    Lost,
}

/// Decides fates. May wait.
pub(crate) trait Meddle: Send + Sync + 'static {
    /// Of a call, but a subscription.
    fn call(&self, call: &Call) -> Fate;
    /// Of an event.
    fn event(&self, event: &Event) -> Fate;
}

/// A running meddler.
pub(crate) struct Meddler {
    url: String,
    _runtime: Runtime,
}

struct Way {
    client: reqwest::Client,
    to: String,
    meddle: Box<dyn Meddle>,
}

type Answer = Result<Response<Body>, io::Error>;

impl Meddler {
    /// Between the loopback and the master at `to`, an URL.
    #[must_use]
    pub(crate) fn start(to: String, meddle: impl Meddle) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let client = apportion::http_client::builder().build().unwrap();
        let way = Arc::new(Way {
            client,
            to,
            meddle: Box::new(meddle),
        });
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let way = Arc::clone(&way);
                let service = service_fn(move |request| Arc::clone(&way).handle(request));
                // An error of the service is a broken connection.
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(client), service));
            }
        });
        Self {
            url,
            _runtime: runtime,
        }
    }

    /// Where it pretends to be the master.
    #[must_use]
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Way {
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let body = to_bytes(Body::new(body), usize::MAX).await;
        let request = Request::from_parts(head, body.map_err(io::Error::other)?);
        if request.uri().path() != "/api/v1/scheduler" {
            return self.forward(&request).await;
        }
        let call = Call::decode(request.body().clone()).unwrap();
        if call.r#type() == call::Type::Subscribe {
            return self.subscribe(&request).await;
        }
        let this = Arc::clone(&self);
        let fate = tokio::task::spawn_blocking(move || this.meddle.call(&call)).await;
        match fate.unwrap() {
            Fate::Pass => self.forward(&request).await,
            Fate::Twice => {
                let _ = self.forward(&request).await;
                self.forward(&request).await
            }
            Fate::Late(by) => {
                wait::delay(by).await;
                self.forward(&request).await
            }
            Fate::Break => Err(io::Error::other("broken")),
            Fate::Unanswered => {
                let _ = self.forward(&request).await;
                Err(io::Error::other("broken"))
            }
            Fate::Lost => Ok(Response::builder().status(202).body(Body::empty()).unwrap()),
        }
    }

    async fn send(&self, request: &Request<Bytes>) -> Result<reqwest::Response, io::Error> {
        let path = request.uri().path_and_query().unwrap();
        let mut sent = self
            .client
            .request(request.method().clone(), format!("{}{path}", self.to));
        for name in ["content-type", "accept", "authorization", "mesos-stream-id"] {
            if let Some(value) = request.headers().get(name) {
                sent = sent.header(name, value);
            }
        }
        let answer = sent.body(request.body().clone()).send().await;
        answer.map_err(io::Error::other)
    }

    async fn forward(&self, request: &Request<Bytes>) -> Answer {
        let answer = self.send(request).await?;
        let head = head_of(&answer);
        let body = answer.bytes().await.map_err(io::Error::other)?;
        Ok(head.body(Body::from(body)).unwrap())
    }

    async fn subscribe(self: Arc<Self>, request: &Request<Bytes>) -> Answer {
        let answer = self.send(request).await?;
        let head = head_of(&answer);
        let (told, events) = mpsc::channel(1);
        tokio::spawn(self.follow(answer, told));
        let events = futures::stream::unfold(events, |mut events| async {
            let next: Option<Result<Bytes, io::Error>> = events.recv().await;
            next.map(|event| (event, events))
        });
        Ok(head.body(Body::from_stream(events)).unwrap())
    }

    /// Passes events on until one of the two ends is gone, or is to believe so.
    async fn follow(
        self: Arc<Self>,
        answer: reqwest::Response,
        told: mpsc::Sender<Result<Bytes, io::Error>>,
    ) {
        let mut decoder = Decoder::new(RECORD_BYTES_MAX);
        let mut chunks = answer.bytes_stream();
        while let Some(Ok(chunk)) = chunks.next().await {
            decoder.push(&chunk);
            while let Some(record) = decoder.next_record().unwrap() {
                let event = Event::decode(record.clone()).unwrap();
                let this = Arc::clone(&self);
                let fate = tokio::task::spawn_blocking(move || this.meddle.event(&event)).await;
                let framed = [format!("{}\n", record.len()).as_bytes(), &record].concat();
                let framed = Bytes::from(framed);
                let fate = fate.unwrap();
                let n_times = match fate {
                    Fate::Pass | Fate::Unanswered => 1,
                    Fate::Twice => 2,
                    Fate::Late(by) => {
                        wait::delay(by).await;
                        1
                    }
                    Fate::Break | Fate::Lost => 0,
                };
                for _ in 0..n_times {
                    if told.send(Ok(framed.clone())).await.is_err() {
                        return;
                    }
                }
                if matches!(fate, Fate::Break | Fate::Unanswered) {
                    let _ = told.send(Err(io::Error::other("broken"))).await;
                    return;
                }
            }
        }
    }
}

/// The beginning of an answer like this one.
fn head_of(answer: &reqwest::Response) -> axum::http::response::Builder {
    let mut head = Response::builder().status(answer.status());
    for name in ["content-type", "mesos-stream-id", "location"] {
        if let Some(value) = answer.headers().get(name) {
            head = head.header(name, value);
        }
    }
    head
}
