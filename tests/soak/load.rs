//! The load: clients that submit, cancel, retry, pop, listen and ask, reloads, and whoever kills.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use apportion::clock::Stopwatch;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::Third;
use super::sample::{descendants, n_task_files};
use crate::support::daemon::{Daemon, write_config};
use crate::support::wait;

/// Between two things that are done: so that it all takes a part of a processor only.
const PAUSE: Duration = Duration::from_millis(60);

/// Between two kills of a round; a short round has two.
const KILL_EVERY: Duration = Duration::from_secs(10);

/// How many tasks are remembered, to be cancelled and retried.
const REMEMBERED: usize = 200;

/// How many event streams are open at most.
const STREAMS_MAX: usize = 20;

/// How long all may take to come to rest.
const REST_MAX: Duration = Duration::from_secs(180);

/// What the tasks do: nothing, something, fail, leave processes behind, write a lot, write too much.
const LINES: [&str; 9] = [
    "true",
    "echo out; echo err >&2; echo x > file",
    "sleep 0.3",
    "exit 3",
    "setsid sleep 100 & echo left",
    "head -c 300000 /dev/zero | tr '\\0' x",
    // Far more than it may, but no more than any disk has room for, should nobody look for a while.
    "yes | head -c 100000000; sleep 10",
    "kill -9 $$",
    "mkdir -p a/b/c; for i in 1 2 3 4 5; do echo $i > a/b/c/$i; done; sleep 1",
];

/// See the module's text.
pub(super) struct Load {
    pub(super) daemon: Daemon,
    pub(super) folder: tempfile::TempDir,
    /// What the daemon answered that it never should.
    pub(super) faults: Vec<String>,
    tasks: VecDeque<u64>,
    streams: Vec<TcpStream>,
    random: u64,
    n_reloads: u64,
    n_kills: u64,
    token: Option<String>,
    done: BTreeMap<&'static str, u64>,
}

fn config(weight: u64) -> String {
    format!(
        "retention = \"1s\"\n[tasks]\nretry_pause = \"50ms\"\n[tasks.limits]\noutput = \"1MiB\"\ndisk = \"50MiB\"\n\
         [queues.a]\nweight = {weight}\n[queues.b]\nlimits = {{ processes = 50, open_files = 200 }}\n\
         [backend]\nresources = {{ cpus = 4, mem = \"4GiB\" }}\n"
    )
}

impl Load {
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            daemon: Daemon::start(folder.path(), &config(1)),
            folder,
            faults: Vec::new(),
            tasks: VecDeque::new(),
            streams: Vec::new(),
            random: 0x9e37_79b9_7f4a_7c15,
            n_reloads: 0,
            n_kills: 0,
            token: None,
            done: BTreeMap::new(),
        }
    }

    /// Some number below `n`.
    fn below(&mut self, n: u64) -> u64 {
        // A linear congruential generator; its high bits are good enough here.
        self.random = (self.random)
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % n
    }

    fn count(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    /// What was done, how often.
    pub(super) fn tally(&self) -> String {
        let done = self.done.iter();
        let done: Vec<String> = done.map(|(what, n)| format!("{n} {what}")).collect();
        format!("done: {}", done.join(", "))
    }

    /// Goes on for so long.
    pub(super) fn run(&mut self, span: Duration, third: Third) {
        let since = Stopwatch::start();
        let kill_every = KILL_EVERY.min(span / 3);
        let mut next_kill = kill_every;
        while since.elapsed() < span {
            self.step();
            if since.elapsed() >= next_kill {
                next_kill += kill_every;
                self.kill(third);
            }
            let _ = wait::within(PAUSE, || None::<()>);
        }
    }

    fn step(&mut self) {
        match self.below(20) {
            0..=8 => self.submit(),
            9 | 10 => self.at_some_task("cancel", "cancellations"),
            11 => self.at_some_task("retry", "retries"),
            12 | 13 => self.pop(),
            14 | 15 => self.listen(),
            16 | 17 => self.look(),
            18 => self.kill_a_task(),
            _ => self.reload(),
        }
    }

    fn post(&mut self, path: &str, body: &Value) -> Option<Value> {
        // It may be away for a moment.
        let answer = self.daemon.http.try_post(path, body).ok()?;
        if answer.status >= 500 && answer.status != 503 {
            self.faults
                .push(format!("{path}: {} {}", answer.status, answer.text()));
        }
        (answer.status < 300).then(|| answer.json())
    }

    fn submit(&mut self) {
        let line = LINES[self.below(LINES.len() as u64) as usize];
        let queue = ["a", "b"][self.below(2) as usize];
        let mut task = json!({"queue": queue, "inbox": "box", "retries": self.below(2), "kill_grace": "100ms",
            "demand": {"cpus": 0.2, "mem": "64MiB"}, "run": {"command": line}});
        if self.below(6) == 0 {
            task["array"] = json!("0-9");
            task["run"]["command"] = json!("echo $APPORTION_ARRAY_INDEX");
        }
        let answer = self.post("/v1/tasks", &task);
        let id = answer.and_then(|answer| answer["tasks"][0]["id"].as_u64());
        if let Some(id) = id {
            self.tasks.push_back(id);
            self.count("submissions");
        }
        if self.tasks.len() > REMEMBERED {
            self.tasks.pop_front();
        }
    }

    fn at_some_task(&mut self, what: &str, counted: &'static str) {
        let n = self.tasks.len().max(1) as u64;
        let place = self.below(n) as usize;
        if let Some(id) = self.tasks.get(place).copied() {
            self.post(&format!("/v1/tasks/{id}/{what}"), &json!({}));
            self.count(counted);
        }
    }

    fn pop(&mut self) {
        let mut body = json!({"max": 50});
        // Now and then without acknowledging what came before.
        if let Some(token) = self.token.take().filter(|_| !self.random.is_multiple_of(4)) {
            body["ack"] = token.into();
        }
        let answer = self.post("/v1/inboxes/box/pop", &body);
        let token = answer.and_then(|answer| answer["token"].as_str().map(str::to_owned));
        self.token = token;
        self.count("pops");
    }

    /// Opens an event stream that nobody reads, or leaves one.
    fn listen(&mut self) {
        if self.streams.len() >= STREAMS_MAX || self.below(3) == 0 {
            let n = self.streams.len().max(1) as u64;
            let place = self.below(n) as usize;
            if place < self.streams.len() {
                drop(self.streams.swap_remove(place));
            }
            return;
        }
        let address = self.daemon.url.trim_start_matches("http://").to_owned();
        if let Ok(mut stream) = TcpStream::connect(&address) {
            let asked = write!(stream, "GET /v1/events HTTP/1.1\r\nhost: {address}\r\n\r\n");
            if asked.is_ok() {
                self.streams.push(stream);
                self.count("event streams");
            }
        }
    }

    fn look(&mut self) {
        let last = self.tasks.back().copied().unwrap_or(1);
        let paths = [
            "/v1/tasks?limit=100".to_owned(),
            "/v1/queues".to_owned(),
            "/metrics".to_owned(),
            format!("/v1/tasks/{last}/explain"),
            format!("/v1/tasks/{last}/logs/stdout"),
            format!("/v1/tasks/{last}/result"),
        ];
        let path = &paths[self.below(paths.len() as u64) as usize];
        if let Ok(answer) = self.daemon.http.try_get(path)
            && answer.status >= 500
            && answer.status != 503
        {
            self.faults
                .push(format!("{path}: {} {}", answer.status, answer.text()));
        }
        self.count("questions");
    }

    fn reload(&mut self) {
        self.n_reloads += 1;
        let _ = write_config(self.folder.path(), &config(1 + self.n_reloads % 5));
        self.daemon.signal(Signal::SIGHUP);
        self.count("reloads");
    }

    /// The guard, the keeper, and what it keeps.
    fn below_daemon(&self) -> Vec<i32> {
        descendants(self.daemon.pid().as_raw())
    }

    fn kill_a_task(&mut self) {
        let processes = self
            .below_daemon()
            .split_off(2.min(self.below_daemon().len()));
        let n = processes.len().max(1) as u64;
        let place = self.below(n) as usize;
        if let Some(pid) = processes.get(place) {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            self.count("tasks killed");
        }
    }

    /// Kills the next in turn of those that are killed in this third: the daemon every other time, else the keeper or
    /// its guard. Never both at once here; others do that.
    fn kill(&mut self, third: Third) {
        self.n_kills += 1;
        match third {
            Third::Tasks => {}
            Third::All if !self.n_kills.is_multiple_of(2) => self.kill_daemon(),
            Third::All | Third::Keepers => {
                let place = usize::from((self.n_kills / 2).is_multiple_of(2));
                if let Some(pid) = self.below_daemon().get(place) {
                    let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
                    self.count("keepers killed");
                }
            }
        }
    }

    fn kill_daemon(&mut self) {
        let pid = self.daemon.pid();
        let _ = kill(pid, Signal::SIGKILL);
        self.streams.clear();
        self.token = None;
        let text = config(1);
        // It may not let go of its directory at once.
        let folder = self.folder.path().to_owned();
        self.daemon = wait::until("the daemon to start again", REST_MAX, || {
            Daemon::try_start(&folder, &text).ok()
        });
        self.count("daemons killed");
    }

    /// Lets all come to an end, be delivered, and be forgotten.
    pub(super) fn rest(&mut self) {
        self.streams.clear();
        let mut left = String::new();
        let done = wait::within(REST_MAX, || {
            self.pop();
            let page = self.daemon.http.try_get("/v1/tasks?limit=1").ok()?.json();
            let is_empty = page["tasks"].as_array().is_some_and(Vec::is_empty);
            let n_files = n_task_files(&self.folder.path().join("data"));
            let n_processes = self.below_daemon().len();
            left = format!("{n_processes} processes, {n_files} files of tasks, and {page}");
            (is_empty && n_files == 0 && n_processes == 2).then_some(())
        });
        assert!(
            done.is_some(),
            "after {REST_MAX:?} of rest there are {left}"
        );
        self.tasks.clear();
    }
}
