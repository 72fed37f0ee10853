//! What an agent tells its executor through the environment.
//!
//! Source: "Mesos Executor HTTP API" and "Configuration" of the Mesos documentation, as far as version 1.11 keeps to it.

use std::path::PathBuf;
use std::time::Duration;

/// How long to look for a lost agent where it doesn't say.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// The longest pause between two tries to subscribe where the agent doesn't say, and the longest that is kept to at
/// all: a restarted agent gives its executors no more than a few seconds to come back.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Between the order to shut down and the agent's SIGKILL where the agent doesn't say.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Why an executor can't run here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// A variable that every agent sets.
    #[error("{0} is not set; this command is for a Mesos agent to start")]
    Missing(&'static str),
    /// A variable that no agent sets like this.
    #[error("{name} is {value:?}, which is no duration as Mesos writes them")]
    NoDuration {
        /// Which.
        name: &'static str,
        /// What it is.
        value: String,
    },
}

/// What the agent told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentEnvironment {
    /// Where the agent takes calls.
    pub api_url: String,
    /// For every call.
    pub framework_id: String,
    /// For every call.
    pub executor_id: String,
    /// The executor's own directory.
    pub sandbox: PathBuf,
    /// Whether tasks may outlive a restart of the agent.
    pub checkpoint: bool,
    /// How long to look for a lost agent.
    pub recovery_timeout: Duration,
    /// The longest pause between two tries to subscribe.
    pub backoff_max: Duration,
    /// Between the order to shut down and the agent's SIGKILL.
    pub shutdown_grace: Duration,
    /// What proves to the agent who calls, if it wants to know.
    pub token: Option<String>,
}

impl AgentEnvironment {
    /// From a look-up of variables.
    ///
    /// # Errors
    /// See [`EnvironmentError`].
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, EnvironmentError> {
        let needed = |name| get(name).ok_or(EnvironmentError::Missing(name));
        let duration = |name: &'static str, otherwise| match get(name) {
            None => Ok(otherwise),
            Some(value) => {
                let parsed = parse_duration(&value);
                parsed.ok_or(EnvironmentError::NoDuration { name, value })
            }
        };
        let is_tls = ["LIBPROCESS_SSL_ENABLED", "SSL_ENABLED"]
            .iter()
            .any(|name| get(name).is_some_and(|value| value == "1" || value == "true"));
        let scheme = if is_tls { "https" } else { "http" };
        let endpoint = needed("MESOS_AGENT_ENDPOINT")?;
        Ok(Self {
            api_url: format!("{scheme}://{endpoint}/api/v1/executor"),
            framework_id: needed("MESOS_FRAMEWORK_ID")?,
            executor_id: needed("MESOS_EXECUTOR_ID")?,
            sandbox: needed("MESOS_SANDBOX")
                .or_else(|_| needed("MESOS_DIRECTORY"))?
                .into(),
            checkpoint: get("MESOS_CHECKPOINT").is_some_and(|value| value == "1"),
            recovery_timeout: duration("MESOS_RECOVERY_TIMEOUT", RECOVERY_TIMEOUT)?,
            backoff_max: duration("MESOS_SUBSCRIPTION_BACKOFF_MAX", BACKOFF_MAX)?.min(BACKOFF_MAX),
            shutdown_grace: duration("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", SHUTDOWN_GRACE)?,
            token: get("MESOS_EXECUTOR_AUTHENTICATION_TOKEN"),
        })
    }
}

/// A duration as Mesos writes them: a number, perhaps with a fraction, and a unit right behind it.
fn parse_duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let unit_seconds = match unit {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "secs" => 1.0,
        "mins" => 60.0,
        "hrs" => 3600.0,
        "days" => 86_400.0,
        "weeks" => 604_800.0,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(number * unit_seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: (&str, &str) = ("MESOS_AGENT_ENDPOINT", "10.0.0.7:5051");
    const IDS: [(&str, &str); 3] = [
        ("MESOS_FRAMEWORK_ID", "F"),
        ("MESOS_EXECUTOR_ID", "E"),
        ("MESOS_SANDBOX", "/sandbox"),
    ];

    fn read(variables: &[(&str, &str)]) -> Result<AgentEnvironment, EnvironmentError> {
        AgentEnvironment::read(|name| {
            let found = variables.iter().rfind(|(known, _)| *known == name)?;
            Some(found.1.to_owned())
        })
    }

    #[test]
    fn an_agent_says_all_that_is_needed() {
        let mut variables = IDS.to_vec();
        variables.extend([
            ENDPOINT,
            ("MESOS_CHECKPOINT", "1"),
            ("MESOS_RECOVERY_TIMEOUT", "1.5mins"),
            ("MESOS_SUBSCRIPTION_BACKOFF_MAX", "100ms"),
            ("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "20secs"),
            ("MESOS_EXECUTOR_AUTHENTICATION_TOKEN", "jwt"),
        ]);
        let expected = AgentEnvironment {
            api_url: "http://10.0.0.7:5051/api/v1/executor".to_owned(),
            framework_id: "F".to_owned(),
            executor_id: "E".to_owned(),
            sandbox: "/sandbox".into(),
            checkpoint: true,
            recovery_timeout: Duration::from_secs(90),
            backoff_max: Duration::from_millis(100),
            shutdown_grace: Duration::from_secs(20),
            token: Some("jwt".to_owned()),
        };
        assert_eq!(read(&variables), Ok(expected));
    }

    #[test]
    fn what_may_be_missing_has_its_default() {
        let mut variables = IDS.to_vec();
        variables.extend([ENDPOINT, ("MESOS_CHECKPOINT", "0"), ("SSL_ENABLED", "true")]);
        let found = read(&variables).unwrap();
        assert!(!found.checkpoint, "0 is no 1");
        assert_eq!(found.api_url, "https://10.0.0.7:5051/api/v1/executor");
        assert_eq!(found.backoff_max, BACKOFF_MAX);
        assert_eq!(found.recovery_timeout, RECOVERY_TIMEOUT);
        variables.push(("MESOS_SUBSCRIPTION_BACKOFF_MAX", "1hrs"));
        assert_eq!(read(&variables).unwrap().backoff_max, BACKOFF_MAX);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let missing = EnvironmentError::Missing("MESOS_AGENT_ENDPOINT");
        assert_eq!(read(&IDS), Err(missing));
        for value in ["", "5", "secs", "-1secs", "1 fortnight", "1e999secs"] {
            let mut variables = IDS.to_vec();
            variables.extend([ENDPOINT, ("MESOS_RECOVERY_TIMEOUT", value)]);
            let error = read(&variables).unwrap_err();
            assert!(
                matches!(error, EnvironmentError::NoDuration { .. }),
                "{value}"
            );
        }
    }
}
