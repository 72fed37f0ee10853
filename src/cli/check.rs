//! `apportion check`: validates a configuration, and shows what it means.

use std::path::PathBuf;
use std::sync::Arc;

use apportion_policies::{Amount, Registry};
use serde_json::{Value, json};

use super::output::{Output, table};
use super::queues::in_tree_order;
use super::{CliError, exit, format};
use crate::config::{
    self, BackendConfig, ClaimSettings, Config, ConfigErrors, Containment, Deadline, PolicyConfig,
    QueueConfig, Scope, units,
};

/// Validate a configuration and print its queue tree, or every error.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration; without one, the defaults.
    #[arg(
        long,
        short,
        value_name = "FILE",
        env = "APPORTION_CONFIG",
        hide_env_values = true
    )]
    pub(super) config: Option<PathBuf>,
}

pub(super) fn execute(
    args: &Args,
    registry: &Registry,
    json: bool,
    out: &mut Output<'_>,
) -> Result<u8, CliError> {
    match config::load_for_daemon(args.config.as_deref(), registry) {
        Err(errors) if json => {
            out.json(&errors_json(&errors))?;
            Ok(exit::USAGE)
        }
        Err(errors) => Err(errors.into()),
        Ok(config) if json => {
            out.json(&config_json(&config))?;
            Ok(exit::DONE)
        }
        Ok(config) => {
            print(args, &config, out)?;
            Ok(exit::DONE)
        }
    }
}

fn print(args: &Args, config: &Config, out: &mut Output<'_>) -> Result<(), CliError> {
    match &args.config {
        Some(file) => out.line(format_args!("{} is valid", file.display()))?,
        None => out.line("no file is named; these are the defaults")?,
    }
    out.line("")?;
    let queues = &config.engine.queues;
    let mut rows = table(&["QUEUE", ">WEIGHT", "POLICY", "MIN", "MAX", "PATIENCE"]);
    let paths: Vec<&str> = queues.iter().map(|queue| &*queue.path).collect();
    for (place, name) in in_tree_order(&paths) {
        let queue = &queues[place];
        rows.add_row(vec![
            name,
            queue.weight.to_string(),
            format::or_dash(policy_of(queue, config)),
            amounts(&queue.min),
            amounts(&queue.max),
            format::or_dash(queue.patience.map(deadline).unwrap_or_default()),
        ]);
    }
    out.table(&mut rows)?;
    out.line("")?;
    let mut rows = table(&["RESOURCE", "SCOPE", "CAPACITY"]);
    for resource in &config.engine.resources {
        let (scope, capacity) = match resource.scope {
            Scope::Host => ("host", "as agents bring it".to_owned()),
            Scope::Cluster { capacity } => {
                ("cluster", units::format_amount(&resource.name, capacity))
            }
        };
        rows.add_row(vec![resource.name.to_string(), scope.to_owned(), capacity]);
    }
    out.table(&mut rows)?;
    out.line("")?;
    out.line(format_args!(
        "sibling queues are ordered by {}",
        policy(&config.engine.policy)
    ))?;
    out.line(claims(&config.engine.claims))?;
    let (containments, own) = match &config.backend {
        BackendConfig::Local(local) => (&local.containments, "the daemon's own user".to_owned()),
        BackendConfig::Mesos(mesos) => (
            &mesos.placement.containments,
            format!("'{}' on the agents", mesos.user),
        ),
    };
    out.line(contained(&containments.default, "tasks run", &own))?;
    for (path, containment) in &containments.queues {
        out.line(contained(
            containment,
            &format!("tasks of {path} run"),
            &own,
        ))?;
    }
    Ok(())
}

/// As whom, and within what, in a sentence.
fn contained(containment: &Containment, who: &str, own: &str) -> String {
    let limits = &containment.limits;
    let number = |max: Option<u64>| max.map(|max| max.to_string());
    let size = |max: Option<u64>| max.map(units::format_bytes);
    let limited = [
        ("processes", number(limits.processes)),
        ("open_files", number(limits.open_files)),
        ("file_size", size(limits.file_size_bytes)),
        ("output", size(limits.output_bytes)),
        ("disk", size(limits.disk_bytes)),
    ];
    let limited: Vec<String> = limited
        .into_iter()
        .filter_map(|(name, max)| Some(format!("{name}={}", max?)))
        .collect();
    let user = containment.user.as_deref();
    let user = user.map_or(own.to_owned(), |user| format!("'{user}'"));
    let within = if limited.is_empty() {
        "without limits beside their demands".to_owned()
    } else {
        format!("within {}", limited.join(" "))
    };
    format!("{who} as {user}, {within}")
}

fn amounts(amounts: &[(Arc<str>, Amount)]) -> String {
    let amounts = amounts
        .iter()
        .map(|(name, amount)| format!("{name}={}", units::format_amount(name, *amount)));
    format::or_dash(amounts.collect::<Vec<_>>().join(" "))
}

/// When tasks get claims, in a sentence.
fn claims(claims: &ClaimSettings) -> String {
    if claims.max == 0 {
        return "no task gets a claim: claims_max is 0".to_owned();
    }
    let patience = match claims.patience {
        Deadline::After(_) => format!("after {}", deadline(claims.patience)),
        Deadline::Never => "only where its queue has a patience".to_owned(),
    };
    let number = match claims.max {
        1 => "1 claim".to_owned(),
        number => format!("{number} claims"),
    };
    format!(
        "the first task of a queue gets a claim {patience} if it fits nowhere; at most {number} at once"
    )
}

fn deadline(deadline: Deadline) -> String {
    match deadline {
        Deadline::After(span) => humantime::format_duration(span).to_string(),
        Deadline::Never => "never".to_owned(),
    }
}

/// The policy that a queue names itself, or that orders its children; none for a plain leaf.
fn policy_of(queue: &QueueConfig, config: &Config) -> String {
    let is_inner = config.engine.queues.iter().any(|other| {
        other
            .path
            .strip_prefix(&*queue.path)
            .is_some_and(|rest| rest.starts_with('/'))
    });
    match &queue.policy {
        Some(own) => policy(own),
        None if is_inner => policy(&config.engine.policy),
        None => String::new(),
    }
}

/// `drf`, `weighted by cpus`, `drf with a half-life of 1h`
fn policy(policy: &PolicyConfig) -> String {
    let mut text = policy.name.to_string();
    if let Some(resource) = &policy.resource {
        text.push_str(&format!(" by {resource}"));
    }
    if let Some(half_life) = policy.half_life {
        let half_life = humantime::format_duration(half_life);
        text.push_str(&format!(" with a half-life of {half_life}"));
    }
    text
}

fn errors_json(errors: &ConfigErrors) -> Value {
    let errors = errors.errors.iter().map(|error| {
        json!({
            "key": error.key,
            "line": error.place.map(|place| place.line),
            "column": error.place.map(|place| place.column),
            "message": error.problem.to_string(),
        })
    });
    json!({"valid": false, "errors": errors.collect::<Vec<_>>()})
}

fn config_json(config: &Config) -> Value {
    let queues = config.engine.queues.iter().map(|queue| {
        let amounts = |amounts: &[(Arc<str>, Amount)]| {
            let pair = |(name, amount): &(Arc<str>, Amount)| {
                (name.to_string(), json!(units::format_amount(name, *amount)))
            };
            Value::Object(amounts.iter().map(pair).collect())
        };
        json!({
            "path": &*queue.path,
            "weight": queue.weight.milli() as f64 / 1000.0,
            "policy": policy_of(queue, config),
            "min": amounts(&queue.min),
            "max": amounts(&queue.max),
            "patience": queue.patience.map(deadline),
        })
    });
    let claims = &config.engine.claims;
    json!({
        "valid": true,
        "errors": [],
        "policy": policy(&config.engine.policy),
        "queues": queues.collect::<Vec<_>>(),
        "claims": {
            "patience": deadline(claims.patience),
            "max": claims.max,
            "expiry": deadline(claims.expiry),
        },
    })
}
