//! The cluster that a workload is replayed on: agents, and queues where no configuration gives them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use apportion_policies::Amount;

use super::super::{CliError, format};
use crate::config::units;
use crate::engine::request::ByName;
use crate::engine::settings::{EngineSettings, ResourceSettings, Scope};
use crate::sim::AgentSpec;
use crate::sim::trace::{Job, Trace};

/// Reads `16*cpus=8,mem=32GiB`.
pub(super) fn agents(texts: &[String]) -> Result<Vec<AgentSpec>, CliError> {
    let mut agents = Vec::new();
    for text in texts {
        let wrong = |what: String| {
            let example = "write it such as cpus=64,mem=256GiB or 16*cpus=8";
            CliError::Usage(format!("--agents {text}: {what}; {example}"))
        };
        let (count, resources) = match text.split_once('*') {
            Some((count, resources)) => {
                let number = count.trim().parse::<usize>().ok();
                let number = number.filter(|number| (1..=100_000).contains(number));
                let what = || wrong(format!("'{count}' is no number from 1 to 100000"));
                (number.ok_or_else(what)?, resources)
            }
            None => (1, text.as_str()),
        };
        let mut amounts = BTreeMap::new();
        for pair in resources.split(',') {
            let Some((name, amount)) = pair.split_once('=') else {
                return Err(wrong(format!("'{pair}' has no =")));
            };
            let name = name.trim();
            let amount = units::parse_amount(name, amount.trim());
            let amount = amount.map_err(|error| wrong(error.to_string()))?;
            amounts.insert(Arc::from(name), amount);
        }
        for _ in 0..count {
            agents.push(agent(agents.len() + 1, amounts.clone()));
        }
    }
    Ok(agents)
}

fn agent(number: usize, resources: ByName<Amount>) -> AgentSpec {
    AgentSpec {
        name: format!("m{number}").into(),
        resources,
        attributes: BTreeMap::new(),
    }
}

/// One agent as large as the trace says, or else as the most that its jobs held at once of each host resource, each
/// from when it is known to have started, or else from its submission.
pub(super) fn one_agent(trace: &Trace, settings: &EngineSettings) -> AgentSpec {
    let mut resources = BTreeMap::new();
    for resource in &settings.resources {
        if resource.scope != Scope::Host {
            continue;
        }
        let peak = peak(&trace.jobs, &resource.name);
        let said = trace.processors.filter(|_| &*resource.name == "cpus");
        let said = said.and_then(Amount::from_units);
        resources.insert(Arc::clone(&resource.name), said.unwrap_or(peak));
    }
    resources.retain(|_, amount| !amount.is_zero());
    agent(1, resources)
}

/// The most that is held at once; at least what the largest job wants.
fn peak(jobs: &[Job], resource: &str) -> Amount {
    let mut changes: Vec<(u64, i64)> = Vec::new();
    for job in jobs {
        if let Some(amount) = job.demand.get(resource) {
            let milli = i64::try_from(amount.milli()).unwrap_or(i64::MAX);
            // Also what ran for no time at all held something.
            let started = job.submitted.saturating_add(job.waited);
            changes.push((started, milli));
            changes.push((started.saturating_add(job.run_time.max(1)), -milli));
        }
    }
    changes.sort_unstable();
    let (mut now, mut most) = (0_i64, 0_i64);
    for (_, change) in changes {
        now = now.saturating_add(change);
        most = most.max(now);
    }
    let most = u64::try_from(most).unwrap_or(0);
    Amount::from_milli(most).unwrap_or(Amount::MAX)
}

/// Adds to settings what the jobs demand beyond it: what no configuration names is of host scope.
pub(super) fn add_resources(settings: &mut EngineSettings, jobs: &[Job], agents: &[AgentSpec]) {
    let demanded = jobs.iter().flat_map(|job| job.demand.keys());
    let brought = agents.iter().flat_map(|agent| agent.resources.keys());
    let mut known: BTreeMap<Arc<str>, Scope> = settings
        .resources
        .iter()
        .map(|it| (Arc::clone(&it.name), it.scope))
        .collect();
    for name in demanded.chain(brought) {
        if !known.contains_key(name) {
            known.insert(Arc::clone(name), Scope::Host);
        }
    }
    let resources = known.into_iter();
    settings.resources = resources
        .map(|(name, scope)| ResourceSettings { name, scope })
        .collect();
}

/// The paths of the jobs' queues with all above them, parents first, in order of names.
pub(super) fn paths(jobs: &[Job]) -> BTreeSet<Arc<str>> {
    let mut paths = BTreeSet::new();
    for job in jobs {
        if paths.contains(&job.queue) {
            continue;
        }
        for (end, _) in job.queue.match_indices('/') {
            paths.insert(Arc::from(&job.queue[..end]));
        }
        paths.insert(Arc::clone(&job.queue));
    }
    paths
}

/// Puts each job into the leaf of the configuration that has its name: the whole path, or the last part of it where
/// only one leaf ends so.
pub(super) fn place(
    jobs: &mut [Job],
    settings: &EngineSettings,
    file: &str,
) -> Result<(), CliError> {
    let is_leaf = |path: &str| {
        let below = format!("{path}/");
        !settings.queues.iter().any(|it| it.path.starts_with(&below))
    };
    let leaves: Vec<&Arc<str>> = settings
        .queues
        .iter()
        .map(|queue| &queue.path)
        .filter(|path| is_leaf(path))
        .collect();
    let mut found: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
    let mut unknown = BTreeSet::new();
    for name in jobs.iter().map(|job| &job.queue) {
        if found.contains_key(name) || unknown.contains(name) {
            continue;
        }
        let whole = leaves.iter().find(|path| **path == name).copied();
        let ends = |path: &str| path.rsplit('/').next() == Some(&**name);
        let ending: Vec<&Arc<str>> = leaves.iter().copied().filter(|path| ends(path)).collect();
        let leaf = match (whole, &ending[..], &leaves[..]) {
            (Some(leaf), _, _) => Some(leaf),
            (None, [only], _) | (None, _, [only]) => Some(*only),
            (None, _, _) => None,
        };
        match leaf {
            Some(leaf) => drop(found.insert(Arc::clone(name), Arc::clone(leaf))),
            None => drop(unknown.insert(Arc::clone(name))),
        }
    }
    if !unknown.is_empty() {
        let shown: Vec<&str> = unknown.iter().take(10).map(|name| &**name).collect();
        let more = if unknown.len() > shown.len() {
            ", …"
        } else {
            ""
        };
        return Err(CliError::Usage(format!(
            "{file} has no leaf queue for {} of the workload: {}{more}; add them there, or choose others with --by",
            format::count(unknown.len() as u64, "name"),
            shown.join(", ")
        )));
    }
    for job in jobs {
        job.queue = Arc::clone(&found[&job.queue]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_was_as_large_as_what_ran_at_once() {
        let job = |submitted, waited| Job {
            submitted,
            waited,
            run_time: 100,
            queue: "a".into(),
            demand: Arc::new(BTreeMap::from([(
                "cpus".into(),
                Amount::from_units(2).unwrap(),
            )])),
            priority: 0,
            constraints: Arc::default(),
        };
        let peak_of = |jobs: &[Job]| peak(jobs, "cpus").to_string();
        assert_eq!(peak_of(&[job(0, 0), job(0, 100), job(50, 150)]), "2");
        assert_eq!(peak_of(&[job(0, 0), job(0, 0), job(50, 150)]), "4");
        assert_eq!(peak(&[job(0, 0)], "mem"), Amount::ZERO);
    }
}
