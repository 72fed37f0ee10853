//! A network between the daemon and the master that hangs, loses, repeats and delays.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use apportion::proto::mesos::v1::scheduler::{Call, Event, call, event};
use serde_json::json;

use super::support::{config, metric, runs, wait_all, wait_ready};
use crate::support::daemon::Daemon;
use crate::support::mesos::meddler::{Fate, Meddle, Meddler};
use crate::support::mesos::{Mesos, Part, Setup};
use crate::support::proxy::Proxy;
use crate::support::wait;

/// A loaded machine takes its time, and so does whoever waits for what was lost.
const DEADLINE: Duration = Duration::from_secs(240);

fn start(folder: &Path, master: &str, mesos: &str) -> Daemon {
    let daemon = Daemon::start(folder, &config(master, mesos, ""));
    wait_ready(&daemon);
    daemon
}

#[test]
fn a_stream_that_hangs_is_noticed_by_its_silence() {
    let Some(mesos) = Setup::agents(1).start() else {
        return;
    };
    let proxy = Proxy::start([127, 0, 0, 1].into(), &mesos.master_address());
    let master = format!("http://{}", proxy.address());
    let folder = tempfile::tempdir().unwrap();
    // Mesos says something every 15 s.
    let daemon = start(folder.path(), &master, "heartbeat_timeout = \"16s\"");
    let (ran, go) = (folder.path().join("ran"), folder.path().join("go"));
    let line = format!(
        "echo $APPORTION_TASK_ID >> {}; while [ ! -e {} ]; do sleep 0.1; done",
        ran.display(),
        go.display()
    );
    let task = json!({"array": "0-5", "run": {"command": line}, "demand": {"cpus": 1}});
    let _ = daemon.http.submit(&task);
    wait::until("four to run", DEADLINE, || {
        (runs(&ran).len() == 4).then_some(())
    });
    let before = mesos.find_framework("apportion").unwrap()["id"].clone();
    proxy.fall_silent();
    std::fs::write(&go, "").unwrap();
    let is_back = || metric(&daemon, "apportion_mesos_reconnects_total ") == 1;
    wait::until("the daemon to subscribe anew", DEADLINE, || {
        is_back().then_some(())
    });
    assert!(
        daemon.log().contains("has fallen silent: no heartbeats"),
        "{}",
        daemon.log()
    );
    wait_all(&daemon, "default", 6);
    assert_eq!(mesos.find_framework("apportion").unwrap()["id"], before);
    let runs = runs(&ran);
    assert!(
        runs.len() == 6 && runs.values().all(|n| *n == 1),
        "{runs:?}"
    );
}

/// Meddles with everything, by chance.
struct Chance {
    /// No more than so many connections break, so that the work gets done.
    n_breaks_left: AtomicUsize,
    /// No more than so many events are lost: a launch of which nothing more is heard is asked about only after two minutes.
    n_losses_left: AtomicUsize,
    n_meddled: Arc<AtomicUsize>,
}

impl Chance {
    fn draw(&self, loses: bool) -> Fate {
        let fate = match fastrand::u32(..100) {
            0..15 => Fate::Twice,
            15..30 => Fate::Late(Duration::from_millis(fastrand::u64(..80))),
            30..36 if loses => Fate::Lost,
            36..42 => [Fate::Break, Fate::Unanswered][fastrand::usize(..2)],
            _ => return Fate::Pass,
        };
        let n_left = match fate {
            Fate::Break | Fate::Unanswered => Some(&self.n_breaks_left),
            Fate::Lost => Some(&self.n_losses_left),
            Fate::Pass | Fate::Twice | Fate::Late(_) => None,
        };
        let order = Ordering::Relaxed;
        let one_less = |left: usize| left.checked_sub(1);
        if n_left.is_some_and(|left| left.try_update(order, order, one_less).is_err()) {
            return Fate::Pass;
        }
        self.n_meddled.fetch_add(1, Ordering::Relaxed);
        fate
    }
}

impl Meddle for Chance {
    fn call(&self, _: &Call) -> Fate {
        // A call that got its answer has arrived.
        self.draw(false)
    }

    fn event(&self, event: &Event) -> Fate {
        use event::Type::{Offers, Rescind, Subscribed, Update};
        let kind = event.r#type();
        if kind == Subscribed {
            return Fate::Pass;
        }
        self.draw(matches!(kind, Offers | Rescind | Update))
    }
}

#[test]
fn what_is_lost_repeated_or_late_leaves_every_task_run_once() {
    // What the master believes to be on offer comes back to it when the offer was lost.
    let setup = Setup::agents(2).flag("MESOS_OFFER_TIMEOUT", "3secs");
    let Some(mesos) = setup.start() else {
        return;
    };
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    fastrand::seed(seed);
    let n_meddled = Arc::new(AtomicUsize::new(0));
    let meddler = Meddler::start(
        mesos.url(Part::Master),
        Chance {
            n_breaks_left: AtomicUsize::new(8),
            n_losses_left: AtomicUsize::new(8),
            n_meddled: Arc::clone(&n_meddled),
        },
    );
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path(), meddler.url(), "");
    let ran = folder.path().join("ran");
    let line = format!("echo $APPORTION_TASK_ID >> {}; sleep 0.2", ran.display());
    let task = json!({"array": "0-99", "run": {"command": line}, "demand": {"cpus": 0.5}});
    let _ = daemon.http.submit(&task);
    wait_all(&daemon, "default", 100);
    let runs = runs(&ran);
    assert_eq!(runs.len(), 100);
    assert!(runs.values().all(|n| *n == 1), "{runs:?}");
    assert!(n_meddled.load(Ordering::Relaxed) > 20);
    nothing_is_left(&mesos, &daemon);
}

/// Neither side believes that anything still runs.
fn nothing_is_left(mesos: &Mesos, daemon: &Daemon) {
    wait::until("the master to see all tasks ended", DEADLINE, || {
        let framework = mesos.find_framework("apportion")?;
        framework["tasks"].as_array()?.is_empty().then_some(())
    });
    let queues = daemon.http.get("/v1/queues").expect(200);
    let used = queues["queues"][0]["used"].as_object().unwrap().clone();
    assert!(used.values().all(|amount| *amount == 0), "{used:?}");
}

/// Holds the first launch back until its offer is gone.
struct HoldBack {
    is_held: AtomicBool,
    is_rescinded: Arc<AtomicBool>,
}

impl Meddle for HoldBack {
    fn call(&self, call: &Call) -> Fate {
        let launches = (call.accept.as_ref()).is_some_and(|accept| !accept.operations.is_empty());
        if call.r#type() == call::Type::Accept
            && launches
            && !self.is_held.swap(true, Ordering::SeqCst)
        {
            wait::until("the offer to be rescinded", DEADLINE, || {
                self.is_rescinded.load(Ordering::SeqCst).then_some(())
            });
        }
        Fate::Pass
    }

    fn event(&self, event: &Event) -> Fate {
        if event.r#type() == event::Type::Rescind {
            self.is_rescinded.store(true, Ordering::SeqCst);
        }
        Fate::Pass
    }
}

#[test]
fn a_launch_whose_offer_was_rescinded_meanwhile_is_made_again() {
    let setup = Setup::agents(1).flag("MESOS_OFFER_TIMEOUT", "1secs");
    let Some(mesos) = setup.start() else {
        return;
    };
    let is_rescinded = Arc::new(AtomicBool::new(false));
    let hold_back = HoldBack {
        is_held: AtomicBool::new(false),
        is_rescinded: Arc::clone(&is_rescinded),
    };
    let meddler = Meddler::start(mesos.url(Part::Master), hold_back);
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path(), meddler.url(), "");
    let ran = folder.path().join("ran");
    let line = format!("echo $APPORTION_ATTEMPT >> {}", ran.display());
    let task = json!({"run": {"command": line}, "retries": 0});
    let id = daemon.http.submit(&task);
    wait_all(&daemon, "default", 1);
    assert!(is_rescinded.load(Ordering::SeqCst));
    assert_eq!(daemon.http.task(id)["n_attempts"], 2);
    assert_eq!(
        runs(&ran).into_iter().collect::<Vec<_>>(),
        [("2".to_owned(), 1)]
    );
    let lost = "apportion_task_attempts_lost_total{reason=\"launch_dropped\"} ";
    assert_eq!(metric(&daemon, lost), 1);
    nothing_is_left(&mesos, &daemon);
}
