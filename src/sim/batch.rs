//! One batch as the driver makes it: what happened, what is asked for, the engine's turn.

use crate::engine::report::ChoiceReport;
use crate::engine::{Decision, Engine, Event, Fact, Output, Refusal, Reply, Request, Time};

/// What a batch brought about, in order.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) facts: Vec<Fact>,
    pub(super) decisions: Vec<Decision>,
    pub(super) replies: Vec<Result<Reply, Refusal>>,
    /// How many times the policy chose a task.
    pub(super) n_decided: u64,
    /// How decisions fell, where the engine reports it.
    pub(super) choices: Vec<ChoiceReport>,
}

/// Gives the engine a batch. Facts are durable at once here, so what comes of them may be acted on.
pub(super) fn run(
    engine: &mut Engine,
    now: Time,
    events: impl IntoIterator<Item = Event>,
    requests: impl IntoIterator<Item = Request>,
) -> Done {
    let mut out = Output::default();
    for event in events {
        engine.on_event(now, event, &mut out);
    }
    let mut replies = Vec::new();
    for request in requests {
        replies.push(engine.on_request(now, request, &mut out));
    }
    engine.turn(now, &mut out);
    Done {
        facts: out.facts,
        decisions: out.decisions,
        n_decided: out.n_decided,
        choices: out.choices,
        replies,
    }
}
