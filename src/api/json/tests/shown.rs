//! How tasks and their ends are shown.

use std::sync::Arc;
use std::time::Duration;

use super::{amount, read_one};
use crate::api::json::*;
use crate::engine::outcome::{Cause, LossReason, TaskLimit, Value};
use crate::engine::spec::{Dependency, Run};
use crate::engine::{
    AttemptEnd, AttemptId, Outcome, OutcomeKind, Submission, TaskId, TaskState, Time, Usage,
};
use crate::store::reader::{AttemptRecord, TaskRecord};

fn ended_task() -> TaskRecord {
    let new = read_one(
        r#"{"queue": "maps/render", "name": "tile 7/3", "key": "tile", "inbox": "release",
            "demand": {"cpus": 0.25, "mem": "4GiB"}, "run": {"argv": ["render", "--tile", "7/3"]},
            "env": {"STAGE": "prod"}, "priority": 5, "retries": 2, "timeout": "2h", "kill_grace": 1.5,
            "constraints": {"rack": "r1"}, "array": "10-40:10"}"#,
    );
    let submission = Submission {
        first: TaskId(7),
        spec: new.spec,
        after: vec![Dependency {
            first: TaskId(3),
            count: 2,
        }],
        digest: new.digest,
        submitted_at: Time(1_795_352_700_250),
    };
    let usage = Usage {
        wall: Duration::from_millis(61_500),
        cpu: Duration::from_micros(1_234_567),
        memory_peak_bytes: 4 << 30,
    };
    let end = AttemptEnd::Signalled { signal: 9 };
    TaskRecord {
        task: TaskId(9),
        submission: Arc::new(submission),
        state: TaskState::Failed,
        n_attempts: 2,
        ended_at: Some(Time(1_795_352_800_000)),
        outcome: Some(Outcome {
            kind: OutcomeKind::Failed,
            cause: Some(Cause::Attempt(end.clone())),
            exit_code: None,
            value: Value {
                bytes: Arc::from(*b"half a map"),
                truncated: false,
                file: None,
            },
            usage,
        }),
        not_before: None,
        attempts: vec![
            AttemptRecord {
                attempt: AttemptId {
                    task: TaskId(9),
                    number: 1,
                },
                agent: "m1".into(),
                launched_at: Time(1_795_352_701_000),
                started_at: None,
                ended_at: Some(Time(1_795_352_702_000)),
                end: Some(AttemptEnd::Lost {
                    reason: LossReason::DaemonRestarted,
                }),
                usage: Some(Usage::default()),
            },
            AttemptRecord {
                attempt: AttemptId {
                    task: TaskId(9),
                    number: 2,
                },
                agent: "m1".into(),
                launched_at: Time(1_795_352_738_000),
                started_at: Some(Time(1_795_352_738_010)),
                ended_at: Some(Time(1_795_352_800_000)),
                end: Some(end),
                usage: Some(usage),
            },
        ],
    }
}

#[test]
fn an_ended_task_is_shown_whole() {
    let task = TaskJson::from_record(&ended_task());
    insta::assert_json_snapshot!("ended_task", task);
    let again: TaskJson = serde_json::from_value(serde_json::to_value(&task).unwrap()).unwrap();
    assert_eq!(again, task, "clients read it back");
}

#[test]
fn a_waiting_task_is_shown_with_its_gaps() {
    let mut record = ended_task();
    record.state = TaskState::Waiting;
    record.n_attempts = 0;
    (record.ended_at, record.outcome) = (None, None);
    record.attempts.clear();
    Arc::make_mut(&mut record.submission).spec.array = None;
    insta::assert_json_snapshot!("waiting_task", TaskJson::from_record(&record));
}

#[test]
fn a_pickle_is_shown_only_where_one_task_is_asked_for() {
    let mut record = ended_task();
    Arc::make_mut(&mut record.submission).spec.run = Run::Python(Box::new(*b"\x80\x05"));
    let python = |pickle: Option<&str>| RunJson::Python(pickle.map(str::to_owned));
    assert_eq!(TaskJson::from_record(&record).run, python(Some("gAU=")));
    assert_eq!(TaskJson::from_list(&record).run, python(None));
    assert_eq!(TaskJson::from_delivery(&record).run, python(None));
    let shown = serde_json::to_value(TaskJson::from_list(&record)).unwrap();
    assert_eq!(shown["run"], serde_json::json!({"python": null}));
    let again: TaskJson = serde_json::from_value(shown).unwrap();
    assert_eq!(again.run, python(None));
}

#[test]
fn every_cause_has_a_code_and_a_sentence() {
    let over = |limit| Cause::Attempt(AttemptEnd::OverLimit { limit });
    let causes = [
        Cause::Attempt(AttemptEnd::Exited { code: 3 }),
        Cause::Attempt(AttemptEnd::Signalled { signal: 11 }),
        Cause::Attempt(AttemptEnd::Signalled { signal: 64 }),
        Cause::Attempt(AttemptEnd::OutOfMemory),
        over(TaskLimit::Processes(500)),
        over(TaskLimit::OutputBytes(1 << 30)),
        over(TaskLimit::DiskBytes(1_500_000)),
        over(TaskLimit::FileBytes(100 << 20)),
        Cause::Attempt(AttemptEnd::Killed),
        Cause::Attempt(AttemptEnd::NotStarted {
            message: "no such file".into(),
        }),
        Cause::Attempt(AttemptEnd::Raised {
            message: "ValueError: no such tile".into(),
        }),
        Cause::Attempt(AttemptEnd::Lost {
            reason: LossReason::LaunchDropped,
        }),
        Cause::TimedOut,
        Cause::LostTooOften(LossReason::AgentLost),
        Cause::Cancelled { reason: None },
        Cause::Cancelled {
            reason: Some("not needed".into()),
        },
        Cause::DependencyFailed {
            task: TaskId(4),
            kind: OutcomeKind::Cancelled,
        },
    ];
    let ends: Vec<EndJson> = causes.iter().map(EndJson::from_cause).collect();
    insta::assert_json_snapshot!("causes", ends);
}

#[test]
fn amounts_are_written_exactly() {
    for text in [
        "0",
        "2",
        "0.001",
        "0.3",
        "4096",
        "281474976710.655",
        "16383.999",
    ] {
        let written = serde_json::to_string(&AmountJson(amount(text))).unwrap();
        assert_eq!(written, text);
        let again: AmountJson = serde_json::from_str(&written).unwrap();
        assert_eq!(again.0, amount(text));
    }
}

#[test]
fn times_are_written_with_milliseconds() {
    assert_eq!(time::format(Time(0)), "1970-01-01T00:00:00.000Z");
    assert_eq!(
        time::format(Time(1_795_352_700_250)),
        "2026-11-22T13:05:00.250Z"
    );
    assert_eq!(time::format(Time(u64::MAX)), "9999-12-31T23:59:59.999Z");
}
