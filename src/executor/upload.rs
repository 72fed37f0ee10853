//! Brings values to the scheduler, and waits for it where it is away.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_LENGTH;
use reqwest::{Certificate, Client, StatusCode};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

use super::session::Input;
use crate::backend::remote::launch::Upload;
use crate::engine::AttemptId;

/// The pause after the first try that failed. It doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(250);
/// See [`PAUSE`].
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// How long the scheduler may take for a connection, and between two signs of life.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// So many go on at once; they share one network.
const UPLOADS_MAX: usize = 4;

/// The uploads of an executor.
#[derive(Debug)]
pub(super) struct Uploads {
    client: Client,
    permits: Arc<Semaphore>,
    running: BTreeMap<AttemptId, AbortHandle>,
    inputs: mpsc::Sender<Input>,
}

impl Uploads {
    /// What comes of them is told through `inputs`. Over https the scheduler must have a certificate of one of the
    /// authorities in `daemon_ca`, PEM, or of one that this machine trusts where that is `None`.
    ///
    /// # Errors
    /// The client can't be had: these are no certificates.
    pub(super) fn new(
        inputs: mpsc::Sender<Input>,
        daemon_ca: Option<&str>,
    ) -> std::io::Result<Self> {
        let mut builder = crate::http_client::builder();
        if let Some(pem) = daemon_ca {
            let trusted = Certificate::from_pem_bundle(pem.as_bytes());
            builder = builder.tls_certs_only(trusted.map_err(std::io::Error::other)?);
        }
        let client = builder
            .connect_timeout(SILENCE_MAX)
            .tcp_user_timeout(SILENCE_MAX)
            .read_timeout(SILENCE_MAX)
            .build();
        Ok(Self {
            client: client.map_err(std::io::Error::other)?,
            permits: Arc::new(Semaphore::new(UPLOADS_MAX)),
            running: BTreeMap::new(),
            inputs,
        })
    }

    /// Begins one, in place of an earlier one for the same attempt. The file is removed when the scheduler has it.
    pub(super) fn start(&mut self, attempt: AttemptId, to: Upload, file: PathBuf) {
        self.stop(attempt);
        let (client, permits) = (self.client.clone(), Arc::clone(&self.permits));
        let inputs = self.inputs.clone();
        let task = tokio::spawn(async move {
            let result = deliver(&client, &permits, attempt, &to, &file).await;
            let _ = std::fs::remove_file(&file);
            let _ = inputs.send(Input::Uploaded(attempt, result)).await;
        });
        self.running.retain(|_, running| !running.is_finished());
        self.running.insert(attempt, task.abort_handle());
    }

    /// Ends one.
    pub(super) fn stop(&mut self, attempt: AttemptId) {
        if let Some(running) = self.running.remove(&attempt) {
            running.abort();
        }
    }
}

/// Tries until the scheduler has it or refuses it.
async fn deliver(
    client: &Client,
    permits: &Semaphore,
    attempt: AttemptId,
    to: &Upload,
    file: &Path,
) -> Result<(), String> {
    let url = format!("{}/v1/attempts/{attempt}/value", to.url);
    let mut pause = PAUSE;
    loop {
        let permit = permits.acquire().await;
        let tried = put(client, &url, &to.token, file).await;
        drop(permit);
        match tried {
            Ok(()) => return Ok(()),
            Err(Trouble::Final(why)) => return Err(why),
            Err(Trouble::Passing(why)) => {
                tracing::warn!(%attempt, why, "a value could not be brought to the scheduler yet");
            }
        }
        tokio::time::sleep(pause + pause.mul_f64(random_part())).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Why an upload failed.
enum Trouble {
    /// It may succeed later.
    Passing(String),
    /// It never will.
    Final(String),
}

async fn put(client: &Client, url: &str, token: &str, file: &Path) -> Result<(), Trouble> {
    let unreadable =
        |error| Trouble::Final(format!("the file of the value can't be read: {error}"));
    let file = tokio::fs::File::open(file).await.map_err(unreadable)?;
    let n_bytes = file.metadata().await.map_err(unreadable)?.len();
    let answer = client
        .put(url)
        .bearer_auth(token)
        .header(CONTENT_LENGTH, n_bytes)
        .body(reqwest::Body::from(file))
        .send()
        .await
        .map_err(|error| Trouble::Passing(error.to_string()))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let said = answer.text().await.unwrap_or_default();
    let why = format!("{status}: {said}");
    let is_passing = status.is_server_error()
        || status == StatusCode::REQUEST_TIMEOUT
        || status == StatusCode::TOO_MANY_REQUESTS;
    Err(if is_passing {
        Trouble::Passing(why)
    } else {
        Trouble::Final(why)
    })
}

/// Something from 0 to 1, so that not all executors come back to a scheduler at the same moment.
fn random_part() -> f64 {
    f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX)
}
