//! Every query of every panel and rule, on a real Prometheus that scrapes the real daemon under a mixed load.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::server::Prometheus;
use crate::support::daemon::Daemon;
use crate::support::wait;

const CONFIG: &str = r#"
[resources.db_connections]
scope = "cluster"
capacity = 10
[queues.maps]
weight = 3
[queues."maps/render"]
[queues.search]
[backend]
resources = { cpus = 8, mem = "4GiB" }
limits = "off"
"#;

/// Metrics of which the daemon has nothing to say without Mesos.
const ONLY_WITH_MESOS: &[&str] = &["apportion_mesos_", "apportion_offer"];

/// Panels that are right to be empty where all is well.
const EMPTY_WHERE_ALL_IS_WELL: &[&str] = &["apportion_task_attempts_lost_total"];

/// A panel's query.
struct Query {
    place: String,
    expression: String,
    legend: String,
}

fn queries() -> Vec<Query> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/grafana/dashboards");
    let mut queries = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let dashboard: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let variables: BTreeSet<&str> =
            (dashboard["templating"]["list"].as_array().unwrap().iter())
                .map(|variable| variable["name"].as_str().unwrap())
                .collect();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let mut expression = target["expr"].as_str().unwrap().to_owned();
                for (name, value) in [
                    ("$instance", ".+"),
                    ("$queue", "maps/render"),
                    ("$resource", ".+"),
                ] {
                    if expression.contains(name) {
                        assert!(
                            variables.contains(&name[1..]),
                            "{} has no {name}",
                            path.display()
                        );
                    }
                    expression = expression.replace(name, value);
                }
                queries.push(Query {
                    place: format!("{}: {}", path.display(), panel["title"]),
                    expression: expression.replace("$__rate_interval", "1m"),
                    legend: target["legendFormat"].as_str().unwrap().to_owned(),
                });
            }
        }
    }
    queries
}

fn task(queue: &str, db: f64, line: &str) -> Value {
    let demand = json!({"cpus": 0.5, "mem": 64, "db_connections": db});
    json!({"queue": queue, "inbox": "release", "demand": demand, "run": {"command": line}})
}

/// Tasks that end well and badly, into an inbox that nobody pops.
fn run_some(daemon: &Daemon) {
    let http = &daemon.http;
    for line in ["true", "exit 3"] {
        for queue in ["maps/render", "search"] {
            http.wait_ended(http.submit(&task(queue, 1.0, line)));
        }
    }
}

/// Tasks that run on, wait, or were cancelled, and others that use of the same.
fn leave_some(daemon: &Daemon) {
    let http = &daemon.http;
    let running = http.submit(&task("maps/render", 6.0, "sleep 1000"));
    http.wait_state(running, "running");
    let queued = http.submit(&task("maps/render", 6.0, "sleep 1000"));
    let cancelled = http.submit(&task("search", 6.0, "true"));
    let _ = http
        .post(&format!("/v1/tasks/{cancelled}/cancel"), &json!({}))
        .expect(200);
    let mut after = task("search", 1.0, "true");
    after["after"] = json!([queued]);
    let _ = http.submit(&after);
    let outside = http.post("/v1/resources/db_connections/outside", &json!({"used": 1}));
    assert!(outside.status < 300, "{}", outside.text());
}

/// The metrics that an expression names.
fn metrics(expression: &str) -> BTreeSet<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    expression
        .split(|c: char| !is_word(c))
        .filter(|word| word.starts_with("apportion_"))
        .collect()
}

fn names_any(expression: &str, prefixes: &[&str]) -> bool {
    let names = metrics(expression);
    prefixes
        .iter()
        .any(|prefix| names.iter().any(|name| name.starts_with(prefix)))
}

#[test]
fn every_query_of_every_panel_and_rule_gives_data_with_the_labels_it_shows() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), CONFIG);
    let Some(prometheus) = Prometheus::start(&daemon) else {
        return;
    };
    wait::for_true("the first scrape", || {
        !prometheus.query("apportion_build_info").is_empty()
    });
    leave_some(&daemon);
    run_some(&daemon);
    // A rate needs something to have grown between two scrapes; what appears with its first value has not.
    wait::for_true("the first of them to be scraped", || {
        !prometheus
            .query("apportion_tasks_finished_total{outcome=\"failed\"}")
            .is_empty()
    });
    run_some(&daemon);
    wait::for_true("what ended to be scraped", || {
        !prometheus
            .query("rate(apportion_tasks_finished_total{outcome=\"failed\"}[1m]) > 0")
            .is_empty()
    });
    for query in queries() {
        let may_be_empty = [ONLY_WITH_MESOS, EMPTY_WHERE_ALL_IS_WELL];
        if may_be_empty
            .iter()
            .any(|names| names_any(&query.expression, names))
        {
            prometheus.query(&query.expression);
            continue;
        }
        wait::for_true(
            &format!("data for {}: {}", query.place, query.expression),
            || !prometheus.query(&query.expression).is_empty(),
        );
        let labels = query
            .legend
            .split("{{")
            .skip(1)
            .map(|part| part.split("}}").next().unwrap());
        let series = prometheus.query(&query.expression);
        for label in labels {
            for series in &series {
                assert!(
                    series["metric"][label].is_string(),
                    "{}: {label} is missing in {series}",
                    query.place
                );
            }
        }
    }
    wait::for_true("every rule to have been evaluated", || {
        prometheus
            .rules()
            .iter()
            .all(|rule| rule["health"] != "unknown")
    });
    for rule in prometheus.rules() {
        assert_eq!(rule["health"], "ok", "{rule}");
        if rule["type"] == "recording" {
            let name = rule["name"].as_str().unwrap();
            wait::for_true(&format!("{name} to have data"), || {
                !prometheus.query(name).is_empty()
            });
        }
    }
}

#[test]
fn every_metric_is_used_or_known_not_to_be() {
    // What no panel and no rule shows; each for a reason.
    let unused = [
        "apportion_build_info",           // for the variable that lists the daemons
        "apportion_http_request_seconds", // beside the calls a detail that people ask for themselves
    ];
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), CONFIG);
    let page = daemon.http.get("/metrics").text();
    let rules = fs::read_to_string(super::rules::folder().join("alerts.yml")).unwrap();
    let shown: Vec<String> = queries()
        .into_iter()
        .map(|query| query.expression)
        .chain([rules])
        .collect();
    let named: BTreeSet<&str> = shown.iter().flat_map(|text| metrics(text)).collect();
    for line in page.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        let name = line.split(' ').next().unwrap();
        let is_named = named.iter().any(|named| named.starts_with(name));
        assert!(
            is_named || unused.contains(&name),
            "{name} is on no dashboard"
        );
    }
}
