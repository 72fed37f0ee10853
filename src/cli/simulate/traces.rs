//! Replays a workload under one policy after the other, and reports how it went.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use apportion_policies::Registry;

use super::super::CliError;
use super::super::output::Output;
use super::{By, ReplayArgs, cluster, recorded, summary};
use crate::clock::Stopwatch;
use crate::config::{self, BackendConfig, Config, PolicyConfig, QueueConfig};
use crate::engine::EngineSettings;
use crate::sim::AgentSpec;
use crate::sim::replay::replay;
use crate::sim::report::{Input, Report};
use crate::sim::trace::{Key, Trace, TraceError, lines, swf};

pub(super) fn execute(
    args: &ReplayArgs,
    registry: &Registry,
    json: bool,
    out: &mut Output<'_>,
) -> Result<(), CliError> {
    let config = match &args.config {
        Some(path) => Some(config::load(Some(path), registry)?),
        None => None,
    };
    let (title, mut trace) = workload(args)?;
    if args.trace.is_some() && args.map.is_none() {
        doubt_memory(&trace, out)?;
    }
    let mut settings = settings(config.as_ref(), &mut trace, args)?;
    let mut agents = agents(args, config.as_ref())?;
    cluster::add_resources(&mut settings, &trace.jobs, &agents);
    if agents.is_empty() {
        if args.trace.is_some() && trace.processors.is_none() {
            out.note(
                "how large the cluster was is not known: the work runs on one machine as large as the most that ever \
                 ran at once, where hardly anything waits; say --agents, such as --agents 16*cpus=8,mem=32GiB",
            )?;
        }
        agents.push(cluster::one_agent(&trace, &settings));
    }
    let policies = policies(args, &settings, registry)?;
    let mut runs = Vec::new();
    for policy in policies {
        settings.policy = policy;
        let name = settings.policy.name.to_string();
        let watch = Stopwatch::start();
        let length = Some(trace.jobs.len() as u64);
        let mut progress = |n_ended| out.progress(name.clone(), n_ended, length);
        let run = replay(&settings, &agents, &trace.jobs, registry, &mut progress);
        out.end_progress();
        let seconds = watch.elapsed().as_secs_f64();
        out.note(format_args!(
            "{name}: {} events in {seconds:.2} s, {:.0} a second",
            run.n_events,
            run.n_events as f64 / seconds.max(1e-9)
        ))?;
        runs.push((name, settings.clone(), run));
    }
    let report = Report::new(&Input {
        title: &title,
        jobs: &trace.jobs,
        skipped: &trace.skipped,
        agents: &agents,
        runs,
    });
    if let Some(path) = &args.report {
        std::fs::write(path, report.to_html())
            .map_err(|error| CliError::Usage(format!("can't write {}: {error}", path.display())))?;
    }
    if json {
        out.json(&report.to_json())?;
    } else {
        summary::print(&report, args.report.as_deref(), out)?;
    }
    Ok(())
}

/// What is replayed, with its name.
fn workload(args: &ReplayArgs) -> Result<(String, Trace), CliError> {
    if let Some(data_dir) = &args.from {
        let trace = recorded::read(data_dir, args.limit)?;
        return Ok((data_dir.display().to_string(), trace));
    }
    let Some(path) = &args.trace else {
        // The command line's own rules leave nothing else.
        return Err(CliError::Usage("name a scenario, --trace or --from".into()));
    };
    let columns = match &args.map {
        Some(map) => config::trace_map::load(map)?,
        None => swf::Columns::default(),
    };
    let default = if args.config.is_some() {
        Key::Queue
    } else {
        Key::User
    };
    let by: Vec<Key> = match &args.by[..] {
        [] => vec![default],
        by => by.iter().map(|by| by.key()).collect(),
    };
    let name = path
        .file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy();
    let is_lines = {
        let bare = name.strip_suffix(".gz").unwrap_or(&name);
        [".jsonl", ".ndjson", ".json"]
            .iter()
            .any(|end| bare.ends_with(end))
    };
    let mut input = open(path)?;
    let read = match is_lines {
        true => lines::read(&mut input, &by, args.limit),
        false => swf::read(&mut input, &columns, &by, args.limit),
    };
    let wrong = |error: TraceError| CliError::Usage(format!("{}: {error}", path.display()));
    Ok((name.into_owned(), read.map_err(wrong)?))
}

/// More memory for one processor than any machine has, in MiB: 1 TiB.
const MEM_PER_CPU_MAX: u128 = 1 << 20;

/// Says so where most jobs that ask for memory ask for more than there can be: then it stands there in another unit.
fn doubt_memory(trace: &Trace, out: &mut Output<'_>) -> Result<(), CliError> {
    let asked = trace.jobs.iter().filter_map(|job| {
        let milli = |name| Some(u128::from(job.demand.get(name)?.milli()));
        Some(milli("mem")? > milli("cpus")? * MEM_PER_CPU_MAX)
    });
    let (n_asking, n_doubtful) = asked.fold((0, 0), |(all, doubtful), is_doubtful| {
        (all + 1, doubtful + usize::from(is_doubtful))
    });
    if 2 * n_doubtful > n_asking {
        out.note(format_args!(
            "{n_doubtful} of {n_asking} jobs want more than 1 TiB of memory for each processor, so it is hardly in KiB \
             for each processor, as the format says; name its unit with --map, such as \
             mem = {{ column = 10, unit = \"B\", per = \"node\" }} (the README says more)"
        ))?;
    }
    Ok(())
}

/// The file, unpacked where it is packed, whatever its name says.
fn open(path: &Path) -> Result<Box<dyn BufRead>, CliError> {
    let unreadable = |source| CliError::Input {
        name: path.display().to_string(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut file = BufReader::new(file);
    let is_packed = file
        .fill_buf()
        .map_err(unreadable)?
        .starts_with(&[0x1f, 0x8b]);
    Ok(match is_packed {
        true => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(file))),
        false => Box::new(file),
    })
}

/// The configuration's settings, or queues as the workload has them, all of weight 1.
fn settings(
    config: Option<&Config>,
    trace: &mut Trace,
    args: &ReplayArgs,
) -> Result<EngineSettings, CliError> {
    if let (Some(config), Some(path)) = (config, &args.config) {
        let file = path.display().to_string();
        cluster::place(&mut trace.jobs, &config.engine, &file)?;
        return Ok(config.engine.clone());
    }
    let mut settings = Config::default_local().engine;
    let paths = cluster::paths(&trace.jobs);
    settings.queues = paths.into_iter().map(QueueConfig::new).collect();
    settings.live_max = u64::MAX >> 1;
    Ok(settings)
}

/// The agents named, or that of the configuration's backend where it says how large it is.
fn agents(args: &ReplayArgs, config: Option<&Config>) -> Result<Vec<AgentSpec>, CliError> {
    let agents = cluster::agents(&args.agents)?;
    if !agents.is_empty() {
        return Ok(agents);
    }
    let Some(config) = config else {
        return Ok(agents);
    };
    let BackendConfig::Local(local) = &config.backend else {
        return Ok(agents);
    };
    if !local.resources.contains_key("cpus") {
        return Ok(agents);
    }
    Ok(vec![AgentSpec {
        name: "local".into(),
        resources: local.resources.clone(),
        attributes: local.attributes.clone(),
    }])
}

/// The policies asked for, or the one of the settings.
fn policies(
    args: &ReplayArgs,
    settings: &EngineSettings,
    registry: &Registry,
) -> Result<Vec<PolicyConfig>, CliError> {
    if args.policy.is_empty() {
        return Ok(vec![settings.policy.clone()]);
    }
    let known = |name: &String| {
        if registry.knows(name) {
            return Ok(PolicyConfig::new(name.as_str().into()));
        }
        let names: Vec<&str> = registry.names().map(|name| &**name).collect();
        let names = names.join(", ");
        Err(CliError::Usage(format!(
            "there is no policy '{name}'; known are {names}"
        )))
    };
    args.policy.iter().map(known).collect()
}

impl By {
    fn key(self) -> Key {
        match self {
            Self::User => Key::User,
            Self::Group => Key::Group,
            Self::Queue => Key::Queue,
            Self::Partition => Key::Partition,
        }
    }
}
