//! Talking to masters over HTTP: the stream of events, calls, and what agents have.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use futures::StreamExt as _;
use prost::Message as _;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Response};
use serde::Deserialize;
use tokio::sync::mpsc::Sender;

use super::MesosError;
use super::resources;
use super::session::{AgentTotal, CallEnd, OutCall};
use crate::backend::settings::MesosConfig;
use crate::http_client;
use crate::proto::mesos::v1::scheduler::{Call, Event};
use crate::proto::mesos::v1::{self, value};
use crate::proto::recordio::{Decoder, RECORD_BYTES_MAX};

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const STREAM_ID: &str = "Mesos-Stream-Id";

/// How long a master may take to answer a call.
const CALL_MAX: Duration = Duration::from_secs(30);

/// What is read of a refusal, in bytes.
const TEXT_MAX: usize = 4096;

/// What the shell hears from its tasks.
#[derive(Debug)]
pub(super) enum Heard {
    /// The master that leads, or those that may.
    Masters(Vec<Arc<str>>),
    /// Nobody says who leads, and why.
    NoMasters(String),
    /// A subscription was answered with a stream.
    Opened { generation: u64, stream_id: String },
    /// A subscription was refused.
    Refused {
        generation: u64,
        code: u16,
        leader: Option<Arc<str>>,
        text: String,
    },
    /// Bytes came, and with them these events.
    Events(u64, Vec<Event>),
    /// A stream ended, or could not be opened.
    Closed(u64, String),
    /// What became of a call.
    CallDone {
        id: u64,
        generation: u64,
        end: CallEnd,
    },
    /// What agents have.
    Agents(Result<Vec<AgentTotal>, String>),
}

/// A client with our credentials. Cheap to clone.
#[derive(Clone)]
pub(super) struct Talk {
    client: Client,
    authorization: Option<HeaderValue>,
    role: Arc<str>,
}

impl Talk {
    /// Reads what the configuration names: the secret and certificates.
    pub(super) fn new(config: &MesosConfig) -> Result<Self, MesosError> {
        let client = client_builder(config)?
            .redirect(Policy::none())
            .tcp_keepalive(Duration::from_secs(30))
            .build();
        let client = client.map_err(|error| MesosError::Tls {
            what: "backend.mesos.ca_file",
            message: error.to_string(),
        })?;
        Ok(Self {
            client,
            authorization: authorization(config)?,
            role: Arc::clone(&config.role),
        })
    }

    async fn post(
        &self,
        url: String,
        body: Vec<u8>,
        content: HeaderValue,
        stream_id: Option<&str>,
        timeout: Option<Duration>,
    ) -> reqwest::Result<Response> {
        let mut request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, content.clone())
            .header(ACCEPT, content)
            .body(body);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(stream_id) = stream_id {
            request = request.header(STREAM_ID, stream_id);
        }
        if let Some(timeout) = timeout {
            request = request.timeout(timeout);
        }
        request.send().await
    }

    /// Subscribes, and tells of all that comes until the stream ends.
    pub(super) async fn subscribe(
        self,
        generation: u64,
        master: Arc<str>,
        call: Box<Call>,
        heard: Sender<Heard>,
    ) {
        let url = format!("{master}/api/v1/scheduler");
        let body = call.encode_to_vec();
        // Without a time limit: the answer has no end.
        let last = match self.post(url, body, PROTOBUF, None, None).await {
            Err(error) => Heard::Closed(generation, with_advice(in_words(&error))),
            Ok(response) if response.status().as_u16() == 200 => {
                Self::follow(generation, response, &heard).await
            }
            Ok(response) => {
                let code = response.status().as_u16();
                let location = response.headers().get(LOCATION);
                let location = location.and_then(|it| it.to_str().ok());
                let leader = location.and_then(|location| leader(location, &master));
                let text = text_of(response).await;
                Heard::Refused {
                    generation,
                    code,
                    leader,
                    text,
                }
            }
        };
        let _ = heard.send(last).await;
    }

    async fn follow(generation: u64, response: Response, heard: &Sender<Heard>) -> Heard {
        let stream_id = response.headers().get(STREAM_ID);
        let stream_id = stream_id.and_then(|id| id.to_str().ok()).unwrap_or("");
        let opened = Heard::Opened {
            generation,
            stream_id: stream_id.to_owned(),
        };
        let _ = heard.send(opened).await;
        let mut decoder = Decoder::new(RECORD_BYTES_MAX);
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let bytes = match chunk {
                Ok(bytes) => bytes,
                Err(error) => return Heard::Closed(generation, in_words(&error)),
            };
            decoder.push(&bytes);
            let mut events = Vec::new();
            loop {
                match decoder.next_record() {
                    Ok(Some(record)) => match Event::decode(record) {
                        Ok(event) => events.push(event),
                        Err(error) => tracing::warn!(%error, "an unreadable event is ignored"),
                    },
                    Ok(None) => break,
                    Err(error) => return Heard::Closed(generation, error.to_string()),
                }
            }
            if heard.send(Heard::Events(generation, events)).await.is_err() {
                break;
            }
        }
        Heard::Closed(generation, "the master closed the stream".to_owned())
    }

    /// Makes a call. Also says the HTTP status, for metrics: 0 where there was no answer.
    pub(super) async fn call(&self, call: &OutCall) -> (CallEnd, u16) {
        let url = format!("{}/api/v1/scheduler", call.master);
        let body = call.body.encode_to_vec();
        let answer = self
            .post(url, body, PROTOBUF, Some(&call.stream_id), Some(CALL_MAX))
            .await;
        match answer {
            Err(error) if error.is_connect() => {
                // Nobody was there to take it.
                let text = in_words(&error);
                (CallEnd::Refused { code: 0, text }, 0)
            }
            Err(error) => (CallEnd::Unknown(in_words(&error)), 0),
            Ok(response) if response.status().is_success() => {
                (CallEnd::Accepted, response.status().as_u16())
            }
            Ok(response) => {
                let code = response.status().as_u16();
                let text = text_of(response).await;
                (CallEnd::Refused { code, text }, code)
            }
        }
    }

    /// Asks a master what its agents have.
    pub(super) async fn agents(&self, master: &str) -> Result<Vec<AgentTotal>, String> {
        let body = br#"{"type":"GET_AGENTS"}"#.to_vec();
        let url = format!("{master}/api/v1");
        let answer = self.post(url, body, JSON, None, Some(CALL_MAX)).await;
        let response = answer.map_err(|error| in_words(&error))?;
        let code = response.status().as_u16();
        if code != 200 {
            return Err(format!("{code} {}", text_of(response).await));
        }
        let answer: AgentsAnswer = response.json().await.map_err(|error| in_words(&error))?;
        let agents = answer.get_agents.agents.into_iter();
        Ok(agents
            .filter(|agent| agent.active)
            .map(|agent| agent.total(&self.role))
            .collect())
    }
}

/// The base URL of the master that a redirect names: `//host:port/path`, or a whole URL.
fn leader(location: &str, master: &str) -> Option<Arc<str>> {
    let scheme = master
        .split_once("://")
        .map_or("http", |(scheme, _)| scheme);
    let whole = match location.strip_prefix("//") {
        Some(rest) => format!("{scheme}://{rest}"),
        None => location.to_owned(),
    };
    let url = reqwest::Url::parse(&whole).ok()?;
    let host = url.host_str()?;
    let port = url.port_or_known_default()?;
    Some(format!("{}://{host}:{port}", url.scheme()).into())
}

/// The beginning of a body, for people.
async fn text_of(response: Response) -> String {
    let mut text = response.text().await.unwrap_or_default();
    text.truncate(text.floor_char_boundary(TEXT_MAX));
    text
}

/// An error with its causes: the outermost alone says only that something failed.
fn in_words(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}

/// The same with what to do about it, where that is known.
fn with_advice(text: String) -> String {
    if text.contains("UnknownIssuer") {
        format!("{text}; name the authority that signed it in backend.mesos.ca_file")
    } else {
        text
    }
}

/// A client that trusts whom the configuration says.
pub(super) fn client_builder(config: &MesosConfig) -> Result<ClientBuilder, MesosError> {
    let Some(path) = &config.ca_file else {
        return Ok(http_client::builder());
    };
    let (found, _) = certificates("backend.mesos.ca_file", path)?;
    Ok(http_client::builder().tls_certs_only(found))
}

/// What executors are told of whom to trust when they bring values: the text of the file that the configuration names.
pub(super) fn executor_ca(config: &MesosConfig) -> Result<Option<String>, MesosError> {
    let path = config.executor_ca_file.as_deref();
    let read = path.map(|path| certificates("backend.mesos.executor_ca_file", path));
    Ok(read.transpose()?.map(|(_, text)| text))
}

/// Reads a file of certificates that a key names; gives its text, too.
fn certificates(what: &'static str, path: &Path) -> Result<(Vec<Certificate>, String), MesosError> {
    let unreadable = |source| MesosError::Unreadable {
        what,
        path: path.to_owned(),
        source,
    };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let message = match Certificate::from_pem_bundle(text.as_bytes()) {
        Ok(found) if !found.is_empty() => return Ok((found, text)),
        Ok(_) => format!("{} holds no certificate in PEM", path.display()),
        Err(error) => error.to_string(),
    };
    Err(MesosError::Tls { what, message })
}

/// The principal and its secret, where there is one.
pub(super) fn credentials(config: &MesosConfig) -> Result<Option<(String, String)>, MesosError> {
    let Some(credentials) = &config.credentials else {
        return Ok(None);
    };
    let Some(path) = &credentials.secret_file else {
        return Ok(None);
    };
    let secret = std::fs::read_to_string(path).map_err(|source| MesosError::Unreadable {
        what: "backend.mesos.secret_file",
        path: path.clone(),
        source,
    })?;
    let principal = credentials.principal.clone();
    Ok(Some((principal, secret.trim_end().to_owned())))
}

fn authorization(config: &MesosConfig) -> Result<Option<HeaderValue>, MesosError> {
    let Some((principal, secret)) = credentials(config)? else {
        return Ok(None);
    };
    let pair = format!("{principal}:{secret}");
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    let mut value =
        HeaderValue::try_from(format!("Basic {encoded}")).expect("base64 can stand in a header");
    value.set_sensitive(true);
    Ok(Some(value))
}

/// What of the operator API's answer is read.
#[derive(Deserialize)]
struct AgentsAnswer {
    get_agents: GetAgents,
}

#[derive(Deserialize)]
struct GetAgents {
    #[serde(default)]
    agents: Vec<Agent>,
}

#[derive(Deserialize)]
struct Agent {
    agent_info: AgentInfo,
    #[serde(default)]
    active: bool,
    #[serde(default)]
    total_resources: Vec<JsonResource>,
}

#[derive(Deserialize)]
struct AgentInfo {
    hostname: String,
    id: Id,
    #[serde(default)]
    attributes: Vec<JsonAttribute>,
}

#[derive(Deserialize)]
struct Id {
    value: String,
}

#[derive(Deserialize)]
struct Number {
    value: f64,
}

#[derive(Deserialize)]
struct JsonAttribute {
    name: String,
    text: Option<Id>,
    scalar: Option<Number>,
}

/// A resource with what decides whether it may be used.
#[derive(Deserialize)]
struct JsonResource {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    scalar: Option<Number>,
    role: Option<String>,
    #[serde(default)]
    reservations: Vec<JsonReservation>,
    revocable: Option<serde::de::IgnoredAny>,
    shared: Option<serde::de::IgnoredAny>,
    disk: Option<serde::de::IgnoredAny>,
    provider_id: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct JsonReservation {
    role: Option<String>,
}

impl Agent {
    fn total(self, role: &str) -> AgentTotal {
        let entries: Vec<v1::Resource> = (self.total_resources.into_iter())
            .map(JsonResource::into_resource)
            .collect();
        let attributes: Vec<v1::Attribute> = (self.agent_info.attributes.into_iter())
            .map(|attribute| v1::Attribute {
                name: attribute.name,
                text: attribute.text.map(|it| value::Text { value: it.value }),
                scalar: attribute.scalar.map(|it| value::Scalar { value: it.value }),
                ..v1::Attribute::default()
            })
            .collect();
        AgentTotal {
            agent: self.agent_info.id.value.into(),
            total: resources::usable(&entries, role),
            attributes: resources::attributes(&attributes, &self.agent_info.hostname),
            hostname: self.agent_info.hostname,
        }
    }
}

impl JsonResource {
    fn into_resource(self) -> v1::Resource {
        let kind = match self.kind.as_str() {
            "SCALAR" => value::Type::Scalar,
            _ => value::Type::Set,
        };
        v1::Resource {
            name: self.name,
            r#type: kind as i32,
            scalar: self.scalar.map(|it| value::Scalar { value: it.value }),
            role: self.role,
            reservations: (self.reservations.into_iter())
                .map(|it| v1::resource::ReservationInfo {
                    role: it.role,
                    ..Default::default()
                })
                .collect(),
            revocable: self.revocable.map(|_| Default::default()),
            shared: self.shared.map(|_| Default::default()),
            disk: self.disk.map(|_| Default::default()),
            provider_id: self.provider_id.map(|_| Default::default()),
            ..v1::Resource::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_names_the_leader() {
        let cases = [
            (
                "//m2:5050/api/v1/scheduler",
                "http://m1:5050",
                "http://m2:5050",
            ),
            (
                "//[::1]:5051/api/v1/scheduler",
                "https://[::1]:5050",
                "https://[::1]:5051",
            ),
            (
                "http://10.0.0.2:5050/x",
                "http://10.0.0.1:5050",
                "http://10.0.0.2:5050",
            ),
        ];
        for (location, master, expected) in cases {
            assert_eq!(
                leader(location, master).as_deref(),
                Some(expected),
                "{location}"
            );
        }
        assert_eq!(leader("nonsense", "http://m1:5050"), None);
    }

    #[test]
    fn what_agents_have_is_read() {
        let answer = r#"{"type":"GET_AGENTS","get_agents":{"agents":[
            {"active":true,"agent_info":{"hostname":"h","port":5051,"id":{"value":"A-S0"},
              "attributes":[{"name":"rack","type":"TEXT","text":{"value":"r1"}}]},
             "total_resources":[
              {"name":"cpus","type":"SCALAR","scalar":{"value":4.0},"role":"*","allocation_info":{}},
              {"name":"cpus","type":"SCALAR","scalar":{"value":2.0},"reservations":[{"role":"other","type":"STATIC"}]},
              {"name":"db_connections","type":"SCALAR","scalar":{"value":7}},
              {"name":"ports","type":"RANGES","ranges":{"range":[{"begin":1,"end":2}]}}]}]}}"#;
        let answer: AgentsAnswer = serde_json::from_str(answer).unwrap();
        let agent = answer.get_agents.agents.into_iter().next().unwrap();
        let agent = agent.total("apportion");
        assert_eq!(&*agent.agent, "A-S0");
        let total: Vec<(&str, u64)> = (agent.total.iter())
            .map(|(name, amount)| (&**name, amount.milli()))
            .collect();
        assert_eq!(total, [("cpus", 4000), ("db_connections", 7000)]);
        assert_eq!(agent.attributes["rack"], "r1".into());
        assert_eq!(agent.attributes["hostname"], "h".into());
    }
}
