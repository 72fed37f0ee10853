//! A soak: mixed load with kills for a while, and what the daemon and its keeper hold afterwards, idle, must be flat.
//!
//! `cargo test` runs a minute of it; for longer, with the table of all samples,
//! `APPORTION_SOAK_MINUTES=60 cargo test --test integration soak -- --nocapture`.
//!
//! It goes in rounds of load and rest. In the first third the daemon, its keeper, its guard and tasks are killed; in the second
//! all but the daemon; in the last tasks only. So each process has a stretch of its own in which a leak would show.

mod load;
mod sample;

use std::time::Duration;

use self::load::Load;
use self::sample::{Held, Sample};

/// How long a round has load, at least.
const ROUND_MIN: Duration = Duration::from_secs(4);

/// About how long a round rests.
const REST: Duration = Duration::from_secs(6);

/// The fewest rounds: two in each third, since what is flat has a first and a last sample.
const ROUNDS_MIN: u32 = 6;

/// Of what is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Third {
    All,
    Keepers,
    Tasks,
}

#[test]
fn all_that_is_held_is_flat_after_load_and_kills() {
    let minutes = std::env::var("APPORTION_SOAK_MINUTES").ok();
    let minutes: f64 = minutes.map_or(1.0, |minutes| minutes.parse().unwrap());
    let whole = Duration::from_secs_f64(minutes * 60.0);
    let n_rounds = (whole.as_secs_f64() / 60.0).ceil() as u32;
    let n_rounds = n_rounds.max(ROUNDS_MIN);
    let span = (whole / n_rounds).saturating_sub(REST).max(ROUND_MIN);
    let mut load = Load::start();
    let mut samples: Vec<(Third, Sample)> = Vec::new();
    eprintln!("{}", sample::HEADER);
    for round in 0..n_rounds {
        let third = match round * 3 / n_rounds {
            0 => Third::All,
            1 => Third::Keepers,
            _ => Third::Tasks,
        };
        load.run(span, third);
        load.rest();
        let sample = Sample::take(&load.daemon, load.folder.path());
        eprintln!("{}", sample.line(round + 1, third));
        samples.push((third, sample));
    }
    eprintln!("{}", load.tally());
    let of = |wanted: &[Third]| -> Vec<&Sample> {
        let found = samples.iter().filter(|(third, _)| wanted.contains(third));
        found.map(|(_, sample)| sample).collect()
    };
    let mut findings = Vec::new();
    let daemons = of(&[Third::Keepers, Third::Tasks]);
    findings.extend(sample::grown("the daemon", &daemons, |sample| {
        sample.daemon
    }));
    let keepers = of(&[Third::Tasks]);
    findings.extend(sample::grown("the keeper", &keepers, |sample| {
        sample.keeper
    }));
    let all = of(&[Third::All, Third::Keepers, Third::Tasks]);
    findings.extend(sample::left_over(&all));
    findings.extend(load.faults.iter().cloned());
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// What a process holds, for people.
fn shown(held: Held) -> String {
    format!(
        "{:>8} {:>5} {:>8}",
        held.memory_kib, held.n_files, held.n_threads
    )
}
