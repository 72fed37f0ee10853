//! Bytes that the official descriptions of the v1 API give, against the types built from `proto/`: the field
//! numbers are right.

use prost::Message;

use super::mesos::v1::{self, executor, scheduler};

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Decodes and encodes again: nothing is lost.
fn round_trip<M: Message + Default + std::fmt::Debug>(hex: &str) -> M {
    let encoded = bytes(hex);
    let message = M::decode(&encoded[..]).unwrap();
    assert_eq!(message.encode_to_vec(), encoded, "{message:?}");
    message
}

#[test]
fn scheduler_calls() {
    let calls = [
        "10011a1a0a180a017512016e21000000000020ac40520208066203656e67",
        "0a030a01461008421c0a030a014112030a01541a10000102030405060708090a0b0c0d0e0f",
        "0a030a014610042a100a030a014f120909000000000000f03f",
        "0a030a014610057a050a03656e67",
        "0a030a014610094a00",
        "0a030a01461003224f0a030a014f1248080112440a420a017412030a01541a030a0141221a0a046370757310001a0909000000000000e03f5a050a03656e672a130a030a01453a0a1a032e2f7830003a0178780232026869",
    ]
    .map(round_trip::<scheduler::Call>);
    let subscribe = calls[0].subscribe.as_ref().unwrap();
    let framework = &subscribe.framework_info;
    assert_eq!(framework.failover_timeout, Some(3600.0));
    assert_eq!(framework.roles, ["eng"]);
    let acknowledge = calls[1].acknowledge.as_ref().unwrap();
    assert_eq!(acknowledge.uuid[15], 15);
    assert_eq!(
        calls[2]
            .decline
            .as_ref()
            .unwrap()
            .filters
            .unwrap()
            .refuse_seconds,
        Some(1.0)
    );
    assert_eq!(calls[3].revive.as_ref().unwrap().roles, ["eng"]);
    assert!(calls[4].reconcile.as_ref().unwrap().tasks.is_empty());
    let accept = calls[5].accept.as_ref().unwrap();
    let launch = accept.operations[0].launch.as_ref().unwrap();
    let task = &launch.task_infos[0];
    assert_eq!(task.data.as_deref(), Some(&b"hi"[..]));
    assert_eq!(task.resources[0].scalar.unwrap().value, 0.5);
    let executor = task.executor.as_ref().unwrap();
    assert_eq!(executor.r#type(), v1::executor_info::Type::Custom);
    assert_eq!(executor.command.as_ref().unwrap().arguments, ["x"]);
}

#[test]
fn scheduler_events() {
    let heartbeat: scheduler::Event = round_trip("0808");
    assert_eq!(heartbeat.r#type(), scheduler::event::Type::Heartbeat);
    let subscribed: scheduler::Event = round_trip("0801120e0a030a0146110000000000002e40");
    let subscribed = subscribed.subscribed.unwrap();
    assert_eq!(subscribed.framework_id.value, "F");
    assert_eq!(subscribed.heartbeat_interval_seconds, Some(15.0));
    let update: scheduler::Event = round_trip(
        "08042a340a320a030a015410021a026f6b2a030a014131000000000000f83f3a030a014548025a10000102030405060708090a0b0c0d0e0f",
    );
    let status = update.update.unwrap().status;
    assert_eq!(status.state(), v1::TaskState::TaskFinished);
    assert_eq!(status.source(), v1::task_status::Source::Executor);
    assert_eq!(status.data.as_deref(), Some(&b"ok"[..]));
    assert_eq!(status.reason, None);
}

#[test]
fn executor_calls_and_events() {
    let subscribe: executor::Call = round_trip("0a030a014512030a014618012200");
    assert!(subscribe.subscribe.is_some());
    let update: executor::Call = round_trip(
        "0a030a014512030a014618022a1d0a1b0a030a0154100148025a10000102030405060708090a0b0c0d0e0f",
    );
    let status = update.update.unwrap().status;
    assert_eq!(status.state(), v1::TaskState::TaskRunning);
    let acknowledged: executor::Event =
        round_trip("08041a170a030a01541210000102030405060708090a0b0c0d0e0f");
    assert_eq!(acknowledged.acknowledged.unwrap().task_id.value, "T");
    let kill: executor::Event = round_trip("08032a0f0a030a015412080a060880e497d012");
    let policy = kill.kill.unwrap().kill_policy.unwrap();
    assert_eq!(policy.grace_period.unwrap().nanoseconds, 5_000_000_000);
    let shutdown: executor::Event = round_trip("0807");
    assert_eq!(shutdown.r#type(), executor::event::Type::Shutdown);
}

#[test]
fn what_is_unknown_or_absent_reads_as_a_default() {
    let status = v1::TaskStatus {
        state: 77,
        ..v1::TaskStatus::default()
    };
    assert_eq!(status.state(), v1::TaskState::TaskStaging);
    assert!(v1::TaskState::try_from(status.state).is_err());
    assert_eq!(
        status.reason(),
        v1::task_status::Reason::CommandExecutorFailed
    );
    assert_eq!(status.reason, None);
}
