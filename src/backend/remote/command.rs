//! How an agent is told to start an executor.

use std::time::Duration;

use crate::backend::settings::PythonConfig;
use crate::proto::mesos::v1::{CommandInfo, command_info};

/// The name under which the program stands in the sandbox.
const PROGRAM: &str = "apportion";

/// What an executor is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutorOptions {
    /// It ends itself after so long without a task; `None` for never.
    pub idle_timeout: Option<Duration>,
    /// It keeps what attempts wrote so long after their end.
    pub keep_outputs: Duration,
    /// How it runs Python tasks.
    pub python: PythonConfig,
    /// For a daemon that is reached by https: the certificates of the authorities to trust, as PEM; `None` for those
    /// that its machine trusts.
    pub daemon_ca: Option<String>,
}

/// The command of an executor whose program is fetched from `program_url`. The same arguments give the same
/// command, as using an executor again demands it.
#[must_use]
pub fn to_command_info(program_url: &str, options: &ExecutorOptions) -> CommandInfo {
    let mut arguments = vec![PROGRAM.to_owned(), "executor".to_owned()];
    if let Some(timeout) = options.idle_timeout {
        arguments.extend(["--idle-timeout".to_owned(), in_words(timeout)]);
    }
    let python = &options.python;
    let others = [
        ("--keep-outputs", in_words(options.keep_outputs)),
        ("--python", python.interpreter.to_string()),
        ("--python-tasks-max", python.tasks_max.to_string()),
        (
            "--python-memory-growth",
            python.memory_growth_bytes.to_string(),
        ),
        ("--python-idle-max", python.idle_max.to_string()),
        ("--python-idle-time", in_words(python.idle_time)),
    ];
    for (name, value) in others {
        arguments.extend([name.to_owned(), value]);
    }
    if let Some(pem) = &options.daemon_ca {
        arguments.extend(["--daemon-ca".to_owned(), pem.clone()]);
    }
    CommandInfo {
        uris: vec![command_info::Uri {
            value: program_url.to_owned(),
            executable: Some(true),
            extract: Some(false),
            output_file: Some(PROGRAM.to_owned()),
            ..command_info::Uri::default()
        }],
        // No shell, so nothing has to be quoted.
        shell: Some(false),
        value: Some(format!("./{PROGRAM}")),
        arguments,
        ..CommandInfo::default()
    }
}

/// As the command line reads it.
fn in_words(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_says_all_that_was_asked_for() {
        let options = ExecutorOptions {
            idle_timeout: Some(Duration::from_millis(90_500)),
            keep_outputs: Duration::from_secs(7 * 86_400),
            python: PythonConfig {
                interpreter: "/opt/py/bin/python3".into(),
                idle_time: Duration::from_secs(90),
                ..PythonConfig::default()
            },
            daemon_ca: Some("certificates".to_owned()),
        };
        let command = to_command_info("http://10.0.0.1:7070/v1/executor", &options);
        assert_eq!(command.shell, Some(false));
        assert_eq!(command.value.as_deref(), Some("./apportion"));
        let words: Vec<&str> = command.arguments.iter().map(String::as_str).collect();
        let expected = "apportion executor --idle-timeout 1m+30s+500ms --keep-outputs 7days --python /opt/py/bin/python3 \
                        --python-tasks-max 1000 --python-memory-growth 268435456 --python-idle-max 8 --python-idle-time 1m+30s --daemon-ca certificates";
        let expected: Vec<String> = (expected.split(' '))
            .map(|word| word.replace('+', " "))
            .collect();
        assert_eq!(words, expected);
        assert_eq!(command.uris[0].output_file.as_deref(), Some("apportion"));
        assert_eq!(command.uris[0].executable, Some(true));
    }
}
