//! Waiting for changes of tasks: the daemon's event stream where it can be had, looking again where not.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::Deserialize;

use super::client::Client;
use super::ids::IdRange;
use crate::clock::Stopwatch;

/// How long to wait before looking again while the event stream is there: it tells of every change, so
/// this only matters should it have broken without a word.
const LOOK_WITH_EVENTS: Duration = Duration::from_secs(20);
/// The shortest and the longest pause between two looks without the event stream.
const LOOK_MIN: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Tells when a task may have changed. Made before the task is looked at, so no change gets lost between.
pub(super) struct Changes {
    stream: Option<BoxStream<'static, Bytes>>,
    /// What came of a line that has not yet ended.
    partial: Vec<u8>,
    since: Stopwatch,
}

/// The part of an event that matters here.
#[derive(Deserialize)]
struct Event {
    task: u64,
    #[serde(default)]
    count: u64,
}

impl Changes {
    /// Subscribes, or does without where the daemon gives no events.
    pub(super) async fn subscribe(client: &Client) -> Self {
        let stream = client.stream("/v1/events").await.ok();
        Self {
            stream,
            partial: Vec::new(),
            since: Stopwatch::start(),
        }
    }

    /// Waits until one of these tasks may have changed. To be dropped and called again at will.
    pub(super) async fn wait(&mut self, tasks: IdRange) {
        let pause = match self.stream {
            Some(_) => LOOK_WITH_EVENTS,
            // Proportional to the time waited so far: short tasks are seen at once, long ones cost little.
            None => (self.since.elapsed() / 20).clamp(LOOK_MIN, LOOK_MAX),
        };
        let event = async {
            while let Some(stream) = &mut self.stream {
                match stream.next().await {
                    Some(bytes) if !concerns(&mut self.partial, &bytes, tasks) => {}
                    Some(_) => return,
                    None => self.stream = None,
                }
            }
            std::future::pending::<()>().await;
        };
        // An elapsed pause and a finished stream both only mean: look again.
        let _ = tokio::time::timeout(pause, event).await;
    }
}

/// Whether the lines that these bytes complete tell of one of the tasks, or of events that were missed.
fn concerns(partial: &mut Vec<u8>, bytes: &[u8], tasks: IdRange) -> bool {
    partial.extend_from_slice(bytes);
    let Some(end) = partial.iter().rposition(|byte| *byte == b'\n') else {
        return false;
    };
    let lines: Vec<u8> = partial.drain(..=end).collect();
    lines.split(|byte| *byte == b'\n').any(|line| {
        let Some(data) = line.strip_prefix(b"data:") else {
            return line.starts_with(b"event: lagged");
        };
        serde_json::from_slice::<Event>(data).is_ok_and(|event| {
            let event = IdRange::of(event.task, event.count);
            event.first <= tasks.last && tasks.first <= event.last
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_recognised_however_they_are_cut() {
        let text = b"event: task\ndata: {\"task\":7,\"count\":3,\"state\":\"running\"}\n\n: keep-alive\n\n";
        for (first, last, wanted) in [(7, 7, true), (9, 20, true), (10, 20, false), (1, 6, false)] {
            let mut partial = Vec::new();
            let mut told = false;
            for byte in text {
                told |= concerns(&mut partial, &[*byte], IdRange { first, last });
            }
            assert_eq!(told, wanted, "{first}-{last}");
            assert!(partial.is_empty());
        }
        assert!(concerns(
            &mut Vec::new(),
            b"event: lagged\n",
            IdRange { first: 1, last: 1 }
        ));
    }
}
