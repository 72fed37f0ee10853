//! What tasks wrote on a real agent, read through its files API.

use std::sync::Arc;
use std::time::Duration;

use apportion::backend::mesos::Known;
use apportion::backend::mesos::logs::MesosLogs;
use apportion::backend::remote::launch::parse_attempt;
use apportion::backend::{LogChunk, LogError, LogStream, Logs};
use apportion::proto::mesos::v1::TaskState;
use tokio::sync::watch;

use super::support::{OWN_RESOURCES, executor, executor_pid, task};
use crate::support::mesos::framework::Framework;
use crate::support::mesos::{Mesos, Part, Setup};
use crate::support::{processes, wait};

/// Reads as the daemon would.
struct Reader {
    runtime: tokio::runtime::Runtime,
    logs: MesosLogs,
    agent: Arc<str>,
    _known: watch::Sender<Known>,
}

impl Reader {
    /// One that has found nothing out yet, as after a restart of the daemon.
    fn new(mesos: &Mesos, framework: &Framework, agent: &str) -> Self {
        let known = Known {
            framework: Some(framework.id().into()),
            master: Some(mesos.url(Part::Master).into()),
        };
        let (sender, known) = watch::channel(known);
        let client = apportion::http_client::builder();
        Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            logs: MesosLogs::new(client, known, None).unwrap(),
            agent: agent.into(),
            _known: sender,
        }
    }

    fn try_read(
        &self,
        id: &str,
        stream: LogStream,
        offset: u64,
    ) -> Result<Option<LogChunk>, LogError> {
        let attempt = parse_attempt(id).unwrap();
        let agent = Arc::clone(&self.agent);
        let read = self.logs.read(attempt, agent, stream, offset, 1 << 20);
        self.runtime.block_on(read)
    }

    fn stdout(&self, id: &str) -> Option<LogChunk> {
        self.try_read(id, LogStream::Stdout, 0).unwrap()
    }
}

/// Reads what all of the tasks wrote, after their ends.
fn check_whole_outputs(reader: &Reader) {
    assert_eq!(reader.stdout("1.1").unwrap().bytes, b"first\nlast\n");
    assert_eq!(reader.stdout("4.1").unwrap().bytes, b"second\n");
    let large = reader.stdout("2.1").unwrap();
    assert_eq!((large.bytes.len(), large.total_bytes), (300_000, 300_000));
    let read_on = |offset| {
        reader
            .try_read("2.1", LogStream::Stdout, offset)
            .unwrap()
            .unwrap()
    };
    assert_eq!(read_on(299_999).bytes, large.bytes[299_999..]);
    let beyond = read_on(u64::MAX);
    assert_eq!((beyond.bytes.len(), beyond.total_bytes), (0, 300_000));
    assert_eq!(
        reader.stdout("3.1"),
        Some(LogChunk::default()),
        "it wrote nothing"
    );
    assert_eq!(reader.stdout("5.1"), None, "it never ran here");
}

/// Reads from an agent that the cluster doesn't have, and from one that is killed.
fn check_lost_agents(mesos: &mut Mesos, framework: &Framework, agent: &str) {
    let reader = Reader::new(mesos, framework, "another-agent");
    let error = reader.try_read("1.1", LogStream::Stdout, 0).unwrap_err();
    assert!(matches!(error, LogError::Gone(_)), "{error}");
    let reader = Reader::new(mesos, framework, agent);
    mesos.kill(Part::Agent(0));
    let error = reader.try_read("1.1", LogStream::Stdout, 0).unwrap_err();
    assert!(matches!(error, LogError::Unreachable(_)), "{error}");
    assert!(error.to_string().contains(agent), "{error}");
}

#[test]
fn outputs_are_read_while_tasks_run_and_after() {
    let Some(mut mesos) = Setup::agents(1).start() else {
        return;
    };
    let framework = Framework::subscribe(&mesos, "bare");
    let gate = mesos.folder().join("gate");
    let shown = gate.display();
    let executor = executor("shared", Some(Duration::from_secs(2)));
    let tasks = vec![
        task(
            "1.1",
            &format!(
                "echo first; echo wrong >&2; while [ ! -e {shown} ]; do sleep 0.05; done; echo last"
            ),
        ),
        task(
            "2.1",
            "head -c 300000 /dev/urandom | tee copy; exec sha256sum copy >&2",
        ),
        task("3.1", "true"),
    ];
    let agent = framework.launch(None, &executor, &OWN_RESOURCES, &tasks);
    let reader = Reader::new(&mesos, &framework, &agent);
    framework.wait_state("1.1", TaskState::TaskRunning);
    wait::for_true("the first line of a task that runs", || {
        reader
            .stdout("1.1")
            .is_some_and(|chunk| chunk.bytes == b"first\n")
    });
    let stderr = reader
        .try_read("1.1", LogStream::Stderr, 2)
        .unwrap()
        .unwrap();
    assert_eq!(
        (stderr.bytes.as_slice(), stderr.total_bytes),
        (&b"ong\n"[..], 6)
    );
    let pid = executor_pid(&mesos);
    std::fs::write(&gate, "").unwrap();
    for id in ["1.1", "2.1", "3.1"] {
        framework.wait_state(id, TaskState::TaskFinished);
    }
    processes::until_gone(&[pid]);
    wait::for_true("the master to know that the executor has ended", || {
        let framework = mesos.find_framework("bare").unwrap();
        framework["executors"].as_array().is_none_or(Vec::is_empty)
    });
    // A second executor of the same id, whose sandbox is another.
    framework.launch(
        None,
        &executor,
        &OWN_RESOURCES,
        &[task("4.1", "echo second")],
    );
    framework.wait_state("4.1", TaskState::TaskFinished);
    let reader = Reader::new(&mesos, &framework, &agent);
    check_whole_outputs(&reader);
    // A restarted agent knows the last run of each executor.
    mesos.kill(Part::Agent(0));
    mesos.start(Part::Agent(0));
    mesos.wait_for_agents(1);
    let reader = Reader::new(&mesos, &framework, &agent);
    wait::for_true("the agent to have recovered", || {
        let read = reader.try_read("4.1", LogStream::Stdout, 0);
        read.is_ok_and(|chunk| chunk.is_some_and(|chunk| chunk.bytes == b"second\n"))
    });
    assert_eq!(reader.stdout("3.1"), None, "that of before is beyond reach");
    check_lost_agents(&mut mesos, &framework, &agent);
}
