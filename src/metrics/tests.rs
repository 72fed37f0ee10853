//! Tests of the metrics page.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::{Amount, Share, Weight};

use super::*;
use crate::backend::mesos::Watcher as _;
use crate::engine::outcome::{LossReason, Value};
use crate::engine::{AttemptId, Outcome, OutcomeKind, TaskId, TaskState, Time, Usage};

fn amount(text: &str) -> Amount {
    text.parse().unwrap()
}

fn queue(path: &str, is_leaf: bool, n_unsatisfiable: u64) -> QueueReport {
    let used = amount("1.5");
    let share = Share::new(used, amount("4"));
    QueueReport {
        path: path.into(),
        is_leaf,
        weight: Weight::from_milli(2500).unwrap(),
        policy: "drf".into(),
        min: BTreeMap::new(),
        max: BTreeMap::new(),
        used: BTreeMap::from([("cpus".into(), used)]),
        share: BTreeMap::from([("cpus".into(), share)]),
        dominant_share: share,
        dominant_resource: Some("cpus".into()),
        entitlement: Share::new(amount("2"), amount("4")),
        tasks: vec![(TaskState::Queued, 12), (TaskState::Running, 1)],
        n_unsatisfiable,
    }
}

fn snapshot() -> Snapshot {
    let resource = |name: &str, scope, outside| ResourceReport {
        name: name.into(),
        scope,
        capacity: amount("4"),
        used: amount("1.5"),
        outside: amount(outside),
    };
    Snapshot {
        queues: vec![
            queue("maps", false, 3),
            queue("maps/a \"quoted\\one\"", true, 3),
        ],
        resources: vec![
            resource("cpus", "host", "0"),
            resource("db", "cluster", "0.5"),
        ],
        inboxes: vec![("release".to_owned(), Duration::from_secs(90))],
        store_failing: false,
        n_claims: 2,
    }
}

fn ended(kind: OutcomeKind, wall: Duration) -> Fact {
    let outcome = Outcome {
        kind,
        cause: None,
        exit_code: None,
        value: Value::default(),
        usage: Usage {
            wall,
            ..Usage::default()
        },
    };
    Fact::Ended {
        task: TaskId(1),
        outcome: Arc::new(outcome),
        queue: "maps".into(),
        inbox: None,
        at: Time(0),
    }
}

fn facts() -> Vec<Fact> {
    let attempt = AttemptId {
        task: TaskId(1),
        number: 1,
    };
    vec![
        Fact::Launched {
            attempt,
            agent: "m1".into(),
            queue: "maps".into(),
            waited: Duration::from_secs(2),
            at: Time(0),
        },
        Fact::AttemptEnded {
            attempt,
            end: AttemptEnd::Lost {
                reason: LossReason::AgentLost,
            },
            usage: Usage::default(),
            at: Time(0),
        },
        ended(OutcomeKind::Succeeded, Duration::from_millis(700)),
        ended(OutcomeKind::Cancelled, Duration::ZERO),
    ]
}

fn page() -> String {
    let metrics = Metrics::install(Time(1_800_000_000_500));
    let stats = BatchStats {
        events: vec![("attempt_ended", 2), ("offer_received", 1)],
        n_requests: 3,
        n_decided: 5,
        choices: Vec::new(),
        policy: "drf".into(),
        turn: Duration::from_micros(300),
        matching: Duration::from_micros(40),
        commit: Some(Duration::from_millis(2)),
    };
    metrics.record_batch(&facts(), &stats);
    metrics.record_http("GET", "/v1/tasks/{id}", 404, Duration::from_millis(1));
    metrics.record_outside("db", true);
    metrics.offer_ended("accepted", Duration::from_millis(20));
    metrics.offers_held(1);
    metrics.called("ACCEPT", 202);
    for is_connected in [true, false, true] {
        metrics.connected(is_connected);
    }
    metrics.heard();
    let page = metrics.render(Some(&snapshot()));
    // A clock tells this one.
    let age = format!("{} ", name::MESOS_HEARTBEAT_AGE_SECONDS.name);
    let lines = page.lines().map(|line| {
        if line.starts_with(&age) {
            format!("{age}0\n")
        } else {
            format!("{line}\n")
        }
    });
    lines.collect()
}

#[test]
fn the_page() {
    insta::assert_snapshot!("page", page());
}

#[test]
fn every_metric_of_the_catalogue_is_on_the_page_and_has_a_proper_name() {
    let page = page();
    for metric in name::ALL {
        assert!(
            page.contains(&format!("# HELP {} ", metric.name)),
            "{}",
            metric.name
        );
        let is_counter = metric.kind == name::Kind::Counter;
        assert_eq!(
            is_counter,
            metric.name.ends_with("_total"),
            "{}",
            metric.name
        );
    }
}

#[test]
fn a_queue_that_is_gone_leaves_no_series() {
    let metrics = Metrics::install(Time(1_800_000_000_500));
    assert!(
        metrics
            .render(Some(&snapshot()))
            .contains(r#"queue="maps""#)
    );
    let mut later = snapshot();
    later.queues.remove(0);
    assert!(!metrics.render(Some(&later)).contains(r#"queue="maps""#));
    assert!(!metrics.render(None).contains("apportion_queue_tasks"));
}

#[test]
fn queues_beyond_the_limit_share_a_series_and_are_counted() {
    let metrics = Metrics::install(Time(0));
    let limits = Limits {
        queues_max: 1,
        inboxes_max: 0,
    };
    metrics.set_limits(limits, ["maps", "maps/a"]);
    let mut facts = facts();
    if let Fact::Launched { queue, .. } = &mut facts[0] {
        *queue = "maps/a".into();
    }
    metrics.record_batch(&facts, &BatchStats::default());
    let page = metrics.render(Some(&snapshot()));
    for line in [
        "apportion_series_left_out{of=\"queues\"} 1",
        "apportion_series_left_out{of=\"inboxes\"} 1",
        "apportion_task_wait_seconds_count{queue=\"(others)\"} 1",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    assert!(!page.contains("quoted") && !page.contains("release"));
}

#[test]
fn what_is_observed_is_summed_up_now_and_then() {
    let metrics = Metrics::install(Time(1_800_000_000_500));
    let stats = BatchStats::default();
    for _ in 0..OBSERVATIONS_MAX + 10 {
        metrics.record_batch(&[], &stats);
    }
    assert!(metrics.n_observations.load(Ordering::Relaxed) <= 10);
    let expected = format!("apportion_turn_seconds_count {}", OBSERVATIONS_MAX + 10);
    assert!(metrics.render(None).contains(&expected));
}

/// Prometheus' own tool looks at the names and the format, where it is installed.
#[test]
fn promtool_finds_nothing_wrong() {
    let tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut tool = match tool {
        Ok(tool) => tool,
        Err(error) => {
            let required = std::env::var("APPORTION_REQUIRE").unwrap_or_default();
            assert!(
                !required
                    .split(',')
                    .any(|name| matches!(name.trim(), "promtool" | "all")),
                "promtool is required: {error}"
            );
            eprintln!("NOT CHECKED: promtool is not here ({error}); it comes with prometheus");
            return;
        }
    };
    let page = page();
    tool.stdin
        .take()
        .unwrap()
        .write_all(page.as_bytes())
        .unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.trim().is_empty(),
        "{said}\n{page}"
    );
}
