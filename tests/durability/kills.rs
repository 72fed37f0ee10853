//! SIGKILL at random instants under load: each acknowledged task is accounted for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::account;
use super::load::Load;
use crate::support::daemon::Daemon;
use crate::support::wait;

const N_KILLS: u64 = 50;

pub(super) const CONFIG: &str = r#"
[tasks]
lost_max = 1000
retry_pause = "10ms"
retry_pause_max = "10ms"
[resources.licences]
scope = "cluster"
capacity = 12
[queues.a]
weight = 2
[queues."b/left"]
[queues."b/right"]
max = { licences = 4 }
[backend]
kind = "local"
resources = { cpus = 4 }
"#;

#[test]
fn nothing_acknowledged_is_lost_or_run_again_over_50_kills() {
    let folder = tempfile::tempdir().unwrap();
    let load = Load::new(folder.path());
    let mut random = fastrand::Rng::with_seed(7);
    let mut daemon = Daemon::start(folder.path(), CONFIG);
    load.set_url(&daemon.url);
    let clients = start_clients(&load);
    for _ in 0..N_KILLS {
        let target = load.n_answers.load(Ordering::SeqCst) + 1 + random.u64(0..60);
        // Long, since a busy disk can hold up a commit; what the daemon said tells a slow one from a stuck one.
        let what = format!(
            "the clients to be answered; the daemon said:\n{}",
            daemon.log()
        );
        wait::until(&what, Duration::from_secs(120), || {
            (load.n_answers.load(Ordering::SeqCst) >= target).then_some(())
        });
        // Spinning for a random while puts the instant anywhere within a batch, a commit or a spawn.
        (0..random.u64(0..3_000_000)).for_each(|step| {
            std::hint::black_box(step);
        });
        daemon.kill();
        daemon = Daemon::start(folder.path(), CONFIG);
        load.set_url(&daemon.url);
    }
    load.stop();
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    drain(&daemon, &load);
    let n_tasks = account::check(&daemon.http, &load, N_KILLS);
    assert!(
        n_tasks > 100,
        "only {n_tasks} tasks were submitted; that shows nothing"
    );
    println!("{n_tasks} tasks accounted for over {N_KILLS} kills");
}

pub(super) fn start_clients(load: &Arc<Load>) -> Vec<std::thread::JoinHandle<()>> {
    let start = |work: fn(&Load)| {
        let load = Arc::clone(load);
        std::thread::spawn(move || work(&load))
    };
    vec![
        start(|load| load.submit(1)),
        start(|load| load.submit(2)),
        start(|load| load.cancel(1)),
        start(Load::pop),
    ]
}

/// Waits until everything has ended and was delivered and acknowledged.
pub(super) fn drain(daemon: &Daemon, load: &Load) {
    let live = "/v1/tasks?state=waiting,queued,launching,running,cancelling&limit=1";
    wait::until("all tasks to end", Duration::from_secs(120), || {
        let page = daemon.http.get(live).expect(200);
        page["tasks"].as_array().unwrap().is_empty().then_some(())
    });
    let (mut token, mut unacknowledged) = (serde_json::Value::Null, Vec::new());
    while !load.pop_once(&mut token, &mut unacknowledged, 0).is_empty() {}
}
