//! Apportion with a policy of its own: the queue whose work is due first goes first.

use std::process::ExitCode;
use std::sync::Arc;

use apportion::policies::{Key, QueueId, QueueTree, Ranking, Registry, Share, TaskRank};

/// Earliest deadline first: a queue says when its work is due with `parameters = { due = 2026-12-01 }`.
/// Queues without a date go last.
struct EarliestDue;

impl Ranking for EarliestDue {
    fn key(&self, tree: &QueueTree, queue: QueueId, _next: TaskRank) -> Key {
        let due = tree.settings(queue).parameters.get("due");
        Key::share(Share::count(due.map_or(u64::MAX, |due| number(due))))
    }
}

/// The digits of a date or of a date and time, as one number that grows with time.
fn number(date: &str) -> u64 {
    let digits: String = date.chars().filter(char::is_ascii_digit).take(14).collect();
    format!("{digits:0<14}").parse().unwrap_or(u64::MAX)
}

fn main() -> ExitCode {
    let mut registry = Registry::default();
    registry.register("earliest-due", |_spec| Arc::new(EarliestDue));
    apportion::main_with(registry)
}
