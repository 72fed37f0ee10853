//! `apportion simulate`: the daemon's engine in virtual time, on scenarios or on recorded workloads.

use std::path::PathBuf;

use apportion_policies::Registry;

use super::output::Output;
use super::{CliError, exit};

mod cluster;
mod recorded;
mod scenarios;
mod summary;
mod traces;

const EXAMPLES: &str = "\
Examples:
  apportion simulate scenario.toml       run a scenario; say where it doesn't go as it expects
  apportion simulate tests/scenarios     run all of a folder, with a summary
  apportion simulate --trace log.swf.gz --policy drf,fifo --report out.html
                                         replay a workload under two policies, and plot both
  apportion simulate --trace log.swf --agents 16*cpus=8,mem=32GiB --by group,user
                                         on 16 machines, with a queue for each user below their group
  apportion simulate --from apportion-data --config new.toml
                                         what this installation ran, under other weights

A trace is in the Standard Workload Format, or has a JSON object a line:
  {\"submit\": 12.5, \"run\": 300, \"user\": \"ann\", \"demand\": {\"cpus\": 2, \"mem\": 4096}}
with seconds, and mem in MiB; user, group, queue, partition, priority and constraints may be left away.

Exit codes: 0 done, 1 a scenario doesn't go as it expects, 2 a file is wrong.";

const NOTHING_NAMED: &str = "\
say what to simulate:
  apportion simulate FILE…            scenarios, or folders of them
  apportion simulate --trace FILE     a recorded workload
  apportion simulate --from DATA_DIR  what a daemon with this data directory ran
'apportion simulate --help' has examples of each";

/// Try the policies in virtual time: in scripted scenarios, or on recorded workloads.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Scenarios, or folders of them.
    #[arg(value_name = "SCENARIO", conflicts_with_all = ["trace", "from"])]
    scenarios: Vec<PathBuf>,
    #[command(flatten)]
    replay: ReplayArgs,
}

/// What is replayed, and how.
#[derive(Debug, clap::Args)]
struct ReplayArgs {
    /// Replay this trace: Standard Workload Format, or JSON lines (.jsonl), also packed (.gz).
    #[arg(long, value_name = "FILE", help_heading = "Replay")]
    trace: Option<PathBuf>,
    /// Replay what the daemon with this data directory ran; it may be running.
    #[arg(
        long,
        value_name = "DATA_DIR",
        conflicts_with = "trace",
        help_heading = "Replay"
    )]
    from: Option<PathBuf>,
    /// Which column of the trace holds what, where it isn't as the format says (TOML; see the README).
    #[arg(long, value_name = "FILE", requires = "trace", help_heading = "Replay")]
    map: Option<PathBuf>,
    /// By what jobs of a trace are put into queues; several make levels, the first at the top
    /// [default: user, or with --config queue].
    #[arg(
        long,
        value_name = "KEY",
        value_delimiter = ',',
        help_heading = "Replay"
    )]
    by: Vec<By>,
    /// A daemon's configuration: its queues, weights, limits, resources and policy.
    #[arg(long, short, value_name = "FILE", help_heading = "Replay")]
    config: Option<PathBuf>,
    /// Policies to run beside one another at the top of the tree [default: the configuration's, or drf].
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        help_heading = "Replay"
    )]
    policy: Vec<String>,
    /// Machines, such as cpus=64,mem=256GiB or 16*cpus=8; again for others. Without any, one machine as large
    /// as the trace says, or else as the most that ever ran at once.
    #[arg(long, value_name = "[N*]RESOURCES", help_heading = "Replay")]
    agents: Vec<String>,
    /// Only the first so many jobs.
    #[arg(long, value_name = "N", help_heading = "Replay")]
    limit: Option<usize>,
    /// Write the report as a page with plots.
    #[arg(long, value_name = "FILE", help_heading = "Replay")]
    report: Option<PathBuf>,
}

/// By what jobs are put into queues.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum By {
    /// Who submitted it.
    User,
    /// The group of who submitted it.
    Group,
    /// The queue that it was submitted to.
    Queue,
    /// The partition of the cluster.
    Partition,
}

pub(super) fn execute(
    args: &Args,
    registry: &Registry,
    json: bool,
    out: &mut Output<'_>,
) -> Result<u8, CliError> {
    let is_replay = args.replay.trace.is_some() || args.replay.from.is_some();
    if args.scenarios.is_empty() && !is_replay {
        return Err(CliError::Usage(NOTHING_NAMED.into()));
    }
    if is_replay {
        traces::execute(&args.replay, registry, json, out)?;
        return Ok(exit::DONE);
    }
    let all_passed = scenarios::execute(&args.scenarios, registry, json, out)?;
    Ok(if all_passed {
        exit::DONE
    } else {
        exit::TASK_FAILED
    })
}
