//! How an attempt ended, on its way from an executor.

use std::time::Duration;

use prost::Message;

use crate::engine::outcome::{LossReason, TaskLimit, Value};
use crate::engine::{AttemptEnd, Usage};
use crate::proto::apportion::v1::{self, ended};

/// The longest message of an end, in bytes: masters and agents keep statuses in memory.
const MESSAGE_BYTES_MAX: usize = 1024;

/// What an attempt has to show for itself, as an executor tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The value itself.
    Inline(Value),
    /// It was uploaded; how many bytes.
    Uploaded(u64),
}

/// An attempt's end, as an executor tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub end: AttemptEnd,
    /// For people, where it was lost.
    pub lost_because: Option<String>,
    /// What it used.
    pub usage: Usage,
    /// What it has to show.
    pub shown: Shown,
}

/// The bytes for `TaskStatus.data`.
#[must_use]
pub fn to_bytes(ended: &Ended) -> Vec<u8> {
    let end = match &ended.end {
        AttemptEnd::Exited { code } => ended::End::Exited(*code),
        AttemptEnd::Signalled { signal } => ended::End::Signalled(*signal),
        AttemptEnd::OutOfMemory => ended::End::OutOfMemory(v1::Nothing {}),
        AttemptEnd::OverLimit { limit } => ended::End::OverLimit(v1::OverLimit {
            what: limit.as_str().to_owned(),
            max: limit.most(),
        }),
        AttemptEnd::Killed => ended::End::Killed(v1::Nothing {}),
        AttemptEnd::NotStarted { message } => ended::End::NotStarted(cut(message)),
        AttemptEnd::Raised { message } => ended::End::Raised(cut(message)),
        AttemptEnd::Lost { reason } => {
            let because = ended.lost_because.as_deref();
            ended::End::Lost(cut(because.unwrap_or(reason.as_str())))
        }
    };
    let (value, truncated) = match &ended.shown {
        Shown::Inline(value) => {
            let bytes = value.bytes.to_vec().into();
            (ended::Value::Inline(bytes), value.truncated)
        }
        Shown::Uploaded(n_bytes) => (ended::Value::UploadedBytes(*n_bytes), false),
    };
    let message = v1::Ended {
        end: Some(end),
        usage: Some(v1::Usage {
            wall_micros: micros(ended.usage.wall),
            cpu_micros: micros(ended.usage.cpu),
            memory_peak_bytes: ended.usage.memory_peak_bytes,
        }),
        value: Some(value),
        truncated,
    };
    message.encode_to_vec()
}

/// Reads them again; `None` where they are no such message, or name no end that this version knows.
#[must_use]
pub fn from_bytes(bytes: &[u8]) -> Option<Ended> {
    let message = v1::Ended::decode(bytes).ok()?;
    let mut lost_because = None;
    let end = match message.end? {
        ended::End::Exited(code) => AttemptEnd::Exited { code },
        ended::End::Signalled(signal) => AttemptEnd::Signalled { signal },
        ended::End::OutOfMemory(_) => AttemptEnd::OutOfMemory,
        ended::End::OverLimit(over) => AttemptEnd::OverLimit {
            limit: TaskLimit::from_word(&over.what, over.max)?,
        },
        ended::End::Killed(_) => AttemptEnd::Killed,
        ended::End::NotStarted(message) => AttemptEnd::NotStarted {
            message: message.into(),
        },
        ended::End::Raised(message) => AttemptEnd::Raised {
            message: message.into(),
        },
        ended::End::Lost(because) => {
            lost_because = Some(because);
            AttemptEnd::Lost {
                reason: LossReason::BackendFailed,
            }
        }
    };
    let usage = message.usage.unwrap_or_default();
    let shown = match message.value {
        Some(ended::Value::Inline(bytes)) => Shown::Inline(Value {
            bytes: bytes.as_ref().into(),
            truncated: message.truncated,
            file: None,
        }),
        Some(ended::Value::UploadedBytes(n_bytes)) => Shown::Uploaded(n_bytes),
        None => Shown::Inline(Value::default()),
    };
    Some(Ended {
        end,
        lost_because,
        usage: Usage {
            wall: Duration::from_micros(usage.wall_micros),
            cpu: Duration::from_micros(usage.cpu_micros),
            memory_peak_bytes: usage.memory_peak_bytes,
        },
        shown,
    })
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// The beginning of a message that is too long.
pub(crate) fn cut(message: &str) -> String {
    message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(end: AttemptEnd, shown: Shown) -> Ended {
        Ended {
            lost_because: matches!(end, AttemptEnd::Lost { .. }).then(|| "no disk".to_owned()),
            end,
            usage: Usage {
                wall: Duration::from_micros(1_500_001),
                cpu: Duration::from_micros(7),
                memory_peak_bytes: 1 << 40,
            },
            shown,
        }
    }

    fn inline(bytes: &[u8], truncated: bool) -> Shown {
        Shown::Inline(Value {
            bytes: bytes.into(),
            truncated,
            file: None,
        })
    }

    #[test]
    fn every_end_arrives_as_it_was() {
        let message = "no such file".into();
        let reason = LossReason::BackendFailed;
        let cases = [
            (AttemptEnd::Exited { code: 0 }, inline(b"ok\n\0\xff", false)),
            (
                AttemptEnd::Exited { code: 3 },
                inline(&[b'x'; 64 << 10], true),
            ),
            (AttemptEnd::Exited { code: -1 }, Shown::Uploaded(1 << 40)),
            (AttemptEnd::Signalled { signal: 11 }, inline(b"", false)),
            (AttemptEnd::OutOfMemory, inline(b"", false)),
            (
                AttemptEnd::OverLimit {
                    limit: TaskLimit::OutputBytes(1 << 40),
                },
                inline(b"cut", true),
            ),
            (AttemptEnd::Killed, inline(b"half", false)),
            (AttemptEnd::NotStarted { message }, inline(b"", false)),
            (
                AttemptEnd::Raised {
                    message: "ValueError: 7".into(),
                },
                inline(b"", false),
            ),
            (AttemptEnd::Lost { reason }, inline(b"", false)),
        ];
        for (end, shown) in cases {
            let sent = ended(end, shown);
            assert_eq!(from_bytes(&to_bytes(&sent)), Some(sent));
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let message = format!("a{}", "ü".repeat(MESSAGE_BYTES_MAX)).into();
        let bytes = to_bytes(&ended(
            AttemptEnd::NotStarted { message },
            inline(b"", false),
        ));
        let AttemptEnd::NotStarted { message } = from_bytes(&bytes).unwrap().end else {
            panic!("another end arrived");
        };
        assert_eq!(message.len(), MESSAGE_BYTES_MAX - 1);
        assert!(message.ends_with('ü'));
    }

    #[test]
    fn what_is_no_end_is_none() {
        for bytes in [&b""[..], b"\xff\xff", b"garbage", b"ok"] {
            assert_eq!(from_bytes(bytes), None);
        }
    }
}
