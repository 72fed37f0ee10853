//! The headline on real input: many tasks, three weighted queues, and a PostgreSQL server that stands only
//! so many connections.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::postgres::Postgres;
use crate::support::wait;

/// What the server grants to ordinary users.
const N_CONNECTIONS: u32 = 97;
const N_TASKS_PER_QUEUE: u64 = 100;
const QUEUES: [(&str, f64); 3] = [("reports", 3.0), ("imports", 2.0), ("adhoc", 1.0)];

const COMMAND: &str = r#"
pids=
for number in $(seq $CONNECTIONS); do
  "$PSQL" -h "$SOCKET" -U tiles -d postgres -qAtc 'select pg_sleep(2)' &
  pids="$pids $!"
done
for pid in $pids; do wait $pid || exit 1; done
"#;

/// The example that ships with the project, on a free port and with room for processes on a small machine.
fn config() -> String {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/db_connections.toml");
    let text = std::fs::read_to_string(example).unwrap();
    let (_, below_server) = text
        .split_once("[resources")
        .expect("the example declares a resource");
    format!("[resources{below_server}")
}

fn tasks(postgres: &Postgres, declared: bool) -> Vec<Value> {
    let task = |number: u64| {
        let (queue, _) = QUEUES[usize::try_from(number % 3).unwrap()];
        let n_connections = 1 + (number / 3) % 4;
        // The example's default demand is one connection, so what is not declared is declared as none.
        let declared = if declared { n_connections } else { 0 };
        let demand = json!({"cpus": 0.01, "mem": 0, "db_connections": declared});
        json!({
            "queue": queue, "demand": demand, "run": {"command": COMMAND},
            "env": {"CONNECTIONS": n_connections.to_string(), "SOCKET": postgres.socket(),
                    "PSQL": postgres.psql().to_str().unwrap()},
        })
    };
    (0..N_TASKS_PER_QUEUE * 3).map(task).collect()
}

/// Runs the tasks to their end and gives them as they stand then.
fn run_all(daemon: &Daemon, tasks: &[Value]) -> Vec<Value> {
    let body = daemon
        .http
        .post("/v1/tasks", &json!({ "tasks": tasks }))
        .expect(201);
    assert_eq!(body["tasks"].as_array().unwrap().len(), tasks.len());
    let live = "/v1/tasks?state=waiting,queued,launching,running,cancelling&limit=1";
    wait::until("all tasks to end", Duration::from_secs(180), || {
        let page = daemon.http.get(live).expect(200);
        page["tasks"].as_array().unwrap().is_empty().then_some(())
    });
    let page = daemon.http.get("/v1/tasks?limit=1000").expect(200);
    page["tasks"].as_array().unwrap().clone()
}

/// Seconds since the epoch.
fn seconds(time: &Value) -> f64 {
    let time = humantime::parse_rfc3339(time.as_str().unwrap()).unwrap();
    time.duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

/// For each queue, the connections held times how long, while all queues had tasks waiting.
fn connection_seconds(tasks: &[Value]) -> BTreeMap<&str, f64> {
    let last = |task: &Value| task["attempts"].as_array().unwrap().last().unwrap().clone();
    let launches_end = |queue: &str| {
        tasks
            .iter()
            .filter(|task| task["queue"] == queue)
            .map(|task| seconds(&last(task)["launched_at"]))
            .fold(0.0, f64::max)
    };
    let contended_until = QUEUES
        .iter()
        .map(|(queue, _)| launches_end(queue))
        .fold(f64::MAX, f64::min);
    let mut held = BTreeMap::new();
    for task in tasks {
        let attempt = last(task);
        let from = seconds(&attempt["launched_at"]);
        let until = seconds(&attempt["ended_at"]).min(contended_until);
        let n_connections = task["demand"]["db_connections"].as_f64().unwrap();
        *held.entry(task["queue"].as_str().unwrap()).or_default() +=
            n_connections * (until - from).max(0.0);
    }
    held
}

/// Whether the server says that it refused a connection for want of room.
fn ran_out(log: &str) -> bool {
    ["too many clients", "remaining connection slots"]
        .iter()
        .any(|text| log.contains(text))
}

#[test]
fn declared_connections_never_run_out_and_are_shared_by_weight() {
    let Some(postgres) = Postgres::start(N_CONNECTIONS) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &config());
    let capacity = &daemon.http.get("/v1/resources").expect(200)["resources"];
    let of_database = capacity
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "db_connections")
        .unwrap();
    assert_eq!(
        of_database["capacity"], N_CONNECTIONS,
        "the example's capacity is what the server grants"
    );
    let tasks = run_all(&daemon, &tasks(&postgres, true));
    for task in &tasks {
        assert_eq!(task["state"], "succeeded", "{task}\n{}", postgres.log());
    }
    assert!(!ran_out(&postgres.log()), "{}", postgres.log());
    let held = connection_seconds(&tasks);
    let all: f64 = held.values().sum();
    println!("connection-seconds while all queues had work: {held:.1?}");
    for (queue, weight) in QUEUES {
        let (got, due) = (held[queue], all * weight / 6.0);
        assert!(
            (got / due - 1.0).abs() < 0.1,
            "{queue} got {got:.1} of {all:.1}, due {due:.1}: {held:?}"
        );
    }
}

#[test]
fn the_same_tasks_without_the_declaration_overrun_the_server() {
    let Some(postgres) = Postgres::start(N_CONNECTIONS) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &config());
    let tasks = run_all(&daemon, &tasks(&postgres, false));
    let n_failed = tasks
        .iter()
        .filter(|task| task["state"] == "failed")
        .count();
    println!(
        "{n_failed} of {} tasks failed without the declaration",
        tasks.len()
    );
    assert!(
        n_failed > 0,
        "undeclared, they must run into the server's limit"
    );
    assert!(ran_out(&postgres.log()), "{}", postgres.log());
}
