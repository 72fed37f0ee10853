//! The environment of tasks.
//!
//! A task gets these and nothing else, later ones winning:
//! 1. of the daemon's own environment what describes the machine and the user ([`INHERITED`]), never what may
//!    be a secret of the daemon's;
//! 2. what the task's `env` says;
//! 3. what it was granted: `APPORTION_TASK_ID`, `APPORTION_ATTEMPT`, `APPORTION_QUEUE`, `APPORTION_CPUS`,
//!    `APPORTION_MEM_MIB`, `APPORTION_RESOURCE_<NAME>` for each resource that it demands, and in an array
//!    `APPORTION_ARRAY_INDEX`;
//! 4. [`MARK`].

use std::borrow::Cow;
use std::ffi::OsString;

use crate::engine::spec::{AttemptId, Submission};

/// What tasks get of the daemon's environment, besides everything that begins with `LC_`.
const INHERITED: [&str; 10] = [
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "HOSTNAME",
];

/// What `PATH` is where the daemon has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The variable by which processes of a daemon are known again, should they have lost every other tie.
pub(super) const MARK: &str = "APPORTION_KEEPER";

/// Variables that begin so tell a task what it was granted.
pub(super) const GRANTED: &str = "APPORTION_";

/// The variable by which a Python task asks for an interpreter of its own.
pub(super) const INTERPRETER: &str = "APPORTION_PYTHON";

/// The variables that tell an attempt's processes apart.
pub(super) const TASK_ID: &str = "APPORTION_TASK_ID";
/// See [`TASK_ID`].
pub(super) const ATTEMPT: &str = "APPORTION_ATTEMPT";

/// The first part, from a process's environment. It becomes the keeper's own.
pub(super) fn base(
    own: impl IntoIterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    let mut base: Vec<_> = own
        .into_iter()
        .filter(|(name, _)| {
            name.to_str()
                .is_some_and(|name| INHERITED.contains(&name) || name.starts_with("LC_"))
        })
        .collect();
    if !base.iter().any(|(name, _)| name == "PATH") {
        base.push(("PATH".into(), DEFAULT_PATH.into()));
    }
    base
}

/// The other parts, for one attempt. A name may come twice; the later one counts.
///
/// # Panics
/// If the attempt's task is not one of the submission's.
pub(super) fn of_attempt<'a>(
    attempt: AttemptId,
    submission: &'a Submission,
    identity: &'a str,
) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
    let spec = &submission.spec;
    let mut env: Vec<(Cow<'a, str>, Cow<'a, str>)> =
        Vec::with_capacity(spec.env.len() + spec.demand.len() + 8);
    env.extend(
        spec.env
            .iter()
            .map(|(name, value)| ((&**name).into(), (&**value).into())),
    );
    env.push((TASK_ID.into(), attempt.task.to_string().into()));
    env.push((ATTEMPT.into(), attempt.number.to_string().into()));
    env.push(("APPORTION_QUEUE".into(), (&*spec.queue).into()));
    for (name, amount) in spec.demand.iter() {
        let amount = amount.to_string();
        match &**name {
            "cpus" => env.push(("APPORTION_CPUS".into(), amount.clone().into())),
            "mem" => env.push(("APPORTION_MEM_MIB".into(), amount.clone().into())),
            _ => {}
        }
        env.push((resource_variable(name).into(), amount.into()));
    }
    if let Some(index) = submission.array_index(attempt.task) {
        env.push(("APPORTION_ARRAY_INDEX".into(), index.to_string().into()));
    }
    env.push((MARK.into(), identity.into()));
    env
}

/// `APPORTION_RESOURCE_` and the name in upper case, with `_` for all that is neither letter nor digit.
fn resource_variable(name: &str) -> String {
    let name = name.chars().map(|c| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    });
    "APPORTION_RESOURCE_".chars().chain(name).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use apportion_policies::Amount;

    use super::*;
    use crate::engine::spec::{ArrayRange, Run, TaskId, TaskSpec};
    use crate::engine::time::Time;

    fn submission() -> Submission {
        let milli = |milli| Amount::from_milli(milli).unwrap();
        Submission {
            first: TaskId(10),
            spec: TaskSpec {
                queue: "maps/render".into(),
                name: "".into(),
                key: None,
                inbox: None,
                demand: Arc::new(
                    [("cpus", 1500), ("mem", 64_000), ("db-connections", 3000)]
                        .map(|(name, amount)| (name.into(), milli(amount)))
                        .into(),
                ),
                run: Run::Command("true".into()),
                env: [
                    ("STAGE".into(), "prod".into()),
                    ("APPORTION_QUEUE".into(), "lie".into()),
                ]
                .into(),
                priority: 0,
                retries: 0,
                timeout: None,
                kill_grace: None,
                constraints: Arc::default(),
                array: Some(ArrayRange {
                    first: 100,
                    last: 108,
                    step: 4,
                }),
            },
            after: Vec::new(),
            digest: [0; 16],
            submitted_at: Time(0),
        }
    }

    #[test]
    fn a_task_finds_its_grant() {
        let submission = submission();
        let attempt = AttemptId {
            task: TaskId(12),
            number: 3,
        };
        let env: BTreeMap<_, _> = of_attempt(attempt, &submission, "abc")
            .into_iter()
            .collect();
        let expected = [
            ("APPORTION_ARRAY_INDEX", "108"),
            ("APPORTION_ATTEMPT", "3"),
            ("APPORTION_CPUS", "1.5"),
            ("APPORTION_KEEPER", "abc"),
            ("APPORTION_MEM_MIB", "64"),
            ("APPORTION_QUEUE", "maps/render"),
            ("APPORTION_RESOURCE_CPUS", "1.5"),
            ("APPORTION_RESOURCE_DB_CONNECTIONS", "3"),
            ("APPORTION_RESOURCE_MEM", "64"),
            ("APPORTION_TASK_ID", "12"),
            ("STAGE", "prod"),
        ];
        let found: Vec<(&str, &str)> = env
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn secrets_of_the_daemon_stay_with_it() {
        let own = [
            ("HOME", "/root"),
            ("LC_ALL", "C.UTF-8"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("PATHS", "y"),
        ];
        let base = base(own.map(|(name, value)| (name.into(), value.into())));
        let names: Vec<&str> = base.iter().filter_map(|(name, _)| name.to_str()).collect();
        assert_eq!(names, ["HOME", "LC_ALL", "PATH"]);
    }
}
