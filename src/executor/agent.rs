//! The agent's HTTP API: one connection on which its events stream, one for all updates.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use prost::Message as _;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Response, StatusCode};
use tokio::sync::mpsc;

use super::environment::AgentEnvironment;
use super::session::{Answer, Input, Uuid};
use crate::proto::mesos::v1::executor::{self, Call};
use crate::proto::recordio::{Decoder, RECORD_BYTES_MAX};

/// The one format that is spoken. An agent that may answer in JSON does.
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// How long the agent, on the same machine, may take for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// How long it may take for an update, which it writes to its disk first.
const UPDATE_MAX: Duration = Duration::from_secs(30);

/// Where calls go. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    streams: Client,
    calls: Client,
    url: String,
}

impl Agent {
    /// Of this executor.
    ///
    /// # Errors
    /// What the agent told can't stand in a header, or the client can't be had.
    pub(super) fn new(environment: &AgentEnvironment) -> std::io::Result<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, PROTOBUF);
        headers.insert(ACCEPT, PROTOBUF);
        if let Some(token) = &environment.token {
            let bearer = HeaderValue::from_str(&format!("Bearer {token}"));
            headers.insert(AUTHORIZATION, bearer.map_err(std::io::Error::other)?);
        }
        let builder = || {
            crate::http_client::builder()
                .default_headers(headers.clone())
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_MAX)
                .no_proxy()
        };
        let calls = builder().timeout(UPDATE_MAX).pool_max_idle_per_host(1);
        Ok(Self {
            streams: builder().build().map_err(std::io::Error::other)?,
            calls: calls.build().map_err(std::io::Error::other)?,
            url: environment.api_url.clone(),
        })
    }

    async fn post(&self, client: &Client, body: Vec<u8>) -> reqwest::Result<Response> {
        client.post(&self.url).body(body).send().await
    }

    /// Subscribes, tells of each event as it comes, and at last of the stream's end.
    pub(super) async fn listen(self, stream: u64, subscribe: Call, inputs: mpsc::Sender<Input>) {
        let why = match self.read_stream(stream, &subscribe, &inputs).await {
            Ok(()) => "the agent closed it".to_owned(),
            Err(why) => why,
        };
        // If nobody listens any more, nobody needs to know.
        let _ = inputs.send(Input::StreamEnded(stream, why)).await;
    }

    async fn read_stream(
        &self,
        stream: u64,
        subscribe: &Call,
        inputs: &mpsc::Sender<Input>,
    ) -> Result<(), String> {
        let answer = self.post(&self.streams, subscribe.encode_to_vec()).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status() != StatusCode::OK {
            let status = answer.status();
            let said = answer.text().await.unwrap_or_default();
            return Err(format!("{status}: {said}"));
        }
        let mut chunks = answer.bytes_stream();
        let mut records = Decoder::new(RECORD_BYTES_MAX);
        while let Some(chunk) = chunks.next().await {
            records.push(&chunk.map_err(|error| error.to_string())?);
            while let Some(record) = records.next_record().map_err(|error| error.to_string())? {
                match executor::Event::decode(record) {
                    Ok(event) => {
                        let heard = Input::Heard(stream, Box::new(event));
                        if inputs.send(heard).await.is_err() {
                            return Ok(());
                        }
                    }
                    Err(error) => tracing::warn!(%error, "the agent sent what is no event"),
                }
            }
        }
        records.finish().map_err(|error| error.to_string())
    }

    /// Sends updates, one after the other, until nobody gives any more. After one that failed, those that are waiting
    /// count as failed too, so that none overtakes it.
    pub(super) async fn send_updates(
        self,
        mut updates: mpsc::UnboundedReceiver<(Uuid, Bytes)>,
        inputs: mpsc::Sender<Input>,
    ) {
        while let Some((uuid, body)) = updates.recv().await {
            let answer = self.update(body).await;
            let mut answers = vec![Input::Answered(uuid, answer)];
            if answer == Answer::Failed {
                while let Ok((uuid, _)) = updates.try_recv() {
                    answers.push(Input::Answered(uuid, Answer::Failed));
                }
            }
            for answer in answers {
                if inputs.send(answer).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn update(&self, body: Bytes) -> Answer {
        let answer = match self.post(&self.calls, body.into()).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, "an update did not reach the agent");
                return Answer::Failed;
            }
        };
        let status = answer.status();
        let said = answer.text().await.unwrap_or_default();
        let answer = answer_of(status, &said);
        if answer != Answer::Accepted {
            tracing::warn!(%status, said, "the agent did not take an update");
        }
        answer
    }
}

/// What an answer to an update means. An agent that doesn't know this executor answers 400 too; then it is the
/// subscription that is wrong, not the update.
fn answer_of(status: StatusCode, said: &str) -> Answer {
    let said = said.to_ascii_lowercase();
    let is_invalid = ["failed to validate", "failed to parse"]
        .iter()
        .any(|words| said.starts_with(words));
    if status == StatusCode::ACCEPTED {
        Answer::Accepted
    } else if status == StatusCode::BAD_REQUEST && is_invalid {
        Answer::Refused
    } else {
        Answer::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_wrong_update_is_refused() {
        let bad = StatusCode::BAD_REQUEST;
        for (status, said, expected) in [
            (StatusCode::ACCEPTED, "", Answer::Accepted),
            (
                bad,
                "Failed to validate Executor::Call: no uuid",
                Answer::Refused,
            ),
            (
                bad,
                "Failed to parse body into Call protobuf",
                Answer::Refused,
            ),
            (bad, "Executor 'E' cannot be found", Answer::Failed),
            (
                StatusCode::FORBIDDEN,
                "Executor is not subscribed",
                Answer::Failed,
            ),
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "Agent has not finished recovery",
                Answer::Failed,
            ),
        ] {
            assert_eq!(answer_of(status, said), expected, "{status} {said}");
        }
    }
}
