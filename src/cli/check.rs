//! `apportion check`: validates a configuration, and shows what it means.

use std::path::PathBuf;

use apportion_policies::Registry;
use serde_json::{Value, json};

use super::output::{Output, table};
use super::queues::in_tree_order;
use super::{CliError, exit, format};
use crate::config::{self, Config, ConfigErrors, PolicyConfig, QueueConfig, Scope, units};

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
    match config::load(args.config.as_deref(), registry) {
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
    let mut rows = table(&["QUEUE", ">WEIGHT", "POLICY", "MAX"]);
    let paths: Vec<&str> = queues.iter().map(|queue| &*queue.path).collect();
    for (place, name) in in_tree_order(&paths) {
        let queue = &queues[place];
        let max = queue
            .max
            .iter()
            .map(|(name, amount)| format!("{name}={}", units::format_amount(name, *amount)));
        rows.add_row(vec![
            name,
            queue.weight.to_string(),
            format::or_dash(policy_of(queue, config)),
            format::or_dash(max.collect::<Vec<_>>().join(" ")),
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
    Ok(())
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

/// `drf`, `weighted by cpus`
fn policy(policy: &PolicyConfig) -> String {
    match &policy.resource {
        Some(resource) => format!("{} by {resource}", policy.name),
        None => policy.name.to_string(),
    }
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
        let max = queue.max.iter();
        let max = max
            .map(|(name, amount)| (name.to_string(), json!(units::format_amount(name, *amount))));
        json!({
            "path": &*queue.path,
            "weight": queue.weight.milli() as f64 / 1000.0,
            "policy": policy_of(queue, config),
            "max": max.collect::<serde_json::Map<_, _>>(),
        })
    });
    json!({"valid": true, "errors": [], "queues": queues.collect::<Vec<_>>()})
}
