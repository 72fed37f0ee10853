//! What masters, agents and executors send: the framing of streams, descriptions of attempts, and their ends.

use std::time::Duration;

use apportion::backend::remote::{ended, launch};
use apportion::engine::outcome::Value;
use apportion::engine::{AttemptEnd, Time, Usage};
use apportion::executor::session::{Answer, Input, Session, SessionOptions};
use apportion::proto::mesos::v1::executor::{Event, event};
use apportion::proto::mesos::v1::{self, FrameworkInfo, TaskInfo};
use apportion::proto::recordio::Decoder;
use proptest::prelude::*;
use prost::Message;

use super::mutation::garbled;

/// The largest record that the decoders here take.
const RECORD_MAX: usize = 4096;

fn stream() -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in [&b"\x08\x08"[..], &[7; 300], b"", b"last"] {
        bytes.extend(format!("{}\n", record.len()).bytes());
        bytes.extend(record);
    }
    bytes
}

fn end() -> Vec<u8> {
    ended::to_bytes(&ended::Ended {
        end: AttemptEnd::Raised {
            message: "ValueError: 7".into(),
        },
        lost_because: None,
        usage: Usage::default(),
        shown: ended::Shown::Inline(Value::default()),
    })
}

/// A launch as a scheduler describes it, by its fields: queue, demand, environment, upload, command.
fn description() -> Vec<u8> {
    use apportion::proto::apportion::v1::{Launch, Limits, Upload, launch::Run};
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

fn kind(kind: event::Type) -> Event {
    Event {
        r#type: Some(kind as i32),
        ..Event::default()
    }
}

/// Events of an agent, as bytes.
fn events() -> Vec<Vec<u8>> {
    let task = TaskInfo {
        task_id: v1::TaskId {
            value: "7.1".to_owned(),
        },
        data: Some(description().into()),
        ..TaskInfo::default()
    };
    let subscribed = event::Subscribed {
        framework_info: FrameworkInfo {
            name: "apportion".to_owned(),
            ..FrameworkInfo::default()
        },
        ..event::Subscribed::default()
    };
    let all = [
        Event {
            subscribed: Some(subscribed),
            ..kind(event::Type::Subscribed)
        },
        Event {
            launch: Some(event::Launch { task }),
            ..kind(event::Type::Launch)
        },
        Event {
            kill: Some(event::Kill {
                task_id: v1::TaskId {
                    value: "7.1".to_owned(),
                },
                kill_policy: None,
            }),
            ..kind(event::Type::Kill)
        },
        kind(event::Type::Heartbeat),
        kind(event::Type::Shutdown),
    ];
    all.iter().map(Message::encode_to_vec).collect()
}

fn session() -> Session {
    let options = SessionOptions {
        framework_id: "F".to_owned(),
        executor_id: "E".to_owned(),
        checkpoint: true,
        recovery_timeout: Duration::from_secs(60),
        backoff_max: Duration::from_millis(500),
        shutdown_grace: Duration::from_secs(5),
        idle_timeout: Some(Duration::from_secs(60)),
        keep_outputs: Duration::from_secs(3600),
    };
    let mut n_uuids = 0_u128;
    let make_uuid = move || {
        n_uuids += 1;
        n_uuids.to_be_bytes()
    };
    Session::new(options, Time(1_000_000), make_uuid)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_stream_gives_records_or_one_error(bytes in garbled(vec![stream()]), cut in 1..50_usize) {
        let mut decoder = Decoder::new(RECORD_MAX);
        let mut n_taken = 0;
        'stream: for chunk in bytes.chunks(cut) {
            decoder.push(chunk);
            loop {
                match decoder.next_record() {
                    Ok(Some(record)) => n_taken += record.len(),
                    Ok(None) => break,
                    Err(error) => {
                        prop_assert_eq!(decoder.next_record().unwrap_err(), error);
                        break 'stream;
                    }
                }
            }
        }
        prop_assert!(n_taken <= bytes.len());
        let _ = decoder.finish();
    }

    #[test]
    fn an_end_is_read_or_none(bytes in garbled(vec![end()])) {
        if let Some(read) = ended::from_bytes(&bytes) {
            // What was read is told again in the same words.
            let again = ended::from_bytes(&ended::to_bytes(&read)).unwrap();
            prop_assert_eq!(format!("{:?}", again.usage), format!("{:?}", read.usage));
        }
    }

    #[test]
    fn a_description_is_read_or_refused(bytes in garbled(vec![description()]), id in "[0-9]{1,3}\\.[0-9]{1,3}|.{0,9}") {
        if let Err(error) = launch::from_bytes(&id, &bytes) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn an_executor_outlives_whatever_its_agent_says(words in prop::collection::vec((garbled(events()), 0..4_u64, 0..100_000_u64), 1..30)) {
        let mut session = session();
        let mut now = Time(1_000_000);
        session.on(now, Input::Tick);
        for (bytes, stream, pause) in words {
            now = now.after(Duration::from_millis(pause));
            let Ok(event) = Event::decode(&*bytes) else {
                session.on(now, Input::StreamEnded(stream, "garbled".to_owned()));
                continue;
            };
            session.on(now, Input::Heard(stream, Box::new(event)));
            session.on(now, Input::Answered([0; 16], Answer::Failed));
            session.on(now, Input::Tick);
        }
    }
}
