//! What an attempt runs, on its way to an executor.

use std::collections::BTreeMap;
use std::sync::Arc;

use apportion_policies::Amount;
use prost::Message;

use crate::backend::settings::TaskLimits;
use crate::engine::decision::Launch;
use crate::engine::spec::{ArrayRange, Run, Submission, TaskSpec};
use crate::engine::{AttemptId, TaskId, Time};
use crate::proto::apportion::v1;

/// Where an attempt's value goes that is too large for a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The scheduler's HTTP server, without a slash at its end.
    pub url: String,
    /// The attempt's secret.
    pub token: String,
}

/// What an executor is told to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// As a launch that a backend takes: a submission of this one task with what matters to whoever runs it.
    pub launch: Launch,
    /// Where its value goes; `None` if the scheduler takes none.
    pub upload: Option<Upload>,
    /// What it may take at most, beside its demand.
    pub limits: TaskLimits,
}

/// Why bytes are no launch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// A task id that Apportion didn't give.
    #[error("the task id {0:?} is not of the form <task>.<attempt>")]
    TaskId(String),
    /// Not this message at all.
    #[error(
        "the description of the attempt can't be read ({0}); are scheduler and executor of different versions?"
    )]
    Garbled(#[from] prost::DecodeError),
    /// Nothing, or something that this version doesn't run.
    #[error(
        "the description of the attempt names nothing to run; are scheduler and executor of different versions?"
    )]
    NothingToRun,
}

/// The bytes for `TaskInfo.data`.
///
/// # Panics
/// If the attempt's task is not one of the submission's.
#[must_use]
pub fn to_bytes(launch: &Launch, upload: &Upload, limits: &TaskLimits) -> Vec<u8> {
    let spec = &launch.submission.spec;
    let run = match &spec.run {
        Run::Command(line) => v1::launch::Run::Command(line.to_string()),
        Run::Argv(argv) => v1::launch::Run::Argv(v1::Argv {
            words: argv.iter().map(ToString::to_string).collect(),
        }),
        Run::Python(object) => v1::launch::Run::Python(object.to_vec().into()),
    };
    let message = v1::Launch {
        queue: spec.queue.to_string(),
        demand_milli: (spec.demand.iter())
            .map(|(name, amount)| (name.to_string(), amount.milli()))
            .collect(),
        env: (spec.env.iter())
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        array_index: launch.submission.array_index(launch.attempt.task),
        upload: Some(v1::Upload {
            url: upload.url.clone(),
            token: upload.token.clone(),
        }),
        run: Some(run),
        limits: Some(v1::Limits {
            processes: limits.processes,
            open_files: limits.open_files,
            file_size_bytes: limits.file_size_bytes,
            output_bytes: limits.output_bytes,
            disk_bytes: limits.disk_bytes,
            core_dumps: limits.core_dumps,
        }),
    };
    message.encode_to_vec()
}

/// Reads them again.
///
/// # Errors
/// See [`LaunchError`].
pub fn from_bytes(task_id: &str, bytes: &[u8]) -> Result<Received, LaunchError> {
    let attempt = parse_attempt(task_id).ok_or_else(|| LaunchError::TaskId(task_id.to_owned()))?;
    let message = v1::Launch::decode(bytes)?;
    let run = match message.run.ok_or(LaunchError::NothingToRun)? {
        v1::launch::Run::Command(line) => Run::Command(line.into()),
        v1::launch::Run::Argv(argv) if !argv.words.is_empty() => {
            Run::Argv(argv.words.into_iter().map(Into::into).collect())
        }
        v1::launch::Run::Python(object) if !object.is_empty() => {
            Run::Python(object.as_ref().into())
        }
        v1::launch::Run::Argv(_) | v1::launch::Run::Python(_) => {
            return Err(LaunchError::NothingToRun);
        }
    };
    let amount = |milli| Amount::from_milli(milli).unwrap_or(Amount::MAX);
    let demand: BTreeMap<Arc<str>, Amount> = (message.demand_milli.into_iter())
        .map(|(name, milli)| (name.into(), amount(milli)))
        .collect();
    let spec = TaskSpec {
        queue: message.queue.into(),
        name: "".into(),
        key: None,
        inbox: None,
        demand: Arc::new(demand),
        run,
        env: (message.env.into_iter())
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        priority: 0,
        retries: 0,
        timeout: None,
        kill_grace: None,
        constraints: Arc::default(),
        array: message.array_index.map(|index| ArrayRange {
            first: index,
            last: index,
            step: 1,
        }),
    };
    let submission = Submission {
        first: attempt.task,
        spec,
        after: Vec::new(),
        digest: [0; 16],
        submitted_at: Time::default(),
    };
    let upload = message.upload.filter(|upload| !upload.url.is_empty());
    let upload = upload.map(|upload| Upload {
        url: upload.url,
        token: upload.token,
    });
    let launch = Launch {
        attempt,
        submission: Arc::new(submission),
    };
    let limits = message.limits.unwrap_or_default();
    Ok(Received {
        launch,
        upload,
        limits: TaskLimits {
            processes: limits.processes,
            open_files: limits.open_files,
            file_size_bytes: limits.file_size_bytes,
            output_bytes: limits.output_bytes,
            disk_bytes: limits.disk_bytes,
            core_dumps: limits.core_dumps,
        },
    })
}

/// Reads `<task>.<attempt>`, exactly as [`AttemptId`] writes it.
#[must_use]
pub fn parse_attempt(text: &str) -> Option<AttemptId> {
    let (task, number) = text.split_once('.')?;
    let attempt = AttemptId {
        task: TaskId(task.parse().ok()?),
        number: number.parse().ok()?,
    };
    (attempt.to_string() == text).then_some(attempt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(task: u64, run: Run, array: Option<ArrayRange>) -> Launch {
        let milli = |milli| Amount::from_milli(milli).unwrap();
        let spec = TaskSpec {
            queue: "maps/render".into(),
            name: "tile".into(),
            key: Some("k".into()),
            inbox: None,
            demand: Arc::new(
                [("cpus", 1500), ("mem", 64_000), ("db_connections", 3000)]
                    .map(|(name, amount)| (name.into(), milli(amount)))
                    .into(),
            ),
            run,
            env: [("STAGE".into(), "prod".into())].into(),
            priority: 3,
            retries: 2,
            timeout: None,
            kill_grace: None,
            constraints: Arc::default(),
            array,
        };
        let submission = Submission {
            first: TaskId(10),
            spec,
            after: Vec::new(),
            digest: [7; 16],
            submitted_at: Time(5),
        };
        Launch {
            attempt: AttemptId {
                task: TaskId(task),
                number: 3,
            },
            submission: Arc::new(submission),
        }
    }

    fn upload() -> Upload {
        Upload {
            url: "http://127.0.0.1:7070".to_owned(),
            token: "secret".to_owned(),
        }
    }

    #[test]
    fn what_matters_to_whoever_runs_it_arrives() {
        let array = ArrayRange {
            first: 100,
            last: 108,
            step: 4,
        };
        let argv = Run::Argv(["sleep".into(), "5 ü".into()].into());
        for (sent, index) in [
            (launch(10, argv, None), None),
            (launch(10, Run::Python([0, 255].into()), None), None),
            (
                launch(12, Run::Command("echo \"$X\"".into()), Some(array)),
                Some(108),
            ),
        ] {
            let limits = TaskLimits {
                processes: Some(index.map_or(1, u64::from)),
                core_dumps: index.is_some(),
                ..TaskLimits::default()
            };
            let bytes = to_bytes(&sent, &upload(), &limits);
            let received = from_bytes(&sent.attempt.to_string(), &bytes).unwrap();
            assert_eq!(received.upload, Some(upload()));
            assert_eq!(received.limits, limits);
            let got = received.launch;
            assert_eq!(got.attempt, sent.attempt);
            assert_eq!(got.submission.array_index(got.attempt.task), index);
            let (got, sent) = (&got.submission.spec, &sent.submission.spec);
            assert_eq!(got.queue, sent.queue);
            assert_eq!(got.demand, sent.demand);
            assert_eq!(got.run, sent.run);
            assert_eq!(got.env, sent.env);
        }
    }

    #[test]
    fn what_is_no_launch_is_refused() {
        let sent = launch(10, Run::Command("true".into()), None);
        let bytes = to_bytes(&sent, &upload(), &TaskLimits::NONE);
        for id in [
            "",
            "7",
            "7.",
            ".1",
            "7.1.1",
            "07.1",
            "7.+1",
            "x.1",
            "99999999999999999999.1",
        ] {
            let refused = from_bytes(id, &bytes);
            assert!(matches!(refused, Err(LaunchError::TaskId(_))), "{id}");
        }
        let garbled = from_bytes("7.1", &[0xff]);
        assert!(matches!(garbled, Err(LaunchError::Garbled(_))));
        let nothing = from_bytes("7.1", &[]);
        assert!(matches!(nothing, Err(LaunchError::NothingToRun)));
    }
}
