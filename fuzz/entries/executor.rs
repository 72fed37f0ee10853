//! What a Mesos agent sends to its executor. Each event has four bytes before it: two for its length, one for the pause
//! before it, and one for what else happens then.

use std::collections::VecDeque;
use std::time::Duration;

use apportion::engine::outcome::{Value, ValueFile};
use apportion::engine::{self, AttemptEnd, AttemptId, Time, Usage};
use apportion::executor::session::{Answer, Input, Output, Session, SessionOptions, Uuid};
use apportion::proto::mesos::v1::executor::Event;
use prost::Message as _;

fn session(now: Time) -> Session {
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
    Session::new(options, now, move || {
        n_uuids += 1;
        n_uuids.to_be_bytes()
    })
}

/// What around the session does as it is told.
#[derive(Default)]
struct Around {
    stream: u64,
    updates: VecDeque<Uuid>,
    attempts: VecDeque<AttemptId>,
    uploads: VecDeque<AttemptId>,
    has_exited: bool,
}

impl Around {
    fn take(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Subscribe(number, _) => self.stream = number,
                Output::Update(uuid, _) => self.updates.push_back(uuid),
                Output::Launch(launch, _) => self.attempts.push_back(launch.attempt),
                Output::Upload(attempt, _) => self.uploads.push_back(attempt),
                Output::Exit(_) => self.has_exited = true,
                Output::Kill(..) | Output::StopUpload(_) | Output::Forget(_) => {}
            }
        }
    }

    /// What happens beside the agent's event, two bits for each.
    fn happenings(&mut self, what: u8) -> Vec<Input> {
        let answer = match what & 3 {
            0 => None,
            1 => Some(Answer::Accepted),
            2 => Some(Answer::Refused),
            _ => Some(Answer::Failed),
        };
        let answered =
            answer.and_then(|answer| Some(Input::Answered(self.updates.pop_front()?, answer)));
        let told = match what >> 2 & 3 {
            0 => None,
            1 => self
                .attempts
                .front()
                .map(|attempt| engine::Event::AttemptStarted { attempt: *attempt }),
            end => self
                .attempts
                .pop_front()
                .map(|attempt| ended(attempt, end == 3)),
        };
        let uploaded = match what >> 4 & 3 {
            0 => None,
            1 => self
                .uploads
                .pop_front()
                .map(|attempt| Input::Uploaded(attempt, Err("refused".to_owned()))),
            _ => self
                .uploads
                .pop_front()
                .map(|attempt| Input::Uploaded(attempt, Ok(()))),
        };
        let last = match what >> 6 {
            1 => Some(Input::StreamEnded(self.stream, "broken".to_owned())),
            2 => Some(Input::Terminated),
            _ => None,
        };
        let told = told.map(Input::Backend);
        [answered, told, uploaded, last]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// The end of an attempt, with a value that has to be uploaded or with none.
fn ended(attempt: AttemptId, is_large: bool) -> engine::Event {
    let file = ValueFile {
        attempt: attempt.number,
        n_bytes: 1 << 20,
    };
    engine::Event::AttemptEnded {
        attempt,
        end: AttemptEnd::Exited { code: 0 },
        usage: Usage::default(),
        value: Value {
            file: is_large.then_some(file),
            ..Value::default()
        },
    }
}

pub(crate) fn run(bytes: &[u8]) {
    let mut now = Time(1_000_000);
    let mut rest = bytes;
    let mut session = session(now);
    let mut around = Around::default();
    around.take(session.on(now, Input::Tick));
    while let [high, low, pause, what, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (event, after) = after.split_at(length);
        rest = after;
        now = now.after(Duration::from_millis(u64::from(*pause) * 500));
        let heard = match Event::decode(event) {
            Ok(event) => Input::Heard(around.stream, Box::new(event)),
            Err(_) => Input::StreamEnded(around.stream, "garbled".to_owned()),
        };
        let mut inputs = vec![heard];
        inputs.extend(around.happenings(*what));
        inputs.push(Input::Tick);
        for input in inputs {
            around.take(session.on(now, input));
            if around.has_exited {
                return;
            }
        }
    }
}
