//! The inputs that fuzzing begins with, made from the files of the project and of messages as peers send them.

use std::fs;
use std::path::Path;

use apportion::backend::remote::ended;
use apportion::engine::outcome::{LossReason, TaskLimit, Value};
use apportion::engine::{AttemptEnd, Usage};
use apportion::proto::apportion::v1::{Launch, Limits, Upload, launch::Run};
use apportion::proto::mesos::v1::executor::{self, event as told};
use apportion::proto::mesos::v1::scheduler::{self, event};
use apportion::proto::mesos::v1::{
    AgentId, FrameworkId, MasterInfo, Offer, OfferId, Resource, TaskId, TaskInfo, TaskState,
    TaskStatus, value,
};
use prost::Message;

/// The longest input that fuzzing tries, in bytes.
const BYTES_MAX: usize = 16 << 10;

/// What one target begins with.
pub(crate) struct Seed {
    /// The target.
    pub(crate) target: &'static str,
    /// What names it there.
    pub(crate) name: String,
    /// The input.
    pub(crate) bytes: Vec<u8>,
}

struct Seeds<'a> {
    root: &'a Path,
    all: Vec<Seed>,
}

impl Seeds<'_> {
    fn add(&mut self, target: &'static str, name: &str, bytes: &[u8]) {
        self.all.push(Seed {
            target,
            name: name.to_owned(),
            bytes: bytes.to_vec(),
        });
    }

    /// The files of a folder of the project with this ending, below it too, with `before` in front of each.
    fn copy(&mut self, target: &'static str, folder: &str, ending: &str, before: &[u8]) {
        let mut folders = vec![self.root.join(folder)];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|found| found == ending) {
                    files.push(path);
                }
            }
        }
        files.sort();
        assert!(!files.is_empty(), "no .{ending} in {folder}");
        for file in files {
            let mut bytes = [before, &fs::read(&file).unwrap()].concat();
            bytes.truncate(BYTES_MAX);
            self.add(target, file.file_name().unwrap().to_str().unwrap(), &bytes);
        }
    }
}

/// A launch as a scheduler describes it.
fn description() -> Vec<u8> {
    Launch {
        queue: "maps".to_owned(),
        demand_milli: [("cpus".to_owned(), 1500)].into(),
        env: [("STAGE".to_owned(), "prod".to_owned())].into(),
        array_index: Some(3),
        upload: Some(Upload {
            url: "http://scheduler:7070".to_owned(),
            token: "secret".to_owned(),
        }),
        run: Some(Run::Command("render".to_owned())),
        limits: Some(Limits {
            processes: Some(100),
            ..Limits::default()
        }),
    }
    .encode_to_vec()
}

/// What an agent says to an executor of its life.
pub(crate) fn agent_events() -> Vec<executor::Event> {
    let kind = |kind: told::Type| executor::Event {
        r#type: Some(kind as i32),
        ..executor::Event::default()
    };
    let task_id = TaskId {
        value: "7.1".to_owned(),
    };
    let task = TaskInfo {
        task_id: task_id.clone(),
        data: Some(description().into()),
        ..TaskInfo::default()
    };
    vec![
        executor::Event {
            subscribed: Some(told::Subscribed::default()),
            ..kind(told::Type::Subscribed)
        },
        executor::Event {
            launch: Some(told::Launch { task }),
            ..kind(told::Type::Launch)
        },
        executor::Event {
            acknowledged: Some(told::Acknowledged {
                task_id: task_id.clone(),
                uuid: vec![0; 16].into(),
            }),
            ..kind(told::Type::Acknowledged)
        },
        executor::Event {
            kill: Some(told::Kill {
                task_id,
                kill_policy: None,
            }),
            ..kind(told::Type::Kill)
        },
        kind(told::Type::Heartbeat),
        kind(told::Type::Shutdown),
    ]
}

/// Of an agent that has room for some tasks.
fn offer(number: u32) -> Offer {
    let scalar = |name: &str, amount: f64| Resource {
        name: name.to_owned(),
        r#type: value::Type::Scalar as i32,
        scalar: Some(value::Scalar { value: amount }),
        ..Resource::default()
    };
    Offer {
        id: OfferId {
            value: format!("O{number}"),
        },
        framework_id: FrameworkId {
            value: "F1".to_owned(),
        },
        agent_id: AgentId {
            value: "A1".to_owned(),
        },
        hostname: "m1".to_owned(),
        resources: vec![scalar("cpus", 4.0), scalar("mem", 4096.0)],
        ..Offer::default()
    }
}

fn status(task: &str, state: TaskState) -> TaskStatus {
    TaskStatus {
        task_id: TaskId {
            value: task.to_owned(),
        },
        state: state as i32,
        agent_id: Some(AgentId {
            value: "A1".to_owned(),
        }),
        uuid: Some(vec![7; 16].into()),
        data: Some(end(AttemptEnd::Exited { code: 3 }).into()),
        timestamp: Some(1.5),
        ..TaskStatus::default()
    }
}

/// What a master says to a scheduler, from its subscription on.
fn master_events() -> Vec<scheduler::Event> {
    let kind = |kind: event::Type| scheduler::Event {
        r#type: Some(kind as i32),
        ..scheduler::Event::default()
    };
    // The tasks are those of `src/backend/mesos/fuzzed.rs`.
    let update = |task, state| scheduler::Event {
        update: Some(event::Update {
            status: status(task, state),
        }),
        ..kind(event::Type::Update)
    };
    vec![
        scheduler::Event {
            subscribed: Some(event::Subscribed {
                framework_id: FrameworkId {
                    value: "F1".to_owned(),
                },
                heartbeat_interval_seconds: Some(15.0),
                master_info: Some(MasterInfo::default()),
            }),
            ..kind(event::Type::Subscribed)
        },
        scheduler::Event {
            offers: Some(event::Offers {
                offers: vec![offer(1), offer(2)],
            }),
            ..kind(event::Type::Offers)
        },
        scheduler::Event {
            rescind: Some(event::Rescind {
                offer_id: OfferId {
                    value: "O1".to_owned(),
                },
            }),
            ..kind(event::Type::Rescind)
        },
        update("1.1", TaskState::TaskRunning),
        update("1.1", TaskState::TaskFailed),
        update("1.2", TaskState::TaskRunning),
        update("2.1", TaskState::TaskUnreachable),
        update("3.1", TaskState::TaskFinished),
        update("9.9", TaskState::TaskRunning),
        scheduler::Event {
            failure: Some(event::Failure {
                agent_id: Some(AgentId {
                    value: "A1".to_owned(),
                }),
                ..event::Failure::default()
            }),
            ..kind(event::Type::Failure)
        },
        scheduler::Event {
            error: Some(event::Error {
                message: "framework removed".to_owned(),
            }),
            ..kind(event::Type::Error)
        },
        kind(event::Type::Heartbeat),
    ]
}

/// Framed as RecordIO.
fn records(events: &[Vec<u8>]) -> Vec<u8> {
    let framed = events
        .iter()
        .map(|event| [format!("{}\n", event.len()).as_bytes(), event].concat());
    framed.collect::<Vec<_>>().concat()
}

/// Orders to a keeper and its reports.
const LINES: &str = r#"{"start":{"limits":"auto","daemon":7,"python":{"interpreter":"python3","tasks_max":100,"memory_growth_bytes":1,"idle_max":2,"idle_millis":3}}}
{"contain":{"profile":1,"bounds":{"user":{"name":"maps","uid":1,"gid":1,"groups":[1],"home":"/","shell":"/bin/sh"},"limits":{"processes":5,"open_files":null,"file_size_bytes":9,"output_bytes":1,"disk_bytes":2,"core_dumps":true}}}}
{"launch":{"attempt":[7,1],"argv":["sh","-c","echo \u00fc"],"env":[["A","b"]],"cpu_milli":100,"mem_bytes":1048576,"profile":1,"python":{"call":"gAU=","value":"v","queue":"maps"}}}
{"kill":{"attempt":[7,1],"grace_millis":100}}
{"shut_down":{"grace_millis":1}}
{"ready":{"limits":"watch","instead_because":"no"}}
{"started":{"attempt":[7,1]}}
{"ended":{"attempt":[7,1],"end":{"over_limit":["disk",7]},"usage":{"wall_micros":1,"cpu_micros":2,"memory_peak_bytes":3},"value":{"inline":"gAU="}}}
{"ended":{"attempt":[7,1],"end":"killed","usage":{"wall_micros":1,"cpu_micros":2,"memory_peak_bytes":3},"value":"output"}}
{"warning":{"message":"low"}}
"#;

/// Calls as `entries/http.rs` takes them.
const CALLS: &[&str] = &[
    "POST /v1/tasks\n{\"queue\":\"maps/render\",\"name\":\"tile 7/3\",\"key\":\"k\",\"inbox\":\"release\",\"demand\":{\"cpus\":2,\"mem\":\"4GiB\",\"licences\":1},\"run\":{\"command\":\"render\"},\"env\":{\"STAGE\":\"prod\"},\"priority\":0,\"retries\":2,\"timeout\":\"2h\",\"kill_grace\":\"10s\",\"after\":[1,\"k\"],\"constraints\":{\"rack\":\"r1\"}}",
    "POST /v1/tasks\n{\"tasks\":[{\"array\":\"0-99:3\",\"demand\":{\"cpus\":1},\"run\":{\"argv\":[\"sh\",\"-c\",\"true\"]}},{\"run\":{\"python\":\"gASVAgAAAAAAAAAu\"}}]}",
    "POST /v1/tasks/1/cancel\n{\"reason\":\"no longer needed\"}",
    "POST /v1/tasks/1/retry\n",
    "POST /v1/inboxes/release/pop\n{\"max\":100,\"wait_seconds\":0,\"ack\":\"1-00\"}",
    "POST /v1/resources/licences/outside\n{\"used\":1.5}",
    "PUT /v1/attempts/1.1/value\nx",
    "GET /v1/tasks?limit=10&state=queued,running&queue=maps&after=3&newest=true&search=tile\n",
    "GET /v1/tasks/1/explain\n",
    "GET /v1/tasks/1/logs/stdout?offset=1&follow=true\n",
    "GET /v1/tasks/1/result\n",
    "GET /v1/audit?task=1&limit=3\n",
    "GET /v1/events?queue=maps\n",
    "GET /v1/queues\n",
    "GET /metrics\n",
    "GET /\n",
];

/// All of them, with files from the project in this folder.
pub(crate) fn all(root: &Path) -> Vec<Seed> {
    let mut seeds = Seeds {
        root,
        all: Vec::new(),
    };
    texts(&mut seeds);
    messages(&mut seeds);
    seeds.add("keeper", "all", LINES.as_bytes());
    for (number, call) in CALLS.iter().enumerate() {
        seeds.add("http", &format!("call-{number}"), call.as_bytes());
    }
    database(&mut seeds);
    seeds.all
}

fn texts(seeds: &mut Seeds<'_>) {
    seeds.copy("config", "config", "toml", b"");
    seeds.copy("scenario", "tests/scenarios", "toml", b"");
    seeds.copy("trace", "tests/traces", "swf", &[0]);
    seeds.copy("trace", "tests/traces", "jsonl", &[1]);
    let [map, odd] = ["odd.toml", "odd.swf"]
        .map(|name| fs::read(seeds.root.join("tests/traces").join(name)).unwrap());
    seeds.add(
        "trace",
        "mapped",
        &[&[2], &map[..], &[0], &odd[..]].concat(),
    );
}

fn messages(seeds: &mut Seeds<'_>) {
    let events: Vec<Vec<u8>> = master_events().iter().map(Message::encode_to_vec).collect();
    seeds.add(
        "recordio",
        "stream",
        &[&[5][..], &records(&events)].concat(),
    );
    seeds.add(
        "scheduler",
        "stream",
        &[&[4, 2][..], &records(&events)].concat(),
    );
    for (number, last) in events.iter().enumerate().skip(1) {
        let stream = records(&[events[0].clone(), last.clone(), last.clone()]);
        seeds.add(
            "scheduler",
            &format!("twice-{number}"),
            &[&[16, 4][..], &stream].concat(),
        );
    }
    // What else happens to an executor: nothing, or that its updates are taken, its attempt ends, its value is brought.
    for (name, what) in [
        ("idle", 0),
        ("life", 0b0001_1001),
        ("large", 0b0010_1101),
        ("broken", 0b0100_0111),
    ] {
        let told = agent_events()
            .into_iter()
            .map(|event| framed(what, &event.encode_to_vec()));
        seeds.add("executor", name, &told.collect::<Vec<_>>().concat());
    }
    seeds.add(
        "attempts",
        "description",
        &[&[0][..], b"7.1\n", &description()].concat(),
    );
    for (name, way) in ends() {
        seeds.add("attempts", name, &[&[1][..], &end(way)].concat());
    }
}

/// As an executor tells of it.
fn end(end: AttemptEnd) -> Vec<u8> {
    ended::to_bytes(&ended::Ended {
        end,
        lost_because: None,
        usage: Usage::default(),
        shown: ended::Shown::Inline(Value::default()),
    })
}

/// An event as `entries/executor.rs` takes it.
pub(crate) fn framed(what: u8, event: &[u8]) -> Vec<u8> {
    let length = u16::try_from(event.len()).unwrap().to_be_bytes();
    [&length[..], &[1, what], event].concat()
}

fn ends() -> [(&'static str, AttemptEnd); 4] {
    [
        (
            "raised",
            AttemptEnd::Raised {
                message: "ValueError: 7".into(),
            },
        ),
        ("exited", AttemptEnd::Exited { code: 3 }),
        (
            "over",
            AttemptEnd::OverLimit {
                limit: TaskLimit::OutputBytes(7),
            },
        ),
        (
            "lost",
            AttemptEnd::Lost {
                reason: LossReason::BackendFailed,
            },
        ),
    ]
}

fn database(seeds: &mut Seeds<'_>) {
    for table in 0..12_u8 {
        for (way, value) in [(0, "7"), (64, ""), (128, "-1"), (200, "2")] {
            let length = u8::try_from(value.len()).unwrap();
            let mut rows = vec![0, table, table.wrapping_mul(5), way, length];
            rows.extend(value.bytes());
            seeds.add("database", &format!("rows-{table}-{way}"), &rows);
        }
    }
    seeds.add("database", "bytes", &[1, 0, 6, 3, 0xff, 1, 0, 3, 0xff]);
}
