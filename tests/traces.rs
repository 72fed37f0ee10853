//! OpenTelemetry traces of the real daemon, as a collector receives them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;

use crate::support::daemon::Daemon;

/// A collector that keeps what it is sent. It speaks just enough HTTP for one exporter.
fn collector() -> (String, Receiver<ExportTraceServiceRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let (sender, received) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Some(request) = read_request(stream.unwrap()) else {
                continue;
            };
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    (url, received)
}

fn read_request(mut stream: TcpStream) -> Option<ExportTraceServiceRequest> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let n_bytes = stream.read(&mut piece).ok()?;
        bytes.extend_from_slice(&piece[..n_bytes]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
        assert!(
            head.contains("content-type: application/x-protobuf"),
            "{head}"
        );
        let length: usize = head
            .split("content-length: ")
            .nth(1)?
            .lines()
            .next()?
            .parse()
            .ok()?;
        if bytes.len() < end + 4 + length {
            continue;
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .ok()?;
        return ExportTraceServiceRequest::decode(&bytes[end + 4..end + 4 + length]).ok();
    }
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let of_resource = request.resource_spans.into_iter().flat_map(|resource| {
        let attributes = resource.resource.unwrap().attributes;
        assert!(attributes.iter().any(|it| it.key == "service.name"));
        resource.scope_spans
    });
    of_resource.flat_map(|scope| scope.spans).collect()
}

fn text(span: &Span, key: &str) -> String {
    let found = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{key}: {other:?}"),
    }
}

#[test]
fn each_task_is_a_trace_from_its_submission_to_its_delivery() {
    let (url, received) = collector();
    let folder = tempfile::tempdir().unwrap();
    let config =
        format!("[queues.maps]\n[tasks]\nretry_pause = \"10ms\"\n[traces]\notlp = \"{url}\"\n");
    let daemon = Daemon::start(folder.path(), &config);
    let task = json!({
        "queue": "maps", "name": "tile 7/3", "inbox": "release", "retries": 1,
        "run": {"command": "test $APPORTION_ATTEMPT = 2"},
    });
    let id = daemon.http.submit(&task);
    daemon.http.wait_ended(id);
    let request = received.recv_timeout(Duration::from_secs(60)).unwrap();
    let spans = spans(request);
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(
        names,
        ["queued", "launch", "run", "queued", "launch", "run", "task"]
    );
    let root = spans.last().unwrap();
    assert_eq!(text(root, "apportion.task"), id.to_string());
    assert_eq!(text(root, "apportion.queue"), "maps");
    assert_eq!(text(root, "apportion.state"), "succeeded");
    let events: Vec<&str> = root
        .events
        .iter()
        .map(|event| event.name.as_str())
        .collect();
    assert_eq!(events, ["submitted", "decided", "decided", "delivered"]);
    for span in &spans {
        assert_eq!(span.trace_id, root.trace_id);
        assert!(span.start_time_unix_nano >= root.start_time_unix_nano);
        assert!(span.end_time_unix_nano <= root.end_time_unix_nano);
        assert_eq!(span.parent_span_id.is_empty(), span.name == "task");
        assert!(span.parent_span_id.is_empty() || span.parent_span_id == root.span_id);
    }
    assert_eq!(text(&spans[2], "apportion.attempt"), "1");
    assert_eq!(text(&spans[5], "apportion.attempt"), "2");
}

#[test]
fn a_daemon_that_stops_sends_the_last_traces_first() {
    let (url, received) = collector();
    let folder = tempfile::tempdir().unwrap();
    let config = format!("[queues.maps]\n[traces]\notlp = \"{url}\"\n");
    let daemon = Daemon::start(folder.path(), &config);
    let tasks = json!({"queue": "maps", "array": "0-19", "run": {"command": "true"}});
    let first = daemon.http.submit(&tasks);
    let ids = first..first + 20;
    for id in ids.clone() {
        daemon.http.wait_ended(id);
    }
    // Sooner than the clock would have all of them sent.
    assert!(daemon.stop().success());
    let mut traced: Vec<String> = Vec::new();
    while traced.len() < 20 {
        let request = received.recv_timeout(Duration::from_secs(60));
        let spans = spans(request.expect("each task has a trace"));
        let roots = spans.iter().filter(|span| span.name == "task");
        traced.extend(roots.map(|root| text(root, "apportion.task")));
    }
    traced.sort_by_key(|id| id.parse::<u64>().unwrap());
    assert!(traced.into_iter().eq(ids.map(|id| id.to_string())));
}

#[test]
fn a_collector_that_is_away_costs_a_line_in_the_log_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing listens at the port that no one may use.
    let config = "[queues.maps]\n[traces]\notlp = \"http://127.0.0.1:1/v1/traces\"\n";
    let daemon = Daemon::start(folder.path(), config);
    for _ in 0..3 {
        let id = daemon
            .http
            .submit(&json!({"queue": "maps", "run": {"command": "true"}}));
        daemon.http.wait_ended(id);
    }
    crate::support::wait::for_true("the daemon to say so", || {
        daemon.log().contains("traces can't be sent")
    });
    assert_eq!(daemon.log().matches("traces can't be sent").count(), 1);
}
