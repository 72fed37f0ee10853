//! How long the door takes to accept a token, and to refuse ones that are right up to some place: no time may tell how
//! much of a secret was guessed.
//!
//! `cargo bench --bench tokens`. The kinds are measured in turns; a figure is the median of all rounds.

#![allow(
    clippy::print_stdout,
    reason = "a benchmark prints what it has measured"
)]

use std::error::Error;
use std::hint::black_box;

use apportion::access::{self, Access, Kept, Queues, Right, Secret, TokenFileError};
use apportion::clock::Stopwatch;
use apportion::engine::Time;

/// How many tokens there are, the one presented among them.
const N_TOKENS: usize = 100;

/// In so many rounds each kind is presented so many times.
const N_ROUNDS: usize = 2001;
const N_PER_ROUND: u32 = 50;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut secrets = Vec::new();
    for _ in 0..N_TOKENS {
        secrets.push(Secret::generate()?);
    }
    let kept: Vec<Kept> = secrets.iter().enumerate().map(kept).collect();
    access::change(folder.path(), |tokens| {
        tokens.extend(kept);
        Ok::<_, TokenFileError>(())
    })?;
    let door = Access::open(folder.path())?;
    let right = secrets[N_TOKENS / 2].reveal();
    let n_ahead =
        right.rfind(secrets[N_TOKENS / 2].id()).unwrap_or(0) + secrets[N_TOKENS / 2].id().len() + 1;
    let mut kinds = vec![("the right one".to_owned(), right.clone())];
    for n_right in [0, 1, 21, 42] {
        kinds.push((
            format!("wrong from character {n_right} of the secret on"),
            wrong_from(&right, n_ahead + n_right),
        ));
    }
    kinds.push(("an unknown id".to_owned(), Secret::generate()?.reveal()));
    let mut nanos = vec![Vec::with_capacity(N_ROUNDS); kinds.len()];
    for _ in 0..N_ROUNDS {
        for ((_, presented), nanos) in kinds.iter().zip(&mut nanos) {
            let since = Stopwatch::start();
            for _ in 0..N_PER_ROUND {
                let _ = black_box(door.identify(Some(black_box(presented)), Time(1)));
            }
            nanos.push(since.elapsed().as_secs_f64() * 1e9 / f64::from(N_PER_ROUND));
        }
    }
    for ((what, presented), mut nanos) in kinds.into_iter().zip(nanos) {
        nanos.sort_by(f64::total_cmp);
        let at = |percent: usize| nanos[nanos.len() * percent / 100];
        let is_let_in = door.identify(Some(&presented), Time(1)).is_ok();
        let answer = if is_let_in { "accepted" } else { "refused" };
        println!(
            "{what:40} {answer:8}  median {:6.0} ns, 25 to 75 %: {:6.0} to {:6.0} ns",
            at(50),
            at(25),
            at(75)
        );
    }
    Ok(())
}

fn kept((place, secret): (usize, &Secret)) -> Kept {
    let queues = Queues::new(["*".parse().expect("all queues")]);
    let name = format!("token {place}");
    Kept::of(secret, &name, queues, &[Right::Read], Time(0))
}

/// The same with other characters from a place on.
fn wrong_from(text: &str, place: usize) -> String {
    let (right, rest) = text.split_at(place);
    let wrong = rest.chars().map(|c| if c == 'A' { 'B' } else { 'A' });
    right.chars().chain(wrong).collect()
}
