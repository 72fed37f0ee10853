//! Who we are to Mesos, and what runs our tasks: FrameworkInfo and ExecutorInfo.

use apportion_policies::Amount;
use prost::Message as _;

use super::resources::scalar;
use super::session::SessionSettings;
use crate::backend::remote::command::{ExecutorOptions, to_command_info};
use crate::backend::settings::{MesosConfig, PythonConfig};
use crate::engine::Time;
use crate::proto::mesos::v1::{
    DurationInfo, ExecutorId, ExecutorInfo, FrameworkId, FrameworkInfo, Resource, executor_info,
    framework_info,
};
use std::time::Duration;

/// An executor of a single task has nothing to wait for.
const ISOLATED_IDLE: Duration = Duration::from_secs(1);

/// How long the executor may take to end everything once it is told to.
const SHUT_DOWN_GRACE: Duration = Duration::from_secs(30);

/// How long an executor keeps what its tasks wrote, for readers of logs: as long as agents keep sandboxes.
const KEEP_OUTPUTS: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The description of this scheduler. `hostname` and `webui_url` are only shown.
pub(super) fn framework_info(
    config: &MesosConfig,
    id: Option<&str>,
    webui_url: &str,
) -> FrameworkInfo {
    use framework_info::capability::Type;
    let capability = |kind: Type| framework_info::Capability {
        r#type: Some(kind as i32),
    };
    let principal = config.credentials.as_ref().map(|who| who.principal.clone());
    FrameworkInfo {
        user: config.user.clone(),
        name: config.name.clone(),
        id: id.map(|value| FrameworkId {
            value: value.to_owned(),
        }),
        failover_timeout: Some(config.failover_timeout.as_secs_f64()),
        // Tasks survive an agent that starts again.
        checkpoint: Some(true),
        hostname: config.hostname.clone(),
        principal,
        webui_url: Some(webui_url.to_owned()),
        capabilities: vec![
            capability(Type::PartitionAware),
            capability(Type::MultiRole),
            capability(Type::ReservationRefinement),
            capability(Type::TaskKillingState),
        ],
        roles: vec![config.role.to_string()],
        ..FrameworkInfo::default()
    }
}

/// What every executor of this scheduler is started with.
#[derive(Clone, Debug)]
pub(super) struct Executors {
    program_url: String,
    idle: Duration,
    python: PythonConfig,
    daemon_ca: Option<String>,
    /// The shared one, without a generation, with resources that aren't reserved.
    plain: ExecutorInfo,
}

impl Executors {
    /// As a session is told to start them.
    pub(super) fn new(settings: &SessionSettings) -> Self {
        let config = &settings.config;
        let mut executors = Self {
            program_url: settings.program_url.clone(),
            idle: config.executor_idle,
            python: config.python.clone(),
            daemon_ca: settings.executor_ca.clone(),
            plain: ExecutorInfo::default(),
        };
        executors.plain = executors.shared(own_resources(config));
        executors
    }

    /// The one that runs many tasks side by side, with these resources for itself. Its id tells all that Mesos
    /// compares when it is used again; a [`generation`] is to follow.
    pub(super) fn shared(&self, resources: Vec<Resource>) -> ExecutorInfo {
        let mut info = self.info(self.idle, resources);
        let hash = blake3::hash(&info.encode_to_vec()).to_hex();
        info.executor_id.value = format!("apportion-{}", &hash[..16]);
        info
    }

    /// The shared one whose resources are unreserved.
    pub(super) fn plain(&self) -> &ExecutorInfo {
        &self.plain
    }

    /// The one of a single task. Its container has what the task demands, so it asks for nothing itself.
    pub(super) fn of_one(&self, task_id: &str) -> ExecutorInfo {
        let mut info = self.info(ISOLATED_IDLE, Vec::new());
        task_id.clone_into(&mut info.executor_id.value);
        info
    }

    fn info(&self, idle: Duration, resources: Vec<Resource>) -> ExecutorInfo {
        let options = ExecutorOptions {
            idle_timeout: Some(idle),
            keep_outputs: KEEP_OUTPUTS,
            python: self.python.clone(),
            daemon_ca: self.daemon_ca.clone(),
        };
        ExecutorInfo {
            executor_id: ExecutorId::default(),
            r#type: Some(executor_info::Type::Custom as i32),
            name: Some("apportion".to_owned()),
            command: Some(to_command_info(&self.program_url, &options)),
            shutdown_grace_period: Some(DurationInfo {
                nanoseconds: i64::try_from(SHUT_DOWN_GRACE.as_nanos()).unwrap_or(i64::MAX),
            }),
            resources,
            ..ExecutorInfo::default()
        }
    }
}

/// The description of an executor that is started now. No two on an agent have the same id: of those, an agent that
/// restarts would remember the last one only, and with it only what its tasks wrote.
pub(super) fn generation(shared: &ExecutorInfo, now: Time) -> ExecutorInfo {
    with_id(shared, format!("{}-{:x}", shared.executor_id.value, now.0))
}

/// Whether an executor with this id, of whatever generation, has this description.
pub(super) fn is_generation(shared: &ExecutorInfo, id: &str) -> bool {
    (id.rsplit_once('-')).is_some_and(|(hash, _)| hash == shared.executor_id.value)
}

/// The same description under another id.
pub(super) fn with_id(info: &ExecutorInfo, value: String) -> ExecutorInfo {
    ExecutorInfo {
        executor_id: ExecutorId { value },
        ..info.clone()
    }
}

/// What a shared executor takes itself, unreserved, in order of names.
pub(super) fn own_resources(config: &MesosConfig) -> Vec<Resource> {
    let amounts = config.executor.iter();
    amounts
        .filter(|(_, amount)| !amount.is_zero())
        .map(|(name, amount): (_, &Amount)| scalar(name, amount.milli(), &config.role))
        .collect()
}
