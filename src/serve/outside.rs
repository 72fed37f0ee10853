//! Asks, at an interval, what others use of cluster resources, and tells the engine.
//!
//! A failure keeps the last answer. When that has become stale nobody knows what is free, and then all of the resource
//! is taken to be in use: nothing more that demands it starts, since what it is for is never to ask for too much.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::Amount;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::Stopwatch;
use crate::config::{Config, OutsideConfig, OutsideSource, Scope, units};
use crate::driver::Handle;
use crate::engine::Request;
use crate::metrics::Metrics;

/// An answer is a number; of a longer one only so many bytes are looked at.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// What is shown of a wrong answer, in characters.
const SHOWN_MAX: usize = 200;

/// A resource to ask about.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    outside: OutsideConfig,
    capacity: Amount,
}

/// Asks until the driver is gone; anew whenever the configuration has changed what is asked.
pub(super) async fn run(
    handle: Handle,
    mut config: watch::Receiver<Arc<Config>>,
    metrics: Arc<Metrics>,
) {
    loop {
        let wanted = wanted(&config.borrow_and_update());
        let mut pollers = JoinSet::new();
        for (resource, asked) in &wanted {
            let (handle, metrics) = (handle.clone(), Arc::clone(&metrics));
            let (resource, asked) = (Arc::clone(resource), asked.clone());
            pollers.spawn(poll(handle, resource, asked, metrics));
        }
        loop {
            tokio::select! {
                changed = config.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if self::wanted(&config.borrow_and_update()) != wanted {
                        break;
                    }
                }
                () = handle.stopped() => return,
            }
        }
    }
}

fn wanted(config: &Config) -> BTreeMap<Arc<str>, Asked> {
    let mut wanted = BTreeMap::new();
    for resource in &config.engine.resources {
        if let (Some(outside), Scope::Cluster { capacity }) =
            (config.outside.get(&resource.name), resource.scope)
        {
            let outside = outside.clone();
            wanted.insert(Arc::clone(&resource.name), Asked { outside, capacity });
        }
    }
    wanted
}

/// Asks about one resource again and again.
async fn poll(handle: Handle, resource: Arc<str>, asked: Asked, metrics: Arc<Metrics>) {
    let Asked { outside, capacity } = asked;
    let mut answered = Stopwatch::start();
    let (mut is_failing, mut is_stale) = (false, false);
    loop {
        match ask(&outside, &resource).await {
            Ok(used) => {
                answered = Stopwatch::start();
                if std::mem::take(&mut is_failing) {
                    tracing::info!(%resource, %used, "what others use of it is known again");
                }
                is_stale = false;
                metrics.record_outside(&resource, true);
                tell(&handle, &resource, used).await;
            }
            Err(error) => {
                metrics.record_outside(&resource, false);
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(
                        %resource,
                        "what others use of it can't be found out: {error}; the last answer counts for {}",
                        humantime::format_duration(outside.stale_after)
                    );
                }
                if answered.elapsed() >= outside.stale_after {
                    if !std::mem::replace(&mut is_stale, true) {
                        tracing::error!(
                            %resource,
                            "what others use of it is not known any more: {error}; until it is, nothing that demands it starts"
                        );
                    }
                    tell(&handle, &resource, capacity).await;
                }
            }
        }
        tokio::time::sleep(outside.every).await;
    }
}

/// Tells the engine, where something else stands there: also what somebody else has told it meanwhile.
async fn tell(handle: &Handle, resource: &Arc<str>, used: Amount) {
    let name = Arc::clone(resource);
    let stands = handle.inspect(move |engine| {
        let all = engine.resources();
        let found = all.into_iter().find(|it| it.name == name);
        found.map(|it| it.outside)
    });
    if matches!(stands.await, Ok(Some(stands)) if stands == used) {
        return;
    }
    let request = Request::ReportOutside {
        resource: Arc::clone(resource),
        used,
    };
    if let Err(error) = handle.request(request).await {
        tracing::debug!(%resource, %error, "what others use of it is told again later");
    }
}

async fn ask(outside: &OutsideConfig, resource: &str) -> Result<Amount, String> {
    let answer = match &outside.source {
        OutsideSource::Command(line) => command(line, outside.timeout).await?,
        OutsideSource::Url { url, pointer } => {
            let answer = fetch(url, outside.timeout).await?;
            match pointer {
                Some(pointer) => pointed_at(&answer, pointer)?,
                None => answer,
            }
        }
    };
    let answer = answer.trim();
    let shown = shown(answer);
    if answer.is_empty() {
        return Err("the answer is empty".to_owned());
    }
    if answer.len() > SHOWN_MAX {
        return Err(format!("the answer is no amount: it begins with '{shown}'"));
    }
    units::parse_amount(resource, &shown)
        .or_else(|error| rounded_up(&shown).ok_or(error))
        .map_err(|error| format!("the answer is no amount: {error}"))
}

/// The beginning of what something else has said, on one line of the log.
fn shown(text: &str) -> String {
    let beginning = text.trim().chars().take(SHOWN_MAX);
    beginning.flat_map(char::escape_debug).collect()
}

/// What is finer than a thousandth, as averages are.
fn rounded_up(answer: &str) -> Option<Amount> {
    let milli = (answer.parse::<f64>().ok()? * 1000.0).ceil();
    let is_amount = (0.0..Amount::MAX.milli() as f64).contains(&milli);
    Amount::from_milli(is_amount.then_some(milli as u64)?)
}

/// Runs a line and gives what it prints. Whatever it started ends with it.
async fn command(line: &str, timeout: Duration) -> Result<String, String> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", line])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("the command can't be started: {error}"))?;
    let group = child.id().and_then(|id| i32::try_from(id).ok());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = tokio::time::timeout(timeout, async {
        let (stdout, stderr) = tokio::join!(read(stdout), read(stderr));
        (stdout, stderr, child.wait().await)
    });
    let ended = ended.await;
    if let Some(group) = group {
        // Mostly nothing is left of it.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    match ended {
        Err(_) => {
            let timeout = humantime::format_duration(timeout);
            Err(format!("the command takes longer than {timeout}"))
        }
        Ok((_, _, Err(error))) => Err(format!("the command can't be waited for: {error}")),
        Ok((stdout, _, Ok(status))) if status.success() => Ok(stdout),
        Ok((_, stderr, Ok(status))) => {
            let said = shown(&stderr);
            Err(format!("the command failed ({status}): {said}"))
        }
    }
}

/// Reads an output to its end, and keeps its beginning.
async fn read(output: Option<impl AsyncRead + Unpin>) -> String {
    let mut kept = Vec::new();
    if let Some(mut output) = output {
        let mut beginning = (&mut output).take(ANSWER_BYTES_MAX);
        // What broke off is judged by what was read of it.
        let _ = beginning.read_to_end(&mut kept).await;
        let _ = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&kept).into_owned()
}

async fn fetch(url: &str, timeout: Duration) -> Result<String, String> {
    let client = crate::http_client::builder().timeout(timeout).build();
    let client = client.map_err(|error| error.to_string())?;
    let answer = client.get(url).send().await;
    let mut answer = answer
        .and_then(reqwest::Response::error_for_status)
        .map_err(|error| told(&error))?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| told(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() as u64 > ANSWER_BYTES_MAX {
            return Err("the answer is longer than 64 KiB".to_owned());
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// An error with all that led to it.
fn told(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// The number at a place of a JSON document; numbers in quotes are taken too.
fn pointed_at(answer: &str, pointer: &str) -> Result<String, String> {
    let json: serde_json::Value =
        serde_json::from_str(answer).map_err(|error| format!("the answer is no JSON: {error}"))?;
    match json.pointer(pointer) {
        Some(serde_json::Value::String(text)) => Ok(text.clone()),
        Some(number @ serde_json::Value::Number(_)) => Ok(number.to_string()),
        Some(_) => Err(format!(
            "what stands at {pointer} of the answer is no number"
        )),
        None => Err(format!("the answer has nothing at {pointer}")),
    }
}
