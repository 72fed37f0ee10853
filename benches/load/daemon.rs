//! The real daemon as a process: started on a free port, asked over HTTP, killed on drop.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use apportion::clock::Stopwatch;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::processes;

/// How long a daemon may take to listen.
const START_MAX: Duration = Duration::from_secs(600);

/// What a daemon is given beside the ordinary.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extra<'a> {
    /// Lines of the queue.
    pub(crate) queue: &'a str,
    /// Sections of their own.
    pub(crate) sections: &'a str,
    /// Of the command line.
    pub(crate) arguments: &'a [&'a str],
}

/// A running daemon.
pub(crate) struct Daemon {
    child: Child,
    /// `http://address:port`.
    pub(crate) url: String,
    /// From the start of its process until it said that it listens.
    pub(crate) until_listening: Duration,
    /// Since the start of its process.
    pub(crate) since_start: Stopwatch,
}

impl Daemon {
    /// Starts a daemon with its data in `folder/data`, which offers `cpus` of this machine and runs as many
    /// tasks of [`crate::bodies`] side by side, with `backend.limits` as given.
    pub(crate) fn start(folder: &Path, cpus: u32, limits: &str, log: Option<&PathBuf>) -> Self {
        Self::start_with(folder, cpus, limits, Extra::default(), log)
    }

    /// The same, with more in its configuration and on its command line.
    pub(crate) fn start_with(
        folder: &Path,
        cpus: u32,
        limits: &str,
        extra: Extra<'_>,
        log: Option<&PathBuf>,
    ) -> Self {
        let config = folder.join("apportion.toml");
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\ndata_dir = \"{}\"\n[queues.load]\n{}\
             [backend]\nkind = \"local\"\nresources = {{ cpus = {cpus}, mem = \"1TiB\" }}\nlimits = \"{limits}\"\n{}",
            folder.join("data").display(),
            extra.queue,
            extra.sections,
        );
        std::fs::write(&config, text).expect("the configuration can be written");
        let since_start = Stopwatch::start();
        let mut child = Command::new(env!("CARGO_BIN_EXE_apportion"))
            .args(["serve", "--config"])
            .arg(&config)
            .args(extra.arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the daemon starts");
        let said = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut log = log.map(|file| {
            let mut options = OpenOptions::new();
            let opened = options.create(true).append(true).open(file);
            opened.expect("the log can be written")
        });
        let (listening, when) = mpsc::channel();
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                if let Some((_, url)) = line.split_once("listening on ") {
                    let _ = listening.send((url.trim().to_owned(), since_start.elapsed()));
                }
                if let Some(log) = &mut log {
                    let _ = writeln!(log, "{line}");
                }
            }
        });
        let (url, until_listening) = when.recv_timeout(START_MAX).unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("the daemon did not come to listen; --log FILE keeps what it says")
        });
        Self {
            child,
            url,
            until_listening,
            since_start,
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// It, its guard and its keeper: what runs of it when no task does.
    pub(crate) fn own_processes(&self) -> Vec<u32> {
        processes::with_descendants(self.pid())
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the daemon can be killed");
        self.child.wait().expect("the daemon can be waited for");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let id = i32::try_from(self.child.id()).expect("a process id is positive");
        let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// A client with connections that stay open, and the runtime for it.
pub(crate) struct Client {
    /// Runs the requests.
    pub(crate) runtime: tokio::runtime::Runtime,
    /// Cheap to clone.
    pub(crate) http: reqwest::Client,
}

impl Client {
    /// With a runtime on this thread alone, so that the client takes little from the daemon's cores.
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let http = apportion::http_client::builder()
            .pool_max_idle_per_host(1024)
            .tcp_nodelay(true)
            .timeout(START_MAX)
            .build()
            .expect("a client can be made");
        Self { runtime, http }
    }

    /// The body of a GET, which must succeed.
    pub(crate) fn get(&self, daemon: &Daemon, path: &str) -> String {
        let url = format!("{}{path}", daemon.url);
        self.runtime.block_on(async {
            let response = self.http.get(url).send().await.expect("the daemon answers");
            let ok = response
                .error_for_status()
                .expect("the daemon answers well");
            ok.text().await.expect("the answer is text")
        })
    }

    /// Submits, and gives how long it took until it was answered, so durable.
    pub(crate) fn submit(&self, daemon: &Daemon, body: Vec<u8>) -> Duration {
        let since = Stopwatch::start();
        self.runtime
            .block_on(post_tasks(self.http.clone(), &daemon.url, body));
        since.elapsed()
    }

    /// A metric of the daemon, summed over its labels; zero where it isn't there.
    pub(crate) fn metric(&self, daemon: &Daemon, name: &str) -> f64 {
        let page = self.get(daemon, "/metrics");
        let values = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with([' ', '{'])
                .then(|| rest.rsplit_once(' '))?
        });
        values
            .map(|(_, value)| value.parse::<f64>().expect("a metric is a number"))
            .sum()
    }

    /// Asks for a metric again and again until it is at least `value`.
    pub(crate) fn wait_metric(
        &self,
        daemon: &Daemon,
        name: &str,
        value: f64,
        each: Duration,
        mut tell: impl FnMut(f64),
    ) {
        loop {
            let now = self.metric(daemon, name);
            tell(now);
            if now >= value {
                return;
            }
            std::thread::sleep(each);
        }
    }

    /// Waits until no task is left that has not ended.
    pub(crate) fn wait_ended(&self, daemon: &Daemon, mut tell: impl FnMut(u64)) {
        loop {
            let n_live = self.n_live(daemon);
            if n_live == 0 {
                return;
            }
            tell(n_live);
            // Seldom enough to take nothing, often enough to be exact to a few hundredths of a second at the end: no
            // process is started and waited for in less than a quarter of a millisecond.
            let at_least =
                Duration::from_micros(250).saturating_mul(n_live.try_into().unwrap_or(u32::MAX));
            std::thread::sleep(at_least.clamp(Duration::from_millis(20), Duration::from_secs(1)));
        }
    }

    /// How many tasks have not ended, or have and are not yet durable so.
    pub(crate) fn n_live(&self, daemon: &Daemon) -> u64 {
        let text = self.get(daemon, "/v1/queues");
        let page: serde_json::Value = serde_json::from_str(&text).expect("the answer is JSON");
        let queues = page["queues"].as_array().into_iter().flatten();
        let counts = queues
            .filter(|queue| queue["is_leaf"] == true)
            .filter_map(|queue| queue["tasks"].as_object());
        counts
            .flat_map(|counts| counts.values())
            .filter_map(serde_json::Value::as_u64)
            .sum()
    }
}

/// Submits and insists on the answer that it is durable.
pub(crate) async fn post_tasks(http: reqwest::Client, url: &str, body: impl Into<reqwest::Body>) {
    let request = http
        .post(format!("{url}/v1/tasks"))
        .header("content-type", "application/json")
        .body(body);
    let response = request.send().await.expect("the daemon answers");
    let status = response.status();
    let text = response.text().await.expect("the answer is text");
    assert_eq!(status.as_u16(), 201, "{text}");
}
