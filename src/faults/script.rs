//! What simulated tasks do: written into their commands by clients, read from there by whatever runs them.

use super::course::Millis;

/// What one attempt does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Act {
    /// How long it runs.
    pub(super) runs: Millis,
    /// How it exits.
    pub(super) code: i32,
}

/// The command of a task whose attempts do so, one after the other; the last one again and again.
pub(super) fn command(acts: &[Act]) -> String {
    let words = acts
        .iter()
        .map(|act| format!("{} {}", act.runs, act.code))
        .collect::<Vec<_>>();
    words.join("; ")
}

/// What an attempt does; by its number, from 1.
pub(super) fn act(command: &str, number: u32) -> Option<Act> {
    let acts: Vec<&str> = command.split("; ").collect();
    let place = (number as usize).clamp(1, acts.len()) - 1;
    let (runs, code) = acts[place].split_once(' ')?;
    Some(Act {
        runs: runs.parse().ok()?,
        code: code.parse().ok()?,
    })
}
