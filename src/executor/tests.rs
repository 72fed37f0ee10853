//! The executor's two connections against servers in this process.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test fails at whatever it does not expect"
)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{post, put};
use prost::Message as _;
use tokio::sync::mpsc;

use super::agent::Agent;
use super::environment::AgentEnvironment;
use super::session::{Answer, Input};
use super::upload::Uploads;
use crate::backend::remote::launch::{Upload, parse_attempt};
use crate::proto::mesos::v1::executor::{self, Call, event};
use crate::proto::recordio;

/// Nothing in these tests takes longer unless it hangs.
const DEADLINE: Duration = Duration::from_secs(30);

/// What a server was asked, and what it is to answer.
#[derive(Clone, Default)]
struct Script {
    asked: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    answers: Arc<Mutex<VecDeque<Response>>>,
}

impl Script {
    fn of(answers: impl IntoIterator<Item = Response>) -> Self {
        Self {
            asked: Arc::default(),
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
        }
    }

    fn asked(&self) -> Vec<(HeaderMap, Bytes)> {
        self.asked.lock().unwrap().clone()
    }
}

async fn answer(State(script): State<Script>, headers: HeaderMap, body: Bytes) -> Response {
    script.asked.lock().unwrap().push((headers, body));
    let answer = script.answers.lock().unwrap().pop_front();
    answer.unwrap_or_else(|| StatusCode::IM_A_TEAPOT.into_response())
}

/// Serves a script; gives `host:port`.
fn router(script: Script) -> Router {
    Router::new()
        .route("/api/v1/executor", post(answer))
        .route("/v1/attempts/{attempt}/value", put(answer))
        .with_state(script)
}

async fn serve(script: Script) -> String {
    let router = router(script);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(axum::serve(listener, router).into_future());
    address
}

fn agent(address: &str) -> Agent {
    let environment = AgentEnvironment::read(|name| match name {
        "MESOS_AGENT_ENDPOINT" => Some(address.to_owned()),
        "MESOS_EXECUTOR_AUTHENTICATION_TOKEN" => Some("jwt".to_owned()),
        "MESOS_FRAMEWORK_ID" | "MESOS_EXECUTOR_ID" | "MESOS_SANDBOX" => Some("x".to_owned()),
        _ => None,
    });
    Agent::new(&environment.unwrap()).unwrap()
}

async fn next(inputs: &mut mpsc::Receiver<Input>) -> Input {
    let input = tokio::time::timeout(DEADLINE, inputs.recv()).await;
    input
        .expect("something within the deadline")
        .expect("somebody speaks")
}

fn stream_of(pieces: Vec<Vec<u8>>) -> Response {
    let pieces = pieces
        .into_iter()
        .map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece)));
    Body::from_stream(futures::stream::iter(pieces)).into_response()
}

fn heartbeat() -> Vec<u8> {
    let event = executor::Event {
        r#type: Some(event::Type::Heartbeat.into()),
        ..executor::Event::default()
    };
    recordio::encode(&event.encode_to_vec())
}

/// Everything that one stream tells: how many events, and why it ended.
async fn listen(answer: Response) -> (usize, String) {
    let script = Script::of([answer]);
    let agent = agent(&serve(script.clone()).await);
    let (sender, mut inputs) = mpsc::channel(8);
    tokio::spawn(agent.listen(3, Call::default(), sender));
    let mut n_heard = 0;
    loop {
        match next(&mut inputs).await {
            Input::Heard(3, event) => {
                assert_eq!(event.r#type, Some(event::Type::Heartbeat.into()));
                n_heard += 1;
            }
            Input::StreamEnded(3, why) => {
                let (headers, _) = &script.asked()[0];
                assert_eq!(headers["accept"], "application/x-protobuf");
                assert_eq!(headers["content-type"], "application/x-protobuf");
                assert_eq!(headers["authorization"], "Bearer jwt");
                return (n_heard, why);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn events_are_told_however_the_stream_is_cut() {
    let bytes = [heartbeat(), heartbeat(), heartbeat()].concat();
    let in_bytes = bytes.iter().map(|byte| vec![*byte]).collect();
    assert_eq!(listen(stream_of(in_bytes)).await.0, 3);
    assert_eq!(listen(stream_of(vec![bytes])).await.0, 3);
}

#[tokio::test]
async fn a_stream_that_is_none_ends() {
    let refused = (
        StatusCode::SERVICE_UNAVAILABLE,
        "Agent has not finished recovery",
    );
    let (n_heard, why) = listen(refused.into_response()).await;
    assert_eq!(n_heard, 0);
    assert!(why.contains("503") && why.contains("recovery"), "{why}");
    let (n_heard, why) = listen(stream_of(vec![heartbeat(), b"garbage".to_vec()])).await;
    assert_eq!(n_heard, 1);
    assert!(why.contains("expected"), "{why}");
    let (n_heard, why) = listen(stream_of(vec![heartbeat(), b"12\nhalf".to_vec()])).await;
    assert_eq!(n_heard, 1);
    assert!(why.contains("within a record"), "{why}");
    // A record that is no event is passed over.
    let no_event = recordio::encode(b"\xff\xff\xff");
    let (n_heard, _) = listen(stream_of(vec![no_event, heartbeat()])).await;
    assert_eq!(n_heard, 1);
}

#[tokio::test]
async fn no_update_overtakes_one_that_failed() {
    let accepted = || StatusCode::ACCEPTED.into_response();
    let invalid = (
        StatusCode::BAD_REQUEST,
        "Failed to validate Executor::Call: x",
    );
    let away = StatusCode::SERVICE_UNAVAILABLE.into_response();
    let script = Script::of([accepted(), invalid.into_response(), away]);
    let agent = agent(&serve(script.clone()).await);
    let (sender, mut inputs) = mpsc::channel(8);
    let (updates, waiting) = mpsc::unbounded_channel();
    for number in 1..=5 {
        updates
            .send(([number; 16], Bytes::from(vec![number])))
            .unwrap();
    }
    tokio::spawn(agent.send_updates(waiting, sender));
    let expected = [
        Answer::Accepted,
        Answer::Refused,
        Answer::Failed,
        Answer::Failed,
        Answer::Failed,
    ];
    for (number, expected) in (1..).zip(expected) {
        match next(&mut inputs).await {
            Input::Answered(uuid, answer) => assert_eq!((uuid, answer), ([number; 16], expected)),
            other => panic!("{other:?}"),
        }
    }
    let bodies: Vec<Vec<u8>> = (script.asked().into_iter())
        .map(|(_, body)| body.to_vec())
        .collect();
    assert_eq!(bodies, [[1], [2], [3]], "the last two were not sent");
}

#[tokio::test]
async fn a_value_is_brought_until_it_is_there() {
    let away = || StatusCode::SERVICE_UNAVAILABLE.into_response();
    let ended = (StatusCode::CONFLICT, "it has ended").into_response();
    let script = Script::of([
        away(),
        away(),
        StatusCode::NO_CONTENT.into_response(),
        ended,
    ]);
    let to = Upload {
        url: format!("http://{}", serve(script.clone()).await),
        token: "secret".to_owned(),
    };
    let (sender, mut inputs) = mpsc::channel(8);
    let mut uploads = Uploads::new(sender, None).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("value");
    let attempt = parse_attempt("7.1").unwrap();
    let value = vec![7; 300_000];
    std::fs::write(&file, &value).unwrap();
    uploads.start(attempt, to.clone(), file.clone());
    assert!(matches!(next(&mut inputs).await, Input::Uploaded(id, Ok(())) if id == attempt));
    let asked = script.asked();
    assert_eq!(asked.len(), 3);
    for (headers, body) in asked {
        assert_eq!(headers["authorization"], "Bearer secret");
        assert_eq!(headers["content-length"], "300000");
        assert_eq!(body, value);
    }
    assert!(!file.exists(), "the scheduler has it");
    // What is refused is not tried again, and what isn't there can't be brought.
    std::fs::write(&file, "late").unwrap();
    uploads.start(attempt, to.clone(), file.clone());
    match next(&mut inputs).await {
        Input::Uploaded(_, Err(why)) => assert!(why.contains("409"), "{why}"),
        other => panic!("{other:?}"),
    }
    uploads.start(attempt, to, file);
    match next(&mut inputs).await {
        Input::Uploaded(_, Err(why)) => assert!(why.contains("can't be read"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(script.asked().len(), 4);
}

/// A listener that speaks TLS, with a certificate of an authority of its own.
struct Encrypted {
    tcp: tokio::net::TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
}

impl axum::serve::Listener for Encrypted {
    type Io = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

/// Serves the script by https; gives the address and, in PEM, the authority.
async fn serve_encrypted(script: Script) -> (String, String) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let provider = rustls::crypto::ring::default_provider();
    let config = rustls::ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let listener = Encrypted {
        tcp: tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(),
        acceptor: Arc::new(config).into(),
    };
    let address = listener.tcp.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router(script)).into_future());
    (address.to_string(), pem)
}

#[tokio::test]
async fn a_value_is_brought_by_https_only_to_whom_the_authority_vouches_for() {
    let script = Script::of([StatusCode::NO_CONTENT.into_response()]);
    let (address, pem) = serve_encrypted(script.clone()).await;
    let to = Upload {
        url: format!("https://{address}"),
        token: "secret".to_owned(),
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("value");
    std::fs::write(&file, "a value").unwrap();
    let attempt = parse_attempt("7.1").unwrap();
    let (sender, mut inputs) = mpsc::channel(8);
    // Whoever doesn't know the authority sends nothing, and tries again.
    let mut stranger = Uploads::new(sender.clone(), None).unwrap();
    stranger.start(attempt, to.clone(), file.clone());
    let mut friend = Uploads::new(sender, Some(&pem)).unwrap();
    friend.start(attempt, to, file);
    assert!(matches!(
        next(&mut inputs).await,
        Input::Uploaded(_, Ok(()))
    ));
    stranger.stop(attempt);
    assert_eq!(script.asked().len(), 1, "only one was answered at all");
}
