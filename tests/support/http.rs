//! A small blocking client of the daemon's HTTP API.

use std::time::Duration;

use serde_json::Value;

/// Talks to one daemon.
pub(crate) struct Http {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    url: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// After how many seconds to try again, where that was said.
    pub(crate) retry_after: Option<u64>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; a text that is none stands for itself.
    #[must_use]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| Value::String(self.text()))
    }

    /// The body as text.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Insists on a status and gives the body as JSON.
    #[track_caller]
    #[must_use]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// Insists on an error of this status and code, and gives its message.
    #[track_caller]
    #[must_use]
    pub(crate) fn expect_error(&self, status: u16, code: &str) -> String {
        let body = self.expect(status);
        assert_eq!(body["error"]["code"], code, "{body}");
        body["error"]["message"]
            .as_str()
            .expect("an error has a message")
            .to_owned()
    }
}

impl Http {
    /// A client for the daemon at this address.
    #[must_use]
    pub(crate) fn new(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let client = apportion::http_client::builder()
            .timeout(Duration::from_secs(60))
            .build()
            .unwrap();
        Self {
            runtime,
            client,
            url: url.to_owned(),
        }
    }

    fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        self.runtime.block_on(async {
            let response = request.send().await?;
            let status = response.status().as_u16();
            let retry_after = response.headers().get("retry-after");
            Ok(Answer {
                status,
                retry_after: retry_after.and_then(|value| value.to_str().ok()?.parse().ok()),
                body: response.bytes().await?.to_vec(),
            })
        })
    }

    /// GET, where the daemon may be away.
    ///
    /// # Errors
    /// It is away.
    pub(crate) fn try_get(&self, path: &str) -> Result<Answer, reqwest::Error> {
        self.send(self.client.get(format!("{}{path}", self.url)))
    }

    /// POST of JSON, where the daemon may be away.
    ///
    /// # Errors
    /// It is away.
    pub(crate) fn try_post(&self, path: &str, body: &Value) -> Result<Answer, reqwest::Error> {
        self.send(self.client.post(format!("{}{path}", self.url)).json(body))
    }

    /// GET.
    #[track_caller]
    #[must_use]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.try_get(path).unwrap()
    }

    /// GET with a token.
    #[track_caller]
    #[must_use]
    pub(crate) fn get_as(&self, token: &str, path: &str) -> Answer {
        let request = self.client.get(format!("{}{path}", self.url));
        self.send(request.bearer_auth(token)).unwrap()
    }

    /// POST of JSON.
    #[track_caller]
    #[must_use]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.try_post(path, body).unwrap()
    }

    /// POST of any bytes.
    #[track_caller]
    #[must_use]
    pub(crate) fn post_bytes(&self, path: &str, content_type: &str, body: Vec<u8>) -> Answer {
        let request = self.client.post(format!("{}{path}", self.url));
        self.send(request.header("content-type", content_type).body(body))
            .unwrap()
    }

    /// Submits one task and gives its id.
    #[track_caller]
    #[must_use]
    pub(crate) fn submit(&self, task: &Value) -> u64 {
        let body = self.post("/v1/tasks", task).expect(201);
        body["tasks"][0]["id"]
            .as_u64()
            .expect("an accepted task has an id")
    }

    /// A task as it stands.
    #[track_caller]
    #[must_use]
    pub(crate) fn task(&self, id: u64) -> Value {
        self.get(&format!("/v1/tasks/{id}")).expect(200)
    }

    /// Waits until a task is in this state, and gives it.
    #[track_caller]
    pub(crate) fn wait_state(&self, id: u64, state: &str) -> Value {
        super::wait::until(
            &format!("task {id} to be {state}"),
            Duration::from_secs(60),
            || {
                let task = self.task(id);
                (task["state"] == state).then_some(task)
            },
        )
    }

    /// Waits until a task has ended, and gives it.
    #[track_caller]
    pub(crate) fn wait_ended(&self, id: u64) -> Value {
        super::wait::until(
            &format!("task {id} to end"),
            Duration::from_secs(60),
            || {
                let task = self.task(id);
                (!task["outcome"].is_null()).then_some(task)
            },
        )
    }
}
