//! The configuration of a simulated daemon: as it is at first and at last, and as people change it meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::{Amount, Weight};

use super::cluster::ROLE;
use super::course::Course;
use super::promises::UNREACHABLE_FOR;
use crate::backend::mesos::session::SessionSettings;
use crate::backend::remote::launch::Upload;
use crate::backend::settings::{MesosConfig, Placement};
use crate::engine::settings::{
    ClaimSettings, Deadline, PolicyConfig, QueueConfig, ResourceSettings,
};
use crate::engine::{EngineSettings, Scope};

/// How many times an attempt may be lost.
pub(super) const LOST_MAX: u32 = 10;

/// The queues that a changed configuration may lack.
const REMOVABLE: [&str; 2] = ["b", "c/y"];

/// What the configuration file says.
#[derive(Clone, Debug)]
pub(super) struct Configured {
    pub(super) engine: EngineSettings,
    pub(super) placement: Placement,
}

impl Default for Configured {
    fn default() -> Self {
        Self {
            engine: engine_settings(),
            placement: Placement {
                isolated_queues: BTreeSet::from(["b".into()]),
                cluster_resources: BTreeSet::from(["db".into()]),
                ..Placement::default()
            },
        }
    }
}

impl Configured {
    /// What somebody makes of it: other weights, capacities, limits and policies, perhaps a queue less.
    pub(super) fn changed(course: &mut Course) -> Self {
        let mut changed = Self::default();
        let dice = &mut course.dice;
        let engine = &mut changed.engine;
        for queue in &mut engine.queues {
            queue.weight = Weight::from_milli(dice.u32(1..=4) * 500).unwrap_or_default();
        }
        let policies = ["drf", "fifo", "weighted"];
        engine.policy = PolicyConfig::new(policies[dice.usize(0..policies.len())].into());
        engine.queues[2].policy = dice
            .bool()
            .then(|| PolicyConfig::new(policies[dice.usize(0..policies.len())].into()));
        engine.queues[4].max = vec![("cpus".into(), amount(dice.u64(2..=4)))];
        engine.resources[1].scope = Scope::Cluster {
            capacity: amount(dice.u64(2..=4)),
        };
        let patience = Duration::from_secs(dice.u64(5..=60));
        engine.claims.patience = Deadline::After(patience);
        let removed = REMOVABLE.get(dice.usize(0..6));
        engine
            .queues
            .retain(|queue| removed.is_none_or(|path| *queue.path != **path));
        let isolated = ["a", "b", "c/x"][dice.usize(0..3)];
        changed.placement.isolated_queues = BTreeSet::from([Arc::from(isolated)]);
        changed
    }

    /// Whether a queue may be missing for a while.
    pub(super) fn is_removable(queue: &str) -> bool {
        REMOVABLE.contains(&queue)
    }
}

fn amount(units: u64) -> Amount {
    Amount::from_milli(units * 1000).unwrap_or(Amount::MAX)
}

/// Queues in a small tree, three resources, short pauses.
fn engine_settings() -> EngineSettings {
    let resource = |name: &str, scope| ResourceSettings {
        name: name.into(),
        scope,
    };
    let mut queues: Vec<QueueConfig> = ["a", "b", "c", "c/x", "c/y"]
        .map(|path| QueueConfig::new(path.into()))
        .into();
    queues[4].max = vec![("cpus".into(), amount(3))];
    EngineSettings {
        resources: vec![
            resource("cpus", Scope::Host),
            resource(
                "db",
                Scope::Cluster {
                    capacity: amount(3),
                },
            ),
            resource("mem", Scope::Host),
        ],
        queues,
        policy: PolicyConfig::new("drf".into()),
        claims: ClaimSettings::default(),
        lost_max: LOST_MAX,
        kill_grace: Duration::from_secs(2),
        retry_pause: Duration::from_secs(1),
        retry_pause_max: Duration::from_secs(8),
        live_max: 10_000,
    }
}

pub(super) fn mesos_settings(placement: Placement) -> SessionSettings {
    let config = MesosConfig {
        role: ROLE.into(),
        user: "nobody".to_owned(),
        unreachable_for: UNREACHABLE_FOR,
        executor: [("mem".into(), amount(64))].into(),
        executor_idle: Duration::from_secs(60),
        placement,
        ..MesosConfig::default()
    };
    SessionSettings {
        config,
        program_url: "http://scheduler:7070/v1/executor/hash".to_owned(),
        webui_url: "http://scheduler:7070".to_owned(),
        executor_ca: None,
        upload: Box::new(|attempt| Upload {
            url: "http://scheduler:7070".to_owned(),
            token: attempt.to_string(),
        }),
    }
}
