//! `apportion test-faults`: the daemon against simulated faults, seed after seed.

use serde_json::json;

use super::format::count;
use super::output::Output;
use super::{CliError, exit};
use crate::faults::{STEPS, Trial, hunt};

const EXAMPLES: &str = "\
Examples:
  apportion test-faults --seeds 2000                try 2,000 worlds
  apportion test-faults --seed 42 --steps 118       see one again, with its history
  apportion test-faults --seeds 500 --without clock,remove
  TMPDIR=/dev/shm apportion test-faults --seeds 200 --files

Exit codes: 0 all passed, 1 one failed, 2 usage.";

/// Try the daemon against simulated crashes, partitions, lost messages, full disks and more.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// How many worlds to try, from --seed on [default: 1 with --seed, or 100].
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// The first seed; alone, this one is tried and its history printed.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// How many steps each world has with faults.
    #[arg(long, value_name = "K", default_value_t = STEPS)]
    steps: u32,
    /// Leave kinds of faults out, by their names.
    #[arg(long, value_name = "KINDS", default_value = "")]
    without: String,
    /// Keep each world's database in real files, below the directory for temporary files, and let crashes leave any part of
    /// a batch that is being written. Slow where syncing is: set TMPDIR to a directory in memory.
    #[arg(long)]
    files: bool,
}

pub(super) fn execute(args: &Args, json: bool, out: &mut Output<'_>) -> Result<u8, CliError> {
    let first = args.seed.unwrap_or(0);
    Trial::new(first, args.steps)
        .without(&args.without)
        .map_err(CliError::Usage)?;
    let trial = |seed| {
        let trial = Trial::new(seed, args.steps).on_files(args.files);
        trial.without(&args.without).unwrap_or(trial)
    };
    if args.seeds.is_none() && args.seed.is_some() {
        let outcome = trial(first).run(true);
        for line in &outcome.history {
            out.line(line)?;
        }
        return match outcome.violation {
            None => {
                out.line(format_args!("passed in {} steps", outcome.n_steps))?;
                Ok(exit::DONE)
            }
            Some(violation) => {
                out.line(format_args!("violated: {violation}"))?;
                Ok(exit::TASK_FAILED)
            }
        };
    }
    let n_seeds = args.seeds.unwrap_or(100);
    let tried = hunt(first, n_seeds, &trial, &mut |n_tried| {
        out.progress("worlds".to_owned(), n_tried, Some(n_seeds));
    });
    out.end_progress();
    if json {
        let failed = tried.failure.as_ref().map(|failure| {
            json!({
                "seed": failure.trial.seed,
                "violation": failure.violation,
                "replay": failure.trial.to_string(),
                "history": failure.history,
            })
        });
        out.json(&json!({"tried": tried.n_seeds, "steps": tried.n_steps, "failed": failed}))?;
    } else if let Some(failure) = &tried.failure {
        out.line(failure)?;
    } else {
        let worlds = count(tried.n_seeds, "world");
        let steps = count(tried.n_steps, "step");
        out.line(format_args!("{worlds} passed, in {steps}"))?;
    }
    Ok(if tried.failure.is_some() {
        exit::TASK_FAILED
    } else {
        exit::DONE
    })
}
