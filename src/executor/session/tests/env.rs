//! A session with an agent that only exists in these tests.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test fails at whatever it does not expect"
)]

use std::time::Duration;

use prost::Message as _;

use super::super::*;
use crate::backend::remote::launch;
use crate::engine::outcome::{Value, ValueFile};
use crate::engine::spec::Submission;
use crate::engine::{AttemptEnd, Usage};
use crate::proto::mesos::v1::executor::event;
use crate::proto::mesos::v1::framework_info::{Capability, capability};
use crate::proto::mesos::v1::{
    DurationInfo, FrameworkInfo, KillPolicy, TaskId as MesosTaskId, TaskState,
};

const START: Time = Time(1_000_000);

/// A session, its time, and what it wanted and nobody has looked at.
pub(super) struct Env {
    session: Session,
    now: Time,
    pub(super) wanted: Vec<Output>,
}

pub(super) fn options() -> SessionOptions {
    SessionOptions {
        framework_id: "F".to_owned(),
        executor_id: "E".to_owned(),
        checkpoint: true,
        recovery_timeout: Duration::from_secs(60),
        backoff_max: Duration::from_millis(500),
        shutdown_grace: Duration::from_secs(5),
        idle_timeout: None,
        keep_outputs: Duration::from_secs(3600),
    }
}

impl Env {
    pub(super) fn new(options: SessionOptions) -> Self {
        let mut n_uuids = 0_u128;
        let make_uuid = move || {
            n_uuids += 1;
            n_uuids.to_be_bytes()
        };
        let mut env = Self {
            session: Session::new(options, START, make_uuid),
            now: START,
            wanted: Vec::new(),
        };
        env.give(Input::Tick);
        env
    }

    /// One that is subscribed.
    pub(super) fn subscribed(options: SessionOptions) -> Self {
        let mut env = Self::new(options);
        let (stream, _) = env.take_subscribe();
        env.hear(stream, subscribed());
        env
    }

    pub(super) fn give(&mut self, input: Input) {
        let out = self.session.on(self.now, input);
        self.wanted.extend(out);
    }

    pub(super) fn hear(&mut self, stream: u64, event: executor::Event) {
        // As it comes over the wire.
        let event = executor::Event::decode(event.encode_to_vec().as_slice()).unwrap();
        self.give(Input::Heard(stream, Box::new(event)));
    }

    /// Lets time pass, stopping wherever the session wants to be woken.
    pub(super) fn pass(&mut self, span: Duration) {
        let until = self.now.after(span);
        while let Some(at) = self.session.wake_at().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            self.give(Input::Tick);
            if matches!(self.wanted.last(), Some(Output::Exit(_))) {
                break;
            }
            let next = self.session.wake_at();
            assert!(
                next.is_none_or(|next| next > self.now),
                "it would be woken for ever"
            );
        }
        self.now = until;
    }

    /// What was wanted, leaving nothing.
    pub(super) fn take(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.wanted)
    }

    pub(super) fn take_subscribe(&mut self) -> (u64, executor::call::Subscribe) {
        let mut wanted = self.take();
        let last = wanted.pop();
        let Some(Output::Subscribe(stream, call)) = last else {
            panic!("no subscription is wanted, but {last:?}");
        };
        assert_eq!(call.executor_id.value, "E");
        assert_eq!(call.framework_id.value, "F");
        (
            stream,
            call.subscribe.expect("the body is there, even if empty"),
        )
    }

    /// The updates that are to be sent now, with nothing else wanted.
    pub(super) fn take_updates(&mut self) -> Vec<(Uuid, TaskStatus)> {
        let updates = self.take().into_iter().map(|output| match output {
            Output::Update(uuid, call) => (uuid, call.update.unwrap().status),
            other => panic!("{other:?} instead of an update"),
        });
        updates.collect()
    }

    pub(super) fn launch(&mut self, id: &str) {
        self.hear(1, launched(id, "true", "http://s"));
        match self.take().as_slice() {
            [Output::Launch(launch, _)] => assert_eq!(launch.attempt.to_string(), id),
            other => panic!("{other:?} instead of a launch"),
        }
    }

    pub(super) fn ended(&mut self, id: &str, end: AttemptEnd, value: Value) {
        let event = Event::AttemptEnded {
            attempt: launch::parse_attempt(id).unwrap(),
            end,
            usage: Usage::default(),
            value,
        };
        self.give(Input::Backend(event));
    }

    pub(super) fn finished(&mut self, id: &str) {
        self.ended(id, AttemptEnd::Exited { code: 0 }, Value::default());
    }

    pub(super) fn acknowledge(&mut self, stream: u64, id: &str, uuid: Uuid) {
        self.hear(stream, acknowledged(id, &uuid));
    }
}

pub(super) fn event(kind: event::Type) -> executor::Event {
    executor::Event {
        r#type: Some(kind.into()),
        ..executor::Event::default()
    }
}

pub(super) fn subscribed() -> executor::Event {
    let capability = Capability {
        r#type: Some(capability::Type::TaskKillingState.into()),
    };
    executor::Event {
        subscribed: Some(event::Subscribed {
            framework_info: FrameworkInfo {
                capabilities: vec![capability],
                ..FrameworkInfo::default()
            },
            ..event::Subscribed::default()
        }),
        ..event(event::Type::Subscribed)
    }
}

pub(super) fn task_id(id: &str) -> MesosTaskId {
    MesosTaskId {
        value: id.to_owned(),
    }
}

pub(super) fn launched(id: &str, line: &str, url: &str) -> executor::Event {
    let message = crate::proto::apportion::v1::Launch {
        run: Some(crate::proto::apportion::v1::launch::Run::Command(
            line.to_owned(),
        )),
        upload: Some(crate::proto::apportion::v1::Upload {
            url: url.to_owned(),
            token: format!("token of {id}"),
        }),
        ..Default::default()
    };
    executor::Event {
        launch: Some(event::Launch {
            task: TaskInfo {
                task_id: task_id(id),
                data: Some(message.encode_to_vec().into()),
                ..TaskInfo::default()
            },
        }),
        ..event(event::Type::Launch)
    }
}

pub(super) fn kill(id: &str, grace: Option<Duration>) -> executor::Event {
    let kill_policy = grace.map(|grace| KillPolicy {
        grace_period: Some(DurationInfo {
            nanoseconds: i64::try_from(grace.as_nanos()).unwrap(),
        }),
    });
    executor::Event {
        kill: Some(event::Kill {
            task_id: task_id(id),
            kill_policy,
        }),
        ..event(event::Type::Kill)
    }
}

pub(super) fn acknowledged(id: &str, uuid: &[u8]) -> executor::Event {
    executor::Event {
        acknowledged: Some(event::Acknowledged {
            task_id: task_id(id),
            uuid: uuid.to_vec().into(),
        }),
        ..event(event::Type::Acknowledged)
    }
}

pub(super) fn states(updates: &[(Uuid, TaskStatus)]) -> Vec<(&str, TaskState)> {
    let states = updates.iter();
    states
        .map(|(_, status)| (status.task_id.value.as_str(), status.state()))
        .collect()
}

pub(super) fn file(n_bytes: u64) -> Value {
    let file = Some(ValueFile {
        attempt: 1,
        n_bytes,
    });
    Value {
        file,
        ..Value::default()
    }
}

pub(super) fn submission(output: &Output) -> &Submission {
    match output {
        Output::Launch(launch, _) => &launch.submission,
        other => panic!("{other:?} instead of a launch"),
    }
}
